"""Medians and ratios of medians over seeds, with percentile-bootstrap intervals; runs that were cut off are counted.

A run cut off counts as the cut-off: a lower bound. A median that is one is marked, and so is a ratio made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2000


class Interval(NamedTuple):
    """A value, and its 95 % interval over seeds."""

    value: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


def bootstrapped(
    samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of a statistic of samples, (seeds,) each, resampled together."""
    found = stats.bootstrap(
        samples, statistic, paired=len(samples) > 1, vectorized=True, n_resamples=resamples, method="percentile",
        rng=np.random.default_rng(0), batch=100,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Steps:
    """Steps to target of one arm."""

    median: float
    low: float
    high: float
    cut_off: int  #: runs that hadn't arrived; where they are half of all, the median is a lower bound
    seeds: int

    def __str__(self) -> str:
        if 2 * self.cut_off >= self.seeds:
            return f"> {self.median:.0f}"
        return f"{self.median:.0f} ({self.low:.0f}–{self.high:.0f})" + (f", {self.cut_off} cut" if self.cut_off else "")


def of_median(steps: np.ndarray, cut_off: int) -> Steps:
    """(seeds,) steps, inf where cut off at ``cut_off``, with a 95 % interval over seeds."""
    clipped = np.minimum(steps, cut_off)
    low, high = bootstrapped((clipped,), np.median)
    return Steps(float(np.median(clipped)), low, high, int(np.isinf(steps).sum()), len(steps))


def of_ratio(steps: np.ndarray, base: np.ndarray, cut_off: int) -> tuple[float, float, float]:
    """Median steps over median base steps, and its 95 % interval; the seeds are pairs and resampled as such."""
    pair = np.minimum(steps, cut_off), np.minimum(base, cut_off)
    return (float(ratio_of_medians(*pair)), *bootstrapped(pair, ratio_of_medians))


def ratio_of_medians(steps: np.ndarray, base: np.ndarray, axis: int = -1) -> np.ndarray:
    """Of steps, at least 1 in the base."""
    return np.median(steps, axis=axis) / np.maximum(np.median(base, axis=axis), 1)
