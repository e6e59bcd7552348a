"""Counts (section 4 of the contract) and the signal (section 7) in Triton: one pass over the similarities.

What it needs of each member is loaded, for the address is known long before: passing it between lanes costs shuffles.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmr_kernels.backends import triton as backend
from mmr_kernels.backends.triton.members import (
    completions,
    lowest,
    mean_and_deviation,
    number_of,
    places,
    power,
    rewards_of,
    total,
)
from mmr_kernels.backends.triton.similarity import given, similarity_to

SMALLEST_WEIGHT = tl.constexpr(1e-9)
LARGEST_PART = tl.constexpr(backend.LARGEST_PART)


@triton.jit
def likeness(similarities, sharpness, WHOLE_SHARPNESS: tl.constexpr):
    """max(0, S)^p: multiplied out where p is a small whole number, which ``WHOLE_SHARPNESS`` then is and else None."""
    base = tl.maximum(similarities, 0.0)
    if WHOLE_SHARPNESS is None:
        return tl.where(base > 0.0, power(base, sharpness), 0.0)
    else:
        product = tl.full(base.shape, 1.0, tl.float32)
        for _ in tl.static_range(WHOLE_SHARPNESS):
            product *= base
        return product


@triton.jit
def added_up(values, AT_ONCE: tl.constexpr):
    """Over the members j of one step, which lie in registers of a lane."""
    return tl.sum(values, 0, keep_dims=True) if AT_ONCE else values


@triton.jit
def counts_and_signal(
    r, member, rewards, valid, labels, group_of, counts, sharpness, first, order, index,
    place, size, block, similarity, rows, COUNT: tl.constexpr, SIGNAL: tl.constexpr, WHOLE_SHARPNESS: tl.constexpr,
    ON_CHIP: tl.constexpr, AT_ONCE: tl.constexpr, TILE: tl.constexpr, MEMBERS: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """n of section 4 of what COUNT says, None for nothing; T and V of section 7, summed over the scope's groups.

    ``group_of`` is None where the scope is one group. A large scope's members are taken in parts: all that a pass
    keeps of each one would not fit in registers; their n passes through ``counts``.
    """
    mean = mean_and_deviation(r, member, 0)[0]
    members = number_of(member).to(tl.float32)
    sums = total(tl.where(member, r - mean, 0.0))
    if MEMBERS <= LARGEST_PART:
        n, explained, variance = of_part(
            r, member, mean, members, sums, rewards, valid, labels, group_of, sharpness, first, order, index,
            place, size, block, similarity, rows, COUNT, SIGNAL, WHOLE_SHARPNESS, ON_CHIP, AT_ONCE, TILE, STRIDE,
        )  # fmt: skip
    else:
        n, explained, variance = tl.zeros(place.shape, tl.float32), tl.zeros_like(mean), tl.zeros_like(mean)
        for part in range(0, size, LARGEST_PART):
            here = part + places(LARGEST_PART, place.shape[1])
            index_here = completions(first, here, size, order)
            r_here, member_here = rewards_of(rewards, valid, index_here, here < size)
            n_here, explained_here, variance_here = of_part(
                r_here, member_here, mean, members, sums, rewards, valid, labels, group_of, sharpness, first, order,
                index_here, here, size, block, similarity, rows, COUNT, SIGNAL, WHOLE_SHARPNESS, ON_CHIP, AT_ONCE,
                TILE, STRIDE,
            )  # fmt: skip
            explained += explained_here
            variance += variance_here
            if COUNT is not None:
                tl.store(counts + index_here, n_here, mask=here < size)
        if COUNT is not None:
            tl.debug_barrier()
            n = tl.load(counts + index, mask=place < size, other=0.0)
    return n, explained, variance


@triton.jit
def of_part(
    r, member, mean, members, sums, rewards, valid, labels, group_of, sharpness, first, order, index,
    place, size, block, similarity, rows, COUNT: tl.constexpr, SIGNAL: tl.constexpr, WHOLE_SHARPNESS: tl.constexpr,
    ON_CHIP: tl.constexpr, AT_ONCE: tl.constexpr, TILE: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """The same of the members at ``place``, their T and V; the scope has ``members`` in all, c of the sum ``sums``."""
    # SMI's published sum has i in it like any other member.
    n = tl.full(place.shape, 1.0 if COUNT == "likeness" else 0.0, tl.float32)
    weights = tl.zeros_like(r)  # Σ_j K_ij of i's group, and Σ_j K_ij c_j, where c is r less one mean for all groups
    weighed = tl.zeros_like(r)
    centred = tl.where(member, r - mean, 0.0)
    members += tl.zeros_like(r)  # of i's group, and Σ_j c_j
    sums += tl.zeros_like(r)
    if COUNT == "labels":
        label = tl.load(labels + index, mask=place < size, other=0)
    if SIGNAL and group_of is not None:
        group = tl.load(group_of + index, mask=place < size, other=0).to(tl.int32)
        members, sums = tl.zeros_like(r), tl.zeros_like(r)
    # The loads of several steps are under way together: those of one row where it takes as many.
    UNROLL: tl.constexpr = 4 if place.shape[0] <= 4 else 1
    for step in tl.range(0, 1 if AT_ONCE else size, loop_unroll_factor=UNROLL):
        j = tl.arange(0, TILE)[:, None, None] if AT_ONCE else tl.zeros([1, 1, 1], tl.int32) + step
        index_j = completions(first, j, size, order)
        r_j, counts = rewards_of(rewards, valid, index_j, j < size)
        if COUNT == "labels":
            alike = label == tl.load(labels + index_j, mask=j < size, other=0)
            n += added_up(tl.where(counts & alike, 1.0, 0.0), AT_ONCE)
        if SIGNAL or COUNT == "similarity" or COUNT == "likeness":
            column = block if AT_ONCE else similarity_to(step, place, size, block, similarity, rows, ON_CHIP, STRIDE)
        if COUNT == "similarity":
            n += added_up(tl.where(counts, column, 0.0), AT_ONCE)
        if SIGNAL or COUNT == "likeness":
            weight = tl.where(counts & (place != j), likeness(column, sharpness, WHOLE_SHARPNESS), 0.0)
        if COUNT == "likeness":
            n += added_up(weight, AT_ONCE)
        if SIGNAL:
            centred_j = tl.where(counts, r_j - mean, 0.0)
            if group_of is not None:
                together = group == tl.load(group_of + index_j, mask=j < size, other=0).to(tl.int32)
                weight = tl.where(together, weight, 0.0)
                members += added_up(tl.where(together & counts, 1.0, 0.0), AT_ONCE)
                sums += added_up(tl.where(together, centred_j, 0.0), AT_ONCE)
            weights += added_up(weight, AT_ONCE)
            weighed += added_up(weight * centred_j, AT_ONCE)
    explained, variance = explained_and_variance(centred, member, weights, weighed, sums, members)
    return n, explained, variance


@triton.jit
def explained_and_variance(centred, member, weights, weighed, sums, members):
    """T and V from what ``counts_and_signal`` added up."""
    others = tl.maximum(members - 1.0, 1.0)
    of_others = tl.div_rn(sums - centred, others)
    predicts = member & (weights > SMALLEST_WEIGHT) & (members > 1.0)
    predicted = tl.div_rn(weighed, tl.where(predicts, weights, 1.0))
    explained = total(tl.where(predicts, (centred - of_others) * (predicted - of_others), 0.0))
    apart = centred - tl.div_rn(sums, tl.maximum(members, 1.0))
    variance = total(tl.where(member, tl.div_rn(apart * apart * members, others), 0.0))
    return explained, variance


@triton.jit
def component_sizes(
    member, threshold, place, size, block, similarity, rows, ON_CHIP: tl.constexpr, MEMBERS: tl.constexpr,
    STRIDE: tl.constexpr,
):  # fmt: skip
    """n of section 4: the members of each one's connected component of S_ij > τ or S_ji > τ.

    A step expands one member: the lowest that the component at hand has reached, else the lowest that none has, which
    begins the next. So there are as many steps as members, each with one reduction.
    """
    EXPANDED: tl.constexpr = 2 * MEMBERS
    turn = tl.where(member, place + MEMBERS, EXPANDED)  # unseen; its place once it is reached
    component = tl.full(place.shape, -1, tl.int32)
    n = tl.zeros(place.shape, tl.float32)
    current = lowest(component)  # the first to be expanded begins one
    grown = current.to(tl.float32)
    for _ in range(tl.max(number_of(member))):
        next_turn = lowest(turn)
        begins = next_turn >= MEMBERS
        pick = next_turn & (MEMBERS - 1)
        current = tl.where(begins, pick, current)
        grown = tl.where(begins, 1.0, grown + 1.0)
        linked = similarity_to(pick, place, size, block, similarity, rows, ON_CHIP, STRIDE) > threshold
        if similarity is not None:  # as it was given, it may be asymmetric
            linked = linked | (given(similarity, pick, place, size, place < size) > threshold)
        component = tl.where(place == pick, current, component)
        # Set anew at each step: at a component's last one it has all its members.
        n = tl.where(component == current, grown, n)
        reached = tl.where(linked & (turn == place + MEMBERS), place, turn)
        turn = tl.where(place == pick, EXPANDED, reached)
    return n


@triton.jit
def divided_by_count(r, n, strength):
    """``smi`` (DRA-GRPO, arXiv 2505.09655; with clusters IPS-GRPO, arXiv 2601.21669)."""
    DENSITY_GUARD: tl.constexpr = 1e-6
    # strength 1 by division alone: the published sum may be negative.
    raised = power(tl.maximum(n, 0.0) + DENSITY_GUARD, strength)
    return tl.div_rn(r, tl.where(strength == 1.0, n + DENSITY_GUARD, raised))


@triton.jit
def partitioned(r, member, n):
    """``partition``: r times the share of the others in other clusters (DARLING, arXiv 2509.02534)."""
    SMALLEST_PART: tl.constexpr = 0.1
    members = number_of(member).to(tl.float32)
    part = tl.maximum(tl.div_rn(members - n, tl.maximum(members - 1.0, 1.0)), SMALLEST_PART)
    return tl.where(members > 1.0, r * part, r)
