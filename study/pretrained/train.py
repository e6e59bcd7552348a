"""Train the small policy with TRL, every arm on every seed; a run whose row is there already is not run again.

python -m study.pretrained.train
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.pretrained.policy import FAMILIES, PARTS, start, tokenizer
from study.pretrained.problems import ExactAnswer
from study.results_file import Row
from study.training.arms import ARMS
from study.training.evaluation import Evaluation
from study.training.rows import Run, results_file, run_of
from study.training.run import GROUP_SIZE, trained

RESULTS = Path("study/results/pretrained.jsonl")
#: Those of the primary outcome before the others.
STAGES = (
    ("plain", "plain, entropy bonus 0.02", "plain, entropy bonus 0.05", "share, dial"),
    ("MMR, first pick by score", "SMI", "dpp"),
)
QUICK = ("plain", "plain, entropy bonus 0.02", "share, dial")
SEEDS, STEPS, RATE, PROMPTS_PER_STEP = range(8), 80, 2e-4, 4


def runs(seeds: range = SEEDS, steps: int = STEPS) -> list[Run]:
    """By family, stage and seed, so that what is interrupted has whole pairs."""
    return [
        Run(family, "DAPO", arm, RATE, seed, steps, PROMPTS_PER_STEP)
        for family in FAMILIES
        for stage in STAGES
        for seed in seeds
        for arm in stage
    ]


def train(run: Run) -> Row:
    """The row of one run."""
    chains, names = FAMILIES[run.family], tokenizer()
    held_out, training = chains.parts(*PARTS[chains][:2])
    evaluation = Evaluation(chains.family, held_out, names)
    checker = ExactAnswer(GROUP_SIZE)
    return trained(run, ARMS[run.arm], start(), names, training, chains.longest_answer, checker, evaluation)


def main(
    results: Annotated[Path, typer.Option(help="JSON Lines, one row per run, added to.")] = RESULTS,
    quick: Annotated[bool, typer.Option("--quick", help="Two steps of three arms, to see that they run.")] = False,
) -> None:
    """Run what is missing."""
    wanted = [run for run in runs(range(1), steps=2) if run.arm in QUICK] if quick else runs()
    results_file(results).completed(wanted, run_of, train, "training from a pretrained start")


if __name__ == "__main__":
    typer.run(main)
