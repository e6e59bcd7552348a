"""The records of a run with MMR: its options in the config that is saved and reported, and its model card."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from trl import GRPOConfig

from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.trl.papers import PAPERS


@dataclass
class MMRGRPOConfig(MMROptions, GRPOConfig):
    """``trl.GRPOConfig`` with the fields of ``MMROptions``."""


def record(trainer: Any, options: MMROptions) -> None:
    """Put the options into the trainer's config, a copy of the one that was given, and the method's name, paper and tag
    onto its model card."""
    trainer.args = copy.copy(trainer.args)
    trainer.args.__class__ = _with_options(type(trainer.args))
    vars(trainer.args).update(vars(options))
    if options.mmr_method != "none":
        trainer._name, paper = PAPERS.get(options.mmr_method, (f"GRPO with method {options.mmr_method}", None))
        trainer._paper = {} if paper is None else paper.card()
        tag = trainer._name.lower().replace(" ", "-")
        trainer._tag_names = [*trainer._tag_names, tag]
        if hasattr(trainer.model, "add_model_tags"):
            trainer.model.add_model_tags(tag)


def _with_options(config_class: type) -> type:
    """The class of config with MMR's fields, which ``to_dict`` and so the reporters read; pickled by how it is made."""
    if issubclass(config_class, MMROptions):
        return config_class
    if config_class is GRPOConfig:
        return MMRGRPOConfig

    def reduce(config: Any) -> tuple[Any, ...]:
        return _config, (config_class, vars(config))

    return dataclass(type(f"MMR{config_class.__name__}", (MMROptions, config_class), {"__reduce__": reduce}))


def _config(config_class: type, values: dict[str, Any]) -> Any:
    config: Any = object.__new__(_with_options(config_class))
    vars(config).update(values)
    return config
