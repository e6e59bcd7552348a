"""``python -m bench.triton_tune``: looks for better rows of ``backends.triton.configurations`` and prints them.

Needs a GPU; has not run on one yet. Times are ``mmr-kernels bench``'s: the device's, by graph replay.
"""

from __future__ import annotations

import itertools
import statistics
import sys

import torch
import typer

from mmr_kernels import mmr_advantages
from mmr_kernels.backends import this_host, triton
from mmr_kernels.backends.triton import configurations
from mmr_kernels.bench.cases import Case, Inputs, make_inputs
from mmr_kernels.bench.gpu import captured, device_clock
from mmr_kernels.bench.measure import Call, interleaved


def call(inputs: Inputs) -> Call:
    """The call that is timed."""
    return lambda: mmr_advantages(inputs.rewards, inputs.embeddings, backend="triton")


def tune(groups: int, dim: int, seconds: float) -> None:
    """Every row against its neighbours; prints those that were beaten by a tenth or more."""
    for (members, width), row in list(configurations.CONFIGURATIONS.items()):
        if members > 512:
            continue
        inputs = make_inputs(Case(groups, members, dim, "bfloat16" if width == 2 else "float32"), "cuda")
        times = {}
        blocks, warps = (row.block_dim // 2, row.block_dim, 2 * row.block_dim), (row.num_warps, 2 * row.num_warps)
        for block, warp, stages in itertools.product(blocks, warps, (2, 3, 4, 5)):
            if block < 16:
                continue
            candidate = row._replace(block_dim=block, num_warps=warp, num_stages=stages)
            configurations.CONFIGURATIONS[members, width] = candidate
            try:
                samples = interleaved({"call": captured(call, inputs)}, seconds, device_clock)
                times[candidate] = statistics.median(samples["call"])
            except RuntimeError as error:  # more shared memory than the device has
                print(f"# {candidate}: {error}", file=sys.stderr)
        configurations.CONFIGURATIONS[members, width] = row
        best = min(times, key=times.__getitem__)
        if row not in times or times[best] < 0.9 * times[row]:
            print(
                f"    ({members}, {width}): {best!r},  # {times[best]:.1f} us, was {times.get(row, float('nan')):.1f}"
            )


def main(groups: int = 128, dim: int = 1024, seconds: float = 0.05) -> None:
    """Tune, where there is a GPU."""
    reason = triton.why_not_here(this_host())
    if reason is not None or not torch.cuda.is_available():
        sys.exit(f"backend 'triton' {reason or 'runs in its interpreter here; unset TRITON_INTERPRET and use a GPU'}")
    tune(groups, dim, seconds)


if __name__ == "__main__":
    typer.run(main)
