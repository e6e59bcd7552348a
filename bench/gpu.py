"""``make bench-gpu``: time on the device against the floors and the eager baselines; ``--tune`` looks for better rows
of ``backends.triton.CONFIGURATIONS`` and prints them. Needs a GPU; nothing in the repository quotes its figures.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable

import torch

from bench import baselines
from mmr_kernels import mmr_advantages
from mmr_kernels.backends import this_host, triton

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def microseconds(call: Callable[[], object], turns: int = 50) -> float:
    """Median on the device's clock, the L2 cache swept before each turn; ``call`` was warmed up."""
    for _ in range(3):
        call()
    sweep = torch.empty(256 * 2**20, dtype=torch.int8, device="cuda")
    samples = []
    for _ in range(turns):
        sweep.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        samples.append(start.elapsed_time(end) * 1e3)
    return statistics.median(samples)


def bandwidth() -> float:
    """Bytes a microsecond of a large copy: the roof that the bytes floor is taken from."""
    data = torch.empty(2**28, dtype=torch.int8, device="cuda")
    other = torch.empty_like(data)
    return 2 * data.numel() / microseconds(lambda: other.copy_(data))


def table(groups: int, dim: int) -> None:
    """One line a size: the kernel, an empty launch, the bytes at the copy's bandwidth, the baselines."""
    roof, one = bandwidth(), torch.zeros(1, device="cuda")
    empty = microseconds(lambda: one.zero_())
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {groups} groups, D = {dim}; microseconds")
    print(f"{'G':>5} {'dtype':5} {'triton':>8} {'launch':>8} {'bytes':>8} {'eager':>10} {'published':>10}")
    for size, (name, dtype) in itertools.product((8, 16, 32, 64, 128, 256), DTYPES.items()):
        rewards = torch.rand(groups, size, device="cuda")
        embeddings = torch.randn(groups, size, dim, device="cuda").to(dtype)
        wide = embeddings.float()
        ours = mmr_advantages(rewards, embeddings, backend="triton")
        torch.testing.assert_close(ours, mmr_advantages(rewards, embeddings, backend="torch"), rtol=1e-3, atol=1e-3)
        kernel = microseconds(lambda r=rewards, e=embeddings: mmr_advantages(r, e, backend="triton"))
        floor = (embeddings.nbytes + 2 * rewards.nbytes) / roof
        eager = microseconds(lambda r=rewards, e=embeddings: mmr_advantages(r, e, backend="torch"), 10)
        loop = microseconds(lambda r=rewards, e=wide: baselines.loop(r, e), 3)
        print(f"{size:5} {name:5} {kernel:8.1f} {empty:8.1f} {floor:8.1f} {eager:10.1f} {loop:10.1f}")


def tune(groups: int, dim: int) -> None:
    """Every row against its neighbours; prints those that were beaten by a tenth or more."""
    for (members, width), row in list(triton.CONFIGURATIONS.items()):
        if members > 512:
            continue
        rewards = torch.rand(groups, members, device="cuda")
        dtype = torch.bfloat16 if width == 2 else torch.float32
        embeddings = torch.randn(groups, members, dim, device="cuda").to(dtype)
        times = {}
        blocks, warps = (row.block_dim // 2, row.block_dim, 2 * row.block_dim), (row.num_warps, 2 * row.num_warps)
        for block, warp, stages in itertools.product(blocks, warps, (2, 3, 4, 5)):
            if block < 16 or (members <= 32 and warp > 1):
                continue
            candidate = row._replace(block_dim=block, num_warps=warp, num_stages=stages)
            triton.CONFIGURATIONS[members, width] = candidate
            try:
                times[candidate] = microseconds(
                    lambda r=rewards, e=embeddings: mmr_advantages(r, e, backend="triton"), 20
                )
            except RuntimeError as error:  # more shared memory than the device has
                print(f"# {candidate}: {error}", file=sys.stderr)
        triton.CONFIGURATIONS[members, width] = row
        best = min(times, key=times.__getitem__)
        if row not in times or times[best] < 0.9 * times[row]:
            print(
                f"    ({members}, {width}): {best!r},  # {times[best]:.1f} us, was {times.get(row, float('nan')):.1f}"
            )


def main() -> None:
    """The table, or with ``--tune`` a better one of configurations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=128)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--tune", action="store_true")
    chosen = parser.parse_args()
    reason = triton.why_not_here(this_host())
    if reason is not None or not torch.cuda.is_available():
        sys.exit(f"backend 'triton' {reason or 'runs in its interpreter here; unset TRITON_INTERPRET and use a GPU'}")
    (tune if chosen.tune else table)(chosen.groups, chosen.dim)


if __name__ == "__main__":
    main()
