"""``python -m bench.markdown docs/figures/bench.json``: a report of ``mmr-kernels bench`` as the tables of the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmr_kernels.bench.cases import Case, sweeps
from mmr_kernels.bench.exponents import find_row
from mmr_kernels.bench.run import FIELDS
from mmr_kernels.bench.table import number


def main(report: Annotated[Path, typer.Argument(help="What --json wrote, without --quick.")]) -> None:
    """Print them."""
    figures = json.loads(report.read_text())
    print(f"`{figures['command']}`\n{figures['machine']}\n{figures['versions']}")
    for name, sweep in sweeps().items():
        found = {
            provider: [find_row(figures["rows"], c, provider) for c in sweep.cases] for provider in _names(figures)
        }
        found = {provider: cells for provider, cells in found.items() if any(cells)}
        if found:
            print(f"\nsweep {name}")
            _print(["", *found], [[str(c), *_cells(figures, found, n)] for n, c in enumerate(sweep.cases)])
    names = list(dict.fromkeys(row["sweep"] for row in figures["exponents"]))
    lines = []
    for provider in dict.fromkeys(row["provider"] for row in figures["exponents"]):
        rows = {row["sweep"]: row for row in figures["exponents"] if row["provider"] == provider}
        fitted = (f"{rows[n]['exponent']:.2f} ({rows[n]['from']}–{rows[n]['to']})" if n in rows else "" for n in names)
        lines.append([provider, *fitted])
    print("\nexponents")
    _print(["", *names], lines)
    print()
    for row in figures["left_out"]:
        size = "" if row["groups"] is None else f" at {Case(*(row[name] for name in FIELDS[1:6]))}"
        print(f"- {row['provider']}: {row['kind']}{size}: {row['reason']}")


def _names(figures: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["provider"] for row in figures["rows"]))


def _cells(figures: dict[str, Any], found: dict[str, list[Any]], place: int) -> list[str]:
    """Median, spread, ratio to bmm and how many times the time of ours."""
    speedups = {tuple(row[key] for key in FIELDS[:6]): row for row in figures["speedups"]}
    cells = []
    for provider, rows in found.items():
        row = rows[place]
        if row is None:
            cells.append("")
            continue
        text = f"{number(row['median_us'])} ({number(row['p20_us'])}–{number(row['p80_us'])})"
        if provider != "bmm":
            text += f"; {number(row['ratio_to_bmm'])}×"
        if (speedup := speedups.get(tuple(row[key] for key in FIELDS[:6]))) is not None:
            text += f"; {number(speedup['ratio'])}× ours"
        cells.append(text)
    return cells


def _print(head: list[str], lines: list[list[str]]) -> None:
    for line in (head, ["---", *["--:"] * (len(head) - 1)], *lines):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    typer.run(main)
