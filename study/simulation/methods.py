"""``python -m study.simulation.methods``: every method of docs/methods.md on every family, under ascent and under Adam.

Rows hold the steps of every run of a block of seeds, so that ``methods_page.py`` makes its tables from them alone; all
families get the first block before any gets the next. Goes on where an interrupted run stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from study.results_file import ResultsFile, Row
from study.simulation.arms import METHODS
from study.simulation.families import PLACED
from study.simulation.optimisers import OPTIMISERS, RATES, Name
from study.simulation.running import steps_to_parts

RESULTS, QUICK = Path("study/results/methods.jsonl"), Path("runs/study-quick/methods.jsonl")
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
#: What is run, in this order: variants, and a block of seeds.
PLAN = (
    ((BASE,), (0, 16)),
    (tuple(VARIANTS)[1:], (0, 16)),
    ((BASE,), (16, 64)),
    ((BASE,), (64, 160)),
    (tuple(VARIANTS)[1:], (16, 64)),
)
CUT_OFF = 1000  # steps


def measure(variant: str, name: str, optimiser: Name, seeds: tuple[int, int], steps: int) -> Row:
    """Every run's steps: for each arm and each part, one number per seed, None where it was cut off."""
    family, setting = PLACED[name]
    parts = PARTS.get(variant, (0.9,))
    found = {}
    for arm in METHODS:
        arrived = steps_to_parts(
            family, METHODS[arm], replace(setting, **VARIANTS[variant]), list(range(*seeds)), parts=parts,
            rate=RATES[optimiser], steps=steps, optimiser=optimiser,
        )  # fmt: skip
        found[arm] = {
            f"{part:g}": [None if np.isinf(each) else int(each) for each in row]
            for part, row in zip(parts, arrived, strict=True)
        }
    return {"variant": variant, "family": name, "optimiser": optimiser, "seeds": list(seeds), "steps": found}


def rows_file(path: Path | None, steps: int) -> ResultsFile:
    """Rows of ``measure``; earlier ones are kept if they have the same rates and cut-off."""
    return ResultsFile(path, ("variant", "family", "optimiser", "seeds", "steps"), steps=steps, rates=RATES)


Plan = Sequence[tuple[Sequence[str], tuple[int, int]]]


def run(path: Path | None, plan: Plan, steps: int) -> list[Row]:
    """All rows, those of the file first."""
    every = [(*key, seeds) for variants, seeds in plan for key in itertools.product(variants, PLACED, OPTIMISERS)]
    return rows_file(path, steps).completed(
        every,
        lambda row: (row["variant"], row["family"], row["optimiser"], tuple(row["seeds"])),
        lambda key: measure(*key, steps),
        "methods",
    )


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds, four steps, kept under runs/study-quick.")] = False,
) -> None:
    """Run every method on every family and variant; rows go to study/results/methods.jsonl."""
    torch.set_num_threads(1)
    if quick:
        run(QUICK, [(tuple(VARIANTS), (0, 2))], 4)
    else:
        run(RESULTS, PLAN, CUT_OFF)


if __name__ == "__main__":
    typer.run(main)
