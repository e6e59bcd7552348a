"""Random calls over every option, layout, dtype and awkward value, each held to the float64 replay and run twice."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hypothesis
import replay
import torch
from hypothesis import strategies as st
from oracle import Case
from strategies import DIMENSIONS, cases

from tools.gpu_check import BACKENDS
from tools.gpu_check.phase import Place, Save, together

#: Of the phase's seconds. Triton compiles a kernel for nearly every case.
SHARES = {"triton": 0.4, "cuda": 0.2}
#: What workers may take beside: to import and to end what they have begun.
STARTS_AND_ENDS = 0.19
#: For the interpreter, which takes a second for a few dozen completions.
DRY_SECONDS, DRY_COMPLETIONS = 40, 40
#: How much larger groups get than in the suite, with the dimensions that the oracle can still afford.
STRETCHES = {1: (*DIMENSIONS, 384, 1024, 4096), 4: (*DIMENSIONS, 384, 1024), 13: DIMENSIONS, 27: DIMENSIONS}
WEIGHTS = (12, 5, 2, 1)
#: Cases of one seed, and of one size.
ROUND = 10
#: A worker that has found so many has found enough.
ENOUGH_WRONG = 5


def run(save: Save, place: Place) -> None:
    """One row per backend."""
    rows, wrong, seed = [], [], random.SystemRandom().randrange(2**31)
    total = min(place.seconds, DRY_SECONDS) if place.dry else place.seconds
    for backend in BACKENDS:
        seconds = round(total * SHARES[backend])
        calls = [(backend, seconds, seed + number, place) for number in range(place.workers)]
        found = together(work, calls, place.seconds * (SHARES[backend] + STARTS_AND_ENDS))
        tallies = [result for result, _ in found if result]
        row: dict[str, Any] = {"backend": backend, "workers": len(tallies), "seconds": seconds, "seed": seed}
        row |= {name: sum(tally[name] for tally in tallies) for name in ("cases", "refused", "unsteady")}
        row["wrong"] = sum(len(tally["wrong"]) for tally in tallies)
        row["largest_scopes"] = sum((Counter(tally["largest_scopes"]) for tally in tallies), Counter())
        rows.append(row)
        wrong += [sentence for tally in tallies for sentence in tally["wrong"]]
        wrong += [f"{backend}: worker {number} {problem}" for number, (_, problem) in enumerate(found) if problem]
        save({"rows": rows, "wrong": wrong})


def work(save: Save, backend: str, seconds: float, seed: int, place: Place) -> None:
    """Rounds of cases, until the time is over."""
    end, draw = time.monotonic() + seconds, random.Random(seed)
    tally: dict[str, Any] = {"cases": 0, "refused": 0, "unsteady": 0, "wrong": [], "largest_scopes": Counter()}

    def examine(number: int, case: Case, shifted: bool) -> None:
        if time.monotonic() < end and len(tally["wrong"]) < ENOUGH_WRONG:
            problem = _problem(case, shifted, backend, place.device, tally)
            if problem is not None:
                sizes = [len(group) for group in case.groups]
                tally["wrong"].append(f"{backend}, round {number}: {problem[:300]}; groups {sizes}, {case.options}")
            save(tally)

    for number in itertools.count(seed * 1000):
        if time.monotonic() >= end or len(tally["wrong"]) >= ENOUGH_WRONG:
            return
        drawn = _drawn(draw)
        if place.dry:
            drawn = cases().filter(lambda case: case.rewards.numel() <= DRY_COMPLETIONS)
        _round(number, drawn, examine)


def rebuilt(number: int) -> list[Case]:
    """The calls of a round, by the number that the sentence about a wrong one gives."""
    draw, found = random.Random(number // 1000), list[Case]()
    drawn = [_drawn(draw) for _ in range(number % 1000 + 1)][-1]
    _round(number, drawn, lambda number, case, shifted: found.append(case))
    return found


def _drawn(draw: random.Random) -> st.SearchStrategy[Case]:
    stretch = draw.choices(list(STRETCHES), WEIGHTS)[0]
    return cases(stretch, STRETCHES[stretch])


def _round(number: int, drawn: st.SearchStrategy[Case], examine: Callable[[int, Case, bool], None]) -> None:
    @hypothesis.seed(number)
    @hypothesis.settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=drawn, shifted=st.booleans())
    def one(case: Case, shifted: bool) -> None:
        examine(number, case, shifted)

    one()


def _problem(case: Case, shifted: bool, backend: str, device: str, tally: dict[str, Any]) -> str | None:
    """What is wrong with the backend's result, or None; the tally counts the case."""
    moved = case
    if shifted and case.embeddings is not None:  # one element further on, so that no row starts on 16 bytes
        room = torch.empty(case.embeddings.numel() + 1, dtype=case.embeddings.dtype, device=device)
        moved = replace(case, embeddings=room[1:].view(case.embeddings.shape).copy_(case.embeddings))
    dirt = [torch.full((case.rewards.numel(),), torch.nan, device=device) for _ in range(4)]
    del dirt  # outputs are allocated where it lay: what a kernel doesn't write shows
    try:
        first, again = moved.run(backend, device), moved.run(backend, device)
    except ValueError as error:
        if not str(error).startswith(f"backend={backend!r}"):
            raise
        tally["refused"] += 1
        return None
    largest = max(map(len, case.scopes), default=0)
    tally["cases"] += 1
    tally["largest_scopes"][next((str(limit) for limit in (40, 160, 520) if largest <= limit), "more")] += 1
    try:
        torch.testing.assert_close(again, first, rtol=0, atol=0, equal_nan=True)
    except AssertionError:
        tally["unsteady"] += 1
        return "two runs differ"
    try:
        replay.check(case, first)
    except AssertionError as error:
        return str(error)
    return None
