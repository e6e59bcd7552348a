"""What the TRL adapter would log of a simulated run: the metrics of docs/trl.md, and the exact expected reward."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from mmr_kernels import MMRResult, mmr_advantages
from study import policy
from study.arms import Arm, similarity_of
from study.families import Family, Setting
from study.running import DRAWS, NOISE, RATE, Draws, one_step, rewards_of


def metrics(rewards: Tensor, result: MMRResult, group_size: int) -> dict[str, Tensor]:
    """As ``mmr_kernels.integrations.metrics``, for each of S batches; and one that its completions table gives.

    Args:
        rewards: (S, n), all finite.
        result: of ``mmr_advantages`` with ``return_details``, on the groups of all batches.
        group_size: completions a group.

    Returns:
        (S,) each; NaN where there is nothing to measure.
    """
    batches = len(rewards)
    later = result.selection_rank.view(batches, -1) > 0
    similarity = result.max_similarity.view(batches, -1)
    groups = rewards.view(batches, -1, group_size)
    assert result.advantages is not None
    return {
        "lambda": result.lam.view(batches, -1).mean(1),
        "similarity_mean": similarity.where(later, torch.nan).nanmean(1),
        "similarity_max": similarity.where(later, -torch.inf).amax(1),
        "reward_before": rewards.mean(1),
        "reward_after": result.reweighted_rewards.view(batches, -1).mean(1),
        "equal_reward_groups": (groups.amax(2) == groups.amin(2)).float().mean(1),
        "reward_advantage_correlation": correlation(rewards, result.advantages.view(batches, -1)),
        "reward_similarity_correlation": correlation(rewards, similarity.where(later, torch.nan)),
    }


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """(S,): Pearson's in each row, over the entries where ``second`` is not NaN."""
    there = ~second.isnan()
    first, second = first.where(there, torch.nan), second.where(there, torch.nan)
    first, second = first - first.nanmean(1, keepdim=True), second - second.nanmean(1, keepdim=True)
    return (first * second).nansum(1) / (first.square().nansum(1) * second.square().nansum(1)).sqrt()


def logged(
    family: Family, arm: Arm, setting: Setting, seeds: list[int], steps: int, rate: float = RATE
) -> tuple[dict[str, Tensor], Tensor]:
    """A run of an arm, and what MMR as published would log of its batches.

    Returns:
        Metrics, (steps,) each, averaged over the seeds that have one; and (steps + 1,) the expected reward.
    """
    success = torch.tensor(family.success, dtype=torch.float32)
    exact = success.to(torch.float64)
    logits = family.logits().expand(len(seeds), -1).clone()
    block = Draws(seeds, setting.prompts * setting.group_size, setting.noise > 0, shuffle=False).block(steps)
    rows: list[dict[str, Tensor]] = []
    expected = [policy.expected_reward(logits, exact).mean()]
    for step in range(steps):
        drawn = {stream: numbers[step] for stream, numbers in block.items()}
        ways = policy.sample(logits, drawn[DRAWS][0])
        noise = drawn[NOISE][0] if NOISE in drawn else None
        rewards = rewards_of(setting, success, ways, drawn[DRAWS][1], noise)
        groups = setting.group_size
        similarity = similarity_of(ways.reshape(-1, groups), setting)
        result = mmr_advantages(rewards.reshape(-1, groups), similarity=similarity, return_details=True)
        found = metrics(rewards, cast(MMRResult, result), groups)
        rows.append({name: value.nanmean() for name, value in found.items()})
        logits = one_step(logits, drawn, arm, setting, success, rate, 0.0)
        expected.append(policy.expected_reward(logits, exact).mean())
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, torch.stack(expected)
