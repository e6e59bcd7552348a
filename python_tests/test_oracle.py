"""The suite can fail: wrong rules, planted one at a time, are caught; and the right ones are not.

Each planted oracle breaks one rule of the contract; judging it by the replay, or for ties by exact order, must fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from oracle import Case, Oracle, Truth
from replay import ORACLE, as_result, check
from strategies import cases


@given(case=cases())
def test_the_oracle_stands_its_own_replay(case: Case) -> None:
    with np.errstate(all="ignore"):
        check(case, as_result(case, ORACLE.truth(case)))


class FirstPickScored(Oracle):
    def first_value(self, case: Case, reward: float, lam: float) -> float:
        return lam * reward


class NegativeSimilarityCounts(Oracle):
    def nearest(self, similarities: np.ndarray) -> float:
        return float(np.max(similarities))


class MeanInsteadOfMaximum(Oracle):
    def nearest(self, similarities: np.ndarray) -> float:
        return max(0.0, float(np.mean(similarities)))


class BesselInLambda(Oracle):
    def deviation(self, values: np.ndarray) -> float:
        return float(np.std(values, ddof=1))


class NoBesselInAdvantages(Oracle):
    def group_deviation(self, values: np.ndarray) -> float:
        return float(np.std(values))


class SecondBest(Oracle):
    def best(self, scores: np.ndarray) -> int:
        return int(np.argsort(-scores, kind="stable")[min(1, len(scores) - 1)])


class PickedByIndex(Oracle):
    def best(self, scores: np.ndarray) -> int:
        return 0


class SimilarityOfNeighbour(Oracle):
    def similarity(self, case: Case, scope: int) -> np.ndarray:
        return np.roll(super().similarity(case, scope), 1, axis=0)


class TransposedSimilarity(Oracle):
    def similarity(self, case: Case, scope: int) -> np.ndarray:
        return super().similarity(case, scope).T


class RowsNotNormalised(Oracle):
    def similarity(self, case: Case, scope: int) -> np.ndarray:
        return super().similarity(Case(**{**vars(case), "options": {**case.options, "normalize": False}}), scope)


class HalfPrecisionSimilarity(Oracle):
    def similarity(self, case: Case, scope: int) -> np.ndarray:
        return super().similarity(case, scope).astype(np.float16).astype(np.float64)


class InvalidCount(Oracle):
    def published_sum(self, s: np.ndarray, valid: np.ndarray) -> np.ndarray:
        return super().published_sum(s, np.ones_like(valid))

    def soft_count(self, s: np.ndarray, valid: np.ndarray, sharpness: float) -> np.ndarray:
        return super().soft_count(s, np.ones_like(valid), sharpness)

    def hard_count(self, clusters: Sequence[object], valid: np.ndarray) -> np.ndarray:
        return super().hard_count(clusters, np.ones_like(valid))


class CountWithoutItself(Oracle):
    def soft_count(self, s: np.ndarray, valid: np.ndarray, sharpness: float) -> np.ndarray:
        return super().soft_count(s, valid, sharpness) - 1

    def hard_count(self, clusters: Sequence[object], valid: np.ndarray) -> np.ndarray:
        return super().hard_count(clusters, valid) - 1


class NegativeLikenessCounts(Oracle):
    def likeness(self, s: np.ndarray, sharpness: float) -> np.ndarray:
        return np.abs(s) ** sharpness


class SharpnessForgotten(Oracle):
    def likeness(self, s: np.ndarray, sharpness: float) -> np.ndarray:
        return super().likeness(s, 1.0)


class LinksInOneDirection(Oracle):
    def linked(self, s: np.ndarray, threshold: float) -> np.ndarray:
        return s > threshold


class NeighboursInsteadOfComponents(Oracle):
    def clusters(self, s: np.ndarray, valid: np.ndarray, threshold: float) -> np.ndarray:
        return np.array(
            [int(np.flatnonzero(near)[0]) for near in self.linked(s, threshold) | np.eye(len(s), dtype=bool)]
        )


class WrongExponentSign(Oracle):
    def exponents(self, strength: float, diversity: float) -> tuple[float, float]:
        return -strength * (1 + diversity), strength * (1 - 3 * diversity)


class SidesSwapped(Oracle):
    def exponents(self, strength: float, diversity: float) -> tuple[float, float]:
        right, wrong = super().exponents(strength, diversity)
        return wrong, right


class SumOverTheWrongSide(Oracle):
    def shared(self, centred: np.ndarray, n: np.ndarray, strength: float, diversity: float) -> np.ndarray:
        weighed = centred * n**-strength
        return weighed * np.abs(centred).sum() / max(np.abs(weighed).sum(), 1e-9)


class CubedStrength(Oracle):
    def weighed(self, case: Case, group: int, centred: np.ndarray, n: np.ndarray) -> np.ndarray:
        return super().weighed(case, group, centred, n**1.5)


class DeterminantWithoutIdentity(Oracle):
    def gains(self, kernel: np.ndarray) -> np.ndarray:
        return super().gains(kernel - 0.9 * np.eye(len(kernel)))


class QualityUnshifted(Oracle):
    def kernel_matrix(self, r: np.ndarray, s: np.ndarray, quality: bool) -> np.ndarray:
        return super().kernel_matrix(np.append(r, r.min() - 0.5), np.pad(s, (0, 1)), quality)[:-1, :-1]


class StrengthForgotten(Oracle):
    def without_picks(self, case: Case, scope: int, r: np.ndarray, n: np.ndarray) -> np.ndarray:
        changed = Case(**{**vars(case), "options": {**case.options, "strength": 1.0}})
        return super().without_picks(changed, scope, r, n)


class PartOfAllInsteadOfTheOthers(Oracle):
    def partitioned(self, r: np.ndarray, n: np.ndarray, members: int) -> np.ndarray:
        return super().partitioned(r, n + (members - n) / members, members)


class SignalAgainstTheWholeMean(Oracle):
    def signal(self, r: np.ndarray, s: np.ndarray, sharpness: float) -> tuple[float, float]:
        explained, variance = super().signal(r, s, sharpness)
        return explained * (1 - 1 / max(len(r), 2)), variance


class VarianceWithoutBessel(Oracle):
    def signal(self, r: np.ndarray, s: np.ndarray, sharpness: float) -> tuple[float, float]:
        explained, variance = super().signal(r, s, sharpness)
        return explained, variance * (1 - 1 / max(len(r), 2))


class MatchedWithoutMean(Oracle):
    def match_scale(self, new: np.ndarray, r: np.ndarray) -> np.ndarray:
        return super().match_scale(new, r) - np.mean(r)


class DiversityForgotten(Oracle):
    def scope_lambda(self, case: Case, scope: int, r: np.ndarray) -> float:
        return super().scope_lambda(Case(**{**vars(case), "options": {**case.options, "diversity": 1.0}}), scope, r)


class InvalidGetAnAdvantage(Oracle):
    def advantages(self, case: Case, new: np.ndarray, n: np.ndarray) -> np.ndarray:
        return super().advantages(case, new, n) + 1e-3 * np.isnan(new)


class DegenerateStillSignals(Oracle):
    def advantages(self, case: Case, new: np.ndarray, n: np.ndarray) -> np.ndarray:
        changed = Case(**{**vars(case), "options": {**case.options, "degenerate": "reweight"}})
        return super().advantages(changed, new, n)


def random_case(**options: Any) -> Case:
    generator = torch.Generator().manual_seed(3)
    rewards = torch.randint(0, 2, (3, 9), generator=generator) + 0.1 * torch.randn(3, 9, generator=generator)
    rewards[2] = 1.0
    valid = torch.ones(3, 9, dtype=torch.bool)
    valid[0, 4] = False
    embeddings = None if "similarity" in options else torch.randn(3, 9, 12, generator=generator)
    return Case.uniform(rewards, embeddings, valid=valid, **options)


LABELS = torch.arange(27).reshape(3, 9) % 3
SIMILARITY = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(4)) * 2 - 1

PLANTED: list[tuple[type[Oracle], dict[str, Any]]] = [
    (FirstPickScored, {}),
    (NegativeSimilarityCounts, {}),
    (MeanInsteadOfMaximum, {}),
    (BesselInLambda, {}),
    (NoBesselInAdvantages, {}),
    (NoBesselInAdvantages, {"scale": "batch"}),
    (SecondBest, {}),
    (PickedByIndex, {}),
    (SimilarityOfNeighbour, {}),
    (RowsNotNormalised, {}),
    (HalfPrecisionSimilarity, {}),
    (InvalidCount, {"method": "smi"}),
    (InvalidCount, {"method": "unique"}),
    (InvalidCount, {"method": "smi", "labels": LABELS}),
    (CountWithoutItself, {"method": "smi", "sharpness": 1.0}),
    (CountWithoutItself, {"method": "partition", "threshold": 0.2}),
    (NegativeLikenessCounts, {"method": "share"}),
    (SharpnessForgotten, {"method": "unique"}),
    (LinksInOneDirection, {"method": "unique", "threshold": 0.6, "similarity": SIMILARITY}),
    (NeighboursInsteadOfComponents, {"method": "unique", "threshold": 0.2}),
    (WrongExponentSign, {"method": "share"}),
    (SidesSwapped, {"method": "share", "diversity": 0.5}),
    (SumOverTheWrongSide, {"method": "share"}),
    (CubedStrength, {"method": "unique"}),
    (CubedStrength, {"method": "share", "scale": "none"}),
    (DeterminantWithoutIdentity, {"method": "dpp"}),
    (QualityUnshifted, {"method": "dpp", "quality": True}),
    (StrengthForgotten, {"method": "dpp"}),
    (StrengthForgotten, {"method": "smi", "strength": 0.5}),
    (PartOfAllInsteadOfTheOthers, {"method": "partition", "threshold": 0.2}),
    (SignalAgainstTheWholeMean, {}),
    (SignalAgainstTheWholeMean, {"method": "none"}),
    (VarianceWithoutBessel, {"method": "share"}),
    (SharpnessForgotten, {"method": "mmr"}),
    (RowsNotNormalised, {"method": "smi"}),
    (MatchedWithoutMean, {"match_scale": True}),
    (TransposedSimilarity, {"similarity": SIMILARITY}),
    (DiversityForgotten, {"diversity": 0.5}),
    (InvalidGetAnAdvantage, {}),
    (DegenerateStillSignals, {"degenerate": "zero"}),
]


@pytest.mark.parametrize(("planted", "options"), PLANTED, ids=[f"{kind.__name__}-{','.join(o)}" for kind, o in PLANTED])
def test_replay_catches_a_wrong_rule(planted: type[Oracle], options: dict[str, Any]) -> None:
    case = random_case(**options)
    check(case, as_result(case, ORACLE.truth(case)))
    with pytest.raises(AssertionError):
        check(case, as_result(case, planted().truth(case)))


class TieToHighestIndex(Oracle):
    def best(self, scores: np.ndarray) -> int:
        return len(scores) - 1 - int(np.argmax(scores[::-1]))


def exact_ties() -> Case:
    """Sums and products exact in binary, and ties at every step: the order is the contract's alone to decide."""
    rewards = torch.tensor([[0.0, 1.0, 1.0, 0.5, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    places = torch.tensor([[0, 1, 1, 2, 0, 2], [3, 3, 0, 0, 1, 1]])
    return Case.uniform(rewards, torch.nn.functional.one_hot(places, 4).float(), lam=0.5)


def test_exact_ties_tell_lowest_from_highest_index() -> None:
    case = exact_ties()
    right, wrong = ORACLE.truth(case), TieToHighestIndex().truth(case)
    assert not np.array_equal(right.selection_rank, wrong.selection_rank)


def test_exact_ties_go_to_the_lowest_index(backend: str, device: torch.device) -> None:
    case = exact_ties()
    truth: Truth = ORACLE.truth(case)
    for normalize in (True, False):
        result = case.run(backend, device, normalize=normalize)
        assert result.selection_rank.flatten().tolist() == truth.selection_rank.tolist()
        assert result.reweighted_rewards.flatten().tolist() == truth.reweighted_rewards.tolist()


@pytest.mark.parametrize("size", [2, 8, 9, 16, 17, 33, 64, 100])
def test_exact_ties_go_to_the_lowest_index_at_every_size(backend: str, device: torch.device, size: int) -> None:
    """Sizes around those of vectors and blocks, where a kernel changes its way to find the lowest."""
    generator = torch.Generator().manual_seed(size)
    rewards = torch.randint(0, 3, (2, size), generator=generator) / 2
    places = torch.randint(0, 5, (2, size), generator=generator)
    case = Case.uniform(rewards, torch.nn.functional.one_hot(places, 5).float(), lam=0.5)
    truth, result = ORACLE.truth(case), case.run(backend, device)
    assert result.selection_rank.flatten().tolist() == truth.selection_rank.tolist()
    assert result.reweighted_rewards.flatten().tolist() == truth.reweighted_rewards.tolist()
