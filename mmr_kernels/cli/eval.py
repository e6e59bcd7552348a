"""``mmr-kernels eval``: the five benchmarks of the paper, with intervals, and what differs between models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mmr_kernels.cli.files import InputError, check_outputs, replacing
from mmr_kernels.cli.terminal import fail


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="A folder, or a name on the Hugging Face hub; two or more are compared."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(metavar="NAME,NAME,…", help="Which benchmarks. Default: all five.")
    ] = None,
    backend: Annotated[
        Literal["vllm", "hf", "api"],
        typer.Option(help="vLLM, transformers, or a server with the address OPENAI_BASE_URL."),
    ] = "vllm",
    samples: Annotated[int, typer.Option(min=1, help="k: samples of each problem.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Where an answer is cut off.")] = 32768,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many problems of each task.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Take NAME.jsonl there for each task, in place of the hub.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Samples and results; a killed run goes on from them.")
    ] = Path("runs/eval"),
    plot: Annotated[Path | None, typer.Option(help="Draw avg@k and pass@k against k: .png.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Compare two results.json that are there; evaluates nothing."),
    ] = None,
) -> None:
    """Evaluate models on AIME 24, MATH-500, AMC 23, Minerva and OlympiadBench (docs/eval.md)."""
    try:
        check_outputs(("--plot", plot, (".png",)))
        if bool(models) == bool(compare):
            raise InputError("takes one MODEL or more, or --compare with two files results.json")
        if models and len(set(models)) < len(models):
            raise InputError(f"takes each MODEL once; got {', '.join(models)}")
        from mmr_kernels.evaluation import picture, report, results

        if compare:
            records = [results.read(path) for path in compare]
        else:
            options = {"backend": backend, "seed": seed, "max_new_tokens": max_new_tokens}
            names = tasks.split(",") if tasks else None
            records = _evaluated(models or [], names, data, limit, samples, out, options)
        differences = [results.difference(records[0], second) for second in records[1:]]
        if plot is not None:
            with replacing([plot]) as temporaries:
                picture.draw(records, temporaries[plot])
    except (InputError, ImportError, OSError, ValueError) as error:
        fail(error, 1)
    for found in records:
        report.print_record(found)
    for second, difference in zip(records[1:], differences, strict=True):
        report.print_difference(records[0], second, difference)
    if plot is not None:
        typer.echo(f"wrote {plot}")
    if not compare:
        typer.echo(f"samples and results.json of each model are under {out}")


def _evaluated(
    names: list[str],
    tasks: list[str] | None,
    data: Path | None,
    limit: int | None,
    samples: int,
    out: Path,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """A record per model, with a bar on standard error meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    try:
        from mmr_kernels.evaluation import benchmarks, models, run
    except ImportError as error:
        raise ImportError(f"{error}; evaluating needs more packages: pip install '.[eval]'") from error
    folders = {name: run.folder_of(out, name) for name in names}
    if len(set(folders.values())) < len(names):
        raise InputError(f"takes each MODEL once; {', '.join(names)} would share a folder in --out {out}")
    for name in names:
        models.check(options["backend"], name, options["max_new_tokens"])
    loaded = benchmarks.load(tasks or benchmarks.NAMES, data, limit, options["max_new_tokens"])
    records = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for name in names:
        with Progress(*columns, console=Console(stderr=True)) as progress:

            def track(what: str, total: int, progress: Progress = progress) -> Any:
                task = progress.add_task(what, total=total)
                return lambda: progress.advance(task)

            settings = {"model": name, **options, "data": data and str(data)}
            records.append(run.evaluate(settings, loaded, samples, folders[name], track))
    return records
