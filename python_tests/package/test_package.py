"""The package's front: its names are there, and come when they are asked for."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mmr_kernels
from mmr_kernels.backends.host import OLDEST_TRITON


def test_every_public_name_is_there() -> None:
    for name in mmr_kernels.__all__:
        assert getattr(mmr_kernels, name).__name__ == name
    assert set(mmr_kernels.__all__) <= set(dir(mmr_kernels))


def test_other_names_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mmr_advantage'"):
        mmr_kernels.mmr_advantage  # noqa: B018


def test_the_import_alone_needs_no_torch() -> None:
    block = "import sys; sys.modules['torch'] = None; import mmr_kernels; print(mmr_kernels.__version__)"
    command = [sys.executable, "-c", block]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == mmr_kernels.__version__


def test_the_oldest_triton_is_said_alike() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (triton,) = (name for name in project["optional-dependencies"]["dev"] if name.startswith("triton"))
    assert triton.startswith(f"triton>={'.'.join(map(str, OLDEST_TRITON))};")
