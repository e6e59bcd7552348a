"""How parameters follow a gradient: plain ascent, or Adam. The rows of the parameters are runs of their own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Name = Literal["ascent", "adam"]
#: Learning rates. Adam's is one at which plain GRPO takes about as many steps as ascent does: study/simulation.md.
RATES: dict[Name, float] = {"ascent": 0.3, "adam": 0.03}


class Ascent:
    """Parameters, (S, n), plus ``rate`` times the gradient."""

    def __init__(self, parameters: Tensor, rate: float) -> None:
        self.parameters, self.rate = parameters, rate

    def step(self, gradient: Tensor) -> None:
        """Follow a gradient, (S, n), upwards."""
        self.parameters = self.parameters + self.rate * gradient

    def keep(self, rows: Tensor) -> None:
        """Go on with these runs only."""
        self.parameters = self.parameters[rows]


class Adam:
    """The same by ``torch.optim.Adam``, with its default moments (Kingma & Ba, arXiv 1412.6980)."""

    def __init__(self, parameters: Tensor, rate: float) -> None:
        self.parameters = parameters.clone()
        self.optimiser = torch.optim.Adam([self.parameters], lr=rate, maximize=True, foreach=False)

    def step(self, gradient: Tensor) -> None:
        """Follow a gradient, (S, n), upwards."""
        self.parameters.grad = gradient
        self.optimiser.step()

    def keep(self, rows: Tensor) -> None:
        """Go on with these runs only."""
        before, moments = self.parameters, self.optimiser.state[self.parameters]
        self.parameters = before[rows]
        self.optimiser.param_groups[0]["params"] = [self.parameters]
        del self.optimiser.state[before]
        # The count of steps, alone without a dimension, is one for all runs.
        self.optimiser.state[self.parameters] = {
            name: value[rows] if value.dim() else value for name, value in moments.items()
        }


OPTIMISERS: dict[Name, type[Ascent] | type[Adam]] = {"ascent": Ascent, "adam": Adam}
