"""``python -m bench.results``: writes docs/results.md from the measurements in docs/figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from mmr_kernels.bench.cases import sweeps
from mmr_kernels.bench.report import left_out, source, tables
from mmr_kernels.bench.table import timings

DOCS = Path(__file__).parents[1] / "docs"
#: The other sweeps are in the JSON, and those of a size in the picture and in the exponents.
SWEEPS = ("table", "selection")
PARTS = {
    "cpu-parts": "Parts of a call on the CPU backend ([cpu.md](cpu.md))",
    "cuda-launch-cost": "A call of the CUDA backend, on the host ([cuda.md](cuda.md))",
    "launch-cost": "A call of the Triton backend, on the host ([kernel.md](kernel.md))",
}


def page() -> str:
    """The whole of it."""
    report = _read("bench")
    chosen = tables(report, sweeps(), SWEEPS)
    blocks = [
        "# Results",
        "Written by `python -m bench.results` from `docs/figures/*.json`, where the rest of the rows are."
        " [benchmark.md](benchmark.md) says how to read them; times are microseconds.",
        "All of them were measured at commit 6defdfe, where a call without details had a shorter road through the op"
        " (6 µs for one small group). The README's table is of the present road; `make bench-figures` measures the rest"
        " anew.",
        "## The op, its baselines and its peers",
        *_source(report),
        "![Time and ratio to bmm against groups, group size and candidates](figures/bench.png)",
        *(block for table in chosen for block in (f"### {table.title.capitalize()}", table.markdown())),
        "\n".join(f"- {sentence}" for _, sentence in left_out(report)),
    ]
    for name, title in PARTS.items():
        parts = _read(name)
        blocks += [f"## {title}", *_source(parts), timings("", parts["rows"]).markdown()]
    return "\n\n".join(blocks) + "\n"


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DOCS / "figures" / f"{name}.json").read_text())
    return content


def _source(report: dict[str, Any]) -> list[str]:
    return [f"`{report['command']}`", ", ".join(f"{key} {value}" for key, value in source(report).items()) + "."]


def main() -> None:
    """Write the page."""
    (DOCS / "results.md").write_text(page())


if __name__ == "__main__":
    typer.run(main)
