"""The picture of ``score --plot``: rewards before and after against redundancy, and what that does to learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmr_kernels.cli.files import InputError, replacing
from mmr_kernels.cli.rollouts import Rollouts
from mmr_kernels.cli.scoring import Scores

BEFORE, AFTER = "#9a9a9a", "#c2410c"
#: Equally filled bins of redundancy, fewer where there are few completions.
MOST_BINS, LEAST_IN_BIN = 10, 20


def draw(rollouts: Rollouts, scores: Scores, path: Path) -> None:
    """Write a PNG of two panels over redundancy, the largest cosine to another completion of the group picked before.

    Left: each completion's reward before and after, and the means. Right: the advantage that plain GRPO and MMR give
    on average. Completions without a reward are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    before = np.asarray(rollouts.rewards)
    valid = np.isfinite(before)
    if not valid.any():
        raise InputError(f"--plot {path}: no completion has a reward, so there is nothing to draw")
    before, after = before[valid], scores.reweighted_rewards[valid]
    redundancy, picked = scores.max_similarity[valid], scores.selection_rank[valid]
    bins = _bins(redundancy, picked)

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    rewards_axes, advantages_axes = figure.subplots(1, 2)
    jitter = np.random.default_rng(0).normal(0, 0.008, len(before))
    dots = {
        "s": 9,
        "linewidths": 0,
        "alpha": max(0.12, min(0.9, 60 / np.sqrt(len(before)) / 4)),
        "rasterized": True,
    }
    rewards_axes.scatter(redundancy, before + jitter, color=BEFORE, **dots)
    rewards_axes.scatter(redundancy, after + jitter, color=AFTER, **dots)
    centre = [redundancy[members].mean() for members in bins]
    for values, color, name in ((before, BEFORE, "before"), (after, AFTER, "after MMR")):
        means = [values[members].mean() for members in bins]
        rewards_axes.plot(
            centre, means, "o-", color=color, markeredgecolor="white", lw=2.5, ms=7, label=f"mean {name}"
        )
    rewards_axes.set(title="Reward", ylabel="reward")

    for values, color, name in (
        (scores.plain_advantages[valid], BEFORE, "plain GRPO"),
        (scores.advantages[valid], AFTER, "MMR"),
    ):
        means = [values[members].mean() for members in bins]
        advantages_axes.plot(
            centre, means, "o-", color=color, markeredgecolor="white", lw=2.5, ms=7, label=name
        )
    advantages_axes.axhline(0, color="black", lw=0.8)
    advantages_axes.set(title="Advantage, mean of the bin", ylabel="advantage")
    for axes in (rewards_axes, advantages_axes):
        axes.set(xlabel="redundancy: largest similarity to a completion picked before")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(f"{len(before):,} completions in {len(rollouts.offsets) - 1:,} groups")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _bins(redundancy: np.ndarray, picked: np.ndarray) -> list[np.ndarray]:
    """Indices of the first picks, which have no redundancy, then of the others in bins of equal size."""
    later = np.flatnonzero(picked != 0)
    count = int(np.clip(len(later) // LEAST_IN_BIN, 1, MOST_BINS))
    ordered = later[np.argsort(redundancy[later], kind="stable")]
    bins = [np.flatnonzero(picked == 0), *np.array_split(ordered, count)]
    return [members for members in bins if len(members)]
