"""The compiled modules: the CUDA kernel for the card that is here and for no other."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from tools.gpu_check import ROOT
from tools.gpu_check.phase import Place, Save


def run(save: Save, place: Place) -> None:
    """Build in place; without a card, the emulator."""
    if place.dry:
        module, kernel = "_emulator", {"MMR_KERNELS_BUILD_EMULATOR": "1"}
    else:
        module, kernel = "_cuda", {"MMR_KERNELS_CUDA_ARCHS": "{}{}".format(*torch.cuda.get_device_capability())}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=ROOT, env=os.environ | kernel, capture_output=True, text=True)
    there = any((ROOT / "mmr_kernels").glob(f"{module}.*.so"))
    save({"wrong": [] if there else [f"{module} was not built: {built.stderr[-500:]}"]})


def commit() -> str:
    """What is checked."""
    return _said("git", "rev-parse", "HEAD")


def driver_and_compiler() -> dict[str, str]:
    """Versions that no Python package has."""
    return {
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "nvcc": _said("nvcc", "--version").rpartition(" V")[2].partition("\n")[0],
    }


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError as error:
        return str(error)
