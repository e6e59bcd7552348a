"""ms-swift's own ``GRPOTrainer._compute_advantages`` on samples of its own class (``make test-swift``)."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("swift", reason="ms-swift is not installed: make test-swift")

from accelerate import Accelerator
from swift.rl_core.data import GRPOSample
from swift.rlhf_trainers import grpo_trainer

from mmr_kernels import mmr_advantages
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.integrations.ms_swift import attach_mmr
from mmr_kernels.options import OPTIONS
from mmr_kernels.schedule import LambdaEMA, raw_lambda

TEXTS = ["1 + 2 = 3", "1 + 2 = 3", "so 3", "9", "2 + 1 = 3", "so 3", "so 3", "4"]
PER_FUNCTION = torch.tensor([[1.0, 1, 0.5, 0, 1, 0, 1, 0.25], [0.5, torch.nan, 1, 0, 0, 1, 1, 0]]).T
WEIGHTS = torch.tensor([1.0, 2.0])
REWARDS = (PER_FUNCTION * WEIGHTS).nansum(dim=1)


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """ms-swift's trainer as it is, before and after."""
    monkeypatch.setattr(grpo_trainer.GRPOTrainer, "_compute_advantages", grpo_trainer.GRPOTrainer._compute_advantages)


def trainer(**settings: Any) -> Any:
    made = object.__new__(grpo_trainer.GRPOTrainer)
    defaults = {
        "accelerator": Accelerator(cpu=True),
        "advantage_estimator": "grpo",
        "beta": 0.0,
        "dynamic_num_samples": False,
        "kl_in_reward": False,
        "model": torch.nn.Linear(1, 1),
        "num_generations": 4,
        "num_generations_eval": 2,
        "overlong_filter": False,
        "reward_func_names": ["one", "two"],
        "reward_weights": WEIGHTS,
        "scale_rewards": "group",
        "state": SimpleNamespace(global_step=0, max_steps=10, stateful_callbacks={}),
        "_logs": {"rewards": defaultdict(list)},
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
    }
    vars(made).update(defaults | settings)
    return made


def samples(finish_reasons: dict[int, str] | None = None) -> list[Any]:
    """Each with a turn before the question, and a tool's answer in the completion."""
    made = []
    for place, text in enumerate(TEXTS):
        messages = [
            {"role": "assistant", "content": f"hello {place}"},
            {"role": "user", "content": "1 + 2?"},
            {"role": "tool", "content": f"tool {place}"},
            {"role": "assistant", "content": text},
        ]
        made.append(GRPOSample(messages=messages, finish_reason=(finish_reasons or {}).get(place, "stop")))
    return made


def computed(trainer: Any, rewards: torch.Tensor = PER_FUNCTION, **changed: Any) -> torch.Tensor:
    result: torch.Tensor = trainer._compute_advantages(samples(**changed), rewards, [])
    return result


def expected(group_size: int = 4, **options: Any) -> torch.Tensor:
    result = mmr_advantages(REWARDS, LexicalEmbedder().embed_texts(TEXTS), group_size=group_size, **options)
    assert isinstance(result, torch.Tensor)
    return result


@pytest.mark.parametrize("method", OPTIONS["method"].choices)
@pytest.mark.parametrize("scale", OPTIONS["scale"].choices)
def test_advantages_are_the_ops_and_those_of_none_swifts(scale: str, method: str) -> None:
    plain = computed(trainer(scale_rewards=scale))
    chosen = {"method": method} | ({"threshold": 0.5} if method == "partition" else {})
    attach_mmr(**chosen)
    made = trainer(scale_rewards=scale)
    found = computed(made)
    if method == "none":
        assert torch.equal(found, plain)
    else:
        assert torch.equal(found, expected(scale=scale, **chosen))
        assert len(made._metrics["train"]["mmr/reward_after"]) == 1
    torch.testing.assert_close(plain, expected(method="none", scale=scale), rtol=0, atol=1e-6)


def test_evaluation_has_groups_of_its_own() -> None:
    attach_mmr()
    made = trainer()
    made.model.eval()
    assert torch.equal(computed(made), expected(group_size=2))
    assert made._metrics["eval"]["mmr/reward_after"]


def test_a_completion_that_was_cut_off_takes_no_place_where_the_loss_leaves_it_out() -> None:
    attach_mmr()
    cut = {"finish_reasons": {0: "length"}}
    assert torch.equal(computed(trainer(), **cut), expected())
    valid = torch.arange(8) != 0
    assert torch.equal(computed(trainer(overlong_filter=True), **cut), expected(valid=valid))


def test_the_average_of_lambda_is_in_the_trainers_state() -> None:
    attach_mmr(lam="relative_std", scope="batch")
    made = trainer()
    computed(made)
    computed(made, PER_FUNCTION * 3)
    average = LambdaEMA()
    for rewards in (REWARDS, REWARDS * 3):
        average.update(raw_lambda(rewards).item())
    assert made.state.stateful_callbacks["mmr"] == average.state_dict()


def test_an_embedder_of_ones_own() -> None:
    seen: list[str] = []

    def embed(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.eye(len(texts))

    attach_mmr(embedder=embed)
    computed(trainer())
    assert seen == list(dict.fromkeys(TEXTS)), "the policy's words after the question, each text once"


@pytest.mark.parametrize(
    "setting",
    [{"advantage_estimator": "rloo"}, {"dynamic_num_samples": True}, {"kl_in_reward": True}, {"scale_rewards": "gdpo"}],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_that_mmr_does_not_know_are_errors(setting: dict[str, Any]) -> None:
    attach_mmr()
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=rf"MMR in ms-swift takes {name} of \(.*\); got {value!r}"):
        computed(trainer(**setting))


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"attach_mmr takes method, lam, .* got lamb"):
        attach_mmr(lamb=1)
    grpo_trainer.GRPOTrainer._compute_advantages = lambda self, samples: None
    with pytest.raises(RuntimeError, match=r"ms-swift 4.6.0: _compute_advantages takes \(self, samples\), not"):
        attach_mmr()
