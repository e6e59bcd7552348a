"""Figures of an earlier simulation, whose code is not kept, beside those of the rows here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mmr_kernels.bench.table import Table
from study.simulation import intervals
from study.simulation.methods import BASE
from study.simulation.summaries import chosen, frequency, steps_of

if TYPE_CHECKING:
    from study.simulation.methods_page import Page

NEVER = math.inf
NEAR = 0.05  # the most that a confirmed ratio lies outside of the interval here
FAMILIES = ("rare-best", "one-way", "four-equal", "graded", "crowded", "hidden", "single")
TRAP = "shared tokens"
#: Steps to 90 % over GRPO's by ascent, in the order of ``FAMILIES``; the last is steps in a trap of shared tokens.
RATIOS = {
    "mmr": (0.66, 1.54, 1.84, 1.34, 0.83, 1.10, 1.36, 652),
    "score": (0.60, 1.50, 1.90, 1.26, 0.73, 0.99, 1.17, 349),
    "score, dial": (0.56, 1.00, 1.03, 1.00, 0.90, 0.96, 1.00, 837),
    "share": (0.93, 0.85, 0.92, 1.00, 0.82, 0.84, 1.00, NEVER),
    "share, dial": (0.49, 0.85, 0.96, 1.00, 0.72, 0.72, 1.00, 400),
    "smi": (0.57, 1.00, 1.27, 1.40, 0.67, 0.87, 1.00, NEVER),
    "partition, labels": (0.59, 1.00, 1.33, NEVER),
    "dpp": (0.75, 1.04, 1.07, 1.06),
    "entropy 0.1": (0.55, 1.39, 1.56, 1.10, 0.71, 0.81, 1.08, 299),
}
#: Of 300 random settings by ascent, in percent: helps, hurts.
SHARES = {
    "mmr": (28, 43), "score": (32, 35), "score, dial": (30, 11), "share": (15, 1), "share, dial": (27, 9),
    "smi": (29, 26), "entropy 0.1": (35, 39),
}  # fmt: skip
#: To 97 % on four equal ways.
LATE = {"score, dial": 2.9, "share, dial": 2.9}


def told(value: float) -> str:
    """A ratio, or that a run never arrived."""
    return "never" if math.isinf(value) else f"{value:.2f}"


class Found:
    """One family here."""

    def __init__(self, page: Page, family: str, arm: str, part: str) -> None:
        (row,) = (each for each in chosen(page.rows, BASE, "ascent") if each["family"] == family)
        steps, base = steps_of(row, arm, part), steps_of(row, "grpo", part)
        self.median = float(np.median(np.minimum(steps, page.cut_off)))
        self.lost = bool(2 * np.isinf(steps).sum() >= len(steps))
        self.ratio, self.low, self.high = intervals.of_ratio(steps, base, page.cut_off)

    def beside(self, earlier: float) -> str:
        """The earlier ratio and this one; in bold where they differ."""
        near = self.lost if math.isinf(earlier) else self.low - NEAR <= earlier <= self.high + NEAR and not self.lost
        text = f"{told(earlier)} → {told(math.inf if self.lost else self.ratio)}"
        return text if near else f"**{text}**"

    def steps_beside(self, earlier: float) -> str:
        """The same of steps in the trap, where arriving or not is all that can agree: its numbers were others."""
        here = math.inf if self.lost else self.median
        text = " → ".join("never" if math.isinf(each) else f"{each:.0f}" for each in (earlier, here))
        return text if math.isinf(earlier) == self.lost else f"**{text}**"


def shares_beside(page: Page, arm: str) -> str:
    """Helps and hurts; in bold where an earlier share lies outside of Wilson's interval here."""
    found = frequency([row for row in page.settings if row["kind"] == "eight ways"], "ascent", arm)
    counts = (found.helps, found.hurts)
    near = all(found.is_near(count, share) for count, share in zip(counts, SHARES[arm], strict=True))
    here = " / ".join(f"{100 * count / found.settings:.0f}" for count in counts)
    text = f"{SHARES[arm][0]} / {SHARES[arm][1]} → {here}"
    return text if near else f"**{text}**"


def tables(page: Page) -> list[str]:
    """One line per method."""
    columns = ["method", *FAMILIES, "four-equal, 97 %", f"{TRAP}, steps", "helps / hurts, %"]
    lines = [
        "**An earlier simulation, whose code is not kept, and this one** (ascent, 90 %; earlier → here)\n",
        f"A ratio is confirmed where the earlier one is within {NEAR:g} of the interval here, a share of random"
        " settings where it is in Wilson's interval, steps in the trap where both arrive or neither does; what is not"
        " confirmed is in **bold**.\n",
    ]
    body = []
    for arm, ratios in RATIOS.items():
        cells = [Found(page, family, arm, "0.9").beside(each) for family, each in zip(FAMILIES, ratios, strict=False)]
        cells += [""] * (len(FAMILIES) - len(cells))
        cells.append(Found(page, "four-equal", arm, "0.97").beside(LATE[arm]) if arm in LATE else "")
        cells.append(Found(page, TRAP, arm, "0.9").steps_beside(ratios[-1]) if len(ratios) > len(FAMILIES) else "")
        cells.append(shares_beside(page, arm) if arm in SHARES and page.settings else "")
        body.append([arm, *cells])
    return [*lines, Table("", columns, body).markdown(), ""]
