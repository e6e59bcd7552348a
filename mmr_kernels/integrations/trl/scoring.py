"""From the rewards that TRL gathered and this process's embeddings to advantages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmr_kernels import mmr_advantages
from mmr_kernels.integrations.scored import Scored, score


def total_reward(per_function: Tensor, weights: Tensor, aggregation: str, group_size: int) -> Tensor:
    """(N,) rewards from (N, K) of K reward functions and K weights; NaN where no function scored.

    "normalize_then_sum" makes each function's reward relative to its group before the weighted sum.
    """
    unscored = per_function.isnan().all(dim=1)
    if aggregation == "normalize_then_sum":
        columns = [
            mmr_advantages(column.contiguous(), group_size=group_size, method="none")
            for column in per_function.unbind(dim=1)
        ]
        per_function = torch.stack(columns, dim=1)  # type: ignore[arg-type]
    total = (per_function * weights.to(per_function.device)).nansum(dim=1)
    return total.masked_fill(unscored, torch.nan)


def score_together(rewards: Tensor, embeddings: Tensor, group_size: int, accelerator: Any, **options: Any) -> Scored:
    """Score the batch that all processes hold together; every process gets the same result, to the bit.

    Where each process holds whole groups and nothing is shared between groups, each computes its own and only the
    results are gathered. Otherwise embeddings are, once, and every process computes all. Which of the two depends on
    sizes and options alone, so all processes take the same branch and meet in the same collectives.

    Args:
        rewards: (N,), of all processes in rank order.
        embeddings: (n, D), of this process's n = N / number of processes completions.
        group_size: completions of one prompt, which lie side by side.
        accelerator: of the trainer.
        **options: of ``mmr_advantages``; its ``eps`` is TRL's by default.
    """
    processes = accelerator.num_processes
    here = len(rewards) // processes
    apart = processes > 1 and here % group_size == 0 and options["scope"] == "group" and options["scale"] != "batch"
    if apart:
        rewards = rewards[accelerator.process_index * here :][:here]
    elif processes > 1:
        embeddings = accelerator.gather(embeddings)
    scored = score(rewards, embeddings, group_size=group_size, **options)
    if not apart:
        return scored
    *columns, signal = scored
    columns = accelerator.gather(torch.stack([column.to(torch.float32) for column in columns], dim=1)).unbind(dim=1)
    scored = Scored(*(*columns, accelerator.gather(signal)))
    return scored._replace(selection_rank=scored.selection_rank.long(), unusable=scored.unusable.bool())
