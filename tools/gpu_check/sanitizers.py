"""A few calls under each tool of NVIDIA's compute-sanitizer."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys

import torch

from mmr_kernels import mmr_advantages
from mmr_kernels.bench.cases import Case, make_inputs
from tools.gpu_check import BACKENDS, ROOT
from tools.gpu_check.phase import Place, Save

TOOLS = ("memcheck", "racecheck", "synccheck")
#: One for each way that the kernels have, and sizes that fill no tile.
CALLS = (
    Case(3, 8, 64, "bfloat16"),
    Case(3, 13, 50),
    Case(3, 40, 72, "bfloat16"),
    Case(3, 100, 64, "bfloat16"),
    Case(3, 130, 40),
    Case(3, 24, 64, "bfloat16", "batch"),
    Case(3, 70, 33, "float32", "batch"),
)
RAN = "ran to the end"


def run(save: Save, place: Place) -> None:
    """One row per tool."""
    if place.dry:
        call(place.device, CALLS[:3])
        save({"rows": [], "wrong": []})
        return
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        save({"left_out": "compute-sanitizer is not on PATH"})
        return
    command = [tool, "--kernel-name", "kernel_substring=mmr", "--error-exitcode", "7", "--tool"]
    program = [sys.executable, "-m", "tools.gpu_check.sanitizers"]
    start = functools.partial(subprocess.Popen, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    running = {name: start([*command, name, *program]) for name in TOOLS}
    rows, wrong = [], []
    for name, process in running.items():
        output, _ = process.communicate()
        said = next((line.strip("= ") for line in output.splitlines() if "SUMMARY" in line), "no summary")
        rows.append({"tool": name, "status": process.returncode, "summary": said})
        if process.returncode or RAN not in output:
            wrong.append(f"{name}: status {process.returncode}, {said}")
        save({"rows": rows, "wrong": wrong})


def call(device: str, cases: tuple[Case, ...] = CALLS) -> None:
    """The calls, on both backends."""
    for backend in BACKENDS:
        for case in cases:
            inputs = make_inputs(case, device)
            for scale in ("group", "batch"):
                options = {"scope": case.scope, "scale": scale, "backend": backend, "return_details": True}
                mmr_advantages(inputs.rewards, inputs.embeddings, **options)
        ragged = make_inputs(Case(1, 30, 24), device)
        offsets = torch.tensor([0, 5, 5, 30], device=device)
        mmr_advantages(ragged.rewards[0], ragged.embeddings[0], group_offsets=offsets, backend=backend)


if __name__ == "__main__":
    call("cuda")
    torch.cuda.synchronize()
    print(RAN)
