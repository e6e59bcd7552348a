"""Figures of the card that a redesign needs: latencies of instructions in cycles, bandwidth by number of blocks."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import torch

from tools.gpu_check.phase import Place, Save


def run(save: Save, place: Place) -> None:
    """Compile micro.cu for this card and run it."""
    if place.dry or torch.cuda.get_device_capability() < (9, 0):
        save({"left_out": "needs a GPU with clusters, of compute capability 9.0"})
        return
    code = "sm_{}{}".format(*torch.cuda.get_device_capability())
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "micro"))
        source = str(Path(__file__).with_suffix(".cu"))
        subprocess.run(["nvcc", "-O2", "-std=c++17", f"-arch={code}", "-o", program, source], check=True)
        printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    save({"figures": {name: float(value) for name, value in map(str.split, printed.splitlines())}})
