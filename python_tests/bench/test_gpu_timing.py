"""Timing on a GPU, with a mock of ``torch.cuda``: what is captured, replayed, waited for and counted."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmr_kernels.bench import baselines, gpu
from mmr_kernels.bench.cases import Case, Inputs, Sweep, make_inputs
from mmr_kernels.bench.correctness import wrong_advantages
from mmr_kernels.bench.provider import Provider, Trial
from mmr_kernels.bench.run import Limits, run

LIMITS = Limits(0.01, 10.0, 10.0, 2)


class Device:
    """``torch.cuda`` with a clock that each look at it moves by a microsecond, and each replay by ``REPLAY``."""

    REPLAY = 1e-3

    def __init__(self) -> None:
        self.now = 0.0
        self.replays = 0

    def perf_counter(self) -> float:
        self.now += 1e-6
        return self.now

    def replay(self) -> None:
        self.now += self.REPLAY
        self.replays += 1


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    mock = Device()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = mock.now

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: Event) -> float:
            return (end.at - self.at) * 1e3

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "Event": Event,
        "CUDAGraph": lambda: SimpleNamespace(replay=mock.replay),
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "graph": contextlib.nullcontext,
        "stream": contextlib.nullcontext,
        "synchronize": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(gpu, "time", mock)
    monkeypatch.setattr(gpu, "COPIED_BYTES", 2**10)
    monkeypatch.setattr(gpu.floors, "__defaults__", ("cpu",))
    monkeypatch.setattr("mmr_kernels.bench.run.make_inputs", lambda case, device: make_inputs(case, "cpu"))
    return mock


@pytest.mark.usefixtures("device")
def test_a_replay_has_many_calls_with_inputs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Inputs] = []
    inputs = make_inputs(Case(2, 4, 8), "cpu")

    def prepare(inputs: Inputs) -> Any:
        seen.append(inputs)
        return lambda: inputs.rewards

    graph = gpu.captured(prepare, inputs)
    assert len(graph.results) == len(seen) == gpu.MOST_CALLS
    assert seen[0] is inputs
    assert len({each.embeddings.data_ptr() for each in seen}) == gpu.MOST_CALLS
    assert torch.equal(seen[3].rewards, inputs.rewards.roll(3, 1))
    assert gpu.device_clock(graph) == pytest.approx(1e3 / gpu.MOST_CALLS), "of one call, not of the replay"
    monkeypatch.setattr(gpu, "ROTATING_BYTES", 3 * inputs.embeddings.nbytes)
    assert len(gpu.captured(prepare, inputs).results) == 3
    monkeypatch.setattr(gpu, "LONGEST_REPLAY", 1e-9)
    assert len(gpu.captured(prepare, inputs).results) == 1, "a slow call is replayed alone"


def test_kernels_are_replayed_and_everything_else_is_waited_for(device: Device) -> None:
    def prepare(inputs: Inputs) -> Trial:
        call = lambda: baselines.batched(inputs.rewards, inputs.embeddings)  # noqa: E731
        return Trial(call, lambda result: wrong_advantages(inputs, *result))

    kernel = Provider("kernel", "ours", "advantages", None, prepare, captured=True)
    table = [kernel, kernel._replace(name="eager", kind="baseline", captured=False)]
    report = run({"table": Sweep([Case(2, 4, 8)])}, table, LIMITS, "cuda")
    assert report["left_out"] == []
    assert device.replays >= 4 * LIMITS.fewest_turns
    times = {row["provider"]: row["median_us"] for row in report["rows"]}
    assert times["bmm"] == pytest.approx(1e3 / gpu.MOST_CALLS), "bmm's row is that of the kernels' clock"
    assert times["kernel"] == pytest.approx(1e3 / gpu.MOST_CALLS)
    assert report["speedups"][0]["ratios"]["eager"] == pytest.approx(1), "both waited for"
    (row,) = report["gpu"]["rows"]
    assert row["provider"] == "kernel"
    assert row["host_us"] == pytest.approx(1 / gpu.HOST_CALLS)
    assert {"copy_gb_per_s", "launch_us"} <= set(report["gpu"])


@pytest.mark.usefixtures("device")
def test_a_wrong_replay_is_not_timed() -> None:
    def prepare(inputs: Inputs) -> Trial:
        earlier = iter(["checked", "looked at by the clock"])
        return Trial(lambda: next(earlier, "captured"), lambda result: "it is empty" if result == "captured" else None)

    report = run(
        {"table": Sweep([Case(2, 4, 8)])},
        [Provider("kernel", "ours", "advantages", None, prepare, captured=True)],
        LIMITS,
        "cuda",
    )
    assert [(row["kind"], row["reason"]) for row in report["left_out"]] == [("wrong", "it is empty")]


def test_the_floor_is_the_bytes_over_the_bandwidth() -> None:
    inputs = make_inputs(Case(2, 4, 8, "bfloat16"), "cpu")
    figures = gpu.against_floor(inputs, median_us=3.0, copy_gb_per_s=0.1)
    moved = 2 * 4 * 8 * 2 + 2 * (2 * 4 * 4)  # embeddings; rewards and advantages
    assert figures == {"bytes": moved, "gb_per_s": moved / 3e3, "floor_us": moved / 100, "ratio_to_floor": 300 / moved}
