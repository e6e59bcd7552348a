"""``mmr-kernels score`` run on files, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from typer.testing import CliRunner

from mmr_kernels.cli import app

runner = CliRunner()
SAMPLE = Path(__file__).parents[2] / "examples" / "rollouts.jsonl"


def run(*arguments: object) -> Any:
    return runner.invoke(app, ["score", *map(str, arguments)], env={"COLUMNS": "120"})


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
