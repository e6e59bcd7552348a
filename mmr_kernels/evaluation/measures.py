"""The measures of each problem from its graded samples, and 95 % intervals of means over problems.

A problem is the unit: its samples are not independent, so an interval comes from the spread between problems, in
which that between samples is contained (Miller 2024, arXiv 2411.00640, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from mmr_kernels.embedders import LexicalEmbedder

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean, with the ends of its 95 % interval; NaN where it is not defined."""

    mean: float
    low: float
    high: float


def interval(strata: Sequence[np.ndarray]) -> Interval:
    """The mean over strata of the mean of each: for one task over its problems, for all tasks over the tasks.

    The standard error is √(Σ s_t² / n_t) / T for T strata of n_t values with standard deviation s_t. Student's t has
    the degrees of freedom of Welch and Satterthwaite, which are n − 1 for one stratum. Values that are NaN, as the
    similarity of a single sample, are left out. A stratum of one value has no interval.
    """
    known = [values[~np.isnan(values)] for values in strata]
    if any(len(values) == 0 for values in known):
        return Interval(np.nan, np.nan, np.nan)
    mean = float(np.mean([values.mean() for values in known]))
    if any(len(values) == 1 for values in known):
        return Interval(mean, np.nan, np.nan)
    variances = np.array([values.var(ddof=1) / len(values) for values in known])
    if not variances.any():
        return Interval(mean, mean, mean)
    freedom = variances.sum() ** 2 / sum(variances**2 / [len(values) - 1 for values in known])
    margin = float(stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variances.sum()) / len(known))
    return Interval(mean, mean - margin, mean + margin)


def pass_at_k(correct: np.ndarray, samples: int, k: int) -> np.ndarray:
    """The unbiased estimator, 1 − C(n − c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Args:
        correct: c, the right samples of each problem.
        samples: n.
        k: at most n.
    """
    # The quotient, which overflows for large n when it is made of binomials.
    return 1 - np.asarray(stats.hypergeom.pmf(0, samples, correct, k))


def powers(samples: int) -> list[int]:
    """1, 2, 4, … and the number of samples itself: the k of pass@k."""
    return sorted({2**power for power in range(samples.bit_length())} | {samples})


def distinct_answers(correct: Sequence[bool], answers: Sequence[str | None]) -> int:
    """How many final answers there are. Right ones are equal to one another; wrong ones are the same where
    math-verify reads the same; no answer is none."""
    wrong = {answer for right, answer in zip(correct, answers, strict=True) if not right and answer is not None}
    return any(correct) + len(wrong)


def mean_similarity(completions: Sequence[str]) -> float:
    """The mean cosine between any two of the completions under the lexical embedder; NaN for one."""
    count = len(completions)
    total = float(LexicalEmbedder().embed_texts(completions).double().sum(0).square().sum())
    return (total - count) / (count * (count - 1)) if count > 1 else np.nan
