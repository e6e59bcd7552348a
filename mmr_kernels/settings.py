"""The options that users set: the table under the names of ``mmr_advantages``, where ``lam`` is a number or a rule.

The command line and the training configs are made from these; neither lists an option of its own.
"""

from __future__ import annotations

from typing import Any

from mmr_kernels.options import LAMBDA_MODES, OPTIONS, Option, check, quoted

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
    elif value not in LAMBDA_MODES:
        try:
            value = float(value) if isinstance(value, str) else value
        except ValueError:
            takes = f"a number in [0, 1] or one of {quoted(LAMBDA_MODES)}"
            raise ValueError(f"{called} must be {takes}; got {value!r}") from None
        check("lam_value", value, called)
    return value
