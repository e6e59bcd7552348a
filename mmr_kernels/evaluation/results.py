"""From graded samples to what is reported: one record per model, and what differs between two.

A record has a row per problem, from which everything else is computed, so two saved ones are compared as two models
of one run are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmr_kernels.bench.record import record
from mmr_kernels.evaluation.measures import Interval, distinct_answers, interval, mean_similarity, pass_at_k, powers

if TYPE_CHECKING:
    from mmr_kernels.evaluation.samples import Row

OVERALL = "mean over tasks"
#: Settings in which two records may differ and still be compared.
FREE = ("model", "backend", "seed", "data")

Measures = dict[str, np.ndarray]  # each (problems,)


class Difference(NamedTuple):
    """Of a second model from a first one, on the same problems of one task or of all."""

    measures: dict[str, Interval]
    gained: int  # problems with more than half of the samples right with the second alone
    lost: int  # with the first alone


def make(settings: dict[str, Any], samples: Sequence[Row]) -> dict[str, Any]:
    """The record of a model from its graded samples, all samples of a problem together."""
    rows = []
    for group, members in groupby(samples, lambda row: row["group"]):
        of_one = list(members)
        correct = [row["reward"] == 1 for row in of_one]
        completions = [row["completion"] for row in of_one]
        rows.append(
            {
                "task": group.partition("/")[0],
                "problem": hashlib.sha256(f"{of_one[0]['problem']}\n{of_one[0]['gold']}".encode()).hexdigest()[:16],
                "correct": [int(right) for right in correct],
                "truncated": sum(row["truncated"] for row in of_one),
                "distinct": distinct_answers(correct, [row["answer"] for row in of_one]),
                "similarity": mean_similarity(completions) if len(completions) > 1 else None,
            }
        )
    made = record("lm-eval", "math-verify", "transformers", settings=settings, problems=rows)
    means = {task: {name: value._asdict() for name, value in found.items()} for task, found in summary(made).items()}
    return made | {"summary": json.loads(json.dumps(means).replace("NaN", "null"))}


def read(path: Path) -> dict[str, Any]:
    """A saved record.

    Raises:
        OSError, ValueError: it can't be read, or is none.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        str(found["settings"]["model"]), found["problems"][0], measures(found)
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{path} has no results; --compare takes two files results.json") from error
    return found


def measures(found: dict[str, Any]) -> dict[str, Measures]:
    """What is measured on each problem, by task."""
    by_task = {}
    samples = found["settings"]["samples"]
    for task, members in groupby(found["problems"], lambda row: row["task"]):
        rows = list(members)
        correct = np.array([row["correct"] for row in rows])
        by_task[task] = {
            f"avg@{samples}": correct.mean(1),
            **{f"pass@{k}": pass_at_k(correct.sum(1), samples, k) for k in powers(samples)},
            "truncated": np.array([row["truncated"] for row in rows]) / samples,
            "distinct": np.array([row["distinct"] for row in rows], float),
            "similarity": np.array([row["similarity"] for row in rows], float),
        }
    return by_task


def summary(found: dict[str, Any]) -> dict[str, dict[str, Interval]]:
    """By task, and over all where there are two or more: each measure's mean with its interval."""
    return _intervals(measures(found))


def difference(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Difference]:
    """Second minus first, by task and over all.

    Raises:
        ValueError: the two are of other problems, or of other settings than ``FREE`` ones.
    """
    for name in first["settings"].keys() | second["settings"].keys():
        one, other = first["settings"].get(name), second["settings"].get(name)
        if name not in FREE and one != other:
            raise ValueError(f"models are compared under the same settings; {name} is {one!r} and {other!r}")
    ids = [[(row["task"], row["problem"]) for row in found["problems"]] for found in (first, second)]
    if ids[0] != ids[1]:
        one, other = (f"{len(each)} of {', '.join(dict.fromkeys(task for task, _ in each))}" for each in ids)
        raise ValueError(f"models are compared on the same problems; got {one}, and {other}, which are others")
    ones, others = measures(first), measures(second)
    differences = {task: {name: others[task][name] - ones[task][name] for name in ones[task]} for task in ones}
    average = f"avg@{first['settings']['samples']}"
    flips = {task: (others[task][average] > 0.5).astype(int) - (ones[task][average] > 0.5) for task in ones}
    flips[OVERALL] = np.concatenate(list(flips.values()))
    return {
        task: Difference(found, int((flips[task] > 0).sum()), int((flips[task] < 0).sum()))
        for task, found in _intervals(differences).items()
    }


def _intervals(by_task: dict[str, Measures]) -> dict[str, dict[str, Interval]]:
    found = {task: {name: interval([values]) for name, values in of.items()} for task, of in by_task.items()}
    if len(by_task) > 1:
        names = next(iter(by_task.values()))
        found[OVERALL] = {name: interval([of[name] for of in by_task.values()]) for name in names}
    return found
