"""The same groups, said in another way, give the same result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from tolerance import CONTRACT

from mmr_kernels import MMRResult, checks, mmr_advantages

NUM_GROUPS, SIZE, DIM = 5, 7, 19


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (NUM_GROUPS, SIZE), generator=generator).float()
    rewards[1, 3] = float("nan")
    return rewards, torch.randn(NUM_GROUPS, SIZE, DIM, generator=generator)


def same(one: MMRResult, other: MMRResult) -> None:
    """To the contract's tolerance: a kernel may add in another order when it knows less about the groups."""
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.flatten(), theirs.flatten(), rtol=CONTRACT, atol=CONTRACT, equal_nan=True)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"method": "smi", "match_scale": True},
    {"method": "none", "scale": "none"},
    {"lam": "relative_std", "scale": "batch"},
    {"scope": "batch"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_uniform_layouts_agree(backend: str, device: torch.device, options: dict[str, Any]) -> None:
    rewards, embeddings = (tensor.to(device) for tensor in inputs())
    flat = (rewards.flatten(), embeddings.flatten(0, 1))
    options = {"backend": backend, "return_details": True, **options}
    expected = mmr_advantages(rewards, embeddings, **options)
    assert expected.advantages.shape == rewards.shape
    offsets = torch.arange(0, NUM_GROUPS * SIZE + 1, SIZE, device=device)
    same(mmr_advantages(*flat, group_size=SIZE, **options), expected)
    same(mmr_advantages(*flat, group_offsets=offsets, **options), expected)
    same(mmr_advantages(*flat, group_offsets=offsets.int(), **options), expected)
    same(mmr_advantages(*flat, group_offsets=tuple(offsets.tolist()), **options), expected)


@pytest.mark.parametrize(
    "kind",
    [
        "int64", "int32", "uint8", "numpy", "str", "tuple", "mixed", "tensors", "arrays", "scalars", "tensors and ints",
        "masked", "arrow", "dates",
    ],
)  # fmt: skip
def test_shuffled_labels_agree(backend: str, device: torch.device, kind: str) -> None:
    """Shuffled so that the members of each group stay in order, and with them who wins a tie."""
    rewards, embeddings = inputs()
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(NUM_GROUPS), SIZE))
    order = torch.from_numpy(np.argsort(labels, kind="stable"))
    shuffled = torch.empty(NUM_GROUPS * SIZE, dtype=torch.int64)
    shuffled[order] = torch.arange(NUM_GROUPS * SIZE)
    ids: Any = {
        "int64": torch.from_numpy(labels).to(device),
        "int32": torch.from_numpy(labels).int().to(device) - 3,
        "uint8": torch.from_numpy(labels).to(torch.uint8).to(device),
        "numpy": labels.astype(object),
        "str": [f"uid {label}" for label in labels],
        "tuple": [("prompt", label) for label in labels],
        "mixed": ["first" if label == 0 else int(label) for label in labels],
        "tensors": [torch.tensor(label, device=device) for label in labels],
        "arrays": [np.array(label) for label in labels],
        "scalars": list(labels),
        "tensors and ints": [torch.tensor(x, device=device) if i % 2 else int(x) for i, x in enumerate(labels)],
        "masked": np.ma.array(labels, mask=False),
        "arrow": pyarrow.chunked_array([labels]),
        "dates": labels.astype("datetime64[ns]"),
    }[kind]
    options: dict[str, Any] = {"backend": backend, "return_details": True}
    expected = mmr_advantages(rewards.to(device), embeddings.to(device), **options)
    got = mmr_advantages(
        rewards.flatten()[shuffled].to(device),
        embeddings.flatten(0, 1)[shuffled].to(device),
        group_ids=ids,
        **options,
    )
    order = order.to(device)
    of_groups = got.lam[order].reshape(NUM_GROUPS, SIZE)
    assert torch.equal(of_groups, of_groups[:, :1].expand(-1, SIZE))
    same(
        MMRResult(*(field[order] for field in got[:4]), of_groups[:, 0], got.signal),
        MMRResult(*expected[:5], got.signal),
    )


def test_a_labelled_group_of_one_and_all_in_one_group(backend: str, device: torch.device) -> None:
    rewards, embeddings = inputs()
    flat = (rewards.flatten().to(device), embeddings.flatten(0, 1).to(device))
    alone = mmr_advantages(*flat, group_ids=list(range(NUM_GROUPS * SIZE)), backend=backend)
    assert torch.equal(alone, torch.zeros_like(alone))
    together = mmr_advantages(*flat, group_ids=["a"] * (NUM_GROUPS * SIZE), backend=backend)
    assert torch.allclose(
        together, mmr_advantages(*flat, group_size=NUM_GROUPS * SIZE, backend=backend), rtol=0, atol=CONTRACT
    )


def test_empty_groups_take_no_part(backend: str, device: torch.device) -> None:
    rewards, embeddings = inputs()
    flat = (rewards.flatten().to(device), embeddings.flatten(0, 1).to(device))
    options: dict[str, Any] = {"backend": backend, "return_details": True}
    plain = mmr_advantages(*flat, group_offsets=[0, 10, 35], **options)
    with_empty = mmr_advantages(*flat, group_offsets=[0, 0, 10, 10, 10, 35, 35], **options)
    same(MMRResult(*with_empty[:4], with_empty.lam[[1, 4]], with_empty.signal[[1, 4]]), plain)


def test_lambda_per_group_follows_the_labels(backend: str, device: torch.device) -> None:
    """With group_ids a tensor λ has one value per completion, as the details report it."""
    rewards, embeddings = inputs()
    lams = torch.linspace(0, 1, NUM_GROUPS)
    options: dict[str, Any] = {"backend": backend, "return_details": True}
    expected = mmr_advantages(rewards.to(device), embeddings.to(device), lam=lams.to(device), **options)
    labels = torch.arange(NUM_GROUPS).repeat_interleave(SIZE)
    shuffled = torch.from_numpy(np.random.default_rng(1).permutation(NUM_GROUPS * SIZE))
    got = mmr_advantages(
        rewards.flatten()[shuffled].to(device),
        embeddings.flatten(0, 1)[shuffled].to(device),
        group_ids=labels[shuffled].to(device),
        lam=lams[labels[shuffled]].to(device),
        **options,
    )
    torch.testing.assert_close(got.lam.cpu(), lams[labels[shuffled]], rtol=0, atol=1e-6)
    torch.testing.assert_close(expected.lam.cpu(), lams, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "where"), [(list, "cpu"), (torch.tensor, "cpu"), (list, "meta")])
def test_labels_of_which_none_comes_twice_are_warned_of_once(
    kind: Any, where: str, recwarn: pytest.WarningsRecorder
) -> None:
    """Every advantage is 0 then: trainings were lost so. On another device than the CPU the host knows a list alone."""
    checks.warn_of_groups_of_one.cache_clear()
    for ids in (range(3), [0, 1, 1], range(3)):
        mmr_advantages(torch.rand(3, device=where), torch.rand(3, 2, device=where), group_ids=kind(ids))
    mmr_advantages(torch.rand(1, device=where), torch.rand(1, 2, device=where), group_ids=kind([0]))
    assert [str(each.message) for each in recwarn] == [
        "group_ids holds no label twice, and the only member of a group gets advantage 0"
    ]


def test_labels_without_a_pair_trace_whole() -> None:
    """The warning comes where the program runs."""
    rewards, embeddings = torch.rand(3), torch.rand(3, 2)
    compiled = torch.compile(mmr_advantages, backend="eager", fullgraph=True)
    assert torch.equal(compiled(rewards, embeddings, group_ids=["a", "b", "c"]), torch.zeros(3))
