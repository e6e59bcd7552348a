"""The run: what it times, what it leaves out and why, and what its figures mean."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmr_kernels.backends import BACKENDS, machine_reasons
from mmr_kernels.bench import baselines, measure
from mmr_kernels.bench.cases import BASE, KEY, Case, Inputs, Sweep, make_inputs, sweeps
from mmr_kernels.bench.correctness import wrong_advantages
from mmr_kernels.bench.exponents import exponents
from mmr_kernels.bench.provider import Provider, Trial
from mmr_kernels.bench.providers import providers
from mmr_kernels.bench.report import tables
from mmr_kernels.bench.run import FIELDS, Limits, run

OTHER_METHODS = [f", {name}" for name in ("details", "none", "smi", "share", "unique", "partition", "dpp")]
LIMITS = Limits(0.01, 10.0, 10.0, 2)
SMALL, LARGE = Case(2, 4, 8), Case(4, 4, 8)
TINY = {"groups": Sweep([SMALL, LARGE], "groups")}


class Planted:
    """The batched baseline, with its result changed; the clock of these tests gives its time as ``microseconds``."""

    def __init__(self, inputs: Inputs, change: Callable[[Any], Any], microseconds: float) -> None:
        self.inputs, self.change, self.microseconds = inputs, change, microseconds

    def __call__(self) -> Any:
        case, rewards, embeddings, _ = self.inputs
        return self.change(baselines.batched(rewards, embeddings, case.scope))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls take the time that was planted, whatever else runs on the machine; bmm takes 10 µs."""
    monkeypatch.setattr("mmr_kernels.bench.run.wall_clock", lambda call: getattr(call, "microseconds", 10.0))


def planted(
    name: str,
    change: Callable[[Any], Any] = lambda result: result,
    kind: str = "baseline",
    microseconds: float = 20.0,
    start: float = 0.0,
) -> Provider:
    """A provider; ``start``: seconds to prepare it."""

    def prepare(inputs: Inputs) -> Trial:
        time.sleep(start)
        call = Planted(inputs, change, microseconds)
        return Trial(call, lambda result: wrong_advantages(inputs, *result))

    return Provider(name, kind, "advantages", None, prepare)


def raises(result: Any) -> Any:
    raise RuntimeError("it broke")


def refuses(result: Any) -> Any:
    raise ValueError("backend='cpu' takes at most 3 members, got 4")


def test_a_wrong_provider_is_reported_and_not_timed() -> None:
    wrong = planted("wrong", lambda result: (result[0], result[1] * 1.001))
    report = run(TINY, [planted("right"), wrong, planted("broken", raises), planted("small", refuses)], LIMITS, "cpu")
    assert {row["provider"] for row in report["rows"]} == {"bmm", "right"}
    said = {row["provider"]: (row["kind"], row["reason"]) for row in report["left_out"]}
    assert said["wrong"][0] == "wrong"
    assert "off by" in said["wrong"][1] or "behind" in said["wrong"][1]
    assert said["broken"] == ("failed", "RuntimeError: it broke")
    assert said["small"][0] == "refused"
    assert len(report["left_out"]) == 6  # each at both cases


def test_rows_have_exactly_the_fields() -> None:
    ours = planted("ours", kind="ours")
    report = run(TINY | {"again": TINY["groups"]}, [ours, planted("slow", microseconds=50.0)], LIMITS, "cpu")
    assert len(report["rows"]) == 6, "each case is measured once"
    for row in report["rows"]:
        assert tuple(row) == FIELDS
        assert 0 < row["p20_us"] <= row["median_us"] <= row["p80_us"]
        assert row["ratio_to_bmm"] == {"bmm": 1, "ours": 2, "slow": 5}[row["provider"]]
    assert [row["against"] for row in report["speedups"]] == ["ours", "ours"]
    assert all(row["ratios"] == {"slow": 2.5} for row in report["speedups"])


def test_other_methods_are_compared_to_mmr_and_others_to_ours_of_their_method() -> None:
    share = {"method": "share"}
    table = [
        planted("a", kind="ours", microseconds=20.0),
        planted("a, share", kind="ours", microseconds=30.0)._replace(option="a", **share),
        planted("b", kind="ours", microseconds=100.0),
        planted("b, share", kind="ours", microseconds=400.0)._replace(option="b", **share),
        planted("loop", microseconds=60.0),
        planted("loop, share", microseconds=90.0)._replace(option="loop", **share),
        planted("loop, dpp", microseconds=90.0)._replace(option="loop", method="dpp"),
    ]
    report = run({"table": Sweep([SMALL])}, table, LIMITS, "cpu")
    assert {row["against"]: row["ratios"] for row in report["speedups"]} == {
        "a": {"a, share": 1.5, "loop": 3.0},
        "b": {"b, share": 4.0},
        "a, share": {"loop, share": 3.0},
    }


def test_the_table_of_methods_has_its_own_rows() -> None:
    table = [
        planted("cpu", kind="ours"),
        planted("cpu, share", kind="ours", microseconds=30.0)._replace(option="cpu", method="share"),
        planted("loop, share", microseconds=90.0)._replace(option="loop", method="share"),
    ]
    plan = {"table": Sweep([BASE])}
    found = {each.title.partition(" ")[0]: each.rows for each in tables(run(plan, table, LIMITS, "cpu"), plan)}
    assert [row[1] for row in found["sweep"]] == ["bmm", "cpu"]
    assert [(row[0], row[1], row[-1]) for row in found["methods"]] == [
        ("share", "cpu", "1.50 × cpu"),
        ("share", "loop", "3.00 × cpu, share"),
    ]


def test_a_slow_provider_is_left_out_of_larger_cases_alone() -> None:
    other = Case(1, 6, 8)  # fewer groups than SMALL, larger ones: neither is the larger
    plan = {"groups": Sweep([LARGE, SMALL, other])}
    report = run(plan, [planted("slow", microseconds=2e4), planted("fast")], Limits(0.01, 0.01, 10.0, 2), "cpu")
    assert {row["groups"] for row in report["rows"] if row["provider"] == "fast"} == {1, 2, 4}
    assert {row["groups"] for row in report["rows"] if row["provider"] == "slow"} == {1, 2}
    (left_out,) = report["left_out"]
    assert (left_out["provider"], left_out["groups"], left_out["kind"]) == ("slow", 4, "bounded")
    assert "s per call at 2 × 4 × 8" in left_out["reason"]


def test_a_provider_slow_to_start_is_left_out_of_larger_cases() -> None:
    report = run(TINY, [planted("compiles", start=0.02)], Limits(0.01, 10.0, 0.01, 2), "cpu")
    assert [row["groups"] for row in report["rows"] if row["provider"] == "compiles"] == [2]
    assert "to start at 2 × 4 × 8" in report["left_out"][0]["reason"]


def test_ratios_are_taken_within_turns() -> None:
    base = [1.0, 10.0, 100.0, 1000.0]  # a machine that slows down all the time
    assert measure.ratio([2 * value for value in base], base) == 2
    assert measure.ratio([3.0, 10.0, 1000.0], [1.0, 10.0, 100.0]) == 3, "the ratio of the medians is 1"
    with pytest.raises(ValueError, match="zip"):
        measure.ratio([1.0], base)


def test_percentiles_lie_between_the_samples() -> None:
    figures = measure.summary([1.0, 2.0, 1000.0])  # of a busy machine
    assert 1 <= figures["p20_us"] <= figures["median_us"] == 2 <= figures["p80_us"] <= 1000


def test_the_competitors_take_turns() -> None:
    order: list[str] = []
    clock_calls: dict[str, measure.Call] = {name: lambda n=name: order.append(n) for name in "ab"}  # type: ignore[misc]

    def clock(call: measure.Call) -> float:
        call()
        return 1.0

    samples = measure.interleaved(clock_calls, 0.0, clock=clock)
    assert order == ["a", "b"] * (1 + measure.FEWEST_TURNS)
    assert samples == {"a": [1.0] * measure.FEWEST_TURNS, "b": [1.0] * measure.FEWEST_TURNS}


def test_exponents_are_those_of_known_powers() -> None:
    sweep = Sweep([Case(groups, 4, 8) for groups in (1, 2, 4, 8, 16, 32)], "groups")
    rows = [
        dict(zip(FIELDS, (name, *case[:5], cost(case.groups), *spread(cost(case.groups)), 1.0), strict=True))
        for case in sweep.cases
        for name, cost, spread in (
            ("square", lambda b: 3.0 * b**2, lambda time: (time, time)),
            ("flat", lambda b: max(7.0, 3.5 * b**0.5), lambda time: (time / 1.1, time * 1.1)),
            ("spread", lambda b: 3.0 * b, lambda time: (time / 1.7, time * 1.7)),
            ("uneven", lambda b: 3.0 * b * (4 if b == 16 else 1), lambda time: (time, time)),
        )
    ]
    rows.append(dict(zip(FIELDS, ("short", *sweep.cases[0][:5], 1.0, 0.0, 0.0, 1.0), strict=True)))
    found = {row["provider"]: row for row in exponents(rows, {"groups": sweep})}
    assert found["square"]["exponent"] == pytest.approx(2)
    assert found["flat"]["exponent"] == pytest.approx(0.5), "only the larger half, past the flat start"
    assert (found["flat"]["from"], found["flat"]["to"], found["flat"]["points"]) == (8, 32, 3)
    assert found["flat"]["error"] == pytest.approx(math.log(1.1) / math.log(4) * 2**0.5)
    assert found["spread"]["exponent"] is found["uneven"]["exponent"] is None, "too noisy, in spread or off the line"
    assert "short" not in found


def test_the_table_has_every_backend_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {provider.name: provider for provider in providers("cpu")}
    assert {name for name, provider in table.items() if provider.kind == "ours"} == {
        f"{name}{task}" for name in BACKENDS for task in ("", ", trainer", ", selection", *OTHER_METHODS)
    }
    assert {"loop", "batched", "batched+torch.compile", "pyversity", "langchain"} <= set(table)
    if (reason := machine_reasons()["cuda"]) is not None:
        assert table["cuda"].why_not_here == reason
    reasons = dict.fromkeys(BACKENDS, None)
    monkeypatch.setattr("mmr_kernels.bench.providers.machine_reasons", lambda host: reasons)
    assert "--device cuda" in str({p.name: p for p in providers("cpu")}["triton"].why_not_here)
    on_gpu = {provider.name: provider for provider in providers("cuda")}
    assert "--device cpu" in str(on_gpu["cpu"].why_not_here)
    assert on_gpu["cuda, trainer"].asked_for_as == "cuda"
    assert {name for name, provider in on_gpu.items() if provider.captured} == {
        f"{name}{task}" for name in ("triton", "cuda") for task in ("", ", trainer", *OTHER_METHODS)
    }  # fmt: skip


def test_absent_peers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    table = {provider.name: provider for provider in providers("cpu")}
    report = run(TINY, [planted("right"), table["pyversity"], table["langchain"]], LIMITS, "cpu")
    said = {row["provider"]: row for row in report["left_out"]}
    for name, package in (("pyversity", "pyversity"), ("langchain", "langchain-core")):
        assert said[name]["kind"] == "absent"
        assert said[name]["reason"] == f"needs {package}, found it not installed; pip install '.[bench]'"
    assert "needs a C++ compiler" in str(table["batched+torch.compile"].why_not_here)


@pytest.mark.parametrize(
    "name",
    ["cpu", "torch", "cpu, trainer", "torch, trainer", "cpu, selection", "torch, selection", "pyversity", "langchain"],
)
def test_providers_that_can_run_are_right(name: str) -> None:
    (provider,) = (provider for provider in providers("cpu") if provider.name == name)
    if provider.why_not_here is not None:
        pytest.skip(f"{name}: {provider.why_not_here}")
    cases = [Case(1, 48, 20, task="selection")]
    if provider.task != "selection":
        cases = [Case(3, 8, 20), Case(3, 8, 20, "float16"), Case(3, 8, 20, scope="batch")]
    for case in cases:
        trial = provider.prepare(make_inputs(case, "cpu"))
        assert trial.wrong(trial.call()) is None


def test_the_compiled_baseline_is_right_and_bounded() -> None:
    (provider,) = (provider for provider in providers("cpu") if provider.name == "batched+torch.compile")
    assert provider.why_not(Case(1, 64, 8)) is None
    assert "unrolls" in str(provider.why_not(Case(5, 13, 8, scope="batch")))
    if provider.why_not_here is not None:
        pytest.skip(f"{provider.name}: {provider.why_not_here}")
    trial = provider.prepare(make_inputs(Case(2, 2, 8), "cpu"))
    assert trial.wrong(trial.call()) is None


def test_the_suite_under_pytest_benchmark_runs() -> None:
    chosen = [
        "-k",
        "1x6x512 and (torch or loop) and not (compile or trainer)",
        "--benchmark-disable",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", "bench", *chosen]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert "2 passed" in result.stdout, result.stdout


@pytest.mark.parametrize("quick", [False, True])
def test_sweeps_vary_one_size_and_are_long_enough_to_fit(quick: bool) -> None:
    for name, sweep in sweeps(quick).items():
        if sweep.variable is None:
            continue
        varied = [case._replace(**{sweep.variable: 0}) for case in sweep.cases]
        assert len(set(varied)) == 1, name
        assert len(set(sweep.cases)) == len(sweep.cases) >= 3, name
    assert Case(64, 16, 512) in sweeps(quick)["table"].cases
    for case in sweeps(quick)["table"].cases:
        assert case.tasks == {"advantages", "trainer", *["methods"] * (case == BASE)}
    keys = [case[: len(KEY)] for case in {case for sweep in sweeps(quick).values() for case in sweep.cases}]
    assert len(set(keys)) == len(keys), "a row doesn't say its task: no two cases may differ in it alone"


def test_inputs_are_the_same_each_time_and_positive_where_peers_need_it() -> None:
    for case in (SMALL, Case(1, 9, 16, task="selection")):
        one, other = make_inputs(case, "cpu"), make_inputs(case, "cpu")
        assert torch.equal(one.embeddings, other.embeddings)
        assert torch.equal(one.rewards, other.rewards)
    assert (one.embeddings >= 0).all()
