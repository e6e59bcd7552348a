"""What a call of ``backend="cuda"`` costs the host: the whole Python path and the binding, all but the driver's launch.

Needs the module and no GPU: tensors lie on the CPU, and the module is told of no groups, for which it launches nothing.
``python -m bench.cuda_launch_cost [--json docs/figures/cuda-launch-cost.json]``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from mmr_kernels import backends, mmr_advantages
from mmr_kernels.backends import Host, cuda
from mmr_kernels.backends.extension import arguments
from mmr_kernels.bench.measure import figures
from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import timings
from mmr_kernels.options import Options
from mmr_kernels.problem import Problem, allocate_outputs

#: Places of the number of completions and of groups among ``extension.arguments``.
COUNTS = slice(4, 6)


class WithoutLaunch:
    """The module, told of no groups."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("mmr_kernels._cuda")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def mmr(self, *arguments: object) -> None:
        """As the module's."""
        self.module.mmr(*nobody(arguments))


def nobody(arguments: tuple[object, ...]) -> list[object]:
    """The arguments of the module's function, of no completions in no groups."""
    changed = list(arguments)
    changed[COUNTS] = 0, 0
    return changed


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend.")] = 3.0,
) -> None:
    """Measure a call with one output and its parts, and print."""
    torch.set_num_threads(1)
    stub: Any = WithoutLaunch()
    cuda._extension = lambda name: stub
    everything = Host(**dict.fromkeys(Host._fields, None))  # the emulator among it: it takes CPU tensors
    backends.this_host = lambda: everything  # type: ignore[assignment]
    rewards, embeddings = torch.rand(64, 16), torch.randn(64, 16, 512)
    problem = Problem(rewards, embeddings, 64, 16, Options())
    outputs = allocate_outputs(problem)
    packed = (*nobody(arguments(stub, problem, outputs)), 0, 0, None)
    calls = {
        "output": lambda: allocate_outputs(problem),
        "arguments": lambda: arguments(stub, problem, outputs),
        "binding": lambda: stub.module.mmr(*packed),
        "backends.cuda.run": lambda: cuda.run(problem),
        "mmr_advantages": lambda: mmr_advantages(rewards, embeddings, backend="cuda"),
    }
    rows = figures(calls, seconds)
    timings("host cost of the CUDA backend", rows).print()
    if json_path:
        write(json_path, record(rows=rows))


if __name__ == "__main__":
    typer.run(main)
