"""The table of backends, and the choice among them.

A backend is a module with ``why_not_here(host)`` (what the machine lacks), ``why_not(problem, host)`` (what it
can't take: from sizes, dtypes, device and options alone, never from values) and ``run(problem)``. Both answers
are None, or one sentence; that sentence is the error of an explicit choice, the row of ``mmr-kernels info`` and
the reason of a skipped test.
"""

from __future__ import annotations

import functools
from types import ModuleType

import torch

from mmr_kernels.backends import cpu, cuda, torch_eager, triton
from mmr_kernels.backends.host import Host, this_host, unasked
from mmr_kernels.options import unpack
from mmr_kernels.problem import Problem

#: In order of preference; "torch" is last and never refuses.
BACKENDS: dict[str, ModuleType] = {"triton": triton, "cuda": cuda, "cpu": cpu, "torch": torch_eager}


def reasons(problem: Problem, host: Host) -> dict[str, str | None]:
    """For each backend, why it can't take the problem, or None."""
    return {name: backend.why_not(problem, host) for name, backend in BACKENDS.items()}


def machine_reasons(host: Host | None = None) -> dict[str, str | None]:
    """For each backend, why it can't run on this machine whatever the problem, or None."""
    host = host or this_host()
    return {name: backend.why_not_here(host) for name, backend in BACKENDS.items()}


def available_backends() -> list[str]:
    """Names of the backends that can run on this machine, the preferred first.

    Which of them takes a given call depends on its device, sizes and dtypes too; ``mmr-kernels info`` says why
    the others can't run here.
    """
    return [name for name, reason in machine_reasons().items() if reason is None]


@functools.cache
def _unasked(host: Host) -> tuple[Host, tuple[ModuleType, ...]]:
    """The machine as ``backend=None`` sees it, and the backends that it can run, whatever the problem."""
    host = unasked(host)
    return host, tuple(backend for backend in BACKENDS.values() if backend.why_not_here(host) is None)


def resolve(name: str | None, problem: Problem) -> ModuleType:
    """The backend named, or the first in the table that takes the problem.

    Raises:
        ValueError: the named backend can't take it; the message says what it needs and what it got.
    """
    host = this_host()
    if name is None:
        host, able = _unasked(host)
        for backend in able:
            if backend.why_not(problem, host) is None:
                return backend
    assert name is not None  # "torch" takes everything
    reason = BACKENDS[name].why_not(problem, host)
    if reason is not None:
        raise ValueError(f"backend={name!r} {reason}")
    return BACKENDS[name]


def run_plain(packed: str) -> cpu.RunPlain | None:
    """What computes plain calls with these options on CPU tensors, if it is the CPU kernel; None if it is not.

    There, what the CPU kernel and those before it can take depends on the machine and the options alone, so that one
    look at the smallest problem answers for all of them.

    Raises:
        ValueError: as ``resolve``.
    """
    return _run_plain(packed, this_host())


@functools.lru_cache(maxsize=512)
def _run_plain(packed: str, host: Host) -> cpu.RunPlain | None:
    options, one = unpack(packed), torch.empty(1, 1, 1, device="cpu")
    return cpu.run_plain(options) if resolve(options.backend, Problem(one[0], one, 1, 1, options)) is cpu else None
