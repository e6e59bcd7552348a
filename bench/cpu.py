"""``make bench-cpu``: the public API on the CPU backend against torch.bmm of the similarity alone, the published loop
and a batched eager version. Prints a table, writes JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mmr_kernels
from bench import baselines
from bench.measure import Call, interleaved, machine, ratio, summary, versions
from mmr_kernels import _cpu


class Case(NamedTuple):
    """One row of the table."""

    groups: int
    group_size: int
    dim: int
    scope: str = "group"


CASES = [Case(64, 16, 512), Case(512, 16, 512), Case(1, 6, 512), Case(1, 1024, 512, "batch"), Case(64, 8, 512)]


def measure(case: Case, seconds: float) -> dict[str, object]:
    """Check the CPU backend against the batched baseline, then time all that take part."""
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(case.groups, case.group_size, generator=generator)
    embeddings = torch.randn(case.groups, case.group_size, case.dim, generator=generator)

    def op() -> torch.Tensor:
        return mmr_kernels.mmr_advantages(rewards, embeddings, scope=case.scope, backend="cpu")

    torch.testing.assert_close(op(), baselines.batched(rewards, embeddings), rtol=1e-3, atol=1e-3)
    # The slow ones take turns apart, or they would leave the fast ones too few.
    fast: dict[str, Call] = {"bmm": lambda: torch.bmm(embeddings, embeddings.transpose(1, 2)), "cpu": op}
    slow: dict[str, Call] = {
        "cpu": op,
        "batched": lambda: baselines.batched(rewards, embeddings),
        "loop": lambda: baselines.loop(rewards, embeddings),
    }
    against_bmm = interleaved(fast, seconds)
    against_loops = interleaved(slow, seconds)
    times = {
        "cpu": summary(against_bmm["cpu"]),
        "bmm": summary(against_bmm["bmm"]),
        "batched": summary(against_loops["batched"]),
        "loop": summary(against_loops["loop"]),
    }
    return {
        **case._asdict(),
        "times": times,
        "cpu_to_bmm": ratio(against_bmm["cpu"], against_bmm["bmm"]),
        "batched_to_cpu": ratio(against_loops["batched"], against_loops["cpu"]),
        "loop_to_cpu": ratio(against_loops["loop"], against_loops["cpu"]),
    }


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time for each comparison of each case.")] = 4.0,
) -> None:
    """Measure every case."""
    console = Console()
    console.print("float32, sigmoid λ; medians, [20th–80th percentile]; ratios are medians of turns", style="dim")
    rows = [measure(case, seconds) for case in track(CASES, description="measuring", console=console)]
    report = {"machine": machine(), "versions": versions(), "instruction_set": _cpu.instruction_set(), "rows": rows}
    console.print(table(report))
    if json_path:
        json_path.write_text(json.dumps(report, indent=1) + "\n")


def table(report: dict[str, object]) -> Table:
    """The figures as the README quotes them."""
    title = f"{report['machine']} · {report['versions']} · {report['instruction_set']}"
    result = Table(title=title, title_justify="left", title_style="dim")
    for name in ("groups × size × dim", "cpu µs", "bmm µs", "cpu / bmm", "batched / cpu", "loop / cpu"):
        result.add_column(name, justify="right")
    rows = report["rows"]
    assert isinstance(rows, list)
    for row in rows:
        cpu, bmm = row["times"]["cpu"], row["times"]["bmm"]
        result.add_row(
            f"{row['groups']} × {row['group_size']} × {row['dim']}",
            f"{cpu['median_us']:.1f} [{cpu['p20_us']:.1f}–{cpu['p80_us']:.1f}]",
            f"{bmm['median_us']:.1f} [{bmm['p20_us']:.1f}–{bmm['p80_us']:.1f}]",
            f"{row['cpu_to_bmm']:.2f}",
            f"{row['batched_to_cpu']:.1f}",
            f"{row['loop_to_cpu']:.0f}",
        )
    return result


if __name__ == "__main__":
    typer.run(main)
