"""The host's cost of a call of ``backend="triton"`` or ``"cuda"``: everything but the driver's launch, without a GPU.

Tensors lie on the CPU. Triton's driver is stubbed, and kernels are compiled for sm_90 and never run; the module
``_cuda`` is told of no groups, for which it launches nothing.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal

import torch
import typer

from mmr_kernels import backends, mmr_advantages
from mmr_kernels.backends import Host, cuda
from mmr_kernels.backends import triton as triton_backend
from mmr_kernels.backends.extension import arguments
from mmr_kernels.bench.measure import Call, figures
from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import timings
from mmr_kernels.options import Options, completed
from mmr_kernels.problem import Problem, allocate_outputs

#: Places of the number of completions and of groups among ``extension.arguments``.
COUNTS = slice(4, 6)


def problem(groups: int, size: int, dim: int, dtype: torch.dtype) -> Problem:
    """A call with one output."""
    return Problem(
        torch.rand(groups, size), torch.randn(groups, size, dim).to(dtype), groups, size, completed(Options())
    )


def triton_calls(size: int) -> dict[str, Call]:
    """A call for 16 groups of this size, and its parts."""
    from mmr_kernels.backends.triton.advantages import mmr_kernel

    call = problem(16, size, 1024, torch.bfloat16)
    outputs = allocate_outputs(call)
    buffers = triton_backend.buffers(call, outputs)
    given, constants, options = triton_backend.launch_arguments(call, outputs, *buffers, amd=False)
    named = dict(options)
    calls: dict[str, Call] = {
        "outputs and scratch": lambda: triton_backend.buffers(call, allocate_outputs(call)),
        "arguments": lambda: triton_backend.launch_arguments(call, outputs, *buffers, amd=False),
        "launch by Triton's launcher": lambda: mmr_kernel[(16,)](*given, *constants, **named),
        "launch by the kept handle": lambda: triton_backend._start(mmr_kernel, (16, 1, 1), given, constants, options),
        "backends.triton.run": lambda: triton_backend.run(call),
    }
    return {f"G = {size}: {name}": part for name, part in calls.items()}


def cuda_calls() -> dict[str, Call]:
    """A call for 64 groups of 16, and its parts."""
    module = importlib.import_module("mmr_kernels._cuda")

    def nobody(arguments: tuple[object, ...]) -> list[object]:
        changed = list(arguments)
        changed[COUNTS] = 0, 0
        return changed

    stub: Any = ModuleType("without_launch")
    vars(stub).update(vars(module), mmr=lambda *a: module.mmr(*nobody(a)))
    cuda._extension = lambda name: stub
    everything = Host(**dict.fromkeys(Host._fields, None))  # the emulator among it: it takes CPU tensors
    backends.this_host = lambda: everything  # type: ignore[assignment]
    call = problem(64, 16, 512, torch.float32)
    outputs = allocate_outputs(call)
    packed = (*nobody(arguments(stub, call, outputs)), 0, 0, None)
    return {
        "output": lambda: allocate_outputs(call),
        "arguments": lambda: arguments(stub, call, outputs),
        "binding": lambda: module.mmr(*packed),
        "backends.cuda.run": lambda: cuda.run(call),
        "mmr_advantages": lambda: mmr_advantages(call.rewards, call.embeddings, backend="cuda"),
    }


def stub_driver() -> None:
    """As much of a Triton driver as a launch asks for; its launcher takes the arguments and drops them."""
    import triton
    from triton.backends.compiler import GPUTarget

    utils = SimpleNamespace(
        load_binary=lambda *_: (0, 0, 0, 0, 1024),
        unload_module=lambda _: None,
        get_device_properties=lambda _: {"max_shared_mem": 232448},
    )
    driver = SimpleNamespace(
        utils=utils,
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
        launcher_cls=lambda source, metadata: lambda *arguments: None,
    )
    triton.runtime.driver.set_active(driver)


def main(
    backend: Annotated[Literal["triton", "cuda"], typer.Argument(help="Whose call.")] = "triton",
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend on each size.")] = 3.0,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    if backend == "triton":
        stub_driver()
        sizes = [triton_calls(size) for size in (8, 128)]
    else:
        sizes = [cuda_calls()]
    rows = [row for calls in sizes for row in figures(calls, seconds)]
    timings(f"the host's cost of a call of backend={backend!r}", rows).print()
    if json_path:
        write(json_path, record(rows=rows))


if __name__ == "__main__":
    typer.run(main)
