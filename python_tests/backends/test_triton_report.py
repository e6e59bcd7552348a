"""Budgets of the compiled Triton kernel: of all targets as docs/kernels-report.json (``make kernels-report``) has them,
and of sm_90 compiled here, by the Triton that is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]
REPORT = json.loads((Path(__file__).parents[2] / "docs" / "kernels-report.json").read_text())
COMMITTED: list[Row] = REPORT["rows"]
LAYOUTS = {"uniform": (8, 16, 32, 64, 128, 256), "many": (16, 32), "ragged": (16, 64, 4096), "batch": (1024,)}
#: Estimated cycles per pick on sm_90 at most, by members; with the row in the L2 cache, and with it in the L1.
CYCLES = {8: 175, 16: 175, 32: 200, 64: 460, 128: 500, 256: 700}
CYCLES_FROM_L1 = {64: 212, 128: 250}
#: Members up to which each warp picks by itself.
ALONE = 512

compiles = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="needs the package triton and not its interpreter: it compiles",
)


def label(row: Row) -> str:
    return f"{row['target']}-{row['layout']}-{row['members']}-{row['dtype']}"


@pytest.fixture(scope="module")
def compiled_here() -> list[Row]:
    """sm_90's rows, afresh."""
    from bench.kernels_report import ROWS, row

    return [row(*each) for each in ROWS if each[0] == "sm_90"]


@pytest.fixture(params=["committed", pytest.param("compiled here", marks=compiles)])
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """The rows that a budget holds for."""
    if request.param == "committed":
        return COMMITTED
    found: list[Row] = request.getfixturevalue("compiled_here")
    return found


def test_the_report_covers_the_grid() -> None:
    expected = {
        f"{target}-{layout}-{members}-{dtype}"
        for target in ("sm_80", "sm_90", "sm_100", "sm_120", "gfx942")
        for layout in (LAYOUTS if target == "sm_90" else ("uniform",))
        for members in LAYOUTS[layout]
        for dtype in ("bf16", "fp32")
    }
    assert {label(row) for row in COMMITTED} == expected
    assert len(COMMITTED) == len(expected)


def test_nothing_spills(rows: list[Row]) -> None:
    assert [row for row in rows if row["spills"] or row["stack"]] == []


def test_a_pick_waits_for_no_other_warp_and_shuffles_nothing(rows: list[Row]) -> None:
    """Two reductions are all that passes between lanes; what a row of scratch takes to load is all that is loaded."""
    for row in rows:
        greedy, size = row["greedy"], row["members"]
        if size > ALONE:
            continue
        assert greedy["barriers"] == 0, row
        assert greedy["loads"] == (0 if size <= 32 else size // 32), row
        if row["target"] != "gfx942":
            assert (greedy["reductions"], greedy["shuffles"]) == (2, 0), row


def test_rows_that_a_pick_loads_have_room_in_the_l1(rows: list[Row]) -> None:
    """A kernel of more shared memory than this is given as much of the common room as there is. On 10.0 it is 16 bytes
    more, for a barrier of tensor memory.
    """
    for row in rows:
        if 32 < row["members"] <= 128 and row["target"] not in ("gfx942", "sm_100"):
            assert row["shared"] <= 48 * 1024, row


def test_loads_of_a_row_overlap(rows: list[Row]) -> None:
    """One after the other, two of them would already take longer than this."""
    for row in rows:
        if row["target"] == "sm_90" and row["members"] > 32:
            assert (
                row["greedy"]["estimated_cycles"]
                < 2 * 288 + 45 * row["greedy"]["loads"] + 40 * row["greedy"]["barriers"]
            ), row


def test_a_pick_takes_few_cycles(rows: list[Row]) -> None:
    """Of ragged groups no more than of those of one size."""
    for row in rows:
        if row["target"] == "sm_90" and row["members"] in CYCLES:
            assert row["greedy"]["estimated_cycles"] <= CYCLES[row["members"]], row
        if row["target"] == "sm_90" and row["members"] in CYCLES_FROM_L1:
            assert row["greedy"]["estimated_cycles_from_l1"] <= CYCLES_FROM_L1[row["members"]], row


def test_embeddings_are_loaded_16_bytes_per_thread(rows: list[Row]) -> None:
    for row in rows:
        if row["target"] != "gfx942":
            assert row["embedding_loads"], row
            assert all(load.endswith(".128") for load in row["embedding_loads"]), row


def test_16_bit_embeddings_go_through_tensor_cores_and_float32_ones_never_do(rows: list[Row]) -> None:
    """No TF32."""
    for row in rows:
        if row["target"] != "gfx942" and row["dtype"] == "bf16":
            assert all("MMA" in opcode for opcode in row["product"]), row
        elif row["target"] != "gfx942":
            assert row["product"] == ["FFMA"], row


@compiles
def test_the_report_is_of_this_kernel(compiled_here: list[Row]) -> None:
    """A change of the kernel that forgets ``make kernels-report`` is found."""
    import triton

    if triton.__version__ != REPORT["versions"]["triton"]:
        pytest.skip(f"the report is of triton {REPORT['versions']['triton']}, this is {triton.__version__}")
    assert compiled_here == [row for row in COMMITTED if row["target"] == "sm_90"]


def sums_of(call: Any) -> list[str]:
    """The layout, without its warps, of each sum and maximum of float32 over members."""
    from bench.kernels_report import TARGETS, compiled

    text = compiled(call, TARGETS["sm_90"])[-1].asm["ttgir"]
    layouts = dict(re.findall(r"^(#\w+) = #ttg\.(.*)$", text, re.MULTILINE))
    found = re.findall(r"\}\) : \(tensor<1x\d+x32xf32, (.*?)>\) ->", text)
    found = [re.sub(r"#(?!ttg)\w+", lambda name: layouts[name[0]], layout) for layout in found]
    assert len(found) > 5
    return [re.sub(r"warp\w* = \[.*?\](?=,)", "", layout) for layout in found]


@compiles
@pytest.mark.parametrize("size", [16, 24])
def test_many_groups_add_up_in_the_order_of_few(size: int) -> None:
    """Fewer warps change how many copies there are, and nothing in one of them."""
    import torch

    from bench.kernels_report import problem

    few, many = (problem(size, torch.bfloat16, groups) for groups in (4, 600))
    assert sums_of(few) == sums_of(many)


@compiles
@pytest.mark.parametrize("bound", [16, 64, 256])
def test_groups_that_an_order_makes_add_up_as_others_do(bound: int) -> None:
    """Whose layout is one across the lanes whatever the bound, so that their bits do not depend on it."""
    import torch

    from bench.kernels_report import laid_out

    labelled = laid_out("ragged", bound, torch.bfloat16)
    assert set(sums_of(labelled)) == set(sums_of(labelled._replace(order=None)))


@compiles
@pytest.mark.parametrize("size", [20, 70])
@pytest.mark.parametrize(
    "options",
    [
        {"outputs": "details", "match_scale": True, "first_pick": "score", "degenerate": "zero"},
        {"outputs": "details", "method": "smi", "scope": "batch", "scale": "batch", "normalize": False},
        {"float32": True, "outputs": "details", "match_scale": True, "first_pick": "score"},
        {"float32": True, "method": "dpp"},
        {"method": "none", "embeddings": None, "scale": "batch"},
        {"ragged": True, "outputs": "details", "lam_mode": "tensor"},
        {"ragged": True, "scope": "batch", "lam_mode": "relative_std", "outputs": "advantages"},
        {"similar": True, "lam_mode": "fixed", "outputs": "reweighted"},
        {"method": "share", "threshold": 0.5, "scale": "batch"},
        {"method": "unique", "sharpness": 2.5, "outputs": "details", "scope": "batch"},
        {"method": "smi", "labels": True, "strength": 0.5},
        {"method": "partition", "similar": True, "threshold": 0.5, "outputs": "details"},
        {"method": "dpp"},
        {"method": "dpp", "similar": True, "quality": True},
    ],
    ids=str,
)
def test_every_option_compiles(size: int, options: dict[str, Any]) -> None:
    """The interpreter takes what a compiler would refuse. Nothing spills, and one warp has no barrier in a loop but the
    one that loads embeddings, whatever the similarities come from.
    """
    import torch

    from bench import disassembly
    from bench.kernels_report import TARGETS, compiled, disassembled, problem
    from mmr_kernels.options import Options, completed

    options, groups = dict(options), 4
    one_warp = size <= 32 and "scope" not in options
    call = problem(size, torch.float32 if options.pop("float32", False) else torch.float16, groups)
    if options.pop("ragged", False):
        count = groups * size
        call = call._replace(
            rewards=torch.empty(count, device="meta"),
            embeddings=torch.empty(count, 24, device="meta", dtype=torch.float16),
            valid=torch.empty(count, device="meta", dtype=torch.bool),
            group_offsets=torch.empty(groups + 1, device="meta", dtype=torch.int64),
            order=torch.empty(count, device="meta", dtype=torch.int64),
            lam=torch.empty(groups, device="meta"),
            group_size=0,
            max_group_size=size,
        )
    if options.pop("similar", False):
        call = call._replace(embeddings=None, similarity=torch.empty(groups, size, size, device="meta"))
    if "embeddings" in options:
        call = call._replace(embeddings=options.pop("embeddings"))
    numbers = torch.empty(groups * size, device="meta", dtype=torch.int64)
    if options.pop("labels", False):
        call = call._replace(labels=numbers)
    call = call._replace(options=completed(Options(**options)))
    if call.has_signal and call.options.scope == "batch":
        call = call._replace(group_of=numbers)
    for each in compiled(call, TARGETS["sm_90"]):
        kernel = disassembled(each.asm["cubin"])
        assert (kernel.spills, kernel.stack) == (0, 0)
        for loop in map(disassembly.counts, kernel.loops):
            if loop["EXIT"]:
                continue  # no loop, but the way back from a division's rare case
            assert (
                loop["LDGSTS"] or loop["HMMA"] or not loop["BAR"] or not one_warp or each.metadata.name != "mmr_kernel"
            ), loop


@compiles
def test_details_of_large_ragged_groups_spill_nothing() -> None:
    """What is kept of 4,096 members at once must fit in registers; these options keep the most."""
    import torch

    from bench.kernels_report import TARGETS, compiled, disassembled, laid_out
    from mmr_kernels.options import Options, completed

    chosen = Options(outputs="details", match_scale=True, first_pick="score", degenerate="zero")
    call = laid_out("ragged", 4096, torch.float32)._replace(options=completed(chosen))
    for each in compiled(call, TARGETS["sm_90"]):
        kernel = disassembled(each.asm["cubin"])
        assert (kernel.spills, kernel.stack) == (0, 0)
