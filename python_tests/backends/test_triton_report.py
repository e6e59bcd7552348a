"""Budgets of the compiled Triton kernel, held over docs/kernels-report.json (``make kernels-report``)."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

REPORT = json.loads((Path(__file__).parents[2] / "docs" / "kernels-report.json").read_text())
ROWS: list[dict[str, Any]] = REPORT["rows"]
CUDA = [row for row in ROWS if row["target"] != "gfx942"]
HOPPER = [row for row in ROWS if row["target"] == "sm_90"]
GROUP_SIZES = (8, 16, 32, 64, 128, 256)

#: sm_90, in the greedy loop. From 64 on each step reads a row and finds the maximum of it within each warp, so
#: what holds for 16 is asked of them too.
MOST_BARRIERS = dict.fromkeys(GROUP_SIZES, 0)
MOST_SHUFFLES = {8: 14, 16: 14, 32: 16, 64: 4, 128: 4, 256: 4}


def label(row: dict[str, Any]) -> str:
    return f"{row['target']}-{row['group_size']}-{row['dtype']}"


def test_the_report_covers_the_grid() -> None:
    expected = {
        f"{target}-{group_size}-{dtype}"
        for target in ("sm_80", "sm_90", "sm_100", "sm_120", "gfx942")
        for group_size in GROUP_SIZES
        for dtype in ("bf16", "fp32")
    }
    assert {label(row) for row in ROWS} == expected
    assert len(ROWS) == len(expected)


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_nothing_spills(row: dict[str, Any]) -> None:
    assert row["spills"] == 0
    assert row["stack"] == 0


@pytest.mark.parametrize("row", HOPPER, ids=label)
def test_the_greedy_loop_waits_for_no_other_warp_and_shuffles_little(row: dict[str, Any]) -> None:
    greedy, size = row["greedy"], row["group_size"]
    assert greedy["BAR"] <= MOST_BARRIERS[size]
    assert greedy["SHFL"] + greedy["REDUX"] <= MOST_SHUFFLES[size]
    assert greedy["LDG"] == (0 if size <= 32 else size // 32)


@pytest.mark.parametrize("row", [row for row in HOPPER if row["group_size"] > 32], ids=label)
def test_loads_of_a_row_overlap(row: dict[str, Any]) -> None:
    """One after the other, two of them would already take longer than this."""
    assert row["greedy_cycles"] < 260 * 2 + 30 * row["greedy"]["LDG"]


@pytest.mark.parametrize("row", CUDA, ids=label)
def test_embeddings_are_loaded_16_bytes_a_thread(row: dict[str, Any]) -> None:
    assert row["embedding_loads"]
    assert all(load.endswith(".128") for load in row["embedding_loads"])


@pytest.mark.parametrize("row", [row for row in CUDA if row["dtype"] == "bf16"], ids=label)
def test_16_bit_embeddings_go_through_tensor_cores(row: dict[str, Any]) -> None:
    assert all("MMA" in opcode for opcode in row["mma"])


@pytest.mark.parametrize("row", [row for row in CUDA if row["dtype"] == "fp32"], ids=label)
def test_float32_embeddings_never_do(row: dict[str, Any]) -> None:
    """No TF32."""
    assert row["mma"] == ["FFMA"]


compiles = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="needs the package triton and not its interpreter: it compiles",
)


@compiles
@pytest.mark.parametrize(("target", "group_size", "dtype"), [("sm_90", 8, "bf16"), ("sm_90", 64, "bf16")])
def test_the_report_is_of_this_kernel(target: str, group_size: int, dtype: str) -> None:
    """Compiled again here: a change of the kernel that forgets ``make kernels-report`` is found."""
    import triton

    from bench.kernels_report import row

    if triton.__version__ != REPORT["triton"]:
        pytest.skip(f"the report is of triton {REPORT['triton']}, this is {triton.__version__}")
    (committed,) = (r for r in ROWS if label(r) == f"{target}-{group_size}-{dtype}")
    assert row(target, group_size, dtype) == committed


@compiles
@pytest.mark.parametrize("size", [20, 70])
@pytest.mark.parametrize(
    "options",
    [
        {"outputs": "details", "match_scale": True, "first_pick": "score", "degenerate": "zero"},
        {"outputs": "details", "method": "smi", "scope": "batch", "scale": "batch", "normalize": False},
        {"method": "none", "embeddings": None, "scale": "batch"},
        {"ragged": True, "outputs": "details", "lam_mode": "tensor"},
        {"ragged": True, "scope": "batch", "lam_mode": "relative_std", "outputs": "advantages"},
        {"similar": True, "lam_mode": "fixed", "outputs": "reweighted"},
    ],
    ids=str,
)
def test_every_option_compiles(size: int, options: dict[str, Any]) -> None:
    """The interpreter takes what a compiler would refuse."""
    import torch

    from bench.kernels_report import TARGETS, compiled, problem

    options, groups = dict(options), 4
    call = problem(size, torch.float16, groups)
    if options.pop("ragged", False):
        count = groups * size
        call = call._replace(
            rewards=torch.empty(count, device="meta"),
            embeddings=torch.empty(count, 24, device="meta"),
            valid=torch.empty(count, device="meta", dtype=torch.bool),
            group_offsets=torch.empty(groups + 1, device="meta", dtype=torch.int64),
            order=torch.empty(count, device="meta", dtype=torch.int64),
            lam=torch.empty(groups, device="meta"),
            group_size=0,
        )
    if options.pop("similar", False):
        call = call._replace(embeddings=None, similarity=torch.empty(groups, size, size, device="meta"))
    if "embeddings" in options:
        call = call._replace(embeddings=options.pop("embeddings"))
    kernel = compiled(call._replace(options=call.options._replace(**options)), TARGETS["sm_90"])
    assert kernel.asm["cubin"]
