"""``python -m study.simulation.methods``: every method of docs/methods.md on every family, under ascent and under Adam.

Rows hold the steps of every run, so that ``methods_page.py`` makes its tables from them alone. Goes on where an interrupted
run stopped.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress

from study.results_file import ResultsFile, Row
from study.simulation.arms import METHODS
from study.simulation.families import PLACED
from study.simulation.optimisers import OPTIMISERS, RATES
from study.simulation.running import STEPS, steps_to_parts

RESULTS = Path("study/results/methods.jsonl")
BASE = "binary rewards, groups of 8"
#: Completions that are drawn, paid and seen otherwise; each field of ``Setting`` that differs from the family's own.
VARIANTS: dict[str, dict[str, Any]] = {
    BASE: {},
    "groups of 4": {"prompts": 16, "group_size": 4},
    "groups of 16": {"prompts": 4, "group_size": 16},
    "graded rewards": {"graded": True, "noise": 0.1},
    "reward noise": {"noise": 0.3},
    "saturated similarity": {"within": 0.98, "across": 0.9},
    "noisy embedder": {"mistaken": 0.25},
}
PARTS = {BASE: (0.9, 0.97)}  # of the best reachable reward; elsewhere the first alone
SEEDS, SEEDS_OF_VARIANTS = 160, 64


def measure(variant: str, name: str, optimiser: str, seeds: int, steps: int) -> Row:
    """Every run's steps: for each arm and each part, one number per seed, None where it was cut off."""
    family, setting = PLACED[name]
    parts = PARTS.get(variant, (0.9,))
    found = {}
    for arm in METHODS:
        arrived = steps_to_parts(
            family, METHODS[arm], replace(setting, **VARIANTS[variant]), list(range(seeds)), parts=parts,
            rate=RATES[optimiser], steps=steps, optimiser=optimiser,
        )  # fmt: skip
        found[arm] = {
            f"{part:g}": [None if np.isinf(each) else int(each) for each in row]
            for part, row in zip(parts, arrived, strict=True)
        }
    return {"variant": variant, "family": name, "optimiser": optimiser, "steps": found}


def rows_file(path: Path | None, seeds: int, seeds_of_variants: int, steps: int) -> ResultsFile:
    """Rows of ``measure``; earlier ones are kept if they have as many seeds, the same rates, arms and cut-off."""
    return ResultsFile(path, ("variant", "family", "optimiser", "steps"), seeds=f"0 to {seeds - 1}",
                       seeds_of_variants=f"0 to {seeds_of_variants - 1}", steps=steps, rates=RATES)  # fmt: skip


def run(path: Path | None, seeds: int, seeds_of_variants: int, steps: int) -> list[Row]:
    """All rows, those of the file first."""
    file = rows_file(path, seeds, seeds_of_variants, steps)
    rows = file.rows()
    done = {(row["variant"], row["family"], row["optimiser"]) for row in rows}
    every = list(itertools.product(VARIANTS, PLACED, OPTIMISERS))
    with Progress(console=Console(stderr=True)) as progress:
        for key in progress.track(every, description="methods"):
            if key not in done:
                rows.append(measure(*key, seeds if key[0] == BASE else seeds_of_variants, steps))
                file.append(rows[-1])
    return rows


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds, 32 steps at most, nothing kept.")] = False,
    results: Annotated[Path, typer.Option(help="JSON Lines: rows are written to this file.")] = RESULTS,
) -> None:
    """Run every method on every family and variant."""
    torch.set_num_threads(1)
    if quick:
        run(None, 2, 2, 32)
    else:
        run(results, SEEDS, SEEDS_OF_VARIANTS, STEPS)


if __name__ == "__main__":
    typer.run(main)
