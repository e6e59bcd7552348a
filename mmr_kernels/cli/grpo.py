"""``mmr-kernels grpo``: train with MMR from a recipe, as ``trl grpo`` does without MMR."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mmr_kernels.cli.terminal import fail

if TYPE_CHECKING:
    from mmr_kernels.integrations.trl.script import Run


def grpo(context: typer.Context) -> None:
    """Train with MMR-GRPO in TRL: --config FILE.yaml, and any option of TRL's and MMR's (docs/trl.md).

    On several GPUs: --accelerate_config recipes/accelerate/zero2.yaml --num_processes 8
    """
    run = _checked(context.args, launches=True)
    if run is not None:
        run.train()


def grpo_process(context: typer.Context) -> None:
    """One of the processes that grpo starts."""
    run = _checked(context.args, launches=False)
    assert run is not None
    run.train()


def _checked(arguments: list[str], launches: bool) -> Run | None:
    """The run, ready to train; None where other processes have done it."""
    try:
        from mmr_kernels.integrations.trl import launch, script
    except ImportError as error:
        fail(ImportError(f"{error}; training needs TRL: pip install '.[trl]'"), 1)
    try:
        options = script.parse(arguments)
        if launches and (words := launch.words(options.launch)):
            launch.start(words, arguments)
            return None
        return script.Run(options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        fail(error, 2)
