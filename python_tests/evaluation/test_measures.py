"""Intervals against closed forms and their coverage, pass@k against brute force, and what is counted per problem."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.evaluation.measures import distinct_answers, interval, mean_similarity, pass_at_k, powers


def test_one_task_has_students_interval() -> None:
    values = np.array([0.1, 0.4, 0.4, 0.9, 0.0])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval([values]) == pytest.approx((values.mean(), expected.low, expected.high))


def test_two_tasks_have_welchs_interval() -> None:
    """Of half the sum of two means; SciPy knows that of their difference."""
    random = np.random.default_rng(0)
    one, other = random.normal(0.5, 0.1, 12), random.normal(0.3, 0.3, 40)
    expected = stats.ttest_ind(one, -other, equal_var=False).confidence_interval(0.95)
    assert interval([one, other]) == pytest.approx(
        ((one.mean() + other.mean()) / 2, expected.low / 2, expected.high / 2)
    )


def test_intervals_cover_the_mean_19_times_in_20() -> None:
    """Of five tasks with 30 problems and 16 samples each, problems of unequal difficulty."""
    random = np.random.default_rng(1)
    truths = (0.3, 0.5, 0.7, 0.4, 0.6)
    covered = 0
    for _ in range(2000):
        strata = [random.binomial(16, random.beta(2 * truth, 2 * (1 - truth), 30)) / 16 for truth in truths]
        found = interval(strata)
        covered += found.low <= np.mean(truths) <= found.high
    assert 0.935 <= covered / 2000 <= 0.965


def test_values_that_are_equal_or_missing() -> None:
    assert interval([np.zeros(5)]) == (0, 0, 0)
    assert interval([np.array([0.5, np.nan, 0.5])]) == (0.5, 0.5, 0.5)
    assert all(map(math.isnan, interval([np.array([np.nan])])))
    alone = interval([np.array([0.5])])
    assert alone.mean == 0.5
    assert math.isnan(alone.low)


@pytest.mark.parametrize("samples", [1, 2, 5, 6])
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(samples: int) -> None:
    for k in range(1, samples + 1):
        for correct in range(samples + 1):
            flags = [True] * correct + [False] * (samples - correct)
            expected = np.mean([any(chosen) for chosen in itertools.combinations(flags, k)])
            assert pass_at_k(np.array([correct]), samples, k)[0] == pytest.approx(expected)


def test_pass_at_k_of_thousands_of_samples() -> None:
    """C(4096, 2048) is more than a float holds."""
    found = pass_at_k(np.array([0, 1, 3000]), 4096, 2048)
    assert found == pytest.approx([0, 0.5, 1], abs=1e-9)


def test_k_doubles_up_to_all() -> None:
    assert [powers(samples) for samples in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


def test_right_answers_are_one_and_no_answer_is_none() -> None:
    assert distinct_answers([True, True, False, False], ["1/2", "0.5", "3", "3"]) == 2
    assert distinct_answers([False, False], [None, "4"]) == 1
    assert distinct_answers([False], [None]) == 0


def test_similarity_is_the_mean_over_pairs() -> None:
    texts = ["x = 1 so 2", "x = 1 so 3", "no idea", "no idea"]
    rows = LexicalEmbedder().embed_texts(texts)
    expected = np.mean([float(one @ other) for one, other in itertools.combinations(rows, 2)])
    assert mean_similarity(texts) == pytest.approx(expected, abs=1e-6)
    assert mean_similarity(texts[2:]) == pytest.approx(1)
    assert math.isnan(mean_similarity(["alone"]))
