"""``mmr-kernels bench``: the op against its baselines and peers, on this machine."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmr_kernels.cli.files import InputError, check_outputs, replacing

if TYPE_CHECKING:
    from mmr_kernels.bench.cases import Sweep
    from mmr_kernels.bench.provider import Provider
    from mmr_kernels.bench.run import Limits

SWEEPS = ("table", "groups", "group_size", "dim", "dtype", "scope", "selection")


def bench(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write everything measured: .json.")] = None,
    csv_path: Annotated[Path | None, typer.Option("--csv", help="Write the rows: .csv.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw time and ratio to bmm against sizes: .png.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer, smaller sizes and little time for each.")] = False,
    provider: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Measure this one only; may be repeated. Default: all.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"One of {', '.join(SWEEPS)}; may be repeated. Default: all."),
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="Where the tensors are. Default: cuda if torch sees one.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Time for each provider of each case. Default: 0.6, with --quick 0.05."),
    ] = None,
) -> None:
    """Time the op, its baselines and its peers on this machine, each checked before (docs/benchmark.md)."""
    try:
        check_outputs(("--json", json_path, (".json",)), ("--csv", csv_path, (".csv",)), ("--plot", plot, (".png",)))
        _check_choice("--sweep", sweep, SWEEPS)
        if seconds is not None and not 0 < seconds < float("inf"):
            raise InputError(f"--seconds takes a positive number, got {seconds}")
        import torch

        from mmr_kernels.bench.cases import sweeps
        from mmr_kernels.bench.record import record
        from mmr_kernels.bench.report import print_report
        from mmr_kernels.bench.run import Limits

        if device == "cuda" and not torch.cuda.is_available():
            raise InputError(f"--device cuda needs a GPU; torch {torch.__version__} sees none")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        measured = {name: cases for name, cases in sweeps(quick).items() if not sweep or name in sweep}
        if plot is not None and all(cases.variable is None for cases in measured.values()):
            raise InputError("--plot draws the sweeps groups, group_size and selection, none of which is among --sweep")
        limits = Limits.of(quick) if seconds is None else Limits.of(quick)._replace(each=seconds)
        report = record(**_measure(measured, _chosen(provider, device, quick, measured), limits, device))
        _write(report, measured, json_path, csv_path, plot)
    except (InputError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    print_report(report, measured)
    for path in filter(None, (json_path, csv_path, plot)):
        typer.echo(f"wrote {path}")
    if any(row["kind"] in ("wrong", "failed") for row in report["left_out"]):
        typer.echo("Error: a provider gave a wrong result or broke; see above", err=True)
        raise typer.Exit(1)


def _chosen(names: list[str] | None, device: str, quick: bool, sweeps: dict[str, Sweep]) -> list[Provider]:
    """The providers asked for, one of which can be measured."""
    from mmr_kernels.bench.providers import providers

    table = providers(device)
    _check_choice("--provider", names, dict.fromkeys(p.asked_for_as for p in table))
    chosen = [p for p in table if names is None or p.asked_for_as in names]
    if quick and names is None:
        chosen = [p for p in chosen if p.asked_for_as != "batched+torch.compile"]
    tasks = {task for sweep in sweeps.values() for case in sweep.cases for task in case.tasks}
    if not any(p.task in tasks and p.why_not_here is None for p in chosen):
        reasons = [f"{p.name}: {p.why_not_here or 'has no case in --sweep'}" for p in chosen]
        raise InputError("nothing to measure: " + "; ".join(reasons))
    return chosen


def _measure(sweeps: dict[str, Sweep], providers: list[Provider], limits: Limits, device: str) -> dict[str, Any]:
    """The report, with a bar on standard error meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mmr_kernels.bench.run import run

    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")

        def track(total: int) -> Any:
            progress.update(task, total=total)
            return lambda: progress.advance(task)

        return run(sweeps, providers, limits, device, track)


def _write(
    report: dict[str, Any], sweeps: dict[str, Sweep], json_path: Path | None, csv_path: Path | None, plot: Path | None
) -> None:
    """All files or none."""
    from mmr_kernels.bench import picture, record
    from mmr_kernels.bench.run import FIELDS

    with replacing([path for path in (json_path, csv_path, plot) if path is not None]) as temporaries:
        if json_path is not None:
            record.write(temporaries[json_path], report)
        if csv_path is not None:
            with temporaries[csv_path].open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                writer.writerows(report["rows"])
        if plot is not None:
            picture.draw(report, sweeps, temporaries[plot])


def _check_choice(option: str, names: list[str] | None, known: Collection[str]) -> None:
    for name in names or []:
        if name not in known:
            raise InputError(f"{option} takes one of {', '.join(known)}; got {name!r}")
