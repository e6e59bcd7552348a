"""Runs the phases one after another and keeps one JSON, written anew after each of them.

python3 -m tools.gpu_check                                     all, as far as the budget goes
python3 -m tools.gpu_check --phases build,timing --budget 200  only these
python3 -m tools.gpu_check --dry-run                           all, in small, on CPUs
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from mmr_kernels.bench import record
from tools.gpu_check import build, summary
from tools.gpu_check.phase import Place, Result, run_phase, together

#: Each a module of this folder, with the most seconds that it may take.
PHASES = {
    "build": 240,
    "fuzz": 110,
    "golden": 60,
    "timing": 150,
    "micro": 60,
    "special": 120,
    "sanitizers": 90,
}
#: A phase that would have less is left out.
FEWEST_SECONDS = 10
CPUS = len(os.sched_getaffinity(0))


def main(
    phases: Annotated[str, typer.Option(help="Which, separated by commas.")] = ",".join(PHASES),
    budget: Annotated[float, typer.Option(help="Seconds for all of them.")] = 570,
    json_path: Annotated[Path, typer.Option("--json", help="Where the results go.")] = Path("gpu-check.json"),
    workers: Annotated[int, typer.Option(help="Processes that fuzz, compile and test at once.")] = CPUS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="In small, on CPUs: no GPU is needed.")] = False,
) -> None:
    """Check both GPU kernels on this machine's GPU, and time them."""
    chosen = phases.split(",")
    if unknown := [name for name in chosen if name not in PHASES]:
        raise typer.BadParameter(f"--phases takes some of {', '.join(PHASES)}; got {', '.join(unknown)}")
    if not dry_run and not torch.cuda.is_available():
        raise typer.BadParameter(f"torch {torch.__version__} sees no GPU; --dry-run needs none")
    if dry_run:
        os.environ |= {"TRITON_INTERPRET": "1", "MMR_KERNELS_CUDA_EMULATE": "1"}
    os.environ["OMP_NUM_THREADS"] = "1"
    report: dict[str, Any] = record.record(commit=build.commit(), phases=[])
    report["versions"] |= {} if dry_run else build.driver_and_compiler()
    end = time.monotonic() + budget
    for name in chosen:
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        place = Place(min(PHASES[name], end - begin), workers, dry_run)
        report[name], outcome = _run(name, place)
        seconds = round(time.monotonic() - begin, 1)
        report["phases"].append({"phase": name, "outcome": outcome, "seconds": seconds})
        record.write(json_path, report)
    summary.print_report(report)
    raise typer.Exit(any(not phase["outcome"].startswith(("right", "left out")) for phase in report["phases"]))


def _run(name: str, place: Place) -> tuple[Result, str]:
    if place.seconds < FEWEST_SECONDS:
        return {}, "left out: the budget is spent"
    ((result, problem),) = together(run_phase, [(name, place)], place.seconds, group=True)
    wrong, left_out = result.get("wrong"), result.get("left_out")
    if problem or wrong:
        return result, problem or f"{len(wrong)} wrong"
    return result, f"left out: {left_out}" if isinstance(left_out, str) else "right"


if __name__ == "__main__":
    typer.run(main)
