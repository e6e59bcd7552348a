"""``python -m study.simulation.methods``: every method of docs/methods.md on every family, under ascent and under Adam.

Rows hold the steps of every run, so that ``methods_page.py`` makes its tables from them alone. Goes on where an
interrupted run stopped.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer

from study.results_file import ResultsFile, Row
from study.simulation.arms import METHODS, REMEDIES
from study.simulation.cases import Case
from study.simulation.families import PLACED
from study.simulation.optimisers import OPTIMISERS, RATES, Name
from study.simulation.running import steps_of

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
SEEDS = {"base": 160, "variants": 64}  # runs of each arm in each case
CUT_OFF = 1000  # steps
KNOWN = METHODS | REMEDIES


class Batch(NamedTuple):
    """What a row is of: an arm on all families in variants of one group size and with the same targets, run as one."""

    variants: tuple[str, ...]
    optimiser: Name
    arm: str


def case(variant: str, family: str) -> Case:
    """The family, and its setting in this variant."""
    itself, setting = PLACED[family]
    return Case(itself, replace(setting, **VARIANTS[variant]))


def parts(variant: str) -> tuple[float, ...]:
    """Of the best reachable reward: the targets."""
    return (0.9, 0.97) if variant == BASE else (0.9,)


def measure(batch: Batch, seeds: dict[str, int], steps: int) -> Row:
    """Steps by variant, family and part: one number per seed, None where a run was cut off."""
    variants, optimiser, arm = batch
    targets, runs = parts(variants[0]), range(seeds["base" if variants[0] == BASE else "variants"])
    cells = list(itertools.product(variants, PLACED))
    arrived = steps_of(
        [case(*cell) for cell in cells], KNOWN[arm], runs, parts=targets, rate=RATES[optimiser], steps=steps,
        optimiser=optimiser,
    )  # fmt: skip
    found: dict[str, Row] = {variant: {} for variant in variants}
    for (variant, family), by_part in zip(cells, arrived, strict=True):
        found[variant][family] = {
            f"{part:g}": [None if np.isinf(each) else int(each) for each in row]
            for part, row in zip(targets, by_part, strict=True)
        }
    return batch._asdict() | {"variants": list(variants), "steps": found}


def batches() -> list[Batch]:
    """All, one per row."""
    alike: dict[tuple[Any, ...], list[str]] = {}
    for variant, changes in VARIANTS.items():
        alike.setdefault((parts(variant), changes.get("group_size")), []).append(variant)
    return [Batch(tuple(variants), *rest) for variants in alike.values()
            for rest in itertools.product(OPTIMISERS, KNOWN)]  # fmt: skip


def run(path: Path | None, seeds: dict[str, int], steps: int) -> list[Row]:
    """All rows, those of the file first if they have as many seeds, the same rates and the same cut-off."""
    file = ResultsFile(path, (*Batch._fields, "steps"), seeds=seeds, cut_off=steps, rates=RATES)
    return file.completed(
        batches(), lambda row: Batch(tuple(row["variants"]), row["optimiser"], row["arm"]),
        lambda batch: measure(batch, seeds, steps), "methods",
    )  # fmt: skip


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds, four steps, kept under runs/study-quick.")] = False,
) -> None:
    """Run every method on every family and variant; rows go to study/results/methods.jsonl."""
    torch.set_num_threads(1)
    if quick:
        run(QUICK, dict.fromkeys(SEEDS, 2), 4)
    else:
        run(RESULTS, SEEDS, CUT_OFF)


if __name__ == "__main__":
    typer.run(main)
