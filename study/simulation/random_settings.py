"""``python -m study.simulation.random_settings``: how often each method helps and hurts.

Over the settings of ``advice.py``, with its rate of 1 and its cut-off at 333 steps, and by Adam; then over cases of
more kinds. Goes on where an interrupted run stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer

from study.results_file import ResultsFile, Row
from study.simulation import intervals
from study.simulation.cases import Case
from study.simulation.map import CUT_OFF, RATE
from study.simulation.methods import KNOWN
from study.simulation.optimisers import OPTIMISERS, RATES, Name
from study.simulation.plain_run import looks
from study.simulation.points import at_random, wider_at_random
from study.simulation.running import steps_of

RESULTS, QUICK = Path("study/results/random-settings.jsonl"), Path("runs/study-quick/random-settings.jsonl")
SETTINGS, SEEDS = 300, 16  # of each kind; runs of each arm in each
TOGETHER = 60  # settings that run as one
#: The rate of ``advice.py`` for ascent; for Adam as much more than that of ``methods.py``.
RANDOM_RATES: dict[Name, float] = {"ascent": RATE, "adam": RATE / RATES["ascent"] * RATES["adam"]}


def eight_ways(number: int) -> Case:
    """A setting of ``advice.py``."""
    point = at_random(number)
    return Case(point.family(), point.setting())


KINDS: dict[str, Callable[[int], Case]] = {"eight ways": eight_ways, "3 to 16 ways": wider_at_random}


class Key(NamedTuple):
    """What a row is of."""

    kind: str
    number: int

    def case(self) -> Case:
        """The setting itself."""
        return KINDS[self.kind](self.number)


class Ratio(NamedTuple):
    """An arm's median steps over plain GRPO's, as rows have it."""

    ratio: float
    low: float
    high: float
    cut_off: int  #: runs of the arm that did not arrive


def measure(keys: Sequence[Key], seeds: int) -> Iterator[Row]:
    """Rows: by optimiser, median steps of GRPO, the ``Ratio`` of each arm, a ``Look``."""
    alike: dict[int, list[Key]] = {}
    for key in keys:
        alike.setdefault(key.case().setting.group_size, []).append(key)
    for some in alike.values():
        yield from of_one_size(some, seeds)


def of_one_size(keys: Sequence[Key], seeds: int) -> Iterator[Row]:
    """Rows of settings of one group size, run as one."""
    cases = [key.case() for key in keys]
    found: list[Row] = [{name: {} for name in OPTIMISERS} for _ in keys]
    for optimiser in OPTIMISERS:
        base = None
        for name, arm in KNOWN.items():
            steps = steps_of(
                cases, arm, range(seeds), rate=RANDOM_RATES[optimiser], steps=CUT_OFF, optimiser=optimiser
            )[:, 0]
            base = steps if base is None else base
            for row, own, plain in zip(found, steps, base, strict=True):
                row[optimiser][name] = ratio(own, plain) if base is not steps else asdict(
                    intervals.of_median(plain, CUT_OFF)
                )  # fmt: skip
        rate = RANDOM_RATES[optimiser]
        for row, look in zip(found, looks(cases, range(seeds), rate=rate, optimiser=optimiser), strict=True):
            row[optimiser]["plain run"] = look
    for key, case, row in zip(keys, cases, found, strict=True):
        yield key._asdict() | {"family": asdict(case.family), "setting": asdict(case.setting)} | row


def ratio(steps: np.ndarray, plain: np.ndarray) -> Ratio:
    """Of one setting."""
    found = intervals.of_ratio(steps, plain, CUT_OFF)
    return Ratio(*(round(each, 4) for each in found), int(np.isinf(steps).sum()))


def batches(settings: int) -> list[list[Key]]:
    """Settings in the order of their numbers, some of either kind before more of any."""
    return [[Key(kind, number) for number in range(start, min(start + TOGETHER, settings))]
            for start in range(0, settings, TOGETHER) for kind in KINDS]  # fmt: skip


def without_gaps(rows: list[Row]) -> list[Row]:
    """Of either kind the settings up to the first that is missing: what is done first says nothing of a setting."""
    found = []
    for kind in KINDS:
        numbered = {row["number"]: row for row in rows if row["kind"] == kind}
        found += [numbered[number] for number in itertools.takewhile(numbered.__contains__, itertools.count())]
    return found


def run(path: Path | None, settings: int, seeds: int) -> list[Row]:
    """All rows, those of the file first if they have as many seeds, the same rates and the same cut-off."""
    fields = (*Key._fields, *OPTIMISERS)
    file = ResultsFile(path, fields, seeds=f"0 to {seeds - 1}", rates=RANDOM_RATES, cut_off=CUT_OFF)
    return file.completed_batches(
        batches(settings), lambda row: Key(row["kind"], row["number"]), lambda keys: measure(keys, seeds),
        "random settings",
    )  # fmt: skip


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="Two settings of each kind, four seeds, under runs/study-quick.")
    ] = False,
) -> None:
    """Run every method on 300 random settings of each kind; rows go to study/results/random-settings.jsonl."""
    torch.set_num_threads(1)
    if quick:
        run(QUICK, 2, 4)
    else:
        run(RESULTS, SETTINGS, SEEDS)


if __name__ == "__main__":
    typer.run(main)
