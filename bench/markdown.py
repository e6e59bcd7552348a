"""``python -m bench.markdown docs/figures/bench.json``: a report of ``mmr-kernels bench`` as tables for a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmr_kernels.bench.cases import sweeps
from mmr_kernels.bench.report import left_out, source, tables


def main(
    path: Annotated[Path, typer.Argument(help="What --json wrote, without --quick.")],
    sweep: Annotated[list[str] | None, typer.Option(help="This sweep only; may be repeated. Default: all.")] = None,
) -> None:
    """Print them."""
    report = json.loads(path.read_text())
    print(f"`{report['command']}`\n\n{', '.join(f'{name} {value}' for name, value in source(report).items())}")
    for table in tables(report, {name: cases for name, cases in sweeps().items() if not sweep or name in sweep}):
        print(f"\n{table.title}\n\n{table.markdown()}")
    print("", *(f"- {sentence}" for _, sentence in left_out(report)), sep="\n")


if __name__ == "__main__":
    typer.run(main)
