"""Which completions belong together: uniform, ragged and labelled groups brought to one normal form.

The form is made on the device of the rewards without reading a value, so it costs no sync on a GPU and traces under
``torch.compile``. What the host can't know there, it bounds: labels make N groups, of which the last are empty.
"""

from __future__ import annotations

import itertools
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmr_kernels import checks
from mmr_kernels.options import plain

INTEGERS = (int, torch.SymInt)  # a tuple: the compiler of torch 2.6 traces no union of types
Labels = Tensor | np.ndarray | Sequence[object]


class Groups(NamedTuple):
    """Normal form; see ``mmr_kernels.problem.Problem`` for what the fields mean."""

    group_size: int
    group_offsets: Tensor | None = None
    order: Tensor | None = None
    group_of: Tensor | None = None  # (N,) int64: the group of each completion, for labelled groups
    max_group_size: int = 0


def lay_out(
    rewards: Tensor,
    group_size: int | None,
    group_offsets: Tensor | Sequence[int] | None,
    group_ids: Labels | None,
    max_group_size: int | None = None,
) -> Groups:
    """Bring the caller's layout to the normal form.

    Raises:
        ValueError, TypeError: naming the argument, what it got and what it takes.
    """
    shape = rewards.shape
    bound = 0 if max_group_size is None else _size("max_group_size", max_group_size)
    if len(shape) == 2:
        if group_size is None and group_offsets is None and group_ids is None:
            checks.check_bound(bound, shape[1])
            return Groups(shape[1])
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
        return _uniform(count, _size("group_size", group_size), bound)
    if group_offsets is not None:
        return _ragged(rewards, group_offsets, bound)
    assert group_ids is not None
    return _labelled(rewards, group_ids, bound)


def _size(name: str, size: int) -> int:
    size = size if isinstance(size, INTEGERS) else plain(size)
    if isinstance(size, bool) or not isinstance(size, INTEGERS):
        raise TypeError(f"{name} must be an int, got {type(size).__name__}")
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {size}")
    return size


def _uniform(count: int, group_size: int, bound: int) -> Groups:
    if count % group_size:
        raise ValueError(f"group_size must divide the number of completions, {count}; got {group_size}")
    checks.check_bound(bound, group_size)
    return Groups(group_size)


def _ragged(rewards: Tensor, group_offsets: Tensor | Sequence[int], bound: int) -> Groups:
    listed = _values("group_offsets", group_offsets, "an integer tensor or a sequence of ints")
    if isinstance(listed, Tensor):
        offsets = listed
    else:
        try:
            offsets = torch.tensor(listed, dtype=None if listed else torch.int64)
            largest = max([0, *(end - first for first, end in itertools.pairwise(listed))])
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"group_offsets must be an integer tensor or a sequence of ints, got {reprlib.repr(group_offsets)}"
            ) from error
        if not offsets.is_floating_point():
            bound = checks.check_bound(bound, largest)
        offsets = offsets.to(rewards.device, non_blocking=True)
    return Groups(0, offsets, max_group_size=bound)


def _labelled(rewards: Tensor, group_ids: Labels, bound: int) -> Groups:
    count = rewards.shape[0]
    labels, largest = _integers("group_ids", group_ids, rewards)
    order = torch.argsort(labels, stable=True)
    ordered = labels[order]
    starts = torch.ones_like(order)
    starts[1:] = (ordered[1:] != ordered[:-1]).to(torch.int64)
    group_in_order = starts.cumsum(0) - 1
    offsets = torch.searchsorted(group_in_order, torch.arange(count + 1, device=rewards.device))
    group_of = torch.empty_like(order).scatter_(0, order, group_in_order)
    return Groups(0, offsets, order, group_of, checks.check_bound(bound, largest))


def clusters(rewards: Tensor, labels: Labels, groups: Groups, across_groups: bool) -> Tensor:
    """The labels of ``mmr_advantages`` as (N,) int64; ``across_groups``: those of other groups made other labels.

    Raises:
        TypeError, ValueError: as ``lay_out``.
    """
    if rewards.dim() == 2:
        labels = _without_rows(labels, rewards.shape)
    count = rewards.numel()
    numbers = _integers("labels", labels, rewards)[0].reshape(-1).to(torch.int64)
    if across_groups:
        if groups.group_offsets is not None:  # read here, before the op checks them
            checks.check_offsets(groups.group_offsets, rewards)
        ordered, at = numbers.sort()
        first = torch.searchsorted(ordered, ordered)  # equal labels have one first place among the sorted
        dense = torch.empty_like(first).scatter_(0, at, first)
        numbers = group_of(count, groups, rewards.device) * count + dense
    return numbers


def _without_rows(labels: Labels, shape: torch.Size) -> Labels:
    """Those of an array of two dimensions or a list of lists, a row per group, one after the other; others as they are.

    No label is a list, so there is nothing to mistake for one.
    """
    rows: list[Any] = list(labels) if isinstance(labels, (list, tuple, np.ndarray)) else []
    in_rows = [(isinstance(row, list) or getattr(row, "ndim", 0) == 1) and len(row) == shape[1] for row in rows]
    return [label for row in rows for label in row] if rows and len(rows) == shape[0] and all(in_rows) else labels


def group_of(count: int, groups: Groups, device: torch.device) -> Tensor:
    """The group of each completion, (N,) int64."""
    if groups.group_of is not None:
        return groups.group_of
    position = torch.arange(count, device=device)
    if groups.group_offsets is None:
        return position // max(groups.group_size, 1)
    group = torch.searchsorted(groups.group_offsets.to(torch.int64), position, right=True) - 1
    return group if groups.order is None else torch.empty_like(group).scatter_(0, groups.order, group)


def _integers(name: str, labels: Labels, rewards: Tensor) -> tuple[Tensor, int]:
    """Labels as integers on the device of the rewards, in their shape or flat; how many share one at most, 0 where
    a tensor holds them."""
    numbers, most = _values(name, labels, "an integer tensor or a sequence of hashable labels, one per completion"), 0
    if not isinstance(numbers, Tensor):
        listed = _numbered(name, numbers)
        most = max([0, *Counter(listed).values()])
        numbers = torch.tensor(listed, dtype=torch.int64).to(rewards.device, non_blocking=True)
    checks.check_dtype(name, numbers, (*checks.INTEGER_DTYPES, torch.bool))
    shape, flat = tuple(rewards.shape), (rewards.numel(),)
    if numbers.shape not in (shape, flat):
        takes = f"{shape}" if shape == flat else f"{shape}, or {flat}"
        raise ValueError(f"{name} must have the shape of rewards, {takes}; got {tuple(numbers.shape)}")
    checks.check_device(name, numbers, rewards)
    return numbers, most


def _values(name: str, given: Any, takes: str) -> Tensor | list[Any]:
    """What a container of one dimension holds, as a list; as a tensor, unread, where tensors are in it."""
    if isinstance(given, Tensor):
        checks.check_tensor(name, given)
        return given
    try:
        if isinstance(given, (str, bytes, Mapping, Set)) or getattr(given, "ndim", 1) != 1:
            raise TypeError  # though each can be iterated over, a table by its columns' names
        listed = [getattr(given, name) for name in ("tolist", "to_pylist") if hasattr(given, name)]
        values = list(listed[0]() if listed else given)
        if any(isinstance(value, Tensor) for value in values):
            return torch.stack([torch.as_tensor(value) for value in values])
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be {takes}; got {reprlib.repr(given)}") from error
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]


def _numbered(name: str, labels: list[Any]) -> list[int]:
    """Equal labels as equal numbers."""
    codes: dict[object, int] = {}
    try:
        numbers = [codes.setdefault(label, len(codes)) for label in labels]
    except TypeError as error:
        raise TypeError(f"{name} must be hashable labels, one per completion: {error}") from error
    for label, code in codes.items():
        if label is None or _is_nan(label):
            raise ValueError(
                f"{name} must hold a label for each completion; got {label!r} at position {numbers.index(code)}"
            )
    if name == "group_ids" and len(codes) == len(labels) > 1 and not torch.compiler.is_dynamo_compiling():
        checks.warn_of_groups_of_one()
    return numbers


def _is_nan(label: Any) -> bool:
    """Not equal to itself, so not to be told from others: a NaN of any kind, pandas' NA, what holds one."""
    if isinstance(label, tuple | frozenset):
        return any(_is_nan(part) for part in label)
    try:
        return bool(label != label)
    except (TypeError, ValueError):  # pandas' NA is neither equal nor unequal
        return True
