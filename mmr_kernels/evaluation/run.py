"""All tasks for one model: sample what is missing, grade, record."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import torch

from mmr_kernels.bench.record import write
from mmr_kernels.evaluation import models, results
from mmr_kernels.evaluation.benchmarks import Benchmark
from mmr_kernels.evaluation.samples import SampleFile, Track, grade


def folder_of(out: Path, model: str) -> Path:
    """Where a model's files are: a folder in ``out``, also for a model called "." or ".."."""
    name = re.sub(r"[^\w.-]+", "--", model).strip("-")
    return out / (name if name.strip(".") else Path(model).resolve().name)


def evaluate(
    settings: dict[str, Any], benchmarks: dict[str, Benchmark], samples: int, folder: Path, track: Track
) -> dict[str, Any]:
    """Evaluate the model of ``settings`` and write ``results.json``; what an earlier run left in ``folder`` is used.

    Args:
        settings: of the model and of sampling; a folder holds samples of one kind.
        benchmarks: by name.
        samples: k, of each problem.
        track: progress.

    Raises:
        ImportError, OSError, ValueError: the model can't be loaded, the files are others'.
    """
    _keep(folder / "settings.json", settings)
    files = {name: SampleFile(folder / f"{name}.jsonl", each, samples) for name, each in benchmarks.items()}
    if any(file.missing() for file in files.values()):
        model = models.make(settings["backend"], settings["model"], settings["max_new_tokens"])
        for name, file in files.items():
            if missing := len(file.missing()):
                file.generate(model, settings["backend"], settings["seed"], track(f"sampling {name}", missing))
        del model
        gc.collect()
        torch.cuda.empty_cache()
    grade(list(files.values()), track)
    rows = [row for file in files.values() for row in file.samples()]
    made = results.make(settings | {"samples": samples}, rows)
    write(folder / "results.json", made)
    return made


def _keep(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings, or compare them with those of the samples that are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not any(file.stat().st_size for file in path.parent.glob("*.jsonl")):
        write(path, settings)
        return
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} doesn't tell the settings of the samples beside it; name another --out") from error
    for name, value in settings.items():
        if before.get(name) != value:
            raise ValueError(
                f"{path.parent} has samples with {name} {before.get(name)!r}, not {value!r}; name another --out"
            )
