"""The CPU kernel's own: its instruction sets, its threads, its memory."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import mmr_kernels
from mmr_kernels import mmr_advantages, mmr_reweight
from mmr_kernels.backends import cpu, this_host

REASON = cpu.why_not_here(this_host())
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"backend 'cpu' {REASON}")

SETS = importlib.import_module("mmr_kernels._cpu").instruction_sets() if REASON is None else []
SIZES = [2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 64, 65, 130]
DIMS = [1, 4, 7, 16, 33, 512]


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each one this processor has; the one in use comes back."""
    extension = importlib.import_module("mmr_kernels._cpu")
    before = extension.instruction_set()
    extension.use_instruction_set(request.param)
    yield request.param
    extension.use_instruction_set(before)


@pytest.fixture
def threads() -> Iterator[Any]:
    """Sets the number of threads; the one before comes back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def rollouts(groups: int, size: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(groups * 10_000 + size * 100 + dim)
    return torch.rand(groups, size, generator=generator), torch.randn(groups, size, dim, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("size", SIZES)
def test_each_instruction_set_agrees_with_the_reference(
    instruction_set: str, size: int, dim: int, dtype: torch.dtype
) -> None:
    rewards, embeddings = rollouts(5, size, dim, dtype)
    ours = mmr_kernels.mmr_advantages(rewards, embeddings, scale="none", backend="cpu", return_details=True)
    reference = mmr_kernels.mmr_advantages(rewards, embeddings, scale="none", backend="torch", return_details=True)
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "smi"},
        {"method": "share", "diversity": 0.7},
        {"method": "unique", "sharpness": 3.0},
        {"method": "smi", "sharpness": 1.5},
        {"method": "partition", "threshold": 0.1},
        {"method": "dpp"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [3, 16, 33, 130])
def test_each_instruction_set_agrees_on_every_method(instruction_set: str, size: int, options: dict[str, Any]) -> None:
    rewards, embeddings = rollouts(5, size, 33)
    embeddings += 0.7  # so that SMI's sum is far from 0
    ours = mmr_kernels.mmr_advantages(rewards, embeddings, scale="none", backend="cpu", return_details=True, **options)
    reference = mmr_kernels.mmr_advantages(
        rewards, embeddings, scale="none", backend="torch", return_details=True, **options
    )
    torch.testing.assert_close(ours, reference, rtol=2e-5, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 65504.0, 6e-8, 6.1e-5, -1e-4, float("inf"), float("nan")])
def test_every_kind_of_float16_number_is_widened_exactly(instruction_set: str, value: float) -> None:
    embeddings = torch.ones(1, 2, 20, dtype=torch.float16)
    embeddings[0, 1, 3] = value
    embeddings[0, 1, 19] = value  # the first in a whole vector, the second in what is left over
    results = [
        mmr_kernels.mmr_reweight(torch.ones(1, 2), source, normalize=False, backend="cpu")
        for source in (embeddings, embeddings.float())
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("groups", "size", "scope"), [(64, 16, "group"), (1, 400, "batch"), (1, 200, "group")])
def test_bits_do_not_depend_on_the_number_of_threads(
    instruction_set: str, groups: int, size: int, scope: Any, dtype: torch.dtype, threads: Any
) -> None:
    rewards, embeddings = rollouts(groups, size, 96, dtype)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(mmr_kernels.mmr_advantages(rewards, embeddings, scope=scope, backend="cpu"))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="mmx"):
        importlib.import_module("mmr_kernels._cpu").use_instruction_set("mmx")


def test_the_refusal_names_what_a_machine_without_the_module_lacks() -> None:
    reason = cpu.why_not_here(this_host()._replace(cpu_extension="not built at installation (no compiler)"))
    assert reason is not None
    assert "no compiler" in reason
    assert "C++17" in reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", [mmr_advantages, mmr_reweight])
def test_the_plain_call_has_the_bits_of_the_general_one(function: Any, dtype: torch.dtype) -> None:
    """A mask that hides nobody takes the way that goes by ``Problem``."""
    generator = torch.Generator().manual_seed(0)
    rewards, embeddings = torch.rand(33, 7, generator=generator), torch.randn(33, 7, 40, generator=generator).to(dtype)
    plain = function(rewards, embeddings, backend="cpu")
    assert torch.equal(plain, function(rewards, embeddings, valid=torch.ones(33, 7, dtype=torch.bool), backend="cpu"))
    flat = function(rewards.flatten(), embeddings.flatten(0, 1), group_size=7, backend="cpu")
    assert torch.equal(flat, plain.flatten())
