"""Paired differences from records made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from typer.testing import CliRunner

from mmr_kernels.cli import app
from mmr_kernels.evaluation import picture, results

ONE = [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
OTHER = [[0, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]


def record(correct: list[list[int]], **settings: Any) -> dict[str, Any]:
    rows = [
        {"task": "aime24", "problem": str(n), "correct": row, "truncated": n, "distinct": 2, "similarity": 0.5}
        for n, row in enumerate(correct)
    ]
    return {"settings": {"model": "m", "samples": 4, "max_new_tokens": 16, "seed": 0} | settings, "problems": rows}


def test_differences_are_paired_and_flips_are_majorities() -> None:
    found = results.difference(record(ONE), record(OTHER, model="n", seed=1))["aime24"]
    ones, others = np.mean(ONE, 1), np.mean(OTHER, 1)
    expected = stats.ttest_rel(others, ones).confidence_interval(0.95)
    assert found.measures["avg@4"] == pytest.approx(((others - ones).mean(), expected.low, expected.high))
    assert found.measures["truncated"] == (0, 0, 0)
    assert (found.gained, found.lost) == (2, 1), "half of the samples is not a majority"


def test_names_are_printed_as_they_are(tmp_path: Path) -> None:
    """Brackets are no markup, and no byte steers the terminal."""
    names = ("runs/[/b]one", "runs/other[final]\x1b[31m")
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, correct, name in zip(paths, (ONE, OTHER), names, strict=True):
        path.write_text(json.dumps(record(correct, model=name)))
    result = CliRunner().invoke(app, ["eval", "--compare", *map(str, paths)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "runs/other[final]\ufffd[31m minus runs/[/b]one" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("models", "labels"),
    [(("a/one", "b/other"), ("one", "other")), (("a/final", "b/final$x$"), ("final", r"final\$x\$")),
     (("a/final", "b/final"), ("a/final", "b/final"))],
)  # fmt: skip
def test_models_of_one_name_are_told_apart_in_the_picture(
    models: tuple[str, str], labels: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    legend = Figure.legend
    monkeypatch.setattr(Figure, "legend", lambda *args, **kwargs: (drawn.extend(args[2]), legend(*args, **kwargs)))
    picture.draw([record(ONE, model=models[0]), record(OTHER, model=models[1])], tmp_path / "plot.png")
    assert drawn == [f"{line}@k, {label}" for label in labels for line in ("avg", "pass")]


def test_samples_become_a_row_per_problem() -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install '.[eval]'")
    row = {"group": "aime24/0", "problem": "p", "gold": "1", "truncated": False}
    samples = [
        row | {"completion": "so 1", "reward": 1.0, "answer": "1"},
        row | {"completion": "so 2", "reward": 0.0, "answer": "2", "truncated": True},
        row | {"completion": "", "reward": 0.0, "answer": None},
    ]
    made = results.make({"model": "m", "samples": 3}, samples)  # type: ignore[arg-type]
    (problem,) = made["problems"]
    assert (problem["correct"], problem["truncated"], problem["distinct"]) == ([1, 0, 0], 1, 2)
    assert made["summary"]["aime24"]["avg@3"] == {"mean": pytest.approx(1 / 3), "low": None, "high": None}
    assert made["summary"]["aime24"]["pass@2"]["mean"] == pytest.approx(2 / 3)
    json.dumps(made, allow_nan=False)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (record(OTHER, samples=2), "under the same settings; samples is 4 and 2"),
        (record(OTHER, max_new_tokens=32), "under the same settings; max_new_tokens is 16 and 32"),
        (record(OTHER[:3]), "on the same problems; got 5 of aime24, and 3 of aime24, which are others"),
    ],
)
def test_what_is_not_to_be_compared(tmp_path: Path, second: dict[str, Any], says: str) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, found in zip(paths, (record(ONE), second), strict=True):
        path.write_text(json.dumps(found))
    result = CliRunner().invoke(app, ["eval", "--compare", *map(str, paths)])
    assert result.exit_code == 1
    assert says in result.stderr


LACKS_A_MEASURE = json.dumps(record(ONE)).replace("truncated", "cut")
UNEVEN = json.dumps(record([[1, 1, 0, 0], [1]]))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"settings": {"model": "m"}, "problems": []}', LACKS_A_MEASURE, UNEVEN]
)
def test_what_is_no_result(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    result = CliRunner().invoke(app, ["eval", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert result.exit_code == 1
    assert "a.json has no results" in result.stderr
    assert "Error: " in CliRunner().invoke(app, ["eval", "--compare", "/no/a.json", "/no/b.json"]).stderr
