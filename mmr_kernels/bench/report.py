"""A report of ``mmr-kernels bench`` as tables: one per sweep, then exponents, then what was left out and why."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from mmr_kernels.bench.cases import KEY, Sweep, case_of
from mmr_kernels.bench.exponents import LARGEST_ERROR, find_row
from mmr_kernels.bench.table import Table, microseconds, number

SIZES = "groups × size × dimensions"


def print_report(report: dict[str, Any], sweeps: dict[str, Sweep]) -> None:
    """Print it all; ``sweeps`` are those that were measured."""
    console = Console()
    for table in tables(report, sweeps):
        table.print(console)
    for kind, sentence in left_out(report):
        console.print(Text(sentence, "red" if kind in ("wrong", "failed") else "yellow"))
    console.print(Text(", ".join(f"{key} {value}" for key, value in source(report).items()), "dim"))


def tables(report: dict[str, Any], sweeps: dict[str, Sweep]) -> list[Table]:
    """Those of the sweeps, of the exponents and of the floors, where there are any."""
    found = [_sweep_table(report, name, sweep) for name, sweep in sweeps.items()]
    found += [_exponent_table([row for row in report["exponents"] if row["sweep"] in sweeps])]
    found += [_floor_table(report["gpu"])] if report["gpu"] is not None else []
    return [table for table in found if table.rows]


def source(report: dict[str, Any]) -> dict[str, Any]:
    """Machine and versions of a report, as far as they are known."""
    return {key: value for key, value in (report["machine"] | report["versions"]).items() if value}


def left_out(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and a sentence for each provider and reason, with the cases that it holds for."""
    cases: dict[tuple[str, str, str], list[str]] = {}
    for row in report["left_out"]:
        found = cases.setdefault((row["kind"], row["provider"], row["reason"]), [])
        found += [str(case_of(row))] if row["groups"] is not None else []
    said = {"wrong": "WRONG, not timed", "failed": "FAILED, not timed"}
    return [
        (kind, f"{provider}: {said.get(kind, 'not timed')}{' at ' if places else ''}{'; '.join(places)}: {reason}")
        for (kind, provider, reason), places in cases.items()
    ]


def _sweep_table(report: dict[str, Any], name: str, sweep: Sweep) -> Table:
    """One row per case and provider."""
    rows = report["rows"]
    speedups = {case_of(row)[: len(KEY)]: row for row in report["speedups"]}
    lines = []
    for case in sweep.cases:
        speedup = speedups.get(case[: len(KEY)], {"against": "", "ratios": {}})
        for provider in dict.fromkeys(row["provider"] for row in rows):
            if (row := find_row(rows, case, provider)) is not None:
                of_bmm = "" if provider == "bmm" else number(row["ratio_to_bmm"])
                times = speedup["ratios"].get(provider)
                against = "" if times is None else f"{number(times)} × {speedup['against']}"
                lines.append([str(case), provider, *microseconds(row), of_bmm, against])
    title = f"sweep {name}: time of a call; × torch.bmm of the similarity alone; × ours (medians of turns)"
    return Table(title, [SIZES, "", "µs", "20th–80th percentile", "× bmm", "× ours"], lines, left=2)


def _exponent_table(exponents: list[dict[str, Any]]) -> Table:
    """One row per provider, one column per sweep."""
    names = list(dict.fromkeys(row["sweep"] for row in exponents))
    cells: dict[str, dict[str, str]] = {}
    for row in exponents:
        exponent = "too noisy" if row["exponent"] is None else f"{row['exponent']:.2f} ± {row['error']:.2f}"
        cells.setdefault(row["provider"], {})[row["sweep"]] = f"{exponent} ({row['from']}–{row['to']})"
    title = f"exponents: time grows as size to the …, between the sizes in brackets; too noisy: ± over {LARGEST_ERROR}"
    lines = [[provider, *(found.get(name, "") for name in names)] for provider, found in cells.items()]
    return Table(title, ["", *names], lines)


def _floor_table(gpu: dict[str, Any]) -> Table:
    title = f"against the bytes: copy {gpu['copy_gb_per_s']:,.0f} GB/s, empty launch {gpu['launch_us']:.1f} µs"
    lines = [
        [
            str(case_of(row)),
            row["provider"],
            f"{row['gb_per_s']:,.0f}",
            f"{row['floor_us']:.2f}",
            f"{row['ratio_to_floor']:.1f}",
            number(row["host_us"]),
        ]
        for row in gpu["rows"]
    ]
    return Table(title, [SIZES, "", "GB/s", "floor, µs", "× floor", "host's µs"], lines, left=2)
