"""How a phase runs: with the seconds it has, in a process of its own, so that none can take another's results along."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Result = dict[str, Any]
#: Takes all that is known so far. What was saved last is what a process that is stopped or dies leaves.
Save = Callable[[Result], None]


class Place(NamedTuple):
    """What a phase is given.

    What it saves may have "wrong", a list of sentences, and "left_out", the reason why it can't run on this machine.
    """

    seconds: float  # after which it is stopped
    workers: int
    dry: bool  # on CPUs and in small: Triton's interpreter and the emulator of the CUDA kernel

    @property
    def device(self) -> str:
        """Where the tensors are."""
        return "cpu" if self.dry else "cuda"


def run_phase(save: Save, name: str, place: Place) -> None:
    """The phase of that name, a module of this folder."""
    importlib.import_module(f"tools.gpu_check.{name}").run(save, place)


def together(
    target: Callable[..., None], calls: Sequence[tuple[Any, ...]], seconds: float, group: bool = False
) -> list[tuple[Result, str | None]]:
    """Run ``target(save, *call)`` for all calls at once.

    Args:
        seconds: after which those that still run are killed.
        group: with all that they started.

    Returns:
        For each call, what was saved last, and what became of its process, if it did not end well.
    """
    spawn, end = multiprocessing.get_context("spawn"), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(len(calls))]
        processes = [spawn.Process(target=_run, args=(target, *both, group)) for both in zip(paths, calls, strict=True)]
        for process in processes:
            process.start()
        return [_outcome(*both, end, group) for both in zip(processes, paths, strict=True)]


def _outcome(process: Any, path: Path, end: float, group: bool) -> tuple[Result, str | None]:
    process.join(max(0.0, end - time.monotonic()))
    result = lambda: json.loads(path.read_text()) if path.exists() else {}  # noqa: E731
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
        process.join()
        return result(), "was stopped when its time was over"
    error = path.with_suffix(".error")
    if error.exists():
        return result(), error.read_text()
    return result(), f"ended with status {process.exitcode}" if process.exitcode else None


def _run(target: Callable[..., None], path: Path, call: tuple[Any, ...], group: bool) -> None:
    if group:
        os.setsid()

    def save(result: Result) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.replace(path)

    try:
        target(save, *call)
    except Exception as error:
        traceback.print_exc()
        path.with_suffix(".error").write_text(f"{type(error).__name__}: {str(error)[:500]}")
        sys.exit(1)
