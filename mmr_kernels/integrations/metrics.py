"""The metrics of a scored batch that a trainer logs; docs/trl.md says how to read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mmr_kernels.integrations.scored import Scored
from mmr_kernels.reference.advantages import all_equal

#: Metrics that only the trainer can measure: milliseconds per batch, a schedule's value, a share of the step's time.
EMBED_MS, REWEIGHT_MS = "mmr/embed_ms", "mmr/reweight_ms"
DIVERSITY, SHARE_OF_STEP = "mmr/diversity", "mmr/share_of_step"

#: The share of the rewards' variance within groups that likeness explains.
SIGNAL = "mmr/signal"

#: Completions per batch whose embedding is zero or not finite.
UNUSABLE = "mmr/unusable_embeddings"


def metrics(scored: Scored, group_ids: Tensor) -> dict[str, float]:
    """Name to value; NaN where the batch holds nothing to measure. ``group_ids``: one integer per completion.

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
        "mmr/equal_reward_groups": _equal_groups(rewards, valid, group_ids.cpu()),
        "mmr/reward_advantage_correlation": torch.corrcoef(both)[0, 1].item() if both.shape[1] > 1 else torch.nan,
    }


def _equal_groups(rewards: Tensor, valid: Tensor, group_ids: Tensor) -> float:
    """The share of groups whose valid rewards are all equal up to rounding: plain GRPO learns nothing from these."""
    names, group = torch.unique(group_ids, return_inverse=True)
    extremes = {
        reduction: rewards.new_full((len(names),), start).scatter_reduce(0, group[valid], rewards[valid], reduction)
        for reduction, start in (("amax", -torch.inf), ("amin", torch.inf))
    }
    return all_equal(extremes["amin"], extremes["amax"]).to(torch.float64).mean().item()


@contextmanager
def timed(report: Callable[[float], None], device: torch.device | str = "cpu") -> Iterator[None]:
    """Report how many milliseconds the block took. A GPU is waited for: the step waits for the rewards there anyway."""
    on_cpu = torch.device(device).type == "cpu"
    if not on_cpu:
        torch.accelerator.synchronize()
    start = time.perf_counter()
    yield
    if not on_cpu:
        torch.accelerator.synchronize()
    report((time.perf_counter() - start) * 1000)
