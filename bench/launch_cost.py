"""What a call of ``backend="triton"`` costs the host: everything but the driver's launch, which is stubbed.

Needs triton and no GPU. Tensors lie on the CPU, kernels are compiled for sm_90 and never run:
``python -m bench.launch_cost [--json docs/figures/launch-cost.json]``.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import torch
import triton
import typer
from triton.backends.compiler import GPUTarget

from mmr_kernels.backends import triton as backend
from mmr_kernels.backends.triton.advantages import mmr_kernel
from mmr_kernels.bench.measure import Call, figures
from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import timings
from mmr_kernels.options import Options
from mmr_kernels.problem import Problem, allocate_outputs


class NoDevice:
    """As much of a Triton driver as a launch asks for; its launcher takes the arguments and drops them."""

    utils = SimpleNamespace(
        load_binary=lambda *_: (0, 0, 0, 0, 1024),
        unload_module=lambda _: None,
        get_device_properties=lambda _: {"max_shared_mem": 232448},
    )

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        return lambda *arguments: None


def layers(size: int) -> dict[str, Call]:
    """A call with one output, for groups of this size, and its parts."""
    embeddings = torch.randn(16, size, 1024, dtype=torch.bfloat16)
    problem = Problem(torch.rand(16, size), embeddings, 16, size, Options())
    outputs = allocate_outputs(problem)
    buffers = backend.buffers(problem, outputs)
    arguments, constants, options = backend.launch_arguments(problem, outputs, *buffers, amd=False)
    named = dict(options)
    return {
        "outputs and scratch": lambda: backend.buffers(problem, allocate_outputs(problem)),
        "arguments": lambda: backend.launch_arguments(problem, outputs, *buffers, amd=False),
        "launch by Triton's launcher": lambda: mmr_kernel[(16,)](*arguments, *constants, **named),
        "launch by the kept handle": lambda: backend._start(mmr_kernel, (16,), arguments, constants, options),
        "backends.triton.run": lambda: backend.run(problem),
    }


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend on each of the two sizes.")] = 2.0,
) -> None:
    """Measure and print."""
    triton.runtime.driver.set_active(NoDevice())
    torch.set_num_threads(1)
    rows = [{"group_size": size, **row} for size in (8, 128) for row in figures(layers(size), seconds)]
    timings(
        "host cost of the Triton backend", [row | {"name": f"G = {row['group_size']}: {row['name']}"} for row in rows]
    ).print()
    if json_path:
        write(json_path, record(rows=rows))


if __name__ == "__main__":
    typer.run(main)
