"""Can a user tell from the first steps of a plain run whether a method will help? Rules fixed beforehand, and counted.

The thresholds are that of ``SignalDial``, and the one that ``advice.py`` fitted to the settings of its kind by ascent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mmr_kernels import SignalDial
from mmr_kernels.bench.table import Table
from study.results_file import Row
from study.simulation.optimisers import OPTIMISERS
from study.simulation.plain_run import LOGGED, Look
from study.simulation.random_settings import Ratio

if TYPE_CHECKING:
    from study.simulation.methods_page import Page

SIGNAL, GAINED = SignalDial().threshold, 0.21
ARMS = ("mmr", "share, dial", "entropy 0.1")
#: Whether an arm helps, they say.
RULES: dict[str, Callable[[Look], bool]] = {
    f"e below {SIGNAL:g}": lambda look: look.signal < SIGNAL,
    f"at most {GAINED} of the room gained": lambda look: look.gained <= GAINED,
    "both": lambda look: look.signal < SIGNAL and look.gained <= GAINED,
    "either": lambda look: look.signal < SIGNAL or look.gained <= GAINED,
}


def judged(rows: list[Row], optimiser: str, arm: str) -> tuple[list[Look], np.ndarray]:
    """Looks at the settings where the arm's effect is clear, and whether it helps there."""
    looks, helps = [], []
    for row in rows:
        ratio = Ratio(*row[optimiser][arm])
        if ratio.high < 1 or ratio.low > 1:
            looks.append(Look(*row[optimiser]["plain run"]))
            helps.append(ratio.ratio < 1)
    return looks, np.array(helps, dtype=bool)


def right(helps: np.ndarray, said: np.ndarray) -> str:
    """How often what is said is right, and the mean over the two answers; nothing where one of them never is right."""
    if helps.all() or not helps.any():
        return ""
    balanced = (np.mean(said[helps]) + np.mean(~said[~helps])) / 2
    return f"{np.mean(said == helps):.0%} ({balanced:.0%})".replace("%", " %")


def table(page: Page) -> list[str]:
    """How often each rule is right, one line per rule."""
    places = [(kind, name, arm) for arm in ARMS for kind in page.kinds for name in OPTIMISERS]
    found = [judged(page.of_kind(kind), name, arm) for kind, name, arm in places]
    columns = ["rule: it helps if", *(f"{arm}: {kind}, {name}" for kind, name, arm in places)]

    title = (
        f"Rules on the first {LOGGED} steps of a plain run, over the settings where a method's effect is clear: right,"
        " and in brackets the mean of right where it helps and right where it hurts"
    )
    always = [right(helps, np.full_like(helps, 2 * helps.sum() > len(helps))) for _, helps in found]
    body = [
        ["*settings, those where it hurts*", *(f"{len(helps)}, {(~helps).sum()}" for _, helps in found)],
        ["*always the more frequent answer*", *always],
        *([name, *(right(helps, np.array([rule(look) for look in looks], dtype=bool)) for looks, helps in found)]
          for name, rule in RULES.items()),
    ]  # fmt: skip
    return [f"**{title}**\n", *Table(title, columns, body).markdown().splitlines(), ""]
