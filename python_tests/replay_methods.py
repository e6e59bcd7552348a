"""How far rounding may move what the methods but MMR compute, and the signal: (expected in float64, error allowed)."""

from __future__ import annotations

import numpy as np
from oracle import Case, Oracle
from tolerance import COSINE, ROUNDING, TENSOR_CORE_SUM

ORACLE = Oracle()
Bounded = tuple[np.ndarray, np.ndarray]


def dot_rounding(case: Case, similarity: np.ndarray, rounding: float) -> float:
    """How far a dot product may be off where rows are not brought to norm 1, by the largest; 0 where they are."""
    if case.option("normalize") or case.similarity is not None or not len(similarity):
        return 0.0
    assert case.embeddings is not None
    if case.embeddings.element_size() == 2:
        rounding += TENSOR_CORE_SUM * np.ceil(case.embeddings.shape[-1] / 16)
    return float(rounding * np.max(np.diag(similarity)))


def entry_rounding(case: Case, s: np.ndarray, rounding: float) -> float:
    """How far one similarity may be off."""
    if case.similarity is not None:
        return 0.0
    return COSINE if case.option("normalize") else dot_rounding(case, s, rounding)


def likeness(case: Case, s: np.ndarray, sharpness: float, rounding: float) -> Bounded:
    """max(0, S)^p: between those of the least and of the largest S that rounding may give, and the power's own."""
    entry = entry_rounding(case, s, rounding)
    alike = ORACLE.likeness(s, sharpness)
    reach = ORACLE.likeness(s + entry, sharpness) - ORACLE.likeness(s - entry, sharpness)
    logs = np.abs(np.log2(np.maximum(s, 1e-30)))
    return alike, reach + ROUNDING * (1 + sharpness * logs) * alike


def counts(case: Case, scope: int, r: np.ndarray, rounding: float) -> Bounded:
    """n of a scope's members. Where a similarity is as near to the threshold as rounding, who is connected is open."""
    n, valid = ORACLE.counts(case, scope, r), np.isfinite(r)
    if case.labels is not None or case.option("method") in ("mmr", "dpp", "none"):
        return n, np.zeros(len(r))
    s, threshold = ORACLE.similarity(case, scope), case.option("threshold")
    if threshold is not None:
        close = np.abs(s - threshold) <= entry_rounding(case, s, rounding)
        open_ = bool(np.any((close & (case.similarity is None))[np.ix_(valid, valid)]))
        return n, np.full(len(r), np.inf if open_ else 0.0)
    if case.option("sharpness") is None:
        noise = rounding * np.sum(np.abs(s[:, valid]), axis=1) + len(r) * dot_rounding(case, s, rounding)
        if case.similarity is None and case.option("normalize"):
            noise += COSINE * np.sum(valid)
        return n, noise
    return n, rounding * n + np.sum(likeness(case, s, case.option("sharpness"), rounding)[1] * valid, axis=1)


def new_rewards(case: Case, scope: int, r: np.ndarray, n: Bounded, rounding: float) -> Bounded:
    """r' of a scope."""
    expected, method = ORACLE.without_picks(case, scope, r, n[0]), case.option("method")
    if method == "smi":  # the rounding of its divisor, enlarged by 1 / divisor
        divisor = np.abs(n[0] + 1e-6)
        strength = case.option("strength")
        if strength != 1:
            divisor = np.maximum(n[0], 0) + 1e-6
        relative = (rounding + n[1] / divisor) * strength
        with np.errstate(invalid="ignore"):
            return expected, np.where(n[1] < divisor / 2, 2 * np.abs(expected) * relative, np.inf)
    if method == "partition":
        return expected, np.where(np.isfinite(n[1]), 0.0, np.inf)
    if method == "dpp":
        valid = np.isfinite(r)
        s = ORACLE.similarity(case, scope)
        kernel = ORACLE.kernel_matrix(r[valid], s[np.ix_(valid, valid)], case.option("quality")) if valid.any() else s
        # b moves by at most the norm of what the matrix I + L, whose eigenvalues are at least 1, moves by; elimination
        # moves it by a few roundings of its largest element per step.
        largest = 1 + np.max(np.abs(kernel), initial=0.0)
        entry = largest * (rounding + entry_rounding(case, s, rounding) / max(np.max(np.abs(s), initial=0.0), 1e-30))
        factor = 1.0 if case.option("quality") else case.option("strength")
        return expected, np.full(len(r), factor * valid.sum() * entry)
    return expected, np.zeros(len(r))


def weights(case: Case, n: Bounded, members: list[int]) -> tuple[float, np.ndarray]:
    """Of a method that weighs advantages: how much weighing may enlarge what was there, and relative errors."""
    method, strength = case.option("method"), case.option("strength")
    if method not in ("share", "unique"):
        return 1.0, np.zeros(len(members))
    count, noise = n[0][members], n[1][members]
    if not np.all(np.isfinite(noise)) or np.any(noise >= count / 2):
        return 1.0, np.full(len(members), np.inf)
    exponent = strength * (4.0 if method == "share" else 1.0)  # at most: 1 + d ≤ 2, and the ratio of sums besides
    relative = exponent * 2 * noise / count
    if method == "unique":
        return 1.0, relative
    return float((count.max() / count.min()) ** (2 * strength)), relative + relative.max()


def signals(case: Case, rounding: float) -> Bounded:
    """T and V, one pair per scope."""
    expected = ORACLE.signals(case)
    errors = np.zeros_like(expected)
    if case.embeddings is None and case.similarity is None:
        return expected, errors
    sharpness = 4.0 if case.option("sharpness") is None else case.option("sharpness")
    r = case.float_rewards
    for scope, members in enumerate(case.scopes):
        s = ORACLE.similarity(case, scope)
        alike, moved = likeness(case, s, sharpness, rounding)
        noise = rounding * np.max(np.abs(r[members]), initial=0.0, where=np.isfinite(r[members]))
        for group in [members] if case.option("scope") == "group" else case.groups:
            places = [members.index(i) for i in group if np.isfinite(r[i])]
            if len(places) < 2:
                continue
            values = r[[members[p] for p in places]]
            centred = values - values.mean()
            spread = np.abs(centred).sum()
            errors[scope, 1] += 1e-5 * np.sum(centred**2) + 4 * noise * spread + len(values) * noise**2
            for k, place in enumerate(places):
                others = [p for p in places if p != place]
                weight, reach = alike[place, others], moved[place, others]
                total = weight.sum()
                if total + reach.sum() <= 1e-9:
                    continue
                if total - reach.sum() <= 1e-9:
                    errors[scope, 0] = np.inf
                    continue
                rest = np.delete(values, k)
                guess = np.sum(weight * rest) / total
                off = values[k] - rest.mean()
                moved_guess = np.sum(reach * np.abs(rest - guess)) / total + 4 * noise
                errors[scope, 0] += abs(off) * moved_guess + abs(guess - rest.mean()) * 4 * noise + noise * moved_guess
                errors[scope, 0] += 1e-5 * abs(off * (guess - rest.mean()))
    return expected, errors
