"""``make demo``: train a tiny policy with plain GRPO and with MMR, side by side, and show the difference.

    python examples/demo/train.py --out demo

Both runs start from the same weights, see the same prompts in the same order and differ in one line, the trainer. Ends
with demo/rewards.png and tables of rewards, of variety, and of the cost of MMR.
"""

from __future__ import annotations

import logging
import statistics
import warnings
from pathlib import Path
from typing import Annotated, Any

import problem
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from mmr_kernels.integrations.trl import MMRGRPOConfig, MMRGRPOTrainer

GENERATIONS, PROMPTS = 8, 32  # of each prompt, and in each step
SAMPLES = 32  # of each target, for the table
COLORS = {"GRPO": "#8a8a8a", "MMR-GRPO": "#c2410c"}


class Bar(TrainerCallback):
    """A progress bar with the newest reward."""

    def __init__(self, progress: Progress, name: str, steps: int) -> None:
        self.progress = progress
        self.task = progress.add_task(name, total=steps, reward="")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "reward" in logs:
            self.progress.update(self.task, completed=state.global_step, reward=f"reward {logs['reward']:.2f}")


def train(trainer_class: Any, config_class: Any, steps: int, progress: Progress, name: str, folder: Path) -> Any:
    """One run; the same but for the two classes."""
    args = config_class(
        str(folder),
        per_device_train_batch_size=GENERATIONS * PROMPTS,
        num_generations=GENERATIONS,
        max_completion_length=problem.LONGEST_ANSWER,
        learning_rate=3e-4,
        lr_scheduler_type="constant",
        max_steps=steps,
        logging_steps=1,
        seed=0,
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = trainer_class(
        model=problem.start(),
        reward_funcs=problem.reward,
        args=args,
        train_dataset=problem.prompts(repeats=PROMPTS),
        processing_class=problem.tokenizer(),
        callbacks=[Bar(progress, name, steps)],
    )
    trainer.remove_callback(PrinterCallback)  # the bar says it
    trainer.train()
    return trainer


def logged(trainer: Any, name: str) -> list[float]:
    """One metric of every step."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@torch.no_grad()
def sample(model: Any) -> tuple[float, float]:
    """Share of right answers over all targets, and how many different right answers 32 samples of a target hold."""
    names, data = problem.tokenizer(), problem.prompts()
    torch.manual_seed(1)
    prompt = names(list(data["prompt"]), padding=True, return_tensors="pt")
    ids = model.eval().generate(
        **{key: prompt[key].repeat_interleave(SAMPLES, dim=0) for key in ("input_ids", "attention_mask")},
        max_new_tokens=problem.LONGEST_ANSWER,
        do_sample=True,
        pad_token_id=names.pad_token_id,
    )
    texts = names.batch_decode(ids[:, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    groups = [texts[start : start + SAMPLES] for start in range(0, len(texts), SAMPLES)]
    right = [
        [text for text in group if problem.value(text) == target]
        for group, target in zip(groups, data["target"], strict=True)
    ]
    return sum(map(len, right)) / len(texts), statistics.mean(len(set(group)) for group in right)


def draw(curves: dict[str, list[float]], path: Path) -> None:
    """Mean reward of each step, and its running mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        window = 8
        smooth = [statistics.mean(curve[max(0, step - window + 1) : step + 1]) for step in range(len(curve))]
        axes.plot(range(1, len(curve) + 1), curve, color=COLORS[name], lw=0.7, alpha=0.4)
        axes.plot(range(1, len(curve) + 1), smooth, color=COLORS[name], lw=2, label=name)
    axes.set(xlabel="step", ylabel="share of right answers in the batch", title="Make the number: reward in training")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the picture and TRL's files.")] = Path("demo"),
    steps: Annotated[int, typer.Option(min=2, help="Steps of each run.")] = 100,
) -> None:
    """Train a tiny policy with plain GRPO and with MMR, side by side, and show the difference."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    out.mkdir(parents=True, exist_ok=True)

    console = Console()
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[reward]}")]
    console.print(f'Make the number, as in "12=9+5-2": {PROMPTS} prompts per step, {GENERATIONS} answers to each.')
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        plain = train(GRPOTrainer, GRPOConfig, steps, progress, "GRPO", out / "grpo")
        mmr = train(MMRGRPOTrainer, MMRGRPOConfig, steps, progress, "MMR-GRPO", out / "mmr")
    trained = {"GRPO": plain, "MMR-GRPO": mmr}
    draw({name: logged(trainer, "reward") for name, trainer in trained.items()}, out / "rewards.png")

    title = f"After {steps} steps, {SAMPLES} samples for each of {len(problem.TARGETS)} targets"
    table = Table("", "right answers", "different right answers per target", title=title)
    for name, model in {"start": problem.start(), **{name: each.model for name, each in trained.items()}}.items():
        right, different = sample(model)
        table.add_row(name, f"{right:.1%}", f"{different:.1f}")
    console.print(table)

    names = ("step_time", "mmr/embed_ms", "mmr/reweight_ms", "mmr/share_of_step")
    step, embed, reweight, share = (statistics.median(logged(mmr, name)[1:]) for name in names)  # the first warms up
    title = f"The cost of MMR, medians of {steps - 1} steps of {GENERATIONS * PROMPTS} completions"
    table = Table("step", "embedding (lexical)", "reweighting", "share of the step", title=title)
    table.add_row(f"{step * 1000:.0f} ms", f"{embed:.2f} ms", f"{reweight:.2f} ms", f"{share:.2%}")
    console.print(table)
    console.print(f"wrote {out / 'rewards.png'}")


if __name__ == "__main__":
    typer.run(main)
