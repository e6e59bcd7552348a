"""Identical completions are embedded once: late in training a group holds many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmr_kernels.checks import FLOAT_DTYPES
from mmr_kernels.embedders.protocol import Embedder, TextEmbedder, TokenEmbedder


def embed_distinct(
    embedder: Embedder,
    texts: Sequence[str],
    token_ids: Tensor | None,
    mask: Tensor | None,
    *,
    max_tokens: int,
    device: torch.device | str,
) -> Tensor:
    """(N, D) of N completions on ``device``, each distinct one embedded once.

    Args:
        embedder: one that reads tokens gets tokens, where there are any; else it gets texts.
        texts: N completions.
        token_ids: (N, L): the same completions, padded anywhere with anything; or None.
        mask: (N, L), bool: the tokens that count, those of the policy and no others; None: nothing is masked.
        max_tokens: how many of a completion's tokens are read. An embedder of texts has a limit of its own.
        device: of the result.

    Raises:
        TypeError, ValueError: the embedder can't read what there is, or returned something else than a row for each.
    """
    if token_ids is not None and isinstance(embedder, TokenEmbedder):
        mask = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask
        read = mask & (mask.cumsum(dim=1) <= max_tokens)
        rows, index = torch.unique(token_ids.masked_fill(~read, -1).to(device), dim=0, return_inverse=True)
        returned = embedder.embed_tokens(rows.clamp(min=0), rows >= 0)
    elif isinstance(embedder, TextEmbedder):
        places: dict[str, int] = {}
        index = torch.tensor([places.setdefault(text, len(places)) for text in texts], device=device)
        rows = list(places)
        returned = embedder.embed_texts(rows, device)
    else:
        raise TypeError(f"{type(embedder).__name__} reads token ids only, and here there are only texts")
    return _checked(embedder, returned, len(rows)).detach().to(device)[index]


def _checked(embedder: Embedder, vectors: object, count: int) -> Tensor:
    """What the embedder returned, as the op takes it."""
    name = type(embedder).__name__
    if isinstance(vectors, np.ndarray) and vectors.dtype.kind == "f":
        vectors = torch.from_numpy(vectors.astype(np.float32))
    if not isinstance(vectors, Tensor):
        got = getattr(vectors, "dtype", type(vectors).__name__)
        raise TypeError(f"{name} must return a torch.Tensor or a numpy.ndarray of floats, got {got}")
    if vectors.dtype is torch.float64:
        vectors = vectors.to(torch.float32)
    if vectors.dtype not in FLOAT_DTYPES:
        takes = " or ".join(str(dtype) for dtype in (*FLOAT_DTYPES, torch.float64))
        raise TypeError(f"{name} must return {takes}, got {vectors.dtype}")
    if vectors.dim() != 2 or len(vectors) != count:
        raise ValueError(
            f"{name} must return shape ({count}, D), a row for each of {count} distinct completions; got"
            f" {tuple(vectors.shape)}"
        )
    return vectors
