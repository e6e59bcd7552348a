"""1, 2 and 4 processes, started by ``accelerate launch`` on gloo, train on the same advantages of the same batch."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integrations import launched

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("launched")
    for processes in (1, 2, 4):
        launch(processes, folder)
    return {processes: json.loads((folder / f"{processes}.json").read_text()) for processes in (1, 2, 4)}


def launch(processes: int, folder: Path) -> None:
    paths = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])
    environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    # Several processes on a CPU are several on a GPU to the launcher, which otherwise asks for MPI.
    kind = "--cpu" if processes == 1 else "--multi_gpu"
    environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, "-m", "accelerate.commands.launch", kind, "--num_machines=1", "--mixed_precision=no"]
    command += ["--dynamo_backend=no", f"--num_processes={processes}", "--main_process_port=0"]
    command += ["--num_cpu_threads_per_process=1", str(HERE / "launched.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


MODES = [f"{name}, {mode}" for name in launched.MODES for mode in ("training", "evaluation")]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("mode", MODES)
def test_as_many_processes_as_you_like(mode: str, processes: int, results: dict[int, dict[str, Any]]) -> None:
    alone, together = results[1][mode], results[processes][mode]
    assert len(together["used"]) == launched.COMPLETIONS
    if mode.startswith("policy"):  # padding differs between batches, and with it the last bits of the vectors
        assert together["used"] == pytest.approx(alone["used"], abs=1e-4)
        assert together["metrics"]["mmr/signal"] == pytest.approx(alone["metrics"]["mmr/signal"], abs=1e-4)
        return
    assert together["used"] == alone["used"]
    assert together["logged"] == alone["logged"] == alone["used"]
    assert str(together["columns"]) == str(alone["columns"])  # NaN is NaN here
    assert together["dial"] == alone["dial"]
    assert (alone["dial"] is None) != (mode.startswith("dial") and mode.endswith("training"))
    assert together["metrics"] == pytest.approx(alone["metrics"], nan_ok=True)


@pytest.mark.parametrize(
    ("mode", "gathered"),
    [("groups of 4", {1: 0, 2: 0, 4: 1}), ("groups of 12", {1: 0, 2: 0, 4: 1}), ("groups of 24", {1: 0, 2: 1, 4: 1}),
     ("scope batch", {1: 0, 2: 1, 4: 1}), ("scale batch", {1: 0, 2: 1, 4: 1})],
)  # fmt: skip
def test_embeddings_are_gathered_once_and_only_where_groups_straddle(
    mode: str, gathered: dict[int, int], results: dict[int, dict[str, Any]]
) -> None:
    counts = {processes: results[processes][f"{mode}, training"]["embeddings gathered"] for processes in results}
    assert counts == gathered


def test_the_batch_is_no_trivial_one(results: dict[int, dict[str, Any]]) -> None:
    for mode in MODES:
        used = results[1][mode]["used"]
        assert all(math.isfinite(value) for value in used)
        assert len(set(used)) > 8
