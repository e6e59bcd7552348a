"""Medians and ratios of medians over seeds, with percentile-bootstrap intervals; runs that were cut off are counted.

A run cut off counts as the cut-off: a lower bound. A median that is one is marked, and so is a ratio made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 2000


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
    low, high = _interval((clipped,), np.median)
    return Steps(float(np.median(clipped)), low, high, int(np.isinf(steps).sum()), len(steps))


def of_ratio(steps: np.ndarray, base: np.ndarray, cut_off: int) -> tuple[float, float, float]:
    """Median steps over median base steps, and its 95 % interval; the seeds are pairs and resampled as such."""
    pair = np.minimum(steps, cut_off), np.minimum(base, cut_off)
    return (float(ratio_of_medians(*pair)), *_interval(pair, ratio_of_medians))


def ratio_of_medians(steps: np.ndarray, base: np.ndarray, axis: int = -1) -> np.ndarray:
    """Of steps, at least 1 in the base."""
    return np.median(steps, axis=axis) / np.maximum(np.median(base, axis=axis), 1)


def _interval(samples: tuple[np.ndarray, ...], statistic: object) -> tuple[float, float]:
    found = stats.bootstrap(
        samples, statistic, paired=len(samples) > 1, vectorized=True, n_resamples=RESAMPLES, method="percentile",
        rng=np.random.default_rng(0), batch=100,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)
