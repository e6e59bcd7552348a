"""A recipe: a YAML file of options, over those of the files that it extends."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]


def read(path: Path, known: Collection[str], extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The options of a recipe. Its ``extends`` lists files, relative to its own place; later ones win over earlier
    ones, and the recipe over them all.

    Args:
        path: of the recipe.
        known: the names that options may have.
        extended_by: the recipes on whose behalf this one is read.

    Raises:
        OSError, ValueError: naming the file.
    """
    if path.resolve() in extended_by:
        raise ValueError(f"{path}: extends itself, by way of {', '.join(map(str, extended_by))}")
    try:
        own = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({error})") from error
    if not isinstance(own, dict):
        raise ValueError(f"{path}: takes options, one NAME: VALUE per line, got {type(own).__name__}")
    extends = own.pop("extends", [])
    if not isinstance(extends, list) or not all(isinstance(name, str) for name in extends):
        raise ValueError(f"{path}: extends takes a list of files, got {extends!r}")
    if unknown := [str(name) for name in own if name not in known]:
        raise ValueError(f"{path}: unknown option {', '.join(unknown)}")
    options: dict[str, Any] = {}
    for name in extends:
        options |= read(path.parent / name, known, (*extended_by, path.resolve()))
    return options | own
