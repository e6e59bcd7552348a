"""A problem with many right answers: make a number from single digits, as in "12=9+5-2" or "12=3+3+6".

The policy is a Qwen2 of some 300,000 parameters over single characters; ``pretrain.py`` made its start.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

CHARACTERS = "0123456789+-="
TARGETS = range(3, 19)
LONGEST_ANSWER = 8  # characters, with the end
START = __file__.replace("problem.py", "start.safetensors")

EXPRESSION = re.compile(r"[1-9]([-+][1-9])+")


def value(expression: str) -> int | None:
    """What "9+5-2" makes; None for what is no sum or difference of two digits or more."""
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
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", *CHARACTERS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def policy(trained: bool = True) -> Qwen2ForCausalLM:
    """The policy at its start, or untrained."""
    names = tokenizer()
    config = Qwen2Config(
        vocab_size=len(names),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=names.pad_token_id,
        eos_token_id=names.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config)
    if trained:
        weights = {name: weight.to(torch.float32) for name, weight in load_file(START).items()}
        model.load_state_dict(weights, strict=False)  # the head is the embedding, and stored once
    return model
