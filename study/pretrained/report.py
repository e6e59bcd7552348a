"""From rows to tables: the analysis that study/pretrained.md fixes before the runs.

python -m study.pretrained.report study/results/pretrained.jsonl > study/pretrained-results.md
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from mmr_kernels.bench.table import Table
from study.results_file import ResultsFile, Row
from study.training.rows import accuracy
from study.training.statistics import holm, interval, paired_p, ratio

HEADER = """# Results of training from a pretrained start

`python -m study.pretrained.report study/results/pretrained.jsonl > study/pretrained-results.md` makes this page from
[the rows](results/pretrained.jsonl); [pretrained.md](pretrained.md) says what was planned, and what this means. *Mean
accuracy* is over a run's evaluations, its start among them. *Gain* is what it has more than the start, × the part of
plain training's gain that this is, on the same seeds: where plain training itself loses, × above 1 is a larger loss.
Ratios are geometric means over pairs of a seed; brackets behind a p hold it after Holm's correction, those of the
primary outcome have none. *Control* is the entropy bonus with the highest mean. Columns after the second p hold means
at the end of a run.
"""
PLAIN, PRIMARY = "plain", "share, dial"
PRIMARY_FAMILY = "3 terms"
BONUS = "plain, entropy bonus"
WAYS = ("direct", "worked")
AT_THE_END = ("accuracy", "reward", "entropy", "distinct")
COLUMNS = ("arm", "seeds", "mean accuracy", "gain", "of plain's", "p", "of the control's", "p", "worked", *AT_THE_END)


def mean_accuracy(row: Row) -> float:
    """The chance of a right answer to a held-out problem, mean over the run's evaluations."""
    return float(accuracy(row).mean())


def gain(ones: dict[int, Row], others: dict[int, Row]) -> str:
    """What an arm's mean accuracy has more than the start, and its part of another's, on the seeds that both have."""
    own, base = (
        float(np.mean([mean_accuracy(arm[seed]) - accuracy(arm[seed])[0] for seed in ones.keys() & others.keys()]))
        for arm in (ones, others)
    )
    # A run of a few steps may leave plain training where it began.
    return f"{own:+.3f}" if ones is others or base == 0 else f"{own:+.3f}, ×{own / base:.2f}"


def against(ones: dict[int, Row], others: dict[int, Row]) -> tuple[str, float]:
    """The ratio of two arms' mean accuracies on the seeds that both have, as text, and its exact p."""
    seeds = sorted(ones.keys() & others.keys())
    pair = tuple(np.array([mean_accuracy(arm[seed]) for seed in seeds]) for arm in (ones, others))
    return ratio(*pair).text(3), paired_p(*pair)


def table(family: str, rows: list[Row]) -> str:
    """The table of one family. The control is the bonus with the highest mean, so that its choice favours it."""
    runs: dict[str, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        runs[row["arm"]][row["seed"]] = row
    means = {arm: np.array([mean_accuracy(row) for row in of_arm.values()]) for arm, of_arm in runs.items()}
    control = max((arm for arm in runs if arm.startswith(BONUS)), key=lambda arm: means[arm].mean())
    pairs = [(arm, base) for base in (PLAIN, control) for arm in runs if arm not in (PLAIN, base)]
    found = {(arm, base): against(runs[arm], runs[base]) for arm, base in pairs}
    secondary = [pair for pair in pairs if (family, pair[0]) != (PRIMARY_FAMILY, PRIMARY)]
    corrected = dict(zip(secondary, holm([found[pair][1] for pair in secondary]), strict=True))
    start = ", ".join(f"{way} {share:.3f}" for way, share in zip(WAYS, rows[0]["curves"]["shares"][0], strict=True))
    title = f"**{family}**, {rows[0]['steps']} steps; the control is {control!r}; right at the start: {start}"
    body = []
    for arm, of_arm in runs.items():
        cells = [arm, str(len(of_arm)), interval(means[arm]).text(3), gain(of_arm, runs[PLAIN])]
        for pair in ((arm, PLAIN), (arm, control)):
            text, p = found.get(pair, ("", 1.0))
            holms = f" ({corrected[pair]:.2g})" if pair in corrected else ""
            cells += [text, f"{p:.2g}{holms}" if text else ""]
        ends = [{name: curve[-1] for name, curve in row["curves"].items()} for row in of_arm.values()]
        cells.append(f"{np.mean([end['shares'][WAYS.index('worked')] for end in ends]):.3f}")
        cells += [f"{np.mean([end[name] for end in ends]):.3f}" for name in AT_THE_END]
        body.append(cells)
    return f"{title}\n\n{Table('', COLUMNS, body).markdown()}\n"


def report(rows: list[Row]) -> str:
    """The tables, one per family."""
    families: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        families[row["family"]].append(row)
    return "\n".join(table(family, of_family) for family, of_family in families.items())


def page(rows: list[Row]) -> str:
    """The tables, and what they hold."""
    return f"{HEADER}\n{report(rows)}".rstrip("\n")


def main(results: Annotated[Path, typer.Argument(help="JSON Lines that a study wrote.")]) -> None:
    """Print the page."""
    print(page(ResultsFile(results).rows()))


if __name__ == "__main__":
    typer.run(main)
