"""The file of results, a JSON line a run, and what one run says: steps to a level, peak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from study.training.run import Run

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows so far. A last line that a killed process left half written is dropped by the next ``append``.

    Raises:
        ValueError: a line is no row; the message names it.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            rows.append(json.loads(line))
            run_of(rows[-1])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no row of a run: {error!r}") from error
    return rows


def append(path: Path, row: Row) -> None:
    """Add one run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def run_of(row: Row) -> Run:
    """Which run the row is of."""
    return Run(**{name: row[name] for name in Run._fields})


def accuracy(row: Row) -> np.ndarray:
    """Expected reward on the held-out problems, at each evaluation."""
    return np.array(row["curves"]["accuracy"])


def steps_to(row: Row, level: float) -> float:
    """The step at which the curve first reaches the level, on straight lines between evaluations; inf if never."""
    curve, steps = accuracy(row), np.array(row["curves"]["step"], dtype=float)
    if not (curve >= level).any():
        return float("inf")
    at = int(np.argmax(curve >= level))
    if at == 0:
        return 0.0
    way = (level - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(steps[at - 1] + way * (steps[at] - steps[at - 1]))
