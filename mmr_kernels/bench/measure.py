"""Timing that a shared machine can't fool easily: the competitors take turns within one run, and what is reported are
medians with their spread, and the median of the ratios taken turn by turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

Call = Callable[[], object]
#: Microseconds of one call.
Clock = Callable[[Call], float]

FEWEST_TURNS = 5
#: Seconds for which a call is run untimed before it is timed: one call of a few microseconds doesn't warm caches up.
WARM_UP = 200e-6


def wall_clock(call: Call) -> float:
    """The host's clock, of one call; just before, it runs untimed, once at least, so that its caches are warm."""
    end = time.perf_counter() + WARM_UP
    call()
    while time.perf_counter() < end:
        call()
    return cold_clock(call)


def cold_clock(call: Call) -> float:
    """The host's clock, of one call as it comes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e6


def interleaved(
    calls: dict[str, Call],
    seconds: float,
    clock: Clock = wall_clock,
    fewest: int = FEWEST_TURNS,
    pause: float = 0.0,
) -> dict[str, list[float]]:
    """Microseconds of each call, one sample per turn, for so many seconds and ``fewest`` turns at least.

    ``pause``: seconds before each turn, for what the last call of the turn before left running.
    """
    for call in calls.values():
        call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[next(iter(calls))]) < fewest:
        time.sleep(pause)
        for name, call in calls.items():
            samples[name].append(clock(call))
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    """Median and 20th and 80th percentile, interpolated between samples and never beyond them."""
    cuts = statistics.quantiles(samples, n=5, method="inclusive")
    return {"median_us": statistics.median(samples), "p20_us": cuts[0], "p80_us": cuts[3]}


def figures(calls: dict[str, Call], seconds: float, clock: Clock = wall_clock) -> list[dict[str, Any]]:
    """A row per call, taken in turns: its ``name`` and ``summary``."""
    return [{"name": name, **summary(samples)} for name, samples in interleaved(calls, seconds, clock).items()]


def ratio(samples: list[float], base: list[float]) -> float:
    """Median over turns of time / base time: both were taken within the same moments."""
    return statistics.median(one / other for one, other in zip(samples, base, strict=True))
