"""``mmr-kernels bench``: the op against its baselines and peers, on this machine."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmr_kernels.cli.files import InputError, check_format, replacing

if TYPE_CHECKING:
    from mmr_kernels.bench.cases import Sweep

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
    outputs = {"--json": (json_path, ".json"), "--csv": (csv_path, ".csv"), "--plot": (plot, ".png")}
    try:
        _check_outputs(outputs)
        _check_choice("--sweep", sweep, SWEEPS)
        if seconds is not None and not 0 < seconds < float("inf"):
            raise InputError(f"--seconds takes a positive number, got {seconds}")
        report, sweeps = _measure(quick, provider, sweep, device, seconds, plot)
        from mmr_kernels.bench.record import record

        report = record(**report)
        _write(report, sweeps, json_path, csv_path, plot)
    except (InputError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    from mmr_kernels.bench.report import print_report

    print_report(report, sweeps)
    for path, _ in outputs.values():
        if path is not None:
            typer.echo(f"wrote {path}")
    if any(row["kind"] in ("wrong", "failed") for row in report["left_out"]):
        typer.echo("Error: a provider gave a wrong result or broke; see above", err=True)
        raise typer.Exit(1)


def _measure(
    quick: bool,
    names: list[str] | None,
    sweep: list[str] | None,
    device: str | None,
    seconds: float | None,
    plot: Path | None,
) -> tuple[dict[str, Any], dict[str, Sweep]]:
    import torch

    from mmr_kernels.bench.cases import sweeps
    from mmr_kernels.bench.providers import providers
    from mmr_kernels.bench.run import Limits, run

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device cuda needs a GPU; torch {torch.__version__} sees none")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    table = providers(device)
    _check_choice("--provider", names, tuple(dict.fromkeys(p.asked_for_as for p in table)))
    chosen = [p for p in table if names is None or p.asked_for_as in names]
    if quick and names is None:
        chosen = [p for p in chosen if p.name != "batched+torch.compile"]
    wanted = {name: cases for name, cases in sweeps(quick).items() if not sweep or name in sweep}
    if plot is not None and all(cases.variable is None for cases in wanted.values()):
        raise InputError("--plot draws the sweeps groups, group_size and selection, none of which is among --sweep")
    tasks = {case.task for cases in wanted.values() for case in cases.cases}
    if not any(p.task in tasks and p.why_not_here is None for p in chosen):
        reasons = [f"{p.name}: {p.why_not_here or 'has no case in --sweep'}" for p in chosen]
        raise InputError("nothing to measure: " + "; ".join(reasons))
    limits = Limits.of(quick) if seconds is None else Limits.of(quick)._replace(each=seconds)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")

        def track(total: int) -> Any:
            progress.update(task, total=total)
            return lambda: progress.advance(task)

        return run(wanted, chosen, limits, device, track), wanted


def _write(
    report: dict[str, Any],
    sweeps: dict[str, Sweep],
    json_path: Path | None,
    csv_path: Path | None,
    plot: Path | None,
) -> None:
    """All files or none."""
    with replacing([path for path in (json_path, csv_path, plot) if path is not None]) as temporaries:
        if json_path is not None:
            from mmr_kernels.bench.record import write

            write(temporaries[json_path], report)
        if csv_path is not None:
            from mmr_kernels.bench.run import FIELDS

            with temporaries[csv_path].open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                writer.writeheader()
                writer.writerows(report["rows"])
        if plot is not None:
            from mmr_kernels.bench.picture import draw

            draw(report, sweeps, temporaries[plot])


def _check_outputs(outputs: dict[str, tuple[Path | None, str]]) -> None:
    """Before any work: names that can be written, each another."""
    seen: dict[Path, str] = {}
    for option, (path, suffix) in outputs.items():
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder; name a file")
        check_format(path, (suffix,))
        _check_writable(option, path)
        if (other := seen.setdefault(path.resolve(), option)) != option:
            raise InputError(f"{option} and {other} name the same file {path}; name two")


def _check_writable(option: str, path: Path) -> None:
    """A temporary file comes and goes in the folder, or in the one that the folder will be made in."""
    folder = next(parent for parent in path.resolve().parents if parent.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{option} {path} can't be written: {error}") from error


def _check_choice(option: str, names: list[str] | None, known: tuple[str, ...]) -> None:
    for name in names or []:
        if name not in known:
            raise InputError(f"{option} takes one of {', '.join(known)}; got {name!r}")
