"""``mmr-kernels eval`` on tiny untrained models and made-up problems with the fields of the real ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install '.[eval]'")

import datasets

from examples.eval import model as tiny
from mmr_kernels.cli import app
from mmr_kernels.evaluation import benchmarks, models, results
from mmr_kernels.evaluation.run import _keep, folder_of
from mmr_kernels.evaluation.samples import SampleFile

DATA = Path(tiny.__file__).parent
TOKENS = 16
TASKS = len(benchmarks.NAMES)


def evaluated(*arguments: object, data: Path | None = DATA) -> Any:
    options = ["--backend", "hf", "--max-new-tokens", TOKENS, *(("--data", data) if data else ())]
    command = ["eval", *map(str, options), *map(str, arguments)]  # what a test gives wins
    return CliRunner().invoke(app, command, env={"COLUMNS": "140"}, catch_exceptions=False)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(out.glob("*/*.jsonl")) for line in path.read_text().splitlines()]


def texts_of(out: Path, files: str = "*/*.jsonl") -> dict[tuple[str, int], str]:
    """The completions, of whole lines."""
    lines = [line for path in out.glob(files) for line in path.read_text().split("\n")[:-1]]
    return {(row["group"], row["sample"]): row["completion"] for row in map(json.loads, lines)}


@pytest.fixture(scope="session")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    tiny.save(folder / "one", 64)
    tiny.save(folder / "other", 96)
    return [folder / "one", folder / "other"]


@pytest.fixture(scope="module")
def run(two_models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All tasks, two models, four samples: the folder, and what was printed."""
    out = tmp_path_factory.mktemp("run")
    result = evaluated(*two_models, "--samples", 4, "--out", out, "--plot", out / "plot.png")
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_every_sample_is_saved_graded_and_counted(run: tuple[Path, str]) -> None:
    rows = rows_of(run[0])
    assert len(rows) == 2 * TASKS * 2 * 4
    assert {row["reward"] for row in rows} == {0.0, 1.0}, "the model is right now and then"
    for path in run[0].glob("*/results.json"):
        found = results.read(path)
        mine = [json.loads(line) for file in path.parent.glob("*.jsonl") for line in file.read_text().splitlines()]
        assert sum(sum(row["correct"]) for row in found["problems"]) == sum(row["reward"] for row in mine)
        assert sum(row["truncated"] for row in found["problems"]) == sum(row["truncated"] for row in mine)
        overall = found["summary"][results.OVERALL]
        assert overall["avg@4"]["mean"] == pytest.approx(sum(row["reward"] for row in mine) / len(mine))
        assert overall["avg@4"]["low"] <= overall["avg@4"]["mean"] <= overall["avg@4"]["high"]


def test_what_is_printed_and_drawn(run: tuple[Path, str], two_models: list[Path]) -> None:
    words = ("avg@4", "pass@4", "truncated", "distinct", "similarity", "gained", results.OVERALL)
    for text in (*benchmarks.NAMES, *map(str, two_models), *words):
        assert text in run[1]
    assert (run[0] / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_cut_off_answers_are_told(run: tuple[Path, str]) -> None:
    """A token that can be seen has one space or point."""
    rows = rows_of(run[0])
    lengths = [sum(row["completion"].count(sign) for sign in " .") for row in rows]
    assert all(row["truncated"] for row, length in zip(rows, lengths, strict=True) if length == TOKENS)
    assert not any(row["truncated"] for row, length in zip(rows, lengths, strict=True) if length < TOKENS - 4)
    assert {row["truncated"] for row in rows} == {True, False}


def test_saved_results_are_compared_as_the_run_did(run: tuple[Path, str]) -> None:
    one, other = sorted(run[0].glob("*/results.json"))
    result = evaluated("--compare", one, other)
    assert result.exit_code == 0, result.output
    assert result.stdout in run[1]


def test_score_reads_the_samples(run: tuple[Path, str]) -> None:
    path = next(run[0].glob("*/amc23.jsonl"))
    result = CliRunner().invoke(app, ["score", str(path)])
    assert result.exit_code == 0, result.output
    assert "8 in 2 groups" in result.stdout


def test_a_finished_run_samples_nothing_and_says_the_same(
    run: tuple[Path, str], two_models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run[0], tmp_path / "out")
    monkeypatch.setattr(models, "make", lambda *arguments: pytest.fail("a model was loaded"))
    result = evaluated(*two_models, "--samples", 4, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.partition("samples and results")[0] in run[1]


def test_a_seed_gives_the_same_samples_and_more_are_added(
    run: tuple[Path, str], two_models: list[Path], tmp_path: Path
) -> None:
    arguments = (two_models[0], "--tasks", "aime24,minerva", "--out")
    for name, samples, seed in (("same", 4, 0), ("same", 6, 0), ("other", 4, 1)):
        assert evaluated(*arguments, tmp_path / name, "--samples", samples, "--seed", seed).exit_code == 0
    before = texts_of(run[0], "*one/aime24.jsonl")
    same, other = texts_of(tmp_path / "same"), texts_of(tmp_path / "other")
    assert before.items() <= same.items()
    assert len(same) == 2 * 2 * 6
    assert not before.items() <= other.items()
    assert len({same["aime24/0", sample] for sample in range(6)}) > 1, "samples of a problem differ"


def test_a_killed_run_goes_on_from_its_samples(two_models: list[Path], tmp_path: Path) -> None:
    arguments = ["eval", str(two_models[0]), "--backend", "hf", "--max-new-tokens", str(TOKENS), "--samples", "16"]
    arguments += ["--data", str(DATA), "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "mmr_kernels", *arguments], stderr=subprocess.DEVNULL)
    while not len(rows := list(tmp_path.glob("*/*.jsonl"))) and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert rows, "it was killed while it sampled"
    assert not list(tmp_path.glob("*/results.json"))
    kept = texts_of(tmp_path)
    with max(tmp_path.glob("*/*.jsonl")).open("a") as file:
        file.write('{"group": "aime24/0", "sam')
    result = evaluated(two_models[0], "--samples", 16, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    after = texts_of(tmp_path)
    assert len(after) == len(rows_of(tmp_path)) == TASKS * 2 * 16
    assert kept.items() <= after.items()


def test_a_line_that_a_kill_cut_is_removed(run: tuple[Path, str], tmp_path: Path) -> None:
    """So that the next one doesn't go on in it."""
    path = next(run[0].glob("*one/aime24.jsonl"))
    (tmp_path / path.name).write_bytes(path.read_bytes() + b'{"group": "aime24/1", "sam')
    file = SampleFile(tmp_path / path.name, benchmarks.load(["aime24"], DATA, None, TOKENS)["aime24"], 4)
    assert not file.missing()
    assert file.path.read_bytes() == path.read_bytes()


def test_the_hubs_problems_become_the_same_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped tasks name a dataset; the files in their place change nothing else."""
    local = benchmarks.load(benchmarks.NAMES, DATA, None, TOKENS)
    load, asked = datasets.load_dataset, []

    def hub(path: str, name: str | None = None, **options: Any) -> Any:
        asked.append(path)
        source = DATA / f"{benchmarks.NAMES[len(asked) - 1]}.jsonl"
        (split,) = ["test"] if path.endswith("MATH-500") else ["train"]
        return datasets.DatasetDict({split: load("json", data_files=str(source), split="train")})

    monkeypatch.setattr(datasets, "load_dataset", hub)
    for name, benchmark in benchmarks.load(benchmarks.NAMES, None, None, TOKENS).items():
        assert benchmark.problems == local[name].problems
        configs = [each.task.config.to_dict() for each in (benchmark, local[name])]
        for config in configs:
            for key in ("dataset_path", "dataset_kwargs", "metadata"):
                config.pop(key, None)
        assert configs[0] == configs[1]
        for each in (benchmark, local[name]):
            each.task.build_all_requests()
        assert [each.args for each in benchmark.task.instances] == [each.args for each in local[name].task.instances]
    assert asked == [
        "HuggingFaceH4/aime_2024",
        "HuggingFaceH4/MATH-500",
        "knoveleng/AMC-23",
        "knoveleng/Minerva-Math",
        "knoveleng/OlympiadBench",
    ]


def test_the_settings_are_the_releases() -> None:
    task = benchmarks.load(["aime24"], DATA, None, 32768)["aime24"].task
    expected = {"until": [], "do_sample": True, "temperature": 0.6, "top_p": 0.95, "max_gen_toks": 32768}
    assert task.config.generation_kwargs == expected
    task.build_all_requests()
    prompt = task.instances[0].args[0]
    assert prompt.startswith("Solve the following math problem efficiently and clearly.  The last line")
    assert r"'Therefore, the final answer is: $\boxed{ANSWER}$. I hope it is correct'" in prompt
    assert prompt.endswith("before answering.\n\nHow many positive integers are less than $4$?")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tasks", "aime25"], "--tasks takes aime24, math500, amc23, minerva, olympiadbench; got 'aime25'"),
        (["--max-new-tokens", 1024], "--max-new-tokens 1024 leaves no room for a prompt: "),
        (["--backend", "vllm"], "--backend vllm needs vLLM: pip install vllm"),
        (["--backend", "api"], "--backend api takes the server's address from OPENAI_BASE_URL"),
        (["--compare", "a.json", "b.json"], "takes one MODEL or more, or --compare"),
        (["--plot", "plot.pdf"], "plot.pdf: the name must end in .png"),
    ],
)
def test_bad_options(two_models: list[Path], tmp_path: Path, arguments: list[object], says: str) -> None:
    refused(evaluated(two_models[0], "--out", tmp_path, *arguments), says)
    assert not list(tmp_path.iterdir())


def test_settings_of_a_run_that_never_sampled_are_forgotten(two_models: list[Path], tmp_path: Path) -> None:
    """As one that found no memory for its model."""
    file = folder_of(tmp_path, "model") / "settings.json"
    _keep(file, {"backend": "vllm"})
    _keep(file, {"backend": "hf"})
    assert json.loads(file.read_text()) == {"backend": "hf"}
    (file.parent / "aime24.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="has samples with backend 'hf', not 'vllm'"):
        _keep(file, {"backend": "vllm"})
    for broken in ('{"backe', "[1]"):
        file.write_text(broken)
        with pytest.raises(ValueError, match=r"settings.json doesn't tell the settings of the samples beside it"):
            _keep(file, {"backend": "vllm"})


def test_each_model_has_a_folder_of_its_own_within_out(
    two_models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_models[0])
    for name in (".", "../one", str(two_models[0])):
        folder = folder_of(tmp_path, name)
        assert folder.parent == tmp_path
        assert folder.name.endswith("one")
    same = evaluated(two_models[0], f"{two_models[0]}/", "--out", tmp_path)
    refused(same, f"would share a folder in --out {tmp_path}")


def refused(result: Any, says: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert says in line


def test_what_is_no_model(tmp_path: Path, two_models: list[Path]) -> None:
    (tmp_path / "empty").mkdir()
    refused(evaluated(tmp_path / "empty"), f"{tmp_path / 'empty'} is no model: the folder has none")
    refused(evaluated("no-such/model"), "no-such/model is no model: no such folder, and none on the hub within reach")
    refused(evaluated(two_models[0], two_models[0]), "takes each MODEL once")
    refused(evaluated(), "takes one MODEL or more, or --compare")


def test_data_that_cannot_be_used(tmp_path: Path, two_models: list[Path]) -> None:
    def said(*rows: object, task: str = "aime24") -> Any:
        (tmp_path / f"{task}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return evaluated(two_models[0], "--tasks", task, "--out", tmp_path / "out", data=tmp_path)

    refused(evaluated(two_models[0], data=tmp_path), f"--data {tmp_path} takes aime24.jsonl there, which is missing")
    refused(said({"problem": "1?"}), "aime24: problem 0: takes a text in the field 'answer'; its fields are problem")
    refused(said({"problem": "1 + 1?", "answer": " "}), "aime24: problem 0: takes a text in the field 'answer'")
    refused(said({"problem": "", "answer": "2"}), "aime24: problem 0: takes a text in the field 'problem'")
    good = {"problem": "1 + 1?", "solution": "$2$"}
    unread = {"problem": "1 + 2?", "solution": "It is $$."}
    refused(said(good, unread, task="math500"), "math500: problem 1: math-verify can't read its solution, 'It is $$.'")
    (tmp_path / "amc23.jsonl").write_text("no JSON")
    result = evaluated(two_models[0], "--tasks", "amc23", "--out", tmp_path / "out", data=tmp_path)
    refused(result, f"amc23: its problems can't be had from {tmp_path / 'amc23.jsonl'}")


def test_samples_of_something_else_are_not_mixed_in(
    run: tuple[Path, str], two_models: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(run[0], out)
    refused(evaluated(two_models[0], "--out", out, "--seed", 1), "has samples with seed 0, not 1; name another --out")
    path = next(out.glob("*one/aime24.jsonl"))
    path.write_text(path.read_text().replace("less than", "more than"))
    refused(evaluated(two_models[0], "--out", out), "has samples of another problem aime24/0; name another --out")
    path.write_text('{"group": 1}\n')
    refused(evaluated(two_models[0], "--out", out), f"{path}:1: no sample of this command (it lacks completion, ")
