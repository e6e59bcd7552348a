"""The metrics of a scored batch that a trainer logs; docs/trl.md says how to read them."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.integrations.scored import Scored

#: Metrics that only the trainer can measure: milliseconds per batch, a schedule's value, a share of the step's time.
EMBED_MS, REWEIGHT_MS = "mmr/embed_ms", "mmr/reweight_ms"
DIVERSITY, SHARE_OF_STEP = "mmr/diversity", "mmr/share_of_step"

#: The share of the rewards' variance within groups that likeness explains.
SIGNAL = "mmr/signal"

#: Completions per batch whose embedding is zero or not finite.
UNUSABLE = "mmr/unusable_embeddings"


def metrics(scored: Scored, group_size: int) -> dict[str, float]:
    """Name to value; NaN where the batch holds nothing to measure.

    Similarity is that of completions picked after the first of their scope, the only ones that have one.
    """
    columns = (column.to("cpu", torch.float64) for column in scored[:-1])
    rewards, advantages, reweighted, rank, similarity, lam, unusable = columns
    valid = rewards.isfinite()
    both = torch.stack([rewards, advantages])[:, valid]
    later = similarity[rank > 0]
    return {
        SIGNAL: scored.explained,
        "mmr/lambda": lam.nanmean().item(),
        "mmr/similarity_mean": later.mean().item(),
        "mmr/similarity_max": later.max().item() if len(later) else torch.nan,
        UNUSABLE: unusable.sum().item(),
        "mmr/reward_before": rewards[valid].mean().item(),
        "mmr/reward_after": reweighted[valid].mean().item(),
        "mmr/equal_reward_groups": _equal_groups(rewards.view(-1, group_size), valid.view(-1, group_size)),
        "mmr/reward_advantage_correlation": torch.corrcoef(both)[0, 1].item() if both.shape[1] > 1 else torch.nan,
    }


def _equal_groups(rewards: Tensor, valid: Tensor) -> float:
    """The share of groups whose valid rewards are all equal: plain GRPO learns nothing from these."""
    highest = rewards.masked_fill(~valid, -torch.inf).amax(dim=1)
    lowest = rewards.masked_fill(~valid, torch.inf).amin(dim=1)
    return (highest <= lowest).to(torch.float64).mean().item()
