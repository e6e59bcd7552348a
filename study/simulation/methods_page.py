"""From the rows of ``methods.py`` and ``random_settings.py`` to their tables.

python -m study.simulation.methods_page > study/methods.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

import numpy as np
import typer
from scipy import stats

from study.results_file import ResultsFile, Row
from study.simulation import intervals, methods, random_settings
from study.simulation.arms import METHODS
from study.simulation.map import HEADLINE
from study.simulation.optimisers import OPTIMISERS
from study.training.comparisons import line

HEADER = f"""# Every method in the simulation

`python -m study.simulation.methods_page > study/methods.md` makes this page from [the rows](results/methods.jsonl) of
`python -m study.simulation.methods` and [those](results/random-settings.jsonl) of
`python -m study.simulation.random_settings`; [simulation.md](simulation.md) says what was run and what it shows.
Numbers are an arm's median steps over plain GRPO's, below 1 is better; brackets hold 95 % intervals over seeds. A run
cut off counts with its {methods.CUT_OFF} steps: ≥ where half of the arm's runs were, or more, ≤ where half of GRPO's
were, *neither* where both. A mean over families is geometric, and counts such ratios as they are.
"""


class Mean(NamedTuple):
    """A geometric mean of ratios, and its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def merged(rows: Iterable[Row]) -> list[Row]:
    """One row per variant, family and optimiser, of the blocks of seeds that all rows of the variant have."""
    blocks: dict[tuple[str, str, str], dict[tuple[int, int], Row]] = {}
    for row in rows:
        blocks.setdefault((row["variant"], row["family"], row["optimiser"]), {})[tuple(row["seeds"])] = row["steps"]
    found = []
    for key, steps in blocks.items():
        common = set.intersection(*(set(other) for name, other in blocks.items() if name[0] == key[0]))
        parts = [steps[block] for block in sorted(common)]
        if parts:
            joined = {arm: {part: [each for steps in parts for each in steps[arm][part]] for part in parts[0][arm]}
                      for arm in parts[0]}  # fmt: skip
            found.append({"variant": key[0], "family": key[1], "optimiser": key[2], "steps": joined})
    return found


def chosen(rows: Iterable[Row], variant: str, optimiser: str | None = None, without: tuple[str, ...] = ()) -> list[Row]:
    """Merged rows of a variant, of one optimiser or of both."""
    return [row for row in rows if row["variant"] == variant and row["optimiser"] in (optimiser or OPTIMISERS)
            and row["family"] not in without]  # fmt: skip


def steps_of(row: Row, arm: str, part: str) -> np.ndarray:
    """(seeds,) with inf where a run was cut off."""
    return np.array([np.inf if each is None else each for each in row["steps"][arm][part]])


def geometric_mean(rows: list[Row], arm: str, part: str, cut_off: int, resamples: int = 999) -> Mean:
    """Over families and optimisers, of median steps over GRPO's.

    The interval is a percentile bootstrap over seeds, which all families share. It says nothing of other families.
    """
    pairs = [np.minimum(steps_of(row, name, part), cut_off) for row in rows for name in (arm, "grpo")]

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        logs = [np.log(np.maximum(np.median(each, axis=axis), 1)) for each in samples]
        mean: np.ndarray = np.exp(np.mean(np.array(logs[::2]) - np.array(logs[1::2]), axis=0))
        return mean

    value = float(statistic(*pairs))
    if arm == "grpo":
        return Mean(value, value, value)
    found = stats.bootstrap(
        pairs, statistic, paired=True, vectorized=True, n_resamples=resamples, method="percentile",
        rng=np.random.default_rng(0), batch=100,
    ).confidence_interval  # fmt: skip
    return Mean(value, float(found.low), float(found.high))


def ratio(row: Row, arm: str, part: str, cut_off: int) -> str:
    """One arm on one family; GRPO's own cell holds its steps."""
    steps, base = steps_of(row, arm, part), steps_of(row, "grpo", part)
    if arm == "grpo":
        return str(intervals.of_median(steps, cut_off))
    lost, base_lost = (2 * np.isinf(each).sum() >= len(each) for each in (steps, base))
    if lost and base_lost:
        return "neither"
    mark = "≥ " if lost else "≤ " if base_lost else ""
    value, low, high = intervals.of_ratio(steps, base, cut_off)
    return f"{mark}{value:.2f} ({low:.2f}–{high:.2f})"


class Frequency(NamedTuple):
    """How an arm did over random settings."""

    settings: int
    helps: int  #: the interval of the ratio lies below 1
    hurts: int  #: above 1
    headline: int  #: at least 47.9 % fewer steps
    median: float
    tenth: float  #: the ratio that a tenth of the settings lies above
    worst: float

    def cells(self) -> list[str]:
        shares = [share(count, self.settings) for count in (self.helps, self.hurts, self.headline)]
        return [*shares, *(f"{each:.2f}" for each in (self.median, self.tenth, self.worst))]


def share(count: int, settings: int) -> str:
    """In percent, with Wilson's interval."""
    found = stats.binomtest(count, settings).proportion_ci(method="wilson")
    return f"{count / settings:.0%} ({found.low:.0%}–{found.high:.0%})".replace("%", " %")


def frequency(rows: list[Row], optimiser: str, arm: str) -> Frequency:
    """Over all settings of the rows."""
    found = [row[optimiser][arm] for row in rows]
    ratios = np.array([each["ratio"] for each in found])
    return Frequency(
        len(found), sum(each["high"] < 1 for each in found), sum(each["low"] > 1 for each in found),
        int((ratios <= 1 - HEADLINE).sum()), float(np.median(ratios)), float(np.quantile(ratios, 0.9)),
        float(ratios.max()),
    )  # fmt: skip


def table(title: str, columns: Iterable[str], cells: Callable[[str], list[str]], arms: Iterable[str]) -> list[str]:
    """One line per arm."""
    columns = ["method", *columns]
    rule = ["---", *["--:"] * (len(columns) - 1)]
    return [f"**{title}**\n", line(columns), line(rule), *(line([arm, *cells(arm)]) for arm in arms), ""]


def page(rows: list[Row], settings: list[Row], cut_off: int) -> str:
    """All tables of the rows that there are."""
    rows = merged(rows)
    arms = list(rows[0]["steps"])
    families = list(dict.fromkeys(row["family"] for row in rows))
    base = chosen(rows, methods.BASE)
    seeds = len(base[0]["steps"]["grpo"]["0.9"])

    def means(parts: Iterable[tuple[list[Row], str]]) -> Callable[[str], list[str]]:
        return lambda arm: [str(geometric_mean(some, arm, part, cut_off)) for some, part in parts]

    trap = ("shared tokens",)
    by_optimiser = {name: chosen(rows, methods.BASE, name) for name in OPTIMISERS}
    columns = ["both, 90 %: primary", *(f"{name}, {part} %" for part in (90, 97) for name in OPTIMISERS),
               *(f"{name}, 90 %, without shared tokens" for name in OPTIMISERS)]  # fmt: skip
    parts = [(base, "0.9"), *((by_optimiser[name], part) for part in ("0.9", "0.97") for name in OPTIMISERS),
             *((chosen(rows, methods.BASE, name, trap), "0.9") for name in OPTIMISERS)]  # fmt: skip
    lines = [HEADER, *table(f"Mean over families, {seeds} seeds", columns, means(parts), arms)]
    for name, some in by_optimiser.items():
        for part in ("0.9", "0.97"):
            title = (
                f"{name}, steps to {float(part):.0%}".replace("%", " %")
                + f" of the best reachable reward, {seeds} seeds"
            )
            lines += table(title, families, lambda arm, some=some, part=part: [  # type: ignore[misc]
                ratio(row, arm, part, cut_off) for row in some], arms)  # fmt: skip
    variants = [variant for variant in methods.VARIANTS if all(chosen(rows, variant, each) for each in OPTIMISERS)]
    for name in OPTIMISERS:
        some = [chosen(rows, variant, name) for variant in variants]
        counts = [f"{variant} ({len(each)} families, {len(each[0]['steps']['grpo']['0.9'])} seeds)"
                  for variant, each in zip(variants, some, strict=True)]  # fmt: skip
        lines += table(f"{name}, mean over families, 90 %", counts, means([(each, "0.9") for each in some]), arms)
    for name in OPTIMISERS:
        lines += table(
            f"{name}, {len(settings)} random settings",
            ("helps", "hurts", "47.9 % fewer", "median", "worst tenth from", "worst"),
            lambda arm, name=name: frequency(settings, name, arm).cells(),  # type: ignore[misc]
            [arm for arm in METHODS if settings and arm in settings[0][name] and arm != "grpo"],
        )
    return "\n".join(lines)


def main(quick: Annotated[bool, typer.Option("--quick", help="Of the rows of the quick runs.")] = False) -> None:
    """Print the page."""
    paths = (methods.QUICK, random_settings.QUICK) if quick else (methods.RESULTS, random_settings.RESULTS)
    rows, settings = (ResultsFile(path).rows() for path in paths)
    print(page(rows, settings, methods.CUT_OFF))


if __name__ == "__main__":
    typer.run(main)
