"""Identical completions are embedded once: late in training a group holds many."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mmr_kernels.checks import FLOAT_DTYPES
from mmr_kernels.embedders.protocol import Embedder, TextEmbedder, TokenEmbedder, padded

Row = TypeVar("Row", bound=Hashable)


def embed_distinct(
    embedder: Embedder,
    texts: Sequence[str],
    token_ids: Sequence[Sequence[int]] | None,
    *,
    max_tokens: int,
    device: torch.device | str,
) -> Tensor:
    """(N, D) of N completions on ``device``, each distinct one embedded once.

    Args:
        embedder: one that reads tokens gets tokens, where there are any; else it gets texts.
        texts: N completions.
        token_ids: the same completions as token ids, or None.
        max_tokens: how many of a completion's ids are read. An embedder of texts has a limit of its own.
        device: of the result.

    Raises:
        TypeError, ValueError: the embedder can't read what there is, or returned something else than a row for each.
    """
    if token_ids is not None and isinstance(embedder, TokenEmbedder):
        distinct_ids, index = _distinct([tuple(ids[:max_tokens]) for ids in token_ids])
        ids, mask = padded(distinct_ids)
        vectors = embedder.embed_tokens(ids.to(device), mask.to(device))
    elif isinstance(embedder, TextEmbedder):
        distinct_texts, index = _distinct(texts)
        vectors = embedder.embed_texts(distinct_texts, device)
    else:
        raise TypeError(f"{type(embedder).__name__} reads token ids only, and here there are only texts")
    _check(embedder, vectors, max(index, default=-1) + 1)
    vectors = vectors.detach().to(device)
    return vectors if len(vectors) == len(index) else vectors[torch.tensor(index, device=device)]


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """The distinct rows in order of appearance, and for each row which of them it is."""
    places: dict[Row, int] = {}
    index = [places.setdefault(row, len(places)) for row in rows]
    return list(places), index


def _check(embedder: Embedder, vectors: object, count: int) -> None:
    name = type(embedder).__name__
    if not isinstance(vectors, Tensor):
        raise TypeError(f"{name} must return a torch.Tensor, got {type(vectors).__name__}")
    if vectors.dtype not in FLOAT_DTYPES:
        takes = " or ".join(str(dtype) for dtype in FLOAT_DTYPES)
        raise TypeError(f"{name} must return {takes}, got {vectors.dtype}")
    if vectors.dim() != 2 or len(vectors) != count:
        raise ValueError(
            f"{name} must return shape ({count}, D), a row for each of {count} distinct completions; got"
            f" {tuple(vectors.shape)}"
        )
