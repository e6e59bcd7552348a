"""The Triton backend's choice: who gets it, and what everybody else is told. Needs neither triton nor a GPU."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from mmr_kernels import backends
from mmr_kernels.backends import Host, machine_reasons, resolve, triton
from mmr_kernels.backends.triton import configurations
from mmr_kernels.options import Options
from mmr_kernels.problem import Problem

GPU = Host(**dict.fromkeys(Host._fields, None))._replace(interpreter="TRITON_INTERPRET is not 1")
INTERPRETER = GPU._replace(gpu="no device", interpreter=None)
NEITHER = GPU._replace(gpu="no device")


class OnDevice:
    """Stands for a tensor on a device this machine may lack: all that a choice looks at."""

    def __init__(self, kind: str, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        self.device, self.shape, self.dtype = torch.device(kind), torch.Size(shape), dtype
        self.is_cpu, self.is_cuda = self.device.type == "cpu", self.device.type == "cuda"

    def numel(self) -> int:
        return self.shape.numel()

    def element_size(self) -> int:
        return self.dtype.itemsize


def problem(device: str, groups: int = 2, size: int = 4, ragged: bool = False, **options: Any) -> Problem:
    rewards: Any = OnDevice(device, groups, size)
    embeddings: Any = OnDevice(device, groups, size, 8)
    return Problem(rewards, embeddings, groups, 0 if ragged else size, Options(**options))


def test_a_gpu_gets_triton_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "this_host", lambda: GPU)
    assert resolve(None, problem("cuda:0")) is triton
    assert resolve(None, problem("cpu")) is not triton


def test_the_interpreter_is_there_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "this_host", lambda: INTERPRETER)
    assert resolve("triton", problem("cpu")) is triton
    assert resolve(None, problem("cpu")) is not triton


def test_a_machine_without_gpu_is_told_why() -> None:
    reason = machine_reasons(NEITHER)["triton"]
    assert reason == (
        "needs a CUDA device of compute capability 8.0 or a ROCm device, found: no device; to try it slowly on CPU"
        " tensors, set TRITON_INTERPRET=1 before Python starts"
    )
    assert machine_reasons(GPU._replace(triton="not installed"))["triton"] == (
        "needs the package triton, found: not installed; pip install triton"
    )
    assert machine_reasons(GPU)["triton"] is machine_reasons(INTERPRETER)["triton"] is None


def test_cpu_tensors_are_refused_by_a_gpu() -> None:
    reason = triton.why_not(problem("cpu"), GPU)
    assert reason == "needs tensors on a CUDA or ROCm device, got cpu; move them, or leave backend=None"


@pytest.mark.parametrize(
    ("groups", "size", "options", "taken"),
    [
        (10_000, 8, {}, True),
        (1, 4096, {}, True),
        (1, 4097, {}, False),
        (512, 8, {"scope": "batch"}, True),
        (513, 8, {"scope": "batch"}, False),
        (512, 8, {"ragged": True}, True),
        (513, 8, {"ragged": True}, False),  # the host can't know that no group is that large
        (2, 128, {"method": "dpp"}, True),
        (2, 129, {"method": "dpp"}, False),
        (17, 8, {"method": "dpp", "scope": "batch"}, False),
    ],
)
def test_past_its_size_the_next_backend_is_tried(
    monkeypatch: pytest.MonkeyPatch, groups: int, size: int, options: dict[str, Any], taken: bool
) -> None:
    call = problem("cuda:0", groups, size, **options)
    monkeypatch.setattr(backends, "this_host", lambda: GPU)
    assert (resolve(None, call) is triton) is taken
    if not taken:
        with pytest.raises(ValueError, match=r"backend='triton' takes at most (4096|128) completions .* got up to \d+"):
            resolve("triton", call)


def test_every_size_has_a_configuration() -> None:
    for size in (1, 2, 8, 17, 32, 33, 100, 129, 500, 1024, 1025, 4096):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            call = problem("cuda:0", 1, size)._replace(embeddings=OnDevice("cuda:0", 1, size, 8, dtype=dtype))
            row = configurations.configuration(call)
            assert row.members >= size
            assert row.members % row.tile == 0


def test_a_ragged_group_is_cut_alike_in_every_call() -> None:
    """The room for members follows how large groups may be; what sums are made of must not, for the bits' sake."""
    for dtype, tile in ((torch.bfloat16, 32), (torch.float32, 16)):
        for bound in (1, 16, 20, 40, 700, 4096):
            call = problem("cuda:0", 1, 4096, ragged=True)._replace(max_group_size=bound)
            row = configurations.configuration(call._replace(embeddings=OnDevice("cuda:0", 4096, 8, dtype=dtype)))
            # On tensor cores each part takes units of 16 dimensions in turn, however many a step has.
            assert row.block_dim % 64 == 0 if dtype is torch.bfloat16 else row.block_dim == 64
            assert row.members >= bound
            assert row.tile == (tile if bound > 32 else max(16, row.tile))


def test_a_bound_lets_more_completions_in() -> None:
    call = problem("cuda:0", 1000, 8, ragged=True)
    assert triton.why_not(call, GPU) is not None
    assert triton.why_not(call._replace(max_group_size=9), GPU) is None


def test_triton_is_imported_by_nobody_else() -> None:
    """Else TRITON_INTERPRET would be read before its owner can set it."""
    code = (
        "import sys, torch, mmr_kernels; mmr_kernels.available_backends();"
        "mmr_kernels.mmr_advantages(torch.rand(2, 4), torch.rand(2, 4, 8));"
        "assert 'triton' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
