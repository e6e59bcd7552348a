"""Checks of what the caller passes: each error names the argument, what it got and what it takes.

Sizes, dtypes and devices; options check themselves (``options.py``), and ``ops.py`` checks the values that it may read.
"""

from __future__ import annotations

import functools
import warnings

import torch
from torch import Tensor

from mmr_kernels.options import check_clusters, plain
from mmr_kernels.problem import Problem

FLOAT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_flag(name: str, value: object) -> bool:
    """A bool, or one of NumPy's or of torch's; as a bool."""
    value = value if isinstance(value, bool) else plain(value)
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {type(value).__name__}")
    return value


def check_tensor(name: str, value: object) -> None:
    """A torch tensor whose values lie in its memory: one by one, all here, and all of them valid."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout is not torch.strided or value.is_nested:
        raise TypeError(f"{name} must be a dense tensor, got {'a nested one' if value.is_nested else value.layout}")
    kind = type(value)  # by its name, because DTensor's module takes a second to import
    if kind is not Tensor and kind.__name__ in ("DTensor", "MaskedTensor"):
        raise TypeError(f"{name} must be a plain tensor, got a {kind.__name__}; pass its values, and a mask as valid")


def check_device(name: str, tensor: Tensor, rewards: Tensor) -> None:
    """On the device of the rewards."""
    if tensor.device != rewards.device:
        raise ValueError(f"{name} must be on the device of rewards, {rewards.device}; got {tensor.device}")


def check_dtype(name: str, tensor: Tensor, takes: tuple[torch.dtype, ...]) -> None:
    """One of the dtypes, in a dense tensor."""
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {tensor.layout}")
    if tensor.dtype not in takes:
        raise TypeError(f"{name} must be {' or '.join(str(dtype) for dtype in takes)}, got {tensor.dtype}")


def check_rewards(rewards: Tensor) -> None:
    """(N,) or (B, G), real."""
    check_tensor("rewards", rewards)
    if rewards.dtype.is_complex or rewards.is_quantized:
        raise TypeError(f"rewards must be real numbers, got {rewards.dtype}")
    if rewards.dim() not in (1, 2):
        raise ValueError(f"rewards must have shape (N,) or (groups, group size), got {tuple(rewards.shape)}")


def check_valid(valid: Tensor, rewards: Tensor) -> None:
    """Bool, like the rewards."""
    check_dtype("valid", valid, (torch.bool,))
    if valid.shape != rewards.shape:
        raise ValueError(f"valid must have the shape of rewards, {tuple(rewards.shape)}; got {tuple(valid.shape)}")
    check_device("valid", valid, rewards)


def check_embeddings(embeddings: Tensor, rewards: Tensor) -> None:
    """One vector per completion."""
    check_dtype("embeddings", embeddings, FLOAT_DTYPES)
    if embeddings.shape[:-1] != rewards.shape:
        takes = ", ".join(str(size) for size in rewards.shape)
        raise ValueError(
            f"embeddings must have shape ({takes}, D), one vector per completion; got {tuple(embeddings.shape)}"
        )
    check_device("embeddings", embeddings, rewards)


def check_offsets(group_offsets: Tensor, rewards: Tensor) -> None:
    """Integers, one more than there are groups."""
    check_dtype("group_offsets", group_offsets, INTEGER_DTYPES)
    if group_offsets.dim() != 1 or group_offsets.shape[0] < 1:
        raise ValueError(f"group_offsets must have shape (number of groups + 1,), got {tuple(group_offsets.shape)}")
    check_device("group_offsets", group_offsets, rewards)


def check_bound(max_group_size: int, largest: int) -> int:
    """What is known of the groups' sizes: ``largest``, else the caller's bound; each is 0 where it isn't known."""
    if max_group_size and max_group_size < largest:
        raise ValueError(
            f"max_group_size must be at least the size of the largest group, {largest}; got {max_group_size}"
        )
    return largest or max_group_size


@functools.cache
def warn_of_groups_of_one() -> None:
    """Once per process."""
    warnings.warn("group_ids holds no label twice, and the only member of a group gets advantage 0", stacklevel=2)


def check_similarity(similarity: Tensor, problem: Problem) -> None:
    """One square block per scope."""
    check_dtype("similarity", similarity, FLOAT_DTYPES)
    scope = problem.options.scope
    if scope == "group" and problem.group_offsets is not None:
        raise ValueError(
            "similarity takes groups of one size, as (groups, group size, group size); for groups given by"
            " group_offsets or group_ids pass embeddings instead"
        )
    takes = (problem.num_scopes, problem.largest_scope, problem.largest_scope)
    if similarity.shape != takes:
        raise ValueError(
            f'similarity must have shape {takes}, one square block per scope for scope="{scope}";'
            f" got {tuple(similarity.shape)}"
        )
    check_device("similarity", similarity, problem.rewards)


def check_problem(problem: Problem) -> None:
    """All that keeps a kernel within its tensors, from sizes, dtypes and devices alone.

    The op checks, for every backend: an exported program, and whoever calls the op by its name, have passed no other
    check.
    """
    (
        rewards, embeddings, num_groups, group_size, options, similarity, valid, group_offsets, order, lam, labels,
        diversity, _, max_group_size,
    ) = problem  # fmt: skip
    if embeddings is not None:
        check_embeddings(embeddings, rewards)
    if valid is not None:
        check_valid(valid, rewards)
    if similarity is not None:
        check_similarity(similarity, problem)
    given = (embeddings is not None) + (similarity is not None)
    if given == 2 or (given == 0 and problem.method_needs_similarity):
        raise ValueError(
            f'method="{options.method}" takes embeddings or similarity, one of the two; got {given} of them'
        )
    if labels is not None:
        check_dtype("labels", labels, INTEGER_DTYPES)
        if labels.shape != (rewards.numel(),):
            raise ValueError(f"labels must have shape ({rewards.numel()},); got {tuple(labels.shape)}")
        check_device("labels", labels, rewards)
    check_clusters(options, labels is not None)
    if group_offsets is None and (group_size < 0 or num_groups * group_size != rewards.numel()):
        raise ValueError(f"group_size must divide the number of completions, {rewards.numel()}; got {group_size}")
    if group_offsets is not None and group_size != 0:
        raise ValueError(f"group_size must be 0 beside group_offsets, got {group_size}")
    if max_group_size < 0:
        raise ValueError(f"max_group_size must not be negative, got {max_group_size}")
    check_bound(max_group_size, group_size)
    if order is not None:
        check_dtype("order", order, (torch.int64,))
        if order.shape != (rewards.numel(),) or group_offsets is None:
            raise ValueError(f"order must have shape ({rewards.numel()},) and go with group_offsets, got {order.shape}")
        check_device("order", order, rewards)
    if (lam is None) != (options.lam_mode != "tensor"):
        raise ValueError(f'lam must be a tensor with lam_mode="tensor" alone; lam_mode is "{options.lam_mode}"')
    for name, tensor in (("lam", lam), ("diversity", diversity)):
        if tensor is None:
            continue
        check_device(name, tensor, rewards)
        if tensor.numel() != 1 and tensor.shape != (problem.num_scopes,):
            takes = "(1,)" if options.scope == "batch" else f"(1,) or ({num_groups},)"
            raise ValueError(
                f'{name} must have shape {takes} with scope="{options.scope}" and these groups;'
                f" got {tuple(tensor.shape)}"
            )
