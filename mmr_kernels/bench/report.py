"""A report as tables: a sweep each, then exponents, then what was left out and why."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmr_kernels.bench.cases import Sweep
from mmr_kernels.bench.exponents import find_row
from mmr_kernels.bench.run import FIELDS
from mmr_kernels.bench.table import number


def print_report(report: dict[str, Any], sweeps: dict[str, Sweep]) -> None:
    """Print it all; ``sweeps`` are those that were measured."""
    console = Console()
    for name, sweep in sweeps.items():
        table = _sweep_table(report, name, sweep)
        if table is not None:
            console.print(table)
    console.print(
        "µs, median (20th–80th percentile); below it × bmm, the time over that of torch.bmm of the", style="dim"
    )
    console.print("similarity alone; × NAME: how many times the time of NAME. Ratios: medians of turns.", style="dim")
    if report["exponents"]:
        console.print(exponent_table(report["exponents"]))
    if report["gpu"] is not None:
        console.print(_gpu_table(report["gpu"]))
    _print_left_out(console, report["left_out"])
    machine, versions = report["machine"], report["versions"]
    console.print(Text(", ".join(f"{key} {value}" for key, value in (machine | versions).items() if value), "dim"))


def _sweep_table(report: dict[str, Any], name: str, sweep: Sweep) -> Table | None:
    rows = report["rows"]
    speedups = {tuple(row[key] for key in FIELDS[:6]): row for row in report["speedups"]}
    found = {provider: [find_row(rows, case, provider) for case in sweep.cases] for provider in _names(rows)}
    found = {provider: cells for provider, cells in found.items() if any(cells)}
    if not found:
        return None
    table = Table(title=f"sweep {name}: groups × size × dimensions", title_justify="left")
    table.add_column("")
    for provider in found:
        table.add_column(provider, justify="right", overflow="fold")
    for place, case in enumerate(sweep.cases):
        cells = [found[provider][place] for provider in found]
        if any(cells):
            texts = (_cell(row, speedups.get(tuple(row[key] for key in FIELDS[:6]))) if row else "" for row in cells)
            table.add_row(str(case), *map(Text, texts))
    return table


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["provider"] for row in rows))


def _cell(row: dict[str, Any], speedup: dict[str, Any] | None) -> str:
    lines = [
        number(row["median_us"]),
        f"({number(row['p20_us'])}–{number(row['p80_us'])})",
        f"{number(row['ratio_to_bmm'])} × bmm",
    ]
    if speedup is not None:
        lines.append(f"{number(speedup['ratio'])} × {speedup['against'].partition(',')[0]}")
    return "\n".join(lines if row["provider"] != "bmm" else lines[:2])


def exponent_table(exponents: list[dict[str, Any]]) -> Table:
    """A row a provider, a column a sweep."""
    table = Table(title="exponents: time grows as size to the …, fitted between the sizes in brackets")
    names = list(dict.fromkeys(row["sweep"] for row in exponents))
    table.add_column("")
    for name in names:
        table.add_column("N, selection" if name == "selection" else name, justify="right")
    for provider in dict.fromkeys(row["provider"] for row in exponents):
        found = {row["sweep"]: row for row in exponents if row["provider"] == provider}
        cells = (
            f"{found[n]['exponent']:.2f} ({found[n]['from']}–{found[n]['to']})" if n in found else "" for n in names
        )
        table.add_row(Text(provider), *cells)
    return table


def _gpu_table(gpu: dict[str, Any]) -> Table:
    title = f"against the bytes: copy {gpu['copy_gb_per_s']:,.0f} GB/s, empty launch {gpu['launch_us']:.1f} µs"
    table = Table("", "groups × size × dimensions", "GB/s", "floor µs", "× floor", title=title, title_justify="left")
    for row in gpu["rows"]:
        sizes = f"{row['groups']} × {row['group_size']} × {row['dim']}, {row['dtype']}, {row['scope']}"
        table.add_row(
            row["provider"],
            sizes,
            f"{row['gb_per_s']:,.0f}",
            f"{row['floor_us']:.2f}",
            f"{row['ratio_to_floor']:.1f}",
        )
    return table


def _print_left_out(console: Console, left_out: list[dict[str, Any]]) -> None:
    """One line a provider and reason, with the cases that it holds for."""
    cases: dict[tuple[str, str, str], list[str]] = {}
    for row in left_out:
        sizes = "" if row["groups"] is None else f"{row['groups']} × {row['group_size']} × {row['dim']}"
        notes = [row["dtype"]] * (row["dtype"] not in (None, "float32")) + ['scope "batch"'] * (row["scope"] == "batch")
        provider = row["provider"].partition(",")[0] if row["groups"] is None else row["provider"]
        cases.setdefault((row["kind"], provider, row["reason"]), []).append(" ".join([sizes, *notes]))
    for (kind, provider, reason), where in cases.items():
        style = "red" if kind in ("wrong", "failed") else "yellow"
        place = f" at {', '.join(where)}" if any(where) else ""
        said = {"wrong": "WRONG, not timed", "failed": "FAILED, not timed"}.get(kind, "not timed")
        console.print(Text(f"{provider}: {said}{place}: {reason}", style))
