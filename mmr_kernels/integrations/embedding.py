"""Completions as a trainer holds them, token ids under a mask, to vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmr_kernels.embedders import Embedder, TokenEmbedder, embed_distinct


def embed_own(
    embedder: Embedder,
    token_ids: Tensor,
    own: Tensor,
    texts: Callable[[], list[str]],
    *,
    max_tokens: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(n, D) of n completions, of which only the policy's own tokens are read: not what a tool or an environment said.

    Args:
        embedder: of tokens, or of texts.
        token_ids: (n, L), padded anywhere with anything.
        own: (n, L), bool: the tokens that the policy wrote.
        texts: n completions as texts of these tokens; asked for an embedder of texts alone.
        max_tokens: how many of a completion's tokens are read. An embedder of texts has a limit of its own.
        device: of the result.
    """
    words = [] if isinstance(embedder, TokenEmbedder) else texts()
    vectors = embed_distinct(embedder, words, token_ids, own, max_tokens=max_tokens, device=device)
    # A completion without such a token isn't valid, and its vector no fault of the embedder.
    return vectors.masked_fill(~own.any(dim=1, keepdim=True).to(vectors.device), 1.0)


def decoded(tokenizer: Any, token_ids: Tensor, own: Tensor) -> list[str]:
    """The text of each row's own tokens."""
    rows = [row[kept].tolist() for row, kept in zip(token_ids.cpu(), own.cpu(), strict=True)]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return texts
