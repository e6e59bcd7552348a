"""``make gpu-check`` in small and without a GPU, and what docs and README say of the run that is committed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import replay
import torch
from oracle import Case

from mmr_kernels.backends import this_host
from mmr_kernels.bench import record
from tools.gpu_check import ROOT, fuzz, micro, tensor_cores, timing
from tools.gpu_check.__main__ import PHASES
from tools.gpu_check.phase import Place, Save, together
from tools.gpu_check.summary import change_table, timing_table

#: The first run, and the one that docs and README quote.
BEFORE, RESULTS = (ROOT / "docs" / "figures" / "gpu" / f"{run}.json" for run in ("h200-c682c9e", "h100-fdd341e"))
REASON = this_host().emulator


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.gpu_check", *options], cwd=ROOT, text=True, capture_output=True
    )  # fmt: skip


@pytest.mark.skipif(REASON is not None, reason=f"no emulator of the CUDA kernel: {REASON}; run `make test-emulator`")
def test_every_phase_runs_in_small(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    ended = run("--dry-run", "--budget", "400", "--workers", "2", "--json", str(path))
    report = json.loads(path.read_text())
    outcomes = {phase["phase"]: phase["outcome"] for phase in report["phases"]}
    assert ended.returncode == 0, outcomes
    assert list(outcomes) == list(PHASES)
    assert outcomes.pop("micro").startswith("left out: needs a GPU")
    if not (ROOT.parent / "shared" / "golden").is_dir():
        assert outcomes.pop("golden").endswith("is absent")
    assert set(outcomes.values()) == {"right"}
    assert all(row["cases"] > 0 for row in report["fuzz"]["rows"])
    assert len(report["timing"]["rows"]) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    ended = run()
    assert ended.returncode == 2
    assert "--dry-run needs none" in ended.stderr


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc on PATH")
@pytest.mark.parametrize("source", micro.SOURCES)
def test_what_measures_the_card_compiles(source: str, tmp_path: Path) -> None:
    """Against the kernel's headers as they are: it runs where there is a device alone."""
    compiler = ["nvcc", "-cubin", "-std=c++17", "-arch=sm_90", f"-I{ROOT / 'csrc/cuda'}", "-o", tmp_path / "cubin"]
    subprocess.run([*compiler, ROOT / "tools" / "gpu_check" / source], check=True)


def misbehave(save: Save, how: str) -> None:
    save({"saved": how})
    if how == "raises":
        raise ValueError("this went wrong")
    if how == "dies":
        os._exit(3)
    if how == "hangs":
        time.sleep(600)


def test_a_process_that_fails_leaves_what_it_saved_and_hides_no_other() -> None:
    expected = {"raises": "ValueError: this went wrong", "dies": "ended with status 3", "ends": None}
    found = together(misbehave, [(how,) for how in expected], seconds=300)
    assert found == [({"saved": how}, problem) for how, problem in expected.items()]


def test_a_process_that_hangs_is_stopped() -> None:
    ((_, problem),) = together(misbehave, [("hangs",)], seconds=5)
    assert problem == "was stopped when its time was over"


def test_a_phase_that_fails_is_reported_beside_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    # pytest doesn't know the option, and ends with an error.
    environment = os.environ | {"PYTEST_ADDOPTS": "--no-such-option"}
    options = ["--dry-run", "--phases", "special,micro", "--json", str(path)]
    program = [sys.executable, "-m", "tools.gpu_check", *options]
    ended = subprocess.run(program, cwd=ROOT, text=True, capture_output=True, env=environment)
    assert ended.returncode == 1
    outcomes = [phase["outcome"] for phase in json.loads(path.read_text())["phases"]]
    assert outcomes[0] == "1 wrong"
    assert outcomes[1].startswith("left out")


def test_the_timing_leaves_out_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second case by itself, the third by the phase, which is stopped by nobody."""
    quick, slow, late = timing.DRY_CASES
    duration, saved = {quick: 0.0, slow: 60.0, late: 60.0}, [dict[str, Any]()]
    monkeypatch.setattr(timing, "together", lambda *_: [])
    monkeypatch.setattr(timing, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(timing, "timed", lambda case, _: (time.sleep(duration[case]) or {"case": case}, []))
    timing.run(saved.append, Place(timing.STARTS_AND_ENDS + 0.8, 1, True))
    assert [row["case"] for row in saved[-1]["rows"]] == [quick]
    assert saved[-1]["left_out"] == [str(slow), str(late)]
    assert saved[-1]["wrong"] == []


@pytest.mark.parametrize("fault", ["wrong", "unsteady", None])
def test_the_fuzz_catches_a_wrong_backend(fault: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case.uniform(torch.tensor([[1.0, 0.0, 0.5]]), torch.eye(3).unsqueeze(0))
    right, calls = Case.run, []

    def faulty(self: Case, *arguments: Any) -> Any:
        calls.append(arguments)
        result = right(self, *arguments)
        if fault == "wrong" or (fault == "unsteady" and len(calls) == 2):
            result.reweighted_rewards.add_(1e-3)
        return result

    monkeypatch.setattr(Case, "run", faulty)
    tally: dict[str, Any] = {"cases": 0, "refused": 0, "unsteady": 0, "largest_scopes": Counter()}
    problem = fuzz._problem(case, True, "torch", "cpu", tally)
    assert tally["cases"] == 1
    assert (problem is None) == (fault is None)
    assert tally["unsteady"] == (fault == "unsteady")


@pytest.mark.parametrize(
    ("dtype", "missing", "right"),
    [(torch.float16, 0, True), (torch.bfloat16, 0, True), (torch.float16, 1, False), (torch.float32, 0, False)],
)
def test_the_replay_allows_what_tensor_cores_cut_off_and_no_more(dtype: torch.dtype, missing: int, right: bool) -> None:
    """Near-duplicates of 4,096 dimensions, not brought to norm 1: all products, or all but one."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(1, 1, 4096, generator=generator) + 0.05 * torch.randn(1, 3, 4096, generator=generator)
    embeddings[..., 0] = 3
    embeddings = embeddings.to(torch.bfloat16 if dtype == torch.bfloat16 else torch.float16)
    rows = embeddings[0, :, missing:].double().numpy()
    cut = torch.from_numpy(tensor_cores.added(rows[:, None] * rows)).float().unsqueeze(0)
    rewards = torch.tensor([[1.0, 0.5, 0.0]])
    result = Case.uniform(rewards, similarity=cut).run("torch")
    case = Case.uniform(rewards, embeddings.to(dtype), normalize=False)
    with contextlib.nullcontext() if right else pytest.raises(AssertionError, match="max_similarity"):
        replay.check(case, result)


def test_the_tables_of_the_docs_are_those_of_the_results() -> None:
    before, report = (json.loads(path.read_text()) for path in (BEFORE, RESULTS))
    text = (ROOT / "docs" / "gpu.md").read_text()
    assert timing_table(report, dim=1024).markdown() in text
    assert change_table(before, report, dim=1024).markdown() in text


def test_the_readme_quotes_the_results() -> None:
    text = (ROOT / "README.md").read_text()
    report = json.loads(RESULTS.read_text())
    (row,) = [
        row
        for row in report["timing"]["rows"]
        if (row["groups"], row["group_size"], row["dim"], row["dtype"]) == (64, 16, 1024, "bfloat16")
        and row["scope"] == "group"
    ]
    for field in ("triton_us", "cuda_us", "bmm_us", "compiled_us"):
        assert f"{row[field]:.1f} µs" in text
    for field in ("triton_host_us", "cuda_host_us"):
        assert f"{row[field]:.0f} µs" in text
    assert f"{sum(fuzzed['cases'] for fuzzed in report['fuzz']['rows']):,} random calls" in text
    for package in ("torch", "triton", "nvcc", "driver"):
        assert report["versions"][package].rpartition("V")[2] in text


@pytest.mark.parametrize("path", [BEFORE, RESULTS], ids=lambda path: path.stem)
def test_results_have_one_row_per_line(path: Path) -> None:
    text = path.read_text()
    assert text == record._text(json.loads(text)) + "\n"
    assert text.count("\n") < 200
