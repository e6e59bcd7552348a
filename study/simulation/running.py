"""Many runs of many cases at once, each a row of the same tensors; a run's draws depend on its own seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from study.simulation import optimisers, policy
from study.simulation.arms import Arm, advantages
from study.simulation.cases import Case, Cases
from study.simulation.dials import Dials
from study.simulation.families import PART, Family, Setting

RATE = optimisers.RATES["ascent"]  # learning rate
LENGTH = 400  # steps of a planned run; schedules take a share of it
STEPS = 2000  # where a run is cut off
BLOCK = 16  # steps whose random numbers are drawn at once
# Streams of a seed: way and reward; noise of the reward; shuffled similarity; the embedder's mistakes.
DRAWS, NOISE, SHUFFLE, MISTAKES = range(4)
TINY = 1e-30  # in place of a chance of 0 that is divided by


class Draws:
    """Uniform numbers for each seed, from its own generators. The arms and cases of one seed meet the same numbers."""

    def __init__(self, seeds: Sequence[int], arm: Arm, cases: Cases) -> None:
        self.completions = cases.prompts * cases.group_size
        wanted = {DRAWS: 2}
        for stream, used in (
            (NOISE, cases.noise.any()), (SHUFFLE, arm.random_similarity), (MISTAKES, cases.mistaken.any()),
        ):  # fmt: skip
            if used:
                wanted[stream] = 1
        self.streams = {
            stream: (width, [np.random.default_rng([seed, stream]) for seed in seeds])
            for stream, width in wanted.items()
        }

    def block(self, steps: int) -> dict[int, Tensor]:
        """For each stream (steps, width, S, completions), float32."""
        drawn = {}
        for stream, (width, generators) in self.streams.items():
            shape = (steps, width, self.completions)
            numbers = np.stack([each.random(shape, dtype=np.float32) for each in generators], axis=2)
            drawn[stream] = torch.from_numpy(numbers)
        return drawn


def seen_by(cases: Cases, ways: Tensor, chance: Tensor) -> Tensor:
    """(R, n) ways that the embedder takes completions for: with a chance of ``mistaken`` one drawn evenly."""
    mistaken, kinds = cases.mistaken.unsqueeze(1), cases.kinds.unsqueeze(1)
    drawn = (chance * kinds / mistaken.clamp(min=TINY)).clamp(max=kinds - 1).to(ways.dtype)
    return torch.where(chance < mistaken, drawn, ways)


def draw(logits: Tensor, drawn: dict[int, Tensor], cases: Cases) -> tuple[Tensor, Tensor]:
    """Ways and rewards of one step's completions, (R, n) each; ``drawn`` has (width, R, n) uniforms per stream."""
    ways = policy.sample(logits, drawn[DRAWS][0])
    mean = cases.success.gather(1, ways)
    right = (drawn[DRAWS][1] < mean).to(torch.float32)
    rewards = torch.where(cases.graded.unsqueeze(1), mean, right)
    if NOISE in drawn:
        rewards = rewards + cases.noise.unsqueeze(1) * 12**0.5 * (drawn[NOISE][0] - 0.5)
    return ways, rewards


def gradient(
    logits: Tensor, drawn: dict[int, Tensor], arm: Arm, cases: Cases, progress: float, dials: Dials | None = None
) -> Tensor:
    """The policy gradient by (R, K) logits, the entropy bonus in it; no clipping, for each batch is used once."""
    ways, rewards = draw(logits, drawn, cases)
    shuffle = drawn[SHUFFLE][0] if SHUFFLE in drawn else None
    seen = seen_by(cases, ways, drawn[MISTAKES][0]) if MISTAKES in drawn else None
    found = advantages(arm, cases, ways, rewards, progress, shuffle, seen=seen, dials=dials)
    by_logits = policy.policy_gradient(logits, ways, found * cases.counts.gather(1, ways))
    return by_logits + arm.entropy_bonus * policy.entropy_gradient(logits) if arm.entropy_bonus else by_logits


def steps_of(
    cases: Sequence[Case],
    arm: Arm,
    seeds: Sequence[int],
    *,
    parts: tuple[float, ...] = (PART,),
    rate: float = RATE,
    steps: int = STEPS,
    length: int = LENGTH,
    optimiser: optimisers.Name = "ascent",
) -> np.ndarray:
    """The first step after which a run's expected reward is at each part of the best reachable one.

    Args:
        cases: all with groups of one size and number.
        seeds: of each case one run each.
        parts: rising.
        rate: learning rate.
        steps: where a run that hasn't arrived is cut off.
        length: the planned run that ``Arm.fade`` is a share of; beyond it diversity stays where it ended.

    Returns:
        (cases, parts, S) float64, inf where the run was cut off.
    """
    met = Cases.of(cases, len(seeds))
    following = optimisers.OPTIMISERS[optimiser](met.parameters, rate)
    dials = Dials(len(met.parameters), arm.highest, arm.patience) if arm.dial else None
    targets = torch.tensor([[family.target(part) for family, _ in cases] for part in parts], dtype=torch.float64)
    targets = targets.repeat_interleave(len(seeds), 1)
    arrived = np.full(targets.shape, np.inf)
    running, seed = np.arange(arrived.shape[1]), torch.arange(len(seeds)).repeat(len(cases))

    def note(step: int) -> Tensor:
        logits = met.logits(following.parameters)
        there = (policy.expected_reward(logits, met.success) >= targets[:, running]).numpy()
        arrived[:, running] = np.where(there, np.minimum(arrived[:, running], step), arrived[:, running])
        return logits

    logits = note(0)
    draws = Draws(seeds, arm, met)
    for start in range(0, steps, BLOCK):
        left = np.flatnonzero(np.isinf(arrived[-1, running]))
        if not len(left):
            break
        if len(left) < len(running):
            kept = torch.from_numpy(left)
            running, seed, logits, met = running[left], seed[kept], logits[kept], met.rows(kept)
            following.keep(kept)
            if dials is not None:
                dials.keep(kept)
        block = draws.block(min(BLOCK, steps - start))
        for place in range(len(block[DRAWS])):
            step = start + place
            drawn = {stream: numbers[place][:, seed] for stream, numbers in block.items()}
            by_logits = gradient(logits, drawn, arm, met, min(step / length, 1.0), dials)
            following.step(met.by_parameters(by_logits))
            logits = note(step + 1)
    return arrived.reshape(len(parts), len(cases), len(seeds)).swapaxes(0, 1)


def steps_to_target(
    family: Family,
    arm: Arm,
    setting: Setting,
    seeds: Sequence[int],
    *,
    rate: float = RATE,
    steps: int = STEPS,
    length: int = LENGTH,
) -> np.ndarray:
    """``steps_of`` one case, to the family's target by plain ascent, (S,)."""
    found: np.ndarray = steps_of([Case(family, setting)], arm, seeds, rate=rate, steps=steps, length=length)[0, 0]
    return found
