"""Whether a trainer still is as an adapter knows it: where its internals have moved, that is one error, and plain GRPO
is never trained under the name of MMR."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
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
