"""Many runs at once, each a row of the same tensors; a run's draws depend on its own seed alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from study.simulation import policy
from study.simulation.arms import Arm, advantages
from study.simulation.families import Family, Setting

RATE = 0.3  # learning rate
LENGTH = 400  # steps of a planned run; schedules take a share of it
STEPS = 2000  # where a run is cut off
BLOCK = 16  # steps whose random numbers are drawn at once
DRAWS, NOISE, SHUFFLE = range(3)  # streams of a seed: way and reward; noise of the reward; shuffled similarity


class Draws:
    """Uniform numbers for each seed, from its own generators. The arms of one seed meet the same numbers."""

    def __init__(self, seeds: list[int], completions: int, noise: bool, shuffle: bool) -> None:
        self.completions = completions
        wanted = {DRAWS: 2} | ({NOISE: 1} if noise else {}) | ({SHUFFLE: 1} if shuffle else {})
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


def draw(logits: Tensor, drawn: dict[int, Tensor], setting: Setting, success: Tensor) -> tuple[Tensor, Tensor]:
    """Ways and rewards of one step's completions, (S, n) each."""
    ways = policy.sample(logits, drawn[DRAWS][0])
    noise = drawn[NOISE][0] if NOISE in drawn else None
    return ways, rewards_of(setting, success, ways, drawn[DRAWS][1], noise)


def one_step(
    logits: Tensor, drawn: dict[int, Tensor], arm: Arm, setting: Setting, success: Tensor, rate: float, progress: float
) -> Tensor:
    """Plain gradient ascent from (S, K) logits; no clipping, for each batch is used once."""
    ways, rewards = draw(logits, drawn, setting, success)
    shuffle = drawn[SHUFFLE][0] if SHUFFLE in drawn else None
    gradient = policy.policy_gradient(logits, ways, advantages(arm, setting, ways, rewards, progress, shuffle))
    if arm.entropy_bonus:
        gradient += arm.entropy_bonus * policy.entropy_gradient(logits)
    return logits + rate * gradient


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
    """The first step after which a run's expected reward is at the family's target.

    Args:
        seeds: one run each.
        rate: learning rate.
        steps: where a run that hasn't arrived is cut off.
        length: the planned run that ``Arm.fade`` is a share of; beyond it diversity stays where it ended.

    Returns:
        (S,) float64, inf where the run was cut off.
    """
    arrived = np.full(len(seeds), np.inf)
    running = np.arange(len(seeds))
    logits = family.logits().expand(len(seeds), -1).clone()
    success = torch.tensor(family.success, dtype=torch.float32)
    exact, target = success.to(torch.float64), family.target()
    arrived[(policy.expected_reward(logits, exact) >= target).numpy()] = 0
    draws = Draws(seeds, setting.prompts * setting.group_size, setting.noise > 0, arm.random_similarity)
    for start in range(0, steps, BLOCK):
        left = np.flatnonzero(np.isinf(arrived[running]))
        if not len(left):
            break
        if len(left) < len(running):
            running, logits = running[left], logits[left]
            draws.keep(left.tolist())
        block = draws.block(min(BLOCK, steps - start))
        for place in range(len(block[DRAWS])):
            step = start + place
            drawn = {stream: numbers[place] for stream, numbers in block.items()}
            logits = one_step(logits, drawn, arm, setting, success, rate, min(step / length, 1.0))
            there = (policy.expected_reward(logits, exact) >= target).numpy()
            arrived[running[there]] = np.minimum(arrived[running[there]], step + 1)
    return arrived
