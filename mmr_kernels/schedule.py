"""λ over training: state that the op, which has none, is given from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmr_kernels import reference


def raw_lambda(
    rewards: Tensor, *, mode: str = "relative_std", temperature: float = 1.0, valid: Tensor | None = None
) -> Tensor:
    """λ of each row of rewards, before any smoothing (section 3 of docs/contract.md).

    Args:
        rewards: (B, G) for one λ per group, (N,) for one λ over the batch. A non-finite reward takes no part.
        mode: "relative_std" or "sigmoid".
        temperature: τ of "relative_std".
        valid: bool, like ``rewards``.

    Returns:
        float32, (B,) or (1,), on the device of ``rewards``; values are not read on the host.
    """
    rows = rewards.detach().to(torch.float32).reshape(-1, rewards.shape[-1])
    member = rows.isfinite() if valid is None else rows.isfinite() & valid.reshape(rows.shape)
    return reference.scope_lambda(rows, member, mode, 0.0, temperature, diversity=1.0)


class LambdaEMA:
    """Exponential moving average of λ over batches, as the released code smooths ``relative_std``.

    λ_used = α·λ + (1 − α)·λ_prev; the first λ is used as it is. The value goes in as ``lam``:

        ema = LambdaEMA()
        for rewards, embeddings in batches:
            lam = ema.update(raw_lambda(rewards, temperature=2.0))
            advantages = mmr_advantages(rewards, embeddings, group_size=8, scope="batch", lam=lam)

    Args:
        alpha: weight of the newest λ, in (0, 1]; 0.2 as released.

    Raises:
        ValueError: ``alpha`` is outside (0, 1].
    """

    def __init__(self, alpha: float = 0.2) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must lie in (0, 1], got {alpha}")
        self.alpha = alpha
        self.value: float | Tensor | None = None

    def update(self, lam: float | Tensor) -> float | Tensor:
        """Take in the λ of one batch (a float, or a tensor of one λ per scope) and return the smoothed one."""
        if isinstance(lam, Tensor):
            lam = lam.detach()
        previous = self.value
        self.value = lam if previous is None else self.alpha * lam + (1 - self.alpha) * previous
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"alpha": self.alpha, "value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.alpha, self.value = state["alpha"], state["value"]


class LinearSchedule:
    """A number that goes in a straight line from ``start`` to ``end`` over a share of training, and stays there.

        diversity = LinearSchedule(1.0, 0.0, share=0.5)
        mmr_advantages(rewards, embeddings, diversity=diversity(step / steps))

    Args:
        start: value at the start of training.
        end: value from ``share`` of training on.
        share: in (0, 1].

    Raises:
        ValueError: ``share`` is outside (0, 1].
    """

    def __init__(self, start: float, end: float, share: float = 1.0) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {share}")
        self.start, self.end, self.share = start, end, share

    def __call__(self, progress: float) -> float:
        """The value at ``progress`` through training, 0 at its start and 1 at its end."""
        way = min(max(progress, 0.0) / self.share, 1.0)
        return self.start + way * (self.end - self.start)
