"""The adapters' tests need optional packages and no network."""

from __future__ import annotations

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_DISABLED"] = "true"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

collect_ignore_glob = []
try:
    import trl  # noqa: F401
except ImportError:
    collect_ignore_glob.append("test_trl_*.py")


def pytest_report_header(config: pytest.Config) -> str | None:
    return "TRL adapter: not tested, trl is not installed (pip install 'mmr-kernels[trl]')" if collect_ignore_glob else None
