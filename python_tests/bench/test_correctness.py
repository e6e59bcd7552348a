"""The check of a provider before it is timed lets the right ones pass, and no wrong one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmr_kernels import mmr_advantages, mmr_reweight
from mmr_kernels.bench.baselines import group_advantages
from mmr_kernels.bench.cases import Case, Inputs, make_inputs
from mmr_kernels.bench.correctness import wrong_advantages, wrong_selection

CASES = [Case(5, 7, 24), Case(3, 6, 16, "bfloat16"), Case(4, 5, 24, scope="batch"), Case(1, 300, 16)]


def results(case: Case, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    _, rewards, embeddings, _ = make_inputs(case, "cpu")
    options = {"scope": case.scope, "backend": "torch", **options}
    return mmr_advantages(rewards, embeddings, **options), mmr_reweight(rewards, embeddings, **options)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_reference_passes(case: Case) -> None:
    assert wrong_advantages(make_inputs(case, "cpu"), *results(case)) is None


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    "options", [{"lam": 0.55}, {"first_pick": "score"}, {"method": "none"}, {"diversity": 0.999}, {"normalize": False}]
)
def test_other_options_do_not(case: Case, options: dict[str, Any]) -> None:
    assert wrong_advantages(make_inputs(case, "cpu"), *results(case, **options)) is not None


def test_one_wrong_element_is_found() -> None:
    inputs = make_inputs(CASES[0], "cpu")
    advantages, reweighted = results(CASES[0])
    for values, name in ((advantages, "advantages"), (reweighted, "reweighted rewards")):
        kept = values[3, 2].item()
        values[3, 2] += 1e-3
        assert (said := wrong_advantages(inputs, advantages, reweighted)) is not None
        assert name in said or "a pick is" in said
        values[3, 2] = float("nan")
        assert name in str(wrong_advantages(inputs, advantages, reweighted))
        values[3, 2] = kept
    assert wrong_advantages(inputs, advantages, reweighted) is None
    assert "(5, 7)" in str(wrong_advantages(inputs, advantages[:4], reweighted))


def test_a_second_best_pick_is_found_though_its_numbers_follow_from_it() -> None:
    rewards = torch.tensor([[1.0, 0.9, 0.88]])
    embeddings = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0.9, 0.19**0.5]]])
    lam = rewards.std(correction=0).sigmoid()
    # The last is picked second, and the one in the middle, 0.9 similar to it, comes last.
    new = torch.stack([rewards[0, 0], lam * 0.9 - (1 - lam) * 0.9, lam * 0.88]).unsqueeze(0)
    said = wrong_advantages(Inputs(Case(1, 3, 3), rewards, embeddings, None), group_advantages(new), new)
    assert said is not None
    assert "behind" in said


def test_two_picks_in_the_wrong_order_are_found() -> None:
    inputs = make_inputs(Case(1, 40, 16, task="selection"), "cpu")
    _, rewards, embeddings, _ = inputs
    rank = mmr_reweight(rewards, embeddings, lam=0.5, first_pick="score", return_details=True).selection_rank  # type: ignore[union-attr]
    picks = rank.argsort()
    assert wrong_selection(inputs, picks) is None
    for one, other in ((0, 1), (7, 8)):
        swapped = picks.clone()
        swapped[0, [one, other]] = picks[0, [other, one]]
        assert "behind" in str(wrong_selection(inputs, swapped))
    repeated = picks.clone()
    repeated[0, 5] = picks[0, 4]
    assert "once" in str(wrong_selection(inputs, repeated))
