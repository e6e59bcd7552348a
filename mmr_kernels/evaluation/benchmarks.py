"""The five benchmarks as lm-eval's tasks, from the hub or from files of the same fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from lm_eval.tasks import TaskManager

from mmr_kernels.evaluation.grader import read_gold

FOLDER = Path(__file__).parent / "tasks"
#: The folder's YAML files by their names, in the order of the paper's table.
NAMES = ("aime24", "math500", "amc23", "minerva", "olympiadbench")


class Problem(NamedTuple):
    """One problem of a task."""

    group: str  # the task's name and the problem's place in it, counted from 0
    text: str
    gold: str  # the answer, or a solution that has it


class Benchmark(NamedTuple):
    """A task, and its problems as far as the limit goes."""

    task: Any  # lm-eval's
    problems: list[Problem]


def load(names: Sequence[str], data: Path | None, limit: int | None, max_new_tokens: int) -> dict[str, Benchmark]:
    """Load the tasks by name.

    Args:
        data: a folder with NAME.jsonl for each, with the fields of the hub's dataset; None: the hub.
        limit: take so many problems of each task, its first.

    Raises:
        ValueError: a name that is none, a dataset that can't be had, a row that lacks a field, an answer that
            math-verify can't read.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(f"--tasks takes {', '.join(NAMES)}; got {name!r}")
    datasets.disable_progress_bars()  # two per file, gone in no time
    manager = TaskManager(include_path=FOLDER, include_defaults=False)
    return {name: _load(manager, name, data, limit, max_new_tokens) for name in names}


def _load(manager: TaskManager, name: str, data: Path | None, limit: int | None, max_new_tokens: int) -> Benchmark:
    changes: dict[str, Any] = {"task": name}
    source = "the Hugging Face hub; a machine without it takes --data DIR"
    if data is not None:
        source = str(data / f"{name}.jsonl")
        if not Path(source).is_file():
            raise ValueError(f"--data {data} takes {name}.jsonl there, which is missing")
        changes |= {"dataset_path": "json", "dataset_kwargs": {"data_files": {"train": source, "test": source}}}
    try:
        task = manager.load({"group": "benchmarks", "task": [changes]})["tasks"][name]
    except Exception as error:  # of the hub, of its client, of datasets, each with classes of its own
        raise ValueError(f"{name}: its problems can't be had from {source} ({' '.join(str(error).split())})") from error
    task.set_config("generation_kwargs", {"max_gen_toks": max_new_tokens}, update=True)
    target = task.config.doc_to_target
    problems = []
    for number, row in enumerate(list(task.eval_docs)[:limit]):
        place = f"{name}: problem {number}"
        text, gold = row.get("problem", row.get("question")), row.get(target)
        for field, value in (("problem", text), (target, gold)):
            if value is None or not str(value).strip():
                raise ValueError(f"{place}: takes a text in the field {field!r}; its fields are {', '.join(row)}")
        if not read_gold(str(gold)):
            raise ValueError(
                f"{place}: math-verify can't read its {target}, {str(gold)[:200]!r}; it takes LaTeX or a number"
            )
        problems.append(Problem(f"{name}/{number}", str(text), str(gold)))
    if not problems:
        raise ValueError(f"{name}: no problem, from {source}")
    return Benchmark(task, problems)
