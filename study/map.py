"""``python -m study.map``: where MMR takes fewer steps than GRPO, and where more, as heat maps.

Goes on where an interrupted run stopped: rows already in the JSON file, made with as many seeds, are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress

from study import intervals
from study.arms import ARMS
from study.plots import heat_maps
from study.points import Point, grid
from study.running import steps_to_target
from study.simulation import save
from study.theory import known, predicted_steps

RATE = 1.0  # learning rate: a third of the table's steps, the same ratios
LENGTH = 120  # of a planned run, what diversity fades over a share of: the table's 400 at its rate of 0.3
CUT_OFF = 333
HEADLINE = 0.479  # steps saved on average, says the paper
MAPPED = ("mmr", "score", "score, fading")


def measure(point: Point, seeds: int) -> dict[str, Any]:
    """Median steps of GRPO, and each arm's ratio to it: with an interval, and as theory has it."""
    numbers = list(range(seeds))
    family, setting = point.family(), point.setting()
    names = ("grpo", *MAPPED)
    run: dict[str, Any] = {"rate": RATE, "steps": CUT_OFF, "length": LENGTH}
    steps = {name: steps_to_target(family, ARMS[name], setting, numbers, **run) for name in names}
    found: dict[str, Any] = {"grpo": intervals.of_median(steps["grpo"], CUT_OFF).row()}
    for name in MAPPED:
        ratio, low, high = intervals.of_ratio(steps[name], steps["grpo"], CUT_OFF)
        cut = int(np.isinf(steps[name]).sum())
        found[name] = {"ratio": ratio, "low": low, "high": high, "cut_off": cut}
    if known(ARMS["grpo"], setting):
        told = {name: predicted_steps([family], ARMS[name], setting, **run)[0] for name in names}
        base = min(told["grpo"], CUT_OFF)
        for name in MAPPED:
            found[name]["predicted"] = min(told[name], CUT_OFF) / max(base, 1)
    return found


def kept(path: Path | None, seeds: int) -> list[dict[str, Any]]:
    """Rows of an earlier run with as many seeds, the same rate and the same lengths."""
    if path is None or not path.exists():
        return []
    before = json.loads(path.read_text())
    same = {"seeds": f"0 to {seeds - 1}", "rate": RATE, "steps": CUT_OFF, "schedule_length": LENGTH}
    return list(before["rows"]) if all(before[name] == value for name, value in same.items()) else []


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """At how many points each arm helps and hurts, how often by the paper's headline, and how often theory says so."""
    lines = []
    for name in MAPPED:
        found = [row[name] for row in rows]
        clear = [one for one in found if (one["high"] < 1 or one["low"] > 1) and "predicted" in one]
        agree = sum((one["ratio"] < 1) == (one["predicted"] < 1) for one in clear)
        lines.append(
            f"{name}: of {len(rows)} points, fewer steps at {sum(one['high'] < 1 for one in found)}, more at "
            f"{sum(one['low'] > 1 for one in found)} (intervals clear of 1); at least 47.9 % fewer at "
            f"{sum(one['ratio'] <= 1 - HEADLINE for one in found)}; theory has the sign of {agree} of {len(clear)}"
        )
    return lines


def main(
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm at each point.")] = 64,
    quick: Annotated[bool, typer.Option("--quick", help="Every seventh point, 16 seeds.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Rows: written here, and kept from here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the heat maps to this PNG.")] = None,
) -> None:
    """Heat maps of steps with MMR over steps with GRPO."""
    torch.set_num_threads(1)
    seeds = 16 if quick else seeds
    todo = grid()[::7] if quick else grid()
    rows = kept(json_path, seeds)
    done = {(row["panel"], row["value"], row["point"]["share"]) for row in rows}
    with Progress(console=Console(stderr=True)) as progress:
        for panel, value, point in progress.track(todo, description="mapping"):
            if (panel, value, point.share) in done:
                continue
            rows.append({"panel": panel, "value": value, "point": point.row(), **measure(point, seeds)})
            if json_path:
                save(json_path, rows, seeds, rate=RATE, steps=CUT_OFF, schedule_length=LENGTH)
    print(*summary(rows), sep="\n")
    if plot:
        heat_maps(rows, MAPPED, plot)


if __name__ == "__main__":
    typer.run(main)
