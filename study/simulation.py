"""``python -m study.simulation``: steps to 90 % of the best reachable reward, for each family and arm."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mmr_kernels.bench.record import machine, versions
from study import intervals, theory
from study.arms import ABLATIONS, ARMS, Arm
from study.families import FAMILIES, Family, Setting, rare_best
from study.running import LENGTH, RATE, STEPS, steps_to_target

#: Steps in an earlier, throwaway simulation that this one checks.
THROWAWAY = {
    "rare-best": {"grpo": "305", "mmr": "200", "mmr batch": "180–192", "mmr batch, prompts apart": "180–192",
                  "score": "180", "score, fading": "178", "smi": "165", "entropy": "166", "random": "333"},
    "one-way": {"grpo": "46", "mmr": "70", "mmr batch": "59–70", "mmr batch, prompts apart": "59–70",
                "score": "69", "score, fading": "62", "smi": "46", "entropy": "64", "random": "50"},
    "four-equal": {"grpo": "81", "mmr": "137", "mmr batch": "116–140", "mmr batch, prompts apart": "116–140",
                   "score": "137", "score, fading": "115", "smi": "104", "entropy": "122"},
    "graded": {"grpo": "105", "mmr": "135", "mmr batch": "118–135", "mmr batch, prompts apart": "118–135",
               "score": "124", "score, fading": "112", "smi": "126", "entropy": "113", "random": "119"},
}  # fmt: skip
RATES = (0.3, 1.0, 3.0, 10.0)
#: What the source of the table leaves open and moves its first row most: the success of the ways that nobody mentions.
OTHERS = (0.0, 0.1, 0.2, 0.29, 0.4)
Case = tuple[str, str, Family, Arm, Setting, float]  # section, family, ..., learning rate


def cases(quick: bool) -> list[Case]:
    """All runs; the first arm of each (section, family, setting, rate) is the base of its ratios."""
    plain = Setting()
    found: list[Case] = [
        ("table", name, family, arm, plain, RATE) for name, family in FAMILIES.items() for arm in ARMS.values()
    ]
    if quick:
        return found
    for rate in RATES[1:]:
        found += [
            ("rates", name, family, arm, plain, rate) for name, family in FAMILIES.items() for arm in ARMS.values()
        ]
    few = [ARMS[name] for name in ("grpo", "mmr", "score", "score, fading", "smi", "entropy")]
    for other in OTHERS:
        found += [("others", f"others {other:g}", rare_best(others=other), arm, plain, RATE) for arm in few]
    for noise in (0.1, 0.3):
        graded = Setting(graded=True, noise=noise)
        found += [("graded rewards", f"{name}, noise {noise:g}", family, arm, graded, RATE)
                  for name, family in FAMILIES.items() for arm in few]  # fmt: skip
    ablations = [ARMS["grpo"], ARMS["mmr"], *ABLATIONS.values()]
    found += [("ablations", name, family, arm, plain, RATE) for name, family in FAMILIES.items() for arm in ablations]
    return found


def name_of(arm: Arm) -> str:
    """As in ``ARMS`` and ``ABLATIONS``."""
    return next(name for name, known in (ARMS | ABLATIONS).items() if known == arm)


def results(todo: list[Case], seeds: int, progress: Progress) -> Iterable[dict[str, Any]]:
    """One row a case, with its ratio to the base of its block."""
    base, block = np.empty(0), None
    numbers = list(range(seeds))
    for section, name, family, arm, setting, rate in progress.track(todo, description="simulating"):
        steps = steps_to_target(family, arm, setting, numbers, rate=rate)
        if block != (section, name, rate):
            base, block = steps, (section, name, rate)
        ratio = intervals.of_ratio(steps, base, STEPS)
        predicted = None
        if theory.known(arm, setting):
            predicted = min(theory.predicted_steps([family], arm, setting, rate=rate)[0], STEPS)
        yield {"section": section, "family": name, "arm": name_of(arm), "rate": rate,
               **intervals.of_median(steps, STEPS).row(),
               "ratio": ratio[0], "ratio_low": ratio[1], "ratio_high": ratio[2], "predicted": predicted}  # fmt: skip


def drifts(groups: int = 200_000) -> list[dict[str, Any]]:
    """The expected policy gradient at the start, in closed form and sampled with the op, for every way."""
    found = []
    for name, family in FAMILIES.items():
        p, success = family.logits().exp(), torch.tensor(family.success, dtype=torch.float64)
        for label in ("mmr", "score", "Dr. GRPO, mmr", "Dr. GRPO, score"):
            arm = (ARMS | ABLATIONS)[label]
            mean, error = theory.sampled_drift(p, success, arm, Setting(), groups)
            predicted = theory.drift(p, success, arm, Setting())
            found.append({"family": name, "arm": label, "groups": groups, "predicted": predicted.tolist(),
                          "sampled": mean.tolist(), "standard_error": error.tolist()})  # fmt: skip
    return found


def show_drifts(rows: list[dict[str, Any]], console: Console) -> None:
    """The first two ways, and the largest difference over all ways."""
    table = Table(title="expected policy gradient at the start: closed form / sampled with the op")
    for column in ("family", "arm", "first way", "second way", "largest difference", "standard error"):
        table.add_column(column)
    for row in rows:
        both = list(zip(row["predicted"], row["sampled"], strict=True))
        first, second = (f"{told:.4f} / {drawn:.4f}" for told, drawn in both[:2])
        table.add_row(row["family"], row["arm"], first, second, f"{max(abs(a - b) for a, b in both):.4f}",
                      f"{max(row['standard_error']):.4f}")  # fmt: skip
    console.print(table)


def best_rates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each family and arm at the learning rate with the lowest median, of those that lose at most 5 % of the runs."""
    found = []
    for family in FAMILIES:
        for arm in ARMS:
            tried = [row for row in rows if row["section"] in ("table", "rates")
                     and (row["family"], row["arm"]) == (family, arm)]  # fmt: skip
            safe = [row for row in tried if row["cut_off"] <= 0.05 * row["seeds"]]
            if safe:
                found.append(min(safe, key=lambda row: row["median"]) | {"section": "best rates"})
    return found


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """A table for each section."""
    for section in dict.fromkeys(row["section"] for row in rows):
        table = Table(title=f"{section}: steps to 90 % of the best reachable reward")
        for column in ("family", "arm", "rate", "steps (95 % interval)", "× base", "predicted", "throwaway"):
            table.add_column(column)
        for row in (row for row in rows if row["section"] == section):
            steps = intervals.Steps(*(row[key] for key in ("median", "low", "high", "cut_off", "seeds")))
            ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f}–{row['ratio_high']:.2f})"
            told = "" if row["predicted"] is None else f"{row['predicted']:.0f}"
            before = THROWAWAY.get(row["family"], {}).get(row["arm"], "") if section == "table" else ""
            table.add_row(row["family"], row["arm"], f"{row['rate']:g}", str(steps), ratio, told, before)
        console.print(table)


def save(path: Path, rows: list[dict[str, Any]], seeds: int, **more: object) -> None:
    """Written beside and then moved, so that nothing half written is left."""
    run_as = sys.modules["__main__"].__spec__
    module = run_as.name if run_as else Path(sys.argv[0]).stem
    command = f"python -m {module} {shlex.join(sys.argv[1:])}".strip()
    content = {"command": command, "machine": machine(), "versions": versions(), "seeds": f"0 to {seeds - 1}",
               **more}  # fmt: skip
    beside = path.with_suffix(".part")
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    head = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
    beside.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n')
    beside.replace(path)


def main(
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each case.")] = 512,
    quick: Annotated[bool, typer.Option("--quick", help="The table alone, with 64 seeds.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
) -> None:
    """Steps to 90 % of the best reachable reward, for each family and arm, beside the throwaway simulation's."""
    torch.set_num_threads(1)
    seeds = 64 if quick else seeds
    console = Console(width=140)
    with Progress(console=Console(stderr=True)) as progress:
        rows = list(results(cases(quick), seeds, progress))
    if not quick:
        rows += best_rates(rows)
    show(rows, console)
    checked = drifts(20_000 if quick else 200_000)
    show_drifts(checked, console)
    if json_path:
        save(json_path, rows, seeds, steps=STEPS, schedule_length=LENGTH, drifts=checked)


if __name__ == "__main__":
    typer.run(main)
