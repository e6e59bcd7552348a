"""The picture of scored completions: reward and advantage, before and after MMR, against redundancy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from mmr_kernels.integrations.scored import Scored

BEFORE, AFTER = "#8a8a8a", "#c2410c"
#: Bins of redundancy hold equally many completions; fewer bins where there are few completions.
MOST_BINS, LEAST_IN_BIN = 10, 8


def save(scored: Scored, plain_advantages: Tensor, folder: Path | str, step: int) -> tuple[Figure, Path]:
    """Draw the batch of a training step into ``mmr_plots/step_N.png`` of a run's folder."""
    path = Path(folder) / "mmr_plots" / f"step_{step:05d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = draw(scored, plain_advantages, f"Step {step}")
    figure.savefig(path, dpi=100)
    return figure, path


def draw(scored: Scored, plain_advantages: Tensor, title: str) -> Figure:
    """Two panels over redundancy, the largest similarity to a completion picked before.

    Left, reward: each completion before and after, and the means of bins. Right, the bins' mean advantage
    under plain GRPO and under MMR. First picks stand apart, at 0; completions without a reward are left out,
    and at least one needs a reward.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rewards, advantages, reweighted, rank, redundancy = (column.cpu().numpy() for column in scored[:5])
    plain = plain_advantages.cpu().numpy()
    known = np.isfinite(reweighted)
    first, later = np.flatnonzero(known & (rank <= 0)), np.flatnonzero(rank > 0)
    bins = _bins(later, redundancy)

    figure = Figure(figsize=(11.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    dots = {"s": 10, "linewidths": 0, "alpha": float(np.clip(15 / np.sqrt(len(rewards)), 0.15, 0.6))}
    jitter = np.random.default_rng(0).normal(0, 0.004, len(rewards)) * np.ptp(rewards[known])
    for values, color in ((rewards, BEFORE), (reweighted, AFTER)):
        left.scatter(redundancy[known], (values + jitter)[known], color=color, **dots)
    _panel(left, "Reward", (redundancy, rewards, reweighted), first, bins, ("mean before", "mean after MMR"))
    names = ("mean under plain GRPO", "mean under MMR")
    _panel(right, "Advantage", (redundancy, plain, advantages), first, bins, names)
    right.axhline(0, color="black", lw=0.8)
    figure.suptitle(title, size="x-large")
    return figure


def _bins(later: np.ndarray, redundancy: np.ndarray) -> list[np.ndarray]:
    """Indices of the completions that were not picked first, in bins of rising redundancy."""
    if not len(later):
        return []
    ordered = later[np.argsort(redundancy[later], kind="stable")]
    return np.array_split(ordered, int(np.clip(len(later) // LEAST_IN_BIN, 1, MOST_BINS)))


def _panel(
    axes: Axes,
    name: str,
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
    first: np.ndarray,
    bins: list[np.ndarray],
    names: tuple[str, str],
) -> None:
    """Redundancy, before, after: means of the bins as lines, the gap filled; of first picks as squares."""
    x, before, after = ([values[members].mean() for members in bins] for values in columns)
    axes.fill_between(x, before, after, color=AFTER, alpha=0.12, linewidth=0)
    style: dict[str, Any] = {"markeredgecolor": "white", "linewidth": 2.5, "markersize": 8}
    lines = ((before, columns[1], BEFORE, names[0]), (after, columns[2], AFTER, names[1]))
    for means, values, color, label in lines:
        axes.plot(x, means, "o-", color=color, label=label, **style)
        if len(first):
            axes.plot(0, values[first].mean(), "s", color=color, **style)
    if len(first):
        top = max(values[first].mean() for values in columns[1:])
        axes.annotate("picked first", (0, top), (8, 6), textcoords="offset points", color=AFTER)
    most, which = (bins[-1], "most redundant") if bins else (first, "first picks")
    change = f"from {columns[1][most].mean():+.2f} to {columns[2][most].mean():+.2f}"
    axes.set_title(f"{name}: the {len(most):,} {which} go\n{change} on average")
    axes.set(xlabel="redundancy: largest similarity to a completion picked before", ylabel=name.lower())
    axes.set_xlim(-0.04, 1.04)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
