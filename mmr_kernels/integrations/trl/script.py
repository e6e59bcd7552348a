"""``mmr-kernels grpo``: GRPO with MMR from a recipe, as ``trl grpo`` runs without MMR; options by TRL's parser."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import trl.rewards
from datasets import Dataset, load_dataset
from trl import ModelConfig, ScriptArguments, TrlParser, get_peft_config, get_quantization_config

from mmr_kernels.integrations.trl import recipe
from mmr_kernels.integrations.trl.records import MMRGRPOConfig
from mmr_kernels.integrations.trl.trainer import MMRGRPOTrainer


@dataclass
class GRPOArguments(ScriptArguments):
    """The data to train on, and the rewards."""

    reward_funcs: list[str] | None = field(
        default=None,
        metadata={"help": "Reward functions: names in trl.rewards, or dotted paths, like my_module.my_reward."},
    )
    prompt_column: str = field(
        default="prompt",
        metadata={"help": "The column that holds the prompt; a text that is not in 'prompt' becomes a user's message."},
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "The system's message before a text of prompt_column."}
    )


def train(script: GRPOArguments, args: MMRGRPOConfig, model: ModelConfig) -> None:
    """Train, and save the model."""
    dataset = load_dataset(script.dataset_name, name=script.dataset_config, streaming=script.dataset_streaming)
    evaluate = args.eval_strategy != "no"
    trainer = MMRGRPOTrainer(
        model=model.model_name_or_path,
        reward_funcs=[_reward(name) for name in script.reward_funcs or []],
        args=args,
        train_dataset=_prompts(dataset[script.dataset_train_split], script),
        eval_dataset=_prompts(dataset[script.dataset_test_split], script) if evaluate else None,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model(args.output_dir)
    if args.push_to_hub:
        trainer.push_to_hub(dataset_name=script.dataset_name)
    trainer.accelerator.end_training()  # closes trackers and the process group


def parse(arguments: list[str]) -> tuple[GRPOArguments, MMRGRPOConfig, ModelConfig]:
    """The options of TRL's script and ours; the model's dtype and kind of attention where the trainer looks for them.

    As in ``trl grpo``, those of the file after --config are defaults, and its ``env`` sets environment variables.

    Raises:
        OSError, ValueError: a file can't be read, or an option is unknown or missing.
    """
    takes = (GRPOArguments, MMRGRPOConfig, ModelConfig)
    parser = TrlParser(takes, prog="mmr-kernels grpo")
    first = argparse.ArgumentParser(prog=parser.prog, add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    found, words = first.parse_known_args(arguments)
    if found.config is not None:
        options = recipe.read(
            found.config, {"env", *(each.name for each_class in takes for each in fields(each_class))}
        )
        os.environ.update({name: str(value) for name, value in options.pop("env", {}).items()})
        parser.set_defaults_with_config(**options)
    script, args, model = parser.parse_args_into_dataclasses(words)
    for name, value in (("dataset_name", script.dataset_name), ("model_name_or_path", model.model_name_or_path)):
        if value is None:
            raise ValueError(f"{name} is needed, in the config file or on the command line")
    for name in script.reward_funcs or []:
        _reward(name)
    chosen = {
        "revision": model.model_revision,
        "trust_remote_code": args.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    args.model_init_kwargs = chosen | (args.model_init_kwargs or {})
    return script, args, model


def _reward(name: str) -> Any:
    module, _, function = name.rpartition(".")
    if not module:
        reward = getattr(trl.rewards, name, None)
        if not callable(reward) or name.startswith("get_"):
            raise ValueError(
                "reward_funcs must be reward functions of trl.rewards (not the get_… that make one: call those in a"
                f" function of your own), or dotted paths; got {name}"
            )
        return reward
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return getattr(importlib.import_module(module), function)


def _prompts(dataset: Dataset, script: GRPOArguments) -> Dataset:
    """With a column "prompt" of messages, where another column holds the text of the question."""
    if script.prompt_column == "prompt":
        return dataset
    system = [{"role": "system", "content": script.system_prompt}] if script.system_prompt else []
    return dataset.map(
        lambda row: {"prompt": [*system, {"role": "user", "content": row[script.prompt_column]}]},
        remove_columns=[script.prompt_column],
    )
