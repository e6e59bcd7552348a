"""The settings of the map: five numbers around one base; and cases drawn at random, over these and over more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from study.simulation.cases import Case
from study.simulation.families import WAYS, Family, Setting, rare_best

COMPLETIONS = 64  # in a step, for every group size


@dataclass(frozen=True)
class Point:
    """One setting.

    Args:
        share: of the best way at the start.
        best: its success; ``gap`` is how far the common way's lies below it.
        others: success of the six other ways, as a part of the common one's.
        common_part: share of the common way in all but the best one.
        group_size: G; a step has 64 completions in all.
        across, contrast: similarity of two ways, and how much more one way's completions are alike.
        noise: standard deviation added to the reward.
        graded: the reward is the way's success instead of 1 or 0.
    """

    share: float = 0.02
    best: float = 0.9
    gap: float = 0.5
    others: float = 0.7
    common_part: float = 0.6
    group_size: int = 8
    across: float = 0.1
    contrast: float = 0.5
    noise: float = 0.0
    graded: bool = False

    def family(self) -> Family:
        """Ways, shares and success."""
        common = max(self.best - self.gap, 0.0)
        return rare_best(self.share, self.best, common, self.others * common, self.common_part)

    def setting(self) -> Setting:
        """Groups, similarity and noise."""
        return Setting(
            COMPLETIONS // self.group_size, self.group_size, self.across + self.contrast, self.across, self.noise,
            self.graded,
        )  # fmt: skip


SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
#: The values of the field that each panel of the map varies, beside the starting share of the best way.
PANELS: dict[str, tuple[float, ...]] = {
    "gap": (0.2, 0.3, 0.4, 0.5, 0.7, 0.9),
    "others": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "group_size": (4, 8, 16, 32, 64),
    "contrast": (0.0, 0.1, 0.2, 0.3, 0.5, 0.9),
    "noise": (0.0, 0.1, 0.2, 0.4, 0.8),
}


def at(panel: str, value: float, share: float) -> Point:
    """The point of a panel."""
    return replace(Point(share=share), **{panel: value})


def points() -> list[Point]:
    """Those of the whole map; one that lies in several panels stands once."""
    every = (at(panel, value, share) for panel, values in PANELS.items() for value in values for share in SHARES)
    return list(dict.fromkeys(every))


def at_random(number: int) -> Point:
    """The random setting of this number, one that starts below its target.

    The ranges are a choice, and so is any share of settings counted over them.
    """
    draw = np.random.default_rng([number, WAYS])
    while True:
        best = draw.uniform(0.3, 1.0)
        point = Point(
            share=float(np.exp(draw.uniform(np.log(0.005), np.log(0.5)))),
            best=best,
            gap=best * draw.uniform(0.05, 1.0),
            others=draw.uniform(0.0, 1.0),
            common_part=draw.uniform(0.2, 0.9),
            group_size=int(draw.choice([4, 8, 16, 32])),
            across=draw.uniform(0.0, 0.5),
            contrast=draw.uniform(0.05, 0.5),
            noise=float(draw.choice([0.0, draw.uniform(0.0, 0.5)])),
            graded=bool(draw.uniform() < 0.25),
        )
        family = point.family()
        if np.dot(family.shares, family.success) < family.target():
            return point


MOST_WAYS, LONGEST = 16, 30  # ways, tokens


def wider_at_random(number: int) -> Case:
    """The random case of this number, one that starts below its target: no best way, common way and rest, but any ways.

    There are 3 to 16 ways with shares from a Dirichlet distribution, and each pays nothing with a chance of a half. In
    half of the cases ways share first tokens, in half they have lengths; the embedder makes mistakes in half of them.
    The ranges are a choice.
    """
    draw = np.random.default_rng([number, MOST_WAYS])
    while True:
        ways = int(draw.integers(3, MOST_WAYS + 1))
        shares = np.maximum(draw.dirichlet([draw.uniform(0.3, 2.0)] * ways), 1e-3)
        success = draw.uniform(0.0, 1.0, ways) * (draw.uniform(size=ways) < 0.5)
        success[draw.integers(ways)] = draw.uniform(0.3, 1.0)
        family = Family(
            tuple((shares / shares.sum()).tolist()),
            tuple(success.tolist()),
            tuple(draw.integers(draw.integers(2, ways + 1), size=ways).tolist()) if draw.uniform() < 0.5 else (),
            tuple(draw.integers(3, LONGEST + 1, ways).tolist()) if draw.uniform() < 0.5 else (),
        )
        size = int(draw.choice([4, 8, 16, 32]))
        across = draw.uniform(0.0, 0.5)
        setting = Setting(
            COMPLETIONS // size, size, across + draw.uniform(0.05, 0.5), across,
            noise=float(draw.choice([0.0, draw.uniform(0.0, 0.5)])), graded=bool(draw.uniform() < 0.25),
            mistaken=float(draw.choice([0.0, draw.uniform(0.0, 0.5)])),
        )  # fmt: skip
        if np.dot(family.shares, family.success) < family.target():
            return Case(family, setting)
