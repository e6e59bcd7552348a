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
from mmr_kernels.integrations.trl import launch, recipe, rewards, script

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


def refused(words: list[str], message: str) -> None:
    """Status 2 and one line, that holds the message."""
    done = CliRunner().invoke(app, ["grpo", *words])
    assert done.exit_code == 2, done.output + repr(done.exception)
    lines = [line for line in done.stderr.splitlines() if line and "examples/s" not in line]  # progress of datasets
    assert len(lines) == 1
    assert message in lines[0]


def test_there_is_one_for_each_loss_and_size() -> None:
    names = {f"{loss}-{size}" for loss in ("grpo", "dr_grpo", "dapo") for size in ("1.5b", "7b", "8b")}
    assert {recipe.stem for recipe in RECIPES} == names


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_it_says_what_the_paper_says(recipe: Path) -> None:
    chosen, args, model, *_ = script.parse(["--config", str(recipe), "--use_cpu", "true", "--bf16", "false"])
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
        ("env: 3", "mine.yaml: env takes lines of NAME: VALUE, got 3"),
        ("metric_for_best_model: 3", "mine.yaml: a value is of the wrong kind"),
        ("{reward_funcs: [3], dataset_name: x, model_name_or_path: x}", "reward_funcs takes names, got [3]"),
        ("learning_rate: fast", "--learning-rate: invalid float value: 'fast'"),
        ("datasets: [{pth: x}]", "unexpected keyword argument 'pth'"),
        ("extends: [other.yaml]", "other.yaml"),
        ("system_prompt: [Add.]", "system_prompt must be a str, got ['Add.']"),
        ("reward_weights: 1.0", "reward_weights must be a list, got 1.0"),
        ("model_init_kwargs: 3", "model_init_kwargs must be a dict, got 3"),
        ("num_processes: 0", "num_processes must be at least 1, got 0"),
        ("resume_from_checkpoint: nowhere", "resume_from_checkpoint must be a folder, got nowhere"),
    ],
)
def test_a_bad_recipe_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    needed = ["--dataset_name", "x", "--model_name_or_path", "x", "--reward_funcs", "accuracy_reward"]
    needed = [] if "reward_funcs" in text else needed
    refused(["--config", str(tmp_path / "mine.yaml"), *needed, "--use_cpu", "true", "--bf16", "false"], words)


def test_a_bad_config_of_accelerate_is_named(tmp_path: Path) -> None:
    (tmp_path / "tabs.yaml").write_text("a:\t1\n\tb: 2\n")
    refused([*MINIMAL, "--accelerate_config", str(tmp_path / "tabs.yaml")], 'tabs.yaml", line 1')


@pytest.mark.parametrize("name", ["zero2", "fsdp"])
def test_accelerate_reads_its_configs(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    file = RECIPES[0].parent / "accelerate" / f"{name}.yaml"
    config = load_config_from_file(str(file))
    assert config.distributed_type == {"zero2": "DEEPSPEED", "fsdp": "FSDP"}[name]
    assert yaml.safe_load(file.read_text())["mixed_precision"] == "bf16"


#: All that is needed but files.
MINIMAL = ["--dataset_name", "x", "--model_name_or_path", "x", "--reward_funcs", "accuracy_reward"]
MINIMAL += ["--use_cpu", "--bf16", "false"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset_name", "x", "--use_cpu", "--bf16", "false"], "model_name_or_path is needed"),
        (["--mmr_lamb", "1", "--use_cpu", "--bf16", "false"], "--mmr_lamb"),
        (["--mmr_lam", "2", "--use_cpu", "--bf16", "false"], "mmr_lam must lie in [0, 1], got 2.0"),
        (["--config"], "argument --config: expected one argument"),
        ([*MINIMAL, "--accelerate_config", "zero9"], "zero9 is neither a file nor a valid config"),
    ],
)
def test_bad_options_are_named(words: list[str], message: str) -> None:
    refused(words, message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"reward_funcs": "no_such_module.reward"}, "no_such_module.reward can't be imported: ModuleNotFoundError"),
        ({"reward_funcs": "json.reward"}, "json.reward can't be imported: AttributeError"),
        ({"reward_funcs": "math.pi"}, "math.pi must be a function, got float"),
        ({"reward_funcs": "get_cosine_scaled_reward"}, "reward_funcs must be reward functions of trl.rewards"),
        ({"reward_weights": "1"}, "reward_weights takes one number per reward, 2; got 1"),
        ({"dataset_train_split": "training"}, "dataset_train_split: there is no split 'training'; the data has train"),
        (
            {"eval_strategy": "steps", "per_device_eval_batch_size": "6"},
            "dataset_test_split: there is no split 'test'; the data has train",
        ),
        ({"prompt_column": "question"}, "'train' has no column 'question'; it has problem, solution, level"),
        ({"dataset_streaming": "true", "prompt_column": "question"}, "it has problem, solution, level"),
        ({"dataset_name": __file__}, f"got the file {__file__}; for one file write datasets: [{{path: json"),
        ({"dataset_name": "no/such/data"}, "dataset_name no/such/data can't be loaded: "),
        ({"mmr_embedder": "lexcal"}, "embedder must be 'lexical'"),
        (
            {"mmr_embedder": "sentence-transformers:no/model"},
            "mmr_embedder sentence-transformers:no/model can't be loa",
        ),
        ({"output_dir": "/proc/runs"}, "/proc/runs"),
        ({"model_name_or_path": "./no-model"}, "model_name_or_path ./no-model can't be loaded"),
        ({"reward_model_name_or_path": "./no-model"}, "reward_weights takes one number per reward, 3; got 2"),
        ({"reward_model_name_or_path": "./no-model", "reward_funcs": "accuracy_reward"}, "./no-model can't be loaded"),
    ],
)
def test_all_is_checked_before_the_policy_is_loaded(
    more: dict[str, str], message: str, stand_ins: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(script, "MMRGRPOTrainer", None)
    refused(arguments(RECIPES[-1].with_stem("grpo-1.5b"), stand_ins, tmp_path, **more), message)


def test_a_run_needs_a_reward(stand_ins: tuple[str, str], tmp_path: Path) -> None:
    model, data = stand_ins
    words = ["--model_name_or_path", model, "--dataset_name", data, "--use_cpu", "--bf16", "false"]
    refused(words, "reward_funcs, or reward_model_name_or_path, is needed")


def small_recipe(folder: Path, **more: Any) -> Path:
    """A file of ``more``, and no option of a loss."""
    (folder / "mine.yaml").write_text(json.dumps({"reward_funcs": "accuracy_reward", "num_generations": 6} | more))
    return folder / "mine.yaml"


def run(stand_ins: tuple[str, str], folder: Path, **more: Any) -> script.Run:
    """The run of such a recipe."""
    return script.Run(script.parse(arguments(small_recipe(folder, **more), stand_ins, folder)))


TALK = [{"role": "user", "content": "1 + 2"}]
SYSTEM = [{"role": "system", "content": "Add."}]


@pytest.mark.parametrize("column", ["prompt", "problem"])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("prompt", "system", "expected"),
    [("1 + 2", "Add.", [*SYSTEM, *TALK]), (TALK, "Add.", [*SYSTEM, *TALK]), (TALK, None, TALK)],
)
def test_the_system_prompt_comes_first_whatever_the_column(
    column: str, streaming: bool, prompt: Any, system: str | None, expected: Any, stand_ins: Any, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps({column: prompt, "solution": "3"}))
    found = run(
        (stand_ins[0], str(tmp_path / "data")),
        tmp_path,
        prompt_column=column,
        dataset_streaming=streaming,
        **({"system_prompt": system} if system else {}),
    )
    assert list(found.train_dataset) == [{"prompt": expected, "solution": "3"}]


def test_a_second_system_prompt_is_refused(stand_ins: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"prompt": [*SYSTEM, *TALK]}))
    with pytest.raises(ValueError, match="system_prompt: prompts in column 'prompt' have a system's message already"):
        run((stand_ins[0], str(tmp_path)), tmp_path, system_prompt="Add.")


def test_what_trl_has_beside_recipes(stand_ins: tuple[str, str], tmp_path: Path) -> None:
    """Mixtures of data sets, a reward model, and the one maker of rewards that TRL's script calls."""
    mixed = [{"path": "json", "data_files": f"{stand_ins[1]}/train.jsonl"}] * 2
    rewards = {"reward_model_name_or_path": stand_ins[0], "reward_funcs": ["get_soft_overlong_punishment"]}
    evaluation = {"test_split_size": 0.25, "eval_strategy": "steps", "per_device_eval_batch_size": 6}
    found = run(stand_ins, tmp_path, datasets=mixed, prompt_column="problem", **rewards, **evaluation)
    assert (len(found.train_dataset), len(found.eval_dataset)) == (9, 3)
    assert found.rewards[0] == stand_ins[0]
    assert found.rewards[1](completion_ids=[[0] * 2000]) == [-1.0]


@pytest.mark.parametrize("place", ["words", "recipe"])
def test_processes_are_launched(
    place: str, stand_ins: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    monkeypatch.setattr(launch, "launch_command", launched.append)
    options = {"accelerate_config": "zero2", "num_processes": 2}
    chosen = {name: str(value) for name, value in options.items()} if place == "words" else {}
    recipe = small_recipe(tmp_path, **(options if place == "recipe" else {}))
    words = arguments(recipe, stand_ins, tmp_path, **chosen)
    done = CliRunner().invoke(app, ["grpo", *words])
    assert done.exit_code == 0, done.output + repr(done.exception)
    (found,) = launched
    assert (Path(found.config_file).name, found.num_processes) == ("zero2.yaml", 2)
    assert (found.module, found.training_script) == (True, "mmr_kernels")
    assert found.training_script_args == ["grpo-process", *words]
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="--accelerate_config starts processes, but this is one of several already"):
        launch.words(launch.LaunchArguments("zero2"))


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
