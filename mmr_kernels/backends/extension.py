"""The call of a compiled module: options by name, then sizes and addresses, as ``csrc/bindings.h`` takes them."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch

from mmr_kernels.options import Options
from mmr_kernels.problem import MMRResult, Problem

_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}


@functools.lru_cache(maxsize=512)
def parsed(module: ModuleType, options: Options) -> Any:
    """The module's own form of the options, made once: reading a dozen names takes as long as one group's work."""
    return module.Options({name: getattr(options, name) for name in options._fields if name in module.takes})


def arguments(module: ModuleType, problem: Problem, outputs: MMRResult) -> tuple[object, ...]:
    """Of the module's function ``mmr``, up to those that only that module takes."""
    (
        rewards, embeddings, num_groups, group_size, options, similarity, valid, group_offsets, order, lam, labels,
        diversity, group_of, _,
    ) = problem  # fmt: skip
    advantages, reweighted_rewards, selection_rank, max_similarity, lam_out, signal = outputs
    return (
        parsed(module, options),
        rewards.data_ptr(),
        0 if embeddings is None else embeddings.data_ptr(),
        "float32" if embeddings is None else _DTYPES[embeddings.dtype],
        rewards.numel(),
        num_groups,
        group_size,
        problem.largest_group,
        0 if embeddings is None else embeddings.shape[-1],
        0 if similarity is None else similarity.data_ptr(),
        0 if valid is None else valid.data_ptr(),
        0 if group_offsets is None else group_offsets.data_ptr(),
        0 if order is None else order.data_ptr(),
        0 if lam is None else lam.data_ptr(),
        0 if lam is None else lam.numel(),
        0 if labels is None else labels.data_ptr(),
        0 if diversity is None else diversity.data_ptr(),
        0 if diversity is None else diversity.numel(),
        0 if group_of is None else group_of.data_ptr(),
        0 if advantages is None else advantages.data_ptr(),
        0 if reweighted_rewards is None else reweighted_rewards.data_ptr(),
        0 if selection_rank is None else selection_rank.data_ptr(),
        0 if max_similarity is None else max_similarity.data_ptr(),
        0 if lam_out is None else lam_out.data_ptr(),
        signal.data_ptr() if problem.has_signal else 0,
    )
