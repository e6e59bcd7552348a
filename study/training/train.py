"""Run the study on several processes; a run whose row is there already is not run again.

python -m study.training.train pilots    # chooses each arm's learning rate
python -m study.training.train study
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from filelock import FileLock, Timeout
from joblib import Parallel, delayed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.results_file import Row
from study.training import plan
from study.training.rows import RESULTS, Run, missing, results_file
from study.training.run import train


def runs_of(part: str, rows: list[Row]) -> list[Run]:
    """Those of the part that have no row yet."""
    if part == "study" and missing(plan.pilots(), rows):
        raise typer.BadParameter("the study takes its learning rates from the pilots: run `pilots` to their end first")
    runs = {"pilots": plan.pilots, "quick": plan.quick, "study": lambda: plan.study(rows)}[part]()
    return missing(runs, rows)


def complete(path: Path, wanted: Callable[[list[Row]], list[Run]], workers: int) -> None:
    """Run what is wanted beside the rows of the file, with a bar that says how long it still takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with FileLock(f"{path}.lock", timeout=0):
            file = results_file(path)
            runs = wanted(file.rows())
            with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[last]}")) as progress:
                task = progress.add_task("training", total=len(runs), last="")
                # Unlike those of concurrent.futures, loky's workers end after five idle minutes if this one is killed.
                for row in Parallel(workers, return_as="generator_unordered")(delayed(train)(run) for run in runs):
                    file.append(row)
                    progress.update(task, advance=1, last=f"{row['arm']}: {row['curves']['accuracy'][-1]:.3f}")
    except Timeout:
        raise typer.BadParameter(f"another study is writing {path}") from None


Results = Annotated[Path, typer.Option(help="JSON Lines, one row per run, added to.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")]


def main(
    part: Annotated[Literal["pilots", "study", "quick"], typer.Argument(help="Which runs.")],
    results: Results = RESULTS,
    workers: Workers = 2,
) -> None:
    """Run what is missing."""
    complete(results, lambda rows: runs_of(part, rows), workers)


if __name__ == "__main__":
    typer.run(main)
