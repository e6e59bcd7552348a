"""Rollouts from the published solutions."""

from __future__ import annotations

import json
from pathlib import Path

from bench import gsm8k_rollouts


def test_rows_are_those_of_the_four_models_problem_by_problem(tmp_path: Path) -> None:
    problems = [
        {"question": f"{number}?", "ground_truth": "A: 1"}
        | {source: {"solution": f"{source} {number}\nA: 1", "is_correct": source.startswith("175b")}
           for source in gsm8k_rollouts.SOURCES}
        for number in range(2)
    ]  # fmt: skip
    solutions, rollouts = tmp_path / "solutions.jsonl", tmp_path / "rollouts.jsonl"
    solutions.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    gsm8k_rollouts.main(solutions, rollouts)
    rows = [json.loads(line) for line in rollouts.read_text().splitlines()]
    assert [row["group"] for row in rows] == [0] * 4 + [1] * 4
    assert [row["reward"] for row in rows] == [0.0, 0.0, 1.0, 1.0] * 2
    assert rows[5] == {"group": 1, "prompt": "1?", "completion": "6b_verification 1\nA: 1", "reward": 0.0,
                       "source": "6b_verification"}  # fmt: skip
