"""Intervals and tests over seeds; all but Holm's correction, which it lacks, is scipy's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import CensoredData, logrank, norm, permutation_test

from study.simulation.intervals import Interval, bootstrapped


def interval(values: np.ndarray) -> Interval:
    """The mean of the values of all seeds, and its bootstrap interval."""
    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    return Interval(mean, *bootstrapped((values,), np.mean, 9999))


def ratio(ones: np.ndarray, others: np.ndarray) -> Interval:
    """Geometric mean of ones / others, and its interval."""
    return Interval(*map(float, np.exp(interval(np.log(ones / others)))))


def paired_p(ones: np.ndarray, others: np.ndarray) -> float:
    """Two-sided, of the mean logarithm of ones / others under all exchanges within pairs; 1 of a single pair."""
    logs = np.log(ones / others)
    if len(logs) < 2:  # which scipy refuses
        return 1.0
    return float(permutation_test((logs,), np.mean, permutation_type="samples", n_resamples=np.inf, axis=0).pvalue)


def log_rank_p(ones: np.ndarray, others: np.ndarray, horizon: float) -> float:
    """Two-sided, of times to an event; those that are inf had none by the horizon. 1 if nobody had one."""
    if min(ones.min(), others.min()) == np.inf:
        return 1.0
    samples = (CensoredData.right_censored(np.minimum(each, horizon), np.isinf(each)) for each in (ones, others))
    return float(logrank(*samples).pvalue)


def holm(values: Sequence[float]) -> np.ndarray:
    """The p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in their order."""
    order = np.argsort(values)
    corrected = np.maximum.accumulate(np.asarray(values)[order] * np.arange(len(values), 0, -1)).clip(max=1.0)
    return corrected[np.argsort(order)]


def pairs_needed(ones: np.ndarray, others: np.ndarray, difference: float, power: float = 0.8) -> float:
    """Pairs that show steps fewer by ``difference``, two-sided at 5 %, if logarithms of ratios spread as these do."""
    spread = np.var(np.log(ones / others), ddof=1)
    return float(((norm.ppf(0.975) + norm.ppf(power)) / np.log(1 - difference)) ** 2 * spread)
