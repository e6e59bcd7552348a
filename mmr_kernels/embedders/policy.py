"""Embedder "policy": the model being trained. It needs no second model, and no text is tokenised again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def why_not() -> str | None:
    """Runs wherever there is a policy."""
    return None


def make(model: str, *, batch_size: int, max_tokens: int, policy: Callable[[], nn.Module] | None) -> PolicyEmbedder:
    """The embedder that reads the policy."""
    if policy is None:
        raise ValueError("embedder 'policy' takes the policy, a function that returns the model being trained")
    return PolicyEmbedder(policy, batch_size=batch_size, max_tokens=max_tokens)


class PolicyEmbedder:
    """Last hidden states of the policy, averaged over a completion's tokens; adapters on, dropout off, no gradient.

    The completion is read without its prompt, which all members of a group share. In a distributed run every process
    makes as many forward passes as the one that needs most, because a sharded model gathers its weights in each.

    Args:
        policy: returns the model, in whatever wrapper it is trained.
        batch_size: completions per forward pass.
        max_tokens: tokens of a completion that are read.
    """

    def __init__(self, policy: Callable[[], nn.Module], *, batch_size: int = 32, max_tokens: int = 3584) -> None:
        self.policy = policy
        self.batch_size = batch_size
        self.max_tokens = max_tokens

    @torch.no_grad()
    def embed_tokens(self, token_ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, H) float32 on the device of the ids, H the width of the model.

        Args:
            token_ids: (N, L), integers, padded anywhere with anything.
            mask: (N, L), bool or integers, 0 where padded; None: nothing is. Tokens on both sides of a masked place
                are read as neighbours.
        """
        mask = torch.ones_like(token_ids) if mask is None else (mask != 0).to(torch.int64)
        own_first = mask.argsort(dim=1, descending=True, stable=True)[:, : self.max_tokens]
        token_ids, mask = token_ids.gather(1, own_first), mask.gather(1, own_first)
        model = self.policy()
        was_training = model.training
        model.eval()
        try:
            return self._mean_states(model, token_ids, mask)
        finally:
            model.train(was_training)

    def _mean_states(self, model: nn.Module, token_ids: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(dim=1)
        order = lengths.argsort(descending=True)  # batches of like lengths hold little padding
        batches = list(torch.split(order, self.batch_size))
        rows = []
        for number in range(self._passes(len(batches), token_ids.device)):
            batch = batches[min(number, len(batches) - 1)]
            longest = max(int(lengths[batch[0]]), 1)
            ids, attention = token_ids[batch, :longest], mask[batch, :longest]
            states = _last_hidden_states(model, ids, attention).to(torch.float32)
            weights = attention.unsqueeze(2).to(torch.float32)
            means = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
            if number < len(batches):
                rows.append(means)
        return torch.cat(rows)[order.argsort()]

    @staticmethod
    def _passes(count: int, device: torch.device) -> int:
        if not dist.is_initialized():
            return count
        most = torch.tensor(count, device=device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return int(most)


def _last_hidden_states(model: nn.Module, ids: Tensor, attention: Tensor) -> Tensor:
    """(n, L, H). Caught on the way, so that the call is the one that wrappers (DDP, FSDP, PEFT) expect, and the
    states of all layers need not be kept."""
    caught: list[Tensor] = []

    def catch(module: nn.Module, args: Any, output: Any) -> None:
        caught.append(output.last_hidden_state)

    hook = _decoder(model).register_forward_hook(catch)
    try:
        model(input_ids=ids, attention_mask=attention, use_cache=False, logits_to_keep=1)
    finally:
        hook.remove()
    return caught[0][:, -ids.shape[1] :]  # after the virtual tokens that prompt tuning puts in front


def _decoder(model: nn.Module) -> nn.Module:
    """The part below the language-model head."""
    inner: Any = model
    while hasattr(inner, "module"):  # DDP, DeepSpeed
        inner = inner.module
    if hasattr(inner, "get_base_model"):  # PEFT
        inner = inner.get_base_model()
    if not hasattr(inner, "get_decoder"):
        raise TypeError(f"embedder 'policy' takes a transformers model with get_decoder, got {type(inner).__name__}")
    decoder: nn.Module = inner.get_decoder()
    return decoder
