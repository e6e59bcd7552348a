"""Heat maps of a ratio of steps: blue fewer, red more, white equal, on a log scale; grey where neither arm arrived.

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

from study.points import PANELS, SHARES

LABELS = {
    "gap": "success gap, best − common way",
    "others": "other ways' success / common way's",
    "group_size": "group size G (64 completions a step)",
    "contrast": "similarity within − across",
    "noise": "noise of the reward (std)",
}
TITLES = {"mmr": "MMR as published", "score": 'first_pick="score"', "score, fading": '"score", diversity 1 → 0'}
WIDEST = 4.0  # colours end at a quarter and at four times the steps


def heat_maps(rows: list[dict[str, Any]], arms: tuple[str, ...], path: Path) -> None:
    """One row of panels an arm, one column a variable; the dashed line is where theory puts the boundary."""
    figure, axes = plt.subplots(
        len(arms), len(PANELS), figsize=(4.1 * len(PANELS), 3.5 * len(arms)), layout="constrained"
    )
    image = None
    for line, arm in zip(axes, arms, strict=True):
        for panel, axis in zip(PANELS, line, strict=True):
            some = {(row["value"], row["point"]["share"]): row for row in rows if row["panel"] == panel}
            found = {place: row[arm] for place, row in some.items()}
            image = _panel(axis, panel, _table(found, panel, "ratio"), *_cut_off(some, panel, arm))
            _boundary(axis, _table(found, panel, "predicted"), "dashed", "tab:green")
            axis.set_title(TITLES[arm], fontsize=10)
    assert image is not None
    bar = figure.colorbar(image, ax=axes, shrink=0.6, label="steps / GRPO's steps")
    ticks = (0.25, 0.33, 0.5, 0.75, 1.0, 1.33, 2.0, 3.0, 4.0)
    bar.set_ticks([float(np.log(tick)) for tick in ticks], labels=[f"{tick:.2g}" for tick in ticks])
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _panel(axis: Axes, panel: str, ratios: np.ndarray, plain_cut: np.ndarray, both_cut: np.ndarray) -> Any:
    axis.set_facecolor("lightgrey")
    ratios = np.where(both_cut, np.nan, ratios)
    image = axis.imshow(
        np.log(ratios), origin="lower", aspect="auto", cmap="RdBu_r", vmin=-np.log(WIDEST), vmax=np.log(WIDEST)
    )
    for y, x in np.ndindex(ratios.shape):
        if np.isfinite(ratios[y, x]):
            text = f"{'≤ ' if plain_cut[y, x] else ''}{ratios[y, x]:.2f}"
            dark = abs(np.log(ratios[y, x])) > 0.6 * np.log(WIDEST)
            axis.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    _boundary(axis, ratios, "solid", "black")
    axis.set_xticks(range(len(PANELS[panel])), [f"{value:g}" for value in PANELS[panel]])
    axis.set_yticks(range(len(SHARES)), [f"{100 * share:g} %" for share in SHARES])
    axis.set_xlabel(LABELS[panel])
    axis.set_ylabel("best way's share at the start")
    return image


def _table(found: dict[tuple[float, float], dict[str, float]], panel: str, what: str) -> np.ndarray:
    """(shares, values); NaN where there is none."""
    return np.array([[found.get((value, share), {}).get(what, np.nan) for value in PANELS[panel]] for share in SHARES])


def _cut_off(rows: dict[tuple[float, float], dict[str, Any]], panel: str, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """(shares, values) each: where half of GRPO's runs or more were cut off, and where half of the arm's were too."""
    medians = {
        place: (2 * row["grpo"]["cut_off"] >= row["grpo"]["seeds"], 2 * row[arm]["cut_off"] >= row["grpo"]["seeds"])
        for place, row in rows.items()
    }
    plain, other = (np.array([[medians.get((value, share), (False, False))[which] for value in PANELS[panel]]
                              for share in SHARES]) for which in (0, 1))  # fmt: skip
    return plain, plain & other


def _boundary(axis: Axes, ratios: np.ndarray, style: str, colour: str) -> None:
    """The line along which both arms take as many steps; columns where all do have none."""
    ratios = np.where((~(np.abs(ratios - 1) >= 0.02)).all(axis=0), np.nan, ratios)
    if np.nanmin(ratios) < 1 < np.nanmax(ratios):
        axis.contour(np.log(ratios), levels=[0.0], colors=colour, linewidths=2, linestyles=style)
