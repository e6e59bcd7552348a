"""What MMR did to the last batch, drawn every k steps for the run's reporters and as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmr_kernels.integrations.trl.scoring import Scored

BEFORE, AFTER = "#8a8a8a", "#c2410c"


class MMRPlotCallback(TrainerCallback):
    """Every ``every`` steps: ``mmr_plots/step_N.png`` in the output folder, and an image to wandb, trackio and
    TensorBoard, whichever the run reports to. ``mmr_plot_steps`` of a config adds it.

    Args:
        trainer: with MMR.
        every: training steps between two pictures.
    """

    def __init__(self, trainer: Any, every: int) -> None:
        self.trainer = trainer
        self.every = every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Draw the batch that this step trained on."""
        scored = self.trainer.mmr_trained
        if not state.is_world_process_zero or scored is None or state.global_step % self.every:
            return
        path = Path(args.output_dir) / "mmr_plots" / f"step_{state.global_step:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure = draw(scored, f"step {state.global_step}")
        figure.savefig(path, dpi=100)
        self._report(figure, path, args, state.global_step)

    def _report(self, figure: Figure, path: Path, args: TrainingArguments, step: int) -> None:
        name = "mmr/reweighting"
        for callback in self.trainer.callback_handler.callbacks:
            writer = getattr(callback, "tb_writer", None)
            if writer is not None:
                writer.add_figure(name, figure, step, close=False)
        if "wandb" in args.report_to:
            import wandb

            wandb.log({name: wandb.Image(os.fspath(path))})
        if "trackio" in args.report_to:
            import trackio

            trackio.log({name: trackio.Image(os.fspath(path))})


def draw(scored: Scored, title: str) -> Figure:
    """Two panels over redundancy, the largest similarity to a completion picked before: reward before and after, and
    the advantage used. First picks stand at 0; completions without a reward are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rewards, advantages, reweighted, _, similarity, _ = (column.cpu().numpy() for column in scored)
    shown = np.isfinite(reweighted)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    dots = {"s": 14, "linewidths": 0, "alpha": 0.6}
    left.scatter(similarity[shown], rewards[shown], color=BEFORE, label="before", **dots)
    left.scatter(similarity[shown], reweighted[shown], color=AFTER, label="after", **dots)
    left.set(title=f"Reward, {title}", ylabel="reward")
    left.legend(frameon=False)
    right.scatter(similarity[shown], advantages[shown], color=AFTER, **dots)
    right.axhline(0, color="black", lw=0.8)
    right.set(title=f"Advantage, {title}", ylabel="advantage")
    for axes in (left, right):
        axes.set_xlabel("largest similarity to a completion picked before")
        axes.spines[["top", "right"]].set_visible(False)
    return figure
