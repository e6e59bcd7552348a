"""``python -m study.simulation.map``: where MMR takes fewer steps than GRPO, and where more, as heat maps.

Goes on where an interrupted run stopped: rows that are in the file already, made with as many seeds, are kept.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer

from study.results_file import ResultsFile, ResultsPath, Row
from study.simulation import intervals
from study.simulation.arms import ARMS
from study.simulation.heat_maps import heat_maps
from study.simulation.points import Point, points
from study.simulation.running import steps_to_target
from study.simulation.theory import known, predicted_steps

RATE = 1.0  # learning rate: a third of the table's steps, the same ratios
LENGTH = 120  # steps of a planned run, over a share of which diversity fades: the table's 400 at its rate of 0.3
CUT_OFF = 333
HEADLINE = 0.479  # steps saved on average, says the paper
MAPPED = ("mmr", "score", "score, fading")


def measure(point: Point, seeds: int) -> Row:
    """Median steps of GRPO, and each arm's ratio to it: with an interval, and as theory has it."""
    numbers = list(range(seeds))
    family, setting = point.family(), point.setting()
    names = ("grpo", *MAPPED)
    run: dict[str, Any] = {"rate": RATE, "steps": CUT_OFF, "length": LENGTH}
    steps = {name: steps_to_target(family, ARMS[name], setting, numbers, **run) for name in names}
    found: Row = {"grpo": asdict(intervals.of_median(steps["grpo"], CUT_OFF))}
    for name in MAPPED:
        ratio, low, high = intervals.of_ratio(steps[name], steps["grpo"], CUT_OFF)
        cut = int(np.isinf(steps[name]).sum())
        found[name] = {"ratio": ratio, "low": low, "high": high, "cut_off": cut}
    if known(ARMS["grpo"], setting):
        predicted = {name: predicted_steps(family, ARMS[name], setting, **run) for name in names}
        for name in MAPPED:
            found[name]["predicted"] = predicted[name] / max(predicted["grpo"], 1)
    return found


def rows_file(path: Path | None, seeds: int) -> ResultsFile:
    """Rows of ``measure``; earlier ones are kept if they have as many seeds, the same rate and the same lengths."""
    return ResultsFile(path, ("point", "grpo"), seeds=f"0 to {seeds - 1}", rate=RATE, steps=CUT_OFF,
                       schedule_length=LENGTH)  # fmt: skip


class Counts(NamedTuple):
    """At how many points an arm helps and hurts, how often by the paper's headline, and how often theory says so."""

    points: int
    fewer: int  #: the interval of the ratio lies below 1
    more: int  #: above 1
    headline: int
    agree: int  #: of the clear points of which theory speaks, those of which it has the sign
    clear: int


def counts(rows: list[Row], name: str) -> Counts:
    """Of one arm."""
    found = [row[name] for row in rows]
    clear = [one for one in found if (one["high"] < 1 or one["low"] > 1) and "predicted" in one]
    return Counts(
        len(rows), sum(one["high"] < 1 for one in found), sum(one["low"] > 1 for one in found),
        sum(one["ratio"] <= 1 - HEADLINE for one in found),
        sum((one["ratio"] < 1) == (one["predicted"] < 1) for one in clear), len(clear),
    )  # fmt: skip


def summary(rows: list[Row]) -> list[str]:
    """The counts of each arm, as a line."""
    return [
        "{0}: of {1.points} points, fewer steps at {1.fewer}, more at {1.more} (intervals clear of 1); at least 47.9 %"
        " fewer at {1.headline}; theory has the sign of {1.agree} of {1.clear}".format(name, counts(rows, name))
        for name in MAPPED
    ]


def main(
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm at each point.")] = 64,
    quick: Annotated[bool, typer.Option("--quick", help="Every seventh point, 16 seeds.")] = False,
    results: ResultsPath = None,
    plot: Annotated[Path | None, typer.Option(help="Write the heat maps to this PNG.")] = None,
) -> None:
    """Heat maps of steps with MMR over steps with GRPO."""
    torch.set_num_threads(1)
    seeds = 16 if quick else seeds
    chosen = points()[::7] if quick else points()
    made = rows_file(results, seeds).completed(
        chosen,
        lambda row: Point(**row["point"]),
        lambda point: {"point": asdict(point), **measure(point, seeds)},
        "mapping",
    )
    rows = {Point(**row["point"]): row for row in made}
    print(*summary(list(rows.values())), sep="\n")
    if plot:
        heat_maps(rows, MAPPED, plot)


if __name__ == "__main__":
    typer.run(main)
