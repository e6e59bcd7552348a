"""``python -m bench.convergence.advice``: can a user tell from logs whether MMR will help? Rules on random settings.

Settings are drawn over all variables of the map (``points.at_random``); each is run to its end, and its logs of the
first steps are kept. Rules are then fitted on some settings and counted on others. Goes on where an interrupted run
stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier, export_text

from bench.convergence.arms import ARMS
from bench.convergence.logs import logged
from bench.convergence.map import CUT_OFF, HEADLINE, LENGTH, MAPPED, RATE, kept, measure
from bench.convergence.points import Point, at_random
from bench.convergence.simulation import save

LOGGED = 40  # steps
WINDOW = 10  # steps that a metric is averaged over


def features(point: Point, seeds: int) -> dict[str, float]:
    """What is known of a setting after ``WINDOW`` steps of MMR, after ``LOGGED``, and beside a plain run."""
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
    return {name: value for name, value in found.items() if "lambda" not in name or not np.isnan(value)}


def rules(rows: list[dict[str, Any]], arm: str) -> Table:
    """Balanced and plain accuracy of one threshold on each feature, and of small trees on kinds of features."""
    clear = [row for row in rows if row[arm]["high"] < 1 or row[arm]["low"] > 1]
    helps = np.array([row[arm]["ratio"] < 1 for row in clear])
    names = list(clear[0]["features"])
    values = np.array([[row["features"][name] for name in names] for row in clear])
    start = [place for place, name in enumerate(names) if name.startswith("start")]
    own = [place for place, name in enumerate(names) if not (name.startswith("plain") or "plain" in name)]
    table = Table(title=f"does {arm} help? {len(clear)} clear settings, helps in {helps.mean():.0%}")
    for column in ("from", "accuracy, held out", "balanced"):
        table.add_column(column)
    table.add_row("always the more frequent answer", f"{max(helps.mean(), 1 - helps.mean()):.0%}", "50%")
    lines = [(name, _score(values[:, [place]], helps, 1)) for place, name in enumerate(names)]
    for name, score in sorted(lines, key=lambda line: -line[1][1])[:12]:
        table.add_row(name, f"{score[0]:.0%}", f"{score[1]:.0%}")
    for name, some in (("start", start), ("mmr run alone", own), ("both runs", list(range(len(names))))):
        for depth in (2, 4):
            score = _score(values[:, some], helps, depth)
            table.add_row(f"tree of depth {depth}: {name}", f"{score[0]:.0%}", f"{score[1]:.0%}")
    return table


def tree(rows: list[dict[str, Any]], arm: str, kind: str, depth: int = 2) -> str:
    """The tree fitted on all clear settings, of features whose names start so."""
    clear = [row for row in rows if row[arm]["high"] < 1 or row[arm]["low"] > 1]
    names = [name for name in clear[0]["features"] if name.startswith(kind)]
    values = np.array([[row["features"][name] for name in names] for row in clear])
    fitted = _classifier(depth).fit(values, [row[arm]["ratio"] < 1 for row in clear])
    return str(export_text(fitted, feature_names=names))


def _classifier(depth: int) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=depth, min_samples_leaf=10, class_weight="balanced", random_state=0)


def _score(values: np.ndarray, helps: np.ndarray, depth: int) -> tuple[float, float]:
    """Accuracy, and the mean of those on settings where it helps and where it hurts, each setting held out once."""
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    said = cross_val_predict(_classifier(depth), np.nan_to_num(values), helps, cv=folds)
    right = said == helps
    return float(right.mean()), float((right[helps].mean() + right[~helps].mean()) / 2)


def frequency(rows: list[dict[str, Any]]) -> list[str]:
    """How often each arm helps, hurts and reaches the headline over the random settings."""
    lines = []
    for arm in MAPPED:
        ratios = np.array([row[arm]["ratio"] for row in rows])
        quarters = ", ".join(f"{cut:.2f}" for cut in np.quantile(ratios, [0.1, 0.25, 0.5, 0.75, 0.9]))
        lines.append(f"{arm}: of {len(rows)} settings helps {np.mean([row[arm]['high'] < 1 for row in rows]):.1%},"
                     f" hurts {np.mean([row[arm]['low'] > 1 for row in rows]):.1%},"
                     f" at least 47.9 % fewer steps {np.mean(ratios <= 1 - HEADLINE):.1%};"
                     f" ratio at 10, 25, 50, 75, 90 %: {quarters}")  # fmt: skip
    return lines


def main(
    settings: Annotated[int, typer.Option(min=50, help="Random settings.")] = 300,
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm in each.")] = 48,
    json_path: Annotated[Path | None, typer.Option("--json", help="Rows: written here, and kept from here.")] = None,
) -> None:
    """How often MMR helps over random settings, and how well rules on logged metrics tell."""
    torch.set_num_threads(1)
    rows = kept(json_path, seeds)[:settings]
    with Progress(console=Console(stderr=True)) as progress:
        for number in progress.track(range(settings), description="random settings"):
            if number < len(rows):
                continue
            point = at_random(number)
            found = measure(point, seeds) | {"features": features(point, min(seeds, 32))}
            rows.append({"number": number, "point": point.row(), **found})
            if json_path and (len(rows) % 10 == 0 or len(rows) == settings):
                save(json_path, rows, seeds, rate=RATE, steps=CUT_OFF, schedule_length=LENGTH)
    console = Console(width=120)
    console.print(*frequency(rows), sep="\n")
    for arm in MAPPED:
        console.print(rules(rows, arm))
    for kind in ("start", "step"):
        console.print(tree(rows, "mmr", kind))


if __name__ == "__main__":
    typer.run(main)
