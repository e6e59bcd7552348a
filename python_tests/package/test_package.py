"""The package's front: its names are there, and come when they are asked for."""

from __future__ import annotations

import re
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


ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_oldest_triton_is_said_alike() -> None:
    (triton,) = (name for name in PROJECT["optional-dependencies"]["dev"] if name.startswith("triton"))
    assert triton.startswith(f"triton>={'.'.join(map(str, OLDEST_TRITON))};")


def test_what_the_package_says_of_itself() -> None:
    """The addresses that an index shows, and what the oldest TRL imports and doesn't say."""
    assert {"Homepage", "Repository", "Documentation", "Changelog"} <= PROJECT["urls"].keys()
    assert any(name.startswith("requests") for name in PROJECT["optional-dependencies"]["trl"])


def test_it_is_installed_from_the_checkout_for_no_index_has_it() -> None:
    """Every extra that a page or an error names is one, and none is asked of an index."""
    folders = ("docs", "recipes", "study", "examples", "mmr_kernels")
    pages = [ROOT / "README.md", *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    for page in (each for each in pages if each.suffix in {".md", ".py", ".sh", ".yaml"}):
        words = page.read_text(encoding="utf-8")
        assert not re.search(r"pip install [^\n]*mmr[-_]kernels", words), page
        extras = re.findall(r"pip install '\.\[([\w,-]+)\]'", words)
        assert set(",".join(extras).split(",")) - {""} <= PROJECT["optional-dependencies"].keys(), page
