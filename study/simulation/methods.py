"""``python -m study.simulation.methods``: every method of docs/methods.md on every family, under ascent and under Adam.

Rows hold the steps of every run, so that ``methods_page.py`` makes its tables from them alone. Goes on where an
interrupted run stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
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


class Key(NamedTuple):
    """What a row is of."""

    variant: str
    family: str
    optimiser: Name
    arm: str

    def case(self) -> Case:
        """The family, and its setting in this variant."""
        family, setting = PLACED[self.family]
        return Case(family, replace(setting, **VARIANTS[self.variant]))


def parts(variant: str) -> tuple[float, ...]:
    """Of the best reachable reward: the targets."""
    return (0.9, 0.97) if variant == BASE else (0.9,)


def measure(keys: Sequence[Key], seeds: dict[str, int], steps: int) -> Iterator[Row]:
    """Rows of one arm and optimiser, run as one: steps to each part, one number per seed, None where cut off."""
    variant, _, optimiser, arm = keys[0]
    runs = range(seeds["base" if variant == BASE else "variants"])
    arrived = steps_of(
        [key.case() for key in keys], KNOWN[arm], runs, parts=parts(variant), rate=RATES[optimiser], steps=steps,
        optimiser=optimiser,
    )  # fmt: skip
    for key, found in zip(keys, arrived, strict=True):
        yield key._asdict() | {"steps": {
            f"{part:g}": [None if np.isinf(each) else int(each) for each in row]
            for part, row in zip(parts(variant), found, strict=True)
        }}  # fmt: skip


def batches() -> list[list[Key]]:
    """What runs as one: all families, and variants of one group size and with the same targets, of an arm."""
    batch: dict[tuple[Any, ...], list[Key]] = {}
    for variant, optimiser, arm, family in itertools.product(VARIANTS, OPTIMISERS, KNOWN, PLACED):
        key = Key(variant, family, optimiser, arm)
        batch.setdefault((parts(variant), key.case().setting.group_size, optimiser, arm), []).append(key)
    return list(batch.values())


def run(path: Path | None, seeds: dict[str, int], steps: int) -> list[Row]:
    """All rows, those of the file first if they have as many seeds, the same rates and the same cut-off."""
    file = ResultsFile(path, (*Key._fields, "steps"), seeds=seeds, cut_off=steps, rates=RATES)
    return file.completed_batches(
        batches(), lambda row: Key(*(row[name] for name in Key._fields)), lambda keys: measure(keys, seeds, steps),
        "methods",
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
