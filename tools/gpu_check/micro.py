"""Figures of the card that a redesign needs: cycles of instructions and of a pick, bandwidth by number of blocks."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import torch

from tools.gpu_check import ROOT
from tools.gpu_check.phase import Place, Save

SOURCES = ("micro.cu", "picks.cu")


def run(save: Save, place: Place) -> None:
    """Compile the sources for this card and run them."""
    if place.dry or torch.cuda.get_device_capability() < (9, 0):
        save({"left_out": "needs a GPU with clusters, of compute capability 9.0"})
        return
    code = "sm_{}{}".format(*torch.cuda.get_device_capability())
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        programs = {name: str(Path(folder, name).with_suffix("")) for name in SOURCES}
        compiler = ["nvcc", "-O3", "-std=c++17", "--fmad=false", f"-arch={code}", f"-I{ROOT / 'csrc/cuda'}"]
        for name, program in programs.items():
            subprocess.run([*compiler, "-o", program, str(Path(__file__).with_name(name))], check=True)
        for program in programs.values():
            printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
            figures |= {name: float(value) for name, value in map(str.split, printed.splitlines())}
            save({"figures": figures})
