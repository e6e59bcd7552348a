"""The command line, ``mmr-kernels``: one file per subcommand. torch and the like are imported inside them."""

from __future__ import annotations

from typing import Annotated

import typer

from mmr_kernels import __version__
from mmr_kernels.cli.bench import bench
from mmr_kernels.cli.eval import evaluate
from mmr_kernels.cli.grpo import grpo, grpo_process
from mmr_kernels.cli.info import info
from mmr_kernels.cli.score import score
from mmr_kernels.cli.terminal import replace_what_it_lacks

app = typer.Typer(
    name="mmr-kernels",
    help="MMR-reweighted group-relative advantages for GRPO.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmr-kernels {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before a subcommand; --version does its work in its callback."""


app.command()(info)
app.command()(score)
app.command()(bench)
app.command("eval")(evaluate)
for command in (grpo, grpo_process):
    app.command(
        hidden=command is grpo_process,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(command)


def main() -> None:
    """Run the command line."""
    replace_what_it_lacks()
    app(prog_name="mmr-kernels")
