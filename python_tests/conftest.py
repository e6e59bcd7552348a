"""Which backends the suite runs over, and how thoroughly.

pytest                                              every backend of the table; one that can't run here skips
pytest --backend=torch --backend=cpu                only these
pytest --backend=triton --hypothesis-profile slow   few examples, for interpreters
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch

from mmr_kernels.backends import BACKENDS, this_host

_COMMON: dict[str, Any] = {"deadline": None, "derandomize": True, "print_blob": False}
hypothesis.settings.register_profile("default", max_examples=150, **_COMMON)
hypothesis.settings.register_profile("slow", max_examples=15, **_COMMON)
hypothesis.settings.register_profile("thorough", max_examples=3000, **_COMMON)
hypothesis.settings.load_profile("default")

_HERE = Path(__file__).parent
_GOLDEN = _HERE.parents[1] / "shared" / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend", action="append", choices=list(BACKENDS), help="test this backend only; may be repeated"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        names = metafunc.config.getoption("--backend") or list(BACKENDS)
        metafunc.parametrize("backend", names, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A run for one backend leaves the op's tests that know of none to the run of all."""
    if config.getoption("--backend"):
        others = [item for item in items if item.path.parent == _HERE and "backend" not in item.fixturenames]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend; skips, in the backend's own words, where it can't run."""
    reason = BACKENDS[request.param].why_not_here(this_host())
    if reason is not None:
        pytest.skip(f"backend {request.param!r} {reason}")
    return str(request.param)


@pytest.fixture(scope="session")
def device(backend: str) -> torch.device:
    """Where the backend is tested: GPU kernels on a GPU if there is one, else (emulated) on CPU tensors."""
    on_gpu = backend in ("triton", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


@pytest.fixture(scope="session")
def golden() -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Vectors computed by the released code: the list of cases, and the arrays by name."""
    if not _GOLDEN.is_dir():
        pytest.skip("no golden vectors: ../shared/golden is absent beside this checkout")
    with np.load(_GOLDEN / "mmr_golden.npz") as arrays:
        return json.loads((_GOLDEN / "mmr_golden.json").read_text()), dict(arrays)
