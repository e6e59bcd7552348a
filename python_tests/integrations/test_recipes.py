"""Every recipe is read by TRL's real parser, says what the paper says, and runs for two steps on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from integrations import tiny
from typer.testing import CliRunner

from mmr_kernels.cli import app
from mmr_kernels.integrations.trl import recipe, rewards, script

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
#: The options that the machine decides: a CPU, no vLLM, and little memory for the largest batch.
HERE = {
    "use_vllm": "false",
    "use_cpu": "true",
    "bf16": "false",
    "dtype": "float32",
    "per_device_train_batch_size": "6",
    "gradient_accumulation_steps": "1",
    "max_completion_length": "8",
    "max_steps": "2",
    "save_strategy": "no",
    "mmr_plot_steps": "1",
}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A folder with a tiny model, and one with a data set of open-rs's columns."""
    folder = tmp_path_factory.mktemp("stand-ins")
    tiny.model().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    (folder / "data").mkdir()
    rows = [
        {"problem": f"{number} + 2", "solution": rf"\boxed{{{number + 2}}}", "level": "Easy"} for number in range(6)
    ]
    (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "model"), str(folder / "data")


def arguments(recipe: Path, stand_ins: tuple[str, str], folder: Path, **more: str) -> list[str]:
    model, data = stand_ins
    options = HERE | {"model_name_or_path": model, "dataset_name": data, "output_dir": str(folder)} | more
    return ["--config", str(recipe), *(word for name, value in options.items() for word in (f"--{name}", value))]


def test_there_is_one_for_each_loss_and_size() -> None:
    names = {f"{loss}-{size}" for loss in ("grpo", "dr_grpo", "dapo") for size in ("1.5b", "7b", "8b")}
    assert {recipe.stem for recipe in RECIPES} == names


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_it_says_what_the_paper_says(recipe: Path) -> None:
    chosen, args, model = script.parse(["--config", str(recipe), "--use_cpu", "true", "--bf16", "false"])
    loss, _, size = recipe.stem.partition("-")
    assert (args.loss_type, args.scale_rewards) == (loss, "none" if loss == "dr_grpo" else "group")
    assert (args.num_generations, args.max_completion_length, args.temperature) == (6, 3584, 0.7)
    assert (args.learning_rate, args.warmup_steps, args.lr_scheduler_type) == (1e-6, 0.1, "cosine_with_min_lr")
    assert args.lr_scheduler_kwargs == {"min_lr_rate": 0.1}
    assert (args.mmr_method, args.mmr_lam, args.mmr_embedder_max_tokens) == ("mmr", "sigmoid", 3584)
    assert args.reward_weights == ([1.0, 1.0] if loss == "dapo" else [1.0, 2.0])
    assert (args.epsilon, args.epsilon_high) == (0.2, 0.28 if loss == "dapo" else None)
    first = "accuracy_reward" if loss == "dapo" else "mmr_kernels.integrations.trl.rewards.format_reward"
    assert chosen.reward_funcs == [first, "mmr_kernels.integrations.trl.rewards.cosine_reward"]
    assert chosen.dataset_name == "knoveleng/open-rs"
    names = {"1.5b": "Qwen-1.5B", "7b": "Qwen-7B", "8b": "Llama-8B"}
    assert model.model_name_or_path == f"deepseek-ai/DeepSeek-R1-Distill-{names[size]}"
    assert model.use_peft == (size != "1.5b")
    if model.use_peft:
        assert (model.lora_r, model.lora_alpha) == (64, 128)


@pytest.mark.parametrize("method", ["mmr", "none"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_it_runs_for_two_steps(recipe: Path, method: str, stand_ins: tuple[str, str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["grpo", *arguments(recipe, stand_ins, tmp_path, mmr_method=method)])
    assert done.exit_code == 0, done.output[-2000:] + repr(done.exception)
    weights = "adapter_model.safetensors" if "1.5b" not in recipe.stem else "model.safetensors"
    assert (tmp_path / weights).exists()
    assert (tmp_path / "completions" / "completions_00002.parquet").exists()


def test_later_files_win_and_places_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    files = {
        "base.yaml": "beta: 0.1\ntemperature: 0.7\nmmr_scope: batch\n",
        "parts/one.yaml": "extends: [two.yaml]\nbeta: 0.2\ntemperature: 0.8\n",
        "parts/two.yaml": "beta: 0.3\nmmr_lam: 0.9\n",
        "mine.yaml": "extends: [base.yaml, parts/one.yaml]\ntemperature: 0.9\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    options = recipe.read(tmp_path / "mine.yaml", {"beta", "temperature", "mmr_scope", "mmr_lam"})
    assert options == {"beta": 0.2, "temperature": 0.9, "mmr_scope": "batch", "mmr_lam": 0.9}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mmr_lamb: 1", "mine.yaml: unknown option mmr_lamb"),
        ("extends: [mine.yaml]", "mine.yaml: extends itself"),
        ("extends: mine.yaml", "mine.yaml: takes lines of NAME: VALUE, and a list for extends"),
        ("- beta", "mine.yaml: takes lines of NAME: VALUE"),
        ("beta: [", 'mine.yaml", line 1'),
        ("extends: [other.yaml]", "other.yaml"),
    ],
)
def test_a_bad_recipe_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    done = CliRunner().invoke(app, ["grpo", "--config", str(tmp_path / "mine.yaml")])
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize("name", ["zero2", "fsdp"])
def test_accelerate_reads_its_configs(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    file = RECIPES[0].parent / "accelerate" / f"{name}.yaml"
    config = load_config_from_file(str(file))
    assert config.distributed_type == {"zero2": "DEEPSPEED", "fsdp": "FSDP"}[name]
    assert yaml.safe_load(file.read_text())["mixed_precision"] == "bf16"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset_name", "x", "--use_cpu", "--bf16", "false"], "model_name_or_path is needed"),
        (["--mmr_lamb", "1", "--use_cpu", "--bf16", "false"], "--mmr_lamb"),
        (["--mmr_lam", "2", "--use_cpu", "--bf16", "false"], "mmr_lam must lie in [0, 1], got 2.0"),
    ],
)
def test_bad_options_are_named(words: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["grpo", *words])
    assert done.exit_code == 2
    assert message in done.output


def completion(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_the_format_reward_takes_a_prompt_that_began_to_think() -> None:
    texts = ["<think>\na\n</think>\nb", "a\n</think>\nb", "a b", "a <think> b </think> c"]
    assert rewards.format_reward([completion(text) for text in texts]) == [1.0, 1.0, 0.0, 0.0]


def test_the_cosine_reward_falls_with_length_when_right_and_rises_when_wrong() -> None:
    lengths = [0, 1792, 3584, 9999]
    ids: list[Any] = [[0] * length for length in lengths]
    for answer, expected in ((r"\boxed{3}", [1.0, 0.75, 0.5, 0.5]), (r"\boxed{4}", [-1.0, -0.75, -0.5, -0.5])):
        got = rewards.cosine_reward([completion(answer)] * 4, solution=[r"\boxed{3}"] * 4, completion_ids=ids)
        torch.testing.assert_close(torch.tensor(got), torch.tensor(expected))
