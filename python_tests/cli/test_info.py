"""``mmr-kernels info``: it always reports, and repeats the backends' own reasons."""

from __future__ import annotations

import _ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import mmr_kernels
from mmr_kernels import backends, embedders
from mmr_kernels.backends import host
from mmr_kernels.backends.host import this_host
from mmr_kernels.cli import app
from mmr_kernels.cli.info import collect

runner = CliRunner()


def test_json_says_what_this_machine_has() -> None:
    result = runner.invoke(app, ["info", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["mmr-kernels"] == mmr_kernels.__version__
    assert report["packages"]["torch"]
    assert report["threads"] >= 1
    assert report["error"] is None
    assert report["backends"] == backends.machine_reasons()
    assert report["embedders"] == embedders.machine_reasons()


def test_version_is_printed_alone() -> None:
    result = runner.invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"mmr-kernels {mmr_kernels.__version__}\n"


@pytest.mark.parametrize("kind", ["backends", "embedders"])
def test_the_table_repeats_each_reason(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"cpu": "needs [a thing], found: another", "torch": None}
    monkeypatch.setattr(f"mmr_kernels.{kind}.machine_reasons", lambda *host: reasons)
    result = runner.invoke(app, ["info"], env={"COLUMNS": "200"})
    assert "needs [a thing], found: another" in result.stdout
    assert "can run" in result.stdout


def test_a_made_up_host_gets_its_own_reasons() -> None:
    bare = this_host()._replace(cpu_extension="no compiler was found")
    assert "no compiler was found" in collect(bare)["backends"]["cpu"]
    assert collect(bare)["backends"] == backends.machine_reasons(bare)
    assert collect(bare._replace(cpu_extension=None))["backends"]["cpu"] is None


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"_cpu": "/a/libgomp.so.1", "_C": "/a/libgomp.so.1"}, "/a/libgomp.so.1, torch's too"),
        (
            {"_cpu": "/a/libgomp.so.1", "_C": "/b/libgomp.so.1"},
            "/a/libgomp.so.1, a pool of threads beside torch's: /",
        ),
        ({"_cpu": None, "_C": "/b/libgomp.so.1"}, "none: the CPU kernel runs on one thread"),
    ],
)
def test_openmp_is_the_one_that_the_loader_found(
    found: dict[str, str | None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if this_host().cpu_extension is not None:
        pytest.skip(f"no module mmr_kernels._cpu: {this_host().cpu_extension}")
    monkeypatch.setattr(host, "_openmp_runtime", lambda module: found[Path(module).name.partition(".")[0]])
    assert collect()["openmp"].startswith(says)


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is linked on Linux")
def test_openmp_is_found_by_the_symbol_or_is_none() -> None:
    assert "gomp" in str(host._openmp_runtime(torch._C.__file__))
    assert host._openmp_runtime(_ctypes.__file__) is None


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["score", "--help"], ["--version"]])
def test_works_where_torch_cannot_be_imported(arguments: list[str]) -> None:
    block = "import sys; sys.modules['torch'] = None; from mmr_kernels.cli import main; main()"
    command = [sys.executable, "-c", block, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    if arguments[0] == "info":
        assert "torch" in result.stdout
        assert "ModuleNotFoundError" in result.stdout


def test_any_failure_to_look_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> dict[str, None]:
        raise RuntimeError("driver is gone")

    monkeypatch.setattr("mmr_kernels.backends.machine_reasons", broken)
    result = runner.invoke(app, ["info"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "RuntimeError: driver is gone" in result.stdout


@pytest.mark.parametrize("arguments", [["info", "--jason"], ["info", "extra"], ["score"], ["scoore"]])
def test_what_is_not_understood_is_refused(arguments: list[str]) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2


def test_the_module_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "mmr_kernels", "info", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(result.stdout)["mmr-kernels"] == mmr_kernels.__version__


def test_the_help_imports_nothing_heavy() -> None:
    block = (
        "import sys; from typer.testing import CliRunner; from mmr_kernels.cli import app;"
        "CliRunner().invoke(app, ['score', '--help']);"
        "print([name for name in ('torch', 'pyarrow', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "[]"
