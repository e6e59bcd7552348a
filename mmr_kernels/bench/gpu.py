"""What is measured on a GPU besides: the device's clock, CUDA-graph replay, and the floor that the bytes set.

Nothing here has run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mmr_kernels.bench.cases import Inputs
from mmr_kernels.bench.measure import Call, Clock, interleaved, summary
from mmr_kernels.bench.provider import Trial

#: Larger than any GPU's last cache.
SWEEP_BYTES = 256 * 2**20


def device_clock() -> Clock:
    """Microseconds between two events around a call; the last cache is swept before, so embeddings come from memory.

    The sweep takes longer than a launch costs the host, so the device doesn't wait for it.
    """
    sweep = torch.empty(SWEEP_BYTES, dtype=torch.int8, device="cuda")

    def clock(call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        sweep.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e3

    return clock


def replayed(prepare: Callable[[Inputs], Trial]) -> Callable[[Inputs], Trial]:
    """The provider's call captured in a CUDA graph; what is timed is the graph's replay."""

    def prepare_graph(inputs: Inputs) -> Trial:
        eager = prepare(inputs)
        if (wrong := eager.wrong()) is not None:  # this warms up too: kernels are compiled before the capture
            return Trial(eager.call, lambda: wrong)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = eager.call()

        def wrong_replay() -> str | None:
            assert isinstance(captured, torch.Tensor)
            captured.zero_()
            graph.replay()
            return None if torch.equal(captured, _result(eager)) else "the replay differs from the call"

        return Trial(graph.replay, wrong_replay)

    return prepare_graph


def _result(trial: Trial) -> torch.Tensor:
    result = trial.call()
    assert isinstance(result, torch.Tensor)
    return result


def bytes_moved(inputs: Inputs) -> int:
    """That the whole op must move: embeddings and rewards in, advantages out, once each."""
    return inputs.embeddings.nbytes + 2 * inputs.rewards.nbytes


def floors(seconds: float, clock: Clock) -> dict[str, Any]:
    """The bandwidth of a large copy, in GB/s, and the time of an empty launch."""
    data, one = torch.empty(2**28, dtype=torch.int8, device="cuda"), torch.zeros(1, device="cuda")
    other = torch.empty_like(data)
    calls: dict[str, Call] = {"copy": lambda: other.copy_(data), "launch": one.zero_}
    samples = interleaved(calls, seconds, clock=clock)
    copy = summary(samples["copy"])["median_us"]
    return {"copy_gb_per_s": 2 * data.nbytes / copy / 1e3, "launch_us": summary(samples["launch"])["median_us"]}


def against_floor(inputs: Inputs, median_us: float, copy_gb_per_s: float) -> dict[str, float]:
    """What a time means: bandwidth achieved, and how many times the floor, bytes over the copy's bandwidth, it is."""
    moved = bytes_moved(inputs)
    floor_us = moved / copy_gb_per_s / 1e3
    return {
        "bytes": moved,
        "gb_per_s": moved / median_us / 1e3,
        "floor_us": floor_us,
        "ratio_to_floor": median_us / floor_us,
    }
