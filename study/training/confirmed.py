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
from study.training.confirmation import CROWDED, ORDER, OTHERS, PLAIN, RESULTS, SCORE, Part
from study.training.plan import FOUND, LEVEL, PILOT_SEEDS
from study.training.rows import accuracy, results_file, run_of, steps_to
from study.training.statistics import holm, interval, log_rank_p, paired_p, pairs_needed, ratio
from study.training.train import Results

HEADER = """# The confirmation

`python -m study.training.confirmed > study/confirmation.md` makes this page from
[the rows](results/training-confirmation.jsonl); [plan.md](plan.md), written before the runs, says what is measured and
tested, [README.md](README.md) what it shows. Ratios of steps are geometric means over pairs of a seed, brackets behind
means hold bootstrap 95 % intervals over seeds. A run that doesn't arrive counts with its length: ≥ marks the steps and
the ratio of such an arm, ≤ a ratio to such an arm, *neither* one between two. *p* is that of the exact paired test, and
brackets hold it after Holm's correction for all secondary p of the same stage of a part: the four arms that the plan
names first are one stage, the other arms another, so that what is run later changes nothing that was said before. The
primary p, of the exact test alone, are bold. Parts that were added after the primary outcome was seen are exploratory,
their p with them. *Pairs for 10 %* would show 10 % fewer steps at 5 % and a power of 80 %, if ratios spread as here
(those of capped runs spread too little). Where arms have fewer pairs than their base has runs, *arrived* says how many.
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

    def is_tested_apart(self, which: int) -> bool:
        """Whether this one of its ``values`` is primary, and so not corrected."""
        return self.is_primary and which == 0

    def values(self) -> list[float]:
        """Its p: of the exact paired test and, where all runs have the same level, of the log-rank test."""
        exact = paired_p(*self.capped)
        return [exact, log_rank_p(self.ones, self.others, self.part.steps)] if finds_way(self.part) else [exact]

    def cells(self, shown: list[str]) -> list[str]:
        """The row of its table; ``shown`` are its p."""
        late, late_base = np.isinf(self.ones).any(), np.isinf(self.others).any()
        bound = "neither, " if late and late_base else "≥ " if late else "≤ " if late_base else ""
        return [self.arm, *reached(self.ones, self.part), bound + ratio(*self.capped).text(2), *shown, *self.peak,
                f"{pairs_needed(*self.capped, 0.1):.0f}" if len(self.ones) > 1 else ""]  # fmt: skip


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
    """The p of each: the primary ones as they are, the others also corrected, by stage of the plan."""
    values = [each.values() for each in found]
    texts = [[f"**{p:.2g}**" for p in ps] for ps in values]
    for is_later in (False, True):
        places = [
            (at, which)
            for at, each in enumerate(found)
            for which in range(len(values[at]))
            if (each.arm in OTHERS) is is_later and not each.is_tested_apart(which)
        ]
        corrected = holm([values[at][which] for at, which in places])
        for (at, which), p in zip(places, corrected, strict=True):
            texts[at][which] = f"{values[at][which]:.2g} ({p:.2g})"
    return texts


def tables(rows: list[Row], part: Part) -> list[str]:
    """A part's comparisons with plain training, and those with the control."""
    found = compared(rows, part)
    outcome = (
        f"an accuracy of {FOUND:g}" if finds_way(part) else f"{100 * LEVEL:.0f} % of plain training's peak on its seed"
    )
    rate = "rates of the pilots" if part.rate is None else f"rate {part.rate:g}"
    kind = "Exploratory: " if part.exploratory else ""
    lines = [f"## {kind}{part.family}, {part.loss}, {rate}: steps to {outcome}, at most {part.steps}\n"]
    shown = texts_of_p(found)
    for base in dict.fromkeys(each.base for each in found):
        pairs = sorted((each.others for each in found if each.base == base), key=len)
        arrived, steps = reached(pairs[-1], part)
        fewer = f"; {len(pairs[0])} to {len(pairs[-1])} pairs" if len(pairs[0]) < len(pairs[-1]) else ""
        columns = [f"against {base} ({arrived}, {steps}{fewer})", "arrived", "steps", "ratio", "p"]
        columns += ["log-rank p" if finds_way(part) else "peak", "pairs for 10 %"]
        body = [each.cells(p) for each, p in zip(found, shown, strict=True) if each.base == base]
        lines += [Table("", columns, body).markdown(), ""]
    return lines


def of_pilots(steps: list[float]) -> str:
    """Their mean; fewer than all are no choice."""
    return f"{np.mean(steps):.0f}" if len(steps) == len(PILOT_SEEDS) else f"{len(steps)} of {len(PILOT_SEEDS)}"


def pilots_table(rows: list[Row]) -> list[str]:
    """Mean steps of every arm of the pilots at every rate, and what was chosen."""
    steps: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["seed"] in PILOT_SEEDS:
            steps[row["arm"]][row["learning_rate"]].append(confirmation.found_at(row))
    rates = confirmation.PILOT_RATES
    body = [[arm, *(of_pilots(taken[rate]) for rate in rates)] for arm, taken in steps.items()]
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
