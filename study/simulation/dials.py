"""``SignalDial`` for many runs at once, and remedies for it."""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels import SignalDial
from mmr_kernels.dial import averaged, opening

REWARD_WEIGHT = 0.1  # of the newest batch in the average of rewards
RISE = 0.02  # above the highest average before: a rise


class Dials:
    """One dial per run.

    Args:
        runs: S.
        highest: the most that a dial opens.
        patience: a dial is shut once its run's average reward, weight 0.1 for the newest batch, has not come to 0.02
            above its highest before for so many batches; a rise opens it again. 0: never shut.
    """

    def __init__(self, runs: int, highest: float = 1.0, patience: int = 0) -> None:
        self.dial, self.highest, self.patience = SignalDial(), highest, patience
        self.averages = torch.full((runs, 2), torch.nan, dtype=torch.float64)
        self.reward = torch.full((runs,), torch.nan)
        self.best = torch.full((runs,), -torch.inf)
        self.waited = torch.zeros(runs)

    def update(self, signal: Tensor, reward: Tensor) -> None:
        """Take in a batch of each run: its sums of T and V, (S, 2), and its mean reward, (S,)."""
        self.averages = averaged(self.averages, signal.double(), self.dial.weight)
        moved = REWARD_WEIGHT * reward + (1 - REWARD_WEIGHT) * self.reward
        self.reward = moved.where(self.reward.isfinite(), reward)
        rose = self.reward > self.best + RISE
        self.best = self.reward.where(rose, self.best)
        self.waited = (self.waited + 1).where(~rose, 0.0)

    def value(self) -> Tensor:
        """(S,) diversities."""
        opened = opening(self.averages, self.dial.threshold).clamp(max=self.highest)
        return opened.where(self.waited < self.patience, 0.0) if self.patience else opened

    def keep(self, rows: Tensor) -> None:
        """Go on with these runs only."""
        self.averages, self.reward, self.best, self.waited = (
            each[rows] for each in (self.averages, self.reward, self.best, self.waited)
        )
