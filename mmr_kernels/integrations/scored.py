"""One generated batch, with all that the op computed of it."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmr_kernels import MMRResult, mmr_advantages


class Scored(NamedTuple):
    """N completions, (N,) each but ``signal``; in a trainer those of all processes in rank order, on its device."""

    rewards: Tensor  #: float32, over all reward functions; NaN where none scored the completion
    advantages: Tensor  #: float32
    reweighted_rewards: Tensor  #: float32, NaN where not valid
    selection_rank: Tensor  #: int64: 0 = picked first, -1 = not picked
    max_similarity: Tensor  #: float32
    lam: Tensor  #: float32: λ of the completion's scope, NaN where the method has none
    unusable: Tensor  #: bool: the embedding is zero or not finite, so the completion is similar to nothing
    signal: Tensor  #: (scopes, 2), float32: T and V (docs/contract.md, section 7), NaN without similarities

    @property
    def explained(self) -> float:
        """e = ΣT / ΣV: the share of the rewards' variance within groups that likeness explains; NaN without any."""
        known = self.signal.to("cpu", torch.float64)
        explained, variance = known[known.isfinite().all(dim=1)].sum(dim=0).tolist()
        return explained / variance if variance > 0 else torch.nan

    def table(self, rows: slice = slice(None)) -> dict[str, list[float]]:
        """The columns that a table of completions gets beside its own reward and advantage."""
        columns = (self.reweighted_rewards, self.selection_rank, self.max_similarity)
        return dict(zip(TABLE, (column[rows].tolist() for column in columns), strict=True))


#: Names of the columns of ``Scored.table``.
TABLE = ("reweighted_reward", "selection_rank", "max_similarity")


def score(rewards: Tensor, embeddings: Tensor | None, **arguments: Any) -> Scored:
    """Call the op; ``arguments`` are those of ``mmr_advantages``, ``group_size`` or ``group_ids`` among them.

    Embeddings that are zero or not finite are counted, and warned of once.
    """
    result = mmr_advantages(rewards, embeddings, return_details=True, **arguments)
    assert isinstance(result, MMRResult)
    # λ is one per batch, per group of one size, or per completion.
    lam = result.lam.repeat_interleave(len(rewards) // len(result.lam))
    advantages, reweighted, rank, similarity, _, signal = result
    assert advantages is not None
    return Scored(rewards, advantages, reweighted, rank, similarity, lam, _unusable(rewards, embeddings), signal)


def _unusable(rewards: Tensor, embeddings: Tensor | None) -> Tensor:
    if embeddings is None:
        return torch.zeros_like(rewards, dtype=torch.bool)
    squares = embeddings.to(torch.float32).square().sum(dim=1)  # as docs/contract.md has it
    unusable = ~(squares.isfinite() & (squares > 0))
    if unusable.any():
        # The same words each time, so that Python shows them once.
        warnings.warn(
            "the embedder returned rows that are zero or not finite: such completions are similar to nothing, even to"
            " their equals, so each of them counts as unlike all others; mmr/unusable_embeddings counts them",
            stacklevel=2,
        )
    return unusable
