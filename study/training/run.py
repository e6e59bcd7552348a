"""One run, an arm with a loss, a rate and a seed, trained by TRL's trainer; it gives one row of figures."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback

from mmr_kernels.integrations.trl import MMRGRPOConfig, MMRGRPOTrainer
from study.training import policy
from study.training.arms import ARMS, LOSSES, Arm
from study.training.checker import Checker
from study.training.evaluation import Evaluation
from study.training.problems import FAMILIES, LONGEST_ANSWER, problems
from study.training.rows import Run

GROUP_SIZE = 8
EVALUATIONS = 10  # of a run, beside the one at its start
EVALUATIONS_UNTIL = 30  # of one that ends where it arrives
#: The values of TRL's log that are kept, at every evaluation.
LOGGED = ("reward", "entropy", "mmr/lambda", "mmr/similarity_mean", "mmr/equal_reward_groups",
          "mmr/reward_before", "mmr/reward_after", "mmr/reward_advantage_correlation")  # fmt: skip


class Shuffled(MMRGRPOTrainer):
    """MMR whose embeddings are dealt out anew within each group: as similar as the real ones, but of other texts."""

    def _embed(self, *generated: Any) -> Any:
        embeddings = super()._embed(*generated)
        groups = embeddings.view(-1, GROUP_SIZE, embeddings.shape[-1])
        order = torch.rand(groups.shape[:2]).argsort(dim=1)
        return groups.gather(1, order.unsqueeze(-1).expand_as(groups)).reshape(embeddings.shape)


class Recorder(TrainerCallback):
    """Evaluates every few steps, ends a run that has arrived, and keeps time: processor seconds of training alone."""

    def __init__(self, evaluation: Evaluation, checker: Checker, run: Run) -> None:
        self.evaluation, self.checker, self.until = evaluation, checker, run.until
        self.every = max(1, run.steps // (EVALUATIONS if run.until is None else EVALUATIONS_UNTIL))
        self.rows: dict[str, list[Any]] = {name: [] for name in ("step", "shares", "accuracy", "distinct", *LOGGED)}
        self.seconds = 0.0
        self.mark = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.record(kwargs["model"], 0, {})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        due = state.global_step % self.every == 0 or state.global_step == state.max_steps
        if due and logs and "reward" in logs:
            self.seconds += time.process_time() - self.mark
            self.record(kwargs["model"], state.global_step, logs)
            if self.until is not None and self.rows["accuracy"][-1] >= self.until:
                control.should_training_stop = True

    def record(self, model: Any, step: int, logs: dict[str, float]) -> None:
        shares = self.evaluation.shares(model)
        self.rows["step"].append(step)
        self.rows["shares"].append([round(share, 5) for share in shares.tolist()])
        self.rows["accuracy"].append(round(self.evaluation.reward(shares), 5))
        self.rows["distinct"].append(round(self.checker.distinct[-1], 3) if self.checker.distinct else None)
        for name in LOGGED:
            value = logs.get(name)  # None too where the batch held nothing to measure
            self.rows[name].append(None if value is None else round(value, 4))
        self.mark = time.process_time()


def train(run: Run) -> dict[str, Any]:
    """The row of one run; the same run gives the same row but for the seconds."""
    family, arm = FAMILIES[run.family], ARMS[run.arm]
    names, (training, held_out) = policy.tokenizer(), problems()
    checker, evaluation = Checker(family, arm.grade, run.seed, GROUP_SIZE), Evaluation(family, held_out, names)
    return trained(run, arm, policy.start(family), names, training, LONGEST_ANSWER, checker, evaluation)


def trained(
    run: Run,
    arm: Arm,
    model: PreTrainedModel,
    names: PreTrainedTokenizerFast,
    training: Sequence[Any],
    longest_answer: int,
    checker: Any,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """The row of one run of ``model``, which is trained in place.

    Args:
        training: problems, named tuples with a prompt; their fields are what the checker takes by name.
        longest_answer: tokens, the end included.
        checker: the reward function, which counts distinct texts.
    """
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    recorder = Recorder(evaluation, checker, run)
    with tempfile.TemporaryDirectory() as folder:
        args = MMRGRPOConfig(
            folder,
            per_device_train_batch_size=GROUP_SIZE * run.prompts_per_step,
            num_generations=GROUP_SIZE,
            max_completion_length=longest_answer,
            learning_rate=run.learning_rate,
            lr_scheduler_type="constant",
            max_steps=run.steps,
            logging_steps=1,
            seed=run.seed,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **LOSSES[run.loss],
            **arm.options,
        )
        trainer = (Shuffled if arm.shuffled else MMRGRPOTrainer)(
            model=model,
            reward_funcs=checker,
            args=args,
            train_dataset=Dataset.from_list([{"prompt": each.prompt, **each._asdict()} for each in training]),
            processing_class=names,
            callbacks=[recorder],
        )
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        wall = time.perf_counter() - start
    return {
        **run._asdict(),
        "processor_seconds": round(recorder.seconds, 2),
        "wall_seconds_with_evaluation": round(wall, 2),
        "curves": recorder.rows,
    }
