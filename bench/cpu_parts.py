"""Where a call on the CPU backend spends its time, for docs/cpu.md: the layers of the API, the floor under them, the
parts of the kernel, and how far the kernel is from what this machine's arithmetic can do.

The call is a trainer's: flat, with the size of a group, a mask and details. Its parts are recorded while it runs: the
op with the arguments that it gets, and the compiled function with those that it gets. The parts of the kernel are told
apart from outside: ``method="none"`` forms no similarity, ``"smi"`` forms it and adds it up, ``"mmr"`` forms it and
picks; the dimension is varied to part what grows with it from what doesn't.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock

import torch
import typer
from rich import print
from torch.utils._python_dispatch import TorchDispatchMode

from mmr_kernels import _cpu, mmr_advantages
from mmr_kernels.bench.baselines import loop
from mmr_kernels.bench.cases import Case, Inputs, make_inputs
from mmr_kernels.bench.measure import Call, cold_clock, figures
from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import timings

SMALL, LARGE, SHORT = Case(1, 6, 512), Case(64, 16, 512), Case(64, 16, 16)


class Parts(NamedTuple):
    """One call, and what it calls."""

    api: Call
    op: Call
    nothing: Call  # an op of the same schema that only makes its outputs: what torch costs alone
    compiled: Call


class Ops(TorchDispatchMode):
    """Notes the last op of this package that is called."""

    called: Any = None

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = op(*args, **(kwargs or {}))
        if op.namespace == "mmr_kernels":
            self.called = op, args, kwargs or {}, result
        return result


def parts(inputs: Inputs, threads: int = 1, **options: Any) -> Parts:
    """Those of a trainer's call with these options."""
    rewards, embeddings = inputs.rewards.flatten(), inputs.embeddings.flatten(0, 1)
    options |= {"valid": torch.ones_like(rewards, dtype=torch.bool), "group_size": inputs.case.group_size}

    def api() -> object:
        return mmr_advantages(rewards, embeddings, backend="cpu", return_details=True, **options)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # the backend passes it on
    with mock.patch.object(_cpu, "mmr", wraps=_cpu.mmr) as compiled, Ops() as ops:
        api()
    torch.set_num_threads(before)
    op, args, kwargs, outputs = ops.called
    nothing = _empty_op(op, outputs)
    function, given = _cpu.mmr, compiled.call_args.args

    def compiled_call(alive: object = (args, kwargs, outputs)) -> object:  # it is given their addresses
        return function(*given)

    return Parts(api, lambda: op(*args, **kwargs), lambda: nothing(*args, **kwargs), compiled_call)


def _empty_op(op: Any, outputs: tuple[torch.Tensor, ...]) -> Any:
    library = torch.library.Library("mmr_kernels_floor", "FRAGMENT")  # type: ignore[no-untyped-call]
    name = f"empty_{id(library)}"
    library.define(name + str(op._schema)[str(op._schema).index("(") :])  # type: ignore[no-untyped-call]
    make = lambda *_, library=library: tuple(map(torch.empty_like, outputs))  # noqa: E731  # the library must live
    library.impl(name, make, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    library.impl(name, torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    return getattr(torch.ops.mmr_kernels_floor, name).default


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend on each of the five comparisons.")] = 6.0,
) -> None:
    """Measure and print."""
    small, large, short = (make_inputs(case, "cpu") for case in (SMALL, LARGE, SHORT))
    one, two = parts(small), parts(large, threads=2)
    matrix = torch.randn(2048, 2048)
    slow: dict[str, Call] = {f"{SMALL}: loop": lambda: loop(small.rewards, small.embeddings)}
    layers: dict[str, Call] = {
        f"{SMALL}: API": one.api,
        f"{SMALL}: API, one output of groups in rows": lambda: mmr_advantages(small.rewards, small.embeddings),
        f"{SMALL}: op": one.op,
        f"{SMALL}: an op that only makes its outputs": one.nothing,
        f"{SMALL}: compiled": one.compiled,
    }
    kernel: dict[str, Call] = {
        f"{LARGE}, 2 threads: API": two.api,
        f"{LARGE}, 2 threads: compiled": two.compiled,
        f"{LARGE}, 1 thread: compiled": parts(large).compiled,
        "… similarity summed, nothing picked": parts(large, method="smi").compiled,
        "… no similarity": parts(large, method="none").compiled,
        "… 16 dimensions": parts(short).compiled,
        "bmm": lambda: torch.bmm(large.embeddings, large.embeddings.transpose(1, 2)),
    }
    rows = [
        row for calls in (slow, layers, kernel, {"mm 2048": lambda: matrix @ matrix}) for row in figures(calls, seconds)
    ]
    once = f"{SMALL}: API, once after a loop"
    rows += figures(slow | {once: one.api}, seconds, cold_clock)[1:]
    timings("a call's parts", rows).print()

    us = {row["name"]: row["median_us"] for row in rows}
    groups, size, dim = LARGE[:3]
    gflops = {
        "compiled, 2 threads": groups * size * (size + 1) * dim / us[f"{LARGE}, 2 threads: compiled"] / 1e3,
        "bmm": 2 * groups * size**2 * dim / us["bmm"] / 1e3,
        "mm 2048": 2 * 2048**3 / us["mm 2048"] / 1e3,
    }
    print({name: f"{value:.0f} GFLOP/s" for name, value in gflops.items()})
    floor = us[f"{SMALL}: an op that only makes its outputs"] + us[f"{SMALL}: compiled"]
    against_loop = {
        "floor: an op that only makes its outputs + compiled": floor,
        "loop / floor": us[f"{SMALL}: loop"] / floor,
        "loop / API": us[f"{SMALL}: loop"] / us[f"{SMALL}: API"],
    }
    print({name: f"{value:.1f}" for name, value in against_loop.items()})
    if json_path:
        write(json_path, record(rows=rows, gflops=gflops, against_loop=against_loop))


if __name__ == "__main__":
    typer.run(main)
