"""Makes ``start.safetensors``: the policy after two hundred steps on right answers; about a third of its own are right.

python examples/demo/pretrain.py
"""

from __future__ import annotations

import random

import policy
import problem

STEPS, BATCH, PEAK_RATE, WEIGHT_DECAY = 200, 256, 3e-3, 0.01


def answer(rng: random.Random) -> str:
    """A "TARGET=EXPRESSION" that the reward calls right, of two or three digits."""
    while True:
        terms = [rng.choice("+++-") + rng.choice("123456789") for _ in range(rng.randint(2, 3))]
        text = "".join(terms)[1:]
        if problem.value(text) in problem.TARGETS:
            return f"{problem.value(text)}={text}"


def main() -> None:
    rng = random.Random(0)
    model = problem.untrained()

    def texts() -> list[str]:
        return [answer(rng) for _ in range(BATCH)]

    policy.imitate(model, problem.tokenizer(), texts, STEPS, PEAK_RATE, WEIGHT_DECAY)
    policy.save(model, problem.START)


if __name__ == "__main__":
    main()
