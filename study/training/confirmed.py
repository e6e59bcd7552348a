"""From the rows of the confirmation to its page: the comparisons and tests of the plan (study/plan.md).

python -m study.training.confirmed > study/confirmation.md
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
import typer

from mmr_kernels.bench.table import Table
from study.results_file import Row
from study.training import confirmation
from study.training.confirmation import CROWDED, FOUND, ORDER, PLAIN, RESULTS, SCORE, Part
from study.training.plan import LEVEL, PILOT_SEEDS
from study.training.rows import accuracy, results_file, run_of, steps_to
from study.training.statistics import holm, interval, log_rank_p, paired_p, ratio
from study.training.train import Results

HEADER = """# The confirmation

`python -m study.training.confirmed > study/confirmation.md` makes this page from
[the rows](results/training-confirmation.jsonl); [plan.md](plan.md), written before the runs, says what is measured and
tested, [README.md](README.md) what it shows. Ratios of steps are geometric means over pairs of a seed, brackets behind
means hold bootstrap 95 % intervals over seeds. A run that doesn't arrive counts with its length: ≥ marks the steps and
the ratio of such an arm, ≤ a ratio to such an arm, *neither* one between two. *p* is that of the exact paired test, and
brackets hold it after Holm's correction for all secondary p of the same part; the primary ones are bold.
"""


class Comparison(NamedTuple):
    """An arm against a base, on the seeds that both have."""

    part: Part
    arm: str
    base: str
    ones: np.ndarray  # steps of the arm, by seed; inf where a run doesn't arrive
    others: np.ndarray  # and of the base
    peak: list[str]  # the mean of the arm's peaks, if runs don't end on arrival

    @property
    def is_primary(self) -> bool:
        return self.part == CROWDED and self.arm == SCORE

    @property
    def capped(self) -> tuple[np.ndarray, np.ndarray]:
        """Both, a run's length where it doesn't arrive; at least one, for ratios."""
        return self.ones.clip(1, self.part.steps), self.others.clip(1, self.part.steps)

    def values(self) -> list[float]:
        """Its p: of the exact paired test and, where all runs have the same level, of the log-rank test."""
        exact = paired_p(*self.capped)
        return [exact, log_rank_p(self.ones, self.others, self.part.steps)] if finds_way(self.part) else [exact]

    def cells(self, shown: list[str]) -> list[str]:
        """The row of its table; ``shown`` are its p."""
        late, late_base = np.isinf(self.ones).any(), np.isinf(self.others).any()
        bound = "neither, " if late and late_base else "≥ " if late else "≤ " if late_base else ""
        return [self.arm, *reached(self.ones, self.part), bound + ratio(*self.capped).text(2), *shown, *self.peak]


def finds_way(part: Part) -> bool:
    """Whether the level is that of the better way, and not one of plain training."""
    return part.family == CROWDED.family


def reached(steps: np.ndarray, part: Part) -> tuple[str, str]:
    """How many runs arrived, and the mean of the steps, restricted to the part's length."""
    arrived = int(np.isfinite(steps).sum())
    mean = interval(steps.clip(max=part.steps)).text(0)
    return f"{arrived}/{len(steps)}", mean if arrived == len(steps) else f"≥ {mean}"


def by_arm(rows: list[Row], part: Part) -> dict[str, dict[int, Row]]:
    """The part's rows, by arm and seed."""
    arms = tuple(arm for each, of_it in ORDER if each == part for arm in of_it)
    done = {run_of(row): row for row in rows}
    found: dict[str, dict[int, Row]] = {}
    for run in confirmation.runs_of(part, arms, rows):
        if run in done:
            found.setdefault(run.arm, {})[run.seed] = done[run]
    return found


def level(plain: Row, part: Part) -> float:
    """The accuracy to come to, on the seed of this plain run."""
    return FOUND if finds_way(part) else LEVEL * float(accuracy(plain).max())


def compared(rows: list[Row], part: Part) -> list[Comparison]:
    """All arms against plain training, then the others against the control."""
    runs = by_arm(rows, part)
    plain = runs.get(PLAIN, {})
    steps = {
        arm: {seed: steps_to(row, level(plain[seed], part)) for seed, row in by_seed.items() if seed in plain}
        for arm, by_seed in runs.items()
    }
    found = []
    for base in (PLAIN, confirmation.control(rows)):
        for arm in runs:
            seeds = sorted(set(steps[arm]) & set(steps.get(base, {})))
            if arm not in (PLAIN, base) and seeds:
                ones, others = (np.array([steps[name][seed] for seed in seeds]) for name in (arm, base))
                peak = [] if part.until else [f"{np.mean([accuracy(runs[arm][seed]).max() for seed in seeds]):.3f}"]
                found.append(Comparison(part, arm, base, ones, others, peak))
    return found


def texts_of_p(found: list[Comparison]) -> list[list[str]]:
    """The p of each: the primary ones as they are, the others also corrected."""
    values = [each.values() for each in found]
    secondary = [p for each, ps in zip(found, values, strict=True) if not each.is_primary for p in ps]
    corrected = iter(holm(secondary))
    return [
        [f"**{p:.2g}**" if each.is_primary else f"{p:.2g} ({next(corrected):.2g})" for p in ps]
        for each, ps in zip(found, values, strict=True)
    ]


def tables(rows: list[Row], part: Part) -> list[str]:
    """A part's comparisons with plain training, and those with the control."""
    found = compared(rows, part)
    outcome = f"an accuracy of {FOUND:g}" if finds_way(part) else f"{LEVEL:.0%} of plain training's peak on its seed"
    rate = "rates of the pilots" if part.rate is None else f"rate {part.rate:g}"
    lines = [f"## {part.family}, {part.loss}, {rate}: steps to {outcome}, at most {part.steps}\n"]
    shown = texts_of_p(found)
    for base in dict.fromkeys(each.base for each in found):
        arrived, steps = reached(next(each.others for each in found if each.base == base), part)
        columns = [f"against {base} ({arrived}, {steps})", "arrived", "steps", "ratio", "p"]
        columns += ["log-rank p" if finds_way(part) else "peak"]
        body = [each.cells(p) for each, p in zip(found, shown, strict=True) if each.base == base]
        lines += [Table("", columns, body).markdown(), ""]
    return lines


def pilots_table(rows: list[Row]) -> list[str]:
    """Mean steps of every arm of the pilots at every rate, and what was chosen."""
    steps: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["seed"] in PILOT_SEEDS:
            steps[row["arm"]][row["learning_rate"]].append(confirmation.found_at(row))
    rates = confirmation.PILOT_RATES
    body = [[arm, *(f"{np.mean(taken[rate]):.0f}" for rate in rates)] for arm, taken in steps.items()]
    title = f"## Pilots: mean steps to {FOUND:g} on {CROWDED.family}, {CROWDED.loss}, seeds {PILOT_SEEDS}\n"
    chosen = f"The control is {confirmation.control(rows)!r}.\n"
    return [title, Table("", ["arm", *(f"{rate:g}" for rate in rates)], body).markdown(), "", chosen]


def page(rows: list[Row]) -> str:
    """The pilots, then every part that has runs."""
    lines = [HEADER, *pilots_table(rows)]
    for part in dict.fromkeys(part for part, _ in ORDER):
        lines += tables(rows, part) if compared(rows, part) else []
    return "\n".join(lines).rstrip("\n")


def main(results: Results = RESULTS) -> None:
    """Print the page."""
    print(page(results_file(results).rows()))


if __name__ == "__main__":
    typer.run(main)
