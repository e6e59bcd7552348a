"""Whether a trainer still is as an adapter knows it: where its internals have moved, that is one error, and plain GRPO
is never trained under the name of MMR."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any


def missing_methods(owner: Any, takes: Mapping[str, Sequence[str]]) -> list[str]:
    """What a class or module lacks, in words; nothing where all is as it was.

    Args:
        owner: the class or module.
        takes: name of each function, and its parameters.
    """
    missing = []
    for name, parameters in takes.items():
        function = getattr(owner, name, None)
        if function is None:
            missing.append(f"no {'method' if inspect.isclass(owner) else 'function'} {name}")
        elif (found := list(inspect.signature(function).parameters)) != list(parameters):
            missing.append(f"{name} takes ({', '.join(found)}), not ({', '.join(parameters)})")
    return missing


def refuse_moved(package: str, tested: str, owner: Any, takes: Mapping[str, Sequence[str]]) -> None:
    """Let through an owner that has all of ``takes``, as ``missing_methods`` has it.

    Raises:
        RuntimeError: naming the package, its version, all that is missing and the version that is tested.
    """
    if missing := missing_methods(owner, takes):
        raise RuntimeError(
            f"mmr_kernels can't hook into {owner.__name__} of {package} {version(package)}: {'; '.join(missing)}. It is"
            f" tested with {package} {tested}"
        )
