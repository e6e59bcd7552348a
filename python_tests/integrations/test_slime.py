"""slime's hook, on a stand-in of its ``Sample``: slime isn't on PyPI, so this can't tell whether slime has moved."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmr_kernels import mmr_advantages
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.integrations import slime
from mmr_kernels.options import OPTIONS


@dataclass
class Sample:
    """The fields that the hook reads, as slime 0.3.1 has them."""

    tokens: list[int]
    response_length: int
    reward: float
    group_index: int | None
    loss_mask: list[int] | None = None
    remove_sample: bool = False

    def get_reward_value(self, args: Any) -> float:
        return self.reward


def arguments(**mmr: Any) -> SimpleNamespace:
    settings = {"advantage_estimator": "grpo", "rewards_normalization": True, "grpo_std_normalization": True}
    return SimpleNamespace(**settings, mmr=mmr)


#: Groups of uneven sizes, mixed; prompts of two tokens; what a tool wrote is masked.
SAMPLES = [
    Sample([1, 2, 5, 6, 7], 3, 1.0, 3),
    Sample([1, 9, 4, 4], 2, 0.0, 8),
    Sample([1, 2, 5, 6, 7], 3, 1.0, 3),
    Sample([1, 2, 5, 6, 0, 0, 7], 5, 0.5, 3, [1, 1, 0, 0, 1]),
    Sample([1, 9, 4, 5], 2, 1.0, 8),
]


@pytest.fixture(autouse=True)
def no_state() -> None:
    slime._state.clear()


def expected(**options: Any) -> torch.Tensor:
    ids = [[5, 6, 7], [4, 4], [5, 6, 7], [5, 6, 0, 0, 7], [4, 5]]
    longest = max(map(len, ids))
    own = [[1] * len(row) if 0 not in row else [1, 1, 0, 0, 1] for row in ids]
    tensors = (torch.tensor([row + [0] * (longest - len(row)) for row in rows]) for rows in (ids, own))
    rewards = torch.tensor([sample.reward for sample in SAMPLES])
    options = {"eps": 1e-6, "group_ids": torch.tensor([3, 8, 3, 3, 8])} | options
    values = mmr_advantages(rewards, LexicalEmbedder().embed_tokens(*tensors), **options)
    assert isinstance(values, torch.Tensor)
    return values


@pytest.mark.parametrize("method", OPTIONS["method"].choices)
@pytest.mark.parametrize("std", [True, False])
def test_advantages_are_the_ops(method: str, std: bool) -> None:
    chosen = {"method": method} | ({"threshold": 0.5} if method == "partition" else {})
    args = arguments(**chosen)
    args.grpo_std_normalization = std
    raw, advantages = slime.post_process(args, SAMPLES)
    assert raw == [1.0, 0.0, 1.0, 0.5, 1.0]
    assert advantages == expected(scale="group" if std else "none", **chosen).tolist()


def test_none_is_slimes_own_where_groups_are_even() -> None:
    samples = [Sample([1, 2], 1, reward, place // 4) for place, reward in enumerate([1.0, 0.0, 0.5, 1.0, 0, 0, 0, 2])]
    _, advantages = slime.post_process(arguments(method="none"), samples)
    rewards = torch.tensor([sample.reward for sample in samples]).reshape(-1, 4)
    centred = rewards - rewards.mean(dim=-1, keepdim=True)
    own = (centred / (centred.std(dim=-1, keepdim=True) + 1e-6)).flatten()
    torch.testing.assert_close(torch.tensor(advantages), own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["mmr", "none"])
def test_a_sample_that_is_removed_takes_no_place(method: str) -> None:
    removed = [*SAMPLES[:1], Sample([1, 9, 4, 4], 2, 0.0, 8, remove_sample=True), *SAMPLES[2:]]
    _, advantages = slime.post_process(arguments(method=method), removed)
    valid = torch.tensor([True, method == "none", True, True, True])
    assert advantages == expected(method=method, valid=valid).tolist()


def test_the_average_of_lambda_moves() -> None:
    args = arguments(lam="relative_std", scope="batch")
    first = slime.post_process(args, SAMPLES)[1]
    other = [
        Sample(each.tokens, each.response_length, 3 * each.reward + 1, each.group_index, each.loss_mask)
        for each in SAMPLES
    ]
    averaged = slime.post_process(args, other)[1]
    slime._state.clear()
    assert first == slime.post_process(args, SAMPLES)[1]
    slime._state.clear()
    assert averaged != slime.post_process(args, other)[1]


@pytest.mark.parametrize(
    ("changed", "mmr", "words"),
    [
        ({}, {"lamb": 1}, "mmr takes method, lam, .* got lamb"),
        ({}, {"lam": 2}, r"mmr: mmr_lam must lie in \[0, 1\], got 2"),
        ({}, {"diversity_end": 0.0}, "mmr_diversity_end and mmr_plot_steps are not for slime"),
        ({"advantage_estimator": "ppo"}, {}, "takes an advantage_estimator of grpo, gspo, cispo .* got 'ppo', True"),
        ({"rewards_normalization": False}, {}, "got 'grpo', False"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], mmr: dict[str, Any], words: str) -> None:
    args = arguments(**mmr)
    vars(args).update(changed)
    with pytest.raises(ValueError, match=words):
        slime.post_process(args, SAMPLES)


@pytest.mark.parametrize(("mmr", "words"), [([1], r"options by name, .* got \[1\]"), ({1: 2}, "got 1")])
def test_options_that_are_no_mapping_of_names(mmr: Any, words: str) -> None:
    args = arguments()
    args.mmr = mmr
    with pytest.raises((TypeError, ValueError), match=words):
        slime.post_process(args, SAMPLES)


def test_a_sample_without_a_group_is_an_error() -> None:
    with pytest.raises(ValueError, match="sample 1 of the step has none"):
        slime.post_process(arguments(), [SAMPLES[0], Sample([1, 2], 1, 0.0, None)])
