"""Sections 3 and 4 of the contract (docs/contract.md) in plain PyTorch: λ, counts, and the new rewards of each method.

All are over rows, one per scope, of M places: r is (scopes, M), and ``member`` says which places hold a valid
completion. ``column(pick)`` is S_ij for all i and one j per scope.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmr_kernels.reference.scopes import SimilarityColumns, mean_and_variance

#: Guards of sections 3, 4 (SMI) and 4 (match_scale).
MEAN_GUARD = 1e-8
DENSITY_GUARD = 1e-6
SPREAD_GUARD = 1e-8
#: The least factor of ``partition``, and c of the determinants with ``quality``.
SMALLEST_PART = 0.1
QUALITY_SCALE = 8.0


# Section 3: λ, from population statistics of the scope's rewards.


def scope_lambda(r: Tensor, member: Tensor, mode: str, lam: Tensor | float, temperature: float) -> Tensor:
    """λ before the diversity is applied: one per row of r, (rows, 1)."""
    mean, variance = mean_and_variance(r, member, correction=0)
    deviation = variance.sqrt()
    if mode == "sigmoid":
        # In float64: torch's vectorised float32 exp rounds otherwise than the scalar one that finishes the array, so a
        # group's λ would depend on where in the batch it stands. (MPS has no float64.)
        return torch.sigmoid(deviation.to(widest(r))).to(r.dtype)
    if mode == "relative_std":
        relative = temperature * deviation / (mean.abs() + MEAN_GUARD)
        return 1 - 1 / (1 + relative)  # = relative / (1 + relative), without inf / inf
    if mode in ("fixed", "tensor"):
        return torch.as_tensor(lam, dtype=r.dtype, device=r.device).reshape(-1, 1).expand(r.shape[0], 1)
    raise NotImplementedError(f"lam_mode {mode!r}")


def widest(values: Tensor) -> torch.dtype:
    """The most precise dtype of the values' device."""
    return values.dtype if values.device.type == "mps" else torch.float64


# Section 4: MMR.


def greedy(
    r: Tensor, member: Tensor, lam: Tensor, column: SimilarityColumns, first_pick: str
) -> tuple[Tensor, Tensor, Tensor]:
    """MMR (Carbonell & Goldstein 1998): reweighted rewards, ranks and the similarity at which each was picked."""
    left = member.clone()
    nearest = torch.zeros_like(r)  # m_i
    new = torch.full_like(r, float("nan"))
    rank = torch.full(r.shape, -1, dtype=torch.int64, device=r.device)
    max_similarity = torch.zeros_like(r)
    for step in range(r.shape[1]):
        score = lam * r - (1 - lam) * nearest
        by = r if step == 0 else score
        pick = first_of_largest(by.where(left, float("-inf")))
        picked = left.gather(1, pick)  # False once a scope has no one left
        value = ({"reward": r, "score": score}[first_pick] if step == 0 else score).gather(1, pick)
        new.scatter_(1, pick, value.where(picked, new.gather(1, pick)))
        rank.scatter_(1, pick, torch.full_like(pick, step).where(picked, rank.gather(1, pick)))
        max_similarity.scatter_(1, pick, nearest.gather(1, pick).where(picked, max_similarity.gather(1, pick)))
        left.scatter_(1, pick, False)
        nearest = nearest.maximum(column(pick)).where(picked, nearest)
    return new, rank, max_similarity


def first_of_largest(values: Tensor) -> Tensor:
    """The lowest index of the largest value of each row, (rows, 1): argmax may return any of several."""
    return (values == values.amax(-1, keepdim=True)).to(torch.uint8).argmax(-1, keepdim=True)


# Section 4: counts, how many members are like each.


def count(
    r: Tensor,
    member: Tensor,
    column: SimilarityColumns | None,
    labels: Tensor | None,
    sharpness: float | None,
    threshold: float | None,
) -> Tensor:
    """n_i, like r: the members that have i's label, or the sum of their similarities to i; i is one of them."""
    if threshold is not None:
        labels = components(member, column, threshold)

    def alike(j: int) -> Tensor:
        pick = place_of(r, j)
        if labels is not None:
            return (labels == labels.gather(1, pick)).to(r.dtype)
        assert column is not None
        return column(pick) if sharpness is None else likeness(column, j, sharpness).scatter(1, pick, 1.0)

    n = torch.zeros_like(r)
    for j in range(r.shape[1]):
        n = n + alike(j).where(member[:, j : j + 1], 0.0)
    return n


def place_of(r: Tensor, j: int) -> Tensor:
    """Place j of each row, (rows, 1)."""
    return torch.full((r.shape[0], 1), j, device=r.device)


def likeness(column: SimilarityColumns, j: int, sharpness: float) -> Tensor:
    """max(0, S_ij)^p for all i."""
    return power(column(place_of(column.place, j)).clamp(min=0), sharpness)


def power(base: Tensor, exponent: float) -> Tensor:
    """In float64 for the reason that ``scope_lambda`` has."""
    return base.to(widest(base)).pow(exponent).to(base.dtype)


def components(member: Tensor, column: SimilarityColumns | None, threshold: float) -> Tensor:
    """A label per connected component of S_ij > τ, in either direction: its lowest place. Like ``member``.

    The component at hand grows by one member per step, so there are as many steps as places.
    """
    assert column is not None
    places = member.shape[1]
    place = torch.arange(places, device=member.device).expand(member.shape)
    label = torch.full_like(place, places)
    unseen, reached = member.clone(), torch.zeros_like(member)
    current = torch.full_like(place[:, :1], places)
    for _ in range(places):
        # First whoever the component at hand has reached; then the lowest place of those that none has.
        pick = first_of_largest(torch.where(reached, 2, torch.where(unseen, 1, 0)))
        current = current.where(reached.any(-1, keepdim=True), pick)
        here = place == pick
        label = current.where(here & member, label)
        unseen, reached = unseen & ~here, reached & ~here
        linked = (column(pick) > threshold) | (column.of_row(pick) > threshold)
        linked = linked & unseen & member.gather(1, pick)
        unseen, reached = unseen & ~linked, reached | linked
    return label


# Section 4: methods that count.


def divided_by_count(r: Tensor, n: Tensor, strength: float) -> Tensor:
    """``smi``: r / (n + 1e-6)^α (DRA-GRPO, arXiv 2505.09655; with clusters IPS-GRPO, arXiv 2601.21669)."""
    if strength == 1:
        return r / (n + DENSITY_GUARD)
    return r / power(n.clamp(min=0) + DENSITY_GUARD, strength)


def partitioned(r: Tensor, member: Tensor, n: Tensor) -> Tensor:
    """``partition``: r times the share of the others in other clusters, at least 0.1 (DARLING, arXiv 2509.02534)."""
    members = member.sum(-1, keepdim=True)
    part = ((members - n) / (members - 1).clamp(min=1)).clamp(min=SMALLEST_PART)
    return r * part.where(members > 1, 1.0)


# Section 4: determinants.


def determinant_gain(r: Tensor, member: Tensor, column: SimilarityColumns, quality: bool) -> Tensor:
    """b_i = log det(I + L) − log det(I + L without i) = −log [(I + L)⁻¹]_ii, where L is S, or c √r_i S_ij √r_j.

    DQO (arXiv 2509.04784), and with ``quality`` GCPO (arXiv 2605.11461). Each step brings one place of the symmetric
    matrix to its negative inverse: the sweep operator of Beaton (1964). Where L is positive semidefinite every pivot of
    I + L is at least 1 and b_i in [0, log(1 + L_ii)]; they are held there, so a matrix that isn't gives numbers.
    """
    if not r.shape[1]:
        return torch.zeros_like(r)
    matrix = torch.stack([column(place_of(r, j)) for j in range(r.shape[1])], -1)
    matrix = (matrix + matrix.mT) / 2
    if quality:
        root = (r - r.where(member, float("inf")).amin(-1, keepdim=True)).where(member, 0.0).sqrt()
        matrix = QUALITY_SCALE * root.unsqueeze(2) * matrix * root.unsqueeze(1)
    matrix = matrix.where(member.unsqueeze(2) & member.unsqueeze(1), 0.0)
    matrix = matrix + torch.eye(r.shape[1], dtype=r.dtype, device=r.device)
    most = matrix.diagonal(dim1=1, dim2=2).clamp(min=1)
    for k in range(r.shape[1]):
        row = matrix[:, k].clone()
        pivot = row[:, k : k + 1].clamp(min=1)
        divided = row / pivot
        matrix = matrix - row.unsqueeze(2) * divided.unsqueeze(1)
        matrix[:, k], matrix[:, :, k] = divided, divided
        matrix[:, k, k] = -1 / pivot.squeeze(1)
    inverse = -matrix.diagonal(dim1=1, dim2=2)
    # 1 / (1 + L_ii) ≤ inverse ≤ 1; a NaN, which only a matrix that isn't positive semidefinite can give, counts as 1.
    inverse = inverse.nan_to_num(nan=1.0).clamp(max=1).maximum(1 / most)
    return -inverse.to(widest(r)).log().to(r.dtype)


# Section 4: match_scale.


def match_scale(new: Tensor, r: Tensor, member: Tensor) -> Tensor:
    """Mean and population deviation as the scope's rewards had them."""
    mean_new, variance_new = mean_and_variance(new, member, correction=0)
    mean, variance = mean_and_variance(r, member, correction=0)
    matched = (new - mean_new) / (variance_new.sqrt() + SPREAD_GUARD) * (variance.sqrt() + SPREAD_GUARD) + mean
    return matched.where(variance_new.sqrt() > SPREAD_GUARD, new)
