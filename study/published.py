"""``python -m study.published``: the figures that follow from the nine pairs of the released repository's table.

The data and their source: published.json, beside this file.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.console import Console
from rich.table import Table

DATA = json.loads(Path(__file__).with_name("published.json").read_text())
UNITS = {"peak_step": "steps", "hours": "h"}


@dataclass(frozen=True)
class Run:
    """The best checkpoint of one arm: its score, the step it was saved at, and the hours to get there."""

    score: float
    peak_step: int
    hours: float

    @property
    def minutes_per_step(self) -> float:
        return 60 * self.hours / self.peak_step


@dataclass(frozen=True)
class Pair:
    """A plain run and the MMR run compared with it, with the number of steps between checkpoints."""

    size: str
    method: str
    checkpoint_every: int
    plain: Run
    mmr: Run

    def both(self, quantity: str) -> tuple[float, float]:
        """``peak_step``, ``hours`` or ``score``, plain and with MMR."""
        return getattr(self.plain, quantity), getattr(self.mmr, quantity)


def load() -> list[Pair]:
    """The pairs of the table."""
    return [Pair(**row | {"plain": Run(**row["plain"]), "mmr": Run(**row["mmr"])}) for row in DATA["pairs"]]


def reduction(pairs: list[Pair], quantity: str) -> float:
    """The part of the plain runs' total that is saved; negative where it grew."""
    plain, mmr = (sum(totals) for totals in zip(*(pair.both(quantity) for pair in pairs), strict=True))
    return 1 - mmr / plain


def findings(pairs: list[Pair]) -> dict[str, Any]:
    """Everything that the page states of these pairs."""
    found: dict[str, Any] = {"pairs": len(pairs)}
    for quantity in UNITS:
        saved = [plain - mmr for plain, mmr in (pair.both(quantity) for pair in pairs)]
        found[quantity] = {
            "fell": sum(each > 0 for each in saved),
            "stayed": sum(each == 0 for each in saved),
            "rose": sum(each < 0 for each in saved),
            "mean_of_reductions": mean(reduction([pair], quantity) for pair in pairs),
            "reduction_of_totals": reduction(pairs, quantity),
            "saved": sum(saved),
        }
    scores = [round(mmr - plain, 3) for plain, mmr in (pair.both("score") for pair in pairs)]
    found["score"] = {
        "lower": sum(each < 0 for each in scores),
        "equal": sum(each == 0 for each in scores),
        "higher": sum(each > 0 for each in scores),
        "mean_difference": round(mean(scores), 4),
    }
    return found


def averages(pairs: list[Pair], quantity: str) -> dict[str, float]:
    """The ways to make one number of all reductions in ``peak_step`` or ``hours``: does one give the headline?"""

    def by(name: str) -> float:
        kinds = sorted({getattr(pair, name) for pair in pairs})
        return mean(reduction([pair for pair in pairs if getattr(pair, name) == kind], quantity) for kind in kinds)

    each = [reduction([pair], quantity) for pair in pairs]
    return {
        "mean of pairs": mean(each),
        "median of pairs": median(each),
        "mean of pairs that fell": mean(one for one in each if one > 0),
        "totals": reduction(pairs, quantity),
        "mean of totals by size": by("size"),
        "mean of totals by method": by("method"),
    }


def swap_test(pairs: list[Pair]) -> float:
    """How often so many steps or more are saved in all when the two arms of each pair are swapped or not, all ways.

    The exact one-sided p-value of the hypothesis that the name of the arm doesn't matter.
    """
    saved = [pair.plain.peak_step - pair.mmr.peak_step for pair in pairs]
    swapped = [sum(signed) for signed in itertools.product(*((one, -one) for one in saved))]
    return mean(one >= sum(saved) for one in swapped)


def groups(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """All pairs, and the two kinds: only with DAPO did the MMR arm also drop dynamic sampling."""
    return {
        "all nine": pairs,
        "without DAPO": [pair for pair in pairs if pair.method != "DAPO"],
        "DAPO": [pair for pair in pairs if pair.method == "DAPO"],
    }


def table_of_pairs(pairs: list[Pair]) -> Table:
    """One line per pair."""
    columns = ("size", "method", "score", "peak step", "saved", "hours", "saved", "min/step", "checkpoint every")
    table = Table(*columns, title="plain → MMR")
    for pair in pairs:
        plain, mmr = pair.plain, pair.mmr
        minutes = plain.minutes_per_step, mmr.minutes_per_step
        table.add_row(
            pair.size, pair.method, f"{plain.score:.3f} → {mmr.score:.3f} ({mmr.score - plain.score:+.3f})",
            f"{plain.peak_step} → {mmr.peak_step}", f"{reduction([pair], 'peak_step'):.0%}",
            f"{plain.hours:.2f} → {mmr.hours:.2f}", f"{reduction([pair], 'hours'):.0%}",
            f"{minutes[0]:.2f} → {minutes[1]:.2f} ({minutes[1] / minutes[0] - 1:+.1%})", str(pair.checkpoint_every),
        )  # fmt: skip
    return table


def table_of_findings(pairs: list[Pair]) -> Table:
    """One line per group of pairs and quantity."""
    columns = ("pairs", "of", "fell", "stayed", "rose", "mean of reductions", "reduction of totals", "saved")
    table = Table(*columns, title="reductions")
    for name, some in groups(pairs).items():
        for quantity, unit in UNITS.items():
            counts = findings(some)[quantity]
            parts = (f"{counts[key]:.1%}" for key in ("mean_of_reductions", "reduction_of_totals"))
            signs = (str(counts[key]) for key in ("fell", "stayed", "rose"))
            table.add_row(name, quantity, *signs, *parts, f"{counts['saved']:.2f} {unit}")
    return table


def main() -> None:
    """Print the nine pairs and the figures that follow from them."""
    pairs, console = load(), Console(width=140)
    console.print(table_of_pairs(pairs), table_of_findings(pairs))
    for quantity in UNITS:
        found = averages(pairs, quantity)
        console.print(quantity, *(f"{name} {value:.1%}" for name, value in found.items()), sep="; ")
    headline, hours = DATA["headline"], {name: findings(some)["hours"]["saved"] for name, some in groups(pairs).items()}
    console.print(f"headline: {headline['fewer_steps']:.1%} fewer steps, {headline['less_time']:.1%} less time")
    console.print(f"hours saved that come from the DAPO pairs: {hours['DAPO'] / hours['all nine']:.1%}")
    for name, some in groups(pairs).items():
        console.print(f"{name}: arms swapped at random save as many steps in {swap_test(some):.1%} of all ways")
        console.print(f"{name}: scores {findings(some)['score']}")


if __name__ == "__main__":
    main()
