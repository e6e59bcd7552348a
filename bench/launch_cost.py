"""What a call of ``backend="triton"`` costs the host: everything but the driver's launch, which is stubbed.

Needs triton and no GPU. Tensors lie on the CPU, kernels are compiled for sm_90 and never run:
``python -m bench.launch_cost [--json docs/figures/launch-cost.json]``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from mmr_kernels.backends import triton as backend
from mmr_kernels.backends.triton.advantages import mmr_kernel
from mmr_kernels.bench import measure, record
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


def problem(groups: int, size: int, dim: int) -> Problem:
    """A trainer's plain call."""
    embeddings = torch.randn(groups, size, dim, dtype=torch.bfloat16)
    return Problem(torch.rand(groups, size), embeddings, groups, size, Options())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    triton.runtime.driver.set_active(NoDevice())
    torch.set_num_threads(1)
    rows = {}
    for size in (8, 128):
        call = problem(16, size, 1024)
        outputs = allocate_outputs(call)
        buffers = backend.buffers(call, outputs)
        arguments, constants, options = backend.launch_arguments(call, outputs, *buffers, amd=False)
        named = dict(options)

        def tritons_launcher(a: Any = arguments, c: Any = constants, o: Any = named) -> None:
            mmr_kernel[(16,)](*a, *c, **o)

        def our_handle(a: Any = arguments, c: Any = constants, o: Any = options) -> None:
            backend._start(mmr_kernel, (16,), a, c, o)

        samples = measure.interleaved(
            {
                "outputs and scratch": lambda call=call: backend.buffers(call, allocate_outputs(call)),
                "arguments": lambda call=call, o=outputs, b=buffers: backend.launch_arguments(call, o, *b, amd=False),
                "launch by Triton's launcher": tritons_launcher,
                "launch by the kept handle": our_handle,
                "backends.triton.run": lambda call=call: backend.run(call),
            },
            chosen.seconds,
        )
        rows[size] = {name: measure.summary(taken) for name, taken in samples.items()}
        for name, figures in rows[size].items():
            spread = f"p20 {figures['p20_us']:.1f}, p80 {figures['p80_us']:.1f}"
            print(f"G = {size:4}  {name:30} {figures['median_us']:7.1f} us  ({spread})")
    if chosen.json:
        record.write(chosen.json, record.record(rows=rows))


if __name__ == "__main__":
    main()
