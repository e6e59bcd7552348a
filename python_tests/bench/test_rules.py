"""The rules in eager PyTorch compute what the op computes, and the check that they are held to finds a wrong one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmr_kernels import mmr_advantages
from mmr_kernels.bench import rules
from mmr_kernels.bench.cases import Case, make_inputs
from mmr_kernels.bench.correctness import wrong_rule
from mmr_kernels.bench.providers import providers
from mmr_kernels.options import OPTIONS

CASE = Case(5, 9, 33)


def of_the_op(method: Any, **options: Any) -> torch.Tensor:
    _, rewards, embeddings, _ = make_inputs(CASE, "cpu")
    options = rules.OPTIONS.get(method, {}) | options
    result = mmr_advantages(rewards, rules.alike(embeddings), method=method, backend="torch", **options)
    assert isinstance(result, torch.Tensor)
    return result


def test_rules_are_of_methods_of_the_table() -> None:
    assert {*rules.RULES} < set(OPTIONS["method"].choices)


@pytest.mark.parametrize("method", rules.RULES)
@pytest.mark.parametrize("function", [rules.loop, rules.batched])
def test_a_rule_agrees_with_the_op(method: str, function: Any) -> None:
    _, rewards, embeddings, _ = make_inputs(CASE, "cpu")
    found = function(method, rewards, rules.alike(embeddings))
    torch.testing.assert_close(found, of_the_op(method), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", rules.RULES)
@pytest.mark.parametrize("name", ["cpu", "torch", "loop", "batched"])
def test_every_provider_of_a_method_is_right(name: str, method: str) -> None:
    (provider,) = (each for each in providers("cpu") if each.name == f"{name}, {method}")
    if provider.why_not_here is not None:
        pytest.skip(provider.why_not_here)
    trial = provider.prepare(make_inputs(CASE, "cpu"))
    assert trial.wrong(trial.call()) is None
    other = of_the_op("unique" if method == "none" else "none")
    assert "off by" in str(trial.wrong(other))


#: Faults of the kind that a kernel could have; the inputs tell each from the right result.
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("share", {"sharpness": 3.9}),
    ("share", {"diversity": 0.1}),
    ("unique", {"strength": 0.99}),
    ("smi", {"sharpness": 1.0}),
    ("partition", {"threshold": 0.9}),
    ("dpp", {"strength": 0.11}),
    ("dpp", {"quality": True}),
]


@pytest.mark.parametrize(("method", "fault"), FAULTS, ids=str)
def test_a_wrong_result_is_found(method: str, fault: dict[str, Any]) -> None:
    right = of_the_op(method)
    assert wrong_rule(right, right.double()) is None
    assert "off by" in str(wrong_rule(of_the_op(method, **fault), right))
    assert "(5, 9)" in str(wrong_rule(right[:4], right))
    assert "finite" in str(wrong_rule(right / 0, right))


def test_a_compiled_rule_is_right() -> None:
    (provider,) = (each for each in providers("cpu") if each.name == "batched+torch.compile, dpp")
    if provider.why_not_here is not None:
        pytest.skip(provider.why_not_here)
    trial = provider.prepare(make_inputs(Case(2, 4, 8), "cpu"))
    assert trial.wrong(trial.call()) is None
