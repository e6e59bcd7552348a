"""The protocols of an embedder: one vector per completion, from its text, from its token ids, or from either.

Two protocols of one method, because no embedder should have to pretend: a sentence model reads text, the
policy reads its own token ids, the lexical embedder reads both. A caller that holds token ids asks
``isinstance(embedder, TokenEmbedder)`` and so saves the decoding.

An embedder with a limit has it as ``max_tokens``, the tokens of a completion that it reads, or None.

The vectors need not be normalised, the op does that. A row that is zero or not finite is similar to
nothing, and is counted and warned of. Row i depends on completion i alone, so that groups may be embedded in any
batches, on any process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class TextEmbedder(Protocol):
    """Reads text."""

    def embed_texts(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """(N, D) float32 on ``device`` for N texts, without gradient."""
        ...


@runtime_checkable
class TokenEmbedder(Protocol):
    """Reads token ids where they lie."""

    def embed_tokens(self, token_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, D) float32 on the device of the ids, without gradient.

        Args:
            token_ids: (N, L), integers, padded anywhere with anything.
            mask: (N, L), bool or integers, 0 where padded and where another than the policy wrote, as a tool did:
                what stands there has no influence. None: everything counts.
        """
        ...


Embedder = TextEmbedder | TokenEmbedder


def padded(token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists of ids as ``embed_tokens`` takes them: (N, L), padded on the right, and the mask."""
    lengths = torch.tensor([len(ids) for ids in token_ids], dtype=torch.int64)
    mask = torch.arange(max(lengths.tolist(), default=0)) < lengths.unsqueeze(1)
    filled = torch.zeros(mask.shape, dtype=torch.int64)
    filled[mask] = torch.tensor([token for ids in token_ids for token in ids], dtype=torch.int64)
    return filled, mask
