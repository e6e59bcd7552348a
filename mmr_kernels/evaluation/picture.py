"""The picture of ``eval --plot``: avg@k and pass@k against k, for each model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmr_kernels.evaluation.measures import interval, pass_at_k, powers
from mmr_kernels.evaluation.results import OVERALL

COLORS = ("#525252", "#c2410c", "#7c3aed", "#15803d", "#0369a1", "#a16207")


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG, a panel per task and one over all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = [found["settings"]["model"] for found in records]
    names = [Path(model).name for model in models]
    if len(set(names)) < len(names):
        names = models
    tasks = list(dict.fromkeys(row["task"] for row in records[0]["problems"]))
    panels = {**({OVERALL: tasks} if len(tasks) > 1 else {}), **{task: [task] for task in tasks}}
    columns = min(len(panels), 3)
    figure = Figure(figsize=(4.4 * columns, 3.6 * -(-len(panels) // columns) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
    for axes in cells[len(panels) :]:
        axes.remove()
    for axes, (title, members) in zip(cells, panels.items(), strict=False):
        for place, found in enumerate(records):
            correct = [
                np.array([row["correct"] for row in found["problems"] if row["task"] == task]) for task in members
            ]
            x = powers(found["settings"]["samples"])
            lines = {
                "avg": [interval([of[:, :k].mean(1) for of in correct]) for k in x],
                "pass": [interval([pass_at_k(of.sum(1), of.shape[1], k) for of in correct]) for k in x],
            }
            color = COLORS[place % len(COLORS)]
            for name, line in lines.items():
                style: dict[str, Any] = {"color": color, "linestyle": "-" if name == "pass" else (0, (4, 2))}
                label = f"{name}@k, {names[place]}".replace("$", r"\$")  # which would begin a formula
                axes.plot(x, [each.mean for each in line], marker="o", markersize=3.5, label=label, **style)
                axes.fill_between(
                    x, [each.low for each in line], [each.high for each in line], color=color, alpha=0.12, lw=0
                )
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [str(k) for k in x])
        axes.minorticks_off()
        axes.set(title=title, xlabel="k samples", ylim=(-0.02, 1.02))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#e5e5e5", linewidth=0.7)
    figure.legend(*cells[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, format="png", dpi=120)
