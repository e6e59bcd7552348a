"""The mean pay of each way under MMR, in closed form; study/simulation.md derives it.

Rewards are binary, similarity is ``within`` for one way and ``across`` for two, within ≥ across ≥ 0. Given how many
completions of a group are right, all is exact but the standard deviation that advantages are divided by: there the
expected numbers of first copies stand for the drawn ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.simulation.arms import Arm, advantages
from study.simulation.families import Family, Setting
from study.simulation.policy import sample
from study.simulation.running import LENGTH, RATE, STEPS

EPS = 1e-4


def known(arm: Arm, setting: Setting) -> bool:
    """Whether the closed form covers these."""
    other = arm.method not in ("mmr", "none") or arm.scope == "batch" or arm.random_similarity
    return not (other or arm.dial or arm.entropy_bonus or setting.graded or setting.noise or setting.mistaken)


def drift(p: Tensor, success: Tensor, arm: Arm, setting: Setting, progress: float = 0.0) -> Tensor:
    """The expected policy gradient: for each way, the expected sum of its completions' advantages in a group, over G.

    Args:
        p, success: (..., K) float64.
        arm: of scope "group", plain or MMR.
        progress: where in training, for ``Arm.fade``.

    Returns:
        (..., K).

    Raises:
        ValueError: the closed form does not cover these.
    """
    if not known(arm, setting):
        raise ValueError(f"arm and setting must be plain or MMR of scope 'group', binary rewards; got {arm}, {setting}")
    size = setting.group_size
    p, success = p.unsqueeze(-2), success.unsqueeze(-2)
    mean = (p * success).sum(-1, keepdim=True)
    right = torch.arange(size + 1, dtype=p.dtype).unsqueeze(-1)  # how many of the group are: (G + 1, 1)
    chance = _binomial(size, right, mean)
    if arm.degenerate == "zero":
        chance = chance * ((right > 0) & (right < size))
    return (chance * _given_right(p, success, mean, right, arm, setting, progress)).sum(-2) / size


def _binomial(size: int, right: Tensor, mean: Tensor) -> Tensor:
    choices = math.lgamma(size + 1) - torch.lgamma(right + 1) - torch.lgamma(size - right + 1)
    return choices.exp() * mean**right * (1 - mean) ** (size - right)


def _lambda(arm: Arm, spread: Tensor, progress: float) -> Tensor:
    if arm.method == "none":
        return torch.ones_like(spread)
    lam = torch.sigmoid(spread) if isinstance(arm.lam, str) else torch.full_like(spread, arm.lam)
    return 1 - arm.diversity_at(progress) * (1 - lam)


def _given_right(
    p: Tensor, success: Tensor, mean: Tensor, right: Tensor, arm: Arm, setting: Setting, progress: float
) -> Tensor:
    """(..., G + 1, K): expected sum of advantages of each way, given how many completions of the group are right."""
    size = setting.group_size
    wrong = size - right
    lam = _lambda(arm, (right * wrong).sqrt() / size, progress)
    if_right = p * success / mean.clamp(min=1e-300)  # way of a right completion
    if_wrong = p * (1 - success) / (1 - mean).clamp(min=1e-300)
    copies = right * if_right + wrong * if_wrong
    absent_right, absent_wrong = (1 - if_right).clamp(0, 1), (1 - if_wrong).clamp(0, 1)
    absent = absent_right**right * absent_wrong**wrong
    # E[n_k D]: D = Σ_j [way j drawn], and a copy of way k leaves one completion fewer in which way j may be absent.
    absent_beside_right = absent_right ** (right - 1).clamp(min=0) * absent_wrong**wrong
    absent_beside_wrong = absent_right**right * absent_wrong ** (wrong - 1).clamp(min=0)
    copies_times_distinct = (
        copies * p.shape[-1]
        - right * if_right * (absent_beside_right.sum(-1, keepdim=True) - absent_beside_right)
        - wrong * if_wrong * (absent_beside_wrong.sum(-1, keepdim=True) - absent_beside_wrong)
    )

    by_reward = lam * (right * if_right - copies * right / size)
    penalty = (1 - lam) * (setting.within - setting.across)
    by_diversity = penalty * ((1 - absent) - copies_times_distinct / size)
    # The first pick pays no similarity and, as published, keeps its whole reward.
    keeps = (right > 0) & (arm.first_pick == "reward")
    extra = (1 - lam) * (setting.across + keeps) if arm.method == "mmr" else torch.zeros_like(lam)
    by_first = extra * (torch.where(right > 0, if_right, if_wrong) - copies / size)
    found = by_reward + by_diversity + by_first
    if arm.scale == "none":
        return found
    distinct = (1 - absent).sum(-1, keepdim=True)
    distinct_right = (1 - absent_right**right).sum(-1, keepdim=True)
    return found / (_deviation(setting, lam, right, distinct_right, distinct - distinct_right, extra) + EPS)


def _deviation(
    setting: Setting, lam: Tensor, right: Tensor, new_right: Tensor, new_wrong: Tensor, extra: Tensor
) -> Tensor:
    """Of a group's reweighted rewards, with expected numbers of first copies among the right and the wrong."""
    size = setting.group_size
    dear, cheap = (1 - lam) * setting.within, (1 - lam) * setting.across
    values = [
        (new_right, lam - cheap), (right - new_right, lam - dear),
        (new_wrong, -cheap), (size - right - new_wrong, -dear),
    ]  # fmt: skip
    first = torch.where(right > 0, lam, 0.0) - cheap
    total = sum((count * value for count, value in values), extra)
    squares = sum((count * value**2 for count, value in values), (first + extra) ** 2 - first**2)
    return ((squares - total**2 / size) / (size - 1)).clamp(min=0).sqrt()


def sampled_drift(
    p: Tensor, success: Tensor, arm: Arm, setting: Setting, groups: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The same by drawing groups and calling the op: (K,) mean and its standard error."""
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(2, groups, setting.group_size, generator=generator)
    ways = sample(p.log().expand(groups, -1), uniforms[0])
    rewards = (uniforms[1] < success.to(torch.float32)[ways]).to(torch.float32)
    paid = advantages(arm, setting, ways, rewards, 0.0).to(torch.float64)
    sums = torch.zeros(groups, len(p), dtype=torch.float64).scatter_add_(1, ways, paid) / setting.group_size
    return sums.mean(0), sums.std(0) / groups**0.5


def predicted_steps(
    family: Family,
    arm: Arm,
    setting: Setting,
    *,
    rate: float = RATE,
    steps: int = STEPS,
    length: int = LENGTH,
) -> float:
    """Steps to target along the expected gradient, without noise; ``steps`` if it never arrives."""
    logits, success = family.logits(), torch.tensor(family.success, dtype=torch.float64)
    for step in range(steps):
        p = logits.softmax(-1)
        if p @ success >= family.target():
            return float(step)
        logits = logits + rate * drift(p, success, arm, setting, min(step / length, 1.0))
    return float(steps)


def crowding_payoff(p: Tensor, group_size: int) -> Tensor:
    """f(p) = E[1 / copies] = (1 − (1 − p)^G) / (G p): a copy's share in the exemption of the one first copy."""
    return (1 - (1 - p) ** group_size) / (group_size * p)


def entropy_equivalent(p: Tensor, arm_lambda: float, setting: Setting) -> Tensor:
    """(K, K): the entropy bonus, in units of reward, that pushes way j towards way i as hard as MMR does.

    β_ij = (1 − λ)/λ · (within − across) · (f(p_i) − f(p_j)) / log(p_j / p_i); NaN on the diagonal.
    """
    payoff = crowding_payoff(p, setting.group_size)
    pressure = (1 - arm_lambda) / arm_lambda * (setting.within - setting.across) * (payoff.unsqueeze(-1) - payoff)
    return pressure / (p.log() - p.log().unsqueeze(-1))
