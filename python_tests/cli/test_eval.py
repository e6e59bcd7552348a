"""``mmr-kernels eval`` without what it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmr_kernels.cli import app


@pytest.mark.parametrize("package", ["lm_eval", "math_verify"])
def test_a_missing_extra_is_one_sentence(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in [each for each in sys.modules if each.startswith(("mmr_kernels.evaluation", package + "."))]:
        monkeypatch.delitem(sys.modules, name)
    result = CliRunner().invoke(app, ["eval", "a-model", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith("evaluating needs more packages: pip install '.[eval]'\n")
    assert package in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
