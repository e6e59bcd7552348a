"""The policies of 1.2 and of 25 million parameters, and how their starts are made: by imitation of both ways.

python -m study.pretrained.policy    # makes the start of the small one, start.safetensors, again
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from examples.demo import policy
from study.pretrained.problems import CHARACTERS, Chains, Sum, direct, worked

START = Path(__file__).parent / "start.safetensors"
SMALL = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 2, "num_attention_heads": 4}
LARGE = {"hidden_size": 704, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 11}
#: The starts learn both ways at first, for rare worked answers alone are not learnt in a few minutes.
FIRST_WORKED_SHARE, UNTIL = 0.5, 0.8

#: What the start of the small policy has imitated. It is trained further on either of the longer ones.
TWO, THREE, FOUR = (Chains(f"{terms} terms", terms, digits=1, worked_share=0.05) for terms in (2, 3, 4))
FAMILIES = {each.name: each for each in (THREE, FOUR)}
#: Problems to evaluate with, to train on, and to imitate; none is in two of them.
PARTS = {TWO: (0, 0, 150), THREE: (300, 1000, 2000), FOUR: (300, 2000, 20000)}
STEPS, BATCH, PEAK_RATE, WEIGHT_DECAY = 2000, 24, 2e-3, 0.01


def tokenizer() -> PreTrainedTokenizerFast:
    return policy.tokenizer(CHARACTERS)


def untrained(size: dict[str, int]) -> Qwen2ForCausalLM:
    """A policy before it imitates anything."""
    more: dict[str, Any] = {
        "num_key_value_heads": size["num_attention_heads"],
        "initializer_range": size["hidden_size"] ** -0.5,  # with the usual 0.02 it takes three times the steps
    }
    return policy.untrained(tokenizer(), max_position_embeddings=64, tie_word_embeddings=True, **more, **size)


def start() -> Qwen2ForCausalLM:
    """The small policy that every arm and seed begins with."""
    return policy.load(untrained(SMALL), START)


def texts(pools: dict[Chains, Sequence[Sum]], steps: int, batch: int) -> Iterator[list[str]]:
    """``steps`` batches to imitate, each from one pool, in turn; worked answers become rare towards the end."""
    rng = random.Random(0)
    both = [[(f"{p.prompt}{direct(p)}", f"{p.prompt}{worked(p)}") for p in problems] for problems in pools.values()]
    shares = [chains.worked_share for chains in pools]
    for step in range(steps):
        turn, left = step % len(both), max(0.0, 1 - step / (UNTIL * steps))
        share = shares[turn] + (FIRST_WORKED_SHARE - shares[turn]) * left
        yield [pair[rng.random() < share] for pair in rng.choices(both[turn], k=batch)]


def imitate(model: Qwen2ForCausalLM, pools: dict[Chains, Sequence[Sum]], steps: int, batch: int, rate: float) -> None:
    """Train the model on such batches."""
    batches = texts(pools, steps, batch)
    policy.imitate(model, tokenizer(), partial(next, batches), steps, rate, WEIGHT_DECAY)


def main() -> None:
    """Make the start of the small policy."""
    torch.set_num_threads(1)
    model = untrained(SMALL)
    imitate(model, {chains: chains.parts(*sizes)[-1] for chains, sizes in PARTS.items()}, STEPS, BATCH, PEAK_RATE)
    policy.save(model, START)


if __name__ == "__main__":
    main()
