"""Tables of records on the screen."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmr_kernels.cli.terminal import printable
from mmr_kernels.evaluation.measures import LEVEL, Interval
from mmr_kernels.evaluation.results import Difference, summary


def print_record(found: dict[str, Any]) -> None:
    """One row per task."""
    counts = Counter(row["task"] for row in found["problems"])
    rows = {task: (f"{counts.get(task, counts.total()):,} problems", means) for task, means in summary(found).items()}
    _print(found["settings"]["model"], found["settings"]["samples"], rows, "")


def print_difference(first: dict[str, Any], second: dict[str, Any], found: dict[str, Difference]) -> None:
    """One row per task: the second model's measures minus the first one's, and the problems that flip."""
    rows = {task: (f"{each.gained:,} gained, {each.lost:,} lost", each.measures) for task, each in found.items()}
    title = f"{second['settings']['model']} minus {first['settings']['model']}, problem by problem"
    _print(title, first["settings"]["samples"], rows, "+")


def _print(title: str, samples: int, rows: dict[str, tuple[str, dict[str, Interval]]], sign: str) -> None:
    names = dict.fromkeys((f"avg@{samples}", f"pass@{samples}", "truncated", "distinct", "similarity"))
    caption = f"Below each mean: its {LEVEL:.0%} interval over problems."
    # As Text, in which no bracket is markup, for a model or a task may be called anything.
    table = Table("", title=Text(printable(title)), caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 1, 0))
    table.columns[0].no_wrap = True
    for name in names:
        table.add_column(name, justify="right")
    for task, (below, means) in rows.items():
        table.add_row(Text(f"{printable(task)}\n{below}"), *(_text(means[name], sign) for name in names))
    Console().print(table)


def _text(value: Interval, sign: str) -> str:
    if math.isnan(value.mean):
        return "–"
    ends = "–" if math.isnan(value.low) else f"{value.low:z.2f}, {value.high:z.2f}"
    return f"{value.mean:{sign}z.3f}\n{ends}"
