"""The cost of a call: the device by graph replay over rotating inputs, the host, both until the result is there."""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from mmr_kernels import mmr_advantages, mmr_reweight
from mmr_kernels.bench import baselines, gpu
from mmr_kernels.bench.cases import Case, Inputs, make_inputs
from mmr_kernels.bench.correctness import wrong_advantages
from mmr_kernels.bench.measure import Call, Clock, cold_clock
from tools.gpu_check import BACKENDS
from tools.gpu_check.phase import Place, Save, together

SHAPES = (
    (8, 8, "group"), (16, 8, "group"), (64, 16, "group"), (512, 16, "group"), (64, 64, "group"), (8, 128, "group"),
    (16, 64, "batch"), (64, 64, "batch"), (6, 8, "batch"),
)  # fmt: skip
#: The most telling first: what the time doesn't suffice for is left out.
KINDS = [(1024, "bfloat16"), (4096, "bfloat16"), (1024, "float32")]
KINDS += [(384, "bfloat16"), (4096, "float32"), (384, "float32")]
CASES = [Case(groups, size, dim, dtype, scope) for dim, dtype in KINDS for groups, size, scope in SHAPES]
DRY_CASES = [Case(2, 8, 40, "bfloat16"), Case(2, 34, 24), Case(2, 24, 16, "bfloat16", "batch")]
#: Where the baselines are timed, and where torch.compile is given the time that it takes.
BASELINES = [case for case in CASES if case.dim == 1024 and case.dtype == "bfloat16"]
COMPILED = Case(64, 16, 1024, "bfloat16")
#: Values of the embeddings up to which a result is replayed before its call is timed.
LARGEST_REPLAYED = 2**22
SAMPLES, SECONDS = 25, 0.3
#: A call for which the host's time and the cache's make no difference.
SLOW_US = 3000
#: Of the same inputs in one replay, which come from the last cache.
HOT_CALLS = 8
#: Of the phase's seconds, what it takes to start and to end.
STARTS_AND_ENDS = 12
#: Of a case. One that takes longer is left out, as are those that come after the phase's time.
MOST_SECONDS = 60
#: Microseconds of a call until its result is there.
UNTIL_DONE = {"cuda": gpu.device_clock, "cpu": cold_clock}


def run(save: Save, place: Place) -> None:
    """First calls, what the card can do, then one row per case."""
    end, cases = time.monotonic() + place.seconds - STARTS_AND_ENDS, DRY_CASES if place.dry else CASES
    result: dict[str, Any] = {"first_calls": [], "rows": [], "left_out": [], "wrong": []}
    calls = [(cases[number :: place.workers], place.device) for number in range(min(place.workers, len(cases)))]
    for found, problem in together(first_calls, calls, place.seconds / 2):
        result["first_calls"] += found.get("rows", [])
        result["wrong"] += [f"a first call {problem}"] if problem else []
    save(result)
    if not place.dry:
        result["card"] = gpu.floors(0.5)
    for case in cases:
        try:
            with at_most(min(MOST_SECONDS, end - time.monotonic())):
                row, wrong = timed(case, place.device)
        except TookTooLong:
            result["left_out"].append(str(case))
        else:
            result["rows"].append(row)
            result["wrong"] += [f"{case}: {sentence}" for sentence in wrong]
        save(result)


class TookTooLong(BaseException):
    """Not an Exception, which torch.compile would wrap in one of its own."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TookTooLong after so many seconds, once the call of torch that runs then has ended."""

    def late(*_: object) -> None:
        raise TookTooLong

    if seconds <= 0:
        raise TookTooLong
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def first_calls(save: Save, cases: list[Case], device: str) -> None:
    """Triton compiles, into its cache on disk; as many processes as there are workers do it at once."""
    rows = []
    for case in cases:
        inputs, row = make_inputs(case, device), _sizes(case)
        for backend in BACKENDS:
            row[f"{backend}_s"] = round(UNTIL_DONE[device](_advantages(inputs, backend)) / 1e6, 2)
            _reweighted(inputs, backend)
        rows.append(row)
        save({"rows": rows})


def timed(case: Case, device: str) -> tuple[dict[str, Any], list[str]]:
    """All of one case, and what is wrong with its results."""
    inputs, until_done, wrong = make_inputs(case, device), UNTIL_DONE[device], []
    row = _sizes(case) | {"bytes": gpu.bytes_moved(inputs)}
    row["bmm_us"], row["inputs"] = _on_device(baselines.bmm, inputs, device)
    for backend in BACKENDS:
        prepare = partial(_advantages, backend=backend)
        call = prepare(inputs)
        if inputs.embeddings.numel() <= LARGEST_REPLAYED:
            problem = wrong_advantages(inputs, call(), _reweighted(inputs, backend))
            wrong += [f"{backend}: {problem}"] if problem else []
        row[f"{backend}_us"], row[f"{backend}_inputs"] = _on_device(prepare, inputs, device)
        row[f"{backend}_latency_us"] = _sampled(until_done, call)
        if device == "cuda" and row[f"{backend}_latency_us"] < SLOW_US:
            row[f"{backend}_hot_us"] = _sampled(gpu.device_clock, gpu.Graph([call] * HOT_CALLS))
            row[f"{backend}_host_us"] = gpu.host_us(call)
    if case in BASELINES or device == "cpu":
        row["batched_latency_us"] = _sampled(until_done, _baseline(inputs, baselines.batched))
        row["loop_latency_us"] = _sampled(until_done, _baseline(inputs, baselines.loop))
    if case == COMPILED:
        compiled = torch.compile(baselines.batched, fullgraph=True, dynamic=False)
        row["compiled_us"], _ = _on_device(partial(_baseline, function=compiled), inputs, device)
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}, wrong


def _sizes(case: Case) -> dict[str, Any]:
    return {name: value for name, value in case._asdict().items() if name != "task"}


def _advantages(inputs: Inputs, backend: Any) -> Call:
    return lambda: mmr_advantages(inputs.rewards, inputs.embeddings, scope=inputs.case.scope, backend=backend)


def _reweighted(inputs: Inputs, backend: Any) -> torch.Tensor:
    return mmr_reweight(inputs.rewards, inputs.embeddings, scope=inputs.case.scope, backend=backend)


def _baseline(inputs: Inputs, function: Any) -> Call:
    return lambda: function(inputs.rewards, inputs.embeddings, inputs.case.scope)


def _on_device(prepare: Callable[[Inputs], Call], inputs: Inputs, device: str) -> tuple[float, int]:
    """Microseconds of a call, and how many inputs took turns."""
    if device == "cpu":
        return cold_clock(prepare(inputs)), 1
    graph = gpu.captured(prepare, inputs)
    return _sampled(gpu.device_clock, graph), len(graph.results)


def _sampled(clock: Clock, call: Call) -> float:
    """The median of some samples, after one that is not counted."""
    end, taken = time.monotonic() + SECONDS, [clock(call)]
    while len(taken) < SAMPLES and (len(taken) == 1 or time.monotonic() < end):
        taken.append(clock(call))
    return statistics.median(taken[1:])


warnings.filterwarnings("ignore", module="torch")
