"""The picture of ``score --plot``: reward and advantage, before and after MMR, against redundancy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmr_kernels.cli.rollouts import Rollouts
from mmr_kernels.cli.scoring import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER = "#8a8a8a", "#c2410c"
#: Bins of redundancy hold equally many completions; fewer bins where there are few completions.
MOST_BINS, LEAST_IN_BIN = 10, 8


def draw(rollouts: Rollouts, scores: Scores, path: Path) -> None:
    """Write a PNG of two panels over redundancy, the largest similarity to what was picked before.

    Left, reward: each completion before and after, and the means of bins. Right, the bins' mean advantage
    under plain GRPO and under MMR. First picks stand apart, at 0; completions without a reward are left out,
    and at least one needs a reward.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    picked = scores.selection_rank >= 0
    first, later = np.flatnonzero(scores.selection_rank == 0), np.flatnonzero(scores.selection_rank > 0)
    bins = _bins(later, scores.max_similarity)
    rewards = np.asarray(rollouts.rewards)

    figure = Figure(figsize=(11.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    dots = {"s": 10, "linewidths": 0, "alpha": float(np.clip(15 / np.sqrt(len(rewards)), 0.15, 0.6))}
    jitter = np.random.default_rng(0).normal(0, 0.004, len(rewards)) * np.ptp(rewards[picked])
    for values, color in ((rewards, BEFORE), (scores.reweighted_rewards, AFTER)):
        left.scatter(scores.max_similarity[picked], (values + jitter)[picked], color=color, **dots)
    columns = (scores.max_similarity, rewards, scores.reweighted_rewards)
    _means(left, columns, first, bins, ("mean before", "mean after MMR"))
    columns = (scores.max_similarity, scores.plain_advantages, scores.advantages)
    _means(right, columns, first, bins, ("mean under plain GRPO", "mean under MMR"))
    right.axhline(0, color="black", lw=0.8)
    for axes, name, before, after in (
        (left, "Reward", rewards, scores.reweighted_rewards),
        (right, "Advantage", scores.plain_advantages, scores.advantages),
    ):
        most = bins[-1] if bins else first
        which = f"{len(most):,} most redundant" if bins else f"{len(most):,} first picks"
        change = f"from {before[most].mean():+.2f} to {after[most].mean():+.2f}"
        axes.set_title(f"{name}: the {which} go\n{change} on average")
        axes.set(xlabel="redundancy: largest similarity to a completion picked before", ylabel=name.lower())
        axes.set_xlim(-0.04, 1.04)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    count, groups = np.count_nonzero(picked), len(rollouts.offsets) - 1
    figure.suptitle(f"What MMR does to {count:,} completions in {groups:,} groups", size="x-large")
    figure.savefig(path, format="png", dpi=130)


def _bins(later: np.ndarray, redundancy: np.ndarray) -> list[np.ndarray]:
    """Indices of the completions that were not picked first, in bins of rising redundancy."""
    if not len(later):
        return []
    ordered = later[np.argsort(redundancy[later], kind="stable")]
    return np.array_split(ordered, int(np.clip(len(later) // LEAST_IN_BIN, 1, MOST_BINS)))


def _means(
    axes: Axes,
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
    first: np.ndarray,
    bins: list[np.ndarray],
    names: tuple[str, str],
) -> None:
    """Redundancy, before, after: means of the bins as lines, the gap filled; of first picks as squares."""
    x, before, after = ([values[members].mean() for members in bins] for values in columns)
    axes.fill_between(x, before, after, color=AFTER, alpha=0.12, linewidth=0)
    style: dict[str, Any] = {"markeredgecolor": "white", "linewidth": 2.5, "markersize": 8}
    for means, values, color, name in (
        (before, columns[1], BEFORE, names[0]),
        (after, columns[2], AFTER, names[1]),
    ):
        axes.plot(x, means, "o-", color=color, label=name, **style)
        axes.plot(0, values[first].mean(), "s", color=color, **style)
    top = max(columns[1][first].mean(), columns[2][first].mean())
    axes.annotate("picked first", (0, top), (8, 6), textcoords="offset points", color=AFTER)
