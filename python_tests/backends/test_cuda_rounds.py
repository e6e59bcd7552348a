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
            rewards[np.arange(size) % 1024 < 140] += 1
        case "best are copies":  # so that one pick spoils a whole round's candidates
            rewards[::5] += 1
            similarity[::5, ::5] = 1
        case "below zero":
            return rewards - 2, similarity - np.float32(0.7)
    return rewards, similarity


KINDS = ["random", "ties", "all alike", "nothing alike", "best together", "best are copies", "below zero"]


@pytest.mark.parametrize(
    ("kind", "size"),
    [(kind, size) for kind in KINDS for size in (130, 299)] + [("random", 1031)],
)  # of the last, threads have several fours
def test_rounds_pick_in_the_plain_order_to_the_same_bits(kind: str, size: int) -> None:
    rewards, similarity = scope(kind, size)
    rank, new_rewards = plain_greedy(rewards, similarity)
    result = mmr_advantages(
        torch.tensor(rewards).unsqueeze(0),
        similarity=torch.tensor(similarity).unsqueeze(0),
        lam=float(LAM),
        scope="batch",
        backend="cuda",
        return_details=True,
    )
    assert isinstance(result, MMRResult)
    np.testing.assert_array_equal(result.selection_rank.numpy()[0], rank)
    np.testing.assert_array_equal(result.reweighted_rewards.numpy()[0], new_rewards)


def test_a_round_picks_many() -> None:
    """A round has few barriers. It reads the rows of its picks once, in whole sixteens, and S of its candidates."""
    rewards, similarity = scope("random", 400)
    mmr_advantages(
        torch.tensor(rewards).unsqueeze(0),
        similarity=torch.tensor(similarity).unsqueeze(0) ** 4,
        lam=0.6,
        backend="cuda",
    )
    emulator = importlib.import_module("mmr_kernels._emulator")
    greedy = emulator.counts()["greedy, large"]
    rounds = greedy["votes"] // 2
    assert rounds <= 10
    assert greedy["barriers"] <= 20 * rounds
    assert emulator.traffic()["scratch"][0] <= 4 * (400 * (400 + 15 * rounds) + 64 * 64 * rounds)


def test_one_candidate_where_columns_are_formed() -> None:
    """There is a column of the last pick alone, also where one thread's members are ahead of all others."""
    count, members = 4200, [0, 1, 1025, 2, 4100]  # 1 and 1025 are of one thread, 4100 of its second sixteen
    rewards = torch.full((count,), torch.nan)
    embeddings = torch.rand(count, 4, generator=torch.Generator().manual_seed(0))
    rewards[members] = torch.tensor([9, 8, 7.9, -4, -5])
    embeddings[1025] = embeddings[1]
    emulator = importlib.import_module("mmr_kernels._emulator")
    try:
        emulator.emulate(750)  # on which S of this group has no room
        result = mmr_advantages(
            rewards, embeddings, group_offsets=[0, count], lam=float(LAM), backend="cuda", return_details=True
        )
    finally:
        emulator.emulate()
    assert isinstance(result, MMRResult)
    assert result.selection_rank[members].tolist() == [0, 1, 2, 3, 4]
    assert result.max_similarity[1025] > 0.9999
