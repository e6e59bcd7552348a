"""The contract's section 6, for every backend and over every option: each result stands a float64 replay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from oracle import Case
from replay import check
from strategies import cases

from mmr_kernels import mmr_advantages, mmr_reweight
from mmr_kernels.options import METHODS_THAT_WEIGH


@given(case=cases())
def test_result_stands_a_float64_replay(backend: str, device: torch.device, case: Case) -> None:
    check(case, case.run(backend, device))


@given(case=cases())
def test_short_forms_return_the_same_bits(backend: str, device: torch.device, case: Case) -> None:
    """Advantages alone, and ``mmr_reweight`` with and without details, are those of the full result."""
    details = case.run(backend, device)
    advantages = case.run(backend, device, return_details=False)
    assert torch.equal(advantages, details.advantages)
    if case.option("method") in METHODS_THAT_WEIGH:
        return
    options = {name: value for name, value in case.options.items() if name not in ("scale", "eps", "degenerate")}
    given = {"embeddings": case.embeddings, "similarity": case.similarity, "valid": case.valid, "labels": case.labels}
    tensors = {**given, **case.layout}
    moved = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in {**tensors, **options}.items()
    }
    reweighted = mmr_reweight(case.rewards.to(device), backend=backend, **moved)
    torch.testing.assert_close(reweighted, details.reweighted_rewards, rtol=0, atol=0, equal_nan=True)
    again = mmr_reweight(case.rewards.to(device), backend=backend, return_details=True, **moved)
    assert again.advantages is None
    for mine, theirs in zip(again[1:], details[1:], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("size", [64, 100, 257])
def test_larger_groups(backend: str, device: torch.device, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    rewards = torch.randint(0, 2, (2, size), generator=generator).float()
    embeddings = torch.randn(2, size, 48, generator=generator)
    check(Case.uniform(rewards, embeddings), Case.uniform(rewards, embeddings).run(backend, device))


def test_whole_batch_as_one_scope(backend: str, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    rewards = torch.randn(16, 12, generator=generator)
    embeddings = torch.randn(16, 12, 40, generator=generator).bfloat16()
    case = Case.uniform(rewards, embeddings, scope="batch", scale="batch")
    check(case, case.run(backend, device))


def test_method_none_needs_no_embeddings(backend: str, device: torch.device) -> None:
    case = Case.uniform(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]]), method="none")
    check(case, case.run(backend, device))
    plain = mmr_advantages(case.rewards.to(device), method="none", backend=backend)
    expected = torch.tensor([[0.866, -0.866, -0.866, 0.866], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(plain.cpu(), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("seed", "dim"), [(0, 3), (1, 8), (2, 64)])
def test_copies_round_alike_and_smi_adds_them_up(backend: str, device: torch.device, seed: int, dim: int) -> None:
    """A sum of 551 cosines that nearly vanishes, of which 550 are one number, with one and the same rounding."""
    copies, generator = 550, torch.Generator().manual_seed(seed)
    one, other = torch.linalg.qr(torch.randn(dim, 2, generator=generator, dtype=torch.float64)).Q.T
    cosine = -1.02 / copies
    copied = cosine * one + (1 - cosine**2) ** 0.5 * other
    embeddings = torch.stack([one, *[copied] * copies]).float().unsqueeze(0)
    case = Case.uniform(torch.rand(1, copies + 1, generator=generator), embeddings, method="smi", scale="none")
    check(case, case.run(backend, device))
