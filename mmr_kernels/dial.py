"""Diversity over training: a dial that opens only where likeness does not already tell right from wrong."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmr_kernels import checks
from mmr_kernels.options import LARGEST_FLOAT32, NUMBERS, plain
from mmr_kernels.problem import MMRResult
from mmr_kernels.reference.methods import widest
from mmr_kernels.schedule import check_positive


def averaged(before: Tensor, batch: Tensor, weight: float) -> Tensor:
    """(…, 2) averages of T and V and one more batch; the first is taken as it is, one not finite moves nothing."""
    moved = (weight * batch + (1 - weight) * before).where(before.isfinite(), batch)
    return moved.where(batch.isfinite().all(-1, keepdim=True), before)


def opening(averages: Tensor, threshold: float) -> Tensor:
    """(…) float32: d = clip(1 − e / threshold, 0, 1) of (…, 2) averages; 0 where V is 0 or not known yet."""
    explained, variance = averages.unbind(-1)
    dial = 1 - explained / variance.where(variance > 0, 1.0) / threshold
    return dial.clamp(0, 1).where(variance > 0, 0.0).to(torch.float32)


class SignalDial:
    """A diversity for ``method="share"``, or "mmr" with ``first_pick="score"``, driven by the signal over batches.

    d = clip(1 − e / threshold, 0, 1), e = EMA(T) / EMA(V), where T and V are a batch's sums of ``MMRResult.signal``
    (section 7 of docs/contract.md): e is the share of the rewards' variance within groups that likeness explains. The
    first batch is taken as it is, and each later one moves the averages by ``weight``. The value goes in as
    ``diversity``, and comes from batches before::

        dial = SignalDial()
        for rewards, embeddings in batches:
            result = mmr_advantages(
                rewards, embeddings, group_size=8, method="share", diversity=dial.value, return_details=True
            )
            dial.update(result)

    All is computed in place on ``device``, where no value is read on the host, so both may stand in a CUDA graph.

    Args:
        threshold: the e from which on the dial is shut, above 0.
        weight: of the newest batch, in (0, 1].
        device: that of the rewards; torch's default.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.
    """

    def __init__(
        self, threshold: float = 0.1, weight: float = 0.02, *, device: torch.device | str | int | None = None
    ) -> None:
        self.threshold = check_positive("threshold", threshold, LARGEST_FLOAT32)
        self.weight = check_positive("weight", weight)
        nothing_yet = torch.full((2,), math.nan, device=device)
        self._averages = nothing_yet.to(widest(nothing_yet))

    @torch.no_grad()
    def update(self, result: MMRResult | Tensor) -> None:
        """Take in one batch: the details of the op, or T and V, (…, 2), of as many scopes or processes as there are.

        A batch whose T or V isn't finite, as that of a call without embeddings, moves nothing.

        Raises:
            TypeError, ValueError: no signal, or one on another device. A GPU's values are not read.
        """
        signal = result.signal if isinstance(result, MMRResult) else result
        checks.check_tensor("signal", signal)
        if not signal.dtype.is_floating_point:
            raise TypeError(f"signal must be a tensor of floats, got {signal.dtype}")
        if not signal.dim() or signal.shape[-1] != 2:
            raise ValueError(f"signal must have shape (…, 2), T and V; got {tuple(signal.shape)}")
        if signal.device != self._averages.device:
            raise ValueError(
                f"signal must be on the device of the dial, {self._averages.device}; got {signal.device}:"
                f' SignalDial(device="{signal.device}")'
            )
        if signal.is_cpu and bool((signal[..., 1] < 0).any()):
            raise ValueError(f"signal must hold V, a sum of squares, of at least 0; got {signal[..., 1].min():g}")
        batch = signal.to(self._averages.dtype).reshape(-1, 2).sum(0)
        self._averages.copy_(averaged(self._averages, batch, self.weight))

    @property
    def value(self) -> Tensor:
        """The diversity, a float32 tensor of no dimension; 0 before any batch in which rewards of a group differ."""
        return opening(self._averages, self.threshold)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: numbers, as JSON takes them; ``averages`` are read, and None before the first batch."""
        averages = self._averages.tolist()
        known = all(map(math.isfinite, averages))
        return {"threshold": self.threshold, "weight": self.weight, "averages": averages if known else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint.

        Raises:
            TypeError, ValueError: it holds no state of a dial; this one is left as it was.
        """
        if not isinstance(state, dict) or set(state) != {"threshold", "weight", "averages"}:
            raise ValueError(f"state must be a dict of threshold, weight and averages, got {state!r}")
        threshold = check_positive("threshold", state["threshold"], LARGEST_FLOAT32)
        weight = check_positive("weight", state["weight"])
        averages = state["averages"]
        if averages is not None:
            if not isinstance(averages, list | tuple) or len(averages) != 2:
                raise TypeError(f"averages must be two numbers, of T and of V, or None; got {averages!r}")
            averages = [plain(average) for average in averages]
            if any(isinstance(each, bool) or not isinstance(each, NUMBERS) for each in averages):
                raise TypeError(f"averages must be two numbers, of T and of V, or None; got {averages!r}")
            if not all(map(math.isfinite, averages)) or averages[1] < 0:
                raise ValueError(f"averages must be finite, and that of V at least 0; got {averages}")
        self.threshold, self.weight = threshold, weight
        self._averages.copy_(torch.tensor(averages or [math.nan] * 2, dtype=self._averages.dtype))
