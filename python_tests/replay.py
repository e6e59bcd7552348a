"""The contract's section 6 as a check: replay a result in float64 along its own picking order.

Two programs may pick differently where two scores are closer than rounding, and both be right; so a result is judged
by its own choices: was each the best then available, and do its numbers follow from them?
"""

from __future__ import annotations

import numpy as np
import torch
from oracle import Case, Oracle
from replay_methods import Bounded, counts, dot_rounding, new_rewards, signals, weights
from tolerance import CONTRACT, ROUNDING, relative

from mmr_kernels import MMRResult

ORACLE = Oracle()


def check(case: Case, result: MMRResult, tolerance: float = CONTRACT, rounding: float = ROUNDING) -> None:
    """Raise AssertionError, saying what differs, unless the result is right."""
    advantages, new, rank, max_similarity, lam, signal = (
        None if field is None else field.detach().cpu().double().flatten().numpy() for field in result
    )
    assert new is not None
    r = case.float_rewards
    assert np.array_equal(np.isnan(new), np.isnan(r)), "reweighted_rewards is NaN exactly where not valid"
    expected_lam = np.full(len(case.scopes), np.nan)
    n: Bounded = np.ones(len(r)), np.zeros(len(r))
    for scope, members in enumerate(case.scopes):
        group_r, group_new = r[members], new[members]
        valid = np.isfinite(group_r)
        if case.option("method") == "mmr":
            expected_lam[scope] = ORACLE.scope_lambda(case, scope, group_r[valid])
            similarity = ORACLE.similarity(case, scope)
            slack = dot_rounding(case, similarity, rounding)
            expected, nearest = _along_own_order(
                case, group_r, similarity, expected_lam[scope], rank[members], tolerance, slack
            )
            _close("max_similarity", max_similarity[members], nearest, relative(tolerance, nearest) + slack)
            extra = np.full(len(members), slack)
        else:
            assert np.all(rank[members] == -1), "a method that picks nothing has rank -1"
            assert np.all(max_similarity[members] == 0), "a method that picks nothing has max_similarity 0"
            count = counts(case, scope, group_r, rounding)
            n[0][members], n[1][members] = count
            expected, extra = new_rewards(case, scope, group_r, count, rounding)
        if case.option("match_scale") and valid.any():
            expected, extra = _matched(expected, group_r, extra, valid, rounding)
        _close("reweighted_rewards", group_new, expected, relative(tolerance, expected) + extra)
    reported = ORACLE.lam_detail(case, expected_lam)
    assert lam.shape == reported.shape, f"lam has shape {lam.shape}, expected {reported.shape}"
    _close("lam", lam, reported, tolerance)
    if advantages is not None:
        _check_advantages(case, new, n, advantages, tolerance, rounding)
    truth, errors = (ORACLE.signal_detail(case, each).flatten() for each in signals(case, rounding))
    assert signal.shape == truth.shape, f"signal holds {signal.size} numbers, expected {truth.size}"
    _close("signal", signal, truth, relative(tolerance, truth) + errors)


def _along_own_order(
    case: Case, r: np.ndarray, s: np.ndarray, lam: float, rank: np.ndarray, tolerance: float, slack: float
) -> tuple[np.ndarray, np.ndarray]:
    """New rewards and m of one scope, in the order that the ranks claim, each pick checked."""
    left = np.isfinite(r)
    order = [int(place) for place in np.argsort(rank, kind="stable") if rank[place] >= 0]
    assert np.array_equal(np.sort(rank[left]), np.arange(left.sum())), f"ranks {rank} don't count the valid members"
    assert np.all(rank[~left] == -1), "selection_rank is -1 exactly where not valid"
    expected, nearest, m = np.full(len(r), np.nan), np.zeros(len(r)), np.zeros(len(r))
    for step, pick in enumerate(order):
        if step == 0:
            lowest_best = int(np.argmax(np.where(left, r, -np.inf)))
            assert pick == lowest_best, f"first pick is {pick}, the lowest index of highest reward is {lowest_best}"
            expected[pick] = ORACLE.first_value(case, r[pick], lam)
        else:
            scores = np.where(left, lam * r - (1 - lam) * m, -np.inf)
            best, score = np.max(scores), scores[pick]
            allowed = float(relative(tolerance, best)) + 2 * slack
            assert best - score <= allowed, (
                f"pick {step} is {pick} with score {score}, {best - score} below the best left"
            )
            expected[pick], nearest[pick] = score, m[pick]
        left[pick] = False
        m = np.maximum(m, s[:, pick])
    return expected, nearest


def _matched(
    new: np.ndarray, r: np.ndarray, extra: np.ndarray, valid: np.ndarray, rounding: float
) -> tuple[np.ndarray, np.ndarray]:
    """match_scale, and what it makes of the rounding before it: all of it, times std(r) / std(new)."""
    expected = new.copy()
    expected[valid] = ORACLE.match_scale(new[valid], r[valid])
    before = rounding * np.max(np.abs(new[valid])) + np.max(extra[valid])
    spread = ORACLE.deviation(new[valid])
    if spread <= 4 * before:  # the spread is itself rounding: which side of the guard it falls is not defined
        return expected, np.full(len(new), np.inf)
    return expected, np.full(len(new), 4 * before * ORACLE.deviation(r[valid]) / spread)


def _check_advantages(
    case: Case, new: np.ndarray, n: Bounded, got: np.ndarray, tolerance: float, rounding: float
) -> None:
    """They follow from the result's own reweighted rewards, and from the counts."""
    expected = ORACLE.advantages(case, new, n[0])
    valid = np.isfinite(new)
    noise = rounding * np.max(np.abs(new[valid]), initial=0.0)
    errors = relative(tolerance, expected)
    for number, group in enumerate(case.groups):
        members = [i for i in group if valid[i]]
        if len(members) < 2:
            continue
        enlarged, of_counts = weights(case, n, members)
        spread, divisor = new[members], 1.0
        if case.option("method") == "share":
            spread = ORACLE.weighed(case, number, spread - np.mean(spread), n[0][members])
        if case.option("scale") != "none":
            divisor = case.option("eps")
            divisor += ORACLE.group_deviation(spread if case.option("scale") == "group" else new[valid])
        errors[members] += enlarged * noise * (1 + np.abs(expected[members])) / divisor
        moved = expected[members] != 0
        errors[np.array(members)[moved]] += of_counts[moved] * np.abs(expected[members][moved])
    in_company = {i for group in case.groups if np.sum(valid[group]) > 1 for i in group if valid[i]}
    alone = [i for i in range(len(new)) if i not in in_company]
    assert np.all(got[alone] == 0), "not valid, or the only valid one of its group: advantage exactly 0"
    _close("advantages", got, expected, errors)


def _close(name: str, got: np.ndarray, expected: np.ndarray, errors: np.ndarray | float) -> None:
    """Equal NaNs, and no element off by more than its error; the message names the worst."""
    assert np.array_equal(np.isnan(got), np.isnan(expected)), f"{name}: NaN in {got}, expected {expected}"
    if got.size == 0:
        return
    excess = np.nan_to_num(np.abs(got - expected) - errors, nan=-np.inf, posinf=np.inf)
    worst = int(np.argmax(excess))
    assert excess[worst] <= 0, (
        f"{name}[{worst}] is {got[worst]}, expected {expected[worst]} within"
        f" {np.broadcast_to(errors, got.shape)[worst]}"
    )


def as_result(case: Case, truth: object) -> MMRResult:
    """An oracle's truth, as the op would return it: what planted wrong oracles are judged by."""
    fields = {name: torch.from_numpy(np.asarray(value)) for name, value in vars(truth).items() if name != "gap"}
    fields["lam"] = torch.from_numpy(ORACLE.lam_detail(case, fields["lam"].numpy()))
    fields["signal"] = torch.from_numpy(ORACLE.signal_detail(case, fields["signal"].numpy()))
    return MMRResult(**fields)
