"""``mmr-kernels score``: from a file of rollouts to advantages, and what MMR changed in each group."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmr_kernels.cli.files import InputError, check_format, replacing, write_rows
from mmr_kernels.cli.rollouts import Rollouts, read_rollouts
from mmr_kernels.cli.scoring import Scores, output_rows, score_rollouts


def score(
    rollouts: Annotated[
        Path,
        typer.Argument(
            help="JSONL or Parquet: rows with 'group' or 'prompt', 'completion' (a text or messages) and"
            " 'reward'; or a completions table saved by TRL, with --reward.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Write the rows with their scores: .jsonl or .parquet.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw rewards before and after: .png.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many of the most changed groups to print.")] = 10,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WEIGHT]",
            help="A reward field, and its weight in the sum (1); may be repeated. Default: reward.",
        ),
    ] = None,
    method: Annotated[Literal["mmr", "smi", "none"], typer.Option()] = "mmr",
    lam: Annotated[str, typer.Option(help="λ in [0, 1], 'sigmoid' or 'relative_std'.")] = "sigmoid",
    temperature: Annotated[float, typer.Option(help="τ of relative_std.")] = 1.0,
    first_pick: Annotated[
        Literal["reward", "score"], typer.Option(help="What the first pick's reward becomes.")
    ] = "reward",
    diversity: Annotated[float, typer.Option(help="From 0, plain GRPO, to 1, MMR.")] = 1.0,
    match_scale: Annotated[
        bool, typer.Option("--match-scale", help="Keep the rewards' mean and standard deviation.")
    ] = False,
    scope: Annotated[
        Literal["group", "batch"], typer.Option(help="Pick within each group, or across all of them.")
    ] = "group",
    scale: Annotated[
        Literal["group", "batch", "none"], typer.Option(help="Whose standard deviation divides advantages.")
    ] = "group",
    degenerate: Annotated[
        Literal["reweight", "zero"], typer.Option(help="What a group of equal rewards gets.")
    ] = "reweight",
    backend: Annotated[
        Literal["triton", "cuda", "cpu", "torch"] | None, typer.Option(help="Default: the first that can.")
    ] = None,
) -> None:
    """Reweight the rewards of saved rollouts, and show what MMR changed in each group."""
    options = {
        "method": method,
        "lam": _number_or_name(lam),
        "temperature": temperature,
        "first_pick": first_pick,
        "diversity": diversity,
        "match_scale": match_scale,
        "scope": scope,
        "scale": scale,
        "degenerate": degenerate,
        "backend": backend,
    }
    try:
        _check_outputs(rollouts, out, plot, method)
        read = read_rollouts(rollouts, _reward_weights(reward or ["reward"]))
        if plot is not None and all(map(math.isnan, read.rewards)):
            raise InputError(f"--plot {plot}: no completion has a reward, so there is nothing to draw")
        scores = score_rollouts(read, options)
        _write(read, scores, out, plot)
        from mmr_kernels.cli.summary import print_summary

        print_summary(read, scores, show)
        for written in filter(None, (out, plot)):
            typer.echo(f"wrote {written}")
    except (InputError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error


def _write(rollouts: Rollouts, scores: Scores, out: Path | None, plot: Path | None) -> None:
    """Both files or neither."""
    with replacing([path for path in (out, plot) if path is not None]) as temporaries:
        if out is not None:
            write_rows(out, output_rows(rollouts, scores), temporaries[out])
        if plot is not None:
            from mmr_kernels.cli.plot import draw

            draw(rollouts, scores, temporaries[plot])


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _reward_weights(options: list[str]) -> dict[str, float]:
    """NAME or NAME=WEIGHT, each."""
    weights: dict[str, float] = {}
    for option in options:
        name, equals, weight = option.rpartition("=")
        value = _number_or_name(weight) if equals else 1.0
        name = name if equals else option
        if isinstance(value, str) or not math.isfinite(value) or not name or name in weights:
            raise InputError(f"--reward takes NAME or NAME=WEIGHT, a finite weight, each name once; got {option!r}")
        weights[name] = value
    return weights


def _check_outputs(rollouts: Path, out: Path | None, plot: Path | None, method: str) -> None:
    """Before any work: names that can be written, and never the input."""
    for option, path in (("--out", out), ("--plot", plot)):
        if path is not None and path.is_dir():
            raise InputError(f"{option} {path} is a folder; name a file")
    if out is not None:
        check_format(out)
        if out.resolve() == rollouts.resolve():
            raise InputError(f"--out {out} is the file of rollouts itself; name another")
    if plot is not None:
        check_format(plot, (".png",))
        if method != "mmr":
            raise InputError(f"--plot takes --method mmr: {method!r} picks nothing, so nothing is redundant")
