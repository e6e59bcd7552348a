"""Lists of token ids as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(N, L) ids, padded on the right, and the mask, False at padding."""
    lengths = torch.tensor([len(ids) for ids in token_ids], dtype=torch.int64)
    mask = torch.arange(max(map(len, token_ids), default=0)) < lengths.unsqueeze(1)
    filled = torch.zeros(mask.shape, dtype=torch.int64)
    filled[mask] = torch.tensor([token for ids in token_ids for token in ids], dtype=torch.int64)
    return filled, mask
