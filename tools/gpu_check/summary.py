"""The results as tables: on the screen, and of a committed file as the Markdown of docs/gpu.md.

python3 -m tools.gpu_check.summary docs/figures/gpu/h200.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from mmr_kernels.bench.cases import Case
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


def timing_table(report: Report, dim: int | None = None) -> Table:
    """Rows of the timing, those with ``dim`` dimensions or all."""
    rows = [row for row in report["timing"]["rows"] if dim in (None, row["dim"])]
    copy = report["timing"].get("card", {}).get("copy_gb_per_s")
    cells = []
    for row in rows:
        if copy:
            row = row | {"floor_us": row["bytes"] / copy / 1e3}
        name = str(Case(*(row[field] for field in ("groups", "group_size", "dim", "dtype", "scope"))))
        cells.append([name, *(number(row[field]) if field in row else "" for field in COLUMNS.values())])
    return Table("microseconds of a call", ["groups × size × dimensions", *COLUMNS], cells)


def phase_table(report: Report) -> Table:
    """How each phase ended."""
    rows = [[phase["phase"], phase["outcome"], f"{phase['seconds']} s"] for phase in report["phases"]]
    return Table("phases", ["phase", "outcome", "took"], rows)


def print_report(report: Report) -> None:
    """All that a reader looks for first; the rest is in the JSON."""
    for name in ("machine", "versions", "commit"):
        print(f"{name}: {report[name]}")
    if report.get("timing", {}).get("rows"):
        timing_table(report).print()
    for name in ("fuzz", "golden", "sanitizers"):
        for row in report.get(name, {}).get("rows", []):
            print(f"{name}: {row}")
    for phase in report["phases"]:
        for sentence in report[phase["phase"]].get("wrong", []):
            print(f"{phase['phase']}: WRONG: {sentence}")
    phase_table(report).print()


def main(path: Path) -> None:
    """Print the table that docs/gpu.md has."""
    print(timing_table(json.loads(path.read_text()), dim=1024).markdown())


if __name__ == "__main__":
    typer.run(main)
