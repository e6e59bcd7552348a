"""``mmr-kernels grpo``: GRPO with MMR from a recipe, as ``trl grpo`` runs without MMR; options by TRL's parser."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import trl.rewards
from datasets import Dataset, DatasetDict, load_dataset
from transformers import AutoConfig
from trl import DatasetMixtureConfig, ModelConfig, TrlParser, get_dataset, get_peft_config, get_quantization_config
from trl.scripts.grpo import GRPOScriptArguments

from mmr_kernels.integrations.trl import recipe
from mmr_kernels.integrations.trl.launch import LaunchArguments
from mmr_kernels.integrations.trl.records import MMRGRPOConfig
from mmr_kernels.integrations.trl.trainer import MMRGRPOTrainer


@dataclass
class GRPOArguments(GRPOScriptArguments):
    """Those of ``trl grpo``, and where the prompts are."""

    prompt_column: str = field(
        default="prompt",
        metadata={"help": "The column that holds the prompt; a text that is not in 'prompt' becomes a user's message."},
    )
    system_prompt: str | None = field(
        default=None,
        metadata={"help": "The system's message before each prompt; a text after it becomes a user's message."},
    )


class Options(NamedTuple):
    """All that the command line takes, by TRL's kinds."""

    script: GRPOArguments
    args: MMRGRPOConfig
    model: ModelConfig
    mixture: DatasetMixtureConfig
    launch: LaunchArguments


KINDS = (GRPOArguments, MMRGRPOConfig, ModelConfig, DatasetMixtureConfig, LaunchArguments)


class Run:
    """A run whose options, rewards, embedder and data are there; the policy is loaded when it trains.

    Raises:
        ImportError, OSError, TypeError, ValueError: naming the option.
    """

    def __init__(self, options: Options) -> None:
        self.script, self.args, self.model, self.mixture, _ = options
        self.rewards = _rewards(self.script)
        for name, value in (
            ("model_name_or_path", self.model.model_name_or_path),
            ("reward_model_name_or_path", self.script.reward_model_name_or_path),
        ):
            if value is not None:
                self._check_model(name, value)
        try:
            self.embedder = self.args.embedder(None, policy=lambda: self.trainer.model)
        except OSError as error:
            raise ValueError(f"mmr_embedder {self.args.mmr_embedder} can't be loaded: {error}") from error
        data = _data(self.script, self.mixture)
        self.train_dataset = _prompts(data, "dataset_train_split", self.script)
        evaluates = self.args.eval_strategy != "no"
        self.eval_dataset = _prompts(data, "dataset_test_split", self.script) if evaluates else None
        Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)

    def train(self) -> None:
        """Train, and save the model."""
        self.trainer = MMRGRPOTrainer(
            model=self.model.model_name_or_path,
            reward_funcs=self.rewards,
            args=self.args,
            train_dataset=self.train_dataset,
            eval_dataset=self.eval_dataset,
            quantization_config=get_quantization_config(self.model),
            peft_config=get_peft_config(self.model),
            embedder=self.embedder,
        )
        self.trainer.train(resume_from_checkpoint=self.args.resume_from_checkpoint)
        self.trainer.save_model(self.args.output_dir)
        if self.args.push_to_hub:
            self.trainer.push_to_hub(dataset_name=self.script.dataset_name)
        self.trainer.accelerator.end_training()  # closes trackers and the process group

    def _check_model(self, option: str, name: str) -> None:
        """It is there, as its config tells, which is small."""
        chosen = {key: self.args.model_init_kwargs[key] for key in ("revision", "trust_remote_code")}
        try:
            AutoConfig.from_pretrained(name, **(chosen if option == "model_name_or_path" else {}))
        except (OSError, ValueError) as error:
            raise ValueError(f"{option} {name} can't be loaded: {error}") from error


class _Parser(TrlParser):
    """Says what is wrong, without a page of usage before it."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse(arguments: list[str]) -> Options:
    """The options of TRL's script and ours; the model's dtype and kind of attention where the trainer looks for them.

    As in ``trl grpo``, those of the file after --config are defaults, and its ``env`` sets environment variables.

    Raises:
        OSError, TypeError, ValueError: a file can't be read, or an option is unknown, missing or wrong.
    """
    parser = _Parser(KINDS, prog="mmr-kernels grpo")
    first = _Parser(prog=parser.prog, add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    found, words = first.parse_known_args(arguments)
    if found.config is not None:
        defaults = recipe.read(found.config, {"env", *(each.name for kind in KINDS for each in fields(kind))})
        os.environ.update(recipe.environment(defaults.pop("env", {}), found.config))
        parser.set_defaults_with_config(**defaults)
    try:
        options = Options(*parser.parse_args_into_dataclasses(words))
    except (AttributeError, LookupError) as error:  # the configs use a config file's values as they come
        raise TypeError(f"{found.config}: a value is of the wrong kind: {error}") from error
    script, args, model, mixture, _ = options
    for name, given, kind in (
        ("prompt_column", script.prompt_column, str),
        ("system_prompt", script.system_prompt, str),
        ("reward_weights", args.reward_weights, list),
        ("model_init_kwargs", args.model_init_kwargs, dict),
    ):
        if given is not None and not isinstance(given, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {given!r}")
    checkpoint = args.resume_from_checkpoint
    if isinstance(checkpoint, str) and not Path(checkpoint).is_dir():
        raise ValueError(f"resume_from_checkpoint must be a folder, got {checkpoint}")
    for name, value in (
        ("dataset_name, or datasets,", script.dataset_name or mixture.datasets),
        ("model_name_or_path", model.model_name_or_path),
        ("reward_funcs, or reward_model_name_or_path,", script.reward_funcs or script.reward_model_name_or_path),
    ):
        if not value:
            raise ValueError(f"{name} is needed, in the config file or on the command line")
    rewards, weights = len(_rewards(script)), args.reward_weights
    if weights is not None and len(weights) != rewards:
        raise ValueError(f"reward_weights takes one number per reward, {rewards}; got {len(weights)}")
    chosen = {
        "revision": model.model_revision,
        "trust_remote_code": args.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    args.model_init_kwargs = chosen | (args.model_init_kwargs or {})
    return options


def _rewards(script: GRPOArguments) -> list[Any]:
    """A name of a model, or a function, each; the model first, as in ``trl grpo``."""
    models = [script.reward_model_name_or_path] if script.reward_model_name_or_path else []
    names = script.reward_funcs or []
    names = [names] if isinstance(names, str) else names  # in a config file, one needs no list
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"reward_funcs takes names, got {names}")
    return [*models, *map(_reward, names)]


def _reward(name: str) -> Any:
    if name == "get_soft_overlong_punishment":  # with the values of ``trl grpo``
        return trl.rewards.get_soft_overlong_punishment(max_completion_len=1280, soft_punish_cache=256)
    module, _, function = name.rpartition(".")
    if not module:
        reward = getattr(trl.rewards, name, None)
        if not callable(reward) or name.startswith("get_"):
            raise ValueError(
                "reward_funcs must be reward functions of trl.rewards (of the get_… that make one,"
                " get_soft_overlong_punishment alone: call the others in a function of your own), or dotted paths;"
                f" got {name}"
            )
        return reward
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        reward = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's module raises
        raise ValueError(f"reward_funcs: {name} can't be imported: {type(error).__name__}: {error}") from error
    if not callable(reward):
        raise ValueError(f"reward_funcs: {name} must be a function, got {type(reward).__name__}")
    return reward


def _data(script: GRPOArguments, mixture: DatasetMixtureConfig) -> DatasetDict:
    """The splits; ``datasets`` wins over ``dataset_name``, as TRL has it."""
    name = script.dataset_name
    if not mixture.datasets and Path(name).is_file():
        raise ValueError(
            f"dataset_name takes a folder or a name on the Hugging Face hub, got the file {name}; for one file write"
            f" datasets: [{{path: json, data_files: {name}}}] in the config"
        )
    try:
        if mixture.datasets:
            return get_dataset(mixture)
        return load_dataset(name, name=script.dataset_config, streaming=script.dataset_streaming)
    except Exception as error:  # of many packages, by where the data is and what it is
        what = "datasets" if mixture.datasets else f"dataset_name {name}"
        raise ValueError(f"{what} can't be loaded: {type(error).__name__}: {error}") from error


def _prompts(data: DatasetDict, option: str, script: GRPOArguments) -> Dataset:
    """The split that the option names, with messages as prompts where the options ask for that."""
    split, column = getattr(script, option), script.prompt_column
    if split not in data:
        raise ValueError(f"{option}: there is no split {split!r}; the data has {', '.join(data)}")
    dataset = data[split]
    columns = dataset.column_names or list(next(iter(dataset), {}))
    if column not in columns:
        raise ValueError(f"prompt_column: {split!r} has no column {column!r}; it has {', '.join(columns) or 'none'}")
    if column == "prompt" and not script.system_prompt:
        return dataset
    system = [{"role": "system", "content": script.system_prompt}] if script.system_prompt else []

    def with_messages(row: dict[str, Any]) -> dict[str, Any]:
        prompt = row[column]
        messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        if system and messages and messages[0]["role"] == "system":
            raise ValueError(f"system_prompt: prompts in column {column!r} have a system's message already")
        return {"prompt": [*system, *messages]}

    return dataset.map(with_messages, remove_columns=[] if column == "prompt" else [column])
