"""The trainer's metrics (docs/trl.md) of a simulated run, and the exact expected reward."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.integrations.metrics import SIGNAL, UNUSABLE, metrics
from mmr_kernels.integrations.scored import Scored, score
from study.simulation import policy
from study.simulation.arms import Arm, similarity_of
from study.simulation.cases import Case, Cases
from study.simulation.families import Family, Setting
from study.simulation.running import RATE, Draws, draw, gradient


def batch_metrics(ways: Tensor, rewards: Tensor, setting: Setting) -> dict[str, Tensor]:
    """The metrics that MMR as published would log of S batches, and one that its completions table gives.

    Args:
        ways, rewards: (S, prompts · group_size).

    Returns:
        (S,) each; NaN where there is nothing to measure.
    """
    similarity = similarity_of(ways.view(len(ways), -1, setting.group_size), setting).flatten(0, 1)
    scored = score(rewards.flatten(), None, similarity=similarity, group_size=setting.group_size)
    scored = Scored(*(column.view(len(rewards), -1, *column.shape[1:]) for column in scored))
    group_ids = torch.arange(rewards.shape[1]) // setting.group_size
    found = [metrics(Scored(*columns), group_ids) for columns in zip(*scored, strict=True)]
    # A simulation has similarities, and no embeddings; its rows in study/results were measured without the signal.
    names = [name for name in found[0] if name not in (UNUSABLE, SIGNAL)]
    named = {name.removeprefix("mmr/"): torch.tensor([each[name] for each in found]) for name in names}
    later = scored.max_similarity.where(scored.selection_rank > 0, torch.nan)
    return named | {"reward_similarity_correlation": correlation(rewards, later)}


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """(S,): Pearson's in each row, over the entries where ``second`` is not NaN."""
    there = ~second.isnan()
    first, second = first.where(there, torch.nan), second.where(there, torch.nan)
    first, second = first - first.nanmean(1, keepdim=True), second - second.nanmean(1, keepdim=True)
    return (first * second).nansum(1) / (first.square().nansum(1) * second.square().nansum(1)).sqrt()


def logged(
    family: Family, arm: Arm, setting: Setting, seeds: list[int], steps: int, rate: float = RATE
) -> tuple[dict[str, Tensor], Tensor]:
    """A run of an arm, and the metrics that MMR as published would log of its batches.

    Returns:
        Metrics, (steps,) each, averaged over the seeds that have one; and (steps + 1,) the expected reward.
    """
    cases = Cases.of([Case(family, setting)], len(seeds))
    logits = cases.parameters  # these families share no first tokens
    block = Draws(seeds, arm, cases).block(steps)
    rows: list[dict[str, Tensor]] = []
    expected = [policy.expected_reward(logits, cases.success).mean()]
    for step in range(steps):
        drawn = {stream: numbers[step] for stream, numbers in block.items()}
        found = batch_metrics(*draw(logits, drawn, cases), setting)
        rows.append({name: value.nanmean() for name, value in found.items()})
        logits = logits + rate * gradient(logits, drawn, arm, cases, 0.0)
        expected.append(policy.expected_reward(logits, cases.success).mean())
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, torch.stack(expected)
