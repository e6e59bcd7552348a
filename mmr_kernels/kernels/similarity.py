"""Section 2 of the contract in Triton: a scope's similarities, kept in registers or sent through scratch.

Up to 32 members they stay in registers, one column a lane; above that they go through ``scratch``, a row a position
of the call, and whoever needs a row loads it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmr_kernels.kernels.members import LARGEST, completions

SMALLEST_NORM = tl.constexpr(1e-12)


@triton.jit
def inverse_norms(squares, NORMALIZE: tl.constexpr):
    """Factor of each row, from its squared norm; 0 for a row that is similar to nothing."""
    counts = (squares > 0.0) & (squares <= LARGEST)
    if NORMALIZE:
        return tl.where(counts, tl.div_rn(1.0, tl.maximum(tl.sqrt_rn(squares), SMALLEST_NORM)), 0.0)
    else:
        return tl.where(counts, 1.0, 0.0)


@triton.jit
def scaled(dots, row_factor, column_factor):
    """Rows first, as whoever reads a row does: duplicates then tie exactly, whichever tile they came from."""
    counts = (row_factor[:, None] > 0.0) & (column_factor[None, :] > 0.0)
    return tl.where(counts, dots * row_factor[:, None] * column_factor[None, :], 0.0)


@triton.jit
def diagonal_tile(
    embeddings, order, first, at, size, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Similarities among TILE members from ``at`` on, and their factors; each embedding is read once."""
    dim = DIM_UNITS * DIM_UNIT
    place = at + tl.arange(0, TILE)
    row = embeddings + completions(first, place, size, order)[:, None] * dim
    along = tl.arange(0, BLOCK_DIM)[None, :]
    dots = tl.zeros([TILE, TILE], tl.float32)
    for start in range(0, dim, BLOCK_DIM):
        vectors = tl.load(row + (start + along), mask=(place < size)[:, None] & (start + along < dim), other=0.0)
        dots = tl.dot(vectors, tl.trans(vectors), dots, input_precision="ieee")
    # The squared norms are the diagonal of the same product, so the raw rows are all that is read.
    i = tl.arange(0, TILE)
    squares = tl.where(i[:, None] == i[None, :], dots, 0.0)
    row_factor = inverse_norms(tl.sum(squares, 1), NORMALIZE)
    column_factor = inverse_norms(tl.sum(squares, 0), NORMALIZE)
    return scaled(dots, row_factor, column_factor), row_factor


@triton.jit
def tile_of_two(
    embeddings, order, first, at, other, size, factors, DIM_UNITS, DIM_UNIT: tl.constexpr,
    TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Dot products of the members from ``at`` on with those from ``other`` on, and the factors of both."""
    dim = DIM_UNITS * DIM_UNIT
    place_i, place_j = at + tl.arange(0, TILE), other + tl.arange(0, TILE)
    row_i = embeddings + completions(first, place_i, size, order)[:, None] * dim
    row_j = embeddings + completions(first, place_j, size, order)[:, None] * dim
    along = tl.arange(0, BLOCK_DIM)[None, :]
    dots = tl.zeros([TILE, TILE], tl.float32)
    for start in range(0, dim, BLOCK_DIM):
        left = start + along < dim
        rows_i = tl.load(row_i + (start + along), mask=(place_i < size)[:, None] & left, other=0.0)
        rows_j = tl.load(row_j + (start + along), mask=(place_j < size)[:, None] & left, other=0.0)
        dots = tl.dot(rows_i, tl.trans(rows_j), dots, input_precision="ieee")
    factor_i = tl.load(factors + place_i, mask=place_i < size, other=0.0)
    factor_j = tl.load(factors + place_j, mask=place_j < size, other=0.0)
    return dots, factor_i, factor_j


@triton.jit
def store_tile(rows, at, other, size, values, STRIDE: tl.constexpr):
    """One tile of a scope's similarities to its rows of scratch, in bounds."""
    row, column = at + tl.arange(0, values.shape[0])[:, None], other + tl.arange(0, values.shape[1])[None, :]
    tl.store(rows + row * STRIDE + column, values, mask=(row < size) & (column < size))


@triton.jit
def similarities_to_scratch(
    embeddings, order, first, size, rows, factors, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, MEMBERS: tl.constexpr, STRIDE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """All of a scope's similarities: the tiles on the diagonal, then those below it, mirrored."""
    for at in range(0, size, TILE):
        values, factor = diagonal_tile(
            embeddings, order, first, at, size, DIM_UNITS, DIM_UNIT, NORMALIZE, TILE, BLOCK_DIM
        )
        store_tile(rows, at, at, size, values, STRIDE)
        if MEMBERS > TILE:
            place = at + tl.arange(0, TILE)
            tl.store(factors + place, factor, mask=place < size)
    tl.debug_barrier()
    if MEMBERS > TILE:
        for at in range(TILE, size, TILE):
            for other in range(0, at, TILE):
                dots, factor_i, factor_j = tile_of_two(
                    embeddings, order, first, at, other, size, factors, DIM_UNITS, DIM_UNIT, TILE, BLOCK_DIM
                )
                store_tile(rows, at, other, size, scaled(dots, factor_i, factor_j), STRIDE)
                store_tile(rows, other, at, size, scaled(tl.trans(dots), factor_j, factor_i), STRIDE)
        tl.debug_barrier()


@triton.jit
def given(similarity, i, j, size, mask):
    """Similarity of i to j as the caller gave it; an entry that is not finite counts as 0."""
    value = tl.load(similarity + i.to(tl.int64) * size + j, mask=mask, other=0.0)
    return tl.where(tl.abs(value) <= LARGEST, value, 0.0)


@triton.jit
def similarity_to(j, place, size, block, similarity, rows, ON_CHIP: tl.constexpr, STRIDE: tl.constexpr):
    """Similarity of every member to member j."""
    if ON_CHIP:
        row = tl.arange(0, block.shape[0])[:, None, None]
        return tl.sum(tl.where(row == j, block, 0.0), 0, keep_dims=True)
    elif similarity is not None:
        return given(similarity, place, j, size, place < size)
    else:
        return tl.load(rows + j * STRIDE + place, mask=place < size, other=0.0)


@triton.jit
def similarities_in_registers(
    embeddings, similarity, order, first, size, scope, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """[j, 1, i]: similarity of member i to member j."""
    if similarity is None:
        values, _ = diagonal_tile(embeddings, order, first, 0, size, DIM_UNITS, DIM_UNIT, NORMALIZE, TILE, BLOCK_DIM)
        return tl.reshape(values, [TILE, 1, TILE])
    else:
        j, i = tl.arange(0, TILE)[:, None, None], tl.arange(0, TILE)[None, None, :]
        return given(similarity + scope.to(tl.int64) * size * size, i, j, size, (i < size) & (j < size))
