"""Where the simulation places the families: the exact policy from each start's shares, before any training is run.

python -m study.training.placement

A way's share is the chance of its right text, as the start has it; errors of arithmetic share the rest, as several ways
that pay nothing. Similarity is the lexical embedder's: 1 within a way, whose texts are equal, and its mean across.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from mmr_kernels.embedders import LexicalEmbedder
from study.results_file import ResultsFile, ResultsPath
from study.simulation import arms, families, intervals
from study.simulation.running import STEPS, steps_to_target
from study.training import policy
from study.training.evaluation import Evaluation
from study.training.problems import FAMILIES, Family, problems

ARMS = ("grpo", "mmr", "mmr batch, prompts apart", "smi", "score", "score, fading", "random")
KINDS_OF_ERRORS = 4


def simulated(family: Family) -> families.Family:
    """The family as the simulation has them."""
    right = Evaluation(family, problems()[1], policy.tokenizer()).shares(policy.start(family)).tolist()
    unpaid = [way.share for way in family.ways if way.pays == 0]
    left = 1 - sum(right) - sum(unpaid)
    shares = np.array([*right, *unpaid, *[left / KINDS_OF_ERRORS] * KINDS_OF_ERRORS])
    success = [*[way.pays for way in family.paid], *[0.0] * (len(shares) - len(family.paid))]
    return families.Family(tuple((shares / shares.sum()).tolist()), tuple(success))


def across(family: Family) -> float:
    """Mean similarity of the right texts of two ways, as token ids."""
    names, embedder = policy.tokenizer(), LexicalEmbedder()
    found = []
    for problem in problems()[1][:100]:
        rows = embedder.embed_tokens([names(f"{text}<eos>")["input_ids"] for text in family.answers(problem)])
        found += (rows @ rows.T)[*torch.triu_indices(len(rows), len(rows), 1)].clamp(min=0).tolist()
    return float(np.mean(found)) if found else 0.0


def main(
    seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm.")] = 128,
    results: ResultsPath = None,
) -> None:
    """Steps of each arm on each family, and their ratio to GRPO's."""
    torch.set_num_threads(1)
    rows = []
    title = f"steps to {families.PART:.0%} of the best reachable reward, at most {STEPS}; {seeds} seeds"
    table = Table("family", "arm", "steps (95 % interval)", "× GRPO", title=title)
    for family in FAMILIES.values():
        setting = families.Setting(within=1.0, across=across(family))
        met, base = simulated(family), None
        for name in ARMS:
            taken = steps_to_target(met, arms.ARMS[name], setting, list(range(seeds)))
            base = taken if base is None else base
            steps, ratio = intervals.of_median(taken, STEPS), intervals.of_ratio(taken, base, STEPS)
            rows.append({"family": family.name, "arm": name, "across": setting.across, **asdict(steps), "ratio": ratio})
            table.add_row(family.name, name, str(steps), f"{ratio[0]:.2f} ({ratio[1]:.2f}–{ratio[2]:.2f})")
    Console(width=120).print(table)
    ResultsFile(results, seeds=f"0 to {seeds - 1}").write(rows)


if __name__ == "__main__":
    typer.run(main)
