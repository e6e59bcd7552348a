"""The contract's section 6: what holds of every call, whatever the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from oracle import Case
from replay import ORACLE, check
from strategies import cases
from tolerance import CONTRACT, FLOAT64, ROUNDING, TIMES_PLAIN

from mmr_kernels import MMRResult, mmr_advantages, reference
from mmr_kernels.backends import BACKENDS
from mmr_kernels.options import Options, completed
from mmr_kernels.problem import Problem

OPTIONS: list[dict[str, Any]] = [
    {},
    {"method": "smi"},
    {"match_scale": True, "first_pick": "score"},
    {"method": "share", "diversity": 0.5},
    {"method": "unique", "threshold": 0.2},
    {"method": "partition", "threshold": 0.2},
    {"method": "dpp"},
]


def random_inputs(*shape: int, dim: int = 23, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator), torch.randn(*shape, dim, generator=generator)


def same_bits(one: MMRResult, other: MMRResult) -> None:
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def is_interpreted(backend: str, device: torch.device) -> bool:
    """A GPU's kernel without a GPU: slow, and one program after the other."""
    return backend in ("triton", "cuda") and device.type == "cpu"


@given(case=cases())
def test_run_to_run_bits(backend: str, device: torch.device, case: Case) -> None:
    if is_interpreted(backend, device):
        pytest.skip("an interpreter runs alike every time; its own tests shuffle programs")
    same_bits(case.run(backend, device), case.run(backend, device))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(37, 11, 23), (64, 16, 512), (33, 7, 33), (100, 5, 384), (15, 40, 70)])
def test_a_group_does_not_depend_on_the_others(
    backend: str, device: torch.device, shape: tuple[int, int, int], options: dict[str, Any]
) -> None:
    """Batch invariance: the bits of a group alone are its bits in any company."""
    groups, size, dim = shape
    some = [slice(0, 1), slice(3, 4), slice(5, 8), slice(groups // 2, groups)]
    if is_interpreted(backend, device):
        groups, some = 4, [slice(0, 1), slice(2, 4)]
    rewards, embeddings = (tensor.to(device) for tensor in random_inputs(groups, size, dim=dim))
    options = {"backend": backend, "return_details": True, **options}
    together = mmr_advantages(rewards, embeddings, **options)
    for rows in some:
        alone = mmr_advantages(rewards[rows], embeddings[rows], **options)
        same_bits(alone, MMRResult(*(field[rows] for field in together)))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_ragged_group_does_not_depend_on_the_others(
    backend: str, device: torch.device, options: dict[str, Any]
) -> None:
    if backend == "torch":
        pytest.skip("backend 'torch' pads ragged groups to the longest, and the order of torch's sums follows that")
    rewards, embeddings = (tensor.to(device) for tensor in random_inputs(60))
    options = {"backend": backend, "return_details": True, **options}
    together = mmr_advantages(rewards, embeddings, group_offsets=[0, 5, 5, 38, 60], **options)
    alone = mmr_advantages(rewards[:5], embeddings[:5], group_offsets=[0, 5], **options)
    same_bits(alone, MMRResult(*(field[:5] for field in together[:4]), together.lam[:1], together.signal[:1]))


@pytest.mark.parametrize(
    ("options", "labelled"),
    [({}, False), ({}, True), ({"method": "share", "diversity": 0.5}, False), ({"method": "dpp"}, False)],
    ids=str,
)
@pytest.mark.parametrize(("size", "dtype"), [(12, torch.float16), (40, torch.float32)])
def test_a_ragged_group_does_not_depend_on_how_large_others_may_be(
    backend: str, device: torch.device, size: int, dtype: torch.dtype, options: dict[str, Any], labelled: bool
) -> None:
    """On a GPU that is the room it gets: however much, the order of sums stays."""
    if backend == "torch":
        pytest.skip("backend 'torch' pads ragged groups to the longest, and the order of torch's sums follows that")
    rewards, embeddings = (tensor.to(device) for tensor in random_inputs(128))
    problem = Problem(
        rewards, embeddings.to(dtype), 1, 0, completed(Options(outputs="details", **options)),
        group_offsets=torch.tensor([0, size], device=device),
        order=torch.arange(128, device=device) if labelled else None,
    )  # fmt: skip
    exact, *roomier = [
        BACKENDS[backend].run(problem._replace(max_group_size=bound)) for bound in (size, 2 * size, 0)
    ]  # fmt: skip
    for result in roomier:
        for one, other in zip(exact[:4], result[:4], strict=True):
            assert torch.equal(one[:size], other[:size])
        assert torch.equal(exact.signal, result.signal)


@pytest.mark.parametrize("options", [*OPTIONS, {"scale": "batch", "lam": "relative_std"}], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_permuting_members_permutes_the_result(
    backend: str, device: torch.device, options: dict[str, Any], seed: int
) -> None:
    """Away from ties, that is: where two scores are within rounding, the index decides."""
    rewards, embeddings = random_inputs(3, 8, seed=seed)
    valid = torch.rand(3, 8, generator=torch.Generator().manual_seed(seed)) < 0.8
    case = Case.uniform(rewards, embeddings, valid=valid, **options)
    assert ORACLE.truth(case).gap > 4 * CONTRACT, "draw another seed: this one has a close pick"
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    permuted = Case.uniform(rewards[:, order], embeddings[:, order], valid=valid[:, order], **options)
    before, after = case.run(backend, device), permuted.run(backend, device)
    for field, permuted_field in zip(before[:4], after[:4], strict=True):
        torch.testing.assert_close(
            permuted_field.cpu(), field[:, order].cpu(), rtol=CONTRACT, atol=CONTRACT, equal_nan=True
        )


@given(case=cases())
def test_inputs_are_never_written(backend: str, device: torch.device, case: Case) -> None:
    tensors = [case.rewards, case.embeddings, case.similarity, case.valid, case.options["lam"]]
    tensors += list(case.layout.values())
    given_tensors = [tensor.to(device) for tensor in tensors if isinstance(tensor, torch.Tensor)]
    copies = [tensor.clone() for tensor in given_tensors]
    case.run(backend, device)
    for tensor, copy in zip(given_tensors, copies, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0, equal_nan=True)


def test_result_never_requires_grad(backend: str, device: torch.device) -> None:
    rewards, embeddings = random_inputs(3, 4)
    lam = torch.tensor([0.5], requires_grad=True)
    case = Case.uniform(rewards.requires_grad_(), embeddings.requires_grad_(), lam=lam)
    result = case.run(backend, device)
    assert not any(field.requires_grad for field in result)
    similarity = torch.rand(3, 4, 4, requires_grad=True)
    assert not mmr_advantages(rewards.to(device), similarity=similarity.to(device), backend=backend).requires_grad


@given(case=cases())
def test_dtype_device_shape_and_memory_layout(backend: str, device: torch.device, case: Case) -> None:
    result = case.run(backend, device)
    for name, field in result._asdict().items():
        assert field.device == case.rewards.to(device).device
        assert field.dtype == (torch.int64 if name == "selection_rank" else torch.float32)
        assert field.is_contiguous()
    assert all(field.shape == case.rewards.shape for field in result[:4])


def sliced(tensor: torch.Tensor) -> torch.Tensor:
    """The middle of a larger tensor, everything around it NaN (or true)."""
    larger = tensor.new_full([size + 5 for size in tensor.shape], True if tensor.dtype == torch.bool else torch.nan)
    view = larger[tuple(slice(2, 2 + size) for size in tensor.shape)]
    return view.copy_(tensor)


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.mT.contiguous().mT


def shifted(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous, but one element past where memory is aligned."""
    storage = tensor.new_zeros(tensor.numel() + 1)
    return storage[1:].view(tensor.shape).copy_(tensor)


def every_second(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.repeat_interleave(2, dim=-1)[..., ::2]


@pytest.mark.parametrize("view", [sliced, transposed, shifted, every_second])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [1, 23, 64])
def test_memory_layout_of_inputs_does_not_matter(
    backend: str, device: torch.device, view: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, dim: int
) -> None:
    rewards, embeddings = random_inputs(5, 9, dim=dim)
    rewards, embeddings = rewards.to(device), embeddings.to(device, dtype)
    valid = torch.rand(5, 9, device=device) > 0.2
    options: dict[str, Any] = {"backend": backend, "return_details": True}
    expected = mmr_advantages(rewards, embeddings, valid=valid, **options)
    same_bits(mmr_advantages(view(rewards), view(embeddings), valid=view(valid), **options), expected)
    unit = torch.nn.functional.normalize(embeddings.float(), dim=-1)
    similarity = (unit @ unit.mT).to(dtype)
    expected = mmr_advantages(rewards, similarity=similarity, **options)
    same_bits(mmr_advantages(view(rewards), similarity=view(similarity), **options), expected)


def test_expanded_inputs(backend: str, device: torch.device) -> None:
    """Stride 0: one group, read three times."""
    rewards, embeddings = (tensor.to(device) for tensor in random_inputs(1, 9))
    options: dict[str, Any] = {"backend": backend, "return_details": True}
    expected = mmr_advantages(rewards.repeat(3, 1), embeddings.repeat(3, 1, 1), **options)
    same_bits(mmr_advantages(rewards.expand(3, 9), embeddings.expand(3, 9, 23), **options), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool])
def test_rewards_of_any_real_dtype_count_as_float32(backend: str, device: torch.device, dtype: torch.dtype) -> None:
    _, embeddings = random_inputs(3, 6)
    rewards = torch.tensor([[0, 1, 1, 0, 1, 0]] * 3, device=device).to(dtype)
    options: dict[str, Any] = {"backend": backend, "return_details": True}
    expected = mmr_advantages(rewards.float(), embeddings.to(device), **options)
    same_bits(mmr_advantages(rewards, embeddings.to(device), **options), expected)


@given(case=cases(method="mmr", match_scale=False))
def test_error_is_at_most_twice_that_of_plain_float32(backend: str, device: torch.device, case: Case) -> None:
    """The tolerance as a property, wherever no pick is close enough for rounding to decide it.

    Not for SMI and match_scale: where they divide by nearly nothing, one rounding more is any factor more. The replay
    judges those by the size of their divisor.
    """
    with np.errstate(all="ignore"):
        truth = ORACLE.truth(case)
    assume(truth.gap > 4 * CONTRACT)
    result, plain = case.run(backend, device), case.run("torch", device)
    for name in ("reweighted_rewards", "max_similarity", "lam"):
        expected = ORACLE.lam_detail(case, truth.lam) if name == "lam" else getattr(truth, name)
        mine, theirs = (
            np.nan_to_num(np.abs(getattr(got, name).cpu().double().flatten().numpy() - expected), nan=0.0)
            for got in (result, plain)
        )
        assert mine.max(initial=0.0) <= TIMES_PLAIN * theirs.max(initial=0.0) + ROUNDING, name


@given(case=cases())
def test_float64_in_the_reference_is_the_oracle(case: Case) -> None:
    """Two independent float64 programs of one text agree to 1e-12, ties excepted: each stands the other's replay."""
    longest = max((len(group) for group in case.groups), default=0)
    count = case.rewards.numel()
    table = torch.full((len(case.groups), longest), count)
    for row, group in zip(table, case.groups, strict=True):
        row[: len(group)] = torch.tensor(group)
    lam = case.option("lam")
    mode = lam if isinstance(lam, str) else "tensor" if isinstance(lam, torch.Tensor) else "fixed"
    if isinstance(lam, torch.Tensor):
        lam = lam.double().flatten()
        if "group_ids" in case.layout and len(lam) > 1:
            lam = lam[[group[0] for group in case.groups]]
    options = {name: case.option(name) for name in case.options if name != "lam"}
    dial = options.pop("diversity")
    dial, options["diversity"] = (dial.double(), 1.0) if isinstance(dial, torch.Tensor) else (None, dial)
    labels = None if case.labels is None else case.labels.flatten().clone()
    for number, group in enumerate(case.groups if labels is not None else []):
        labels[group] += 100 * number
    rewards = torch.from_numpy(case.float_rewards).reshape(case.rewards.shape)
    result = MMRResult(
        *reference.mmr(
            rewards, case.embeddings, case.similarity, None, table,
            lam if isinstance(lam, torch.Tensor) else None, labels, dial, lam_mode=mode,
            lam_value=lam if isinstance(lam, float) else 0.0, **options,
        )
    )  # fmt: skip
    result = result._replace(signal=torch.from_numpy(ORACLE.signal_detail(case, result.signal.numpy())))
    if "group_ids" in case.layout:
        result = result._replace(lam=torch.from_numpy(ORACLE.lam_detail(case, result.lam.numpy())))
    check(case, result, tolerance=FLOAT64, rounding=FLOAT64)
