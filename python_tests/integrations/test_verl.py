"""verl's own trainers on batches in its own queue (``make test-verl``, which has an environment of its own)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
for package in ("verl", "transfer_queue"):
    pytest.importorskip(package, reason=f"{package} is not installed: make test-verl")

import numpy as np  # noqa: E402
import pyarrow.parquet  # noqa: E402
import ray  # noqa: E402
import transfer_queue  # noqa: E402
import verl  # noqa: E402
from hydra import compose, initialize_config_dir  # noqa: E402
from verl.protocol import DataProto  # noqa: E402
from verl.trainer.ppo import core_algos, ray_trainer  # noqa: E402
from verl.trainer.ppo.utils import Role  # noqa: E402
from verl.trainer.ppo.v1 import get_trainer_cls  # noqa: E402
from verl.utils.config import validate_config  # noqa: E402
from verl.utils.tensordict_utils import list_of_dict_to_tensordict  # noqa: E402

from mmr_kernels import MMRResult, mmr_advantages  # noqa: E402
from mmr_kernels.dial import SignalDial  # noqa: E402
from mmr_kernels.embedders import FunctionEmbedder, LexicalEmbedder  # noqa: E402
from mmr_kernels.integrations.verl import hooks  # noqa: E402
from mmr_kernels.options import OPTIONS  # noqa: E402
from mmr_kernels.schedule import LambdaEMA, raw_lambda  # noqa: E402

TOLERANCE = {"rtol": 0, "atol": 1e-6}
#: What a method can't do without.
OPTIONS_OF: dict[str, dict[str, float]] = {"partition": {"threshold": 0.5}}


@pytest.fixture(scope="module", autouse=True)
def queue() -> Iterator[None]:
    # The queue starts two actors, of a CPU each, and waits for ever where there are none.
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    transfer_queue.init(config("transfer_queue.backend.SimpleStorage.num_data_storage_units=1").transfer_queue)
    yield
    transfer_queue.close()
    ray.shutdown()


def config(*overrides: str, estimator: str = "mmr_grpo") -> Any:
    """verl's own, with what stands on its command line."""
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        return compose("ppo_trainer", overrides=[f"algorithm.adv_estimator={estimator}", *overrides])


def v1_trainer(*overrides: str, estimator: str = "mmr_grpo") -> Any:
    trainer = get_trainer_cls("sync")(config(*overrides, estimator=estimator))
    trainer.global_steps, trainer.total_training_steps = 1, 10  # as its dataloader and its checkpoints would set them
    return trainer


class Row:
    """A row of a batch: an output of a session of an agent, or padding."""

    def __init__(self, key: str, reward: float, ids: list[int], own: list[int] | None = None, padding: bool = False):
        self.key, self.reward, self.ids, self.padding = key, reward, ids, padding
        self.own = own or [0 if padding else 1] * len(ids)

    def fields(self) -> dict[str, Any]:
        ids, own = torch.tensor(self.ids), torch.tensor(self.own)
        scores = torch.zeros(len(ids))
        scores[-1] = self.reward
        log_probs = {name: torch.zeros(len(ids)) for name in ("rollout_log_probs", "old_log_probs")}
        uid = self.key.rsplit("_", 2)[0]
        return {"uid": uid, "responses": ids, "response_mask": own, "rm_scores": scores, **log_probs}


#: Groups of 5, 3 and 2 sessions, of which some have two outputs; tokens that a tool wrote; padding.
ROWS = [
    Row("a_0_0", 1.0, [5, 6, 7, 8]),
    Row("a_1_0", 1.0, [5, 6, 7, 8]),
    Row("a_2_0", 0.0, [1, 2, 3]),
    Row("a_2_1", 0.0, [5, 6, 9, 9, 9, 7], [1, 1, 0, 0, 0, 1]),
    Row("a_3_0", 1.0, [8, 8, 7, 1]),
    Row("a_4_0", 0.5, [4, 4, 3]),
    Row("b_c_0_0", 0.25, [9, 9, 9, 9]),
    Row("b_c_0_1", 1.0, [5, 6]),
    Row("b_c_0_2", 1.0, [7, 6, 5]),
    Row("b_c_1_0", 0.0, [7, 6]),
    Row("b_c_2_0", 2.0, [7, 6, 5, 4, 3]),
    Row("d_10_0", 0.0, [3, 1, 4, 1, 5]),
    Row("d_9_0", 1.0, [3, 1, 4]),
    Row("pad_0_0", 0.0, [0], padding=True),
    Row("pad_1_0", 0.0, [0], padding=True),
]
#: The rows that score, in the order of sampling, and their groups.
SCORED = ["a_0_0", "a_1_0", "a_2_1", "a_3_0", "a_4_0", "b_c_0_2", "b_c_1_0", "b_c_2_0", "d_9_0", "d_10_0"]
GROUPS = [0] * 5 + [1] * 3 + [2] * 2


def in_queue(rows: list[Row]) -> Any:
    """The batch of these rows in a partition of its own."""
    partition = f"train{next(_PARTITIONS)}"
    return transfer_queue.kv_batch_put(
        keys=[row.key for row in rows],
        partition_id=partition,
        fields=list_of_dict_to_tensordict([row.fields() for row in rows]),
        tags=[{"is_padding": True} if row.padding else {} for row in rows],
    )


_PARTITIONS = iter(range(10**6))


def made(trainer: Any, rows: list[Row]) -> tuple[dict[str, float], dict[str, Any]]:
    """Each row's advantage, that stands at each of its own tokens and at no other, and the metrics."""
    batch, metrics = in_queue(rows), {}
    trainer._compute_advantage(batch, metrics)
    names = ["advantages", "returns"]
    data = transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    found = {}
    for row, values, returns in zip(rows, data["advantages"].unbind(), data["returns"].unbind(), strict=True):
        found[row.key] = values[torch.tensor(row.own).argmax()].item()
        assert torch.equal(values, found[row.key] * torch.tensor(row.own))
        assert torch.equal(values, returns)
    return found, metrics


def expected(rows: list[Row] = ROWS, **options: Any) -> dict[str, float]:
    """What each row should get."""
    advantages = expected_result(rows, **options).advantages
    assert advantages is not None
    by_session = {key.rsplit("_", 1)[0]: value for key, value in zip(SCORED, advantages.tolist(), strict=True)}
    return {row.key: by_session.get(row.key.rsplit("_", 1)[0], 0.0) for row in rows}


def expected_result(rows: list[Row] = ROWS, **options: Any) -> MMRResult:
    """The op on the rows that score, the lexical embedder on the tokens of the policy."""
    by_key = {row.key: row for row in rows}
    chosen = [by_key[key] for key in SCORED]
    longest = max(len(row.ids) for row in chosen)
    ids, own = (
        torch.tensor([getattr(row, name) + [0] * (longest - len(row.ids)) for row in chosen]) for name in ("ids", "own")
    )
    rewards = torch.tensor([row.reward for row in chosen])
    options = {"eps": 1e-6, "group_ids": torch.tensor(GROUPS)} | options
    result = mmr_advantages(rewards, LexicalEmbedder().embed_tokens(ids, own), return_details=True, **options)
    assert isinstance(result, MMRResult)
    return result


def same(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert list(found) == list(wanted)
    torch.testing.assert_close(torch.tensor([*found.values()]), torch.tensor([*wanted.values()]), **TOLERANCE)


def test_the_estimator_is_there_without_a_flag() -> None:
    assert core_algos.get_adv_estimator_fn("mmr_grpo") is hooks.estimator


def test_a_plugin_that_fails_is_seen() -> None:
    code = "import sys; sys.modules['wrapt'] = None; import verl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mmr_kernels can't hook into verl: there will be no algorithm.adv_estimator=mmr_grpo" in done.stderr
    assert "wrapt" in done.stderr


@pytest.mark.parametrize("norm", ["true", "false"])
def test_none_gives_verls_own_advantages(norm: str) -> None:
    norm = f"algorithm.norm_adv_by_std_in_grpo={norm}"
    own, metrics = made(v1_trainer(norm, estimator="grpo"), ROWS)
    assert not any(name.startswith("mmr/") for name in metrics)
    found, _ = made(v1_trainer(norm, "+algorithm.mmr.method=none"), ROWS)
    same(found, own)
    assert max(found.values()) > 0.9


@pytest.mark.parametrize("method", OPTIONS["method"].choices)
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("scope", OPTIONS["scope"].choices)
def test_every_method_is_the_ops(method: str, norm: bool, scope: str) -> None:
    chosen = {"method": method, "scope": scope} | OPTIONS_OF.get(method, {})
    options = [f"+algorithm.mmr.{name}={value}" for name, value in chosen.items()]
    found, _ = made(v1_trainer(f"algorithm.norm_adv_by_std_in_grpo={norm}", *options), ROWS)
    same(found, expected(scale="group" if norm else "none", **chosen))


def test_options_reach_the_op_and_metrics_verls() -> None:
    trainer = v1_trainer(*(f"+algorithm.mmr.{option}" for option in ("lam=0.9", "first_pick=score", "diversity=0.5")))
    found, metrics = made(trainer, ROWS)
    same(found, expected(lam=0.9, first_pick="score", diversity=0.5))
    assert metrics["mmr/diversity"] == 0.5
    assert metrics["mmr/lambda"] == pytest.approx(0.95)
    assert metrics["mmr/equal_reward_groups"] == 0
    assert {"mmr/embed_ms", "mmr/reweight_ms", "mmr/similarity_max"} <= set(metrics)
    assert all(value == value for value in metrics.values())


def test_diversity_goes_by_verls_steps() -> None:
    trainer = v1_trainer("+algorithm.mmr.diversity_end=0", "+algorithm.mmr.diversity_steps=0.5")
    trainer.global_steps = 3  # two of ten are done
    found, metrics = made(trainer, ROWS)
    assert metrics["mmr/diversity"] == pytest.approx(0.6)
    same(found, expected(diversity=1 - 0.2 / 0.5))


def test_a_batch_in_another_order_gets_the_same() -> None:
    order = torch.randperm(len(ROWS), generator=torch.Generator().manual_seed(0)).tolist()
    found, _ = made(v1_trainer(), [ROWS[place] for place in order])
    same({row.key: found[row.key] for row in ROWS}, expected())
    assert found["a_0_0"] > found["a_1_0"], "of two equal ones the one that was sampled first is picked first"


def test_tokens_of_a_tool_are_not_read() -> None:
    changed = [Row(row.key, row.reward, list(row.ids), row.own, row.padding) for row in ROWS]
    changed[3].ids[2:5] = [1, 2, 3]
    assert made(v1_trainer(), changed)[0] == made(v1_trainer(), ROWS)[0]


@pytest.mark.parametrize("masked", [True, False])
def test_a_completion_that_is_not_in_the_loss_takes_no_place(masked: bool) -> None:
    """As verl's rejection sampling would have it, which masks rows before advantages are made."""
    rows = [*ROWS[:1], Row("a_1_0", 1.0, [5, 6, 7, 8], [0] * 4 if masked else None), *ROWS[2:]]
    found, _ = made(v1_trainer(), rows)
    valid = torch.tensor([not (masked and key == "a_1_0") for key in SCORED])
    same(found, expected(valid=valid))


def test_a_group_of_one_gets_0() -> None:
    found, _ = made(v1_trainer(), [*ROWS[:6], Row("e_0_0", 3.0, [1, 2])])
    assert found["e_0_0"] == 0


def test_an_embedder_of_texts_reads_the_policys_tokens() -> None:
    trainer = v1_trainer()
    trainer.tokenizer = SimpleNamespace(batch_decode=lambda rows, skip_special_tokens: [str(row) for row in rows])
    seen: list[str] = []

    def embed(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.eye(len(texts))

    assert hooks._run is not None
    hooks._run.embedder = FunctionEmbedder(embed)
    made(trainer, ROWS)
    assert seen[:2] == ["[5, 6, 7, 8]", "[5, 6, 7]"], "each text once, without what a tool wrote"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["+algorithm.mmr.lamb=1"], "algorithm.mmr takes method, lam, .*; got lamb"),
        (["+algorithm.mmr=lam"], "algorithm.mmr takes options by name, as {lam: 0.8}; got 'lam'"),
        (["+algorithm.mmr.lam=2"], r"algorithm.mmr: mmr_lam must lie in \[0, 1\], got 2"),
        (["+algorithm.mmr.method=mrr"], "algorithm.mmr: mmr_method must be one of 'mmr', .* got 'mrr'"),
        (["+algorithm.mmr.embedder=policy"], "embedder 'policy' takes the policy"),
        (["+algorithm.mmr.embedder=lexcal"], "embedder must be 'lexical'"),
    ],
)
def test_a_bad_option_is_an_error_before_any_worker_starts(options: list[str], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        v1_trainer(*options)


def test_a_long_completion_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="data.max_response_length is 9000, and LexicalEmbedder reads the first 3584"):
        v1_trainer("data.max_response_length=9000")


def stubs(trainer: Any) -> Any:
    """The trainer, of which nothing but MMR's state is saved."""
    trainer.actor_rollout_wg = SimpleNamespace(save_checkpoint=lambda *_, **__: None, load_checkpoint=lambda **_: None)
    trainer.train_dataloader = SimpleNamespace(state_dict=dict, load_state_dict=lambda _: None)
    return trainer


@pytest.mark.parametrize("resumes", ["auto", "resume_path"])
def test_the_average_of_lambda_survives_a_checkpoint(resumes: str, tmp_path: Path) -> None:
    options = [f"+algorithm.mmr.{option}" for option in ("lam=relative_std", "scope=batch", "temperature=2.0")]
    options.append(f"trainer.default_local_dir={tmp_path}")
    other = [Row(row.key, 3 * row.reward + 1, row.ids, row.own, row.padding) for row in ROWS]
    by_key = {row.key: row for row in ROWS}
    average = LambdaEMA()
    first, second = (
        average.update(raw_lambda(torch.tensor(rewards), temperature=2.0).item())
        for rewards in ([by_key[key].reward for key in SCORED], [3 * by_key[key].reward + 1 for key in SCORED])
    )
    assert abs(first - second) > 0.01

    trainer = stubs(v1_trainer(*options))
    _, metrics = made(trainer, ROWS)
    assert metrics["mmr/lambda"] == pytest.approx(first)
    trainer._save_checkpoint()
    if resumes == "resume_path":
        options += ["trainer.resume_mode=resume_path", f"trainer.resume_from_path={tmp_path}/global_step_1"]
    resumed = stubs(v1_trainer(*options))
    resumed._load_checkpoint()
    _, metrics = made(resumed, other)
    assert metrics["mmr/lambda"] == pytest.approx(second)


def test_the_dial_follows_the_signal_of_batches_before_and_survives_a_checkpoint(tmp_path: Path) -> None:
    options = [
        "+algorithm.mmr.method=share",
        "+algorithm.mmr.diversity=signal",
        f"trainer.default_local_dir={tmp_path}",
    ]
    rewards = {"a_2_1": 0.5, "b_c_2_0": 1.0}  # so that likeness tells a little of them: the dial is a quarter open
    rows = [Row(row.key, rewards.get(row.key, row.reward), row.ids, row.own, row.padding) for row in ROWS]
    dial = SignalDial()
    result = expected_result(rows, method="share", diversity=dial.value)
    trainer = stubs(v1_trainer(*options))
    _, metrics = made(trainer, rows)
    assert metrics["mmr/diversity"] == dial.value == 0
    dial.update(result)
    assert 0 < dial.value < 1
    trainer._save_checkpoint()
    resumed = stubs(v1_trainer(*options))
    resumed._load_checkpoint()
    found, metrics = made(resumed, rows)
    assert metrics["mmr/diversity"] == pytest.approx(dial.value.item())
    same(found, expected(rows, method="share", diversity=dial.value.item()))


def test_a_verl_whose_internals_have_moved_is_refused_and_other_runs_are_not() -> None:
    class PPOTrainer:
        def __init__(self, config: Any) -> None:
            self.config = config

        def _compute_advantage(self, data: Any) -> None: ...

        def _save_checkpoint(self) -> None: ...

    module = ModuleType("trainer_base")
    module.PPOTrainer = PPOTrainer  # type: ignore[attr-defined]
    hooks.hook_v1(module)
    PPOTrainer(config(estimator="grpo"))
    lacks = (
        r"can't hook into verl 0.9.1: _compute_advantage takes \(self, data\), not \(self, batch, metrics\); no method"
        " _load_checkpoint; no transfer_queue"
    )
    with pytest.raises(RuntimeError, match=lacks):
        PPOTrainer(config())


def legacy_trainer(*overrides: str, estimator: str = "mmr_grpo") -> Any:
    """verl's legacy trainer, without data."""

    class Trainer(ray_trainer.RayPPOTrainer):
        def _create_dataloader(self, *_: Any) -> None: ...

    chosen = config("trainer.use_v1=false", *overrides, estimator=estimator)
    trainer = Trainer(chosen, tokenizer=None, role_worker_mapping={Role.ActorRollout: None}, resource_pool_manager=None)
    trainer.global_steps, trainer.total_training_steps = 1, 10
    return trainer


#: What the legacy trainer can hold: one row per completion, groups of one size.
LEGACY = [Row(f"{uid}_{place}_0", reward, ids) for uid in "ab" for place, (reward, ids) in enumerate([
    (1.0, [5, 6, 7, 8]), (1.0, [5, 6, 7, 8]), (0.0, [5, 6]), (1.0, [8, 8, 7]), (0.5, [4, 4, 3]),
])]  # fmt: skip


def legacy_batch(rows: list[Row]) -> DataProto:
    longest = max(len(row.ids) for row in rows)

    def padded(values: list[Any]) -> torch.Tensor:
        return torch.nn.functional.pad(torch.as_tensor(values), (0, longest - len(values)))

    fields = [{name: padded(value) for name, value in row.fields().items() if name != "uid"} for row in rows]
    tensors = {name: torch.stack([each[name] for each in fields]) for name in fields[0]}
    tensors["token_level_rewards"] = tensors["token_level_scores"] = tensors.pop("rm_scores")
    tensors["prompts"] = torch.ones(len(rows), 2, dtype=torch.int64)
    tensors["attention_mask"] = torch.cat([tensors["prompts"], tensors["response_mask"]], dim=1)
    uid = np.array([row.fields()["uid"] for row in rows], dtype=object)
    return DataProto.from_dict(tensors, non_tensors={"uid": uid})


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("method", OPTIONS["method"].choices)
def test_the_legacy_trainer(method: str, norm: bool) -> None:
    chosen = {"method": method} | OPTIONS_OF.get(method, {})
    options = [f"+algorithm.mmr.{name}={value}" for name, value in chosen.items()]
    trainer = legacy_trainer(f"algorithm.norm_adv_by_std_in_grpo={norm}", *options)

    def made(trainer: Any) -> DataProto:
        algorithm = trainer.config.algorithm
        return ray_trainer.compute_advantage(
            legacy_batch(LEGACY),
            adv_estimator=algorithm.adv_estimator,
            norm_adv_by_std_in_grpo=algorithm.norm_adv_by_std_in_grpo,
            config=algorithm,
        )

    data = made(trainer)
    ids, own = data.batch["responses"], data.batch["response_mask"]
    embeddings = LexicalEmbedder().embed_tokens(ids, own)
    rewards = torch.tensor([row.reward for row in LEGACY])
    scale = "group" if norm else "none"
    values = mmr_advantages(rewards, embeddings, group_size=5, scale=scale, eps=1e-6, **chosen)
    torch.testing.assert_close(data.batch["advantages"], values.unsqueeze(1) * own, **TOLERANCE)
    assert "mmr/reward_after" in ray_trainer.compute_data_metrics(data, use_critic=False)
    if method == "none":
        plain = made(legacy_trainer(f"algorithm.norm_adv_by_std_in_grpo={norm}", estimator="grpo"))
        torch.testing.assert_close(data.batch["advantages"], plain.batch["advantages"], **TOLERANCE)
        assert "mmr/reward_after" not in ray_trainer.compute_data_metrics(plain, use_critic=False)


RECIPE = Path(__file__).parents[2] / "recipes" / "verl"


def load(name: str) -> ModuleType:
    """A file of the recipe, as verl loads it."""
    spec = importlib.util.spec_from_file_location(name, RECIPE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("estimator", ["mmr_grpo", "grpo"])
def test_the_recipe_is_what_verl_takes(estimator: str, tmp_path: Path) -> None:
    """Its command line as verl's configuration, of which the trainer is made."""
    (tmp_path / "python3").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    command = ["bash", str(RECIPE / "mmr_grpo_1.5b.sh"), "DATA", f"algorithm.adv_estimator={estimator}"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PATH": path})
    python, module, *overrides = done.stdout.splitlines()
    assert (python, module) == ("-m", "verl.trainer.main_ppo")
    trainer = get_trainer_cls("sync")(config(*overrides))
    assert (hooks._run is not None) == (estimator == "mmr_grpo")
    chosen = trainer.config
    validate_config(chosen, use_reference_policy=False, use_critic=False)
    assert (chosen.actor_rollout_ref.rollout.n, chosen.actor_rollout_ref.rollout.temperature) == (6, 0.7)
    assert chosen.data.train_files == "DATA/train.parquet"
    assert Path(chosen.reward.custom_reward_function.path) == RECIPE / "reward.py"


def test_the_recipes_data_and_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.json").write_text(json.dumps({"problem": "1 + 2?", "solution": r"\boxed{3}"}))
    load("prepare").main(str(tmp_path / "out"), str(tmp_path / "data"))
    (row,) = pyarrow.parquet.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    reward, truth = load("reward"), row["reward_model"]["ground_truth"]
    monkeypatch.setattr(reward, "_tokenizer", lambda _: SimpleNamespace(encode=lambda text, **_: [0] * lengths[text]))
    lengths = {r"<think>a</think> \boxed{3}": 0, r"a</think> \boxed{4}": 3584, r"\boxed{3}": 1792}
    scores = [reward.compute_score("maths", text, truth, tokenizer="") for text in lengths]
    assert scores == pytest.approx([1 + 2 * 1.0, 1 - 2 * 0.5, 2 * 0.75])


def test_another_trainer_is_refused() -> None:
    legacy_trainer(estimator="grpo")  # so that no run of MMR is known
    with pytest.raises(RuntimeError, match="mmr_grpo takes a run of PPOTrainer"):
        ray_trainer.compute_advantage(legacy_batch(LEGACY), adv_estimator="mmr_grpo", config=config().algorithm)
