"""Several processes from one command, as ``trl grpo`` starts them: through ``accelerate launch``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import yaml  # type: ignore[import-untyped]
from accelerate.commands.launch import launch_command, launch_command_parser
from trl.cli.accelerate_config import resolve_accelerate_config_argument


@dataclass
class LaunchArguments:
    """The processes to train in; without either, this one."""

    accelerate_config: str | None = field(
        default=None,
        metadata={
            "help": "A config file of accelerate, or the name of one that TRL has, like zero2: starts processes."
        },
    )
    num_processes: int | None = field(default=None, metadata={"help": "How many processes to start."})


def words(chosen: LaunchArguments) -> list[str]:
    """The options of ``accelerate launch``; none where no processes are to be started.

    Raises:
        ValueError: there is no such config, it would be none, or this process is one of several already.
    """
    options = [word for name, value in vars(chosen).items() if value is not None for word in (f"--{name}", str(value))]
    if options and "LOCAL_RANK" in os.environ:
        raise ValueError(f"{options[0]} starts processes, but this is one of several already; leave one of the two out")
    if chosen.num_processes is not None and chosen.num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {chosen.num_processes}")
    return list(resolve_accelerate_config_argument(options))


def start(options: list[str], arguments: list[str]) -> None:
    """Train in processes of their own, and wait for them.

    Raises:
        ValueError: accelerate's config is no YAML.
    """
    launched = [*options, "--quiet", "-m", "mmr_kernels", "grpo-process", *arguments]
    try:
        launch_command(launch_command_parser().parse_args(launched))
    except yaml.YAMLError as error:  # which names the file
        raise ValueError(f"accelerate_config: {error}") from error
