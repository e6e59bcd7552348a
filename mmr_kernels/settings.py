"""The options that users set: the rows of the table under the names of ``mmr_advantages``, and how text becomes one.

The command line and the training configs are made from these; neither lists an option of its own.
"""

from __future__ import annotations

import typing
from typing import Any, NamedTuple

from mmr_kernels.options import LAMBDA_MODES, OPTIONS, Options, check, quoted

_TAKES = typing.get_type_hints(Options)


class Setting(NamedTuple):
    """One option, as a parser takes it."""

    name: str
    takes: Any  # the type: a Literal of names, with None where nothing need be chosen; float, bool, or str for λ
    default: Any
    help: str  # a sentence


def settings(*left_out: str) -> list[Setting]:
    """A row per option that users set, in the order of the table, but those left out."""
    return [row for row in _ROWS if row.name not in left_out]


def checked(name: str, value: object, called: str) -> Any:
    """The value of a setting, checked; a λ that came as text becomes the number that it spells.

    Raises:
        TypeError, ValueError: naming the setting as its caller knows it, ``called``, what it got and what it takes.
    """
    if name != "lam":
        check(name, value, called)
    elif value not in LAMBDA_MODES:
        try:
            value = float(value) if isinstance(value, str) else value
        except ValueError:
            takes = f"a number in [0, 1] or one of {quoted(LAMBDA_MODES)}"
            raise ValueError(f"{called} must be {takes}; got {value!r}") from None
        check("lam_value", value, called)
    return value


def _row(name: str) -> Setting:
    if name == "lam_mode":
        takes = f"a number in [0, 1] (1 looks at rewards alone), {' or '.join(map(repr, LAMBDA_MODES))}"
        return Setting("lam", str, OPTIONS[name].default, f"λ: {takes}.")
    return Setting(name, _TAKES[name], OPTIONS[name].default, OPTIONS[name].help)


_ROWS = [_row(name) for name in OPTIONS if name not in ("lam_value", "outputs")]
