"""Timing that a shared machine can't fool easily: the competitors take turns within one run, and what is reported are
medians with their spread, and the median of the ratios taken turn by turn."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

Call = Callable[[], object]


def interleaved(calls: dict[str, Call], seconds: float, warm_up: int = 1) -> dict[str, list[float]]:
    """Microseconds of each call, one sample a turn; each is run once untimed just before, to find its caches warm."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[next(iter(calls))]) < 5:
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            samples[name].append((time.perf_counter() - start) * 1e6)
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    """Median and 20th and 80th percentile."""
    cuts = statistics.quantiles(samples, n=5)
    return {"median_us": statistics.median(samples), "p20_us": cuts[0], "p80_us": cuts[3]}


def ratio(samples: list[float], base: list[float]) -> float:
    """Median over turns of time / base time: both were taken within the same moments."""
    return statistics.median(one / other for one, other in zip(samples, base, strict=True))


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {"processor": model, "threads": torch.get_num_threads(), "system": platform.platform()}


def versions() -> dict[str, str]:
    """Of what takes part."""
    names = ("mmr-kernels", "torch", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}
