"""``mmr-kernels grpo``: train with MMR from a recipe, as ``trl grpo`` does without MMR."""

from __future__ import annotations

import typer


def grpo(context: typer.Context) -> None:
    """Train with MMR-GRPO in TRL: --config FILE.yaml, and any option of TRL's and MMR's (docs/trl.md).

    On several GPUs: accelerate launch --config_file recipes/accelerate/zero2.yaml -m mmr_kernels grpo --config …
    """
    try:
        from mmr_kernels.integrations.trl import script
    except ImportError as error:
        typer.echo(f"Error: {error}; training needs TRL: pip install '.[trl]'", err=True)
        raise typer.Exit(1) from error
    try:
        arguments = script.parse(context.args)
    except (OSError, TypeError, ValueError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    script.train(*arguments)
