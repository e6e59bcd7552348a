"""The table of backends and the choice among them, on this machine and on made-up ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmr_kernels import available_backends, backends, mmr_advantages
from mmr_kernels.backends import BACKENDS, Host, machine_reasons, resolve, this_host, unasked
from mmr_kernels.options import OPTIONS, Options
from mmr_kernels.problem import Problem

BARE = Host(**dict.fromkeys(Host._fields, "nothing of the kind"))
FULL = Host(**dict.fromkeys(Host._fields, None))


def problem(device: str = "cpu") -> Problem:
    rewards, embeddings = torch.rand(2, 4, device=device), torch.randn(2, 4, 8, device=device)
    return Problem(rewards, embeddings, 2, 4, Options())


def test_torch_is_last_and_never_refuses() -> None:
    assert list(BACKENDS)[-1] == "torch"
    for host in (BARE, FULL, this_host()):
        for device in ("cpu", "meta"):
            assert BACKENDS["torch"].why_not(problem(device), host) is None
        assert BACKENDS["torch"].why_not_here(host) is None


def test_every_backend_of_the_table_can_be_asked_for_by_name() -> None:
    """In the order in which ``backend=None`` tries them."""
    assert OPTIONS["backend"].choices == (*BACKENDS, None)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "torch"])
def test_a_bare_machine_is_told_what_is_missing(name: str) -> None:
    """The sentence says what the backend needs, what was found, and what to do about it."""
    reason = machine_reasons(BARE)[name]
    assert reason is not None
    assert reason.startswith("needs ")
    assert "nothing of the kind" in reason
    assert ";" in reason


def test_reasons_are_sentences_or_none() -> None:
    for host in (BARE, FULL):
        of_the_problem = [backend.why_not(problem(), host) for backend in BACKENDS.values()]
        for reason in [*of_the_problem, *machine_reasons(host).values()]:
            assert reason is None or (len(reason.split()) > 3 and not reason.endswith("."))


def test_the_cpu_kernel_needs_tensors_on_the_cpu() -> None:
    reason = BACKENDS["cpu"].why_not(problem("meta"), FULL)
    assert reason is not None
    assert "needs tensors on the CPU, got meta" in reason
    assert BACKENDS["cpu"].why_not(problem(), FULL) is None


def test_choice_on_made_up_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in ((BARE, "torch"), (FULL, "cpu")):
        monkeypatch.setattr(backends, "this_host", lambda host=host: host)
        assert resolve(None, problem()) is BACKENDS[name]
    assert resolve(None, problem("meta")) is BACKENDS["torch"]


def test_an_explicit_choice_that_can_not_run_raises_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "this_host", lambda: BARE)
    rewards, embeddings = torch.rand(2, 4), torch.randn(2, 4, 8)
    for name in BACKENDS:
        if name == "torch":
            continue
        with pytest.raises(ValueError, match=f"backend='{name}' needs .*"):
            mmr_advantages(rewards, embeddings, backend=name)  # type: ignore[arg-type]
    mmr_advantages(rewards, embeddings)


def test_available_backends_are_those_without_a_reason() -> None:
    names = available_backends()
    assert names == [name for name, reason in machine_reasons().items() if reason is None]
    assert names[-1] == "torch"


def test_no_choice_is_the_first_that_can(backend: str, device: torch.device) -> None:
    """``backend=None`` computes what the backend it picks computes, to the bit."""
    rewards, embeddings = torch.rand(2, 4, device=device), torch.randn(2, 4, 8, device=device)
    host = unasked(this_host())
    first = next(name for name, backend in BACKENDS.items() if backend.why_not(problem(device.type), host) is None)
    assert torch.equal(mmr_advantages(rewards, embeddings), mmr_advantages(rewards, embeddings, backend=first))  # type: ignore[arg-type]


def test_probing_imports_nothing_heavy() -> None:
    """Importing the package brings in neither Triton nor any trainer or model library."""
    import subprocess
    import sys

    heavy = ["triton", "trl", "transformers", "sentence_transformers", "matplotlib", "pyarrow", "sklearn"]
    code = f"import sys, mmr_kernels; print([name for name in {heavy} if name in sys.modules])"
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
