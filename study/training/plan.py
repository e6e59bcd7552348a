"""The runs of the study: pilots that choose each arm's learning rate, then the arms on fresh seeds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from study.results_file import Row
from study.training.arms import ABLATIONS, ARMS, LOSSES, MAIN, plain_of
from study.training.problems import FAMILIES
from study.training.rows import Run, accuracy, steps_to

RATES = (1e-4, 2e-4, 4e-4)
PILOT_SEEDS = (1000, 1001)
SEEDS = tuple(range(8))
STEPS = {"hidden": 160, "crowded": 240, "single": 80}
PILOTED = ("hidden", "single")
#: A family without pilots takes the rates of another: "crowded" has the same right ways as "hidden".
BORROWED = {"crowded": "hidden"}
PROMPTS_PER_STEP = 8
LEVEL = 0.95  # of the plain arm's peak: a run that gets there has reached it
FOUND = 0.5  # accuracy: a run that comes to it has found the better way, for the common one alone pays 0.4 at most
#: Rows by family, loss and arm, then by seed.
Runs = dict[tuple[str, str, str], dict[int, Row]]


def pilots() -> list[Run]:
    """Every arm that has a rate of its own at every rate, under GRPO."""
    return [
        Run(family, "GRPO", arm.name, rate, seed, STEPS[family], PROMPTS_PER_STEP)
        for arm in (*MAIN, *ABLATIONS)
        if not arm.rate_of
        for family in PILOTED
        for seed in PILOT_SEEDS
        for rate in RATES
    ]


def chosen_rates(rows: list[Row]) -> dict[tuple[str, str], float]:
    """For each family and arm, the rate that reached the plain arm's level in fewest steps in the pilots.

    A pilot that never did counts as twice its length; between equals the higher reward at the end decides. The three
    losses share the choice: on-policy they differ by a factor that Adam takes out, and by how lengths are weighted.
    """
    pilots = [row for row in rows if row["seed"] in PILOT_SEEDS]
    taken: dict[tuple[str, str], dict[float, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in pilots:
        plain = plain_of(row["arm"])
        peak = max(
            accuracy(other).max() for other in pilots if other["family"] == row["family"] and other["arm"] == plain
        )
        steps = min(steps_to(row, LEVEL * peak), 2.0 * row["steps"])
        taken[row["family"], row["arm"]][row["learning_rate"]].append((steps, -accuracy(row)[-1]))
    own = {key: min(rates, key=lambda rate: tuple(np.mean(rates[rate], axis=0))) for key, rates in taken.items()}
    rates = {}
    for family in FAMILIES:
        for arm in (*MAIN, *ABLATIONS):
            key = (BORROWED.get(family, family), arm.rate_of or arm.name)
            if key in own:
                rates[family, arm.name] = own[key]
    return rates


def of_study(rows: list[Row]) -> Runs:
    """The study's runs, those of each arm at its chosen rate."""
    rates = chosen_rates(rows)
    found: Runs = defaultdict(dict)
    for row in rows:
        if row["seed"] in SEEDS and row["learning_rate"] == rates.get((row["family"], row["arm"])):
            found[row["family"], row["loss"], row["arm"]][row["seed"]] = row
    return found


def study(rows: list[Row]) -> list[Run]:
    """The arms at their rates, on seeds that no pilot saw; the most important first.

    Raises:
        KeyError: an arm has no pilots yet.
    """
    rates = chosen_rates(rows)
    main, ablations = [("GRPO", arm) for arm in MAIN], [("GRPO", arm) for arm in ABLATIONS]
    losses = [(loss, arm) for loss in LOSSES if loss != "GRPO" for arm in MAIN]
    # Without division by a group's spread: whether that is why MMR gains where rewards are graded.
    undivided = [("Dr. GRPO", arm) for arm in ABLATIONS if arm.grade == "graded"]
    stages = [
        (main, tuple(FAMILIES)),
        (ablations, ("crowded", "single")),
        (undivided, ("single",)),
        (losses, ("crowded", "single")),
    ]
    return [
        Run(family, loss, arm.name, rates[family, arm.name], seed, STEPS[family], PROMPTS_PER_STEP)
        for stage, families in stages
        for seed in SEEDS
        for loss, arm in stage
        for family in families
    ]


def quick() -> list[Run]:
    """Two steps of every arm on one family, and of every loss, which show that all of it runs."""
    losses = [("GRPO", arm) for arm in ARMS] + [(loss, "MMR") for loss in LOSSES if loss != "GRPO"]
    return [Run("single", loss, arm, 1e-4, 0, 2, 2) for loss, arm in losses]
