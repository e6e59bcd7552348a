"""Where a call on the CPU backend spends its time, for docs/cpu.md: the layers of the API, the floor under them, the
parts of the kernel, and how far the kernel is from what this machine's arithmetic can do.

The parts of the kernel are told apart from outside: ``method="none"`` forms no similarity, ``"smi"`` forms it and adds
it up, ``"mmr"`` forms it and picks; the dimension is varied to part what grows with it from what doesn't.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

import mmr_kernels
from mmr_kernels import _cpu, ops
from mmr_kernels.backends.extension import parsed
from mmr_kernels.bench.baselines import loop
from mmr_kernels.bench.measure import Call, cold_clock, interleaved, summary
from mmr_kernels.bench.record import record, write
from mmr_kernels.options import Options, pack

GROUPS, GROUP_SIZE, DIM = 64, 16, 512
#: How many times faster than the loop one small group was hoped to be.
HOPED = 40
#: A call that comes once, after other work.
COLD = "1 × 6 × 512: API, once after a loop"


def op_call(rewards: torch.Tensor, embeddings: torch.Tensor) -> Call:
    """The op without the API in front of it."""
    options = pack(*Options(backend="cpu"))
    return lambda: ops.mmr(rewards, embeddings, options)


def floor_call(rewards: torch.Tensor, embeddings: torch.Tensor) -> Call:
    """An op of the same schema that does nothing but make its output: what torch's dispatcher costs alone."""
    library = torch.library.Library("mmr_kernels_floor", "DEF")  # type: ignore[no-untyped-call]
    schema = str(ops.mmr._schema).partition("(")[2]
    library.define(f"empty({schema}")  # type: ignore[no-untyped-call]
    implementation = lambda rewards, *rest: torch.empty_like(rewards)  # noqa: E731
    library.impl("empty", implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    library.impl("empty", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    empty, options = torch.ops.mmr_kernels_floor.empty.default, pack(*Options(backend="cpu"))
    return lambda library=library: empty(rewards, embeddings, options)  # type: ignore[misc]


def kernel_call(rewards: torch.Tensor, embeddings: torch.Tensor, method: str, threads: int) -> Call:
    """The compiled function alone."""
    options = parsed(_cpu, Options(method=method))
    result = torch.empty_like(rewards)
    return lambda: _cpu.plain(rewards, embeddings, options, 0, result, False, threads)


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend on each of the five comparisons.")] = 6.0,
) -> None:
    """Measure and print."""
    generator = torch.Generator().manual_seed(0)

    def inputs(groups: int, size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(groups, size, generator=generator), torch.randn(groups, size, dim, generator=generator)

    small, large, short = inputs(1, 6, DIM), inputs(GROUPS, GROUP_SIZE, DIM), inputs(GROUPS, GROUP_SIZE, 16)
    matrix = torch.randn(2048, 2048, generator=generator)
    times: dict[str, Any] = {}
    slow: dict[str, Call] = {"1 × 6 × 512: loop": lambda: loop(*small)}
    layers: dict[str, Call] = {
        "1 × 6 × 512: API": lambda: mmr_kernels.mmr_advantages(*small),
        "1 × 6 × 512: op": op_call(*small),
        "1 × 6 × 512: an op that does nothing": floor_call(*small),
        "1 × 6 × 512: compiled": kernel_call(*small, "mmr", 1),
    }
    parts: dict[str, Call] = {
        "64 × 16 × 512, 2 threads: API": lambda: mmr_kernels.mmr_advantages(*large),
        "64 × 16 × 512, 2 threads: compiled": kernel_call(*large, "mmr", 2),
        "64 × 16 × 512, 1 thread: compiled": kernel_call(*large, "mmr", 1),
        "… similarity summed, nothing picked": kernel_call(*large, "smi", 1),
        "… no similarity": kernel_call(*large, "none", 1),
        "… 16 dimensions": kernel_call(*short, "mmr", 1),
        "bmm": lambda: torch.bmm(large[1], large[1].transpose(1, 2)),
    }
    for calls in (slow, layers, parts, {"mm 2048": lambda: matrix @ matrix}):
        times |= {name: summary(samples) for name, samples in interleaved(calls, seconds).items()}
    as_they_come = interleaved(slow | {COLD: layers["1 × 6 × 512: API"]}, seconds, cold_clock)
    times[COLD] = summary(as_they_come[COLD])

    pairs = GROUPS * GROUP_SIZE * (GROUP_SIZE + 1) / 2 * DIM
    gflops = {
        "compiled, 2 threads": 2 * pairs / times["64 × 16 × 512, 2 threads: compiled"]["median_us"] / 1e3,
        "bmm": 2 * GROUPS * GROUP_SIZE**2 * DIM / times["bmm"]["median_us"] / 1e3,
        "mm 2048": 2 * 2048**3 / times["mm 2048"]["median_us"] / 1e3,
    }
    one = {name.partition(": ")[2]: row["median_us"] for name, row in times.items() if name.startswith("1 × 6")}
    floor = one["an op that does nothing"] + one["compiled"]
    against_loop = {
        f"loop / {HOPED}": one["loop"] / HOPED,
        "floor: an op that does nothing + compiled": floor,
        "loop / floor": one["loop"] / floor,
        "loop / API": one["loop"] / one["API"],
    }
    table = Table("", "µs", "20th–80th percentile")
    for name, row in times.items():
        table.add_row(name, f"{row['median_us']:.1f}", f"{row['p20_us']:.1f}–{row['p80_us']:.1f}")
    console = Console()
    console.print(table)
    console.print({name: f"{value:.0f} GFLOP/s" for name, value in gflops.items()})
    console.print({name: f"{value:.1f}" for name, value in against_loop.items()})
    if json_path:
        write(json_path, record(times=times, gflops=gflops, against_loop=against_loop))


if __name__ == "__main__":
    typer.run(main)
