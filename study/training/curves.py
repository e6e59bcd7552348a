"""Draw the runs of one family: accuracy, share of the ways, entropy and variety over training, a line an arm.

python -m study.training.curves hidden study/results/training-hidden.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure

from study.training import plan, results
from study.training.arms import MAIN
from study.training.problems import FAMILIES
from study.training.results import Row
from study.training.study import RESULTS

COLORS = ("#444444", "#c2410c", "#e9a23b", "#7e57c2", "#1f77b4", "#2a9d4e")


def band(curves: list[list[float | None]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds, and the interval of two standard errors around it; None is left out."""
    values = np.array(curves, dtype=float)
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5
    return mean, mean - 2 * error, mean + 2 * error


def panels(family: str) -> dict[str, list[str | int]]:
    """Title of each panel and where its curve lies in a row; a number is the place of a way that pays."""
    paid = FAMILIES[family].paid
    title = f"share of “{paid[-1].name}”, right"
    return {
        "expected reward, held out": ["accuracy"],
        title: ["shares", len(paid) - 1],
        "entropy a token, nats": ["entropy"],
        "different texts a group of 8": ["distinct"],
    }


def curve(row: Row, where: list[str | int]) -> list[float | None]:
    """One panel's values."""
    values = row["curves"][where[0]]
    return [value[where[1]] for value in values] if len(where) > 1 else values


def main(
    family: Annotated[str, typer.Argument(help="hidden, crowded or single.")],
    path: Annotated[Path, typer.Argument(help="PNG to write.")],
    results_path: Annotated[Path, typer.Option("--results", help="What the study wrote.")] = RESULTS,
) -> None:
    """Draw the arms under GRPO, on the seeds of the study."""
    rows = results.read(results_path)
    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, (title, where) in zip(figure.subplots(2, 2).flat, panels(family).items(), strict=True):
        for arm, color in zip(MAIN, COLORS, strict=True):
            runs = list(plan.of_study(rows, family, "GRPO", arm.name).values())
            if not runs:
                raise typer.BadParameter(f"{results_path} has no run of {arm.name!r} on {family!r}")
            steps = runs[0]["curves"]["step"]
            mean, low, high = band([curve(row, where) for row in runs])
            axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
            axes.plot(steps, mean, color=color, lw=1.8, label=arm.name)
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("step")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{family}, GRPO's loss: mean of {len(plan.SEEDS)} seeds, ± 2 standard errors", x=0.01, ha="left")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    typer.run(main)
