"""Run the study, over as many processes as asked for; a run whose row is there already is not run again.

python -m study.training.study pilots    # chooses each arm's learning rate
python -m study.training.study study
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Literal

import typer
from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.training import plan, results
from study.training.run import Run, train

RESULTS = Path("study/results/training-runs.jsonl")


def runs_of(part: str, rows: list[results.Row]) -> list[Run]:
    """Those of the part that have no row yet."""
    if part == "study" and not set(plan.pilots()) <= {results.run_of(row) for row in rows}:
        raise typer.BadParameter("the study takes its learning rates from the pilots: run `pilots` to their end first")
    runs = {"pilots": plan.pilots, "quick": plan.quick, "study": lambda: plan.study(rows)}[part]()
    done = {results.run_of(row) for row in rows}
    return [run for run in runs if run not in done]


def main(
    part: Annotated[Literal["pilots", "study", "quick"], typer.Argument(help="Which runs.")],
    results_path: Annotated[Path, typer.Option("--results", help="A JSON line a run, added to.")] = RESULTS,
    workers: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 2,
) -> None:
    """Run what is missing, with a bar that says how long it still takes."""
    results_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{results_path}.lock", timeout=0):
            _run(part, results_path, workers)
    except Timeout:
        raise typer.BadParameter(f"another study is writing {results_path}") from None


def _run(part: str, results_path: Path, workers: int) -> None:
    runs = runs_of(part, results.read(results_path))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    context = multiprocessing.get_context("spawn")
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[last]}")) as progress:
        task = progress.add_task("training", total=len(runs), last="")
        with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
            try:
                for future in as_completed([pool.submit(train, run) for run in runs]):
                    row = future.result()
                    results.append(results_path, row)
                    progress.update(task, advance=1, last=f"{row['arm']}: {row['curves']['accuracy'][-1]:.3f}")
            except BaseException:  # a run failed, or Ctrl-C: what is queued would be trained for nothing
                pool.shutdown(cancel_futures=True)
                raise


def _end_with_parent() -> None:
    """A worker whose study was killed would wait for work for ever."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    typer.run(main)
