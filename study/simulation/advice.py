"""``python -m study.simulation.advice``: can a user tell from logs whether MMR will help? Rules on random settings.

Settings are drawn over all variables of the map (``points.at_random``); each is run to its end, and its logs of the
first steps are kept. Rules are then fitted on some settings and counted on others. Goes on where an interrupted run
stopped.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier, export_text

from study.results_file import ResultsPath, Row
from study.simulation.arms import ARMS
from study.simulation.logs import logged
from study.simulation.map import HEADLINE, MAPPED, RATE, measure, rows_file
from study.simulation.points import Point, at_random

LOGGED = 40  # steps
WINDOW = 10  # steps that a metric is averaged over
#: The features of docs/when.md.
OF_PLAIN = f"step {LOGGED}: part of the room gained by plain"
OF_COMPLETIONS = f"step {LOGGED}: reward_similarity_correlation"


def features(point: Point, seeds: int) -> dict[str, float]:
    """The logs of a setting after ``WINDOW`` steps of MMR, after ``LOGGED``, and beside a plain run."""
    family, setting, numbers = point.family(), point.setting(), list(range(seeds))
    mmr, reward_mmr = logged(family, ARMS["mmr"], setting, numbers, LOGGED, RATE)
    plain, reward_plain = logged(family, ARMS["grpo"], setting, numbers, LOGGED, RATE)
    found: dict[str, float] = {}
    for name, series in mmr.items():
        found[f"start: {name}"] = float(series[:WINDOW].nanmean())
        found[f"step {LOGGED}: {name}"] = float(series[-WINDOW:].nanmean())
        found[f"plain, step {LOGGED}: {name}"] = float(plain[name][-WINDOW:].nanmean())
    for step in (WINDOW, LOGGED):
        found[f"step {step}: reward gained by mmr"] = float(reward_mmr[step] - reward_mmr[0])
        found[f"step {step}: reward gained by plain"] = float(reward_plain[step] - reward_plain[0])
        found[f"step {step}: lead of mmr over plain"] = float(reward_mmr[step] - reward_plain[step])
    return {name: round(value, 5) for name, value in found.items()}


def features_of(row: Row) -> dict[str, float]:
    """The features of a row, with reward gained as a part of the room there was below 1, the highest reward."""
    found = dict(row["features"])
    room = 1 - found["start: reward_before"]
    for step in (WINDOW, LOGGED):
        for arm in ("mmr", "plain"):
            found[f"step {step}: part of the room gained by {arm}"] = (
                found[f"step {step}: reward gained by {arm}"] / room
            )
    return found


def clear(rows: list[Row], arm: str) -> list[Row]:
    """Settings whose interval of the ratio doesn't hold 1."""
    return [row for row in rows if row[arm]["high"] < 1 or row[arm]["low"] > 1]


def table_of(rows: list[Row], arm: str) -> Table:
    """Accuracy, and balanced accuracy, of one threshold on each feature, best first, and of a tree on first steps."""
    some = clear(rows, arm)
    helps = np.array([row[arm]["ratio"] < 1 for row in some])
    described = [features_of(row) for row in some]
    names = list(described[0])
    values = np.array([list(each.values()) for each in described])
    first = [place for place, name in enumerate(names) if name.startswith("start")]
    single = [(name, *_score(values[:, [place]], helps, 1)) for place, name in enumerate(names)]
    found = [
        ("always the more frequent answer", float(max(helps.mean(), 1 - helps.mean())), 0.5),
        *sorted(single, key=lambda line: -line[2]),
        ("tree of depth 4 on all of the first steps", *_score(values[:, first], helps, 4)),
    ]
    table = Table("from", "accuracy, held out", "balanced", title=f"does {arm} help?")
    for name, accuracy, balanced in found:
        table.add_row(name, f"{accuracy:.0%}", f"{balanced:.0%}")
    return table


def threshold(rows: list[Row], arm: str, feature: str) -> str:
    """The one threshold fitted on all clear settings."""
    some = clear(rows, arm)
    fitted = _classifier(1).fit([[features_of(row)[feature]] for row in some], [row[arm]["ratio"] < 1 for row in some])
    return str(export_text(fitted, feature_names=[feature]))


def held_out(rows: list[Row], arm: str, feature: str) -> float:
    """Accuracy of one threshold on one feature, each clear setting held out once."""
    some = clear(rows, arm)
    values = np.array([[features_of(row)[feature]] for row in some])
    return _score(values, np.array([row[arm]["ratio"] < 1 for row in some]), 1)[0]


def _classifier(depth: int) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=10, class_weight="balanced", random_state=0)


def _score(values: np.ndarray, helps: np.ndarray, depth: int) -> tuple[float, float]:
    """Accuracy, and the mean of those on settings where it helps and where it hurts, each setting held out once."""
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    said = cross_val_predict(_classifier(depth), np.nan_to_num(values), helps, cv=folds)
    right = said == helps
    return float(right.mean()), float((right[helps].mean() + right[~helps].mean()) / 2)


def shares(rows: list[Row], arm: str) -> list[str]:
    """Of the settings, those where an arm helps, hurts and reaches the headline, in percent."""
    found = [row[arm] for row in rows]
    ratios = np.array([one["ratio"] for one in found])
    parts = (np.mean([one["high"] < 1 for one in found]), np.mean([one["low"] > 1 for one in found]),
             np.mean(ratios <= 1 - HEADLINE))  # fmt: skip
    return [f"{100 * part:.1f} %" for part in parts]


def frequency(rows: list[Row]) -> list[str]:
    """The same as a line, and the quantiles of the ratios."""
    lines = []
    for arm in MAPPED:
        quarters = np.quantile([row[arm]["ratio"] for row in rows], [0.1, 0.25, 0.5, 0.75, 0.9])
        lines.append("{}: of {} settings helps {}, hurts {}, at least 47.9 % fewer steps {}; ratio at 10, 25, 50, 75,"
                     " 90 %: {}".format(arm, len(rows), *shares(rows, arm), ", ".join(f"{cut:.2f}" for cut in quarters))
        )  # fmt: skip
    return lines


def beside(rows: list[Row], one: str, other: str) -> str:
    """At how many settings the second arm takes fewer and more steps than the first, by 2 % or more."""
    ratios = np.array([row[other]["ratio"] / row[one]["ratio"] for row in rows])
    cuts = ", ".join(f"{cut:.2f}" for cut in np.quantile(ratios, [0.1, 0.5, 0.9]))
    return (
        f"{other} against {one}: fewer steps at {np.mean(ratios < 0.98):.1%}, more at {np.mean(ratios > 1.02):.1%};"
        f" ratio at 10, 50, 90 %: {cuts}"
    )


def main(
    settings: Annotated[int, typer.Option(min=50, help="Random settings.")] = 300,
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm in each.")] = 48,
    results: ResultsPath = None,
) -> None:
    """How often MMR helps over random settings, and how well rules on logged metrics tell."""
    torch.set_num_threads(1)

    def row(number: int) -> Row:
        point = at_random(number)
        found = measure(point, seeds) | {"features": features(point, min(seeds, 32))}
        return {"number": number, "point": asdict(point), **found}

    file = rows_file(results, seeds)
    rows = file.completed(range(settings), lambda row: row["number"], row, "random settings")
    console = Console(width=120)
    console.print(*frequency(rows), sep="\n")
    steps = [row["grpo"]["median"] for row in rows]
    console.print("steps of GRPO at 25, 50, 75 %:", *(f"{cut:.0f}" for cut in np.quantile(steps, [0.25, 0.5, 0.75])))
    console.print(*(beside(rows, one, other) for one, other in itertools.pairwise(MAPPED)), sep="\n")
    console.print(*(table_of(rows, arm) for arm in MAPPED))
    for feature in (OF_PLAIN, OF_COMPLETIONS):
        console.print(threshold(rows, "mmr", feature))


if __name__ == "__main__":
    typer.run(main)
