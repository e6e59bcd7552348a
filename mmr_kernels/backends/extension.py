"""What the compiled modules are called with: raw pointers, sizes and options, in the order of ``csrc/mmr.h``."""

from __future__ import annotations

import torch

from mmr_kernels.problem import Outputs, Problem

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def arguments(problem: Problem, outputs: Outputs) -> list[object]:
    """Of a module's function ``mmr``, up to those that only that module takes."""
    rewards, embeddings, similarity, valid, group_offsets, order, lam, num_groups, group_size, *options, _ = problem
    return [
        rewards.data_ptr(),
        0 if embeddings is None else embeddings.data_ptr(),
        0 if embeddings is None else DTYPES[embeddings.dtype],
        0 if similarity is None else similarity.data_ptr(),
        0 if valid is None else valid.data_ptr(),
        0 if group_offsets is None else group_offsets.data_ptr(),
        0 if order is None else order.data_ptr(),
        0 if lam is None else lam.data_ptr(),
        0 if lam is None else lam.numel(),
        rewards.numel(),
        num_groups,
        group_size,
        0 if embeddings is None else embeddings.shape[-1],
        *options,
        *[0 if output is None else output.data_ptr() for output in outputs],
    ]
