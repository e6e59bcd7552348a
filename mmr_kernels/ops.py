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
from mmr_kernels.options import unpack
from mmr_kernels.problem import Outputs, Problem, allocate_outputs

_library = torch.library.Library("mmr_kernels", "DEF")  # type: ignore[no-untyped-call]
# Every argument and every default costs a call 0.1 to 0.2 µs in torch's dispatcher, and a list of outputs 0.5, so the
# call that training loops make has an overload of its own.
_library.define(  # type: ignore[no-untyped-call]
    "mmr(Tensor rewards, Tensor embeddings, str options, SymInt group_size=0) -> Tensor"
)
_GENERAL = (
    "(Tensor rewards, Tensor? embeddings, str options, SymInt group_size, Tensor? similarity, Tensor? valid,"
    " Tensor? group_offsets, Tensor? order, Tensor? lam)"
)
_library.define(f"mmr.general{_GENERAL} -> Tensor")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    f"mmr.details{_GENERAL} -> (Tensor advantages, Tensor reweighted_rewards, Tensor selection_rank,"
    " Tensor max_similarity, Tensor lam)"
)

#: One output, the advantages or the reweighted rewards, of groups of one size; without it, rewards are (B, G).
mmr: Callable[..., Tensor] = torch.ops.mmr_kernels.mmr.default
#: One output of every call.
mmr_general: Callable[..., Tensor] = torch.ops.mmr_kernels.mmr.general
#: All outputs of every call; both take every argument.
mmr_details: Callable[..., tuple[Tensor, ...]] = torch.ops.mmr_kernels.mmr.details


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
    packed_options: str,
    group_size: int = 0,
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
    elif rewards.dim() == 2:
        num_groups, group_size = rewards.shape
    else:
        num_groups = rewards.shape[0] // group_size
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


def _mmr(rewards: Tensor, embeddings: Tensor, packed_options: str, group_size: int = 0) -> Tensor:
    run_plain = backends.run_plain(packed_options) if rewards.is_cpu else None
    result = run_plain(rewards, embeddings, group_size) if run_plain is not None else None
    return _general(rewards, embeddings, packed_options, group_size) if result is None else result


def _general(*arguments: Any) -> Tensor:
    return _outputs(*arguments).only()


def _general_fake(*arguments: Any) -> Tensor:
    return _fake_outputs(*arguments).only()


def _details(*arguments: Any) -> tuple[Tensor | None, ...]:
    return tuple(_outputs(*arguments))


def _details_fake(*arguments: Any) -> tuple[Tensor | None, ...]:
    return tuple(_fake_outputs(*arguments))


for _name, _real, _fake in (
    ("mmr", _mmr, _general_fake),
    ("mmr.general", _general, _general_fake),
    ("mmr.details", _details, _details_fake),
):
    _library.impl(_name, _real, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    # The result never requires grad, whatever the inputs do.
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"mmr_kernels::{_name}", _fake, lib=_library)
