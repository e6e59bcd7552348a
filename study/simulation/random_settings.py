"""``python -m study.simulation.random_settings``: how often each method helps and hurts.

Over the settings of ``advice.py``, and as there: 48 seeds, a rate of 1, at most 333 steps; and by Adam. Goes on where
an interrupted run stopped.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from study.results_file import ResultsFile, Row
from study.simulation import intervals
from study.simulation.arms import METHODS
from study.simulation.map import CUT_OFF, RATE
from study.simulation.optimisers import OPTIMISERS, RATES, Name
from study.simulation.points import Point, at_random
from study.simulation.running import steps_to_parts

RESULTS, QUICK = Path("study/results/random-settings.jsonl"), Path("runs/study-quick/random-settings.jsonl")
SETTINGS, SEEDS = 300, 48
#: The rate of ``advice.py`` for ascent; for Adam as much more than that of ``methods.py``.
RANDOM_RATES: dict[Name, float] = {"ascent": RATE, "adam": RATE / RATES["ascent"] * RATES["adam"]}


def measure(point: Point, seeds: int) -> Row:
    """By optimiser: median steps of GRPO, and each arm's ratio to it with an interval."""
    return {name: by_optimiser(point, seeds, name) for name in OPTIMISERS}


def by_optimiser(point: Point, seeds: int, optimiser: Name) -> Row:
    """The same by one."""
    run: dict[str, Any] = {"rate": RANDOM_RATES[optimiser], "steps": CUT_OFF, "optimiser": optimiser}
    steps = {
        name: steps_to_parts(point.family(), arm, point.setting(), list(range(seeds)), **run)[0]
        for name, arm in METHODS.items()
    }
    found: Row = {"grpo": asdict(intervals.of_median(steps["grpo"], CUT_OFF))}
    for name in list(METHODS)[1:]:
        ratio, low, high = intervals.of_ratio(steps[name], steps["grpo"], CUT_OFF)
        cut = int(np.isinf(steps[name]).sum())
        found[name] = {"ratio": round(ratio, 4), "low": round(low, 4), "high": round(high, 4), "cut_off": cut}
    return found


def rows_file(path: Path | None, seeds: int) -> ResultsFile:
    """Rows of ``measure``; earlier ones are kept if they have as many seeds, the same rates and the same cut-off."""
    return ResultsFile(path, ("number", "point"), seeds=f"0 to {seeds - 1}", rates=RANDOM_RATES, steps=CUT_OFF)


def run(path: Path | None, settings: int, seeds: int) -> list[Row]:
    """All rows, those of the file first."""

    def row(number: int) -> Row:
        point = at_random(number)
        return {"number": number, "point": asdict(point), **measure(point, seeds)}

    return rows_file(path, seeds).completed(range(settings), lambda row: row["number"], row, "random settings")


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Two settings, four seeds, under runs/study-quick.")] = False,
) -> None:
    """Run every method on 300 random settings; rows go to study/results/random-settings.jsonl."""
    torch.set_num_threads(1)
    if quick:
        run(QUICK, 2, 4)
    else:
        run(RESULTS, SETTINGS, SEEDS)


if __name__ == "__main__":
    typer.run(main)
