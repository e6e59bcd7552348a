"""Additions of two-digit numbers, ways to answer them, and the families: which ways there are, how often the start
takes each, and how much the checker pays for it.

"37+48=" may be answered "85" (direct), "(70+15)=85" (worked), or, never right, "~90" (rounded), "3748"
(joined) or "37+48" (copied). The families stand for regions of the simulation's map (study/simulation.md).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

HELD_OUT = 1000
LONGEST_ANSWER = 13  # characters of "(170+18)=188" and the end


class Problem(NamedTuple):
    """Two numbers of two digits."""

    first: int
    second: int

    @property
    def prompt(self) -> str:
        return f"{self.first}+{self.second}="

    @property
    def total(self) -> int:
        return self.first + self.second


def direct(problem: Problem) -> str:
    """The bare answer."""
    return str(problem.total)


def worked(problem: Problem) -> str:
    """Sum of the tens, sum of the units, answer."""
    tens = problem.first // 10 * 10 + problem.second // 10 * 10
    return f"({tens}+{problem.first % 10 + problem.second % 10})={problem.total}"


def rounded(problem: Problem) -> str:
    """The sum of both numbers rounded to tens, which is never asked for."""
    return f"~{round(problem.first, -1) + round(problem.second, -1)}"


def joined(problem: Problem) -> str:
    """One number after the other."""
    return f"{problem.first}{problem.second}"


def copied(problem: Problem) -> str:
    """The problem."""
    return f"{problem.first}+{problem.second}"


#: The form of each way's texts, right or wrong.
FORMS = {
    direct: re.compile(r"\d+"),
    worked: re.compile(r"\(\d+\+\d+\)=\d+"),
    rounded: re.compile(r"~\d+"),
    joined: re.compile(r"\d+"),
    copied: re.compile(r"\d+\+\d+"),
}


class Way(NamedTuple):
    """A way to answer."""

    text: Callable[[Problem], str]
    share: float  # of the texts that the start imitates
    pays: float  # the chance that the checker accepts a right answer given this way

    @property
    def name(self) -> str:
        return self.text.__name__

    @property
    def form(self) -> re.Pattern[str]:
        return FORMS[self.text]


class Family(NamedTuple):
    """Problems with one set of ways."""

    name: str
    ways: tuple[Way, ...]

    @property
    def paid(self) -> list[Way]:
        """The ways that pay."""
        return [way for way in self.ways if way.pays > 0]

    def answers(self, problem: Problem) -> list[str]:
        """The right text of each way."""
        return [way.text(problem) for way in self.ways]

    def imitated(self, problem: Problem, rng: random.Random) -> str:
        """A text for the start to imitate."""
        (way,) = rng.choices(self.ways, [way.share for way in self.ways])
        return way.text(problem)


#: A rare way always pays, beside a common one that a flaky checker accepts two times of five.
HIDDEN = Family("hidden", (Way(direct, share=0.97, pays=0.4), Way(worked, share=0.03, pays=1.0)))
#: The same two ways among errors, which plain GRPO drives out first, and the rare way with them.
CROWDED = Family(
    "crowded",
    (
        Way(direct, share=0.50, pays=0.4),
        Way(worked, share=0.05, pays=1.0),
        *(Way(text, share=0.15, pays=0.0) for text in (rounded, joined, copied)),
    ),
)
#: Every right completion of a problem is the same short string, among three kinds of errors.
SINGLE = Family(
    "single",
    (
        Way(direct, share=0.20, pays=1.0),
        Way(rounded, share=0.30, pays=0.0),
        *(Way(text, share=0.25, pays=0.0) for text in (joined, copied)),
    ),
)
FAMILIES = {family.name: family for family in (HIDDEN, CROWDED, SINGLE)}


def problems() -> tuple[list[Problem], list[Problem]]:
    """Those to train on and the held-out ones, always the same split."""
    everything = [Problem(first, second) for first in range(10, 100) for second in range(10, 100)]
    random.Random(0).shuffle(everything)
    return everything[HELD_OUT:], everything[:HELD_OUT]
