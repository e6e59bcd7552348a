"""Sections 3 to 5 of the contract in Triton, and the kernels: from raw embeddings to advantages in one launch.

``mmr_kernel`` runs one program per scope; nothing passes between programs. Where the scope is the batch a launch of
``advantages_kernel`` follows, one program per group. ``scale="batch"`` needs all groups at once, so there
``divide_by_batch_deviation`` finishes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmr_kernels.backends.triton.counts import (
    LARGEST_PART,
    component_sizes,
    counts_and_signal,
    divided_by_count,
    partitioned,
)
from mmr_kernels.backends.triton.determinants import determinant_gain
from mmr_kernels.backends.triton.members import (
    LANES,
    completions,
    deviation_of,
    group_bounds,
    highest,
    lowest,
    mean_and_deviation,
    number_of,
    places,
    power,
    rewards_of,
    total,
)
from mmr_kernels.backends.triton.similarity import (
    bring_near,
    similarities_in_registers,
    similarities_to_scratch,
    similarity_to,
)

MEAN_GUARD = tl.constexpr(1e-8)
SPREAD_GUARD = tl.constexpr(1e-8)
EQUALITY_GUARD = tl.constexpr(1e-6)

LEFT = tl.constexpr(-1)  # rank of a member not picked yet
ABSENT = tl.constexpr(-2)  # rank at a place without a member
LARGEST_IN_L1 = tl.constexpr(128)  # members: their similarities take 66 KB
PICKED = tl.constexpr(-(2**31))  # key of whoever can't be picked


# Section 3: λ.


@triton.jit
def scope_lambda(r, member, lam, lam_value, temperature, diversity, LAM_MODE: tl.constexpr):
    """λ as section 4 uses it, ``diversity`` applied, one value per copy. Run-time float32 throughout."""
    mean, deviation = mean_and_deviation(r, member, 0)
    if LAM_MODE == "sigmoid":
        chosen = tl.div_rn(1.0, 1.0 + tl.exp(-deviation))
    elif LAM_MODE == "relative_std":
        relative = temperature * tl.div_rn(deviation, tl.abs(mean) + MEAN_GUARD)
        chosen = 1.0 - tl.div_rn(1.0, 1.0 + relative)
    elif LAM_MODE == "tensor":
        chosen = tl.load(lam) + tl.zeros_like(mean)
    else:
        tl.static_assert(LAM_MODE == "fixed", "a lam_mode that this kernel lacks")
        chosen = lam_value + tl.zeros_like(mean)
    return 1.0 - diversity * (1.0 - chosen)


# Section 4: reweighting.


@triton.jit
def order_key(score):
    """An int32 that orders as the score does, and -0 with +0."""
    bits = (score + 0.0).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def greedy(
    r, member, lam, place, size, block, similarity, rows, FIRST_PICK: tl.constexpr, ON_CHIP: tl.constexpr,
    MEMBERS: tl.constexpr, STRIDE: tl.constexpr, DETAILS: tl.constexpr,
):  # fmt: skip
    """MMR (Carbonell & Goldstein 1998): reweighted rewards, ranks, and the similarity at which each was picked."""
    relevance = lam * r
    penalty = 1.0 - lam
    rank = tl.where(member, LEFT, ABSENT)
    nearest = tl.zeros_like(r)  # m_i, going on after i was picked: that saves a condition between load and maximum
    nearest_when_picked = tl.zeros_like(r)
    score = r
    new = r
    for step in range(tl.max(number_of(member))):
        key = tl.where(rank == LEFT, order_key(score), PICKED)
        # The lowest place among those of the highest key: a tie goes to the lowest index.
        pick = lowest(tl.where(key == highest(key), place, MEMBERS))
        column = similarity_to(pick, place, size, block, similarity, rows, ON_CHIP, STRIDE)
        rank = tl.where(place == pick, step, rank)
        new = tl.where(place == pick, score, new)
        if DETAILS:
            nearest_when_picked = tl.where(place == pick, nearest, nearest_when_picked)
        nearest = tl.maximum(nearest, column)
        score = relevance - penalty * nearest
    if FIRST_PICK == "score":
        new = tl.where(rank == 0, relevance, new)
    else:
        tl.static_assert(FIRST_PICK == "reward", "a first_pick that this kernel lacks")
    return new, rank, nearest_when_picked


@triton.jit
def matched_scale(new, r, member):
    """``match_scale``: mean and population deviation as the scope's rewards had them."""
    mean_new, deviation_new = mean_and_deviation(new, member, 0)
    mean, deviation = mean_and_deviation(r, member, 0)
    matched = tl.div_rn(new - mean_new, deviation_new + SPREAD_GUARD) * (deviation + SPREAD_GUARD) + mean
    return tl.where(deviation_new > SPREAD_GUARD, matched, new)


# Section 5: advantages.


@triton.jit
def shared_out(centred, member, n, exponent):
    """``share``: of the members' total, to each in proportion to its own times n^exponent."""
    least, most = lowest(tl.where(member, n, float("inf"))), highest(tl.where(member, n, 0.0))
    # Relative to the count that weighs most: no power overflows, and equal counts weigh exactly 1.
    relative = tl.div_rn(n, tl.where(exponent > 0.0, most, least))
    weighed = tl.where(member, centred * power(relative, exponent), 0.0)
    return weighed * tl.div_rn(total(tl.where(member, centred, 0.0)), total(weighed))


@triton.jit
def differ(r, member):
    """Whether a group's rewards are not all equal, up to rounding."""
    least, most = lowest(tl.where(member, r, float("inf"))), highest(tl.where(member, r, float("-inf")))
    return most - least > tl.maximum(tl.maximum(tl.abs(least), tl.abs(most)), 1.0) * EQUALITY_GUARD


@triton.jit
def group_advantages(
    new, rewards_differ, member, n, strength, diversity, eps,
    METHOD: tl.constexpr, SCALE: tl.constexpr, DEGENERATE: tl.constexpr,
):  # fmt: skip
    """Advantages of one group, 0 for a completion or a group that gets none.

    ``rewards_differ`` is read where ``DEGENERATE`` is "zero". With ``scale="batch"`` not divided yet, and NaN for 0:
    ``divide_by_batch_deviation`` divides, and puts 0 for NaN.
    """
    mean, deviation = mean_and_deviation(new, member, 1)
    # Rounding may not move the mean past all values: of equal ones it is their value, and each advantage 0.
    least, most = lowest(tl.where(member, new, float("inf"))), highest(tl.where(member, new, float("-inf")))
    advantage = new - tl.minimum(tl.maximum(mean, least), most)
    if METHOD == "share":
        for side in tl.range(2):
            exponent = -strength * tl.where(side == 0, 1.0 + diversity, 1.0 - 3.0 * diversity)
            chosen = member & (tl.where(side == 0, advantage, -advantage) > 0.0)
            advantage = tl.where(chosen, shared_out(advantage, chosen, n, exponent), advantage)
        deviation = deviation_of(advantage, member, number_of(member).to(tl.float32), 1)
    elif METHOD == "unique":
        advantage *= power(n, -strength)
    if SCALE == "group":
        advantage = tl.div_rn(advantage, deviation + eps)
    else:
        tl.static_assert(SCALE == "batch" or SCALE == "none", "a scale that this kernel lacks")
    gets_one = member & (number_of(member) > 1)
    if DEGENERATE == "zero":
        gets_one = gets_one & rewards_differ
    else:
        tl.static_assert(DEGENERATE == "reweight", "a degenerate that this kernel lacks")
    blank: tl.constexpr = float("nan") if SCALE == "batch" else 0.0
    return tl.where(gets_one, advantage, blank)


@triton.jit
def rewards_of_scope(rewards, valid, order, in_order, first, place, size, MEMBERS: tl.constexpr):
    """Index of the completion at each place of a scope, and what ``rewards_of`` finds there.

    From addresses that come from memory the compiler loads in a layout that differs with the room for members, and in
    it adds in another order: a group's bits would depend on how large others are. So where there is an ``order``
    rewards pass through ``in_order``, from which they are loaded like those of groups that lie one after the other.
    """
    index = completions(first, place, size, order)
    if order is None:
        r, member = rewards_of(rewards, valid, index, place < size)
    else:
        once = places(MEMBERS, 1)
        r, member = rewards_of(rewards, valid, completions(first, once, size, order), once < size)
        tl.store(in_order + first + once, tl.where(member, r, float("nan")), mask=once < size)
        tl.debug_barrier()
        r = tl.load(in_order + first + place, mask=place < size, other=float("nan"))
        member = r == r
        r = tl.where(member, r, 0.0)
    return index, r, member


@triton.jit
def store_of_scope(pointer, value):
    """One value per scope, the same in every copy."""
    copy = tl.arange(0, value.shape[1])[None, :, None]
    tl.store(pointer + 0 * copy, value, mask=copy == 0)


@triton.jit(do_not_specialize_on_alignment=[
    "rewards", "similarity", "valid", "group_offsets", "order", "lam", "labels", "dial", "group_of", "advantages",
    "reweighted", "selection_rank", "max_similarity", "lam_used", "signal", "scratch", "counts", "in_order",
], do_not_specialize=["count", "group_size", "dim_units", "lam_stride", "dial_stride"])  # fmt: skip
def mmr_kernel(
    rewards, embeddings, similarity, valid, group_offsets, order, lam, labels, dial, group_of,
    advantages, reweighted, selection_rank, max_similarity, lam_used, signal, scratch, counts, in_order,
    count, group_size, dim_units, lam_stride, dial_stride,
    lam_value, temperature, diversity, strength, sharpness, threshold, eps,
    DIM_UNIT: tl.constexpr, COUNT: tl.constexpr, WHOLE_SHARPNESS: tl.constexpr, METHOD: tl.constexpr,
    LAM_MODE: tl.constexpr, FIRST_PICK: tl.constexpr, QUALITY: tl.constexpr, MATCH_SCALE: tl.constexpr,
    SCOPE: tl.constexpr, SCALE: tl.constexpr, DEGENERATE: tl.constexpr, NORMALIZE: tl.constexpr,
    MEMBERS: tl.constexpr, COPIES: tl.constexpr, BY_LANE: tl.constexpr,
    APART: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """One scope: similarities (APART: they stand in scratch already), selection, reweighted rewards, advantages.

    Tensors as in ``mmr_kernels.problem`` (``dial`` its diversity), ``group_size`` the most members of a group,
    D = dim_units * DIM_UNIT; a pointer that is None is not asked for, or not needed. ``scratch`` (float32) holds the
    similarities, ``count`` rows of MEMBERS + 1, and then ``count`` values more; ``counts`` the counts that another
    program or warp reads; ``in_order`` has room for the rewards of groups that ``order`` makes.
    """
    ON_CHIP: tl.constexpr = MEMBERS == LANES
    # What all members add to each one, of up to 16 in one step, from the registers they lie in (32 would need a third
    # more of them); of ragged groups always one after the other, so that the bits don't depend on the room there is.
    AT_ONCE: tl.constexpr = ON_CHIP and TILE <= 16 and group_offsets is None
    # An odd stride: no row is aligned, so the compiler gives neighbouring members to neighbouring lanes.
    STRIDE: tl.constexpr = MEMBERS + 1
    scope = tl.program_id(0)
    if SCOPE == "batch":
        first, size, member_order = tl.cast(0, tl.int64), count, None
    else:
        tl.static_assert(SCOPE == "group", "a scope that this kernel lacks")
        first, size = group_bounds(scope, group_offsets, count, group_size)
        member_order = order
    place = places(MEMBERS, COPIES)
    inside = place < size
    # Every copy computes all, the first one stores.
    stores = inside & (tl.arange(0, COPIES)[None, :, None] == 0)
    if ON_CHIP:  # on their way while the product is formed, for there are registers to keep them
        index, r, member = rewards_of_scope(rewards, valid, member_order, in_order, first, place, size, MEMBERS)
    block, rows, factors = None, None, None
    SIMILARITY: tl.constexpr = embeddings is not None or similarity is not None
    SIGNAL: tl.constexpr = SIMILARITY and signal is not None
    if similarity is not None:
        similarity += scope.to(tl.int64) * size * size
    if SIMILARITY:
        if ON_CHIP:
            block = similarities_in_registers(
                embeddings, similarity, member_order, first, size, dim_units, DIM_UNIT, NORMALIZE,
                MEMBERS, COPIES, BY_LANE, TILE, BLOCK_DIM,
            )  # fmt: skip
        elif similarity is None:
            rows = scratch + first * STRIDE
            factors = scratch + tl.cast(count, tl.int64) * STRIDE + first
            if not APART:
                similarities_to_scratch(
                    embeddings, member_order, first, size, rows, factors, dim_units, DIM_UNIT, NORMALIZE, MEMBERS,
                    STRIDE, BY_LANE, TILE, BLOCK_DIM,
                )  # fmt: skip
            if METHOD == "mmr" and MEMBERS <= LARGEST_IN_L1:
                bring_near(rows, factors, size, MEMBERS, STRIDE)
    if not ON_CHIP:
        index, r, member = rewards_of_scope(rewards, valid, member_order, in_order, first, place, size, MEMBERS)
    if dial is not None:
        diversity = tl.load(dial + scope * dial_stride)
    rewards_differ = differ(r, member)  # here, so that r need not be kept
    new = r
    rank = tl.full(r.shape, ABSENT, tl.int32)
    nearest = tl.zeros_like(r)
    n = tl.zeros_like(r)
    lam_here = tl.full([1, COPIES, 1], float("nan"), tl.float32)
    explained, variance = lam_here, lam_here
    if SIGNAL or (COUNT is not None and COUNT != "components"):
        n, explained, variance = counts_and_signal(
            r, member, rewards, valid, labels, group_of, counts, sharpness, first, member_order, index, place, size,
            block, similarity, rows, COUNT, SIGNAL, WHOLE_SHARPNESS, ON_CHIP, AT_ONCE, TILE, MEMBERS, STRIDE,
        )  # fmt: skip
        if MEMBERS > LARGEST_PART:
            # Read again, as indices below, for there is no room to keep them; but for the barrier they would be kept.
            tl.debug_barrier()
            index, r, member = rewards_of_scope(rewards, valid, member_order, in_order, first, place, size, MEMBERS)
            new = r
    if METHOD == "mmr":
        lam_here = scope_lambda(
            r, member, lam if lam is None else lam + scope * lam_stride, lam_value, temperature, diversity, LAM_MODE
        )
        new, rank, nearest = greedy(
            r, member, lam_here, place, size, block, similarity, rows, FIRST_PICK, ON_CHIP, MEMBERS, STRIDE,
            selection_rank is not None,
        )  # fmt: skip
    elif METHOD == "dpp":
        gain = determinant_gain(
            rewards, valid, first, member_order, place, size, block, similarity, rows, QUALITY, ON_CHIP, MEMBERS, STRIDE
        )
        new = gain if QUALITY else r + strength * gain
    elif METHOD != "none":
        if COUNT == "components":
            n = component_sizes(member, threshold, place, size, block, similarity, rows, ON_CHIP, MEMBERS, STRIDE)
        if METHOD == "smi":
            new = divided_by_count(r, n, strength)
        elif METHOD == "partition":
            new = partitioned(r, member, n)
        else:
            tl.static_assert(METHOD == "share" or METHOD == "unique", "a method that this kernel lacks")
    if MEMBERS > LARGEST_PART:
        index = completions(first, place, size, member_order)
    if selection_rank is not None:
        tl.store(selection_rank + index, tl.maximum(rank, -1).to(tl.int64), mask=stores)
        tl.store(max_similarity + index, tl.where(member, nearest, 0.0), mask=stores)
        store_of_scope(lam_used + scope, lam_here)
        store_of_scope(signal + 2 * scope, explained)
        store_of_scope(signal + 2 * scope + 1, variance)
    if MATCH_SCALE:
        new = matched_scale(new, r, member)
    if reweighted is not None:
        tl.store(reweighted + index, tl.where(member, new, float("nan")), mask=stores)
    if counts is not None:
        tl.store(counts + index, n, mask=stores)
    if advantages is not None:
        advantage = group_advantages(
            new, rewards_differ, member, n, strength, diversity, eps, METHOD, SCALE, DEGENERATE
        )
        tl.store(advantages + index, advantage, mask=stores)


@triton.jit(do_not_specialize_on_alignment=[
    "rewards", "valid", "group_offsets", "order", "dial", "advantages", "reweighted", "counts",
], do_not_specialize=["count", "group_size"])  # fmt: skip
def advantages_kernel(
    rewards, reweighted, valid, group_offsets, order, dial, counts, advantages,
    count, group_size, strength, diversity, eps,
    METHOD: tl.constexpr, SCALE: tl.constexpr, DEGENERATE: tl.constexpr, MEMBERS: tl.constexpr,
):  # fmt: skip
    """Advantages of one group, whose scope was the batch, from what ``mmr_kernel`` left of it."""
    first, size = group_bounds(tl.program_id(0), group_offsets, count, group_size)
    place = places(MEMBERS, 1)
    inside = place < size
    index = completions(first, place, size, order)
    r, member = rewards_of(rewards, valid, index, inside)
    new = tl.load(reweighted + index, mask=inside, other=0.0)
    n = r if counts is None else tl.load(counts + index, mask=inside, other=1.0)
    if dial is not None:
        diversity = tl.load(dial)
    advantage = group_advantages(
        new, differ(r, member), member, n, strength, diversity, eps, METHOD, SCALE, DEGENERATE
    )  # fmt: skip
    tl.store(advantages + index, advantage, mask=inside)


@triton.jit(do_not_specialize=["count"], do_not_specialize_on_alignment=["advantages"])
def divide_by_batch_deviation(advantages, reweighted, count, eps, BLOCK: tl.constexpr):
    """``scale="batch"``: divide BLOCK advantages by the deviation of all reweighted rewards (NaN: takes no part).

    Every program sums all of them, in the same order: that is cheaper than a third launch, and deterministic.
    """
    along = tl.arange(0, BLOCK)
    totals = tl.zeros([BLOCK], tl.float32)
    members = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        values = tl.load(reweighted + start + along, mask=start + along < count, other=float("nan"))
        totals += tl.where(values == values, values, 0.0)
        members += (values == values).to(tl.float32)
    taking_part = tl.sum(members)
    mean = tl.div_rn(tl.sum(totals), tl.maximum(taking_part, 1.0))
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, count, BLOCK):
        values = tl.load(reweighted + start + along, mask=start + along < count, other=float("nan"))
        squares += tl.where(values == values, (values - mean) * (values - mean), 0.0)
    deviation = tl.sqrt_rn(tl.div_rn(tl.sum(squares), tl.maximum(taking_part - 1.0, 1.0)))
    here = tl.program_id(0) * BLOCK + along
    centred = tl.load(advantages + here, mask=here < count, other=0.0)
    tl.store(
        advantages + here, tl.where(centred == centred, tl.div_rn(centred, deviation + eps), 0.0), mask=here < count
    )
