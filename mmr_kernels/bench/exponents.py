"""How cost grows: the slope of log time over log size, over the larger half of each sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmr_kernels.bench.cases import Case, Sweep

FEWEST_POINTS = 3


def exponents(rows: list[dict[str, Any]], sweeps: dict[str, Sweep]) -> list[dict[str, Any]]:
    """One a provider and sweep of a size, by least squares: time ~ size ** ``exponent`` between ``from`` and ``to``.

    The larger half of what was measured (three sizes at least), for at small sizes the call itself is most of the
    cost. A provider measured at fewer sizes has none.
    """
    found = []
    for name, sweep in sweeps.items():
        if sweep.variable is None:
            continue
        for provider in dict.fromkeys(row["provider"] for row in rows):
            points = sweep_points(rows, sweep, provider, "median_us")
            fitted = points[-max(FEWEST_POINTS, (len(points) + 1) // 2) :]
            if len(fitted) < FEWEST_POINTS:
                continue
            sizes, times = np.log(np.array(fitted)).T
            found.append(
                {
                    "sweep": name,
                    "variable": sweep.variable,
                    "provider": provider,
                    "exponent": float(np.polyfit(sizes, times, 1)[0]),
                    "from": fitted[0][0],
                    "to": fitted[-1][0],
                    "points": len(fitted),
                }
            )
    return found


def sweep_points(rows: list[dict[str, Any]], sweep: Sweep, provider: str, field: str) -> list[tuple[int, float]]:
    """(size, value) of a provider along a sweep, ascending."""
    assert sweep.variable is not None
    points = []
    for case in sweep.cases:
        row = find_row(rows, case, provider)
        if row is not None:
            points.append((getattr(case, sweep.variable), row[field]))
    return sorted(points)


def find_row(rows: list[dict[str, Any]], case: Case, provider: str) -> dict[str, Any] | None:
    """The provider's row of a case, if it has one."""
    names = ("groups", "group_size", "dim", "dtype", "scope")
    for row in rows:
        if row["provider"] == provider and all(row[name] == getattr(case, name) for name in names):
            return row
    return None
