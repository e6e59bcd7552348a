"""The op as ``torch.library`` knows it: schemas, fake implementation, and the one implementation for all devices.

Registered with ``Library.define`` and ``Library.impl``: the ``custom_op`` decorator costs tens of microseconds a
call, which is more than the whole op takes for one group (docs/cpu.md has the figures).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmr_kernels import backends
from mmr_kernels.options import unpack
from mmr_kernels.problem import Outputs, Problem, allocate_outputs

_library = torch.library.Library("mmr_kernels", "DEF")  # type: ignore[no-untyped-call]
# What few calls give comes last, with defaults: what a call leaves out, the dispatcher doesn't box.
_ARGUMENTS = (
    "(Tensor rewards, Tensor? embeddings, SymInt group_size, str options, Tensor? similarity=None,"
    " Tensor? valid=None, Tensor? group_offsets=None, Tensor? order=None, Tensor? lam=None)"
)
_library.define(f"mmr{_ARGUMENTS} -> Tensor")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    f"mmr.details{_ARGUMENTS} -> (Tensor advantages, Tensor reweighted_rewards, Tensor selection_rank,"
    " Tensor max_similarity, Tensor lam)"
)

#: The op with one output, the advantages or the reweighted rewards, as ``Options.outputs`` says.
mmr = torch.ops.mmr_kernels.mmr.default
#: The op with all of them.
mmr_details = torch.ops.mmr_kernels.mmr.details


def _check_values(problem: Problem) -> None:
    """What only the values can tell: read for CPU tensors, never for a device's (that would be a sync)."""
    if problem.rewards.device.type != "cpu":
        return
    offsets, lam = problem.group_offsets, problem.lam
    if offsets is not None and problem.order is None:
        count = problem.num_completions
        if offsets[0] != 0 or offsets[-1] != count or bool((offsets.diff() < 0).any()):
            raise ValueError(
                f"group_offsets must start at 0, never descend and end at the number of completions, {count};"
                f" got {_abbreviated(offsets)}"
            )
    if lam is not None and not bool(((lam >= 0) & (lam <= 1)).all()):
        raise ValueError(f"lam must lie in [0, 1], got {_abbreviated(lam)}")


def _abbreviated(values: Tensor) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:8].tolist())
    return f"[{shown}, …]" if values.numel() > 8 else f"[{shown}]"


def _problem(
    rewards: Tensor,
    embeddings: Tensor | None,
    group_size: int,
    packed_options: str,
    similarity: Tensor | None = None,
    valid: Tensor | None = None,
    group_offsets: Tensor | None = None,
    order: Tensor | None = None,
    lam: Tensor | None = None,
) -> Problem:
    """The problem, in the dtypes and the contiguous memory that ``Problem`` promises.

    Done here and not in the API, because a compiler may hand the op other strides than the caller wrote.
    """
    if rewards.dtype is not torch.float32 or not rewards.is_contiguous():
        rewards = rewards.to(torch.float32).contiguous()
    if embeddings is not None and not embeddings.is_contiguous():
        embeddings = embeddings.contiguous()
    if similarity is not None:
        similarity = similarity.to(torch.float32).contiguous()
    if valid is not None:
        valid = valid.contiguous()
    if lam is not None:
        lam = lam.to(torch.float32).contiguous()
    if group_offsets is not None:
        group_offsets = group_offsets.to(torch.int64).contiguous()
        num_groups = group_offsets.shape[0] - 1
    else:
        shape = rewards.shape
        num_groups = shape[0] if len(shape) == 2 else shape[0] // group_size
    return Problem(
        rewards, embeddings, num_groups, group_size, unpack(packed_options), similarity, valid, group_offsets, order,
        lam,
    )  # fmt: skip


def _outputs(*arguments: Any) -> Outputs:
    problem = _problem(*arguments)
    if problem.group_offsets is not None or problem.lam is not None:
        _check_values(problem)
    outputs: Outputs = backends.resolve(problem.options.backend, problem).run(problem)
    return outputs


def _fake_outputs(*arguments: Any) -> Outputs:
    return allocate_outputs(_problem(*arguments))


def _mmr(rewards: Tensor, embeddings: Tensor | None, group_size: int, packed_options: str, *rare: Any) -> Tensor:
    if (
        not rare
        and embeddings is not None
        and group_size
        and rewards.is_cpu
        and rewards.dtype is torch.float32
        and rewards.is_contiguous()
        and embeddings.is_contiguous()
    ):
        options = backends.plain_options(packed_options)
        if options is not None:
            return backends.cpu.run_plain(rewards, embeddings, group_size, options)
    return _outputs(rewards, embeddings, group_size, packed_options, *rare).only()


def _mmr_fake(*arguments: Any) -> Tensor:
    return _fake_outputs(*arguments).only()


def _mmr_details(*arguments: Any) -> tuple[Tensor | None, ...]:
    return tuple(_outputs(*arguments))


def _mmr_details_fake(*arguments: Any) -> tuple[Tensor | None, ...]:
    return tuple(_fake_outputs(*arguments))


for _name, _real, _fake in (("mmr", _mmr, _mmr_fake), ("mmr.details", _mmr_details, _mmr_details_fake)):
    _library.impl(_name, _real, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    # The result never requires grad, whatever the inputs do.
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"mmr_kernels::{_name}", _fake, lib=_library)
