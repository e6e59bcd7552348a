"""Section 2 of the contract in Triton: a scope's similarities, kept in registers or sent through scratch.

Up to 32 members they stay in registers, one column a lane; above that they go through ``scratch``, a row a position
of the call, and whoever needs a row loads it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmr_kernels.backends.triton.members import LARGEST, completions

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
    values = dots * row_factor[:, None] * column_factor[None, :]
    # Not finite: NaN or infinity from a row that counts as similar to nothing, whose factor is 0.
    return tl.where(tl.abs(values) <= LARGEST, values, 0.0)


@triton.jit
def diagonal_tile(
    embeddings, order, first, at, size, DIM_UNITS, DIM_UNIT: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr
):  # fmt: skip
    """Dot products among the TILE members from ``at`` on, each embedding read once, and of each with itself."""
    dim = DIM_UNITS * DIM_UNIT
    place = at + tl.arange(0, TILE)
    row = embeddings + completions(first, place, size, order)[:, None] * dim
    along = tl.arange(0, BLOCK_DIM)[None, :]
    dots = tl.zeros([TILE, TILE], tl.float32)
    for start in range(0, dim, BLOCK_DIM):
        vectors = tl.load(row + (start + along), mask=(place < size)[:, None] & (start + along < dim), other=0.0)
        dots = tl.dot(vectors, tl.trans(vectors), dots, input_precision="ieee")
    i = tl.arange(0, TILE)
    return dots, tl.where(i[:, None] == i[None, :], dots, 0.0)


@triton.jit
def tile_of_two(
    embeddings, order, first, at, other, size, DIM_UNITS, DIM_UNIT: tl.constexpr, TILE: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Dot products of the members from ``at`` on with those from ``other`` on."""
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
    return dots


@triton.jit
def store_tile(rows, factors, dots, at, other, size, STRIDE: tl.constexpr, TILE: tl.constexpr):
    """One tile of a scope's similarities to its rows of scratch, in bounds."""
    if TILE == 128:
        # In halves, one after the other: where tensor memory leaves a thread a whole row, 128 columns, their factors
        # and products would not fit in its registers together.
        left, right = tl.split(tl.permute(tl.reshape(dots, [TILE, 2, TILE // 2]), [0, 2, 1]))
        store_columns(rows, factors, left, at, other, size, STRIDE, TILE, TILE // 2)
        tl.debug_barrier()
        store_columns(rows, factors, right, at, other + TILE // 2, size, STRIDE, TILE, TILE // 2)
    else:
        store_columns(rows, factors, dots, at, other, size, STRIDE, TILE, TILE)


@triton.jit
def store_columns(
    rows, factors, dots, at, other, size, STRIDE: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    """Scaled; a row has room for all of a tile's columns, and those past the members get the zeros of their factors."""
    row, column = at + tl.arange(0, HEIGHT), other + tl.arange(0, WIDTH)
    row_factor = tl.load(factors + row, mask=row < size, other=0.0)
    column_factor = tl.load(factors + column, mask=column < size, other=0.0)
    values = scaled(dots, row_factor, column_factor)
    tl.store(rows + row[:, None] * STRIDE + column[None, :], values, mask=(row < size)[:, None])


@triton.jit
def similarities_to_scratch(
    embeddings, order, first, size, rows, factors, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, MEMBERS: tl.constexpr, STRIDE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """All of a scope's similarities: the tiles on the diagonal, then those below it, mirrored.

    The squared norms are the diagonal of the product, so the raw embeddings are all that is read. Factors pass
    through scratch too: summed in registers for rows and for columns at once, 128 members would not fit.
    """
    for at in range(0, size, TILE):
        dots, squares = diagonal_tile(embeddings, order, first, at, size, DIM_UNITS, DIM_UNIT, TILE, BLOCK_DIM)
        place = at + tl.arange(0, TILE)
        tl.store(factors + place, inverse_norms(tl.sum(squares, 1), NORMALIZE), mask=place < size)
        tl.debug_barrier()
        store_tile(rows, factors, dots, at, at, size, STRIDE, TILE)
    if MEMBERS > TILE:
        for at in range(TILE, size, TILE):
            for other in range(0, at, TILE):
                dots = tile_of_two(embeddings, order, first, at, other, size, DIM_UNITS, DIM_UNIT, TILE, BLOCK_DIM)
                store_tile(rows, factors, dots, at, other, size, STRIDE, TILE)
                store_tile(rows, factors, tl.trans(dots), other, at, size, STRIDE, TILE)
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
        # Not masked: a row is MEMBERS long, what lies past its members is nobody's, and where each load of a row has
        # a default to set first, ptxas gives them one register and waits for one before it sends the next.
        # The hint sets the order of the axes in the load's layout, and so which of them the warps are spread over.
        # Without it Triton up to 3.6 takes the registers' axis before the copies', so that a warp holds a part of every
        # copy and six barriers per pick join them (docs/kernel.md has what that cost). It claims more than is true,
        # that copies lie next to each other; only the last axis's claim, which is true, sets the width of a load.
        return tl.load(tl.max_contiguous(rows + j * STRIDE + place, [1, place.shape[1], place.shape[2]]))


@triton.jit
def similarities_in_registers(
    embeddings, similarity, order, first, size, scope, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, MEMBERS: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """[j, 1, i]: similarity of member i to member j."""
    if similarity is None:
        dots, squares = diagonal_tile(embeddings, order, first, 0, size, DIM_UNITS, DIM_UNIT, TILE, BLOCK_DIM)
        values = scaled(
            dots, inverse_norms(tl.sum(squares, 1), NORMALIZE), inverse_norms(tl.sum(squares, 0), NORMALIZE)
        )
        # Lanes past the tile repeat it: they hold no member, so nobody reads them.
        return tl.reshape(tl.broadcast_to(values[:, None, :], [TILE, MEMBERS // TILE, TILE]), [TILE, 1, MEMBERS])
    else:
        j, i = tl.arange(0, TILE)[:, None, None], tl.arange(0, MEMBERS)[None, None, :]
        return given(similarity + scope.to(tl.int64) * size * size, i, j, size, (i < size) & (j < size))
