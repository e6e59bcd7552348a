"""The sentence about an optional package that an embedder needs and that is not installed."""

from __future__ import annotations

import importlib.util


def why_no(package: str, install: str) -> str | None:
    """None where the package can be imported; it isn't imported for that."""
    if importlib.util.find_spec(package) is None:
        return f"needs the package {package}, found: not installed; {install}"
    return None


def require(name: str, reason: str | None) -> None:
    """Refuse an embedder that can't run here.

    Raises:
        ImportError: with the reason.
    """
    if reason is not None:
        raise ImportError(f"embedder {name!r} {reason}")
