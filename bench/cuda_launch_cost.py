"""What a call of ``backend="cuda"`` costs the host: the whole Python path and the binding, all but the driver's launch.

Needs the module and no GPU: tensors lie on the CPU, and the module is told of no groups, for which it launches nothing.
``python -m bench.cuda_launch_cost [--json docs/figures/cuda-launch-cost.json]``.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import torch

import mmr_kernels
from mmr_kernels import backends
from mmr_kernels.backends import Host, cuda
from mmr_kernels.backends.extension import arguments
from mmr_kernels.bench import measure, record
from mmr_kernels.options import Options
from mmr_kernels.problem import Problem, allocate_outputs


def problem(groups: int, size: int, dim: int) -> Problem:
    """A trainer's plain call."""
    return Problem(torch.rand(groups, size), torch.randn(groups, size, dim), groups, size, Options())


class WithoutLaunch:
    """The module, told of no groups."""

    def __init__(self) -> None:
        self.module: Any = importlib.import_module("mmr_kernels._cuda")
        self.nobody = torch.empty(0, 16), torch.empty(0, 16, 512), 0
        self.Options = self.module.Options

    def mmr(self, *arguments: object) -> None:
        """As the module's."""
        self.module.mmr(*self.nobody, *arguments[3:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    stub: Any = WithoutLaunch()
    cuda._extension = lambda name: stub
    everything = Host(**dict.fromkeys(Host._fields, None))  # the emulator among it: it takes CPU tensors
    backends.this_host = lambda: everything  # type: ignore[assignment]
    call = problem(64, 16, 512)
    outputs = allocate_outputs(call)
    packed = (*stub.nobody, *arguments(stub, call, outputs)[3:])
    assert call.embeddings is not None
    embeddings = call.embeddings
    samples = measure.interleaved(
        {
            "output": lambda: allocate_outputs(call),
            "arguments": lambda: arguments(stub, call, outputs),
            "binding": lambda: stub.module.mmr(*packed, 0, 0, None),
            "backends.cuda.run": lambda: cuda.run(call),
            "mmr_advantages": lambda: mmr_kernels.mmr_advantages(call.rewards, embeddings, backend="cuda"),
        },
        chosen.seconds,
    )
    figures = {name: measure.summary(taken) for name, taken in samples.items()}
    for name, row in figures.items():
        print(f"{name:20} {row['median_us']:6.2f} µs  (p20 {row['p20_us']:.2f}, p80 {row['p80_us']:.2f})")
    if chosen.json:
        record.write(chosen.json, record.record(figures=figures))


if __name__ == "__main__":
    main()
