"""How cost grows: the slope of log time over log size, over the larger half of each sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmr_kernels.bench.cases import KEY, Case, Sweep, case_of

FEWEST_POINTS = 3
#: An exponent that may be off by more tells nothing: linear growth from none at all, or from quadratic, by two of them.
LARGEST_ERROR = 0.25


def exponents(rows: list[dict[str, Any]], sweeps: dict[str, Sweep]) -> list[dict[str, Any]]:
    """One per provider and sweep of a size, by least squares: time ~ size ** ``exponent`` between ``from`` and ``to``.

    The larger half of the sizes measured (three at least), for at small ones the call itself is most of the cost. A
    provider measured at fewer sizes has none. ``error`` adds, as squares, the standard error of the slope from how far
    the medians lie off the line, and how far it moves with half their spread, 20th to 80th percentile. Where it is over
    ``LARGEST_ERROR``, ``exponent`` is None.
    """
    found = []
    for name, sweep in sweeps.items():
        for provider in dict.fromkeys(row["provider"] for row in rows) if sweep.variable else ():
            points = sweep_rows(rows, sweep, provider)
            fitted = points[-max(FEWEST_POINTS, (len(points) + 1) // 2) :]
            if len(fitted) < FEWEST_POINTS:
                continue
            sizes = [size for size, _ in fitted]
            x = np.log(sizes) - np.log(sizes).mean()
            weights = x / (x @ x)
            low, times, high = (np.log([row[f"{end}_us"] for _, row in fitted]) for end in ("p20", "median", "p80"))
            slope = float(weights @ times)
            bend = np.linalg.norm(times - times.mean() - slope * x) / np.sqrt(x @ x * (len(x) - 2))
            error = float(np.hypot(bend, np.linalg.norm(weights * (high - low) / 2)))
            found.append(
                {
                    "sweep": name,
                    "variable": sweep.variable,
                    "provider": provider,
                    "exponent": slope if error <= LARGEST_ERROR else None,
                    "error": error,
                    "from": sizes[0],
                    "to": sizes[-1],
                    "points": len(sizes),
                }
            )
    return found


def sweep_rows(rows: list[dict[str, Any]], sweep: Sweep, provider: str) -> list[tuple[int, dict[str, Any]]]:
    """(size, row) of a provider along a sweep, ascending."""
    assert sweep.variable is not None
    found = [(getattr(case, sweep.variable), find_row(rows, case, provider)) for case in sweep.cases]
    return sorted(((size, row) for size, row in found if row is not None), key=lambda point: point[0])


def find_row(rows: list[dict[str, Any]], case: Case, provider: str) -> dict[str, Any] | None:
    """The provider's row of a case, if it has one."""
    for row in rows:
        if row["provider"] == provider and case_of(row)[: len(KEY)] == case[: len(KEY)]:
            return row
    return None
