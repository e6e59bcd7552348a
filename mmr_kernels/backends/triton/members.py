"""Shared by the parts of the Triton kernel: which completions belong to a scope, and statistics over them.

A scope's members lie in tensors of shape [P, C, L]: member p * L + l in register p of lane l, and C copies of all of
it, one per warp (docs/kernel.md says why).
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Fewer members leave lanes without one: Triton up to 3.8 reduces half a warp by shuffles, a whole one by REDUX.
LANES = tl.constexpr(32)
LARGEST = tl.constexpr(3.4028234663852886e38)  # of float32: what lies beyond is not finite


@triton.jit
def total(values):
    """Sum over the members; like the next three it keeps its dimensions, one value per copy.

    Halves are added over the registers' axis, wherever they lie: more room, which adds zeros, leaves the bits alone.
    """
    for _ in tl.static_range(12):
        if values.shape[0] > 1:
            halves = tl.reshape(values, [2, values.shape[0] // 2, values.shape[1], values.shape[2]])
            values = tl.sum(halves, 0)
    return tl.sum(values, 2, keep_dims=True)


@triton.jit
def number_of(member):
    """How many there are."""
    ones = member.to(tl.int32)
    if ones.shape[0] > 1:  # or Triton 3.6 makes each pick of labelled groups in four layouts
        ones = tl.sum(ones, 0, keep_dims=True)
    return tl.sum(ones, 2, keep_dims=True)


@triton.jit
def highest(values):
    """Maximum over the members."""
    return tl.max(tl.max(values, 0, keep_dims=True), 2, keep_dims=True)


@triton.jit
def lowest(values):
    """Minimum over the members."""
    return tl.min(tl.min(values, 0, keep_dims=True), 2, keep_dims=True)


@triton.jit
def deviation_of(apart, member, count, CORRECTION: tl.constexpr):
    """Standard deviation of ``count`` members from how far each lies from their mean; 0 where there are too few."""
    squares = total(tl.where(member, apart * apart, 0.0))
    return tl.sqrt_rn(tl.div_rn(squares, tl.maximum(count - CORRECTION, 1.0)))


@triton.jit
def mean_and_deviation(values, member, CORRECTION: tl.constexpr):
    """Mean and standard deviation over the members, two passes; 0 where there are too few of them."""
    count = number_of(member).to(tl.float32)
    mean = tl.div_rn(total(tl.where(member, values, 0.0)), tl.maximum(count, 1.0))
    return mean, deviation_of(values - mean, member, count, CORRECTION)


@triton.jit
def power(base, exponent):
    """Of a base above 0."""
    return tl.exp2(exponent * tl.log2(base))


@triton.jit
def places(MEMBERS: tl.constexpr, COPIES: tl.constexpr):
    """Member number at each place of a [P, C, L] tensor."""
    register = tl.arange(0, MEMBERS // LANES)[:, None, None] * LANES
    return register + tl.arange(0, LANES)[None, None, :] + tl.zeros([1, COPIES, 1], tl.int32)


@triton.jit
def group_bounds(group, group_offsets, count, group_size):
    """First position and number of members, at most ``group_size``.

    Nobody checked a device's offsets, nor that bound: clamped, they keep to the tensors and to the room there is.
    """
    if group_offsets is None:
        first = tl.cast(group, tl.int64) * group_size
        size = tl.cast(group_size, tl.int32)
    else:
        first = tl.minimum(tl.maximum(tl.load(group_offsets + group), 0), count)
        end = tl.minimum(tl.maximum(tl.load(group_offsets + group + 1), first), count)
        size = tl.minimum(end - first, group_size).to(tl.int32)
    return first, size


@triton.jit
def completions(first, place, size, order):
    """Index of the completion at each place of a scope or group."""
    index = first + place
    if order is not None:
        index = tl.load(order + index, mask=place < size, other=0)
    return index


@triton.jit
def rewards_of(rewards, valid, index, inside):
    """Rewards, 0 for a completion that takes no part, and which ones do."""
    r = tl.load(rewards + index, mask=inside, other=float("inf"))
    member = tl.abs(r) <= LARGEST
    if valid is not None:
        member = member & (tl.load(valid + index, mask=inside, other=0) != 0)
    return tl.where(member, r, 0.0), member
