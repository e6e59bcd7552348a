"""Large scopes pick in rounds (``csrc/cuda/rounds.h``): in the order of the plain greedy loop, to the same bits."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from mmr_kernels import MMRResult, mmr_advantages
from mmr_kernels.backends import this_host

REASON = this_host().emulator
pytestmark = pytest.mark.skipif(
    REASON is not None, reason=f"no emulator of the CUDA kernel: {REASON}; run `make test-emulator`"
)

LAM = np.float32(0.6)


def plain_greedy(rewards: np.ndarray, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks and new rewards, one pick after the other; float64 stands in for the fused multiply-add of float32."""
    weight = np.float64(LAM - np.float32(1))
    weighted, nearest, score = LAM * rewards, np.zeros_like(rewards), rewards
    rank, new_rewards = np.empty(len(rewards), np.int64), np.empty_like(rewards)
    for step in range(len(rewards)):
        pick = int(score.argmax())
        rank[pick], new_rewards[pick] = step, score[pick]
        weighted[pick] = -np.inf
        nearest = np.maximum(nearest, similarity[:, pick])
        score = (weight * nearest + weighted).astype(np.float32)
    return rank, new_rewards


def scope(kind: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and similarities that are awkward in one way each."""
    generator = np.random.default_rng(size)
    rewards = generator.random(size, np.float32)
    similarity = generator.random((size, size), np.float32)
    match kind:
        case "ties":  # of few values, as binary rewards and copies give
            return (rewards > 0.5).astype(np.float32), (similarity * 3).round() / np.float32(4)
        case "all alike":
            return np.ones_like(rewards), np.ones_like(similarity)
        case "nothing alike":
            return rewards.round(1), np.zeros_like(similarity)
        case "best together":  # in few threads, so that far more than a round has room for reach its threshold
            rewards[np.arange(size) % 256 < 48] += 1
        case "best are copies":  # so that one pick spoils a whole round's candidates
            rewards[::5] += 1
            similarity[::5, ::5] = 1
        case "below zero":
            return rewards - 2, similarity - np.float32(0.7)
    return rewards, similarity


@pytest.mark.parametrize("size", [130, 300])
@pytest.mark.parametrize(
    "kind", ["random", "ties", "all alike", "nothing alike", "best together", "best are copies", "below zero"]
)
def test_rounds_pick_in_the_plain_order_to_the_same_bits(kind: str, size: int) -> None:
    rewards, similarity = scope(kind, size)
    rank, new_rewards = plain_greedy(rewards, similarity)
    result = mmr_advantages(
        torch.tensor(rewards).unsqueeze(0),
        similarity=torch.tensor(similarity).unsqueeze(0),
        lam=float(LAM),
        backend="cuda",
        return_details=True,
    )
    assert isinstance(result, MMRResult)
    np.testing.assert_array_equal(result.selection_rank.numpy()[0], rank)
    np.testing.assert_array_equal(result.reweighted_rewards.numpy()[0], new_rewards)


def test_a_round_picks_many() -> None:
    """Barriers are fewer than picks, though a round has dozens."""
    rewards, similarity = scope("random", 400)
    mmr_advantages(
        torch.tensor(rewards).unsqueeze(0),
        similarity=torch.tensor(similarity).unsqueeze(0) ** 4,
        lam=0.6,
        backend="cuda",
    )
    emulator = importlib.import_module("mmr_kernels._emulator")
    assert emulator.counts()["greedy, large"]["barriers"] < 400


def test_one_candidate_where_columns_are_formed() -> None:
    """There is a column of the last pick alone, also where one thread's members are ahead of all others."""
    rewards, embeddings = torch.full((300,), torch.nan), torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
    rewards[[0, 1, 257, 2, 3]] = torch.tensor([9, 8, 7.9, -4, -5])  # 1 and 257 are of one thread
    embeddings[257] = embeddings[1]
    emulator = importlib.import_module("mmr_kernels._emulator")
    try:
        emulator.emulate(750)  # on which S of this group has no room
        result = mmr_advantages(
            rewards, embeddings, group_offsets=[0, 300], lam=float(LAM), backend="cuda", return_details=True
        )
    finally:
        emulator.emulate()
    assert isinstance(result, MMRResult)
    assert result.selection_rank[[0, 1, 257, 2, 3]].tolist() == [0, 1, 2, 3, 4]
    assert result.max_similarity[257] > 0.9999
