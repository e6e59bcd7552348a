"""What this machine has, probed once. Backends decide from it, so a test can hand them a made-up machine."""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path
from typing import NamedTuple

_BUILD_REPORT = Path(__file__).parents[1] / "_build.json"


class Host(NamedTuple):
    """Each field: None if the thing is there, else what was found instead."""

    cpu_extension: str | None


@functools.cache
def this_host() -> Host:
    """The machine that runs this process."""
    return Host(cpu_extension=_why_no_extension("_cpu"))


def _why_no_extension(name: str) -> str | None:
    try:
        importlib.import_module(f"mmr_kernels.{name}")
    except ImportError as error:
        report = json.loads(_BUILD_REPORT.read_text()) if _BUILD_REPORT.exists() else {}
        return str(report.get(name, error))
    return None
