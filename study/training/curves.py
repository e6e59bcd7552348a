"""Draw the runs of one family: accuracy, share of the better way, entropy and variety over training, a line per arm.

python -m study.training.curves crowded DAPO study/results/training-crowded.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure

from study.results_file import Row
from study.training import plan
from study.training.arms import MAIN
from study.training.problems import FAMILIES
from study.training.rows import RESULTS, results_file

COLORS = ("#444444", "#c2410c", "#e9a23b", "#7e57c2", "#1f77b4", "#2a9d4e")


def panels(family: str) -> dict[str, str]:
    """Title of each panel, and the curve that it shows."""
    return {
        "expected reward, held out": "accuracy",
        f"share of “{FAMILIES[family].paid[-1].name}”, right": "shares",
        "entropy per token, nats": "entropy",
        "different texts per group of 8": "distinct",
    }


def values(row: Row, curve: str) -> np.ndarray:
    """One curve of a run, NaN where it has no value; of the shares, that of the last way that pays."""
    found = np.array(row["curves"][curve], dtype=float)
    return found[:, -1] if found.ndim == 2 else found


def main(
    family: Annotated[str, typer.Argument(help="hidden, crowded or single.")],
    loss: Annotated[str, typer.Argument(help="DAPO, GRPO or Dr. GRPO.")],
    path: Annotated[Path, typer.Argument(help="PNG to write.")],
    results: Annotated[Path, typer.Option(help="JSON Lines that the study wrote.")] = RESULTS,
) -> None:
    """Draw the arms under one loss, on the seeds of the study."""
    runs = plan.of_study(results_file(results).rows())
    figure = Figure(figsize=(11, 7), layout="constrained")
    for axes, (title, curve) in zip(figure.subplots(2, 2).flat, panels(family).items(), strict=True):
        for arm, color in zip(MAIN, COLORS, strict=True):
            rows = list(runs[family, loss, arm.name].values())
            if not rows:
                raise typer.BadParameter(f"{results} has no run of {arm.name!r} on {family!r} under {loss!r}")
            steps, drawn = rows[0]["curves"]["step"], np.array([values(row, curve) for row in rows])
            mean, error = drawn.mean(axis=0), drawn.std(axis=0, ddof=1) / len(drawn) ** 0.5
            axes.fill_between(steps, mean - 2 * error, mean + 2 * error, color=color, alpha=0.15, lw=0)
            axes.plot(steps, mean, color=color, lw=1.8, label=arm.name)
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("step")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"{family}, loss of {loss}: mean of {len(plan.SEEDS)} seeds, ± 2 standard errors", x=0.01, ha="left"
    )
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    typer.run(main)
