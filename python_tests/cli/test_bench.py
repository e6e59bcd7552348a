"""``mmr-kernels bench``: its files, its tables, its errors."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmr_kernels.bench.cases import Case, Sweep, sweeps
from mmr_kernels.bench.provider import Provider, Trial
from mmr_kernels.bench.providers import providers
from mmr_kernels.cli import app
from mmr_kernels.cli.bench import SWEEPS

runner = CliRunner()
FIELDS = ["provider", "groups", "group_size", "dim", "dtype", "scope", "median_us", "p20_us", "p80_us", "ratio_to_bmm"]
TINY = {
    "table": Sweep([Case(2, 4, 8)]),
    "groups": Sweep([Case(groups, 4, 8) for groups in (1, 2, 4)], "groups"),
    "group_size": Sweep([Case(2, size, 8) for size in (2, 4, 8)], "group_size"),
    "dim": Sweep([Case(2, 4, dim) for dim in (8, 16, 32)], "dim"),
    "dtype": Sweep([Case(2, 4, 8, name) for name in ("float32", "bfloat16")]),
    "scope": Sweep([Case(2, 4, 8, scope="batch")]),
    "selection": Sweep([Case(1, size, 8, task="selection") for size in (6, 12, 24)], "group_size"),
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmr_kernels.bench.cases.sweeps", lambda quick: TINY)


def bench(*arguments: object) -> Any:
    return runner.invoke(app, ["bench", "--seconds", "0.002", *map(str, arguments)], env={"COLUMNS": "250"})


@pytest.mark.usefixtures("tiny")
def test_json_csv_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json_path, csv_path, plot = tmp_path / "new" / "b.json", tmp_path / "b.csv", tmp_path / "b.png"
    arguments = (
        "--quick",
        "--device",
        "cpu",
        "--seconds",
        "0.002",
        "--json",
        json_path,
        "--csv",
        csv_path,
        "--plot",
        plot,
    )
    monkeypatch.setattr("sys.orig_argv", ["/bin/python", "/bin/mmr-kernels", "bench", *map(str, arguments)])
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(json_path.read_text())
    assert report["command"].startswith("mmr-kernels bench --quick --device cpu --seconds 0.002 --json ")
    assert {"machine", "versions", "rows", "exponents", "left_out"} <= set(report)
    rows = report["rows"]
    assert all(list(row) == FIELDS for row in rows)
    assert {"bmm", "torch", "loop", "batched", "torch, selection"} <= {row["provider"] for row in rows}
    assert len({tuple(row[name] for name in FIELDS[:6]) for row in rows}) == len(rows)
    with csv_path.open(newline="") as file:
        assert list(csv.reader(file)) == [FIELDS, *([str(value) for value in row.values()] for row in rows)]
    assert plot.read_bytes().startswith(b"\x89PNG")
    fitted = {(row["provider"], row["variable"]) for row in report["exponents"]}
    assert {("torch", variable) for variable in ("groups", "group_size", "dim")} <= fitted
    assert ("torch, selection", "group_size") in fitted
    for name in TINY:
        assert f"sweep {name}:" in result.stdout
    (reason,) = (p.why_not_here for p in providers("cpu") if p.name == "cuda")
    if reason is not None:
        assert f"cuda: not timed: {reason}" in result.stdout
    assert sorted(tmp_path.rglob("*")) == [csv_path, plot, json_path.parent, json_path]


@pytest.mark.usefixtures("tiny")
def test_one_provider_and_one_sweep() -> None:
    result = bench("--provider", "torch", "--sweep", "selection", "--sweep", "dtype")
    assert result.exit_code == 0, result.output
    assert "sweep selection" in result.stdout
    assert "sweep groups" not in result.stdout
    assert "loop" not in result.stdout


@pytest.mark.usefixtures("tiny")
def test_a_wrong_provider_is_shown_and_fails_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Provider(
        "wrong", "ours", "advantages", None, lambda inputs: Trial(lambda: None, lambda result: "it is off by 1")
    )
    table = [*providers("cpu"), wrong]
    monkeypatch.setattr("mmr_kernels.bench.providers.providers", lambda device: table)
    path = tmp_path / "b.json"
    result = bench("--provider", "torch", "--provider", "wrong", "--sweep", "table", "--json", path)
    assert result.exit_code == 1
    assert "wrong: WRONG, not timed at 2 × 4 × 8: it is off by 1" in result.stdout
    assert "a wrong result" in result.stderr
    assert "wrong" not in {row["provider"] for row in json.loads(path.read_text())["rows"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--provider", "tritn"], "--provider takes one of triton, cuda, cpu, torch, loop, batched"),
        (["--sweep", "sizes"], "--sweep takes one of table, groups, group_size, dim, dtype, scope, selection"),
        (["--seconds", "0"], "--seconds takes a positive number, got 0.0"),
        (["--seconds", "nan"], "--seconds takes a positive number, got nan"),
        (["--json", "b.txt"], "b.txt: the name must end in .json"),
        (["--csv", "b.json"], "b.json: the name must end in .csv"),
        (["--plot", "b.svg"], "b.svg: the name must end in .png"),
        (["--json", "."], "--json . is a folder"),
        (["--plot", "b.png", "--sweep", "dtype"], "--plot draws the sweeps groups, group_size and selection"),
        (["--provider", "pyversity", "--sweep", "groups"], "nothing to measure: pyversity"),
    ],
)
def test_bad_options_are_named(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = bench("--device", "cpu", *arguments)
    assert result.exit_code == 1
    assert f"Error: {said}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = bench("--device", "cuda")
    assert result.exit_code == 1
    assert "--device cuda needs a GPU" in result.stderr
    assert runner.invoke(app, ["bench", "--device", "tpu"]).exit_code == 2


@pytest.mark.usefixtures("tiny")
def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr("mmr_kernels.bench.picture.draw", broken)
    result = bench(
        "--provider", "torch", "--sweep", "groups", "--json", tmp_path / "b.json", "--plot", tmp_path / "b.png"
    )
    assert result.exit_code == 1
    assert "Error: disk is full" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quick", [False, True])
def test_the_help_names_the_sweeps_there_are(quick: bool) -> None:
    assert tuple(sweeps(quick)) == SWEEPS


def test_the_help_imports_nothing_heavy() -> None:
    block = (
        "import sys; from typer.testing import CliRunner; from mmr_kernels.cli import app;"
        "assert CliRunner().invoke(app, ['bench', '--help']).exit_code == 0;"
        "print([name for name in ('torch', 'numpy', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "[]"
