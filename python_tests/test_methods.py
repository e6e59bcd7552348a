"""Promises of each method besides its equation (docs/methods.md): signs, sums, invariances, when it is GRPO."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import Case
from strategies import cases

from mmr_kernels import MMRResult, mmr_advantages, mmr_reweight

#: Every method with what it can't do without.
METHODS: list[dict[str, Any]] = [
    {"method": "mmr"},
    {"method": "mmr", "first_pick": "score"},
    {"method": "smi"},
    {"method": "smi", "threshold": 0.3},
    {"method": "share"},
    {"method": "share", "diversity": 0.7},
    {"method": "unique"},
    {"method": "partition", "threshold": 0.3},
    {"method": "dpp"},
    {"method": "dpp", "quality": True},
    {"method": "none"},
]


def inputs(seed: int = 0, groups: int = 6, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards of several values, and embeddings of which some are alike."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 4, (groups, size), generator=generator) / 4
    centres = torch.randn(3, 12, generator=generator)
    which = torch.randint(0, 3, (groups, size), generator=generator)
    return rewards, centres[which] + 0.6 * torch.randn(groups, size, 12, generator=generator)


def call(backend: str, device: torch.device, rewards: torch.Tensor, embeddings: torch.Tensor, **options: Any) -> Any:
    """On the device, and back."""
    result = mmr_advantages(rewards.to(device), embeddings.to(device), backend=backend, **options)
    return MMRResult(*(field.cpu() for field in result)) if isinstance(result, MMRResult) else result.cpu()


@pytest.mark.parametrize("method", ["none", "unique", "share"])
@pytest.mark.parametrize("scope", ["group", "batch"])
def test_equal_rewards_give_nothing(backend: str, device: torch.device, method: str, scope: str) -> None:
    """To the bit, though the sum of eleven times 0.1 rounds: eps would make 1e-3 of it, and 0.4 of 1000.1."""
    for size, value in itertools.product((3, 5, 11, 45), (0.1, 1 / 3, -7.7, 1000.1)):
        rewards, embeddings = torch.full((2, size), value), inputs(groups=2, size=size)[1]
        options: dict[str, Any] = {"method": method, "scope": scope}
        assert not call(backend, device, rewards, embeddings, **options).any(), (size, value)


@given(case=cases(method="share", scale="none", degenerate="reweight"))
def test_share_keeps_signs_zeros_and_sums(backend: str, device: torch.device, case: Case) -> None:
    shared = case.run(backend, device, return_details=False).cpu().double().flatten()
    plain = case.run(backend, device, return_details=False, method="none").cpu().double().flatten()
    clear = plain.abs() > 1e-6  # what is smaller is the rounding of a mean
    assert torch.equal(shared.sign()[clear], plain.sign()[clear])
    for group in case.groups:
        for least, most in ((0.0, None), (None, 0.0)):
            before, after = (values[group].clamp(least, most).sum() for values in (plain, shared))
            torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("diversity", [0.0, 0.6])
def test_share_of_equal_counts_is_plain_grpo_to_the_bit(
    backend: str, device: torch.device, scale: str, diversity: float
) -> None:
    rewards, embeddings = inputs()
    for labels in (torch.arange(48) % 8, torch.zeros(48).long(), torch.arange(48) % 8 // 2):
        options: dict[str, Any] = {"scale": scale, "labels": labels.to(device), "diversity": diversity}
        shared = call(backend, device, rewards, embeddings, method="share", **options)
        plain = call(backend, device, rewards, embeddings, method="none", scale=scale)
        assert torch.equal(shared, plain)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "unique", "strength": 0.0},
        {"method": "smi", "strength": 0.0},
        {"method": "dpp", "strength": 0.0},
        {"method": "share", "strength": 0.0},
        {"method": "mmr", "diversity": 0.0},
        {"method": "smi", "labels": torch.arange(48)},
        {"method": "partition", "labels": torch.arange(48)},
    ],
    ids=str,
)
def test_where_a_method_is_plain_grpo(backend: str, device: torch.device, options: dict[str, Any]) -> None:
    rewards, embeddings = inputs()
    options = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    got = call(backend, device, rewards, embeddings, **options)
    torch.testing.assert_close(got, call(backend, device, rewards, embeddings, method="none"), rtol=1e-5, atol=1e-5)


def test_dpp_is_a_difference_of_log_determinants(backend: str, device: torch.device) -> None:
    rewards, embeddings = inputs()
    new = call(backend, device, rewards, embeddings, method="dpp", strength=1.0, return_details=True).reweighted_rewards
    gains = (new - rewards).double().numpy()
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1).numpy()
    for group, rows in enumerate(unit):
        matrix = np.eye(8) + rows @ rows.T
        for i in range(8):
            rest = [j for j in range(8) if j != i]
            expected = np.linalg.slogdet(matrix)[1] - np.linalg.slogdet(matrix[np.ix_(rest, rest)])[1]
            assert abs(gains[group, i] - expected) < 1e-5
    assert gains.min() >= 0
    assert gains.max() <= np.log(2) + 1e-6


def test_dpp_of_copies_and_of_strangers(backend: str, device: torch.device) -> None:
    """A copy of many adds next to nothing, and one like nobody log 2."""
    embeddings = torch.eye(12)[[0] * 7 + [1]].unsqueeze(0)
    zeros = torch.zeros(1, 8)
    result = call(backend, device, zeros, embeddings, method="dpp", strength=1.0, return_details=True)
    copies = np.log(8 / 7)
    expected = torch.tensor([[copies] * 7 + [np.log(2)]], dtype=torch.float32)
    torch.testing.assert_close(result.reweighted_rewards, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [5, 20, 40])
@pytest.mark.parametrize("quality", [False, True])
def test_dpp_takes_the_symmetric_part_of_a_given_similarity(
    backend: str, device: torch.device, size: int, quality: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(2, size, 12, generator=generator), dim=-1)
    symmetric, either = unit @ unit.mT, 0.3 * torch.randn(2, size, size, generator=generator)
    rewards = torch.rand(2, size, generator=generator).to(device)
    options: dict[str, Any] = {"method": "dpp", "quality": quality, "strength": 1.0, "backend": backend}
    got, expected = (
        mmr_reweight(rewards, similarity=similarity.to(device), **options)
        for similarity in (symmetric + either - either.mT, symmetric)
    )
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quality", [False, True])
def test_dpp_of_a_matrix_that_is_not_semidefinite_gives_numbers(
    backend: str, device: torch.device, quality: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (1.0, 30.0):
        similarity = scale * (torch.rand(4, 40, 40, generator=generator) * 2 - 1)
        rewards = torch.rand(4, 40, generator=generator)
        options: dict[str, Any] = {"method": "dpp", "quality": quality, "strength": 1.0, "return_details": True}
        got = mmr_advantages(rewards.to(device), similarity=similarity.to(device), backend=backend, **options)
        again = mmr_advantages(rewards.to(device), similarity=similarity.to(device), backend=backend, **options)
        assert got.advantages.isfinite().all()
        assert torch.equal(got.advantages, again.advantages)
        gains = got.reweighted_rewards.cpu() - (0 if quality else rewards)
        assert gains.min() >= -1e-6


def test_partition_is_darlings_formula(backend: str, device: torch.device) -> None:
    """r · max(0.1, the share of the others in other clusters), clusters by brute force over paths."""
    rewards, embeddings = inputs(seed=3)
    options: dict[str, Any] = {"method": "partition", "threshold": 0.55, "scale": "none"}
    got = call(backend, device, rewards, embeddings, **options)
    unit = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    for group in range(6):
        near = (unit[group] @ unit[group].T > 0.55) | torch.eye(8, dtype=torch.bool)
        for _, k in itertools.product(range(8), range(8)):
            near |= near[:, k : k + 1] & near[k : k + 1]
        part = torch.stack([torch.tensor(max(0.1, (8 - int(row.sum())) / 7)) for row in near])
        new = rewards[group] * part
        torch.testing.assert_close(got[group], new - new.mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_order_of_members_does_not_matter(backend: str, device: torch.device, options: dict[str, Any]) -> None:
    rewards, embeddings = inputs(seed=5)
    rewards = rewards + torch.rand(6, 8, generator=torch.Generator().manual_seed(6))  # MMR breaks ties by the index
    order = torch.randperm(8, generator=torch.Generator().manual_seed(7))
    before = call(backend, device, rewards, embeddings, return_details=True, **options)
    after = call(backend, device, rewards[:, order], embeddings[:, order], return_details=True, **options)
    torch.testing.assert_close(after.advantages, before.advantages[:, order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after.signal, before.signal, rtol=1e-5, atol=1e-5)


def changed(backend: str, device: torch.device, options: dict[str, Any], shift: float, factor: float) -> float:
    """How far a shift or another scale of the rewards moves advantages."""
    rewards, embeddings = inputs(seed=8)
    before = call(backend, device, rewards, embeddings, eps=1e-9, **options)
    after = call(backend, device, rewards * factor + shift, embeddings, eps=1e-9, **options)
    return float((before - after).abs().max())


@pytest.mark.parametrize("options", METHODS, ids=str)
def test_shifts_and_scales_of_the_rewards(backend: str, device: torch.device, options: dict[str, Any]) -> None:
    """As docs/methods.md claims, both ways."""
    of_shift = options["method"] in ("share", "unique", "dpp", "none") or options.get("first_pick") == "score"
    of_scale = options["method"] in ("share", "unique", "none", "smi", "partition")
    assert (changed(backend, device, options, shift=8.0, factor=1.0) < 1e-3) == of_shift
    assert (changed(backend, device, options, shift=0.0, factor=8.0) < 1e-3) == of_scale


@pytest.mark.parametrize("method", ["share", "unique", "none"])
def test_equal_rewards_get_nothing(backend: str, device: torch.device, method: str) -> None:
    _, embeddings = inputs()
    got = call(backend, device, torch.full((6, 8), 0.75), embeddings, method=method)
    assert torch.equal(got, torch.zeros(6, 8))


@given(seed=st.integers(0, 2**31), clusters=st.integers(1, 4), size=st.integers(2, 12))
def test_likeness_that_is_an_equivalence_explains_at_most_all_there_is(
    backend: str, device: torch.device, seed: int, clusters: int, size: int
) -> None:
    """T ≤ V · G / (G − 1): clusters of copies, of which each is like no member of another (docs/methods.md)."""
    rng = np.random.default_rng(seed)
    which = torch.from_numpy(rng.integers(0, clusters, (3, size)))
    rewards = torch.from_numpy(rng.normal(size=(3, size))).float()
    embeddings = torch.nn.functional.one_hot(which, 4).float()
    explained, variance = call(backend, device, rewards, embeddings, method="none", return_details=True).signal.T
    assert bool((explained <= variance * size / (size - 1) * (1 + 1e-5) + 1e-6).all())


def test_the_signal_of_rewards_that_clusters_decide(backend: str, device: torch.device) -> None:
    """All of the variance where copies share a reward; and worse than a guess where likeness is the wrong way round."""
    embeddings = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 1, 1, 1]]), 2).float()
    with_clusters, against = torch.tensor([[1.0, 1, 1, 0, 0, 0]]), torch.tensor([[1.0, 0, 0, 0, 1, 1]])
    explained, variance = call(backend, device, with_clusters, embeddings, return_details=True).signal[0].tolist()
    # The guess is the reward itself, and from the mean of the other five it is 0.6 off.
    assert (explained, variance) == pytest.approx((6 * 0.6 * 0.6, 6 * 0.25 * 6 / 5))
    explained, variance = call(backend, device, against, embeddings, return_details=True).signal[0].tolist()
    assert explained < 0.2 * variance


@pytest.mark.parametrize(
    "labels",
    [
        ["7", "7", "8", "x", "7", "8"],
        torch.tensor([[4, 4, 9], [0, 4, 9]]),
        [1.5, 1.5, 2, 3, 1.5, 2],
        [["7", "7", "8"], ["x", "7", "8"]],
        np.array([["7", "7", "8"], ["x", "7", "8"]]),
        np.array([[4, 4, 9], [0, 4, 9]]),
        np.array([["7", "7", 8], [("x",), "7", 8]], dtype=object),
    ],
)
def test_labels_of_any_kind_are_clusters_within_groups(backend: str, device: torch.device, labels: Any) -> None:
    """The first of both groups are twice "7", but of one group each."""
    labels = labels.to(device) if isinstance(labels, torch.Tensor) else labels
    rewards = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]], device=device)
    got = mmr_advantages(rewards, labels=labels, method="unique", scale="none", backend=backend).cpu()
    torch.testing.assert_close(got, torch.tensor([[0.25, 0.0, -0.5], [-0.5, 0.0, 0.5]]))
    across = mmr_advantages(rewards, labels=labels, method="unique", scale="none", scope="batch", backend=backend)
    assert torch.equal(across.cpu(), got)
