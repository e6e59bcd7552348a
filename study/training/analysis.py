"""From the rows of the study to its tables: steps, time and peak against the plain arm, paired by seed.

python -m study.training.analysis > study/tables.md
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from scipy.stats import bootstrap

from mmr_kernels.bench.record import machine, versions
from study.training import plan, results
from study.training.arms import ARMS, plain_of
from study.training.problems import FAMILIES
from study.training.results import Row, accuracy, steps_to
from study.training.study import RESULTS

HEADER = """# All arms of the training study

Made by `python -m study.training.analysis`; [convergence.md](README.md) says what was run, how it is
measured, and what follows. Steps are to 95 % of the plain arm's peak on the same seed, brackets 95 % intervals over
seeds; ≥ where some runs did not arrive and count with their length.
"""
PACKAGES = ("trl", "transformers")
Interval = tuple[float, float, float]  # mean, and its bootstrap 95 % interval


class Comparison(NamedTuple):
    """An arm against the plain one of its family, loss and grade, on the same seeds."""

    family: str
    loss: str
    arm: str
    learning_rate: float
    seeds: int
    reached: int  # runs that came to the level; the others count with their whole length, so steps are a lower bound
    steps: Interval
    steps_ratio: Interval  # geometric mean of arm / plain
    time_ratio: Interval  # the same of processor seconds
    peak: float
    peak_difference: Interval
    final: float
    #: Runs whose reward rose over what the way most common at the start can pay; None if one way pays.
    beyond: int | None


def interval(values: np.ndarray) -> Interval:
    """The mean and its interval over seeds."""
    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return mean, mean, mean
    random = np.random.default_rng(0)
    found = bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=random).confidence_interval
    return mean, float(found.low), float(found.high)


def ratio(ones: np.ndarray, others: np.ndarray) -> Interval:
    """Geometric mean of ones / others, and its interval."""
    mean, low, high = np.exp(interval(np.log(ones / others)))
    return float(mean), float(low), float(high)


def seconds_a_step(row: Row) -> float:
    """Processor seconds of training, without evaluation."""
    return float(row["processor_seconds"]) / float(row["steps"])


def capped_steps(row: Row, level: float) -> float:
    """Steps to the level, the run's length where it was not reached; at least one, for ratios."""
    return max(1.0, min(steps_to(row, level), float(row["steps"])))


def beyond(family: str, peaks: np.ndarray) -> int | None:
    """How many runs found more than the most common way that pays."""
    paid = FAMILIES[family].paid
    common = max(paid, key=lambda way: way.share)
    return int((peaks > common.pays).sum()) if len(paid) > 1 else None


def compare(rows: list[Row], family: str, loss: str, arm: str) -> Comparison | None:
    """The arm against its plain one, on the seeds that both have; None if there are none."""
    ones, others = plan.of_study(rows, family, loss, arm), plan.of_study(rows, family, loss, plain_of(arm))
    seeds = sorted(set(ones) & set(others))
    if not seeds:
        return None
    levels = {seed: plan.LEVEL * accuracy(others[seed]).max() for seed in seeds}
    steps = np.array([capped_steps(ones[seed], levels[seed]) for seed in seeds])
    base = np.array([capped_steps(others[seed], levels[seed]) for seed in seeds])
    cost = np.array([seconds_a_step(ones[seed]) / seconds_a_step(others[seed]) for seed in seeds])
    peaks = np.array([accuracy(ones[seed]).max() for seed in seeds])
    return Comparison(
        family,
        loss,
        arm,
        ones[seeds[0]]["learning_rate"],
        len(seeds),
        sum(steps_to(ones[seed], levels[seed]) < np.inf for seed in seeds),
        interval(steps),
        ratio(steps, base),
        ratio(steps * cost, base),
        float(peaks.mean()),
        interval(peaks - np.array([accuracy(others[seed]).max() for seed in seeds])),
        float(np.mean([accuracy(ones[seed])[-1] for seed in seeds])),
        beyond(family, peaks),
    )


def comparisons(rows: list[Row]) -> list[Comparison]:
    """All that the rows hold."""
    keys = dict.fromkeys((row["family"], row["loss"], row["arm"]) for row in rows if row["seed"] in plan.SEEDS)
    order = {name: place for place, name in enumerate(ARMS)}
    losses = list(dict.fromkeys(loss for _, loss, _ in keys))
    ordered = sorted(keys, key=lambda key: (key[0], losses.index(key[1]), order[key[2]]))
    return [found for key in ordered if (found := compare(rows, *key))]


def seeds_needed(rows: list[Row], family: str) -> float:
    """Seeds that show a 10 % difference in steps at 5 % with 80 % power, from the spread of paired pilots of MMR."""
    rates = plan.chosen_rates(rows)
    pilots = {
        (row["arm"], row["seed"]): row
        for row in rows
        if row["seed"] in plan.PILOT_SEEDS
        and row["family"] == family
        and row["learning_rate"] == rates[family, row["arm"]]
    }
    logs = []
    for seed in plan.PILOT_SEEDS:
        level = plan.LEVEL * accuracy(pilots["plain", seed]).max()
        for arm in ("MMR", "MMR, first pick by score"):
            one, other = (capped_steps(pilots[name, seed], level) for name in (arm, "plain"))
            logs.append((arm, np.log(one / other)))
    spread = np.mean([np.var([log for name, log in logs if name == arm], ddof=1) for arm, _ in logs]) ** 0.5
    return float(((1.96 + 0.84) * spread / np.log(1 / 0.9)) ** 2)


def room_gained(rows: list[Row], family: str) -> Interval:
    """What a plain run has gained after a third of its steps, of the room from its start to 1; the mean over seeds.

    study/simulation.md: at most 0.21, and MMR is likely to help.
    """
    curves = [(row["curves"]["step"], accuracy(row)) for row in plan.of_study(rows, family, "GRPO", "plain").values()]
    third = [(float(np.interp(steps[-1] / 3, steps, curve)), curve[0]) for steps, curve in curves]
    return interval(np.array([(now - start) / (1 - start) for now, start in third]))


def markdown(found: list[Comparison]) -> str:
    """One table a family."""
    lines: list[str] = []
    for family in dict.fromkeys(each.family for each in found):
        lines += [
            f"\n**{family}**\n",
            "| loss | arm | rate | reached | steps | steps, of plain's | time, of plain's | peak | against plain's"
            " | beyond |",
            "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |",
        ]
        for each in found:
            if each.family != family:
                continue
            bound = "≥ " if each.reached < each.seeds else ""
            steps, by, time, peak = (each.steps, each.steps_ratio, each.time_ratio, each.peak_difference)
            lines.append(
                f"| {each.loss} | {each.arm} | {each.learning_rate:.0e} | {each.reached}/{each.seeds}"
                f" | {bound}{steps[0]:.0f} ({steps[1]:.0f}–{steps[2]:.0f})"
                f" | {bound}{by[0]:.2f} ({by[1]:.2f}–{by[2]:.2f})"
                f" | {bound}{time[0]:.2f} ({time[1]:.2f}–{time[2]:.2f}) | {each.peak:.3f}"
                f" | {peak[0]:+.3f} ({peak[1]:+.3f} to {peak[2]:+.3f}) | {'' if each.beyond is None else each.beyond} |"
            )
    return "\n".join(lines)


def main(
    results_path: Annotated[Path, typer.Option("--results", help="What the study wrote.")] = RESULTS,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Compare every arm with its plain one."""
    rows = results.read(results_path)
    found = comparisons(rows)
    print(HEADER + markdown(found))
    needed = {family: seeds_needed(rows, family) for family in plan.PILOTED}
    shown = ", ".join(f"{count:.0f} on {family}" for family, count in needed.items())
    print(f"\nSeeds that a 10 % difference in steps needs, at 5 % and a power of 80 %: {shown}.\n")
    gained = {family: room_gained(rows, family) for family in dict.fromkeys(each.family for each in found)}
    for family, (mean, low, high) in gained.items():
        print(f"{family}: plain gained {mean:.2f} ({low:.2f}–{high:.2f}) of the room to 1 in a third of its run.\\")
    if json_path:
        report = {"comparisons": [each._asdict() for each in found], "seeds_needed": needed, "room_gained": gained}
        used = versions() | {name: importlib.metadata.version(name) for name in PACKAGES}
        report |= {"command": "make convergence", "machine": machine(), "versions": used, "seeds": list(plan.SEEDS)}
        json_path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    typer.run(main)
