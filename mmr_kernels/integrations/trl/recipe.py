"""A recipe: a YAML file of options, over those of the files that it extends."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]


def read(path: Path, known: Collection[str], within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The options of a recipe. Its ``extends`` lists files, relative to its own place; later ones win over earlier
    ones, and the recipe wins over them all.

    Args:
        path: of the recipe.
        known: the names that options may have.
        within: the recipes that extend this one.

    Raises:
        OSError, ValueError: naming the file.
    """
    if path.resolve() in within:
        raise ValueError(f"{path}: extends itself")
    try:
        with path.open("rb") as file:
            own = yaml.safe_load(file)
    except yaml.YAMLError as error:  # which names the file, on several lines
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(own, dict) or not isinstance(own.setdefault("extends", []), list):
        raise ValueError(f"{path}: takes lines of NAME: VALUE, and a list for extends")
    options: dict[str, Any] = {}
    for name in own.pop("extends"):
        options |= read(path.parent / str(name), known, (*within, path.resolve()))
    if unknown := [str(name) for name in own if name not in known]:
        raise ValueError(f"{path}: unknown option {', '.join(unknown)}")
    return options | own


def environment(found: Any, path: Path) -> dict[str, str]:
    """The variables that ``env`` of the recipe sets.

    Raises:
        ValueError: naming the file.
    """
    if not isinstance(found, dict):
        raise ValueError(f"{path}: env takes lines of NAME: VALUE, got {found!r}")
    return {str(name): str(value) for name, value in found.items()}
