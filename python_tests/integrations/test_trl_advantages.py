"""The trainer trains on what the op computes on the same rewards and embeddings, to the bit, in every mode."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from integrations import tiny

from mmr_kernels import mmr_advantages
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.schedule import LambdaEMA, raw_lambda
from mmr_kernels.settings import settings

REWARDS: list[float | None] = [1.0, 0.0, 1.0, 0.5, None, 2.0, 2.0, -1.0, 0.0, 0.0, 0.0, 0.0]
OTHER: list[float | None] = [0.3, None, 0.1, 0.1, None, 0.7, 0.2, 0.9, 0.4, 0.4, 0.4, 0.4]


def expected(trainer: Any, rewards: list[float], count: int, group_size: int, **options: Any) -> torch.Tensor:
    """The op on the texts that the rollout gave."""
    names = trainer.processing_class
    ids = [names(tiny.TEXTS[place % 9])["input_ids"] + [names.eos_token_id] for place in range(count)]
    embeddings = LexicalEmbedder().embed_tokens(ids)
    result = mmr_advantages(torch.tensor(rewards[:count]), embeddings, group_size=group_size, **options)
    assert isinstance(result, torch.Tensor)
    return result


def test_advantages_are_the_ops_in_the_batch_and_in_the_logs(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS)
    output = tiny.batch(trainer, 8)
    rewards = tiny.defined_rewards([REWARDS[:8]], [1.0], 4, "sum_then_normalize")
    advantages = expected(trainer, rewards, 8, 4)
    assert torch.equal(output["advantages"], advantages)
    assert list(trainer._logs["advantages"]) == advantages.tolist()
    assert advantages[4] == 0
    assert not torch.allclose(advantages, trainer.plain_advantages)


GRID = list(
    itertools.product(
        ("group", "batch", "none", True, False),
        ("sum_then_normalize", "normalize_then_sum"),
        ("group", "batch"),
        (True, False),
    )
)


def of_two_rewards(folder: Path, scale: Any, aggregation: str, scope: str, **options: Any) -> Any:
    """A trainer with two reward functions of different weights."""
    args = tiny.config(
        folder,
        scale_rewards=scale,
        multi_objective_aggregation=aggregation,
        reward_weights=[1.0, 2.0],
        per_device_train_batch_size=12,
        mmr_scope=scope,
        **options,
    )
    return tiny.trainer(args, [tiny.GivenRewards(REWARDS, "one"), tiny.GivenRewards(OTHER, "two")])


@pytest.mark.parametrize(("scale", "aggregation", "scope", "training"), GRID)
def test_every_scaling_aggregation_and_scope_in_training_and_evaluation(
    scale: Any, aggregation: str, scope: str, training: bool, tmp_path: Path
) -> None:
    trainer = of_two_rewards(tmp_path, scale, aggregation, scope, num_generations_eval=3)
    output = tiny.batch(trainer, 12, training)
    group_size = 4 if training else 3
    rewards = tiny.defined_rewards([REWARDS, OTHER], [1.0, 2.0], group_size, aggregation)
    used = trainer.mmr_scored.rewards
    torch.testing.assert_close(used, torch.tensor(rewards), rtol=1e-5, atol=1e-5, equal_nan=True)
    name = {True: "group", False: "none"}.get(scale, scale)
    name = "batch" if aggregation == "normalize_then_sum" else name
    advantages = expected(trainer, used.tolist(), 12, group_size, scope=scope, scale=name)
    assert torch.equal(output["advantages"], advantages)
    assert list(trainer._logs["advantages"]) == advantages.tolist()


@pytest.mark.parametrize(("scale", "aggregation", "scope", "training"), GRID)
@pytest.mark.parametrize("generations_eval", [3, 1])
def test_method_none_is_plain_grpo(
    scale: Any, aggregation: str, scope: str, training: bool, generations_eval: int, tmp_path: Path
) -> None:
    options = {"num_generations_eval": generations_eval, "mmr_method": "none"}
    trainer = of_two_rewards(tmp_path, scale, aggregation, scope, **options)
    output = tiny.batch(trainer, 12, training)
    assert torch.equal(output["advantages"], trainer.plain_advantages)
    recomputed = mmr_advantages(
        trainer.mmr_scored.rewards,
        group_size=4 if training else generations_eval,
        method="none",
        scale="batch" if aggregation == "normalize_then_sum" else {True: "group", False: "none"}.get(scale, scale),
    )
    torch.testing.assert_close(output["advantages"], recomputed, rtol=1e-5, atol=2e-6)


def test_method_none_trains_the_weights_of_plain_grpo(tmp_path: Path) -> None:
    weights = []
    for trainer_class in (tiny.GRPOTrainer, tiny.Recorded):
        args = tiny.config(tmp_path, mmr_method="none", max_steps=6, per_device_train_batch_size=12)
        trainer = tiny.trainer(args, [tiny.GivenRewards(REWARDS), tiny.GivenRewards(OTHER, "two")], trainer_class)
        trainer.train()
        weights.append(torch.cat([each.flatten() for each in trainer.model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize("scale", ["group", "none"])
def test_method_none_hands_infinite_rewards_through(scale: str, tmp_path: Path) -> None:
    args = tiny.config(tmp_path, mmr_method="none", scale_rewards=scale)
    trainer = tiny.trainer(args, [math.inf, *REWARDS[1:4], 1.0, -math.inf, 0.0, 0.0])
    output = tiny.batch(trainer, 8)
    assert torch.equal(output["advantages"], trainer.plain_advantages)
    assert list(trainer._logs["advantages"]) == trainer.plain_advantages.tolist()


CHOSEN: list[dict[str, Any]] = [
    {"mmr_lam": 0.7},
    {"mmr_lam": "relative_std", "mmr_temperature": 2.0},
    {"mmr_first_pick": "score"},
    {"mmr_diversity": 0.25},
    {"mmr_match_scale": True},
    {"mmr_scope": "batch"},
    {"mmr_degenerate": "zero"},
    {"mmr_method": "smi"},
    {"mmr_method": "smi", "mmr_strength": 0.5},
    {"mmr_method": "share"},
    {"mmr_method": "share", "mmr_diversity": 0.5},
    {"mmr_method": "unique", "mmr_sharpness": 1.0},
    {"mmr_method": "partition", "mmr_threshold": 0.3},
    {"mmr_method": "dpp"},
    {"mmr_method": "dpp", "mmr_quality": True},
    {"mmr_backend": "torch"},
]


def test_no_option_is_left_out() -> None:
    offered = {f"mmr_{row.name}" for row in settings("scale", "eps", "normalize")}
    assert {name for options in CHOSEN for name in options} == offered


@pytest.mark.parametrize("options", CHOSEN, ids=lambda options: " ".join(map(str, options.values())))
def test_each_option_reaches_the_op(options: dict[str, Any], tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path, per_device_train_batch_size=12, **options), REWARDS)
    output = tiny.batch(trainer, 12)
    rewards = tiny.defined_rewards([REWARDS], [1.0], 4, "sum_then_normalize")
    op_options = {name.removeprefix("mmr_"): value for name, value in options.items()}
    assert torch.equal(output["advantages"], expected(trainer, rewards, 12, 4, **op_options))
    if "mmr_backend" not in options:
        assert not torch.equal(output["advantages"], expected(trainer, rewards, 12, 4))


def test_a_given_embedder_wins_over_the_config(tmp_path: Path) -> None:
    seen = tiny.Seen()
    trainer = tiny.trainer(tiny.config(tmp_path, mmr_embedder="lexical"), REWARDS, embedder=seen)
    output = tiny.batch(trainer, 8)
    assert seen == list(dict.fromkeys(tiny.TEXTS[:8])), "each distinct text once"
    embeddings = torch.eye(7)[[0, 0, 1, 2, 3, 4, 5, 6]]
    rewards = tiny.defined_rewards([REWARDS[:8]], [1.0], 4, "sum_then_normalize")
    assert torch.equal(output["advantages"], mmr_advantages(torch.tensor(rewards), embeddings, group_size=4))


def test_conversations_embed_what_the_assistant_wrote(tmp_path: Path) -> None:
    seen = tiny.Seen()
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, conversational=True, embedder=seen)
    tiny.batch(trainer, 8)
    assert seen == list(dict.fromkeys(tiny.TEXTS[:8]))


def test_conversations_and_texts_get_the_same_advantages(tmp_path: Path) -> None:
    texts = tiny.batch(tiny.trainer(tiny.config(tmp_path), REWARDS), 8)["advantages"]
    chat = tiny.batch(tiny.trainer(tiny.config(tmp_path), REWARDS, conversational=True), 8)["advantages"]
    assert torch.equal(texts, chat)


def test_asynchronous_rewards(tmp_path: Path) -> None:
    async def reward(prompts: list[Any], **kwargs: Any) -> list[float | None]:
        return REWARDS[: len(prompts)]

    output = tiny.batch(tiny.trainer(tiny.config(tmp_path), [reward]), 8)
    assert torch.equal(output["advantages"], tiny.batch(tiny.trainer(tiny.config(tmp_path), REWARDS), 8)["advantages"])


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo", "bnpo"])
def test_the_loss_receives_them_over_accumulation_and_several_generations(loss_type: str, tmp_path: Path) -> None:
    args = tiny.config(
        tmp_path,
        loss_type=loss_type,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        num_iterations=2,
        max_steps=4,
    )
    received: list[torch.Tensor] = []

    class Watched(tiny.Recorded):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            received.append(inputs["advantages"].clone())
            return super().compute_loss(model, inputs, *args, **kwargs)

    trainer = tiny.trainer(args, REWARDS, Watched)
    trainer.train()
    rewards = tiny.defined_rewards([REWARDS[:8]], [1.0], 4, "sum_then_normalize")
    advantages = expected(trainer, rewards, 8, 4)
    assert len(received) == 8  # 4 steps of 2 batches of 2
    for start in (0, 4):
        used = torch.cat(received[start : start + 4])
        assert torch.equal(used.sort().values, advantages.sort().values)


def test_diversity_goes_in_a_straight_line_and_is_logged(tmp_path: Path) -> None:
    args = tiny.config(tmp_path, max_steps=4, mmr_diversity_end=0.0, mmr_diversity_steps=0.5)
    trainer = tiny.trainer(args, REWARDS)
    trainer.train()
    logged = [entry["mmr/diversity"] for entry in trainer.state.log_history if "mmr/diversity" in entry]
    assert logged == [1.0, 0.5, 0.0, 0.0]


def test_relative_std_over_the_batch_is_smoothed_and_survives_a_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    warned: list[str] = []
    monkeypatch.setattr("transformers.trainer.logger.warning", warned.append)
    batches = [[1.0, 0.0, 1.0, 0.5, 3.0, 2.0, 2.0, 4.0], [0.1, 0.2, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2], [9.0, *[0.0] * 7]]

    class Changing(tiny.GivenRewards):
        def __call__(self, prompts: list[Any], trainer_state: Any, **kwargs: Any) -> list[float | None]:
            self.values = batches[trainer_state.global_step]
            return super().__call__(prompts, **kwargs)

    def run(steps: int, **more: Any) -> list[float]:
        options = {"mmr_lam": "relative_std", "mmr_scope": "batch", "save_strategy": "steps", "save_steps": 1}
        options["restore_callback_states_from_checkpoint"] = True
        trainer = tiny.trainer(tiny.config(tmp_path, max_steps=steps, **options), [Changing([])])
        trainer.train(**more)
        return [entry["mmr/lambda"] for entry in trainer.state.log_history if "mmr/lambda" in entry]

    average = LambdaEMA(0.2)
    smoothed = [float(average.update(raw_lambda(torch.tensor(values)).item())) for values in batches]
    run(2)
    logged = run(3, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert logged == pytest.approx(smoothed, rel=1e-6)
    assert not [words for words in warned if "mmr" in words], "of a callback that is missing"
    assert abs(smoothed[2] - raw_lambda(torch.tensor(batches[2])).item()) > 0.1
