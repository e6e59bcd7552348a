"""From the rows of ``methods.py`` and ``random_settings.py`` to their tables.

python -m study.simulation.methods_page > study/methods.md
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from mmr_kernels.bench.table import Table
from study.results_file import ResultsFile, Row
from study.simulation import earlier, methods, random_settings, rules
from study.simulation.arms import METHODS, REMEDIES
from study.simulation.methods import BASE
from study.simulation.optimisers import OPTIMISERS
from study.simulation.summaries import chosen, frequency, gathered, geometric_mean, ratio, seeds_of, worst

HEADER = f"""# Every method in the simulation

`python -m study.simulation.methods_page > study/methods.md` makes this page from [the rows](results/methods.jsonl) of
`python -m study.simulation.methods` and [those](results/random-settings.jsonl) of
`python -m study.simulation.random_settings`; [simulation.md](simulation.md) says what was run and what it shows.
Numbers are an arm's median steps over plain GRPO's, below 1 is better; brackets hold 95 % intervals over seeds. A run
cut off counts with its {methods.CUT_OFF} steps: ≥ where half of the arm's runs were, or more, ≤ where half of GRPO's
were, *neither* where both. A mean over families is geometric, and counts such ratios as they are.
"""
Cells = Callable[[str], list[str]]


def percent(text: str) -> str:
    """With a space before the sign."""
    return text.replace("%", " %")


def table(title: str, columns: Iterable[str], cells: Cells, arms: Iterable[str]) -> list[str]:
    """One line per arm."""
    made = Table(title, ["method", *columns], [[arm, *cells(arm)] for arm in arms])
    return [f"**{made.title}**\n", made.markdown(), ""]


class Page:
    """All tables of the rows that there are."""

    def __init__(self, rows: list[Row], settings: list[Row], cut_off: int) -> None:
        self.rows, self.settings, self.cut_off = gathered(rows), random_settings.without_gaps(settings), cut_off
        self.kinds = list(dict.fromkeys(row["kind"] for row in self.settings))

    def mean(self, arm: str, part: str = "0.9", variant: str = BASE, **some: object) -> str:
        """Over the families of a variant."""
        return geometric_mean(chosen(self.rows, variant, **some), arm, part, self.cut_off).text(2)  # type: ignore[arg-type]

    def of_kind(self, kind: str) -> list[Row]:
        """Its random settings."""
        return [row for row in self.settings if row["kind"] == kind]

    def short(self) -> list[str]:
        """One table for all: the primary outcome, and how often an arm helps and hurts, and the worst that it does."""
        base = chosen(self.rows, BASE)
        places = [(kind, name) for kind in self.kinds for name in OPTIMISERS]
        order = sorted(METHODS, key=lambda arm: geometric_mean(base, arm, "0.9", self.cut_off, interval=False).value)
        return table(
            f"In short: mean and worst over families and optimisers, {seeds_of(base)} seeds; helps / hurts / worst over"
            f" {len(self.settings)} random settings",
            ["primary: mean, 90 %", "worst, 90 %", *(f"{kind}, {name}" for kind, name in places)],
            lambda arm: [
                self.mean(arm), worst(base, arm, "0.9", self.cut_off),
                *(frequency(self.of_kind(kind), name, arm).in_short() for kind, name in places),
            ],
            [arm for arm in order if arm != "grpo"],
        )  # fmt: skip

    def means(self) -> list[str]:
        """Over families, by optimiser, target, and without the trap."""
        parts = [(part, name) for part in ("0.9", "0.97") for name in OPTIMISERS]
        columns = [percent(f"{name}, {float(part):.0%}") for part, name in parts]
        columns += [f"{name}, 90 %, without shared tokens" for name in OPTIMISERS]
        return table(
            f"Mean over families, {seeds_of(chosen(self.rows, BASE))} seeds", columns,
            lambda arm: [
                *(self.mean(arm, part, optimiser=name) for part, name in parts),
                *(self.mean(arm, optimiser=name, without=("shared tokens",)) for name in OPTIMISERS),
            ],
            METHODS,
        )  # fmt: skip

    def families(self) -> list[str]:
        """Every family, by optimiser and target."""
        lines = []
        for name in OPTIMISERS:
            some = chosen(self.rows, BASE, name)
            for part in ("0.9", "0.97"):
                lines += table(
                    percent(f"{name}, steps to {float(part):.0%} of the best reachable reward"),
                    [row["family"] for row in some],
                    lambda arm, some=some, part=part: [  # type: ignore[misc]
                        ratio(row, arm, part, self.cut_off) for row in some
                    ],
                    METHODS,
                )
        return lines

    def variants(self) -> list[str]:
        """Means over families, of each variant."""
        whole = len(chosen(self.rows, BASE, "ascent"))
        there = [each for each in methods.VARIANTS if len(chosen(self.rows, each)) == whole * len(OPTIMISERS)]
        lines = []
        for name in OPTIMISERS:
            lines += table(
                f"{name}, mean over families, 90 %", there,
                lambda arm, name=name: [self.mean(arm, variant=each, optimiser=name) for each in there],  # type: ignore[misc]
                METHODS,
            )  # fmt: skip
        return lines

    def random(self) -> list[str]:
        """Random settings, by kind and optimiser."""
        lines = []
        for kind in self.kinds:
            for name in OPTIMISERS:
                lines += table(
                    f"{len(self.of_kind(kind))} random settings, {kind}, {name}",
                    ("helps", "hurts", "47.9 % fewer", "median", "worst tenth from", "worst"),
                    lambda arm, kind=kind, name=name: frequency(self.of_kind(kind), name, arm).cells(),  # type: ignore[misc]
                    [arm for arm in METHODS if arm != "grpo"],
                )
        return lines

    def remedies(self) -> list[str]:
        """The dial on "share" as it is, and remedies for it."""
        places = [(kind, name) for kind in self.kinds for name in OPTIMISERS]

        def of_family(arm: str, family: str, name: str, part: str) -> str:
            (row,) = (row for row in chosen(self.rows, BASE, name) if row["family"] == family)
            return ratio(row, arm, part, self.cut_off)

        of_families = [("four-equal", name, "0.97") for name in OPTIMISERS]
        of_families += [("rare-best", "ascent", "0.9"), ("shared tokens", "ascent", "0.9")]
        sizes = [(size, name) for size in ("groups of 4", "groups of 16") for name in OPTIMISERS]
        return table(
            "Remedies for the dial: helps / hurts / worst at random settings",
            ["primary", *(percent(f"{family}, {name}, {float(part):.0%}") for family, name, part in of_families),
             *(f"{size}, {name}" for size, name in sizes), *(f"{kind}, {name}" for kind, name in places)],
            lambda arm: [
                self.mean(arm), *(of_family(arm, *each) for each in of_families),
                *(self.mean(arm, variant=size, optimiser=name) for size, name in sizes),
                *(frequency(self.of_kind(kind), name, arm).in_short() for kind, name in places),
            ],
            ("share, dial", *REMEDIES),
        )  # fmt: skip

    def __str__(self) -> str:
        sections = (
            self.short(), self.means(), self.families(), self.variants(), self.random(), rules.table(self),
            self.remedies(), earlier.tables(self),
        )  # fmt: skip
        return "\n".join([HEADER, *itertools.chain.from_iterable(sections)])


def main(quick: Annotated[bool, typer.Option("--quick", help="Of the rows of the quick runs.")] = False) -> None:
    """Print the page."""
    paths = (methods.QUICK, random_settings.QUICK) if quick else (methods.RESULTS, random_settings.RESULTS)
    rows, settings = (ResultsFile(path).rows() for path in paths)
    print(Page(rows, settings, methods.CUT_OFF))


if __name__ == "__main__":
    typer.run(main)
