"""Determinants (section 4 of the contract, ``dpp``) in Triton: the diagonal of (I + L)⁻¹, L a scope's similarities."""

from __future__ import annotations

import triton
import triton.language as tl

from mmr_kernels.backends.triton.members import completions, rewards_of
from mmr_kernels.backends.triton.similarity import given, given_in_registers

QUALITY_SCALE = tl.constexpr(8.0)


@triton.jit
def determinant_gain(
    rewards, valid, first, order, place, size, block, similarity, rows, QUALITY: tl.constexpr,
    ON_CHIP: tl.constexpr, MEMBERS: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """b_i = log det(I + L) - log det(I + L without i) = -log [(I + L)⁻¹]_ii (DQO, arXiv 2509.04784).

    Each step brings one place of the symmetric matrix to its negative inverse: the sweep operator of Beaton (1964).
    The diagonal is kept apart.
    On chip each copy sweeps by itself; a larger matrix lies over all warps, once.
    """
    COPIES: tl.constexpr = place.shape[1]
    if ON_CHIP:
        i, j = tl.arange(0, block.shape[0])[:, None, None], place
        matrix = block
        if similarity is not None:
            mirrored = given_in_registers(similarity, size, MEMBERS, COPIES, block.shape[0], True)
            matrix = 0.5 * (matrix + mirrored)
    else:
        i, j = tl.arange(0, MEMBERS)[:, None, None], tl.arange(0, MEMBERS)[None, None, :]
        if similarity is None:
            matrix = tl.load(rows + i * STRIDE + j, mask=(i < size) & (j < size), other=0.0)
        else:
            matrix = given(similarity, i, j, size, (i < size) & (j < size))
            matrix = 0.5 * (matrix + tl.permute(matrix, [2, 1, 0]))  # loaded so, its other half would not fit
    r_i, member_i = rewards_of(rewards, valid, completions(first, i, size, order), i < size)
    r_j, member_j = rewards_of(rewards, valid, completions(first, j, size, order), j < size)
    if QUALITY:  # GCPO, arXiv 2605.11461
        least = tl.min(tl.where(member_j, r_j, float("inf")))
        matrix *= QUALITY_SCALE * tl.sqrt_rn(tl.maximum(r_i - least, 0.0)) * tl.sqrt_rn(tl.maximum(r_j - least, 0.0))
    matrix = tl.where(member_i & member_j, matrix, 0.0) + tl.where(i == j, 1.0, 0.0)
    diagonal = tl.sum(tl.where(i == j, matrix, 0.0), 0, keep_dims=True)
    most = tl.maximum(diagonal, 1.0)
    for k in range(size):
        # The matrix is symmetric: its row k is its column k too.
        row = tl.sum(tl.where(i == k, matrix, 0.0), 0, keep_dims=True)
        # At least 1 where L is positive semidefinite; where it is not, the result means nothing, but is a number.
        pivot = tl.maximum(tl.sum(tl.where(j == k, diagonal, 0.0), 2, keep_dims=True), 1.0)
        inverse = tl.div_rn(1.0, pivot)
        diagonal = tl.where(j == k, -inverse, diagonal - row * (row * inverse))
        # In place k what makes the same update divide row and column k by the pivot, so nothing else need set them.
        # What it makes of the diagonal nobody reads.
        row = tl.where(j == k, pivot - 1.0, row)
        if ON_CHIP:
            column = tl.gather(tl.broadcast_to(row, matrix.shape), i + tl.zeros([1, COPIES, 1], tl.int32), 2)
        else:
            column = tl.permute(row, [2, 1, 0])
        matrix -= column * (row * inverse)
    inverse = tl.where(diagonal == diagonal, -diagonal, 1.0)
    inverse = tl.maximum(tl.minimum(inverse, 1.0), tl.div_rn(1.0, most))
    gain = -tl.log(inverse)
    if ON_CHIP:
        return gain
    else:
        return tl.reshape(gain, [place.shape[0], 1, place.shape[2]]) + tl.zeros([1, COPIES, 1], tl.float32)
