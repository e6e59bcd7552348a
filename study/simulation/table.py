"""``python -m study.simulation.table``: steps to 90 % of the best reachable reward, for each family and arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, NamedTuple

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from study.results_file import ResultsFile, ResultsPath, Row
from study.simulation import intervals, theory
from study.simulation.arms import ABLATIONS, ARMS
from study.simulation.families import FAMILIES, Family, Setting, rare_best
from study.simulation.running import LENGTH, RATE, STEPS, steps_to_target

KNOWN = ARMS | ABLATIONS
FEW = ("grpo", "mmr", "score", "score, fading", "smi", "entropy")
OTHER_RATES = (1.0, 3.0, 10.0)
#: Success of the six ways of the first family that have no name: its first row hangs on them most.
OTHERS = (0.0, 0.1, 0.2, 0.29, 0.4)


class Block(NamedTuple):
    """Arms that run on the same family and setting; the first is the base of the ratios."""

    section: str
    name: str
    family: Family
    arms: Iterable[str] = ARMS
    setting: Setting = Setting()
    rate: float = RATE


def blocks(quick: bool) -> list[Block]:
    """All runs, or those of the table alone."""
    named = FAMILIES.items()
    found = [Block("table", name, family) for name, family in named]
    if quick:
        return found
    found += [Block("rates", name, family, rate=rate) for rate in OTHER_RATES for name, family in named]
    found += [Block("others", f"others {other:g}", rare_best(others=other), FEW) for other in OTHERS]
    found += [
        Block("graded rewards", f"{name}, noise {noise:g}", family, FEW, Setting(graded=True, noise=noise))
        for noise in (0.1, 0.3)
        for name, family in named
    ]
    return found + [Block("ablations", name, family, ("grpo", "mmr", *ABLATIONS)) for name, family in named]


def results(block: Block, seeds: int) -> Iterable[Row]:
    """One row per arm."""
    base = None
    for name in block.arms:
        arm = KNOWN[name]
        steps = steps_to_target(block.family, arm, block.setting, list(range(seeds)), rate=block.rate)
        base = steps if base is None else base
        ratio = intervals.of_ratio(steps, base, STEPS)
        predicted = None
        if theory.known(arm, block.setting):
            predicted = theory.predicted_steps(block.family, arm, block.setting, rate=block.rate)
        yield {"section": block.section, "family": block.name, "arm": name, "rate": block.rate,
               **asdict(intervals.of_median(steps, STEPS)),
               "ratio": ratio[0], "ratio_low": ratio[1], "ratio_high": ratio[2], "predicted": predicted}  # fmt: skip


def drifts(groups: int) -> Iterable[Row]:
    """The expected policy gradient at the start, in closed form and sampled with the op, for every way."""
    for name, family in FAMILIES.items():
        p, success = family.logits().exp(), torch.tensor(family.success, dtype=torch.float64)
        for label in ("mmr", "score", "Dr. GRPO, mmr", "Dr. GRPO, score"):
            mean, error = theory.sampled_drift(p, success, KNOWN[label], Setting(), groups)
            predicted = theory.drift(p, success, KNOWN[label], Setting())
            yield {"section": "drifts", "family": name, "arm": label, "groups": groups,
                   "predicted": predicted.tolist(), "sampled": mean.tolist(),
                   "standard_error": error.tolist()}  # fmt: skip


def table_of_drifts(rows: Iterable[Row]) -> Table:
    """The first two ways, and the largest difference over all ways."""
    columns = ("family", "arm", "first way", "second way", "largest difference", "standard error")
    table = Table(*columns, title="expected policy gradient at the start: closed form / sampled with the op")
    for row in rows:
        both = list(zip(row["predicted"], row["sampled"], strict=True))
        first, second = (f"{told:.4f} / {drawn:.4f}" for told, drawn in both[:2])
        table.add_row(row["family"], row["arm"], first, second, f"{max(abs(a - b) for a, b in both):.4f}",
                      f"{max(row['standard_error']):.4f}")  # fmt: skip
    return table


def best_rates(rows: list[Row]) -> list[Row]:
    """Each family and arm at the learning rate with the lowest median, of those that lose at most 5 % of the runs."""
    found = []
    for family in FAMILIES:
        for arm in ARMS:
            tried = [row for row in rows if row["section"] in ("table", "rates")
                     and (row["family"], row["arm"]) == (family, arm)]  # fmt: skip
            safe = [row for row in tried if row["cut_off"] <= 0.05 * row["seeds"]]
            if safe:
                found.append(min(safe, key=lambda row: row["median"]))
    return found


def table_of_steps(title: str, rows: Iterable[Row]) -> Table:
    """One line per row."""
    columns = ("family", "arm", "rate", "steps (95 % interval)", "× base", "predicted")
    table = Table(*columns, title=f"{title}: steps to 90 % of the best reachable reward")
    for row in rows:
        steps = intervals.Steps(*(row[key] for key in ("median", "low", "high", "cut_off", "seeds")))
        ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f}–{row['ratio_high']:.2f})"
        predicted = "" if row["predicted"] is None else f"{row['predicted']:.0f}"
        table.add_row(row["family"], row["arm"], f"{row['rate']:g}", str(steps), ratio, predicted)
    return table


def main(
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm.")] = 512,
    quick: Annotated[bool, typer.Option("--quick", help="The table alone, with 64 seeds.")] = False,
    results_path: ResultsPath = None,
) -> None:
    """Print the tables of study/simulation.md."""
    torch.set_num_threads(1)
    seeds = 64 if quick else seeds
    with Progress(console=Console(stderr=True)) as progress:
        todo = progress.track(blocks(quick), description="simulating")
        rows = [row for block in todo for row in results(block, seeds)]
    console = Console(width=140)
    for section in dict.fromkeys(row["section"] for row in rows):
        console.print(table_of_steps(section, (row for row in rows if row["section"] == section)))
    if not quick:
        console.print(table_of_steps("best rates", best_rates(rows)))
    sampled = list(drifts(20_000 if quick else 200_000))
    console.print(table_of_drifts(sampled))
    file = ResultsFile(results_path, seeds=f"0 to {seeds - 1}", steps=STEPS, schedule_length=LENGTH)
    file.write(rows + sampled)


if __name__ == "__main__":
    typer.run(main)
