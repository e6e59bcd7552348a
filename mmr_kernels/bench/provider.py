"""A provider: one of those that are timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mmr_kernels.bench.cases import Case, Inputs
from mmr_kernels.bench.measure import Call


class Trial(NamedTuple):
    """A provider, given its inputs."""

    call: Call  # what is timed
    wrong: Callable[[Any], str | None]  # what is wrong with a result of the call, or None


def takes_all(case: Case) -> str | None:
    """No reason against any case."""
    return None


class Provider(NamedTuple):
    """One of the competitors.

    ``kind``: "ours", a backend through the public API; "baseline", the same in eager PyTorch; "peer", another
    package. ``option`` is its name for ``--provider``, where the ``name`` in rows says more. ``captured``: on a GPU its
    call is timed in a CUDA graph. ``method``: empty for MMR, else another method, or "details", MMR with all that the
    op returns; such a one of ours takes turns with its MMR, and a baseline with ours of its method.
    """

    name: str
    kind: str
    task: str
    why_not_here: str | None  # None, or the reason that it can't run on this machine
    prepare: Callable[[Inputs], Trial]
    why_not: Callable[[Case], str | None] = takes_all  # None, or why it is not asked to take a case
    option: str = ""
    captured: bool = False
    method: str = ""

    @property
    def asked_for_as(self) -> str:
        """Its name for ``--provider``."""
        return self.option or self.name
