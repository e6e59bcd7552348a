"""Which completions belong together: uniform, ragged and labelled groups brought to one normal form.

The form is made on the device of the rewards without reading a value, so it costs no sync on a GPU and traces under
``torch.compile``. What the host can't know there, it bounds: labels make N groups, of which the last are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmr_kernels import checks

INTEGERS = (int, torch.SymInt)  # a tuple: the compiler of torch 2.6 traces no union of types
Labels = Tensor | np.ndarray | Sequence[object]


class Groups(NamedTuple):
    """Normal form; see ``mmr_kernels.problem.Problem`` for what the fields mean."""

    num_groups: int
    group_size: int
    group_offsets: Tensor | None = None
    order: Tensor | None = None
    group_of: Tensor | None = None  # (N,) int64: the group of each completion, for labelled groups


def lay_out(
    rewards: Tensor,
    group_size: int | None,
    group_offsets: Tensor | Sequence[int] | None,
    group_ids: Labels | None,
) -> Groups:
    """Bring the caller's layout to the normal form.

    Raises:
        ValueError, TypeError: naming the argument, what it got and what it takes.
    """
    shape = rewards.shape
    if len(shape) == 2:
        if group_size is None and group_offsets is None and group_ids is None:
            groups, size = shape
            return Groups(groups, size)
        for name, given in (
            ("group_size", group_size),
            ("group_offsets", group_offsets),
            ("group_ids", group_ids),
        ):
            if given is not None:
                raise ValueError(
                    f"{name} goes with flat rewards of shape (N,); rewards of shape {tuple(shape)}"
                    " are (groups, group size) already"
                )
    count = shape[0]
    given_count = (group_size is not None) + (group_offsets is not None) + (group_ids is not None)
    if given_count != 1:
        raise ValueError(
            f"rewards of shape ({count},) need exactly one of group_size, group_offsets, group_ids; got {given_count}"
        )
    if group_size is not None:
        return _uniform(count, group_size)
    if group_offsets is not None:
        return _ragged(rewards, group_offsets)
    assert group_ids is not None
    return _labelled(rewards, group_ids)


def _uniform(count: int, group_size: int) -> Groups:
    if isinstance(group_size, bool) or not isinstance(group_size, INTEGERS):
        raise TypeError(f"group_size must be an int, got {type(group_size).__name__}")
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")
    if count % group_size:
        raise ValueError(f"group_size must divide the number of completions, {count}; got {group_size}")
    return Groups(count // group_size, group_size)


def _ragged(rewards: Tensor, group_offsets: Tensor | Sequence[int]) -> Groups:
    if not isinstance(group_offsets, Tensor):
        try:
            offsets = torch.tensor(group_offsets, dtype=None if len(group_offsets) else torch.int64)
            group_offsets = offsets.to(rewards.device, non_blocking=True)
        except (TypeError, ValueError) as error:
            raise TypeError(f"group_offsets must be a tensor or a sequence of ints, got {group_offsets!r}") from error
    checks.check_dtype("group_offsets", group_offsets, checks.INTEGER_DTYPES)
    if group_offsets.dim() != 1 or group_offsets.shape[0] < 1:
        raise ValueError(f"group_offsets must have shape (number of groups + 1,), got {tuple(group_offsets.shape)}")
    checks.check_device("group_offsets", group_offsets, rewards)
    return Groups(group_offsets.shape[0] - 1, 0, group_offsets)


def _labelled(rewards: Tensor, group_ids: Labels) -> Groups:
    count = rewards.shape[0]
    if not isinstance(group_ids, Tensor):
        if isinstance(group_ids, np.ndarray):
            group_ids = group_ids.tolist()
        codes: dict[object, int] = {}
        try:
            numbers = [codes.setdefault(label, len(codes)) for label in group_ids]
        except TypeError as error:
            raise TypeError(
                f"group_ids must be an integer tensor or a sequence of hashable labels, one per completion: {error}"
            ) from error
        group_ids = torch.tensor(numbers, dtype=torch.int64).to(rewards.device, non_blocking=True)
    checks.check_dtype("group_ids", group_ids, (*checks.INTEGER_DTYPES, torch.bool))
    if group_ids.shape != rewards.shape:
        raise ValueError(f"group_ids must have the shape of rewards, ({count},); got {tuple(group_ids.shape)}")
    checks.check_device("group_ids", group_ids, rewards)
    order = torch.argsort(group_ids, stable=True)
    ordered = group_ids[order]
    starts = torch.ones_like(order)
    starts[1:] = (ordered[1:] != ordered[:-1]).to(torch.int64)
    group_in_order = starts.cumsum(0) - 1
    offsets = torch.searchsorted(group_in_order, torch.arange(count + 1, device=rewards.device))
    group_of = torch.empty_like(order).scatter_(0, order, group_in_order)
    return Groups(count, 0, offsets, order, group_of)
