"""λ, and numbers in a line, over training: state that the op, which has none, is given from outside."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from mmr_kernels import checks
from mmr_kernels.options import LAMBDA_MODES, NUMBERS, check, plain, quoted
from mmr_kernels.reference import methods


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
        float32, (B,) or (1,), on the device of ``rewards``; values are not read on the host. NaN for a row in which no
        reward takes part: it has no spread, and an average had better not move.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.
    """
    checks.check_rewards(rewards)
    if mode not in LAMBDA_MODES:
        raise ValueError(f"mode must be one of {quoted(LAMBDA_MODES)}; got {mode!r}")
    temperature = plain(temperature)
    check("temperature", temperature)
    rows = rewards.detach().to(torch.float32)
    member = rows.isfinite()
    if valid is not None:
        checks.check_tensor("valid", valid)
        checks.check_valid(valid, rewards)
        member = member & valid
    if rewards.dim() == 1:
        rows, member = rows.unsqueeze(0), member.unsqueeze(0)
    lam = methods.scope_lambda(rows, member, mode, 0.0, temperature).squeeze(-1)
    return lam.where(member.any(-1), math.nan)


def check_positive(name: str, value: float, highest: float = 1.0) -> float:
    """A number above 0, up to ``highest``.

    Raises:
        TypeError, ValueError: naming it, what it got and what it takes.
    """
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, NUMBERS):
        raise TypeError(f"{name} must be a float, got {type(value).__name__}")
    if not 0 < value <= highest:
        raise ValueError(f"{name} must lie in (0, {highest:g}], got {value}")
    return value


class LambdaEMA:
    """Exponential moving average of λ over batches, as the released code smooths ``relative_std``.

    λ_used = α·λ + (1 − α)·λ_prev; the first λ is used as it is. A NaN, the λ of a batch without rewards, moves nothing:
    the average stays, and 1 is used (plain GRPO) where there is none yet. The value goes in as ``lam``:

        ema = LambdaEMA()
        for rewards, embeddings in batches:
            lam = ema.update(raw_lambda(rewards, temperature=2.0))
            advantages = mmr_advantages(rewards, embeddings, group_size=8, scope="batch", lam=lam)

    Args:
        alpha: weight of the newest λ, in (0, 1]; 0.2 as released.

    Raises:
        TypeError, ValueError: ``alpha`` is outside (0, 1].
    """

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = check_positive("alpha", alpha)
        self.value: float | Tensor | None = None  # a tensor holds NaN for a scope that had no reward yet

    def update(self, lam: float | Tensor) -> float | Tensor:
        """Take in the λ of one batch (a float, or a tensor of one λ per scope) and return the smoothed one.

        Raises:
            TypeError, ValueError: no λ, or of another shape than those before. A device's values are not read.
        """
        lam = _checked("lam", lam)
        if isinstance(lam, Tensor):
            previous = torch.full_like(lam, math.nan) if self.value is None else self.value
            if not isinstance(previous, Tensor) or previous.shape != lam.shape:
                raise ValueError(f"lam must be of one shape at each call; got {tuple(lam.shape)} after {previous}")
            previous = previous.to(lam.device)  # a checkpoint may have been loaded elsewhere
            moved = self.alpha * lam + (1 - self.alpha) * previous
            self.value = moved.where(lam == lam, previous).where(previous == previous, lam)
            return self.value.where(self.value == self.value, 1.0)
        if isinstance(self.value, Tensor):
            raise ValueError(f"lam must be of one shape at each call; got a float after {self.value}")
        if lam == lam:
            self.value = lam if self.value is None else self.alpha * lam + (1 - self.alpha) * self.value
        return 1.0 if self.value is None else self.value

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"alpha": self.alpha, "value": copy.deepcopy(self.value)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint.

        Raises:
            TypeError, ValueError: it holds no state of an average; this one is left as it was.
        """
        if not isinstance(state, dict) or set(state) != {"alpha", "value"}:
            raise ValueError(f"state must be a dict of alpha and value, got {state!r}")
        alpha, value = check_positive("alpha", state["alpha"]), state["value"]
        self.alpha, self.value = alpha, None if value is None else copy.deepcopy(_checked("value", value))


def _checked(name: str, lam: float | Tensor) -> float | Tensor:
    """A λ, or NaN where there is none."""
    if isinstance(lam, Tensor):
        checks.check_tensor(name, lam)
        if not lam.dtype.is_floating_point:
            raise TypeError(f"{name} must be a float or a tensor of floats, got {lam.dtype}")
        if lam.is_cpu and bool(((lam < 0) | (lam > 1)).any()):
            raise ValueError(f"{name} must lie in [0, 1], got {lam}")
        return lam.detach()
    lam = plain(lam)
    if not isinstance(lam, float) or lam == lam:
        check("lam_value", lam, name)
    return lam


class LinearSchedule:
    """A number that goes in a straight line from ``start`` to ``end`` over a share of training, and stays there.

        diversity = LinearSchedule(1.0, 0.0, share=0.5)
        mmr_advantages(rewards, embeddings, diversity=diversity(step / steps))

    Args:
        start: value at the start of training.
        end: value from ``share`` of training on.
        share: in (0, 1].

    Raises:
        TypeError, ValueError: ``share`` is outside (0, 1].
    """

    def __init__(self, start: float, end: float, share: float = 1.0) -> None:
        self.start, self.end, self.share = start, end, check_positive("share", share)

    def __call__(self, progress: float) -> float:
        """The value at ``progress`` through training, 0 at its start and 1 at its end."""
        way = min(max(progress, 0.0) / self.share, 1.0)
        return self.start + way * (self.end - self.start)
