"""Chains of sums as reasoning-gym's ``chain_sum`` draws them, and the two ways in which a start answers them.

"3+4-7+2=" may be answered "2" (direct) or "3+4=7-7=0+2=2" (worked: a term at a time). A completion is right where what
follows its last "=" is the answer, whatever stands before: no way is paid more than another. The direct answer takes
all the arithmetic at once, so that the worked one is right more often by itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, count, islice
from typing import Any, NamedTuple

from study.training.checker import distinct_texts
from study.training.problems import Family, Way

CHARACTERS = "0123456789+-="


class Sum(NamedTuple):
    """A chain of sums and differences."""

    expression: str  # "3+4-7+2"

    @property
    def prompt(self) -> str:
        return f"{self.expression}="

    @property
    def terms(self) -> list[str]:
        """Each but the first with its sign."""
        return re.findall(r"[+-]?\d+", self.expression)


def direct(problem: Sum) -> str:
    """The bare answer."""
    return str(sum(map(int, problem.terms)))


def worked(problem: Sum) -> str:
    """Term after term, with the total so far."""
    totals = list(accumulate(map(int, problem.terms)))[1:]
    steps = (f"{term}={total}" for term, total in zip(problem.terms[1:], totals, strict=True))
    return problem.terms[0] + "".join(steps)


class Chains(NamedTuple):
    """All chains of one shape, and how a start answers them."""

    name: str
    terms: int
    digits: int  # of every term
    worked_share: float  # of the texts that the start imitates last

    @property
    def longest_answer(self) -> int:
        """Tokens of a worked answer at most, its end included: a total may have a sign and a digit more than a term."""
        return self.digits + (self.terms - 1) * (2 * self.digits + 4) + 1

    @property
    def family(self) -> Family:
        """The right texts, one per way; a start that has seen no worked answers is asked for direct ones alone."""
        ways = (Way(direct, 1 - self.worked_share, pays=1.0), Way(worked, self.worked_share, pays=1.0))
        return Family(self.name, tuple(way for way in ways if way.share))

    def drawn(self, seed: int = 0) -> Iterator[Sum]:
        """The problems of ``reasoning_gym.create_dataset("chain_sum", seed=seed)`` of this shape, without end.

        Drawn anew because reasoning-gym needs a dozen packages, which are not where the GPU is;
        study/tests/test_pretrained.py holds this to the original.
        """
        low, high = 10 ** (self.digits - 1) if self.digits > 1 else 0, 10**self.digits - 1
        for place in count(seed):
            rng = random.Random(place)
            rng.randint(self.terms, self.terms), rng.randint(self.digits, self.digits)  # what it draws first
            terms = [str(rng.randint(low, high)) for _ in range(self.terms)]
            signs = [rng.choice("+-") for _ in range(self.terms - 1)]
            yield Sum(terms[0] + "".join(map("".join, zip(signs, terms[1:], strict=True))))

    def parts(self, *sizes: int) -> list[list[Sum]]:
        """Lists of problems of these sizes, no problem twice, always the same."""
        seen: set[Sum] = set()
        fresh = (problem for problem in self.drawn() if not (problem in seen or seen.add(problem)))
        return [list(islice(fresh, size)) for size in sizes]


class ExactAnswer:
    """The reward function, 1 for a right answer and 0 for any other; it counts how varied the groups were."""

    def __init__(self, group_size: int) -> None:
        self.__name__ = "exact_answer"  # TRL logs the reward under it
        self.group_size = group_size
        self.distinct: list[float] = []  # of each batch

    def __call__(self, completions: Sequence[str], expression: Sequence[str], **kwargs: Any) -> list[float]:
        self.distinct.append(distinct_texts(completions, self.group_size))
        answers = [direct(Sum(each)) for each in expression]
        return [float(text.rpartition("=")[2] == answer) for text, answer in zip(completions, answers, strict=True)]
