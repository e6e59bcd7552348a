"""Many runs at once, each a row of the same tensors; a run's draws depend on its own seed alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from study.simulation import optimisers, policy
from study.simulation.arms import Arm, Dials, advantages
from study.simulation.families import PART, Family, Setting, Ways

RATE = optimisers.RATES["ascent"]  # learning rate
LENGTH = 400  # steps of a planned run; schedules take a share of it
STEPS = 2000  # where a run is cut off
BLOCK = 16  # steps whose random numbers are drawn at once
# Streams of a seed: way and reward; noise of the reward; shuffled similarity; the embedder's mistakes.
DRAWS, NOISE, SHUFFLE, MISTAKES = range(4)


class Draws:
    """Uniform numbers for each seed, from its own generators. The arms of one seed meet the same numbers."""

    def __init__(self, seeds: list[int], arm: Arm, setting: Setting) -> None:
        self.completions = setting.prompts * setting.group_size
        wanted = {DRAWS: 2}
        for stream, used in ((NOISE, setting.noise), (SHUFFLE, arm.random_similarity), (MISTAKES, setting.mistaken)):
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

    def keep(self, rows: list[int]) -> None:
        """Go on with these runs only."""
        self.streams = {
            stream: (width, [generators[row] for row in rows]) for stream, (width, generators) in self.streams.items()
        }


def rewards_of(setting: Setting, success: Tensor, ways: Tensor, chance: Tensor, noise: Tensor | None) -> Tensor:
    """(S, n) float32 rewards of completions of these ways."""
    mean = success[ways]
    rewards = mean if setting.graded else (chance < mean).to(torch.float32)
    if noise is not None:
        rewards = rewards + setting.noise * 12**0.5 * (noise - 0.5)
    return rewards


def seen_by(setting: Setting, ways: Tensor, chance: Tensor, kinds: int) -> Tensor:
    """(S, n) ways that the embedder takes completions for: with a chance of ``mistaken`` one drawn evenly."""
    drawn = (chance * (kinds / setting.mistaken)).to(ways.dtype).clamp(max=kinds - 1)
    return torch.where(chance < setting.mistaken, drawn, ways)


def draw(logits: Tensor, drawn: dict[int, Tensor], setting: Setting, success: Tensor) -> tuple[Tensor, Tensor]:
    """Ways and rewards of one step's completions, (S, n) each."""
    ways = policy.sample(logits, drawn[DRAWS][0])
    noise = drawn[NOISE][0] if NOISE in drawn else None
    return ways, rewards_of(setting, success, ways, drawn[DRAWS][1], noise)


def gradient(
    logits: Tensor,
    drawn: dict[int, Tensor],
    arm: Arm,
    setting: Setting,
    family: Ways,
    progress: float,
    dials: Dials | None = None,
) -> Tensor:
    """The policy gradient by (S, K) logits, the entropy bonus in it; no clipping, for each batch is used once."""
    ways, rewards = draw(logits, drawn, setting, family.success)
    shuffle = drawn[SHUFFLE][0] if SHUFFLE in drawn else None
    seen = seen_by(setting, ways, drawn[MISTAKES][0], logits.shape[1]) if MISTAKES in drawn else None
    found = advantages(arm, setting, ways, rewards, progress, shuffle, seen=seen, dials=dials)
    if family.weight is not None:
        found = found * family.weight[ways]
    by_logits = policy.policy_gradient(logits, ways, found)
    return by_logits + arm.entropy_bonus * policy.entropy_gradient(logits) if arm.entropy_bonus else by_logits


def steps_to_parts(
    family: Family,
    arm: Arm,
    setting: Setting,
    seeds: list[int],
    *,
    parts: tuple[float, ...] = (PART,),
    rate: float = RATE,
    steps: int = STEPS,
    length: int = LENGTH,
    optimiser: optimisers.Name = "ascent",
) -> np.ndarray:
    """The first step after which a run's expected reward is at each part of the best reachable one.

    Args:
        seeds: one run each.
        parts: rising.
        rate: learning rate.
        steps: where a run that hasn't arrived is cut off.
        length: the planned run that ``Arm.fade`` is a share of; beyond it diversity stays where it ended.

    Returns:
        (parts, S) float64, inf where the run was cut off.
    """
    arrived = np.full((len(parts), len(seeds)), np.inf)
    running = np.arange(len(seeds))
    following = optimisers.OPTIMISERS[optimiser](family.parameters().expand(len(seeds), -1).clone(), rate)
    dials = Dials(len(seeds)) if arm.dial else None
    ways = family.ways()
    exact = ways.success.to(torch.float64)
    targets = torch.tensor([[family.target(part)] for part in parts], dtype=torch.float64)

    def note(step: int) -> Tensor:
        logits = policy.logits_of(following.parameters, ways.tokens)
        there = (policy.expected_reward(logits, exact) >= targets).numpy()
        arrived[:, running] = np.where(there, np.minimum(arrived[:, running], step), arrived[:, running])
        return logits

    logits = note(0)
    draws = Draws(seeds, arm, setting)
    for start in range(0, steps, BLOCK):
        left = np.flatnonzero(np.isinf(arrived[-1, running]))
        if not len(left):
            break
        if len(left) < len(running):
            kept = torch.from_numpy(left)
            running, logits = running[left], logits[kept]
            following.keep(kept)
            draws.keep(left.tolist())
            if dials is not None:
                dials.averages = dials.averages[kept]
        block = draws.block(min(BLOCK, steps - start))
        for place in range(len(block[DRAWS])):
            step = start + place
            drawn = {stream: numbers[place] for stream, numbers in block.items()}
            by_logits = gradient(logits, drawn, arm, setting, ways, min(step / length, 1.0), dials)
            following.step(policy.of_parameters(by_logits, ways.tokens))
            logits = note(step + 1)
    return arrived


def steps_to_target(
    family: Family,
    arm: Arm,
    setting: Setting,
    seeds: list[int],
    *,
    rate: float = RATE,
    steps: int = STEPS,
    length: int = LENGTH,
) -> np.ndarray:
    """``steps_to_parts`` to the family's target by plain ascent, (S,)."""
    found: np.ndarray = steps_to_parts(family, arm, setting, seeds, rate=rate, steps=steps, length=length)[0]
    return found
