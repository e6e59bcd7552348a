"""``python -m study.published``: what follows from the nine pairs of the released repository's table.

The data and their source: published.json, beside this file.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

DATA = Path(__file__).with_name("published.json")
CONSOLE = Console(width=140)


@dataclass(frozen=True)
class Run:
    """The best checkpoint of one arm: its score, the step it was saved at, and the hours to get there."""

    score: float
    peak_step: int
    hours: float


@dataclass(frozen=True)
class Pair:
    """A plain run and the MMR run compared with it; checkpoints were saved every so many steps."""

    size: str
    method: str
    checkpoint_every: int
    plain: Run
    mmr: Run


def load(path: Path = DATA) -> list[Pair]:
    """The pairs of the table."""
    rows = json.loads(path.read_text())["pairs"]
    return [Pair(**row | {"plain": Run(**row["plain"]), "mmr": Run(**row["mmr"])}) for row in rows]


def reduction(before: float, after: float) -> float:
    """The part of ``before`` that is saved; negative where it grew."""
    return 1 - after / before


def findings(pairs: list[Pair]) -> dict[str, Any]:
    """Everything that the page states, for these pairs."""
    found: dict[str, Any] = {"pairs": len(pairs)}
    for what in ("peak_step", "hours"):
        both = [(getattr(pair.plain, what), getattr(pair.mmr, what)) for pair in pairs]
        before, after = sum(plain for plain, _ in both), sum(mmr for _, mmr in both)
        found[what] = {
            "fell": sum(mmr < plain for plain, mmr in both),
            "stayed": sum(mmr == plain for plain, mmr in both),
            "rose": sum(mmr > plain for plain, mmr in both),
            "mean_of_reductions": mean(reduction(*each) for each in both),
            "reduction_of_totals": reduction(before, after),
            "saved": before - after,
        }
    scores = [pair.mmr.score - pair.plain.score for pair in pairs]
    found["score"] = {
        "lower": sum(round(each, 3) < 0 for each in scores),
        "equal": sum(round(each, 3) == 0 for each in scores),
        "higher": sum(round(each, 3) > 0 for each in scores),
        "mean_difference": mean(scores),
    }
    return found


def averages(pairs: list[Pair], what: str) -> dict[str, float]:
    """The ways to make one number of all reductions in ``peak_step`` or ``hours``: does one give the headline?"""

    def of_totals(some: Iterable[Pair]) -> float:
        some = list(some)
        return reduction(sum(getattr(p.plain, what) for p in some), sum(getattr(p.mmr, what) for p in some))

    def by(key: Callable[[Pair], str]) -> float:
        return mean(of_totals(p for p in pairs if key(p) == kind) for kind in sorted({key(p) for p in pairs}))

    each = [of_totals([pair]) for pair in pairs]
    return {
        "mean of pairs": mean(each),
        "median of pairs": median(each),
        "mean of pairs that fell": mean(one for one in each if one > 0),
        "totals": of_totals(pairs),
        "mean of totals by size": by(lambda pair: pair.size),
        "mean of totals by method": by(lambda pair: pair.method),
    }


def swap_test(pairs: list[Pair]) -> float:
    """How often so many steps or more are saved in all when the two arms of each pair are swapped or not, all ways.

    The exact one-sided p-value of the hypothesis that the name of the arm doesn't matter.
    """
    saved = [pair.plain.peak_step - pair.mmr.peak_step for pair in pairs]
    swapped = [sum(signed) for signed in itertools.product(*((one, -one) for one in saved))]
    return mean(one >= sum(saved) for one in swapped)


def per_step(run: Run) -> float:
    """Minutes."""
    return 60 * run.hours / run.peak_step


def groups(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """All pairs, and the two kinds: only with DAPO did the MMR arm also drop dynamic sampling."""
    return {
        "all nine": pairs,
        "without DAPO": [pair for pair in pairs if pair.method != "DAPO"],
        "DAPO": [pair for pair in pairs if pair.method == "DAPO"],
    }


def table_of_pairs(pairs: list[Pair]) -> Table:
    """One line a pair."""
    table = Table(title="plain → MMR")
    for column in ("size", "method", "score", "peak step", "saved", "hours", "saved", "min/step", "checkpoint every"):
        table.add_column(column)
    for pair in pairs:
        plain, mmr = pair.plain, pair.mmr
        table.add_row(
            pair.size, pair.method, f"{plain.score:.3f} → {mmr.score:.3f} ({mmr.score - plain.score:+.3f})",
            f"{plain.peak_step} → {mmr.peak_step}", f"{reduction(plain.peak_step, mmr.peak_step):.0%}",
            f"{plain.hours:.2f} → {mmr.hours:.2f}", f"{reduction(plain.hours, mmr.hours):.0%}",
            f"{per_step(plain):.2f} → {per_step(mmr):.2f} ({per_step(mmr) / per_step(plain) - 1:+.1%})",
            str(pair.checkpoint_every),
        )  # fmt: skip
    return table


def table_of_findings(pairs: list[Pair]) -> Table:
    """One line a group of pairs and quantity."""
    table = Table(title="what follows")
    for column in ("pairs", "of", "fell", "stayed", "rose", "mean of reductions", "reduction of totals", "saved"):
        table.add_column(column)
    for name, some in groups(pairs).items():
        found = findings(some)
        for what, unit in (("peak_step", "steps"), ("hours", "h")):
            one = found[what]
            table.add_row(
                name, what, *(str(one[key]) for key in ("fell", "stayed", "rose")),
                f"{one['mean_of_reductions']:.1%}", f"{one['reduction_of_totals']:.1%}", f"{one['saved']:.2f} {unit}",
            )  # fmt: skip
    return table


def main() -> None:
    """Print the nine pairs and what follows from them."""
    pairs = load()
    headline = json.loads(DATA.read_text())["headline"]
    CONSOLE.print(table_of_pairs(pairs), table_of_findings(pairs))
    for what in ("peak_step", "hours"):
        CONSOLE.print(what, *(f"{name} {value:.1%}" for name, value in averages(pairs, what).items()), sep="; ")
    hours = {name: findings(some)["hours"]["saved"] for name, some in groups(pairs).items()}
    CONSOLE.print(
        f"headline: {headline['fewer_steps']:.1%} fewer steps, {headline['less_time']:.1%} less time",
        f"hours saved that come from the DAPO pairs: {hours['DAPO'] / hours['all nine']:.1%}",
        *(
            f"arms swapped at random save as many steps, {name}: {swap_test(some):.1%}"
            for name, some in groups(pairs).items()
        ),
        *(f"score, {name}: {findings(some)['score']}" for name, some in groups(pairs).items()),
        sep="\n",
    )


if __name__ == "__main__":
    typer.run(main)
