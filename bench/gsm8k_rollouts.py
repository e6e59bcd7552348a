"""Real rollouts of the docs: solutions of GSM8K's test problems by four models, as OpenAI published them.

    python -m bench.gsm8k_rollouts example_model_solutions.jsonl gsm8k_rollouts.jsonl

The first file is grade_school_math/data/example_model_solutions.jsonl of github.com/openai/grade-school-math (MIT
licence; Cobbe et al. 2021, arXiv 2110.14168). A group is a problem; its four completions come from four policies (6 and
175 billion parameters, each fine-tuned, or with a verifier that chooses), which a group in training does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmr_kernels.bench.record import write_text

SOURCES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def rows(solutions: Path) -> list[dict[str, object]]:
    """One row per completion, problem by problem; the reward is 1 where the solution is right."""
    problems = [json.loads(line) for line in solutions.open(encoding="utf-8")]
    return [
        {
            "group": group, "prompt": problem["question"], "completion": problem[source]["solution"],
            "reward": float(problem[source]["is_correct"]), "source": source,
        }
        for group, problem in enumerate(problems)
        for source in SOURCES
    ]  # fmt: skip


def main(
    solutions: Annotated[Path, typer.Argument(help="OpenAI's file.")],
    rollouts: Annotated[Path, typer.Argument(help="Written: JSONL as mmr-kernels score takes it.")],
) -> None:
    """Make rollouts of the published solutions."""
    write_text(rollouts, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(solutions)))


if __name__ == "__main__":
    typer.run(main)
