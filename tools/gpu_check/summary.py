"""The results as tables: on the screen, and of committed files, the earlier one first, as the Markdown of docs/gpu.md.

python3 -m tools.gpu_check.summary docs/figures/gpu/h200-c682c9e.json docs/figures/gpu/h100-fdd341e.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from mmr_kernels.bench.cases import KEY, Case
from mmr_kernels.bench.table import Table, number

Report = dict[str, Any]
#: Headings, and the fields of a row of the timing, in the order in which a user asks.
COLUMNS = {
    "Triton": "triton_us",
    "CUDA": "cuda_us",
    "bmm alone": "bmm_us",
    "floor": "floor_us",
    "host, Triton": "triton_host_us",
    "host, CUDA": "cuda_host_us",
    "batched, eager": "batched_latency_us",
    "published loop": "loop_latency_us",
}


#: Of those, what a change of the kernels may change; the loop, which is torch alone, tells one host from another.
CHANGING = ("Triton", "CUDA", "host, Triton", "host, CUDA", "published loop")
#: Of a file or a pipe, which has no width of its own.
WIDTH = 160


def timing_table(report: Report, dim: int | None = None) -> Table:
    """Rows of the timing, those with ``dim`` dimensions or all."""
    rows = [row for row in report["timing"]["rows"] if dim in (None, row["dim"])]
    copy = report["timing"].get("card", {}).get("copy_gb_per_s")
    cells = []
    for row in rows:
        if copy:
            row = row | {"floor_us": row["bytes"] / copy / 1e3}
        name = str(Case(*(row[field] for field in KEY)))
        cells.append([name, *(number(row[field]) if field in row else "" for field in COLUMNS.values())])
    return Table("microseconds of a call", ["groups × size × dimensions", *COLUMNS], cells)


def change_table(before: Report, after: Report, dim: int) -> Table:
    """What two runs have in common."""
    earlier, now = ({row[0]: row[1:] for row in timing_table(report, dim).rows} for report in (before, after))
    cells = []
    for name in filter(earlier.get, now):
        pairs = dict(zip(COLUMNS, zip(earlier[name], now[name], strict=True), strict=True))
        cells.append([name, *(" → ".join(pairs[column]) if all(pairs[column]) else "" for column in CHANGING)])
    return Table("microseconds of a call, before and after", ["groups × size × dimensions", *CHANGING], cells)


def phase_table(report: Report) -> Table:
    """How each phase ended."""
    rows = [[phase["phase"], phase["outcome"], f"{phase['seconds']} s"] for phase in report["phases"]]
    return Table("phases", ["phase", "outcome", "took"], rows)


def print_report(report: Report) -> None:
    """All that a reader looks for first; the rest is in the JSON."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for name in ("machine", "versions", "commit"):
        print(f"{name}: {report[name]}")
    if report.get("timing", {}).get("rows"):
        timing_table(report).print(console)
        print(f"timing: left out: {'; '.join(report['timing']['left_out']) or 'nothing'}")
    for name in ("fuzz", "golden", "sanitizers"):
        for row in report.get(name, {}).get("rows", []):
            print(f"{name}: {row}")
    for phase in report["phases"]:
        for sentence in report[phase["phase"]].get("wrong", []):
            print(f"{phase['phase']}: WRONG: {sentence}")
    phase_table(report).print(console)


def main(before: Path, after: Path) -> None:
    """Print the tables that docs/gpu.md has."""
    reports = [json.loads(path.read_text()) for path in (before, after)]
    print(timing_table(reports[1], dim=1024).markdown(), change_table(*reports, dim=1024).markdown(), sep="\n\n")


if __name__ == "__main__":
    typer.run(main)
