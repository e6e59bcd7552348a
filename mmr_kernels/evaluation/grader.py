"""Whether a completion's final answer is the problem's, by math-verify.

Settings are those of the release's lighteval tasks (docs/eval.md): boxed answers first, numbers equal to 5 places.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as GradingTimeout
from typing import Any, NamedTuple

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

_LATEX = LatexExtractionConfig(boxed_match_priority=0)
_PLACES = 5
#: 4.5e33, in which math-verify would see Euler's number.
_SCIENTIFIC = re.compile(r"(?<![\w\\.])(\d+(?:\.\d*)?)[eE]([+-]?\d+)(?![\w^])")
#: Seconds for one completion. math-verify stops itself after 5 for each step, unless it is inside C code then, as in
#: the power of two huge integers: only ending its process ends that.
HARD_LIMIT = 30
#: Bytes that a grading process may take: such a power would take all there are.
MEMORY = 4 << 30


class Grade(NamedTuple):
    """Of one completion."""

    correct: bool
    answer: str | None  # as math-verify reads it; None: it reads none


def read_gold(gold: str) -> list[Any]:
    """What math-verify reads in a problem's answer: a solution in which it is boxed or set in LaTeX, or the bare
    expression. Empty where it can read nothing."""
    in_text = "\\boxed" in gold or re.search(r"(?<!\\)\$", gold)
    read: list[Any] = parse(_readable(gold if in_text else f"\\boxed{{{gold}}}"), [_LATEX])
    return read


def grade(gold: str, completion: str) -> Grade:
    """Grade what follows the last ``</think>``, or the whole completion where there is none."""
    read = parse(_readable(completion.rpartition("</think>")[2]), [ExprExtractionConfig(), _LATEX])
    correct = bool(verify(read_gold(gold), read, float_rounding=_PLACES, allow_set_relation_comp=True))
    return Grade(correct, str(read[0]) if read else None)


def grade_all(pairs: Sequence[tuple[str, str]], advance: Callable[[], object]) -> list[Grade]:
    """Grade (gold, completion) pairs in processes of their own; one that hangs or breaks its process has no answer.

    ``advance`` is called after each.
    """
    from pebble import ProcessExpired, ProcessPool

    grades = []
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's and vLLM's threads
    with ProcessPool(max(min(os.cpu_count() or 1, len(pairs)), 1), initializer=_limit_memory, context=context) as pool:
        results = pool.map(grade, *zip(*pairs, strict=True), timeout=HARD_LIMIT).result()
        for _ in pairs:
            try:
                grades.append(next(results))
            except (GradingTimeout, ProcessExpired, MemoryError):
                grades.append(Grade(False, None))
            advance()
    return grades


def _readable(text: str) -> str:
    return _SCIENTIFIC.sub(r"\1*10^(\2)", text)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
