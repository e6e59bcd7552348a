"""From rows to tables: the analysis that study/pretrained.md fixes before the runs.

python -m study.pretrained.report study/results/pretrained.jsonl
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from study.results_file import ResultsFile, Row
from study.training.rows import accuracy
from study.training.statistics import holm, interval, paired_p, ratio

PLAIN, PRIMARY = "plain", "share, dial"
BONUS = "plain, entropy bonus"
WAYS = ("direct", "worked")
COLUMNS = ("arm", "mean accuracy", "of plain's", "p", "of the bonus's", "p", "at the end", "worked", "reward",
           "entropy", "distinct")  # fmt: skip


def mean_accuracy(rows: list[Row]) -> np.ndarray:
    """(seeds,): the chance of a right answer on held-out problems, mean over the run's evaluations."""
    return np.array([accuracy(row).mean() for row in rows])


def last(rows: list[Row], curve: str) -> float:
    """Mean over seeds of a curve's last value."""
    return float(np.mean([row["curves"][curve][-1] for row in rows]))


def whole_seeds(rows: list[Row]) -> dict[str, list[Row]]:
    """By arm, the rows of the seeds that every arm has, in one order."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    by_seed: dict[int, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_seed[row["seed"]][row["arm"]] = row
    whole = [by_seed[seed] for seed in sorted(by_seed) if len(by_seed[seed]) == len(arms)]
    return {arm: [of_seed[arm] for of_seed in whole] for arm in arms}


def against(ones: np.ndarray, others: np.ndarray, seeds: int) -> tuple[str, float]:
    """The ratio of two arms' mean accuracies, and its exact p."""
    return ratio(ones, others).text(3), paired_p(ones, others) if seeds > 1 else 1.0


def table(family: str, rows: list[Row]) -> list[str]:
    """The table of one family. The control is the bonus with the highest mean, so that its choice favours it."""
    runs = whole_seeds(rows)
    means = {arm: mean_accuracy(of_arm) for arm, of_arm in runs.items()}
    control = max((arm for arm in runs if arm.startswith(BONUS)), key=lambda arm: means[arm].mean())
    seeds, first = len(means[PLAIN]), runs[PLAIN][0]
    pairs = [(arm, base) for base in (PLAIN, control) for arm in runs if arm not in (PLAIN, control)]
    found = {pair: against(means[pair[0]], means[pair[1]], seeds) for pair in [(control, PLAIN), *pairs]}
    secondary = [pair for pair in found if pair[0] != PRIMARY]
    corrected = dict(zip(secondary, holm([found[pair][1] for pair in secondary]), strict=True))
    start = ", ".join(f"{way} {share:.3f}" for way, share in zip(WAYS, first["curves"]["shares"][0], strict=True))
    lines = [
        f"**{family}**: {seeds} seeds × {first['steps']} steps, the control {control!r}; right at the start: {start}\n",
        f"| {' | '.join(COLUMNS)} |",
        f"| --- |{' --: |' * (len(COLUMNS) - 1)}",
    ]
    for arm, of_arm in runs.items():
        cells = [arm, interval(means[arm]).text(3)]
        for pair in ((arm, PLAIN), (arm, control)):
            text, p = found.get(pair, ("", 1.0))
            holms = f" ({corrected[pair]:.2g})" if pair in corrected else ""
            cells += [text, f"{p:.2g}{holms}" if text else ""]
        worked = np.mean([row["curves"]["shares"][-1][WAYS.index("worked")] for row in of_arm])
        cells += [f"{last(of_arm, 'accuracy'):.3f}", f"{worked:.3f}", f"{last(of_arm, 'reward'):.3f}"]
        cells += [f"{last(of_arm, 'entropy'):.3f}", f"{last(of_arm, 'distinct'):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def report(rows: list[Row]) -> str:
    """The tables, one per family."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        families[row["family"]].append(row)
    return "\n".join(line for family, of_family in families.items() for line in [*table(family, of_family), ""])


def main(results: Annotated[Path, typer.Argument(help="JSON Lines that a study wrote.")]) -> None:
    """Print the tables."""
    print(report(ResultsFile(results).rows()))


if __name__ == "__main__":
    typer.run(main)
