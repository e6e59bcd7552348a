"""Budgets of the compiled CUDA kernel: of all targets as docs/cuda-report.json (``make kernels-report``) has them, and
of the module that was built here.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import cuda_report, disassembly
from mmr_kernels.backends import this_host

Row = dict[str, Any]


@pytest.fixture(scope="module", params=["committed", "built here"])
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """Every kernel on every target."""
    if request.param == "committed":
        found: list[Row] = json.loads(cuda_report.REPORT.read_text())["rows"]
        assert {row["target"] for row in found} == {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"}
        return found
    if this_host().cuda_extension is not None:
        pytest.skip(f"no module mmr_kernels._cuda: {this_host().cuda_extension}")
    for name in ("cuobjdump", "nvdisasm"):
        if disassembly.tool(name) is None:
            pytest.skip(f"{name} is in neither CUDA_HOME, PATH nor Triton")
    spec = importlib.util.find_spec("mmr_kernels._cuda")
    assert spec is not None
    assert spec.origin is not None
    return cuda_report.rows(Path(spec.origin))


def test_there_are_twelve_kernels_per_target(rows: list[Row]) -> None:
    assert set(Counter(row["target"] for row in rows).values()) == {12}


def test_nothing_spills(rows: list[Row]) -> None:
    assert [row for row in rows if row["spills"] or row["stack"]] == []


def test_no_barrier_in_the_greedy_loop_of_one_warp(rows: list[Row]) -> None:
    for row in rows:
        assert len(row["greedy"]) == 2, "one for embeddings, one for similarities as given"
        assert [loop["barriers"] for loop in row["greedy"]] == [0, 0], row


def test_a_greedy_step_reduces_once(rows: list[Row]) -> None:
    for row in rows:
        assert {loop["reductions"] for loop in row["greedy"]} == {5 if row["target"] == "sm_75" else 1}, row


def test_16_bit_products_run_on_tensor_cores_from_8_0_on(rows: list[Row]) -> None:
    for row in rows:
        tensor_cores = row["element"] != "float32" and row["target"] != "sm_75"
        assert bool(row["tensor_products"]) is tensor_cores, row


def test_four_blocks_of_shared_memory_fit(rows: list[Row]) -> None:
    """Beside one another on the largest SMs, and one on the smallest (64 KB)."""
    assert all(row["shared"] <= 48 * 1024 for row in rows)
