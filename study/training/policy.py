"""The policy of the study, of 109,000 parameters, and its starts, one per family, made by imitation.

python -m study.training.policy    # makes the starts, starts/FAMILY.safetensors, again
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.demo import policy
from study.training.problems import FAMILIES, Family, Problem, problems

CHARACTERS = "0123456789+=~()"
STEPS, BATCH, PEAK_RATE, WEIGHT_DECAY = 2000, 128, 4e-3, 0.0


def tokenizer() -> PreTrainedTokenizerFast:
    return policy.tokenizer(CHARACTERS)


def untrained() -> Qwen2ForCausalLM:
    """The policy before it imitates anything."""
    return policy.untrained(
        tokenizer(),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=32,
        tie_word_embeddings=False,
    )


def start(family: Family) -> Qwen2ForCausalLM:
    """The policy that every arm and seed begins with."""
    return policy.load(untrained(), start_file(family))


def start_file(family: Family) -> Path:
    return Path(__file__).parent / "starts" / f"{family.name}.safetensors"


def texts(family: Family, training: list[Problem], rng: random.Random) -> list[str]:
    """A batch to imitate."""
    return [f"{problem.prompt}{family.imitated(problem, rng)}" for problem in rng.choices(training, k=BATCH)]


def main() -> None:
    """Make the start of every family."""
    torch.set_num_threads(1)
    training, _ = problems()
    for family in FAMILIES.values():
        model, batch = untrained(), partial(texts, family, training, random.Random(0))
        policy.imitate(model, tokenizer(), batch, STEPS, PEAK_RATE, WEIGHT_DECAY)
        policy.save(model, start_file(family))


if __name__ == "__main__":
    main()
