"""Makes ``start.safetensors``: the policy after two hundred steps on right answers; about a third of its own are right.

python examples/demo/pretrain.py
"""

from __future__ import annotations

import random

import problem
import torch
from safetensors.torch import save_file
from torch.nn.functional import pad
from tqdm import trange

STEPS, BATCH, PEAK_RATE = 200, 256, 3e-3


def answer(rng: random.Random) -> str:
    """A "TARGET=EXPRESSION" that the reward calls right, of two or three digits."""
    while True:
        terms = [rng.choice("+++-") + rng.choice("123456789") for _ in range(rng.randint(2, 3))]
        text = "".join(terms)[1:]
        if problem.value(text) in problem.TARGETS:
            return f"{problem.value(text)}={text}<eos>"


def main() -> None:
    torch.manual_seed(0)
    rng = random.Random(0)
    names, model = problem.tokenizer(), problem.policy(trained=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=STEPS, pct_start=0.1)
    for _ in (bar := trange(STEPS)):
        rows = [answer(rng) for _ in range(BATCH)]
        batch = names(rows, padding=True, padding_side="right", return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        answered = pad((ids == names.convert_tokens_to_ids("=")).cumsum(1)[:, :-1], (1, 0)).bool() & mask.bool()
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~answered, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    weights = {name: weight.to(torch.float16) for name, weight in model.state_dict().items()}
    del weights["lm_head.weight"]  # it is the embedding
    save_file(weights, problem.START)


if __name__ == "__main__":
    main()
