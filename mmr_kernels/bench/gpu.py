"""The device's own time on a GPU, and the floor that the bytes set.

Two events around one call on a stream count 3 to 5 µs of its launch, as much as a small kernel takes. So a CUDA graph
holds many calls, each with inputs of its own, and what is timed is a replay: between its calls there is no launch from
the host. On a GPU it has run in `make gpu-check` (docs/gpu.md); in the suite it runs with a mock of ``torch.cuda``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from mmr_kernels.bench.cases import Inputs
from mmr_kernels.bench.measure import Call, interleaved, summary

#: Inputs of one replay: several times the last cache of any GPU, so that they come from memory each time.
ROTATING_BYTES = 300_000_000
#: Calls of one replay, where their inputs are small.
MOST_CALLS = 64
#: Seconds of one replay, where a call is slow.
LONGEST_REPLAY = 0.1
COPIED_BYTES = 2**28
#: Calls in a row, and how often, for the host's time.
HOST_CALLS, HOST_TURNS = 20, 25


class Graph:
    """Calls captured in one CUDA graph, which replays them; ``results`` are what each gave, filled by every replay."""

    def __init__(self, calls: list[Call]) -> None:
        # A warm-up beside the capture, before it: kernels are compiled and workspaces made.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for call in calls:
                call()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.results = [call() for call in calls]

    def __call__(self) -> None:
        self.graph.replay()


def captured(prepare: Callable[[Inputs], Call], inputs: Inputs) -> Graph:
    """A graph of the call on as many copies of the inputs as a replay takes, their members rolled."""
    call = prepare(inputs)
    call()
    seconds = device_clock(call) / 1e6
    count = min(MOST_CALLS, ROTATING_BYTES // inputs.embeddings.nbytes, int(LONGEST_REPLAY / seconds))
    rolled = (
        inputs._replace(rewards=inputs.rewards.roll(by, 1), embeddings=inputs.embeddings.roll(by, 1))
        for by in range(1, count)
    )
    return Graph([call, *map(prepare, rolled)])


def device_clock(call: Call) -> float:
    """Microseconds of one call: of a graph on the device's clock, of anything else on the host's, until it is done."""
    if not isinstance(call, Graph):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return (time.perf_counter() - begin) * 1e6
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e3 / len(call.results)


def host_us(call: Call) -> float:
    """Microseconds that a call takes the host when it doesn't wait for the device."""
    taken = []
    for _ in range(HOST_TURNS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(HOST_CALLS):
            call()
        taken.append((time.perf_counter() - begin) * 1e6 / HOST_CALLS)
    torch.cuda.synchronize()
    return statistics.median(taken)


def floors(seconds: float, device: str = "cuda") -> dict[str, Any]:
    """The bandwidth of a large copy, in GB/s, and the time of an empty kernel in a graph."""
    data, one = torch.empty(COPIED_BYTES, dtype=torch.int8, device=device), torch.zeros(1, device=device)
    other = torch.empty_like(data)
    calls: dict[str, Call] = {"copy": Graph([lambda: other.copy_(data)]), "launch": Graph([one.zero_] * MOST_CALLS)}
    samples = interleaved(calls, seconds, device_clock)
    copy, launch = (summary(samples[name])["median_us"] for name in calls)
    return {"copy_gb_per_s": 2 * data.nbytes / copy / 1e3, "launch_us": launch}


def bytes_moved(inputs: Inputs) -> int:
    """Those that the whole op must move: embeddings and rewards in, advantages out, once each."""
    return inputs.embeddings.nbytes + 2 * inputs.rewards.nbytes


def against_floor(inputs: Inputs, median_us: float, copy_gb_per_s: float) -> dict[str, float]:
    """Bandwidth achieved, and how many times the floor, which is the bytes over the copy's bandwidth, a time is."""
    moved = bytes_moved(inputs)
    floor_us = moved / copy_gb_per_s / 1e3
    return {
        "bytes": moved,
        "gb_per_s": moved / median_us / 1e3,
        "floor_us": floor_us,
        "ratio_to_floor": median_us / floor_us,
    }
