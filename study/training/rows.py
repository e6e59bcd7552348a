"""A run and its row in the file of results: which run it is, its accuracy, its steps to a level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from study.results_file import ResultsFile, Row

RESULTS = Path("study/results/training-runs.jsonl")


class Run(NamedTuple):
    """The fields that tell one run from another."""

    family: str
    loss: str
    arm: str
    learning_rate: float
    seed: int
    steps: int
    prompts_per_step: int
    until: float | None = None  # the run ends at the evaluation whose accuracy comes to it


def results_file(path: Path, packages: Sequence[str] = ("trl", "transformers")) -> ResultsFile:
    """One row per run; ``packages``: those whose versions the file states besides."""
    needed = tuple(name for name in Run._fields if name not in Run._field_defaults)
    return ResultsFile(path, fields=needed, packages=packages)


def run_of(row: Row) -> Run:
    """Which run the row is of."""
    return Run(**{name: row[name] for name in Run._fields if name in row})


def missing(runs: Sequence[Run], rows: Sequence[Row]) -> list[Run]:
    """Those that have no row."""
    done = set(map(run_of, rows))
    return [run for run in runs if run not in done]


def accuracy(row: Row) -> np.ndarray:
    """Expected reward on the held-out problems, at each evaluation."""
    return np.array(row["curves"]["accuracy"])


def steps_to(row: Row, level: float) -> float:
    """The step at which the curve first reaches the level, on straight lines between evaluations; inf if never."""
    curve, steps = accuracy(row), np.array(row["curves"]["step"], dtype=float)
    if not (curve >= level).any():
        return float("inf")
    at = int(np.argmax(curve >= level))
    return float(np.interp(level, curve[at - 1 : at + 1], steps[at - 1 : at + 1])) if at else 0.0
