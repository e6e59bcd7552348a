"""Check every provider of every case, time those that are right, and put it all in one report."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from mmr_kernels.bench import baselines, gpu
from mmr_kernels.bench.cases import KEY, SEED, Case, Inputs, Sweep, make_inputs
from mmr_kernels.bench.exponents import exponents
from mmr_kernels.bench.measure import Call, Clock, interleaved, ratio, summary, wall_clock
from mmr_kernels.bench.provider import Provider, Trial

Row = dict[str, Any]
FIELDS = ("provider", *KEY, "median_us", "p20_us", "p80_us", "ratio_to_bmm")
#: The similarity alone, embeddings times their transposes: no diagonal, no norms, nothing picked.
BMM = "bmm"
#: Seconds between turns of a peer, which comes last in them: the threads of NumPy's OpenBLAS spin for some 100 ms after
#: a call, and bmm and ours would be timed against them.
SETTLE = 0.15


class Limits(NamedTuple):
    """Time to spend, in seconds, and turns to take."""

    each: float  # on the turns of one provider with bmm, in one case
    longest_call: float  # beyond it a provider is left out of larger cases
    longest_check: float  # the same for its first call, a compiler's time included
    fewest_turns: int

    @classmethod
    def of(cls, quick: bool) -> Limits:
        """Those of ``--quick``, or the usual."""
        return cls(0.05, 0.05, 5.0, 3) if quick else cls(0.6, 1.5, 60.0, 5)


class Run:
    """One run: the rows so far, and what was left out and why.

    ``left_out`` has ``kind`` "absent" (can't run here), "bounded" (would take too long), "refused" (the backend
    can't take the case), "wrong" (gave a wrong result, so was not timed) or "failed" (raised an error).
    """

    def __init__(self, limits: Limits, device: str) -> None:
        self.limits, self.device = limits, device
        self.clock: Clock = gpu.device_clock if device == "cuda" else wall_clock
        self.rows: list[Row] = []
        self.speedups: list[Row] = []
        self.left_out: list[Row] = []
        self.gpu: dict[str, Any] | None = gpu.floors(limits.each) | {"rows": []} if device == "cuda" else None
        self._slow: list[tuple[Provider, Case, str]] = []

    def case(self, case: Case, providers: list[Provider], tick: Callable[[], None]) -> None:
        """Check and time the providers, those of ours first: others are compared to the first of ours that is right and
        computes the same, and a backend's other methods to its MMR."""
        inputs = make_inputs(case, self.device)
        of_bmm: dict[bool, list[float]] = {True: [], False: []}  # on the clock of captured calls, and on that of others
        timed: list[Row] = []
        ours: dict[str, tuple[Provider, Call, Call]] = {}  # by name; the second call is captured where it can be
        ratios: dict[str, dict[str, float]] = {}  # by the name of what they are against
        for provider in providers:
            if (checked := self._checked(provider, inputs)) is not None:
                trial, call = checked
                calls = {BMM: gpu.captured(baselines.bmm, inputs) if provider.captured else baselines.bmm(inputs)}
                against = _against(provider, [each for each, _, _ in ours.values()])
                if against is not None:
                    _, plain, captured = ours[against]
                    calls[against] = captured if provider.captured else plain
                calls[provider.name] = call
                pause = SETTLE if provider.kind == "peer" else 0.0
                samples = interleaved(calls, self.limits.each, self.clock, self.limits.fewest_turns, pause)
                of_bmm[provider.captured] += samples[BMM]
                timed.append(_row(case, provider.name, samples[provider.name], samples[BMM]))
                self._note_time(provider, inputs, trial, samples[provider.name], timed[-1])
                if against is not None:
                    found = ratio(samples[provider.name], samples[against])
                    ratios.setdefault(against, {})[provider.name] = found
                if provider.kind == "ours":
                    ours[provider.name] = provider, trial.call, call
            tick()
        self.speedups += [_key(case) | {"against": name, "ratios": found} for name, found in ratios.items()]
        if bmm := of_bmm[True] or of_bmm[False]:
            self.rows += [_row(case, BMM, bmm, bmm), *timed]

    def _checked(self, provider: Provider, inputs: Inputs) -> tuple[Trial, Call] | None:
        """The trial and what is timed of it, if the provider takes the case, in time, and is right; else a line in
        ``left_out``."""
        case = inputs.case
        reason = provider.why_not(case) or self._too_slow(provider, case)
        if reason is not None:
            self._leave_out(provider, case, "bounded", reason)
            return None
        start = time.perf_counter()
        try:
            trial = provider.prepare(inputs)
            call, wrong = trial.call, trial.wrong(trial.call())
            if wrong is None and provider.captured:
                call = graph = gpu.captured(lambda inputs: provider.prepare(inputs).call, inputs)
                graph()
                wrong = trial.wrong(graph.results[0])
        except Exception as error:  # one that breaks must not take the others' figures with it; it is reported
            refused = isinstance(error, ValueError) and str(error).startswith("backend=")
            self._leave_out(provider, case, "refused" if refused else "failed", f"{type(error).__name__}: {error}")
            return None
        took = time.perf_counter() - start
        if took > self.limits.longest_check:
            self._slow.append((provider, case, f"took {took:.0f} s to start at {case}"))
        if wrong is not None:
            self._leave_out(provider, case, "wrong", wrong)
            return None
        return trial, call

    def _too_slow(self, provider: Provider, case: Case) -> str | None:
        """It was over a limit on a case that is nowhere larger."""
        for slow, smaller, reason in self._slow:
            if slow is provider and all(map(int.__le__, smaller.sizes, case.sizes)):
                return reason
        return None

    def _note_time(self, provider: Provider, inputs: Inputs, trial: Trial, samples: list[float], row: Row) -> None:
        if (least := min(samples)) > self.limits.longest_call * 1e6:  # the least: what else runs here only adds
            self._slow.append((provider, inputs.case, f"took {least / 1e6:.2g} s per call at {inputs.case}"))
        if self.gpu is not None and provider.captured:
            floor = gpu.against_floor(inputs, row["median_us"], self.gpu["copy_gb_per_s"])
            key = _key(inputs.case, provider.name)
            self.gpu["rows"].append(key | floor | {"host_us": gpu.host_us(trial.call)})

    def _leave_out(self, provider: Provider, case: Case, kind: str, reason: str) -> None:
        self.left_out.append(_key(case, provider.name) | {"kind": kind, "reason": reason})


def _against(provider: Provider, ours: list[Provider]) -> str | None:
    """The name of the one of ours that the provider is compared to, if any."""
    method, backend = provider.method, None
    if provider.kind == "ours":
        if not method:
            return None
        method, backend = "", provider.asked_for_as
    return next((each.name for each in ours if each.method == method and backend in (None, each.asked_for_as)), None)


def run(
    sweeps: dict[str, Sweep],
    providers: list[Provider],
    limits: Limits,
    device: str,
    track: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> dict[str, Any]:
    """All cases of the sweeps, each once, the small before the large.

    Args:
        track: is told how many steps there are, and returns what to call after each.

    Returns:
        All that ``--json`` writes, but for where it comes from.
    """
    torch.manual_seed(SEED)
    measured = Run(limits, device)
    absent = {p.asked_for_as: p.why_not_here for p in providers if p.why_not_here is not None}
    for name, reason in absent.items():
        nowhere = dict.fromkeys(KEY)
        measured.left_out.append({"provider": name, **nowhere, "kind": "absent", "reason": reason})
    cases = sorted({case for sweep in sweeps.values() for case in sweep.cases}, key=_work)
    plan = [(case, [p for p in providers if p.why_not_here is None and p.task in case.tasks]) for case in cases]
    tick = track(sum(len(row) for _, row in plan))
    for case, taking_part in plan:
        measured.case(case, taking_part, tick)
    return {
        "device": device,
        "seed": SEED,
        "seconds_each": limits.each,
        "rows": measured.rows,
        "speedups": measured.speedups,
        "exponents": exponents(measured.rows, sweeps),
        "left_out": measured.left_out,
        "gpu": measured.gpu,
    }


def _work(case: Case) -> tuple[str, int, Case]:
    scopes, members, dim = case.sizes
    return case.task, scopes * members**2 * dim, case


def _key(case: Case, provider: str | None = None) -> Row:
    named = {} if provider is None else {"provider": provider}
    return named | {name: getattr(case, name) for name in KEY}


def _row(case: Case, provider: str, samples: list[float], bmm: list[float]) -> Row:
    return _key(case, provider) | summary(samples) | {"ratio_to_bmm": ratio(samples, bmm)}
