"""Numbers one can check by hand, those that the contract quotes among them."""

from __future__ import annotations

import pytest
import torch
from oracle import Case

BLOCK = [[1.0, 0.5, 0.8], [0.5, 1.0, -0.4], [0.8, -0.4, 1.0]]


def equal(tensor: torch.Tensor, *rows: list[float], tolerance: float = 1e-6) -> None:
    expected = torch.tensor(rows if tensor.dim() == 2 else rows[0], dtype=tensor.dtype)
    torch.testing.assert_close(tensor.cpu(), expected, rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_identical_completions_of_equal_reward(backend: str, device: torch.device, reward: float) -> None:
    """Contract, section 5: the lowest index alone keeps r: +1.5, the others -0.5, for r = 0 and r = 1 alike."""
    case = Case.uniform(torch.full((1, 4), reward), torch.ones(1, 4, 3))
    result = case.run(backend, device)
    equal(result.lam, [0.5])
    equal(result.advantages, [1.5, -0.5, -0.5, -0.5], tolerance=1e-3)
    equal(result.reweighted_rewards, [reward] + 3 * [0.5 * reward - 0.5])
    equal(case.run(backend, device, degenerate="zero").advantages, [0.0, 0.0, 0.0, 0.0])


def test_equal_negative_rewards_punish_the_first_pick(backend: str, device: torch.device) -> None:
    """Contract, section 5: r = -1, similarity 0.5: the others score -0.75, and the first pick gets -1.5."""
    similarity = torch.full((1, 4, 4), 0.5)
    result = Case.uniform(torch.full((1, 4), -1.0), similarity=similarity).run(backend, device)
    equal(result.reweighted_rewards, [-1.0, -0.75, -0.75, -0.75])
    equal(result.advantages, [-1.5, 0.5, 0.5, 0.5], tolerance=2e-3)


def test_one_group_by_hand(backend: str, device: torch.device) -> None:
    """r = (1, 0.9, 0.8), λ = 0.5. First 0; then 0.45 - 0.25 = 0.2 beats 0.4 - 0.4 = 0; last keeps m = 0.8."""
    case = Case.uniform(torch.tensor([[1.0, 0.9, 0.8]]), similarity=torch.tensor([BLOCK]), lam=0.5, scale="none")
    result = case.run(backend, device)
    equal(result.reweighted_rewards, [1.0, 0.2, 0.0])
    assert result.selection_rank.tolist() == [[0, 1, 2]]
    equal(result.max_similarity, [0.0, 0.5, 0.8])
    equal(result.advantages, [0.6, -0.2, -0.4])
    scored = case.run(backend, device, first_pick="score")
    equal(scored.reweighted_rewards, [0.5, 0.2, 0.0])


def test_negative_similarity_counts_as_none(backend: str, device: torch.device) -> None:
    """m is clamped at 0: a completion unlike all others loses nothing beyond λ."""
    result = Case.uniform(torch.tensor([[0.5, 1.0, 0.9]]), similarity=torch.tensor([BLOCK]), lam=0.5).run(
        backend, device
    )
    assert result.selection_rank.tolist() == [[2, 0, 1]]
    equal(result.reweighted_rewards, [0.25 - 0.4, 1.0, 0.45])
    equal(result.max_similarity, [0.8, 0.0, 0.0])


@pytest.mark.parametrize(("lam", "expected"), [(1.0, [1.0, 0.9, 0.8]), (0.0, [1.0, -0.5, -0.8])])
def test_ends_of_lambda(backend: str, device: torch.device, lam: float, expected: list[float]) -> None:
    """λ = 1 leaves the rewards alone; λ = 0 scores by similarity alone."""
    case = Case.uniform(torch.tensor([[1.0, 0.9, 0.8]]), similarity=torch.tensor([BLOCK]), lam=lam)
    equal(case.run(backend, device).reweighted_rewards, expected)


def test_lambda_modes(backend: str, device: torch.device) -> None:
    """Rewards (0, 1): population std 0.5, mean 0.5: sigmoid 1 / (1 + e^-0.5), relative τ / (1 + τ)."""
    case = Case.uniform(torch.tensor([[0.0, 1.0]]), similarity=torch.zeros(1, 2, 2))
    equal(case.run(backend, device).lam, [0.6224593])
    equal(case.run(backend, device, lam="relative_std").lam, [0.5])
    equal(case.run(backend, device, lam="relative_std", temperature=3.0).lam, [0.75])
    equal(case.run(backend, device, lam="relative_std", temperature=0.0).lam, [0.0])
    equal(case.run(backend, device, lam=0.25, diversity=0.5).lam, [0.625])


def test_diversity_zero_is_plain_grpo(backend: str, device: torch.device) -> None:
    """The dial's lower end changes no reward, whatever λ; and so do method "none" and λ = 1."""
    generator = torch.Generator().manual_seed(0)
    rewards, embeddings = torch.rand(4, 6, generator=generator), torch.randn(4, 6, 8, generator=generator)
    case = Case.uniform(rewards, embeddings)
    plain = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    for options in ({"diversity": 0.0}, {"method": "none"}, {"lam": 1.0}):
        result = case.run(backend, device, **options)
        assert torch.equal(result.reweighted_rewards.cpu(), rewards)
        torch.testing.assert_close(result.advantages.cpu(), plain, rtol=0, atol=1e-5)


def test_smi_by_hand(backend: str, device: torch.device) -> None:
    """r / Σ_j S_ij, the completion itself included; a row of zeros is divided by the guard alone."""
    embeddings = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    result = Case.uniform(torch.tensor([[1.0, 2.0, 3.0, 2.0]]), embeddings, method="smi").run(backend, device)
    expected = torch.tensor([[0.5, 1.0, 3.0, 2e6]])
    torch.testing.assert_close(result.reweighted_rewards.cpu(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("rewards", "equal_up_to_rounding"),
    [
        ([0.1, 0.1 + 1e-8, 0.1, 0.1], True),
        ([0.0, 1e-6, 0.0, 1e-6], True),
        ([3e6, 3e6 + 2, 3e6, 3e6], True),
        ([-1.0, -1.0, -1.0 - 5e-7, -1.0], True),
        ([0.0, 2e-6, 0.0, 0.0], False),
        ([3e6, 3e6 + 8, 3e6, 3e6], False),
    ],
)
def test_equal_rewards_are_equal_up_to_rounding(
    backend: str, device: torch.device, rewards: list[float], equal_up_to_rounding: bool
) -> None:
    case = Case.uniform(torch.tensor([rewards]), torch.eye(4)[None], degenerate="zero", eps=1e-8)
    for scope in ("group", "batch"):
        advantages = case.run(backend, device, scope=scope).advantages
        assert advantages.eq(0).all().item() == equal_up_to_rounding


def test_shift_of_all_rewards(backend: str, device: torch.device) -> None:
    """MMR as published is not invariant to it: right completions are punished. With first_pick="score" it is."""
    rewards, similarity = torch.tensor([[1.0, 1.0, 1.0, 0.0]]), torch.full((1, 4, 4), 0.5)
    shifted = Case.uniform(rewards + 10, similarity=similarity).run(backend, device).advantages
    assert (shifted[0, 1:3] < 0).all()
    score = Case.uniform(rewards, similarity=similarity, first_pick="score").run(backend, device).advantages
    moved = Case.uniform(rewards + 10, similarity=similarity, first_pick="score").run(backend, device).advantages
    torch.testing.assert_close(score, moved, rtol=0, atol=1e-5)


def test_match_scale_restores_mean_and_deviation(backend: str, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, embeddings = torch.rand(3, 8, generator=generator), torch.randn(3, 8, 5, generator=generator)
    new = Case.uniform(rewards, embeddings, match_scale=True).run(backend, device).reweighted_rewards.cpu()
    torch.testing.assert_close(new.mean(1), rewards.mean(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(new.std(1), rewards.std(1), rtol=0, atol=1e-5)


def test_batch_scope_picks_across_groups(backend: str, device: torch.device) -> None:
    """Twins in two groups see each other only when the whole batch is one scope."""
    case = Case.uniform(torch.ones(2, 2), torch.eye(2).repeat(2, 1, 1), lam=0.5)
    equal(case.run(backend, device).reweighted_rewards, [1.0, 0.5], [1.0, 0.5])
    equal(case.run(backend, device, scope="batch").reweighted_rewards, [1.0, 0.5], [0.0, 0.0])


def test_batch_scale_divides_by_the_deviation_of_the_call(backend: str, device: torch.device) -> None:
    rewards = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    result = Case.uniform(rewards, method="none", scale="batch", eps=1.0).run(backend, device)
    divisor = float(rewards.std()) + 1
    equal(result.advantages, [-0.5 / divisor, 0.5 / divisor], [-1.5 / divisor, 1.5 / divisor])
