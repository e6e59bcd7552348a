"""The picture of ``bench --plot``: time above, ratio to torch.bmm of the similarity below, against sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmr_kernels.bench.cases import Sweep
from mmr_kernels.bench.exponents import sweep_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Ours in colour, everything else in greys.
STYLES: dict[str, dict[str, Any]] = {
    "cpu": {"color": "#c2410c"},
    "triton": {"color": "#7c3aed"},
    "cuda": {"color": "#15803d"},
    "torch": {"color": "#d9a066"},
    "bmm": {"color": "black", "linestyle": (0, (4, 2))},
    "loop": {"color": "#9a9a9a"},
    "batched": {"color": "#7a7a7a"},
    "batched+torch.compile": {"color": "#5a5a5a"},
    "pyversity": {"color": "#64748b"},
    "langchain": {"color": "#94a3b8"},
}
PANELS = {
    "groups": "groups B, of {group_size} × {dim}",
    "group_size": "group size G, {groups} groups of {dim} dimensions",
    "selection": "selection alone: N candidates, k = N, {dim} dimensions",
}
#: Between two labels, as a share of the axes' height.
LABEL_GAP = 0.052


def draw(report: dict[str, Any], sweeps: dict[str, Sweep], path: Path) -> None:
    """Write a PNG, a column for each sweep in ``PANELS`` that was measured, log-log, each line with its name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = report["rows"]
    measured = {name: sweeps[name] for name in PANELS if name in sweeps and set(_lines(rows, sweeps[name])) - {"bmm"}}
    figure = Figure(figsize=(5.2 * max(len(measured), 1), 8.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, max(len(measured), 1), squeeze=False)
    for column, (name, sweep) in enumerate(measured.items()):
        above, below = panels[:, column]
        _draw(above, _lines(rows, sweep), spread=True)
        _draw(below, _lines(rows, sweep), spread=False)
        below.axhline(1, color="black", linewidth=1, linestyle=(0, (4, 2)))
        below.text(0.995, 1, "bmm", va="bottom", ha="right", size="small", transform=below.get_yaxis_transform())
        for axes in (above, below):
            axes.set_xlabel(PANELS[name].format(**sweep.cases[0]._asdict()))
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(visible=True, which="major", color="#e5e5e5", linewidth=0.7)
            axes.set_axisbelow(True)
    panels[0, 0].set_ylabel("time of a call, µs (median, 20th–80th percentile)")
    panels[1, 0].set_ylabel("time over torch.bmm of the similarity alone")
    machine = report["machine"]
    where = machine["gpu"] if report["device"] == "cuda" else f"{machine['processor']}, {machine['threads']} threads"
    figure.suptitle(f"mmr-kernels {report['versions']['mmr-kernels']} on {where}, float32", size="large")
    figure.savefig(path, format="png", dpi=120)


def _lines(rows: list[dict[str, Any]], sweep: Sweep) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """The points of each provider that has two or more."""
    lines = {name: sweep_rows(rows, sweep, name) for name in dict.fromkeys(row["provider"] for row in rows)}
    return {name: line for name, line in lines.items() if len(line) > 1}


def _draw(axes: Axes, lines: dict[str, list[tuple[int, dict[str, Any]]]], spread: bool) -> None:
    """Each provider's line: time with its spread, or the ratio."""
    axes.set(xscale="log", yscale="log")
    ends: list[tuple[str, float, float, Any]] = []
    sizes: set[int] = set()
    for provider, line in lines.items():
        if provider == "bmm" and not spread:
            continue
        style = {"color": "#525252", **STYLES.get(provider.partition(",")[0], {})}
        x = [size for size, _ in line]
        y = [row["median_us" if spread else "ratio_to_bmm"] for _, row in line]
        axes.plot(x, y, marker="o", markersize=3.5, linewidth=1.8, **style)
        if spread:
            low, high = ([row[end] for _, row in line] for end in ("p20_us", "p80_us"))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
        name = "compiled" if provider == "batched+torch.compile" else provider.partition(", selection")[0]
        ends.append((name, x[-1], y[-1], style["color"]))
        sizes.update(x)
    axes.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
    axes.minorticks_off()
    _label(axes, ends)


def _label(axes: Axes, ends: list[tuple[str, float, float, Any]]) -> None:
    """Names at the right ends of the lines, moved up where two would overlap."""
    axes.autoscale_view()
    low, high = np.log(axes.get_ylim())
    left, right = np.log(axes.get_xlim())
    axes.set_xlim(np.exp(left), np.exp(right + 0.42 * (right - left)))  # room for the names
    lowest: dict[float, float] = {}  # free height above the labels of lines that end at the same size
    for name, x, y, color in sorted(ends, key=lambda end: end[2]):
        place = max((np.log(y) - low) / (high - low), lowest.get(x, 0.0))
        lowest[x] = place + LABEL_GAP
        height = float(np.exp(low + place * (high - low)))
        box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        axes.annotate(
            name, (x, height), (7, 0), textcoords="offset points", va="center", size="small", color=color, bbox=box
        )  # fmt: skip
