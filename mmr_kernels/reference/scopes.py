"""Sections 1 and 2 of the contract (docs/contract.md) in plain PyTorch: members of groups and scopes, statistics over
them, and similarities.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

#: Guard of section 2.
SMALLEST_NORM = 1e-12
#: Elements; 64 bytes of float32.
ALIGNED = 16


def member_table(
    device: torch.device,
    count: int,
    num_groups: int,
    group_size: int,
    group_offsets: Tensor | None,
    order: Tensor | None,
    longest: int,
) -> Tensor:
    """The normal form of ``mmr_kernels.problem.Problem`` as a member table, rows of ``longest`` places each."""
    if group_offsets is None:
        return torch.arange(count, device=device).reshape(num_groups, group_size)
    offsets = group_offsets.clamp(0, count)
    sizes = offsets.diff()
    place = torch.arange(longest, device=device)
    position = (offsets[:-1, None] + place).where(place < sizes[:, None], count)
    if order is None:
        return position
    return torch.cat([order, order.new_full((1,), count)])[position]


def total(values: Tensor, member: Tensor) -> Tensor:
    """The sum over the members of each row, as (rows, 1)."""
    return values.where(member, 0.0).sum(-1, keepdim=True)


def mean_and_variance(values: Tensor, member: Tensor, correction: int) -> tuple[Tensor, Tensor]:
    """Over the members of each row, as (rows, 1); 0 where there are too few of them."""
    count = member.sum(-1, keepdim=True)
    mean = total(values, member) / count.clamp(min=1)
    squares = total((values - mean) ** 2, member)
    return mean, squares / (count - correction).clamp(min=1)


# Section 2: similarity.


def _unit_rows(embeddings: Tensor, normalize: bool) -> Tensor:
    """Rows as they enter S = E Eᵀ; a row without a finite, positive norm becomes zero, similar to nothing."""
    norm = embeddings.square().sum(-1, keepdim=True).sqrt()
    rows = embeddings / norm.clamp(min=SMALLEST_NORM) if normalize else embeddings
    return rows.where(norm.isfinite() & (norm > 0), 0.0)


class SimilarityColumns:
    """``columns(pick)`` is S_ij for all i and one j per scope.

    S is held as one square block per scope, or as one block over all completions: whichever has fewer elements.
    """

    def __init__(
        self,
        embeddings: Tensor | None,
        similarity: Tensor | None,
        scopes: Tensor,
        dtype: torch.dtype,
        normalize: bool,
    ) -> None:
        rows, longest = scopes.shape
        self.block = torch.arange(rows, device=scopes.device).unsqueeze(1)
        self.place = torch.arange(longest, device=scopes.device).expand(rows, longest)
        if similarity is not None:
            self.blocks = similarity.to(dtype).where(similarity.isfinite(), 0.0)
            return
        assert embeddings is not None
        unit = _unit_rows(embeddings.flatten(0, -2).to(dtype), normalize)
        # A row of zeros for the padding of scopes, and columns to a multiple of 64 bytes: a matrix product's order of
        # sums may depend on how its operands are aligned, and a group's bits must not depend on where the group lies.
        unit = torch.nn.functional.pad(unit, (0, -unit.shape[1] % ALIGNED, 0, 1))
        if rows * longest**2 <= len(unit) ** 2:
            members = unit[scopes]
            self.blocks = members @ members.mT
        else:
            self.blocks = (unit @ unit.mT).unsqueeze(0)
            self.block, self.place = torch.zeros_like(self.block), scopes

    def __call__(self, pick: Tensor) -> Tensor:
        return self.blocks[self.block, self.place, self.place.gather(1, pick)]

    def of_row(self, pick: Tensor) -> Tensor:
        """S_ji for all i: what ``columns(pick)`` is where S is symmetric."""
        return self.blocks[self.block, self.place.gather(1, pick), self.place]

    def within(self, groups: Tensor) -> SimilarityColumns:
        """Of one scope over all completions, the same for the rows of a table of groups."""
        columns = copy.copy(self)
        columns.block = torch.zeros_like(groups[:, :1])
        columns.place = groups.clamp(max=self.blocks.shape[-1] - 1)
        return columns
