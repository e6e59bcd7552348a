"""The reward function: the checker pays for completions, and counts how varied the groups were."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from study.training.problems import LONGEST_ANSWER, Family, Problem


def distinct_texts(completions: Sequence[str], group_size: int) -> float:
    """Different texts per group, the mean of the batch."""
    groups = [completions[at : at + group_size] for at in range(0, len(completions), group_size)]
    return sum(len(set(group)) for group in groups) / len(groups)


class Checker:
    """Pays for a right completion with its way's chance, drawn from the run's seed: every arm meets the same luck.

    "binary" pays 1 or 0. "graded" has the parts of the paper's recipes, format once and the length-scaled cosine twice:
    1 for a text of any way's form; 1 down to 0.5 for an accepted one and -1 up to -0.5 for another, as it grows to the
    longest. (A text without form is also a wrong one.)
    """

    def __init__(self, family: Family, grade: str, seed: int, group_size: int) -> None:
        self.__name__ = "checker"  # TRL logs the reward under it
        self.family, self.grade, self.group_size = family, grade, group_size
        self.rng = random.Random(seed)
        self.distinct: list[float] = []  # of each batch

    def __call__(
        self, completions: list[str], first: Sequence[int], second: Sequence[int], **kwargs: Any
    ) -> list[float]:
        self.distinct.append(distinct_texts(completions, self.group_size))
        return [self.reward(text, Problem(a, b)) for text, a, b in zip(completions, first, second, strict=True)]

    def reward(self, text: str, problem: Problem) -> float:
        luck = self.rng.random()  # one draw per completion, used or not
        answers = self.family.answers(problem)
        accepted = text in answers and luck < self.family.ways[answers.index(text)].pays
        if self.grade == "binary":
            return float(accepted)
        share = min(len(text) / LONGEST_ANSWER, 1.0)
        scaled = 0.25 * (1 + math.cos(math.pi * share)) + 0.5  # from 1 for a short text to 0.5
        return float(self.has_form(text)) + 2.0 * (scaled if accepted else -scaled)

    def has_form(self, text: str) -> bool:
        """Whether the text has the form of some way, right or wrong."""
        return any(way.form.fullmatch(text) for way in self.family.ways)
