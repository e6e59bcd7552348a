"""A policy of a few thousand parameters over single characters; trainers whose completions and rewards are given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

for package in ("trl", "peft", "math_verify"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[trl]'")

from datasets import Dataset  # noqa: E402
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM  # noqa: E402
from trl import GRPOTrainer  # noqa: E402

from examples.demo import policy  # noqa: E402
from mmr_kernels.integrations.trl import MMRGRPOConfig, MMRMixin  # noqa: E402

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 +-*/=<>|_."
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}|{{ m['content'] }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant|{% endif %}"
)

#: Nine texts, of which some are equal and some alike; taken in turn by the completions of all processes.
TEXTS = ("1 + 2 = 3", "1 + 2 = 3", "2 + 1 = 3", "so 3", "4 - 1 is 3", "9", "1 + 2 = 3 so 3", "12", "0 + 3 = 3")


def tokenizer() -> PreTrainedTokenizerFast:
    return policy.tokenizer(CHARACTERS, unknown=".", chat_template=CHAT)


def model() -> Qwen2ForCausalLM:
    return policy.untrained(
        tokenizer(),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
    )


class Recorder(GRPOTrainer):
    """TRL's own trainer, which keeps the advantages it would have trained on."""

    plain_advantages: torch.Tensor

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        self.plain_advantages = output["advantages"].clone()
        return output


class Recorded(MMRMixin, Recorder):
    """MMR on top of it."""


class GivenCompletions:
    """A rollout function: completion i of the batch of all processes is text i of the list, over and over."""

    def __init__(self, texts: tuple[str, ...] = TEXTS) -> None:
        self.texts = texts

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        names = trainer.processing_class
        start = trainer.accelerator.process_index * len(prompts)
        texts = [self.texts[(start + place) % len(self.texts)] for place in range(len(prompts))]
        ids = [names(text)["input_ids"] + [names.eos_token_id] for text in texts]
        prompt = names("1 + 2")["input_ids"]
        return {
            "prompt_ids": [prompt] * len(prompts),
            "completion_ids": ids,
            "logprobs": [[0.0] * len(row) for row in ids],
        }


class GivenRewards:
    """A reward function: completion i of the batch of all processes gets value i of the list, over and over."""

    def __init__(self, values: list[float | None], name: str = "given") -> None:
        self.values = values
        self.__name__ = name
        self.process_index = 0

    def __call__(self, prompts: list[Any], **kwargs: Any) -> list[float | None]:
        start = self.process_index * len(prompts)
        return [self.values[(start + place) % len(self.values)] for place in range(len(prompts))]


class Seen(list[str]):
    """An embedder that remembers the texts it was given, and tells every two of them apart."""

    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.extend(texts)
        return torch.eye(len(texts))


def config(folder: Path | str, **options: Any) -> MMRGRPOConfig:
    """A config for a CPU that writes nothing it isn't asked for."""
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 16,
        "learning_rate": 1e-3,
        "max_steps": 1,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
    }
    return MMRGRPOConfig(str(folder), **(defaults | options))


def prompts(count: int = 8, conversational: bool = False) -> Dataset:
    rows = [f"{number} + 2" for number in range(count)]
    return Dataset.from_dict(
        {"prompt": [[{"role": "user", "content": row}] for row in rows] if conversational else rows}
    )


def trainer(
    args: MMRGRPOConfig, rewards: Any, trainer_class: Any = Recorded, conversational: bool = False, **arguments: Any
) -> Any:
    """``rewards``: a list of reward functions, or of one value per completion for one such function."""
    if not callable(rewards[0]):
        rewards = [GivenRewards(rewards)]
    arguments = {"rollout_func": GivenCompletions(), "model": model()} | arguments
    made = trainer_class(
        reward_funcs=rewards,
        args=args,
        train_dataset=prompts(conversational=conversational),
        processing_class=tokenizer(),
        **arguments,
    )
    for function in rewards:
        if isinstance(function, GivenRewards):
            function.process_index = made.accelerator.process_index
    return made


def batch(trainer: Any, completions: int, training: bool = True) -> dict[str, Any]:
    """One scored batch of this process."""
    trainer.model.train(training)
    group_size = trainer.num_generations if training else trainer.num_generations_eval
    start = trainer.accelerator.process_index * completions
    rows = [(start + place) // group_size for place in range(completions)]
    dataset = trainer.train_dataset
    return trainer._generate_and_score_completions([dict(dataset[row % len(dataset)]) for row in rows])


def defined_rewards(
    per_function: list[list[float | None]], weights: list[float], group_size: int, aggregation: str
) -> list[float]:
    """The rewards that docs/trl.md describes, one completion at a time, in Python's floats."""
    count = len(per_function[0])
    columns = [list(column) for column in per_function]
    if aggregation == "normalize_then_sum":
        for column in columns:
            for start in range(0, count, group_size):
                known = [value for value in column[start : start + group_size] if value is not None]
                mean = sum(known) / len(known) if known else 0.0
                spread = math.sqrt(sum((value - mean) ** 2 for value in known) / max(len(known) - 1, 1))
                for place in range(start, start + group_size):
                    if column[place] is not None:
                        column[place] = (column[place] - mean) / (spread + 1e-4)
    totals = []
    for place in range(count):
        scored = [
            weight * column[place] for weight, column in zip(weights, columns, strict=True) if column[place] is not None
        ]
        totals.append(sum(scored) if scored else math.nan)
    return totals
