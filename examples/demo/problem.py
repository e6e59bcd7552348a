"""A problem with many right answers: make a number from single digits, as in "12=9+5-2" or "12=3+3+6".

The policy has some 300,000 parameters; ``pretrain.py`` made its start.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import policy
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

CHARACTERS = "0123456789+-="
TARGETS = range(3, 19)
LONGEST_ANSWER = 8  # characters, with the end
START = Path(__file__).with_name("start.safetensors")

EXPRESSION = re.compile(r"[1-9]([-+][1-9])+")


def value(expression: str) -> int | None:
    """The number that "9+5-2" makes; None for a text that is no sum or difference of two digits or more."""
    if not EXPRESSION.fullmatch(expression):
        return None
    return sum(int(term) for term in re.findall(r"[-+]?[1-9]", expression))


def reward(completions: list[str], target: list[int], **kwargs: Any) -> list[float]:
    """1 for an expression that makes the target, 0 for anything else."""
    return [float(value(text) == wanted) for text, wanted in zip(completions, target, strict=True)]


def prompts(repeats: int = 1) -> Dataset:
    """Each target once, over and over."""
    targets = list(TARGETS) * repeats
    return Dataset.from_dict({"prompt": [f"{target}=" for target in targets], "target": targets})


def tokenizer() -> PreTrainedTokenizerFast:
    return policy.tokenizer(CHARACTERS)


def untrained() -> Qwen2ForCausalLM:
    """The policy before it imitates anything."""
    return policy.untrained(
        tokenizer(),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=True,
    )


def start() -> Qwen2ForCausalLM:
    """The policy that both trainers begin with."""
    return policy.load(untrained(), START)
