"""A report of ``mmr-kernels bench`` as tables: one per sweep, then exponents, then what was left out and why."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.text import Text

from mmr_kernels.bench.cases import BASE, KEY, Sweep, case_of
from mmr_kernels.bench.exponents import LARGEST_ERROR, find_row
from mmr_kernels.bench.rules import RULES
from mmr_kernels.bench.table import Table, microseconds, number

SIZES = "groups × size × dimensions"
#: Behind the name of a backend or a baseline: what it computes, where that is another method, or MMR's details.
METHODS = ("details", *RULES)


def print_report(report: dict[str, Any], sweeps: dict[str, Sweep]) -> None:
    """Print it all; ``sweeps`` are those that were measured."""
    console = Console()
    for table in tables(report, sweeps):
        table.print(console)
    for kind, sentence in left_out(report):
        console.print(Text(sentence, "red" if kind in ("wrong", "failed") else "yellow"))
    console.print(Text(", ".join(f"{key} {value}" for key, value in source(report).items()), "dim"))


def tables(report: dict[str, Any], sweeps: dict[str, Sweep], shown: Collection[str] | None = None) -> list[Table]:
    """Those of the sweeps (of ``shown`` alone, where it is given), of the exponents and of the floors."""
    found = [_sweep_table(report, name, sweep) for name, sweep in sweeps.items() if shown is None or name in shown]
    found.append(_method_table(report))
    found.append(_exponent_table(report["exponents"]))
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
    speedups = _speedups(report)
    lines = []
    for case in sweep.cases:
        for provider in dict.fromkeys(row["provider"] for row in rows if _method(row["provider"]) not in METHODS):
            if (row := find_row(rows, case, provider)) is not None:
                of_bmm = "" if provider == "bmm" else number(row["ratio_to_bmm"])
                against = speedups.get((*case[: len(KEY)], provider), "")
                lines.append([str(case), provider, *microseconds(row), of_bmm, against])
    title = f"sweep {name}: time of a call; × torch.bmm of the similarity alone; × ours (medians of turns)"
    return Table(title, [SIZES, "", "µs", "20th–80th percentile", "× bmm", "× ours"], lines, left=2)


def _method_table(report: dict[str, Any]) -> Table:
    """One row per method and provider."""
    speedups = _speedups(report)
    lines = []
    for method in METHODS:
        for row in report["rows"]:
            if case_of(row) == BASE and _method(row["provider"]) == method:
                against = speedups.get((*BASE[: len(KEY)], row["provider"]), "")
                lines.append([method, row["provider"].partition(", ")[0], *microseconds(row), against])
    title = f"methods at {BASE}: time of a call; ours × its own MMR, advantages alone; others × ours (medians of turns)"
    return Table(title, ["method", "", "µs", "20th–80th percentile", "×"], lines, left=2)


def _method(provider: str) -> str:
    return provider.partition(", ")[2]


def _speedups(report: dict[str, Any]) -> dict[tuple[Any, ...], str]:
    """By the key of a case and the provider: how many times as long as what it is compared to."""
    return {
        (*case_of(row)[: len(KEY)], provider): f"{number(times)} × {row['against']}"
        for row in report["speedups"]
        for provider, times in row["ratios"].items()
    }


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
