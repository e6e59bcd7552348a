"""Evaluation of a policy on the held-out problems, without sampling: the chance of each way's right text."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from study.training.problems import Family, Problem


class Evaluation:
    """Texts are turned into tensors once, and evaluated at any step."""

    def __init__(self, family: Family, held_out: list[Problem], names: PreTrainedTokenizerFast) -> None:
        self.pays = torch.tensor([way.pays for way in family.paid], dtype=torch.float64)
        self.batches = []
        for way in family.paid:
            rows = [f"{problem.prompt}{way.text(problem)}<eos>" for problem in held_out]
            batch = names(rows, padding=True, padding_side="right", return_tensors="pt")
            ids, mask = batch["input_ids"], batch["attention_mask"].bool()
            prompt = len(held_out[0].prompt)  # all of one length
            answer = torch.arange(ids.shape[1]) >= prompt
            self.batches.append((ids, mask, mask & answer))

    @torch.no_grad()
    def shares(self, model: Qwen2ForCausalLM) -> Tensor:
        """(ways that pay,): the chance of the way's right text, mean over the held-out problems."""
        chances = []
        was_training = model.training
        model.eval()
        for ids, mask, answer in self.batches:
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
            log_probability = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
            chances.append(log_probability.mul(answer[:, 1:]).sum(1).exp().mean().double())
        model.train(was_training)
        return torch.stack(chances)

    def reward(self, shares: Tensor) -> float:
        """The expected reward: the checker's pay for each way, times its share."""
        return float(shares @ self.pays)
