"""Budgets of the compiled CUDA kernel, read from the module that was built here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from bench import cuda_report
from mmr_kernels.backends import this_host


@pytest.fixture(scope="module")
def kernels() -> list[cuda_report.Kernel]:
    """Every kernel on every target."""
    if this_host().cuda_extension is not None:
        pytest.skip(f"no module mmr_kernels._cuda: {this_host().cuda_extension}")
    for name in ("cuobjdump", "nvdisasm"):
        if cuda_report.tool(name) is None:
            pytest.skip(f"{name} is in neither CUDA_HOME, PATH nor Triton")
    spec = importlib.util.find_spec("mmr_kernels._cuda")
    assert spec is not None
    assert spec.origin is not None
    return cuda_report.kernels(Path(spec.origin))


def test_the_committed_report_of_all_targets_holds_the_budgets() -> None:
    """``make kernels-report`` wrote it; here only the targets that this machine built can be looked at afresh."""
    rows = json.loads((Path(__file__).parents[2] / "docs" / "cuda-report.json").read_text())
    assert {row["target"] for row in rows} == {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"}
    for row in rows:
        assert row["spills"] == row["stack"] == row["greedy_barriers"] == 0, row
        assert row["greedy_reductions"] == (5 if row["target"] == "sm_75" else 1), row


def test_there_are_twelve_kernels_a_target(kernels: list[cuda_report.Kernel]) -> None:
    targets = {kernel.target for kernel in kernels}
    assert len(kernels) == 12 * len(targets) > 0


def test_nothing_spills(kernels: list[cuda_report.Kernel]) -> None:
    assert [k.row() for k in kernels if k.row()["spills"] or k.stack] == []


def test_no_barrier_in_the_greedy_loop_of_one_warp(kernels: list[cuda_report.Kernel]) -> None:
    for kernel in kernels:
        assert len(kernel.greedy) == 2, "one for embeddings, one for similarities as given"
        assert kernel.row()["greedy_barriers"] == 0, kernel.row()


def test_a_greedy_step_reduces_once(kernels: list[cuda_report.Kernel]) -> None:
    for kernel in kernels:
        assert kernel.row()["greedy_reductions"] == (5 if kernel.target == "sm_75" else 1), kernel.row()


def test_16_bit_products_run_on_tensor_cores_from_8_0_on(kernels: list[cuda_report.Kernel]) -> None:
    for kernel in kernels:
        tensor_cores = kernel.element != "float32" and kernel.target != "sm_75"
        assert bool(kernel.row()["tensor_products"]) is tensor_cores, kernel.row()


def test_four_blocks_of_shared_memory_fit(kernels: list[cuda_report.Kernel]) -> None:
    """Beside one another on the largest SMs, and one on the smallest (64 KB)."""
    assert all(kernel.shared <= 48 * 1024 for kernel in kernels)
