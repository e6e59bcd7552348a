"""``mmr-kernels info``: versions, the machine, and each backend and embedder with the reason why it can't run here.

Made to be pasted into a bug report, so it reports whatever it can: even without torch.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mmr_kernels

if TYPE_CHECKING:
    from mmr_kernels.backends.host import Host

PACKAGES = ("torch", "triton", "numpy", "scikit-learn", "pyarrow", "matplotlib", "trl")


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show versions, and each backend and embedder and why it can't run here."""
    report = collect()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(report)


def collect(host: Host | None = None) -> dict[str, Any]:
    """The report; ``host`` is the machine whose backends to judge, by default this one.

    ``backends`` and ``embedders`` map each name to None where it can run, else to the reason. ``error`` is what kept
    torch or one of the two from being imported.
    """
    report: dict[str, Any] = {
        "mmr-kernels": mmr_kernels.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "os": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": None,
        "openmp": None,
        "gpus": [],
        "backends": {},
        "embedders": {},
        "error": None,
    }
    try:
        import torch

        from mmr_kernels import backends, embedders

        report["threads"] = torch.get_num_threads()
        report["openmp"] = backends.host.openmp()
        report["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        report["backends"] = backends.machine_reasons(host)
        report["embedders"] = embedders.machine_reasons()
    except Exception as error:  # a broken install is what this command is for: report it, whatever it raises
        report["error"] = f"{type(error).__name__}: {error}"
    return report


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The model's name where Linux tells it, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    machine = Table(show_header=False, box=None)
    for name in ("mmr-kernels", "python", *report["packages"], "os", "cpu", "cores", "threads", "openmp"):
        value = report["packages"].get(name) if name in report["packages"] else report[name]
        machine.add_row(name, Text("not found" if value is None else str(value), overflow="fold"))
    machine.add_row("gpu", Text(", ".join(report["gpus"]) or "none"))
    console = Console()
    console.print(machine)
    for kind in ("backend", "embedder"):
        table = Table(kind, "here")
        for name, reason in report[f"{kind}s"].items():
            table.add_row(name, Text("can run", "green") if reason is None else Text(reason, "yellow"))
        console.print(table)
    if report["error"] is not None:
        console.print(Text(report["error"], "red"))
