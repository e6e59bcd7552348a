"""A picture of a batch that was trained on, every k steps, for the run's reporters and as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmr_kernels.integrations.plots import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        """Draw the batch that this step trained on, if any of it has a reward."""
        scored = self.trainer.mmr_trained
        due = state.is_world_process_zero and state.global_step % self.every == 0
        if not due or scored is None or not scored.rewards.isfinite().any():
            return
        figure, path = save(scored, self.trainer.mmr_replaced, args.output_dir, state.global_step)
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
