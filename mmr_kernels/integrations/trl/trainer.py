"""The drop-in trainer, and MMR for a trainer that already exists."""

from __future__ import annotations

from typing import Any, TypeVar

from trl import GRPOTrainer

from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.trl import parent
from mmr_kernels.integrations.trl.mixin import MMRMixin

AnyTrainer = TypeVar("AnyTrainer", bound=GRPOTrainer)


class MMRGRPOTrainer(MMRMixin, GRPOTrainer):
    """``trl.GRPOTrainer`` with MMR-reweighted advantages (MMR-GRPO, arXiv 2601.09085); its arguments and ``embedder``.

    ``args`` may be an ``MMRGRPOConfig``, or any ``GRPOConfig`` for MMR's defaults.
    """


def attach_mmr(trainer: AnyTrainer, *, embedder: Any = None, **options: Any) -> AnyTrainer:
    """Make a trainer that already exists train with MMR; returns the same object.

    Args:
        trainer: a ``trl.GRPOTrainer`` or a subclass of it, before training.
        embedder: as ``MMRMixin`` takes it.
        **options: of ``MMROptions``, like ``mmr_lam=0.7``.

    Raises:
        TypeError: it has MMR already, or an option is unknown.
        RuntimeError: the installed TRL lacks something that MMR hooks into.
    """
    if isinstance(trainer, MMRMixin):
        raise TypeError(f"trainer has MMR already: it is a {type(trainer).__name__}")
    chosen = MMROptions.of(trainer.args)
    unknown = sorted(set(options) - set(vars(chosen)))
    if unknown:
        raise TypeError(
            f"attach_mmr takes the fields of MMROptions, {', '.join(vars(chosen))}; got {', '.join(unknown)}"
        )
    chosen = MMROptions(**(vars(chosen) | options))
    before = type(trainer)
    parent.check_class(before)
    trainer.__class__ = type(f"MMR{before.__name__}", (MMRMixin, before), {})
    try:
        trainer._start_mmr(chosen, embedder)
    except BaseException:
        trainer.__class__ = before
        raise
    return trainer
