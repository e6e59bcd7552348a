"""From the rows of the study to its tables: steps, time and peak of every arm against the plain one, paired by seed.

python -m study.training.comparisons > study/tables.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from mmr_kernels.bench.table import Table
from study.results_file import Row
from study.simulation.intervals import Interval
from study.training import plan
from study.training.arms import ARMS, LOSSES, plain_of
from study.training.problems import FAMILIES
from study.training.rows import RESULTS, accuracy, results_file, steps_to
from study.training.statistics import holm, interval, paired_p, pairs_needed, ratio

HEADER = """# All arms of the training study

`python -m study.training.comparisons > study/tables.md` makes this page from [the rows](results/training-runs.jsonl);
[README.md](README.md) says which runs these are, how they are measured, and what they show. Steps are to 95 % of the
plain arm's peak on the same seed, brackets hold 95 % intervals over seeds; ≥ marks arms of which some runs did not
arrive and count with their length. *To 0.5* counts the runs that came to a reward of 0.5, where the common way alone
pays 0.4 at most, with the first and the last step at which one did. *p* is that of an exact paired test on the
logarithms of steps; in brackets all p of the page corrected together by Holm's method. These runs were looked at while
the study was planned: what was asked beforehand is in [confirmation.md](confirmation.md).
"""
COLUMNS = ("loss", "arm", "rate", "reached", "steps", "steps, of plain's", "p", "time, of plain's", "peak",
           "against plain's", "to 0.5")  # fmt: skip


class Comparison(NamedTuple):
    """An arm against the plain one of its family, loss and grade, on the same seeds."""

    family: str
    loss: str
    arm: str
    learning_rate: float
    seeds: int
    reached: int  # runs that came to the level; the others count with their whole length, so steps are a lower bound
    steps: Interval
    steps_ratio: Interval  # geometric mean of arm / plain
    p: float
    time_ratio: Interval  # the same of processor seconds
    peak: float
    peak_difference: Interval
    found: list[float] | None  # the steps at which runs came to ``plan.FOUND``; None if only one way pays

    @property
    def bound(self) -> str:
        return "≥ " if self.reached < self.seeds else ""

    def cells(self, corrected: float) -> list[str]:
        """As in ``COLUMNS``; ``corrected`` is p after Holm's correction."""
        mean, low, high = self.peak_difference
        return [
            self.loss,
            self.arm,
            f"{self.learning_rate:.0e}",
            f"{self.reached}/{self.seeds}",
            self.bound + self.steps.text(0),
            self.bound + self.steps_ratio.text(2),
            "" if self.arm == plain_of(self.arm) else f"{self.p:.3f} ({corrected:.2f})",
            self.bound + self.time_ratio.text(2),
            f"{self.peak:.3f}",
            f"{mean:+.3f} ({low:+.3f} to {high:+.3f})",
            "" if self.found is None else span(self.found),
        ]


def span(steps: list[float]) -> str:
    """How many there are, the first and the last."""
    return f"{len(steps)}, {min(steps):.0f}–{max(steps):.0f}" if steps else "0"


def seconds_per_step(row: Row) -> float:
    """Processor seconds of training, without evaluation."""
    return float(row["processor_seconds"]) / float(row["curves"]["step"][-1])


def capped_steps(row: Row, level: float) -> float:
    """Steps to the level, the run's length where it was not reached; at least one, for ratios."""
    return max(1.0, min(steps_to(row, level), float(row["steps"])))


def paired(runs: plan.Runs, family: str, loss: str, arm: str) -> list[tuple[Row, Row]]:
    """The arm's runs with its plain one's, on the seeds that both have."""
    ones, others = runs.get((family, loss, arm), {}), runs.get((family, loss, plain_of(arm)), {})
    return [(ones[seed], others[seed]) for seed in sorted(set(ones) & set(others))]


def compare(runs: plan.Runs, family: str, loss: str, arm: str) -> Comparison | None:
    """The arm against its plain one; None if they have no seed in common."""
    pairs = paired(runs, family, loss, arm)
    if not pairs:
        return None
    levels = [plan.LEVEL * accuracy(plain).max() for _, plain in pairs]
    steps, base = (
        np.array([capped_steps(pair[which], level) for pair, level in zip(pairs, levels, strict=True)])
        for which in (0, 1)
    )
    found_steps = [steps_to(one, plan.FOUND) for one, _ in pairs]
    cost = np.array([seconds_per_step(one) / seconds_per_step(plain) for one, plain in pairs])
    peaks, plain_peaks = (np.array([accuracy(pair[which]).max() for pair in pairs]) for which in (0, 1))
    return Comparison(
        family,
        loss,
        arm,
        pairs[0][0]["learning_rate"],
        len(pairs),
        sum(steps_to(one, level) < np.inf for (one, _), level in zip(pairs, levels, strict=True)),
        interval(steps),
        ratio(steps, base),
        paired_p(steps, base),
        ratio(steps * cost, base),
        float(peaks.mean()),
        interval(peaks - plain_peaks),
        None if len(FAMILIES[family].paid) == 1 else [step for step in found_steps if step < np.inf],
    )


def comparisons(runs: plan.Runs) -> list[Comparison]:
    """All that there are runs for, by family, loss and arm."""
    keys = ((family, loss, arm) for family in sorted(FAMILIES) for loss in LOSSES for arm in ARMS)
    return [found for key in keys if (found := compare(runs, *key))]


def seeds_needed(runs: plan.Runs, family: str) -> float:
    """Seeds that show 10 % fewer steps of MMR at a power of 80 %, from the spread of the study's own pairs."""
    pairs = [(*pair, plan.LEVEL * accuracy(pair[1]).max()) for pair in paired(runs, family, "GRPO", "MMR")]
    ones, others = (np.array([capped_steps(each[at], each[2]) for each in pairs]) for at in (0, 1))
    return pairs_needed(ones, others, 0.1)


def room_gained(runs: plan.Runs, family: str) -> Interval:
    """The part of the room from its start to 1 that a plain run has gained after a third of its steps.

    docs/when.md: where it is at most 0.21, MMR is likely to help.
    """
    parts = []
    for row in runs[family, "GRPO", "plain"].values():
        steps, curve = row["curves"]["step"], accuracy(row)
        parts.append((np.interp(steps[-1] / 3, steps, curve) - curve[0]) / (1 - curve[0]))
    return interval(np.array(parts))


def page(rows: list[Row]) -> str:
    """The tables, one per family, and the two figures that the advice rests on."""
    runs = plan.of_study(rows)
    found = comparisons(runs)
    families = list(dict.fromkeys(each.family for each in found))
    tested = [each for each in found if each.arm != plain_of(each.arm)]
    corrected = dict(zip(map(id, tested), holm([each.p for each in tested]), strict=True))
    lines = [HEADER]
    for family in families:
        body = [each.cells(corrected.get(id(each), 1.0)) for each in found if each.family == family]
        lines += [f"**{family}**\n", Table(family, COLUMNS, body, left=2).markdown(), ""]
    needed = ", ".join(f"{seeds_needed(runs, family):.0f} on {family}" for family in families)
    lines.append(f"Seeds that show 10 % fewer steps of MMR under GRPO, at 5 % and a power of 80 %: {needed}.\n")
    for family in families:
        gained = room_gained(runs, family).text(2)
        lines.append(f"{family}: plain gained {gained} of the room to 1 in a third of its run.\\")
    return "\n".join(lines)


def main(
    results: Annotated[Path, typer.Option(help="JSON Lines that the study wrote.")] = RESULTS,
) -> None:
    """Compare every arm with its plain one."""
    print(page(results_file(results).rows()))


if __name__ == "__main__":
    typer.run(main)
