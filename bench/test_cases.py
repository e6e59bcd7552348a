"""The cases of ``mmr-kernels bench`` under pytest-benchmark: ``make bench``, one test per case and provider.

make bench ARGS="--benchmark-save=before"         # then change something
make bench ARGS="--benchmark-compare=*_before"    # docs/benchmark.md
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmr_kernels.bench.cases import Case, make_inputs, sweeps
from mmr_kernels.bench.provider import Provider
from mmr_kernels.bench.providers import providers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = list(dict.fromkeys(case for sweep in sweeps(quick=True).values() for case in sweep.cases))
PAIRS = [
    pytest.param(case, provider, id=f"{'x'.join(map(str, case[:3]))}-{'-'.join(case[3:])}-{provider.name}")
    for case in CASES
    for provider in providers(DEVICE)
    if provider.task in case.tasks and (case == CASES[0] or provider.asked_for_as != "batched+torch.compile")
]


@pytest.mark.parametrize(("case", "provider"), PAIRS)
def test_time(case: Case, provider: Provider, benchmark: Any) -> None:
    if (reason := provider.why_not_here or provider.why_not(case)) is not None:
        pytest.skip(f"{provider.name}: {reason}")
    trial = provider.prepare(make_inputs(case, DEVICE))
    assert (wrong := trial.wrong(trial.call())) is None, wrong
    benchmark.group = f"{case.task}: {case}"

    def call() -> None:
        trial.call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark(call)
