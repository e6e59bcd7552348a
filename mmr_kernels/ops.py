"""The op as ``torch.library`` knows it: schemas, fake implementation, and the one implementation for all devices.

Registered with ``Library.define`` and ``Library.impl``: the ``custom_op`` decorator costs tens of microseconds a
call, which is more than the whole op takes for one group (docs/cpu.md has the figures).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmr_kernels import backends
from mmr_kernels.checks import check_bound, check_offsets, check_problem, check_rewards, warn_of_groups_of_one
from mmr_kernels.groups import Groups, group_of
from mmr_kernels.options import completed, unpack
from mmr_kernels.problem import MMRResult, Problem, allocate_outputs

_library = torch.library.Library("mmr_kernels", "DEF")  # type: ignore[no-untyped-call]
_ARGUMENTS = (
    "(Tensor rewards, Tensor? embeddings, str options, SymInt group_size, Tensor? similarity, Tensor? valid,"
    " Tensor? group_offsets, Tensor? order, Tensor? lam, Tensor? labels=None, Tensor? diversity=None,"
    " SymInt max_group_size=0)"
)
_library.define(f"mmr{_ARGUMENTS} -> Tensor")  # type: ignore[no-untyped-call]
# Six results and not a list of them, which costs a call 0.5 µs.
_library.define(  # type: ignore[no-untyped-call]
    f"mmr.details{_ARGUMENTS} -> (Tensor advantages, Tensor reweighted_rewards, Tensor selection_rank,"
    " Tensor max_similarity, Tensor lam, Tensor signal)"
)

#: The advantages or the reweighted rewards, as the options' ``outputs`` says.
mmr: Callable[..., Tensor] = torch.ops.mmr_kernels.mmr.default
#: Every output.
mmr_details: Callable[..., tuple[Tensor, ...]] = torch.ops.mmr_kernels.mmr.details


def _with_checked_values(problem: Problem) -> Problem:
    """Check values, and take the size of the largest group from them: read for CPU tensors, never for a device's (that
    would be a sync)."""
    if problem.rewards.device.type != "cpu":
        return problem
    offsets, order, count = problem.group_offsets, problem.order, problem.num_completions
    if offsets is not None:
        sizes = offsets.diff()
        if offsets[0] != 0 or offsets[-1] != count or bool((sizes < 0).any()):
            raise ValueError(
                f"group_offsets must start at 0, never descend and end at the number of completions, {count};"
                f" got {_abbreviated(offsets)}"
            )
        largest = int(sizes.max()) if len(sizes) else 0
        if order is not None and largest < 2 <= count:
            warn_of_groups_of_one()
        problem = problem._replace(max_group_size=check_bound(problem.max_group_size, largest))
    if order is not None and bool(((order < 0) | (order >= count)).any()):
        raise ValueError(f"order must lie in [0, {count}), got {_abbreviated(order)}")
    for name, numbers in (("lam", problem.lam), ("diversity", problem.diversity)):
        if numbers is not None and not bool(((numbers >= 0) & (numbers <= 1)).all()):
            raise ValueError(f"{name} must lie in [0, 1], got {_abbreviated(numbers)}")
    return problem


def _abbreviated(values: Tensor) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:8].tolist())
    return f"[{shown}, …]" if values.numel() > 8 else f"[{shown}]"


def _problem(
    rewards: Tensor,
    embeddings: Tensor | None,
    packed_options: str,
    group_size: int,
    similarity: Tensor | None,
    valid: Tensor | None,
    group_offsets: Tensor | None,
    order: Tensor | None,
    lam: Tensor | None,
    labels: Tensor | None = None,
    diversity: Tensor | None = None,
    max_group_size: int = 0,
) -> Problem:
    """The problem, in the dtypes and the contiguous memory that ``Problem`` promises.

    Done here and not in the API, because a compiler may hand the op other strides than the caller wrote.
    """
    check_rewards(rewards)
    if rewards.dtype is not torch.float32 or not rewards.is_contiguous():
        rewards = rewards.to(torch.float32).contiguous()
    if group_offsets is not None:
        check_offsets(group_offsets, rewards)
        group_offsets = group_offsets.to(torch.int64).contiguous()
        num_groups = group_offsets.numel() - 1
    elif rewards.dim() == 2:
        num_groups, group_size = rewards.shape
    else:
        num_groups = rewards.shape[0] // group_size if group_size > 0 else 0
    problem = Problem(
        rewards, embeddings, num_groups, group_size, completed(unpack(packed_options)), similarity, valid,
        group_offsets, order, lam, labels, diversity, None, max_group_size,
    )  # fmt: skip
    check_problem(problem)
    if embeddings is not None and not embeddings.is_contiguous():
        problem = problem._replace(embeddings=embeddings.contiguous())
    if valid is not None and not valid.is_contiguous():
        problem = problem._replace(valid=valid.contiguous())
    if problem.has_signal and problem.options.scope == "batch":
        groups = Groups(problem.group_size, group_offsets, order)
        problem = problem._replace(group_of=group_of(problem.num_completions, groups, rewards.device))
    if similarity is None and order is None and lam is None and labels is None and diversity is None:
        return problem
    return problem._replace(
        similarity=_as(torch.float32, similarity),
        order=_as(torch.int64, order),
        lam=_as(torch.float32, lam),
        labels=_as(torch.int64, labels),
        diversity=_as(torch.float32, diversity),
    )


def _as(dtype: torch.dtype, tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype).contiguous()


def _outputs(*arguments: Any) -> MMRResult:
    problem = _problem(*arguments)
    if problem.group_offsets is not None or problem.lam is not None or problem.diversity is not None:
        problem = _with_checked_values(problem)
    outputs: MMRResult = backends.resolve(problem.options.backend, problem).run(problem)
    return outputs


def _fake_outputs(*arguments: Any) -> MMRResult:
    return allocate_outputs(_problem(*arguments))


def _only(outputs: MMRResult) -> Tensor:
    only = outputs.reweighted_rewards if outputs.advantages is None else outputs.advantages
    assert only is not None
    return only


def _mmr(*arguments: Any) -> Tensor:
    return _only(_outputs(*arguments))


def _mmr_fake(*arguments: Any) -> Tensor:
    return _only(_fake_outputs(*arguments))


# A named tuple is a tuple: what ``_outputs`` returns is what the schema of the details says.
for _name, _real, _fake in (("mmr", _mmr, _mmr_fake), ("mmr.details", _outputs, _fake_outputs)):
    _library.impl(_name, _real, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    # The result never requires grad, whatever the inputs do.
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"mmr_kernels::{_name}", _fake, lib=_library)
