"""What the rows of ``methods.py`` and ``random_settings.py`` come to: ratios, means and frequencies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from study.results_file import Row
from study.simulation import intervals
from study.simulation.intervals import Interval
from study.simulation.map import HEADLINE
from study.simulation.methods import KNOWN
from study.simulation.optimisers import OPTIMISERS
from study.simulation.random_settings import Ratio

RESAMPLES = 999


def gathered(rows: Iterable[Row]) -> list[Row]:
    """One row per variant, family and optimiser with the steps of every arm; those that lack an arm are left out."""
    cells: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        for variant, families in row["steps"].items():
            for family, steps in families.items():
                cells.setdefault((variant, family, row["optimiser"]), {})[row["arm"]] = steps
    return [
        {"variant": variant, "family": family, "optimiser": optimiser, "steps": {arm: by_arm[arm] for arm in KNOWN}}
        for (variant, family, optimiser), by_arm in cells.items()
        if by_arm.keys() >= KNOWN.keys()
    ]


def chosen(rows: Iterable[Row], variant: str, optimiser: str | None = None, without: tuple[str, ...] = ()) -> list[Row]:
    """Gathered rows of a variant, of one optimiser or of both."""
    return [row for row in rows if row["variant"] == variant and row["optimiser"] in (optimiser or OPTIMISERS)
            and row["family"] not in without]  # fmt: skip


def steps_of(row: Row, arm: str, part: str) -> np.ndarray:
    """(seeds,) with inf where a run was cut off."""
    return np.array([np.inf if each is None else each for each in row["steps"][arm][part]])


def seeds_of(rows: list[Row]) -> int:
    """How many runs each arm has."""
    return len(rows[0]["steps"]["grpo"]["0.9"]) if rows else 0


def worst(rows: list[Row], arm: str, part: str, cut_off: int) -> str:
    """The highest ratio to GRPO's steps of all rows."""

    def value(row: Row) -> float:
        return intervals.ratio_of_medians(*(np.minimum(steps_of(row, name, part), cut_off) for name in (arm, "grpo")))

    highest = max(rows, key=value)
    return f"{value(highest):.2f}, {highest['family']}, {highest['optimiser']}"


def geometric_mean(rows: list[Row], arm: str, part: str, cut_off: int, interval: bool = True) -> Interval:
    """Over families and optimisers, of median steps over GRPO's.

    The interval is a percentile bootstrap over seeds, which all families share. It says nothing of other families.
    """
    pairs = [np.minimum(steps_of(row, name, part), cut_off) for row in rows for name in (arm, "grpo")]

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        logs = [np.log(np.maximum(np.median(each, axis=axis), 1)) for each in samples]
        mean: np.ndarray = np.exp(np.mean(np.array(logs[::2]) - np.array(logs[1::2]), axis=0))
        return mean

    value = float(statistic(*pairs))
    if arm == "grpo" or not interval:
        return Interval(value, value, value)
    return Interval(value, *intervals.bootstrapped(pairs, statistic, RESAMPLES))


def ratio(row: Row, arm: str, part: str, cut_off: int) -> str:
    """One arm on one family; GRPO's own cell holds its steps."""
    steps, base = steps_of(row, arm, part), steps_of(row, "grpo", part)
    if arm == "grpo":
        return str(intervals.of_median(steps, cut_off))
    lost, base_lost = (2 * np.isinf(each).sum() >= len(each) for each in (steps, base))
    if lost and base_lost:
        return "neither"
    mark = "≥ " if lost else "≤ " if base_lost else ""
    value, low, high = intervals.of_ratio(steps, base, cut_off)
    return f"{mark}{value:.2f} ({low:.2f}–{high:.2f})"


class Frequency(NamedTuple):
    """How an arm did over random settings."""

    settings: int
    helps: int  #: the interval of the ratio lies below 1
    hurts: int  #: above 1
    headline: int  #: at least 47.9 % fewer steps
    median: float
    tenth: float  #: the ratio that a tenth of the settings lies above
    worst: float

    def cells(self) -> list[str]:
        """For the table of all figures."""
        shares = [share(count, self.settings) for count in (self.helps, self.hurts, self.headline)]
        return [*shares, *(f"{each:.2f}" for each in (self.median, self.tenth, self.worst))]

    def is_near(self, count: int, percent: float) -> bool:
        """Whether a share lies in Wilson's interval of the count, to whole percents."""
        found = stats.binomtest(count, self.settings).proportion_ci(method="wilson")
        return bool(round(100 * found.low) <= percent <= round(100 * found.high))

    def in_short(self) -> str:
        """Helps, hurts and worst in one cell."""
        return f"{self.helps / self.settings:.0%} / {self.hurts / self.settings:.0%} / {self.worst:.2f}".replace(
            "%", " %"
        )


def share(count: int, settings: int) -> str:
    """In percent, with Wilson's interval."""
    found = stats.binomtest(count, settings).proportion_ci(method="wilson")
    return f"{count / settings:.0%} ({found.low:.0%}–{found.high:.0%})".replace("%", " %")


def frequency(rows: list[Row], optimiser: str, arm: str) -> Frequency:
    """Over all settings of the rows."""
    found = [Ratio(*row[optimiser][arm]) for row in rows]
    ratios = np.array([each.ratio for each in found])
    return Frequency(
        len(found), sum(each.high < 1 for each in found), sum(each.low > 1 for each in found),
        int((ratios <= 1 - HEADLINE).sum()), float(np.median(ratios)), float(np.quantile(ratios, 0.9)),
        float(ratios.max()),
    )  # fmt: skip
