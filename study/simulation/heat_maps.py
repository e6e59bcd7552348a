"""Heat maps of a ratio of steps: blue is fewer, red more and white equal, on a log scale; grey: neither arm arrived.

Black is the measured boundary, dashed green the predicted one; ≤ marks a ratio to runs that were cut off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from study.results_file import Row
from study.simulation.points import PANELS, SHARES, Point, at

LABELS = {
    "gap": "success gap, best − common way",
    "others": "other ways' success / common way's",
    "group_size": "group size G (64 completions per step)",
    "contrast": "similarity within − across",
    "noise": "noise of the reward (std)",
}
TITLES = {"mmr": "MMR as published", "score": 'first_pick="score"', "score, fading": '"score", diversity 1 → 0'}
WIDEST = 4.0  # colours end at a quarter and at four times the steps


def heat_maps(rows: dict[Point, Row], arms: tuple[str, ...], path: Path) -> None:
    """One row of panels per arm, one column per variable; the dashed line is where theory puts the boundary."""
    size = (4.1 * len(PANELS), 3.5 * len(arms))
    figure, axes = plt.subplots(len(arms), len(PANELS), figsize=size, layout="constrained")
    for line, arm in zip(axes, arms, strict=True):
        for panel, axis in zip(PANELS, line, strict=True):
            image = _panel(axis, panel, rows, arm)
            axis.set_title(TITLES[arm], fontsize=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label="steps / GRPO's steps")
    ticks = (0.25, 0.33, 0.5, 0.75, 1.0, 1.33, 2.0, 3.0, 4.0)
    bar.set_ticks([float(np.log(tick)) for tick in ticks], labels=[f"{tick:.2g}" for tick in ticks])
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _panel(axis: Axes, panel: str, rows: dict[Point, Row], arm: str) -> Any:
    """Draw one arm over one variable; grey where GRPO and the arm were cut off in half of their runs or more."""
    seeds = _table(rows, panel, "grpo", "seeds")
    plain_cut = 2 * _table(rows, panel, "grpo", "cut_off") >= seeds
    both_cut = plain_cut & (2 * _table(rows, panel, arm, "cut_off") >= seeds)
    ratios = np.where(both_cut, np.nan, _table(rows, panel, arm, "ratio"))
    axis.set_facecolor("lightgrey")
    image = axis.imshow(
        np.log(ratios), origin="lower", aspect="auto", cmap="RdBu_r", vmin=-np.log(WIDEST), vmax=np.log(WIDEST)
    )
    for y, x in np.argwhere(np.isfinite(ratios)):
        text = f"{'≤ ' if plain_cut[y, x] else ''}{ratios[y, x]:.2f}"
        dark = abs(np.log(ratios[y, x])) > 0.6 * np.log(WIDEST)
        axis.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    _boundary(axis, ratios, "solid", "black")
    _boundary(axis, _table(rows, panel, arm, "predicted"), "dashed", "tab:green")
    axis.set_xticks(range(len(PANELS[panel])), [f"{value:g}" for value in PANELS[panel]])
    axis.set_yticks(range(len(SHARES)), [f"{100 * share:g} %" for share in SHARES])
    axis.set_xlabel(LABELS[panel])
    axis.set_ylabel("best way's share at the start")
    return image


def _table(rows: dict[Point, Row], panel: str, arm: str, figure: str) -> np.ndarray:
    """(shares, values) of one figure of an arm; NaN where there is none."""

    def at_place(value: float, share: float) -> float:
        return rows.get(at(panel, value, share), {}).get(arm, {}).get(figure, np.nan)

    return np.array([[at_place(value, share) for value in PANELS[panel]] for share in SHARES])


def _boundary(axis: Axes, ratios: np.ndarray, style: str, colour: str) -> None:
    """The line along which both arms take equally many steps; columns in which they do everywhere have none."""
    ratios = np.where((~(np.abs(ratios - 1) >= 0.02)).all(axis=0), np.nan, ratios)
    if np.nanmin(ratios) < 1 < np.nanmax(ratios):
        axis.contour(np.log(ratios), levels=[0.0], colors=colour, linewidths=2, linestyles=style)
