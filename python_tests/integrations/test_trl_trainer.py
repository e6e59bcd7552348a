"""MMR works with all that TRL can be asked to do; where it can't, it says so before training."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from integrations import tiny
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, TrlParser
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

from mmr_kernels.integrations.trl import MMRGRPOConfig, MMRGRPOTrainer, MMRMixin, MMROptions, attach_mmr

REWARDS: list[float | None] = [1.0, 0.0, 1.0, 0.5, None, 2.0, 2.0, -1.0]


def of_trl(folder: Path) -> dict[str, Any]:
    """The options of TRL's own config."""
    options = vars(tiny.config(folder))
    names = ("output_dir", "per_device_train_batch_size", "num_generations", "max_steps", "save_strategy", "report_to")
    return {name: options[name] for name in names} | {"use_cpu": True, "bf16": False}


@pytest.fixture
def advantages(tmp_path: Path) -> torch.Tensor:
    """Those of MMR's defaults."""
    return tiny.batch(tiny.trainer(tiny.config(tmp_path), REWARDS), 8)["advantages"]


def test_the_drop_in_trains_from_the_config_of_trl(advantages: torch.Tensor, tmp_path: Path) -> None:
    trainer = tiny.trainer(GRPOConfig(**of_trl(tmp_path)), REWARDS, MMRGRPOTrainer)
    before = [weights.clone() for weights in trainer.model.parameters()]
    trainer.train()
    assert torch.equal(trainer.mmr_scored.advantages, advantages)
    assert any(not torch.equal(*pair) for pair in zip(before, trainer.model.parameters(), strict=True))


def test_attached_to_a_trainer_that_exists(advantages: torch.Tensor, tmp_path: Path) -> None:
    trainer = tiny.trainer(GRPOConfig(**of_trl(tmp_path)), REWARDS, GRPOTrainer)
    assert attach_mmr(trainer) is trainer
    assert torch.equal(tiny.batch(trainer, 8)["advantages"], advantages)
    with pytest.raises(TypeError, match="has MMR already"):
        attach_mmr(trainer)


def test_attached_with_options(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, GRPOTrainer)
    with pytest.raises(TypeError, match=r"got lam$"):
        attach_mmr(trainer, lam=0.5)
    attach_mmr(trainer, mmr_lam=0.6)
    expected = tiny.batch(tiny.trainer(tiny.config(tmp_path, mmr_lam=0.6), REWARDS), 8)["advantages"]
    assert torch.equal(tiny.batch(trainer, 8)["advantages"], expected)


def test_in_front_of_another_trainer(advantages: torch.Tensor, tmp_path: Path) -> None:
    class MyTrainer(MMRMixin, GMPOTrainer):
        pass

    @dataclass
    class MyConfig(MMROptions, GMPOConfig):
        pass

    trainer = tiny.trainer(MyConfig(**of_trl(tmp_path)), REWARDS, MyTrainer)
    trainer.train()
    assert torch.equal(trainer.mmr_scored.advantages, advantages)


def test_adapters(advantages: torch.Tensor, tmp_path: Path) -> None:
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    trainer = tiny.trainer(tiny.config(tmp_path, beta=0.1), REWARDS, peft_config=lora)
    trainer.train()
    assert torch.equal(trainer.mmr_scored.advantages, advantages)


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_completions_from_vllm(mode: str, advantages: torch.Tensor, tmp_path: Path, monkeypatch: Any) -> None:
    class GenerationOfGivenCompletions:
        """Stands in for TRL's: takes prompts' ids, returns completions' ids and log-probabilities."""

        def __init__(self, **kwargs: Any) -> None:
            info = {"model_config": {"logprobs_mode": "processed_logprobs"}}
            self.vllm_client = SimpleNamespace(get_server_info=lambda: info)

        def sync_weights(self) -> None:
            pass

        def generate(self, prompts: list[Any], **kwargs: Any) -> tuple[Any, ...]:
            rollout = tiny.GivenCompletions()(prompts, trainer)
            logprobs = [[[-1.0] for _ in ids] for ids in rollout["completion_ids"]]
            return rollout["prompt_ids"], rollout["completion_ids"], logprobs, None

    monkeypatch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", GenerationOfGivenCompletions)
    monkeypatch.setattr("trl.trainer.grpo_trainer.is_vllm_available", lambda *args: True, raising=False)
    trainer = tiny.trainer(tiny.config(tmp_path, use_vllm=True, vllm_mode=mode), REWARDS, rollout_func=None)
    trainer.train()
    assert torch.equal(trainer.mmr_scored.advantages, advantages)


def test_what_tools_answered_is_not_embedded(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    seen = tiny.Seen()
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, conversational=True, embedder=seen)
    trainer.tools = [len]

    def generate(prompts: list[Any]) -> tuple[Any, ...]:
        completion = [
            {"role": "assistant", "content": "let me see", "tool_calls": [call]},
            {"role": "tool", "name": "add", "content": "3"},
            {"role": "assistant", "thinking": "hm", "content": [{"type": "text", "text": "so 3"}]},
        ]
        count = len(prompts)
        ids = [[5, 6, 7]] * count
        return ids, ids, [[1, 0, 1]] * count, [completion] * count, None, {}, None, [[] for _ in prompts]

    monkey = pytest.MonkeyPatch()
    monkey.setattr(trainer, "_generate", generate)
    monkey.setattr("trl.trainer.grpo_trainer.inspect.iscoroutinefunction", lambda tool: False)
    trainer._standalone_tools = []
    tiny.batch(trainer, 8)
    monkey.undo()
    assert seen == [trainer.processing_class.decode([5, 7])], "its own tokens, and not that between them"


class Observing(tiny.GivenCompletions):
    """An environment answers before the policy's tokens, which are those of the other rollouts."""

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        rollout = super().__call__(prompts, trainer)
        seen = trainer.processing_class("9 = 3 * 3 so 9")["input_ids"]
        ids = rollout["completion_ids"]
        return rollout | {
            "completion_ids": [seen + row for row in ids],
            "logprobs": [[0.0] * len(seen + row) for row in ids],
            "env_mask": [[0] * len(seen) + [1] * len(row) for row in ids],
        }


@pytest.mark.parametrize("embedder", ["lexical", "policy", "text"])
def test_tokens_that_the_policy_didnt_write_are_not_embedded(embedder: str, tmp_path: Path) -> None:
    used = []
    for rollout_func in (Observing(), tiny.GivenCompletions()):
        args = tiny.config(tmp_path, mmr_embedder="lexical" if embedder == "text" else embedder)
        seen = tiny.Seen()
        more = {"embedder": seen} if embedder == "text" else {}
        trainer = tiny.trainer(args, REWARDS, rollout_func=rollout_func, **more)
        used.append(tiny.batch(trainer, 8)["advantages"])
        assert not more or seen == list(dict.fromkeys(tiny.TEXTS[:8]))
    torch.testing.assert_close(used[0], used[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("embedder", ["lexical", "policy"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_truncated_completion_out_of_the_loss_is_not_valid(masked: bool, embedder: str, tmp_path: Path) -> None:
    """The first completion is its finished twin without the end."""

    class Truncating(tiny.GivenCompletions):
        def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
            rollout = super().__call__(prompts, trainer)
            for name in ("completion_ids", "logprobs"):
                rollout[name][0] = rollout[name][0][:-1]
            return rollout

    args = tiny.config(tmp_path, mask_truncated_completions=masked, mmr_embedder=embedder)
    trainer = tiny.trainer(args, REWARDS, rollout_func=Truncating())
    used = tiny.batch(trainer, 8)["advantages"]
    if masked:
        unscored = tiny.batch(tiny.trainer(tiny.config(tmp_path, mmr_embedder=embedder), [None, *REWARDS[1:]]), 8)
        torch.testing.assert_close(used, unscored["advantages"], rtol=1e-5, atol=1e-5)
    assert trainer._metrics["train"]["mmr/unusable_embeddings"] == [0]
    assert trainer.mmr_scored.selection_rank[0] == (-1 if masked else 0)


def test_the_table_and_the_metrics_show_what_was_used(tmp_path: Path, capsys: Any) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path, log_completions=True, mmr_plot_steps=1), REWARDS)
    trainer.train()
    table = pd.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    scored = trainer.mmr_scored
    assert table["advantage"].tolist() == scored.advantages.tolist()
    assert str(table["mmr_reweighted_reward"].tolist()) == str(scored.reweighted_rewards.tolist())
    assert table["mmr_selection_rank"].tolist() == scored.selection_rank.tolist()
    assert table["mmr_max_similarity"].tolist() == scored.max_similarity.tolist()

    logged = next(entry for entry in trainer.state.log_history if "mmr/lambda" in entry)
    known = torch.tensor([value for value in REWARDS if value is not None])
    assert logged["mmr/reward_before"] == pytest.approx(known.mean().item())
    assert logged["mmr/reward_after"] == pytest.approx(scored.reweighted_rewards.nanmean().item())
    assert logged["mmr/similarity_max"] == pytest.approx(1.0), "the first two completions are the same"
    assert logged["mmr/equal_reward_groups"] == 0
    both = torch.stack([known, scored.advantages[[0, 1, 2, 3, 5, 6, 7]]])
    assert logged["mmr/reward_advantage_correlation"] == pytest.approx(torch.corrcoef(both)[0, 1].item(), abs=1e-6)
    assert 0 < logged["mmr/share_of_step"] < 1
    share = (logged["mmr/embed_ms"] + logged["mmr/reweight_ms"]) / 1000 / logged["step_time"]
    assert logged["mmr/share_of_step"] == pytest.approx(share)
    assert (tmp_path / "mmr_plots" / "step_00001.png").stat().st_size > 10_000


@pytest.mark.parametrize("method", ["mmr", "smi", "unique", "share", "none"])
def test_a_run_has_the_options_and_the_method_in_its_records(method: str, tmp_path: Path) -> None:
    given = GMPOConfig(**of_trl(tmp_path) | {"save_strategy": "steps", "save_steps": 1})
    trainer = attach_mmr(tiny.trainer(given, REWARDS, GMPOTrainer), mmr_method=method, mmr_temperature=2.0)
    trainer.train()
    saved = torch.load(tmp_path / "checkpoint-1" / "training_args.bin", weights_only=False)
    for args in (trainer.args, saved):
        assert isinstance(args, GMPOConfig)
        assert (args.to_dict()["mmr_method"], args.to_dict()["mmr_temperature"]) == (method, 2.0)
    assert not hasattr(given, "mmr_method"), "the given one may serve another trainer"
    card = (tmp_path / "README.md").read_text()
    expected = {
        "mmr": ("MMR-GRPO, a", "2601.09085", "mmr-grpo"),
        "smi": ("DRA-GRPO, a", "2505.09655", "dra-grpo"),
        "unique": ("Uniqueness-Aware RL, a", "2601.08763", "uniqueness-aware-rl"),
        "share": ("GRPO with method share.", "", "grpo-with-method-share"),
        "none": ("GRPO, a", "2402.03300", ""),
    }
    name, paper, tag = expected.pop(method)
    assert f"trained with {name}" in card
    assert paper in card
    assert f"\n- {tag}" in card
    assert not any(word in card for _, *words in expected.values() for word in words if word)


def test_a_reward_function_may_log_columns_of_any_name(tmp_path: Path) -> None:
    class Logging(tiny.GivenRewards):
        def __call__(self, prompts: list[Any], log_extra: Any, **kwargs: Any) -> list[float | None]:
            log_extra("max_similarity", [9.0] * len(prompts))
            return super().__call__(prompts, **kwargs)

    args = tiny.config(tmp_path, log_completions=True)
    trainer = tiny.trainer(args, [Logging(REWARDS)], eval_dataset=tiny.prompts(4))
    trainer.train()
    table = pd.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert table["max_similarity"].tolist() == [9.0] * 8
    assert table["mmr_max_similarity"].tolist() == trainer.mmr_scored.max_similarity.tolist()
    trainer.evaluate()


def test_groups_of_equal_rewards_are_counted(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path), [1.0, 1.0, None, 1.0, 1.0, 0.0, 0.0, 0.0])
    tiny.batch(trainer, 8)
    assert trainer._metrics["train"]["mmr/equal_reward_groups"] == [0.5]


def test_embeddings_that_are_zero_or_not_finite_are_counted_and_warned_of_once(tmp_path: Path) -> None:
    def embed(texts: list[str]) -> torch.Tensor:
        rows = torch.eye(len(texts))
        rows[0], rows[1, 2], rows[2, 0], rows[3] = 0, torch.nan, torch.inf, 1e30
        return rows

    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, embedder=embed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        tiny.batch(trainer, 8)
        tiny.batch(trainer, 8)
    assert trainer._metrics["train"]["mmr/unusable_embeddings"] == [5, 5], "the first is that of two completions"
    assert len([each for each in caught if "rows that are zero or not finite" in str(each.message)]) == 1


def test_pictures_go_to_the_reporters(tmp_path: Path, monkeypatch: Any) -> None:
    logged: list[tuple[str, Any]] = []
    for name in ("wandb", "trackio"):
        stand_in = SimpleNamespace(log=lambda entry, name=name: logged.append((name, entry)), Image=lambda path: path)
        monkeypatch.setitem(__import__("sys").modules, name, stand_in)
    trainer = tiny.trainer(tiny.config(tmp_path, mmr_plot_steps=2), REWARDS)
    tiny.batch(trainer, 8)
    callback = next(one for one in trainer.callback_handler.callbacks if type(one).__name__ == "MMRPlotCallback")
    writer = SimpleNamespace(add_figure=lambda name, figure, step, close: logged.append(("tensorboard", {name: step})))
    trainer.callback_handler.callbacks.append(SimpleNamespace(tb_writer=writer))
    args = SimpleNamespace(output_dir=str(tmp_path), report_to=["wandb", "trackio", "tensorboard"])
    for step in (1, 2):
        callback.on_step_end(args, SimpleNamespace(is_world_process_zero=True, global_step=step), None)
    path = str(tmp_path / "mmr_plots" / "step_00002.png")
    shown = {"mmr/reweighting": path}
    assert logged == [("tensorboard", {"mmr/reweighting": 2}), ("wandb", shown), ("trackio", shown)]


def test_yaml_and_the_command_line_set_the_options(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("output_dir: out\nmmr_lam: 0.7\nmmr_embedder: policy\nuse_cpu: true\nbf16: false\n")
    parser = TrlParser((MMRGRPOConfig,))
    (args,) = parser.parse_args_and_config(["--config", str(file), "--mmr_scope", "batch", "--mmr_diversity_end", "0"])
    assert (args.mmr_lam, args.mmr_embedder, args.mmr_scope, args.mmr_diversity_end) == (0.7, "policy", "batch", 0.0)
    (args,) = parser.parse_args_and_config(["--output_dir", "o", "--mmr_lam", "0.25", "--use_cpu", "--bf16", "false"])
    assert args.mmr_lam == 0.25
    assert MMROptions.of(GRPOConfig("out", use_cpu=True, bf16=False)) == MMROptions()
    json.dumps(args.to_dict())


@pytest.mark.parametrize("value", ["signal", 0.5, None])
def test_yaml_and_the_command_line_set_the_diversity(value: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    options = {"output_dir": "out", "use_cpu": True, "bf16": False, "mmr_method": "share", "mmr_strength": 0.25}
    file.write_text(yaml.safe_dump(options | {"mmr_diversity": value}))
    parser = TrlParser((MMRGRPOConfig,))
    found = [parser.parse_args_and_config(["--config", str(file)])]
    if value is not None:
        words = [str(word) for name, option in options.items() for word in (f"--{name}", option)]
        found.append(parser.parse_args_and_config([*words, "--mmr_diversity", str(value)]))
    for (args,) in found:
        assert (args.mmr_diversity, args.mmr_strength, args.mmr_threshold) == (value, 0.25, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mmr_method": "mrr"}, "mmr_method must be one of 'mmr', 'smi', .*'none'; got 'mrr'"),
        ({"mmr_scope": "all"}, "mmr_scope must be one of"),
        ({"mmr_backend": "gpu"}, "mmr_backend must be one of"),
        ({"mmr_lam": "sigmiod"}, r"mmr_lam must be a number in \[0, 1\] or one of .*; got 'sigmiod'"),
        ({"mmr_lam": 1.5}, r"mmr_lam must lie in \[0, 1\], got 1.5"),
        ({"mmr_temperature": -1.0}, "mmr_temperature must lie in"),
        ({"mmr_temperature": 1e39}, r"mmr_temperature must lie in \[0, 3.40282e\+38\], got 1e\+39"),
        ({"mmr_diversity": 2.0}, "mmr_diversity must lie in"),
        ({"mmr_diversity_end": -0.5}, "mmr_diversity_end must lie in"),
        ({"mmr_diversity": "singal"}, r"mmr_diversity must be a number in \[0, 1\] or one of 'signal'; got 'singal'"),
        ({"mmr_diversity_end": 0.5, "mmr_method": "smi"}, "mmr_diversity_end goes with mmr_method one of 'mmr', 'sh"),
        ({"mmr_diversity": "signal", "mmr_method": "dpp"}, "mmr_diversity='signal' goes with mmr_method one of 'mmr'"),
        ({"mmr_diversity": "signal", "mmr_diversity_end": 0.5}, "mmr_diversity_end goes with a number as mmr_di"),
        ({"mmr_method": "unique", "mmr_strength": 2.0}, r"mmr_strength must lie in \[0, 1\] with mmr_method="),
        ({"mmr_method": "partition"}, 'mmr_method="partition" counts the members of clusters: give mmr_threshold$'),
        ({"mmr_sharpness": -1.0}, r"mmr_sharpness must lie in \[0, 1000\], got -1"),
        ({"mmr_diversity_steps": 0.0}, r"mmr_diversity_steps must lie in \(0, 1\]"),
        ({"mmr_embedder_batch_size": 0}, "mmr_embedder_batch_size must be at least 1, got 0"),
        ({"mmr_plot_steps": -1}, "mmr_plot_steps must be at least 0, got -1"),
    ],
)  # fmt: skip
def test_a_bad_option_is_named_at_construction(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MMROptions(**options)


@pytest.mark.parametrize(
    ("embedder", "error", "message"),
    [
        ("lexcial", ValueError, "embedder must be 'lexical', 'policy', .*; got 'lexcial'"),
        ("vllm:", ValueError, "got 'vllm:'"),
        (3, TypeError, "got int"),
    ],
)
def test_a_bad_embedder_is_named_at_construction(embedder: Any, error: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        tiny.trainer(tiny.config(tmp_path), REWARDS, embedder=embedder)


@pytest.mark.parametrize("embedder", ["lexical", "policy", SimpleNamespace(embed_texts=tiny.Seen(), max_tokens=8)])
def test_completions_longer_than_is_read_are_warned_of(embedder: Any, tmp_path: Path) -> None:
    args = tiny.config(tmp_path, mmr_embedder_max_tokens=8)
    with pytest.warns(UserWarning, match="max_completion_length is 16, and .* reads the first 8 tokens"):
        tiny.trainer(args, REWARDS, embedder=embedder)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "max_completion_length")
        tiny.trainer(tiny.config(tmp_path, mmr_embedder_max_tokens=16), REWARDS)
        tiny.trainer(args, REWARDS, embedder=tiny.Seen())


def test_a_bad_scaling_is_named_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale_rewards must be one of 'group', 'batch', 'none'; got 'std'"):
        tiny.trainer(tiny.config(tmp_path, scale_rewards="std"), REWARDS)


def test_a_trl_that_has_moved_is_one_error_at_construction(tmp_path: Path, monkeypatch: Any) -> None:
    class Moved(GRPOTrainer):
        _calculate_rewards = None
        log = lambda self, name: None  # noqa: E731

    class Trainer(MMRMixin, Moved):
        pass

    with pytest.raises(RuntimeError, match=r"no method _calculate_rewards; log takes .*tested with"):
        tiny.trainer(tiny.config(tmp_path), REWARDS, Trainer)
    with pytest.raises(RuntimeError, match="no method _calculate_rewards"):
        attach_mmr(tiny.trainer(tiny.config(tmp_path), REWARDS, Moved))

    class WithoutLogs(GRPOTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            del self._logs, self.num_generations_eval

    class Second(MMRMixin, WithoutLogs):
        pass

    with pytest.raises(RuntimeError, match=r"no attribute num_generations_eval; no _logs\['advantages'\]"):
        tiny.trainer(tiny.config(tmp_path), REWARDS, Second)


SCORE = "_generate_and_score_completions"


def doubled(batch: dict[str, Any]) -> dict[str, Any]:
    return batch | {"advantages": batch["advantages"] * 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda trainer, batch: doubled(batch), "other advantages than it logged"),
        (lambda trainer, batch: trainer._logs["advantages"].clear() or batch, "other advantages than it logged"),
        (lambda trainer, batch: batch | {"completion_ids": batch["completion_ids"].flip(0)}, "other completions than"),
        (lambda trainer, batch: batch | {"advantages": batch["advantages"][:, None]}, r"advantages of shape \(8, 1\)"),
        (lambda trainer, batch: setattr(trainer, "_mmr_rewarded", None) or batch, "without _calculate_rewards"),
    ],
)
def test_a_parent_that_changes_the_scored_batch_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    override = {SCORE: lambda self, inputs: change(self, GRPOTrainer._generate_and_score_completions(self, inputs))}
    made = type("Trainer", (MMRMixin, type("Parent", (GRPOTrainer,), override)), {})
    with pytest.raises(RuntimeError, match=message):
        tiny.batch(tiny.trainer(tiny.config(tmp_path), REWARDS, made), 8)


def test_a_trainer_that_is_no_grpo_is_told_so(tmp_path: Path) -> None:
    rloo = RLOOTrainer(
        model=tiny.model(),
        reward_funcs=[tiny.GivenRewards(REWARDS)],
        args=RLOOConfig(**of_trl(tmp_path), beta=0.0),
        train_dataset=tiny.prompts(),
        processing_class=tiny.tokenizer(),
    )
    with pytest.raises(RuntimeError, match=r"takes trl\.GRPOTrainer and its subclasses, and this is none"):
        attach_mmr(rloo)


def test_an_override_in_full_is_an_error_where_it_is_written() -> None:
    """Behind the one-line swap it would train plain GRPO."""
    override = {SCORE: lambda self, inputs: {"advantages": self._calculate_rewards(inputs)}}
    with pytest.raises(TypeError, match=f"Mine overrides {SCORE} without calling the one of MMRMixin"):
        type("Mine", (MMRGRPOTrainer,), override)
    with pytest.raises(TypeError, match=f"Mine: InFull overrides {SCORE}"):
        type("Mine", (type("InFull", (), override), MMRGRPOTrainer), {})


@pytest.mark.parametrize("name", [SCORE, "_calculate_rewards"])
def test_a_method_replaced_on_the_object_is_an_error_when_mmr_is_attached(name: str, tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, GRPOTrainer)
    setattr(trainer, name, getattr(trainer, name))
    with pytest.raises(TypeError, match=f"{name} was replaced on the object"):
        attach_mmr(trainer)
    assert type(trainer) is GRPOTrainer


#: Methods in place of MMR's, by which the loss would get other advantages than those in the logs.
PASSING_MMR_OVER: dict[str, dict[str, Any]] = {
    "another trainer's": {SCORE: lambda self, inputs: GRPOTrainer._generate_and_score_completions(self, inputs)},
    "changed": {SCORE: lambda self, inputs: doubled(MMRMixin._generate_and_score_completions(self, inputs))},
    "prepared": {"_prepare_inputs": lambda self, inputs: doubled(MMRMixin._prepare_inputs(self, inputs))},
}
PASSING_MMR_OVER["with its own loss"] = PASSING_MMR_OVER["another trainer's"] | {
    "compute_loss": lambda self, *arguments, **more: GRPOTrainer.compute_loss(self, *arguments, **more)
}


@pytest.mark.parametrize("on", ["class", "object"])
@pytest.mark.parametrize("way", PASSING_MMR_OVER)
def test_the_loss_never_gets_other_advantages_than_the_logged(way: str, on: str, tmp_path: Path) -> None:
    methods = PASSING_MMR_OVER[way]
    made = type("Mine", (MMRGRPOTrainer,), methods if on == "class" else {})
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, made, eval_dataset=tiny.prompts())
    if on == "object":
        vars(trainer).update({name: MethodType(method, trainer) for name, method in methods.items()})
    for run in (trainer.train, trainer.evaluate):
        with pytest.raises(RuntimeError, match="the loss was to get other advantages than those of MMR"):
            run()


def test_an_override_that_leaves_advantages_alone_may_stand_before_mmr(
    advantages: torch.Tensor, tmp_path: Path
) -> None:
    override = {SCORE: lambda self, inputs: MMRMixin._generate_and_score_completions(self, inputs) | {"more": inputs}}
    trainer = tiny.trainer(tiny.config(tmp_path), REWARDS, type("Mine", (MMRGRPOTrainer,), override))
    trainer.train()
    assert torch.equal(trainer.mmr_scored.advantages, advantages)


def test_a_mixin_that_would_be_passed_over_is_refused() -> None:
    """Behind the trainer it would never run: plain GRPO without a word. In front of it, a class that shapes rewards."""
    with pytest.raises(TypeError, match="before the trainer"):

        class Behind(GRPOTrainer, MMRMixin):
            pass

    with pytest.raises(TypeError, match="before the trainer"):

        class Shaped(MMRGRPOTrainer):
            def _calculate_rewards(self, *arguments: Any) -> Any:
                return super()._calculate_rewards(*arguments) / 2
