"""The confirmation: a comparison whose outcome, arms, seeds and tests were fixed before its runs (study/plan.md).

python -m study.training.confirmation
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from study.results_file import Row
from study.training.arms import ENTROPY, METHODS
from study.training.plan import FOUND, PILOT_SEEDS, PROMPTS_PER_STEP, STEPS
from study.training.rows import Run, missing, steps_to
from study.training.train import Results, Workers, complete

RESULTS = Path("study/results/training-confirmation.jsonl")
PILOT_RATES = (4e-4, 8e-4, 1.6e-3)
#: All arms of the earlier study chose it, from 1e-4, 2e-4 and 4e-4.
EARLIER_RATE = 2e-4
SAME_RATE = 4e-4  # the one that plain training chose on `crowded`
FIRST_SEED = 100  # no earlier run had such seeds

PLAIN, SCORE, SHARE = "plain", "MMR, first pick by score", "share, dial"
CONTROL = "control"  # stands for the entropy bonus that the pilots choose
CORE = (PLAIN, CONTROL, SCORE, SHARE)
OTHERS = tuple(arm.name for arm in METHODS if arm.name not in CORE)


class Part(NamedTuple):
    """A family under a loss, and how it is run."""

    family: str
    loss: str
    seeds: int
    steps: int
    rate: float | None = EARLIER_RATE  # None: each arm at the one that its pilots chose
    until: float | None = None
    exploratory: bool = False  # added after the primary outcome was seen


CROWDED = Part("crowded", "DAPO", 16, STEPS["crowded"], rate=None, until=FOUND)
TRAPPED = CROWDED._replace(loss="GRPO", seeds=8, steps=3 * STEPS["crowded"])
SINGLE = Part("single", "DAPO", 16, STEPS["single"])
ONE_RATE = CROWDED._replace(rate=SAME_RATE, exploratory=True)
#: In the order in which they are run: what is worth most comes first.
ORDER = (
    (CROWDED, CORE),
    (TRAPPED, CORE),
    (SINGLE, CORE),
    (ONE_RATE, CORE),
    (TRAPPED._replace(rate=EARLIER_RATE), (PLAIN, SCORE)),
    (ONE_RATE, OTHERS),
    (SINGLE, OTHERS),
    (Part("hidden", "DAPO", 8, STEPS["hidden"]), CORE),
    (SINGLE._replace(loss="GRPO"), CORE),
)


def pilots() -> list[Run]:
    """The primary comparison's arms at every rate."""
    return [
        Run(CROWDED.family, CROWDED.loss, arm, rate, seed, CROWDED.steps, PROMPTS_PER_STEP, FOUND)
        for seed in PILOT_SEEDS
        for rate in PILOT_RATES
        for arm in (PLAIN, *(arm.name for arm in ENTROPY), SCORE)
    ]


def found_at(row: Row) -> float:
    """Steps to the better way; twice the run's length where it was not found."""
    return min(steps_to(row, FOUND), 2.0 * row["steps"])


def tuned(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """For each arm of the pilots the mean steps at its fastest rate, of those with all pilots, and that rate."""
    taken: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        if row["seed"] in PILOT_SEEDS:
            taken[row["arm"], row["learning_rate"]].append(found_at(row))
    best: dict[str, tuple[float, float]] = {}
    for (arm, rate), steps in taken.items():
        if len(steps) == len(PILOT_SEEDS):
            best[arm] = min(best.get(arm, (np.inf, 0.0)), (float(np.mean(steps)), rate))
    return best


def control(rows: list[Row]) -> str:
    """The entropy bonus whose coefficient and rate were fastest in the pilots."""
    best = tuned(rows)
    return min((arm.name for arm in ENTROPY), key=lambda name: best[name])


def study(rows: list[Row]) -> list[Run]:
    """The runs of all parts."""
    return [run for part, arms in ORDER for run in runs_of(part, arms, rows)]


def runs_of(part: Part, arms: tuple[str, ...], rows: list[Row]) -> list[Run]:
    """Those of a part, seed after seed, so that an interrupted one has whole pairs; of ``rows`` the pilots count."""
    best, chosen = tuned(rows), control(rows)
    runs = []
    for seed in range(FIRST_SEED, FIRST_SEED + part.seeds):
        for arm in (chosen if each == CONTROL else each for each in arms):
            rate = part.rate or best.get(arm, best[SCORE])[1]
            runs.append(Run(part.family, part.loss, arm, rate, seed, part.steps, PROMPTS_PER_STEP, part.until))
    return runs


def quick() -> list[Run]:
    """Two steps of two arms, which show that they run."""
    return [run._replace(steps=2, prompts_per_step=2) for run in pilots() if run.seed == PILOT_SEEDS[0]][:2]


def main(
    results: Results = RESULTS,
    workers: Workers = 2,
    small: Annotated[bool, typer.Option("--quick", help="Two steps of two arms, to see that they run.")] = False,
) -> None:
    """Run what is missing: first the pilots, then the parts."""
    stages = [lambda _: quick()] if small else [lambda _: pilots(), study]
    for runs in stages:
        complete(results, lambda rows, runs=runs: missing(runs(rows), rows), workers)  # type: ignore[misc]


if __name__ == "__main__":
    typer.run(main)
