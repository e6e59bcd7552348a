"""The confirmation: a comparison whose outcome, arms, seeds and tests were fixed before its runs (study/plan.md).

python -m study.training.confirmation
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer

from study.results_file import Row
from study.training.arms import ENTROPY, METHODS
from study.training.plan import PILOT_SEEDS, PROMPTS_PER_STEP, STEPS
from study.training.rows import Run, run_of, steps_to
from study.training.train import Results, Workers, complete

RESULTS = Path("study/results/training-confirmation.jsonl")
FOUND = 0.5  # accuracy at which a run has found the better way, where the common one alone can pay 0.4
PLAIN = "plain"
PILOT_RATES = (2e-4, 4e-4, 8e-4)
#: All arms of the earlier study chose it from 1e-4, 2e-4 and 4e-4; it is taken where this one has no pilots.
EARLIER_RATE = 2e-4
FIRST_SEED = 100  # no earlier run had such seeds


class Part(NamedTuple):
    """All arms on one family under one loss."""

    family: str
    loss: str
    seeds: int
    steps: int
    until: float | None = None


PRIMARY = Part("crowded", "DAPO", 16, STEPS["crowded"])
#: In the order in which they are run: what is worth most comes first.
PARTS = (
    PRIMARY,
    Part("single", "DAPO", 16, STEPS["single"]),
    Part("crowded", "GRPO", 8, 3 * STEPS["crowded"], until=FOUND),
    Part("hidden", "DAPO", 12, STEPS["hidden"]),
    Part("single", "GRPO", 16, STEPS["single"]),
    Part("hidden", "GRPO", 12, STEPS["hidden"]),
)


def pilots() -> list[Run]:
    """Every arm at every rate on the primary part, as far as the better way."""
    return [
        Run(PRIMARY.family, PRIMARY.loss, arm, rate, seed, PRIMARY.steps, PROMPTS_PER_STEP, FOUND)
        for seed in PILOT_SEEDS
        for rate in PILOT_RATES
        for arm in (PLAIN, *(arm.name for arm in (*ENTROPY, *METHODS)))
    ]


def found_at(row: Row) -> float:
    """Steps to the better way; twice the run's length where it was not found."""
    return min(steps_to(row, FOUND), 2.0 * row["steps"])


def tuned(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """For each arm the mean steps of its fastest rate in the pilots, and that rate."""
    taken: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        if row["seed"] in PILOT_SEEDS:
            taken[row["arm"], row["learning_rate"]].append(found_at(row))
    best: dict[str, tuple[float, float]] = {}
    for (arm, rate), steps in taken.items():
        best[arm] = min(best.get(arm, (np.inf, 0.0)), (float(np.mean(steps)), rate))
    return best


def control(rows: list[Row]) -> str:
    """The entropy bonus whose coefficient and rate were fastest in the pilots."""
    best = tuned(rows)
    return min((arm.name for arm in ENTROPY), key=lambda name: best[name])


def arms(rows: list[Row]) -> list[str]:
    """Those of every part: plain training, the control, the methods."""
    return [PLAIN, control(rows), *(arm.name for arm in METHODS)]


def study(rows: list[Row]) -> list[Run]:
    """The runs of all parts, seed after seed, so that an interrupted part still has whole pairs."""
    best = tuned(rows)
    return [
        Run(
            part.family, part.loss, arm, best[arm][1] if part == PRIMARY else EARLIER_RATE,
            seed, part.steps, PROMPTS_PER_STEP, part.until,
        )
        for part in PARTS
        for seed in range(FIRST_SEED, FIRST_SEED + part.seeds)
        for arm in arms(rows)
    ]  # fmt: skip


def missing(runs: list[Run], rows: list[Row]) -> list[Run]:
    """Those that have no row."""
    done = {run_of(row) for row in rows}
    return [run for run in runs if run not in done]


def main(results: Results = RESULTS, workers: Workers = 2) -> None:
    """Run what is missing: first the pilots, then the parts."""
    complete(results, lambda rows: missing(pilots(), rows), workers)
    complete(results, lambda rows: missing(study(rows), rows), workers)


if __name__ == "__main__":
    typer.run(main)
