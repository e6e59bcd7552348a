"""The data of the paper's runs as verl reads it: a Parquet file of prompts and right answers.

    python recipes/verl/prepare.py OUT [DATASET]

DATASET is a name on the Hugging Face hub or a folder of JSON files, with columns "problem" and "solution".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset

#: As recipes/grpo-1.5b.yaml has it.
SYSTEM = "Think first, between <think> and </think>. Then answer, and put the final result in \\boxed{}."


def row(example: dict[str, Any]) -> dict[str, Any]:
    """A problem as verl has it; its reward function gets ``ground_truth``."""
    prompt = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": example["problem"]}]
    return {
        "data_source": "maths",
        "prompt": prompt,
        "reward_model": {"style": "rule", "ground_truth": example["solution"]},
    }


def main(out: str, dataset: str = "knoveleng/open-rs") -> None:
    """Write OUT/train.parquet."""
    data = load_dataset(dataset, split="train")
    Path(out).mkdir(parents=True, exist_ok=True)
    data.map(row, remove_columns=data.column_names).to_parquet(Path(out) / "train.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
