"""Input at the edge that works: nothing to do, nothing valid, and numbers that float32 hardly holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import Case
from replay import check

from mmr_kernels import MMRResult, mmr_advantages, mmr_reweight

METHODS = ("mmr", "smi", "none")


def random_case(**options: Any) -> Case:
    generator = torch.Generator().manual_seed(7)
    rewards, embeddings = torch.rand(3, 6, generator=generator), torch.randn(3, 6, 10, generator=generator)
    return Case.uniform(rewards, embeddings, **options)


def finite(result: MMRResult, valid: torch.Tensor | None = None) -> None:
    assert result.advantages.isfinite().all()
    assert result.reweighted_rewards.isfinite().all() if valid is None else True


EMPTY: dict[str, tuple[tuple[int, ...], dict[str, Any], int]] = {  # rewards' shape, layout, number of groups
    "no groups": ((0, 4), {}, 0),
    "groups of nothing": ((3, 0), {}, 3),
    "flat": ((0,), {"group_size": 4}, 0),
    "offsets": ((0,), {"group_offsets": [0]}, 0),
    "only empty groups": ((0,), {"group_offsets": [0, 0, 0]}, 2),
    "labels": ((0,), {"group_ids": []}, 0),
    "tensor labels": ((0,), {"group_ids": torch.empty(0, dtype=torch.int64)}, 0),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", ["group", "batch"])
@pytest.mark.parametrize("layout", EMPTY)
def test_an_empty_batch_gives_an_empty_result(
    backend: str, device: torch.device, layout: str, scope: str, method: str
) -> None:
    shape, arguments, num_groups = EMPTY[layout]
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}
    rewards, embeddings = torch.rand(shape, device=device), torch.rand(*shape, 5, device=device)
    options: dict[str, Any] = {"method": method, "scope": scope, "backend": backend, **moved}
    result = mmr_advantages(rewards, embeddings, return_details=True, scale="batch", degenerate="zero", **options)
    assert all(field.shape == shape for field in result[:4])
    assert result.lam.shape == ((1,) if scope == "batch" else (num_groups,))
    assert mmr_reweight(rewards, embeddings, match_scale=True, **options).shape == shape


@pytest.mark.parametrize("method", METHODS)
def test_groups_of_one(backend: str, device: torch.device, method: str) -> None:
    case = Case.uniform(torch.tensor([[1.0], [-2.0]]), torch.ones(2, 1, 3), method=method)
    result = case.run(backend, device)
    check(case, result)
    assert torch.equal(result.advantages.cpu(), torch.zeros(2, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("match_scale", [False, True])
def test_nothing_valid(backend: str, device: torch.device, method: str, scale: str, match_scale: bool) -> None:
    case = random_case(method=method, scale=scale, match_scale=match_scale, valid=torch.zeros(3, 6, dtype=torch.bool))
    result = case.run(backend, device)
    check(case, result)
    assert torch.equal(result.advantages.cpu(), torch.zeros(3, 6))
    assert result.reweighted_rewards.isnan().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_not_finite_counts_as_not_valid(backend: str, device: torch.device, bad: float) -> None:
    case = random_case()
    case.rewards[:, 2] = bad
    masked = random_case(valid=torch.arange(6).expand(3, 6) != 2)
    masked.rewards[:, 2] = 9.0
    for mine, theirs in zip(case.run(backend, device), masked.run(backend, device), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_a_float64_reward_beyond_float32_counts_as_not_valid(backend: str, device: torch.device) -> None:
    rewards = torch.tensor([[1.0, 1e300, 0.0]], dtype=torch.float64)
    result = Case.uniform(rewards, torch.eye(3).unsqueeze(0)).run(backend, device)
    assert result.selection_rank.tolist() == [[0, -1, 1]]


# Each makes a row that is similar to nothing: section 2 says so of the first four; computing in float32 does so of
# the last, whose entries are finite but whose squared norm is not.
SIMILAR_TO_NOTHING = {"zero": 0.0, "NaN": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "huge": 1e30}


@pytest.mark.parametrize("entry", SIMILAR_TO_NOTHING.values(), ids=SIMILAR_TO_NOTHING.keys())
@pytest.mark.parametrize("whole_row", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("method", ["mmr", "smi"])
def test_rows_similar_to_nothing(
    backend: str, device: torch.device, entry: float, whole_row: bool, normalize: bool, method: str
) -> None:
    case = random_case(normalize=normalize, method=method)
    assert case.embeddings is not None
    case.embeddings[:, 4] = 0.0 if entry == 0 else 1.0
    case.embeddings[:, 4, slice(None) if whole_row else slice(3, 4)] = entry
    result = case.run(backend, device)
    if method == "mmr":
        finite(result)
        check(case, result)
    if entry == 0.0 and not whole_row:
        return
    nothing = random_case(normalize=normalize, method=method)
    assert nothing.embeddings is not None
    nothing.embeddings[:, 4] = 0.0
    for mine, theirs in zip(result, nothing.run(backend, device), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8, 1e18])
def test_length_of_embeddings_does_not_matter(backend: str, device: torch.device, scale: float) -> None:
    case = random_case()
    assert case.embeddings is not None
    case.embeddings *= scale
    check(case, case.run(backend, device))
    result = random_case().run(backend, device)
    torch.testing.assert_close(case.run(backend, device).advantages, result.advantages, rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1e-44, 1e-30, 1e-20, 1e-15])
def test_rows_shorter_than_the_guard_are_similar_to_nothing(backend: str, device: torch.device, length: float) -> None:
    """Divided by 1e-12 and not by their norm, denormals among them, they stay near zero."""
    case = random_case()
    assert case.embeddings is not None
    case.embeddings[:] = length
    result = case.run(backend, device)
    finite(result)
    assert (result.max_similarity < 1e-4).all()


@pytest.mark.parametrize("value", [1e-40, 1e-30, 1e18])
def test_rewards_hardly_held_by_float32(backend: str, device: torch.device, value: float) -> None:
    case = random_case()
    case.rewards *= value
    for method in METHODS:
        for match_scale in (False, True):
            finite(case.run(backend, device, method=method, match_scale=match_scale))


def test_similarities_that_are_not_finite_count_as_none(backend: str, device: torch.device) -> None:
    similarity = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    rewards = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    similarity[0, 1, 2] = float("nan")
    similarity[0, 3, 0] = float("inf")
    similarity[1, 4, 4] = float("-inf")
    zeroed = similarity.where(similarity.isfinite(), 0.0)
    for method in ("mmr", "smi"):
        got = Case.uniform(rewards, similarity=similarity, method=method).run(backend, device)
        expected = Case.uniform(rewards, similarity=zeroed, method=method).run(backend, device)
        for mine, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_the_diagonal_plays_no_part_in_mmr(backend: str, device: torch.device) -> None:
    similarity = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    rewards = torch.rand(2, 5, generator=torch.Generator().manual_seed(1))
    expected = Case.uniform(rewards, similarity=similarity).run(backend, device)
    changed = similarity.clone()
    changed.diagonal(dim1=1, dim2=2).fill_(1e6)
    got = Case.uniform(rewards, similarity=changed).run(backend, device)
    for mine, theirs in zip(got, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_embeddings_without_dimensions_are_similar_to_nothing(backend: str, device: torch.device) -> None:
    case = Case.uniform(torch.rand(2, 4), torch.empty(2, 4, 0))
    result = case.run(backend, device)
    check(case, result)
    assert (result.max_similarity == 0).all()
