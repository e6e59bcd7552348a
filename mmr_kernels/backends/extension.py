"""What the compiled modules are called with: options, raw pointers and sizes, in the order of ``csrc/mmr.h``."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch

from mmr_kernels.options import Options
from mmr_kernels.problem import Outputs, Problem

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


@functools.lru_cache(maxsize=512)
def parsed(module: ModuleType, options: Options) -> Any:
    """The module's own form of the options, made once: reading ten strings takes as long as the work for one group."""
    return module.Options(*options[:-2])


def arguments(module: ModuleType, problem: Problem, outputs: Outputs) -> tuple[object, ...]:
    """Of the module's function ``mmr``, up to those that only that module takes."""
    (
        rewards, embeddings, num_groups, group_size, options, similarity, valid, group_offsets, order, lam,
    ) = problem  # fmt: skip
    advantages, reweighted_rewards, selection_rank, max_similarity, lam_out = outputs
    return (
        parsed(module, options),
        rewards.data_ptr(),
        0 if embeddings is None else embeddings.data_ptr(),
        0 if embeddings is None else DTYPES[embeddings.dtype],
        rewards.numel(),
        num_groups,
        group_size,
        0 if embeddings is None else embeddings.shape[-1],
        0 if similarity is None else similarity.data_ptr(),
        0 if valid is None else valid.data_ptr(),
        0 if group_offsets is None else group_offsets.data_ptr(),
        0 if order is None else order.data_ptr(),
        0 if lam is None else lam.data_ptr(),
        0 if lam is None else lam.numel(),
        0 if advantages is None else advantages.data_ptr(),
        0 if reweighted_rewards is None else reweighted_rewards.data_ptr(),
        0 if selection_rank is None else selection_rank.data_ptr(),
        0 if max_similarity is None else max_similarity.data_ptr(),
        0 if lam_out is None else lam_out.data_ptr(),
    )
