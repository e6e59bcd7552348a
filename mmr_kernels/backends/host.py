"""What this machine has, probed once. Backends decide from it, so a test can hand them a made-up machine."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
from pathlib import Path
from typing import NamedTuple

import torch

_BUILD_REPORT = Path(__file__).parents[1] / "_build.json"


class Host(NamedTuple):
    """Each field: None if the thing is there, else what was found instead."""

    cpu_extension: str | None
    triton: str | None
    gpu: str | None  # that Triton compiles for
    interpreter: str | None  # Triton's


@functools.cache
def this_host() -> Host:
    """The machine that runs this process."""
    return Host(
        cpu_extension=_why_no_extension("_cpu"),
        triton=None if importlib.util.find_spec("triton") else "not installed",
        gpu=_why_no_gpu(),
        interpreter=None if os.environ.get("TRITON_INTERPRET") == "1" else "TRITON_INTERPRET is not 1",
    )


def _why_no_gpu() -> str | None:
    if not torch.cuda.is_available():
        built = "CUDA" if torch.version.cuda else "ROCm" if torch.version.hip else "neither CUDA nor ROCm"
        return f"torch {torch.__version__}, built for {built}, sees no device"
    if torch.version.hip is None:
        for device in range(torch.cuda.device_count()):
            capability = torch.cuda.get_device_capability(device)
            if capability < (8, 0):
                return f"compute capability {capability[0]}.{capability[1]} ({torch.cuda.get_device_name(device)})"
    return None


def _why_no_extension(name: str) -> str | None:
    try:
        importlib.import_module(f"mmr_kernels.{name}")
    except ImportError as error:
        report = json.loads(_BUILD_REPORT.read_text()) if _BUILD_REPORT.exists() else {}
        return str(report.get(name, error))
    return None
