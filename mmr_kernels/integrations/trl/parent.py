"""The parts of TRL that this adapter needs, checked when a trainer is made: where a TRL's internals have moved, that is
an error there, and plain GRPO is never trained under the name of MMR."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

from mmr_kernels.options import OPTIONS, quoted

#: The versions of TRL that the test suite has been run against (docs/trl.md).
TESTED = "1.10 to 1.16"

_METHODS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_log_completion_extra": ["self", "column", "values"],
    "log": ["self", "logs", "start_time"],
}
_ATTRIBUTES = (
    "accelerator",
    "callback_handler",
    "model",
    "multi_objective_aggregation",
    "num_generations",
    "num_generations_eval",
    "reward_weights",
    "scale_rewards",
    "state",
    "tools",
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
    missing = []
    for name, takes in _METHODS.items():
        method = getattr(trainer_class, name, None)
        if method is None:
            missing.append(f"no method {name}")
        elif (found := list(inspect.signature(method).parameters)) != takes:
            missing.append(f"{name} takes ({', '.join(found)}), not ({', '.join(takes)})")
    _refuse(missing, trainer_class)


def check_trainer(trainer: Any) -> None:
    """The attributes that MMR reads are there and mean what they meant.

    Raises:
        RuntimeError: with all that is missing.
        ValueError: an option of TRL's has a value that MMR doesn't know.
    """
    missing = [f"no attribute {name}" for name in _ATTRIBUTES if not hasattr(trainer, name)]
    if "advantages" not in getattr(trainer, "_logs", {}):
        missing.append("no _logs['advantages']")
    if set(getattr(trainer, "_metrics", {})) != {"train", "eval"}:
        missing.append("no _metrics['train'] and _metrics['eval']")
    _refuse(missing, type(trainer))
    for name, takes in _CHOICES.items():
        value = getattr(trainer, name)
        if value not in takes:
            raise ValueError(f"{name} must be one of {quoted(takes)}; got {value!r}")


def _refuse(missing: list[str], trainer_class: type) -> None:
    if missing:
        raise RuntimeError(
            f"mmr_kernels can't hook into {trainer_class.__name__} of trl {version('trl')}: {'; '.join(missing)}."
            f" It is tested with trl {TESTED}; install one of these"
        )
