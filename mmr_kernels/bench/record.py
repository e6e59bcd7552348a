"""Measurements as JSON: the command, the machine and the versions they come from, then one row per line."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

import mmr_kernels

#: Reported where they are installed.
OPTIONAL_PACKAGES = ("triton", "pyversity", "langchain-core")


def record(*packages: str, **content: Any) -> dict[str, Any]:
    """``content`` with where it comes from in front; ``packages`` are those whose versions matter to it besides."""
    return {"command": command(), "machine": machine(), "versions": versions(*packages)} | content


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    write_text(path, _text(content) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text beside the file and then move it there: whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def command() -> str:
    """The command that runs, as it was typed."""
    program, *arguments = sys.orig_argv[1:]
    return shlex.join(["python", program, *arguments] if program.startswith("-") else [Path(program).name, *arguments])


def machine() -> dict[str, object]:
    """The machine that runs."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": model,
        "vector_code": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.platform(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Of Python, this package, what it computes with, and ``packages``."""
    found = {"python": platform.python_version(), "mmr-kernels": mmr_kernels.__version__}
    found |= {name: importlib.metadata.version(name) for name in ("torch", "numpy", *packages)}
    for name in OPTIONAL_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _text(value: Any, margin: str = "") -> str:
    """JSON in which each row of a table, a list of objects, has a line, as has each member of what holds a table."""
    inner = margin + " "
    if isinstance(value, dict) and _holds_table(value):
        lines = [f"{json.dumps(key, ensure_ascii=False)}: {_text(member, inner)}" for key, member in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + f"\n{margin}}}"
    if _is_table(value):
        return "[\n" + ",\n".join(inner + json.dumps(row, ensure_ascii=False) for row in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(row, dict | list) for row in value)


def _holds_table(value: Any) -> bool:
    members = value.values() if isinstance(value, dict) else ()
    return _is_table(value) or any(map(_holds_table, members))
