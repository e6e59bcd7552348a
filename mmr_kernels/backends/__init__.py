"""The table of backends, and the choice among them.

A backend is a module with ``why_not_here(host)`` (what the machine lacks), ``why_not(problem, host)`` (what it
can't take: from sizes, dtypes, device and options alone, never from values) and ``run(problem)``. Both answers
are None, or one sentence; that sentence is the error of an explicit choice, the row of ``mmr-kernels info`` and
the reason of a skipped test.
"""

from __future__ import annotations

import functools
from types import ModuleType

from mmr_kernels.backends import cpu, cuda, torch_eager, triton
from mmr_kernels.backends.host import Host, this_host, unasked
from mmr_kernels.problem import Problem

#: In order of preference; "torch" is last and never refuses. "triton" stands before "cuda" because it took an H100 less
#: time in 24 of 27 cases in 16 bits and in 9 of 16 in float32 (docs/gpu.md).
BACKENDS: dict[str, ModuleType] = {"triton": triton, "cuda": cuda, "cpu": cpu, "torch": torch_eager}


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
