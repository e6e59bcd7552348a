"""The parts of TRL that this adapter needs, checked when a trainer is made: where a TRL's internals have moved, that is
an error there, and plain GRPO is never trained under the name of MMR."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib.metadata import version
from types import CodeType
from typing import Any

from trl import GRPOTrainer

from mmr_kernels.integrations.internals import missing_methods
from mmr_kernels.options import OPTIONS, quoted

#: The versions of TRL that the test suite has been run against (docs/trl.md).
TESTED = "1.10 to 1.16"

_METHODS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "log": ["self", "logs", "start_time"],
}
_MAKE_ADVANTAGES = {"_calculate_rewards", "_generate_and_score_completions"}
_ATTRIBUTES = (
    "accelerator",
    "callback_handler",
    "model",
    "multi_objective_aggregation",
    "num_generations",
    "num_generations_eval",
    "processing_class",
    "reward_weights",
    "scale_rewards",
    "state",
)
_CHOICES = {
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "scale_rewards": OPTIONS["scale"].choices,
}


def check_class(trainer_class: type) -> None:
    """The methods that MMR wraps or calls are there and take what they took.

    Raises:
        RuntimeError: with all that is missing.
    """
    _refuse(missing_methods(trainer_class, _METHODS), trainer_class)


def check_overrides(trainer_class: type, before_mmr: Iterable[type]) -> None:
    """A class before MMRMixin that overrides ``_generate_and_score_completions`` calls the one after it.

    Raises:
        TypeError: its code never names that method, so MMR would be passed over.
    """
    name = "_generate_and_score_completions"
    for each in before_mmr:
        code = getattr(inspect.unwrap(vars(each).get(name, lambda: None)), "__code__", None)
        if name in vars(each) and code is not None and name not in _names(code):
            raise TypeError(
                f"{trainer_class.__name__}: {each.__name__} overrides {name} without calling the one of MMRMixin, which"
                f" would be passed over; put it after MMRMixin: class MyTrainer(MMRMixin, {each.__name__})"
            )


def _names(code: CodeType) -> set[str]:
    """The attributes and globals that a function's code names, and those of the functions in it."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def check_trainer(trainer: Any) -> None:
    """The attributes that MMR reads are there and mean what they meant.

    Raises:
        RuntimeError: with all that is missing.
        TypeError: a method that makes advantages was replaced on the trainer itself.
        ValueError: an option of TRL's has a value that MMR doesn't know.
    """
    if replaced := _MAKE_ADVANTAGES & vars(trainer).keys():
        raise TypeError(
            f"{type(trainer).__name__}: {', '.join(sorted(replaced))} was replaced on the object, so MMR's would never"
            " run; override it in a class after MMRMixin: class MyTrainer(MMRMixin, MyGRPO)"
        )
    missing = [f"no attribute {name}" for name in _ATTRIBUTES if not hasattr(trainer, name)]
    missing += [f"no _logs[{name!r}]" for name in ("advantages", "extra") if name not in getattr(trainer, "_logs", {})]
    if set(getattr(trainer, "_metrics", {})) != {"train", "eval"}:
        missing.append("no _metrics['train'] and _metrics['eval']")
    _refuse(missing, type(trainer))
    for name, takes in _CHOICES.items():
        value = getattr(trainer, name)
        if value not in takes:
            raise ValueError(f"{name} must be one of {quoted(takes)}; got {value!r}")


def _refuse(missing: list[str], trainer_class: type) -> None:
    if missing:
        installed = version("trl")
        advice = (
            f"It is tested with trl {TESTED}; install one of these"
            if issubclass(trainer_class, GRPOTrainer)
            else "MMR takes trl.GRPOTrainer and its subclasses, and this is none: its advantages are made elsewhere"
        )
        raise RuntimeError(
            f"mmr_kernels can't hook into {trainer_class.__name__} of trl {installed}: {'; '.join(missing)}. {advice}"
        )
