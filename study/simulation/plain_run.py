"""What a plain run shows of its first steps: the signal, and how far the reward has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from study.simulation import optimisers, policy
from study.simulation.arms import Arm
from study.simulation.cases import Case, Cases
from study.simulation.dials import Dials
from study.simulation.running import Draws, gradient

LOGGED = 40  # steps


class Look(NamedTuple):
    """At one setting, over all of its runs."""

    signal: float  #: e of the averages that a ``SignalDial`` has of the batches so far
    gained: float  #: (r − r₀) / (1 − r₀), of the expected reward: the part of the room to 1


def looks(cases: Sequence[Case], seeds: Sequence[int], *, rate: float, optimiser: optimisers.Name) -> list[Look]:
    """After ``LOGGED`` steps of plain GRPO.

    Args:
        cases: all with groups of one size and number.
        seeds: of each case one run each.
        rate: learning rate.
    """
    met, arm = Cases.of(cases, len(seeds)), Arm(method="none", dial=True)
    following, dials = optimisers.OPTIMISERS[optimiser](met.parameters, rate), Dials(len(met.parameters))
    block, seed = Draws(seeds, arm, met).block(LOGGED), torch.arange(len(seeds)).repeat(len(cases))
    before = policy.expected_reward(met.logits(following.parameters), met.success)
    for step in range(LOGGED):
        drawn = {stream: numbers[step][:, seed] for stream, numbers in block.items()}
        by_logits = gradient(met.logits(following.parameters), drawn, arm, met, 0.0, dials)
        following.step(met.by_parameters(by_logits))
    after = policy.expected_reward(met.logits(following.parameters), met.success)
    explained, variance = dials.averages.view(len(cases), -1, 2).sum(1).unbind(1)
    before, after = (each.view(len(cases), -1).mean(1) for each in (before, after))
    both = (explained / variance).tolist(), ((after - before) / (1 - before)).tolist()
    return [Look(round(signal, 4), round(gained, 4)) for signal, gained in zip(*both, strict=True)]
