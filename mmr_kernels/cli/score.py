"""``mmr-kernels score``: from a file of rollouts to advantages, and what MMR changed in each group."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmr_kernels.cli.files import WRITTEN, InputError, check_outputs, naming, opened, replacing
from mmr_kernels.cli.rollouts import Fields, read_rollouts
from mmr_kernels.cli.rows import write_rows
from mmr_kernels.cli.scoring import ScoredRows, score_rollouts
from mmr_kernels.cli.terminal import cleaning_up_when_stopped, fail
from mmr_kernels.settings import check_settings, checked, settings

if TYPE_CHECKING:
    from torch import Tensor

    from mmr_kernels.integrations.scored import Scored


#: The options of the op that are offered: all but one, which the lexical embedder's rows of length 1 don't need.
OFFERED = settings("normalize")


def offering(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option in its signature, which typer reads, for each that is offered."""
    own = inspect.signature(command, eval_str=True)
    parameters = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    for each in OFFERED:
        flag = (f"--{each.name.replace('_', '-')}",) if each.takes is bool else ()  # and no "--no-…"
        annotation: Any = Annotated[each.takes, typer.Option(*flag, help=each.help)]
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(each.name, kind, default=each.default, annotation=annotation))
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


@offering
def score(
    rollouts: Annotated[
        Path,
        typer.Argument(
            help="JSONL, CSV (.gz after either) or Parquet, - for JSONL from stdin: rows with 'group' or 'prompt',"
            " 'completion' (a text or messages) and 'reward', or OpenAI's 'messages'; of other names with --group,"
            " --completion and --reward, as for the tables saved by TRL and verl.",
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
    completion: Annotated[str, typer.Option(metavar="NAME", help="The field of completions.")] = "completion",
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A field that is equal within a group; may be repeated. Default: group, else prompt, with step.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A field of labels, like final answers: equal ones in a group count as one."),
    ] = None,
    **options: Any,
) -> None:
    """Reweight saved rollouts by how alike they are, and show what that changes in each group."""
    try:
        options = _checked(options, labels is not None)
        check_outputs(("--out", out, WRITTEN), ("--plot", plot, (".png",)))
        if out is not None and os.path.realpath(out) == os.path.realpath(rollouts):
            raise InputError(f"--out {out} is the file of rollouts itself; name another")
        if plot is not None and options["method"] != "mmr":
            method = options["method"]
            raise InputError(f"--plot takes --method mmr: {method!r} picks nothing, so nothing is redundant")
        fields = Fields(_reward_weights(reward or ["reward"]), completion, tuple(group or ()), labels)
        written = [path for path in (out, plot) if path is not None]
        with cleaning_up_when_stopped(), opened(rollouts) as source, replacing(written) as temporaries:
            read = read_rollouts(source, fields)
            if plot is not None and all(map(math.isnan, read.rewards)):
                raise InputError(f"--plot {plot}: no completion has a reward, so there is nothing to draw")
            scored, plain_advantages = score_rollouts(read, options)
            if out is not None:
                write_rows(out, ScoredRows(source, fields, read, scored), temporaries[out])
            if plot is not None:
                _draw(plot, scored, plain_advantages, len(read.offsets) - 1, temporaries[plot])
        from mmr_kernels.cli.summary import print_summary

        with naming("standard output"):
            print_summary(read, scored, plain_advantages, show)
            for path in written:
                typer.echo(f"wrote {path}")
    except InputError as error:
        fail(error, 1)


def _draw(plot: Path, scored: Scored, plain_advantages: Tensor, groups: int, temporary: Path) -> None:
    from mmr_kernels.integrations.plots import draw

    count = int(scored.rewards.isfinite().sum())
    figure = draw(scored, plain_advantages, f"{count:,} completions in {groups:,} groups, before and after MMR")
    with naming(plot):
        figure.savefig(temporary, format="png", dpi=130)


def _checked(options: dict[str, Any], labels: bool) -> dict[str, Any]:
    """The options of the op, checked under their names on the command line."""
    try:
        options = {name: checked(name, value, f"--{name.replace('_', '-')}") for name, value in options.items()}
        check_settings(options, "--", labels)
        return options
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error


def _reward_weights(options: list[str]) -> dict[str, float]:
    """NAME or NAME=WEIGHT, each."""
    weights: dict[str, float] = {}
    for option in options:
        name, equals, weight = option.rpartition("=")
        name, weight = (name, weight) if equals else (option, "1")
        try:
            value = float(weight)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not name or name in weights:
            raise InputError(f"--reward takes NAME or NAME=WEIGHT, a finite weight, each name once; got {option!r}")
        weights[name] = value
    return weights
