"""The places of verl 0.9.1 that MMR hooks into, in its V1 trainer and in the legacy one; docs/verl.md names them.

A run of another estimator passes through untouched. Where verl's internals have moved, a run of MMR's is one error,
before its first rollout.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import wrapt
from torch import Tensor

from mmr_kernels.integrations.internals import missing_methods
from mmr_kernels.integrations.verl.completions import of_proto, of_queue
from mmr_kernels.integrations.verl.run import Run

logger = logging.getLogger(__name__)
logger.setLevel(os.getenv("VERL_LOGGING_LEVEL", "INFO"))  # as verl's trainers have it

#: The name under which verl's ``algorithm.adv_estimator`` knows it.
NAME = "mmr_grpo"

#: The version that the test suite has been run against.
TESTED = "0.9.1"

#: A driver has one trainer; its run, where the estimator is MMR's.
_run: Run | None = None

_V1 = {"_compute_advantage": ["self", "batch", "metrics"], "_save_checkpoint": ["self"], "_load_checkpoint": ["self"]}
_LEGACY = {"_save_checkpoint": ["self"], "_load_checkpoint": ["self"]}
_LEGACY_FUNCTIONS = {
    "compute_advantage": [
        *("data", "adv_estimator", "gamma", "lam", "num_repeat", "norm_adv_by_std_in_grpo", "config"),
    ],
    "compute_data_metrics": ["batch", "use_critic"],
}


def estimator(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: Any,
    config: Any,
    **others: Any,
) -> tuple[Tensor, Tensor]:
    """MMR's advantages, as verl calls its estimators.

    Args:
        token_level_rewards: (N, T).
        response_mask: (N, T), 0 where a token is not in the loss.
        index: N labels, the prompts' ``uid``.
        config: verl's ``algorithm``.
        **others: what else a version of verl hands over; not needed.

    Raises:
        RuntimeError: no trainer that MMR hooks into is training.
    """
    if _run is None or _run.completions is None:
        raise RuntimeError(
            f"{NAME} takes a run of PPOTrainer (V1) or RayPPOTrainer (legacy) of verl {TESTED}, and was called in none"
            f" by verl {version('verl')}"
        )
    scale = "group" if config.get("norm_adv_by_std_in_grpo", True) else "none"
    in_loss = (response_mask != 0).any(dim=1)
    advantages = _run.advantages(token_level_rewards.sum(dim=1), in_loss, list(index), scale)
    spread = advantages.unsqueeze(1) * response_mask
    return spread, spread


def _is_ours(trainer: Any) -> bool:
    return bool(trainer.config.algorithm.adv_estimator == NAME)


def _started(missing: list[str], wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> None:
    """After a trainer's ``__init__``, which starts no worker yet: the run's options are checked.

    Raises:
        RuntimeError: with all that verl lacks.
    """
    global _run
    wrapped(*args, **kwargs)
    _run = None
    if not _is_ours(trainer):
        return
    if missing:
        raise RuntimeError(
            f"mmr_kernels can't hook into verl {version('verl')}: {'; '.join(missing)}. It is tested with verl {TESTED}"
        )
    from omegaconf import OmegaConf

    section = trainer.config.algorithm.get("mmr", None) or {}
    _run = Run(OmegaConf.to_container(section, resolve=True) if OmegaConf.is_config(section) else section, trainer)
    logger.info("mmr_kernels makes the advantages of this run, with %s", _run.options)


def _saved(wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> Any:
    """Before verl's own files: its last one is what makes the folder a checkpoint."""
    if _run is not None:
        _run.save(_folder(trainer))
    return wrapped(*args, **kwargs)


def _loaded(wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> Any:
    result = wrapped(*args, **kwargs)
    if _run is not None and trainer.global_steps:
        chosen = trainer.config.trainer
        _run.load(chosen.resume_from_path if chosen.resume_mode == "resume_path" else _folder(trainer))
    return result


def _folder(trainer: Any) -> str:
    return str(Path(trainer.config.trainer.default_local_dir) / f"global_step_{trainer.global_steps}")


def _v1_advantages(queue: ModuleType, wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> Any:
    """The V1 trainer's method: the estimator is told where the completions of the batch are."""

    def compute_advantage(batch: Any, metrics: dict[str, Any]) -> Any:
        if _run is None:
            return wrapped(batch, metrics)
        with _run.of(of_queue(queue, batch)):
            result = wrapped(batch, metrics)
        metrics.update(_run.metrics)
        return result

    return compute_advantage(*args, **kwargs)


def _legacy_advantages(wrapped: Any, instance: None, args: Any, kwargs: Any) -> Any:
    """The legacy trainer's function, which the V1 trainer calls too: the completions are known by then."""

    def compute_advantage(data: Any, *others: Any, **named: Any) -> Any:
        if _run is None or _run.completions is not None:
            return wrapped(data, *others, **named)
        with _run.of(of_proto(data)):
            return wrapped(data, *others, **named)

    return compute_advantage(*args, **kwargs)


def _legacy_metrics(wrapped: Any, instance: None, args: Any, kwargs: Any) -> Any:
    found: dict[str, Any] = wrapped(*args, **kwargs)
    return found if _run is None else found | _run.metrics


def _hook_trainer(module: ModuleType, name: str, missing: list[str]) -> None:
    wrap = functools.partial(wrapt.wrap_function_wrapper, module)
    wrap(f"{name}.__init__", functools.partial(_started, missing))
    if not missing:
        wrap(f"{name}._save_checkpoint", _saved)
        wrap(f"{name}._load_checkpoint", _loaded)


def hook_v1(module: ModuleType) -> None:
    """Hook into ``verl.trainer.ppo.v1.trainer_base``."""
    missing = missing_methods(module.PPOTrainer, _V1)
    missing += [] if hasattr(module, "tq") else ["no transfer_queue in verl.trainer.ppo.v1.trainer_base"]
    _hook_trainer(module, "PPOTrainer", missing)
    if not missing:
        wrapt.wrap_function_wrapper(
            module, "PPOTrainer._compute_advantage", functools.partial(_v1_advantages, module.tq)
        )


def hook_legacy(module: ModuleType) -> None:
    """Hook into ``verl.trainer.ppo.ray_trainer``."""
    missing = missing_methods(module.RayPPOTrainer, _LEGACY) + missing_methods(module, _LEGACY_FUNCTIONS)
    _hook_trainer(module, "RayPPOTrainer", missing)
    if not missing:
        wrapt.wrap_function_wrapper(module, "compute_advantage", _legacy_advantages)
        wrapt.wrap_function_wrapper(module, "compute_data_metrics", _legacy_metrics)


def register(module: ModuleType) -> None:
    """Register the estimator with ``verl.trainer.ppo.core_algos``."""
    module.register_adv_est(NAME)(estimator)


#: What is called with a module of verl once it is imported.
BY_MODULE: Mapping[str, Callable[[ModuleType], None]] = {
    "verl.trainer.ppo.core_algos": register,
    "verl.trainer.ppo.ray_trainer": hook_legacy,
    "verl.trainer.ppo.v1.trainer_base": hook_v1,
}
