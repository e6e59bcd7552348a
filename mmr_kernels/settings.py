"""The options that users set: the table under the names of ``mmr_advantages``, where ``lam`` is a number or a rule.

The command line and the training configs are made from these; neither lists an option of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mmr_kernels.options import LAMBDA_MODES, OPTIONS, Option, Options, check, check_clusters, check_together, quoted

_LAM = f"λ: a number in [0, 1] (1 looks at rewards alone) or one of {quoted(LAMBDA_MODES)}."
_ROWS = [
    Option("lam", str, OPTIONS["lam_mode"].default, (), 1.0, _LAM) if name == "lam_mode" else option
    for name, option in OPTIONS.items()
    if name not in ("lam_value", "outputs")
]


def settings(*left_out: str) -> list[Option]:
    """A row per option that users set, in the order of the table, but those left out."""
    return [row for row in _ROWS if row.name not in left_out]


def checked(name: str, value: object, called: str) -> Any:
    """The value of a setting, checked; a λ that came as text becomes the number that it spells.

    Raises:
        TypeError, ValueError: naming the setting as its caller knows it, ``called``, what it got and what it takes.
    """
    if name != "lam":
        check(name, value, called)
    elif (value := number_or_word(value, LAMBDA_MODES, called)) not in LAMBDA_MODES:
        check("lam_value", value, called)
    return value


def number_or_word(value: object, words: Collection[str], called: str) -> Any:
    """The value; a text that is none of the words becomes the number that it spells.

    Raises:
        ValueError: it spells none.
    """
    try:
        return float(value) if isinstance(value, str) and value not in words else value
    except ValueError:
        raise ValueError(f"{called} must be a number in [0, 1] or one of {quoted(words)}; got {value!r}") from None


def check_settings(chosen: dict[str, Any], called: str, labels: bool | None = None) -> None:
    """Check what no setting shows alone.

    Args:
        chosen: value by name, each as ``checked`` returned it.
        called: the prefix under which the caller knows settings.
        labels: whether the completions have labels; None where the caller can't give any.

    Raises:
        ValueError: naming the setting, what it got and what it takes.
    """
    options = Options(**{name: value for name, value in chosen.items() if name != "lam"})
    check_together(options, called)
    check_clusters(options, labels, called)
