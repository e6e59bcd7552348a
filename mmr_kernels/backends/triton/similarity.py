"""Section 2 of the contract in Triton: a scope's similarities, kept in registers or sent through scratch.

Up to 32 members they stay in registers, one column per lane; above that they go through ``scratch``, one row per
position of the call, and whoever needs a row loads it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mmr_kernels.backends.triton.members import LARGEST, completions

SMALLEST_NORM = tl.constexpr(1e-12)
PARTS = tl.constexpr(4)  # of the dimensions, one per warp
UNIT = tl.constexpr(16)  # neighbouring dimensions of a part: what one instruction of a tensor core adds up
STEPS_IN_FLIGHT = tl.constexpr(4)  # along D, by lane


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
def rows_of(embeddings, order, first, at, size, dim, TILE: tl.constexpr):
    """Where the rows of the TILE members from ``at`` on begin, and which of them there are."""
    place = at + tl.arange(0, TILE)
    return embeddings + completions(first, place, size, order)[:, None] * dim, (place < size)[:, None]


@triton.jit
def block_of(row, inside, start, dim, BLOCK_DIM: tl.constexpr):
    """BLOCK_DIM dimensions of a tile's rows, 0 past the last."""
    along = start + tl.arange(0, BLOCK_DIM)[None, :]
    return tl.load(row + along, mask=inside & (along < dim), other=0.0)


@triton.jit
def parts_of(row, inside, start, dim, BLOCK_DIM: tl.constexpr):
    """The same in PARTS parts, the first axis, which take turns at UNIT dimensions: whose they are does not depend on
    how many a step has.
    """
    part, place = tl.arange(0, PARTS)[:, None, None], tl.arange(0, BLOCK_DIM // PARTS)[None, None, :]
    along = start + (place // UNIT * PARTS + part) * UNIT + place % UNIT
    return tl.load(row[None, :, :] + along, mask=inside[None, :, :] & (along < dim), other=0.0)


@triton.jit
def add_outer_products(partial, left, right):
    """Add products of float32 blocks: the last axis of ``partial`` stands for lanes, four dimensions each."""
    left_halves = tl.split(tl.reshape(left, [left.shape[0], left.shape[1] // 4, 2, 2]))
    right_halves = tl.split(tl.reshape(right, [right.shape[0], right.shape[1] // 4, 2, 2]))
    for half in tl.static_range(2):
        left_even, left_odd = tl.split(left_halves[half])
        right_even, right_odd = tl.split(right_halves[half])
        partial += left_even[:, None, :] * right_even[None, :, :]
        partial += left_odd[:, None, :] * right_odd[None, :, :]
    return partial


@triton.jit
def dot_products(
    embeddings, order, first, at, other, size, DIM_UNITS, DIM_UNIT: tl.constexpr, BY_LANE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Of the TILE members from ``at`` on with those from ``other`` on; None: with themselves, each embedding read once.

    BY_LANE, each lane adds the products of its own dimensions, and the lanes are added at last: ``tl.dot`` without
    tensor cores reads its operands from shared memory across rows that begin in the same bank (docs/kernel.md).
    Small tiles on tensor cores are too few products for more than one warp, so there each warp has its own dimensions.
    """
    dim = DIM_UNITS * DIM_UNIT
    row_i, inside_i = rows_of(embeddings, order, first, at, size, dim, TILE)
    row_j, inside_j = row_i, inside_i
    if other is not None:
        row_j, inside_j = rows_of(embeddings, order, first, other, size, dim, TILE)
    if BY_LANE:
        partial = tl.zeros([TILE, TILE, BLOCK_DIM // 4], tl.float32)
        for start in tl.range(0, dim, BLOCK_DIM, num_stages=STEPS_IN_FLIGHT):
            left = block_of(row_i, inside_i, start, dim, BLOCK_DIM)
            right = left if other is None else block_of(row_j, inside_j, start, dim, BLOCK_DIM)
            partial = add_outer_products(partial, left, right)
        return tl.sum(partial, 2)
    elif TILE <= 32:
        partial = tl.zeros([PARTS, TILE, TILE], tl.float32)
        for start in range(0, dim, BLOCK_DIM):
            left = parts_of(row_i, inside_i, start, dim, BLOCK_DIM)
            right = left if other is None else parts_of(row_j, inside_j, start, dim, BLOCK_DIM)
            partial = tl.dot(left, tl.permute(right, [0, 2, 1]), partial, input_precision="ieee")
        # Halves, so that the order is the same however many warps the parts lie in.
        return tl.sum(tl.sum(tl.reshape(partial, [2, PARTS // 2, TILE, TILE]), 0), 0)
    else:
        dots = tl.zeros([TILE, TILE], tl.float32)
        for start in range(0, dim, BLOCK_DIM):
            left = block_of(row_i, inside_i, start, dim, BLOCK_DIM)
            right = left if other is None else block_of(row_j, inside_j, start, dim, BLOCK_DIM)
            dots = tl.dot(left, tl.trans(right), dots, input_precision="ieee")
        return dots


@triton.jit
def diagonal(values, TILE: tl.constexpr):
    """0 everywhere else."""
    i = tl.arange(0, TILE)
    return tl.where(i[:, None] == i[None, :], values, 0.0)


@triton.jit
def store_tile(rows, factors, dots, at, other, size, STRIDE: tl.constexpr, TILE: tl.constexpr):
    """One tile of a scope's similarities to its rows of scratch, in bounds."""
    if TILE == 128:
        # In quarters, one after the other: where tensor memory leaves a thread half a row, 64 columns, their factors
        # and products would not fit in its registers together.
        halves = tl.split(tl.permute(tl.reshape(dots, [TILE, 2, TILE // 2]), [0, 2, 1]))
        for half in tl.static_range(2):
            quarters = tl.split(tl.permute(tl.reshape(halves[half], [TILE, 2, TILE // 4]), [0, 2, 1]))
            for quarter in tl.static_range(2):
                column = other + (2 * half + quarter) * (TILE // 4)
                store_columns(rows, factors, quarters[quarter], at, column, size, STRIDE, TILE, TILE // 4)
                tl.debug_barrier()
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
def tile_on_diagonal(
    embeddings, order, first, at, size, rows, factors, DIM_UNITS, DIM_UNIT: tl.constexpr, NORMALIZE: tl.constexpr,
    STRIDE: tl.constexpr, BY_LANE: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Similarities of TILE members with each other, and their factors: the squared norms are the product's diagonal.

    Factors pass through scratch too: summed in registers for rows and for columns at once, 128 members would not fit.
    """
    dots = dot_products(embeddings, order, first, at, None, size, DIM_UNITS, DIM_UNIT, BY_LANE, TILE, BLOCK_DIM)
    place = at + tl.arange(0, TILE)
    squares = tl.sum(diagonal(dots, TILE), 1)
    tl.store(factors + place, inverse_norms(squares, NORMALIZE), mask=place < size)
    tl.debug_barrier()
    store_tile(rows, factors, dots, at, at, size, STRIDE, TILE)


@triton.jit
def tile_below(
    embeddings, order, first, at, other, size, rows, factors, DIM_UNITS, DIM_UNIT: tl.constexpr,
    STRIDE: tl.constexpr, BY_LANE: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """Similarities of TILE members with as many before them, and their mirror image; the factors stand in scratch."""
    dots = dot_products(embeddings, order, first, at, other, size, DIM_UNITS, DIM_UNIT, BY_LANE, TILE, BLOCK_DIM)
    store_tile(rows, factors, dots, at, other, size, STRIDE, TILE)
    store_tile(rows, factors, tl.trans(dots), other, at, size, STRIDE, TILE)


@triton.jit
def similarities_to_scratch(
    embeddings, order, first, size, rows, factors, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, MEMBERS: tl.constexpr, STRIDE: tl.constexpr,
    BY_LANE: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """All of a scope's similarities; the raw embeddings are all that is read."""
    for at in range(0, size, TILE):
        tile_on_diagonal(
            embeddings, order, first, at, size, rows, factors, DIM_UNITS, DIM_UNIT, NORMALIZE, STRIDE,
            BY_LANE, TILE, BLOCK_DIM,
        )  # fmt: skip
    if MEMBERS > TILE:
        for at in range(TILE, size, TILE):
            for other in range(0, at, TILE):
                tile_below(
                    embeddings, order, first, at, other, size, rows, factors, DIM_UNITS, DIM_UNIT, STRIDE,
                    BY_LANE, TILE, BLOCK_DIM,
                )  # fmt: skip
    tl.debug_barrier()


@triton.jit(do_not_specialize=["count", "size", "dim_units"], do_not_specialize_on_alignment=["scratch"])
def similarity_tiles(
    scratch, embeddings, count, size, dim_units, DIM_UNIT: tl.constexpr, NORMALIZE: tl.constexpr,
    MEMBERS: tl.constexpr, BY_LANE: tl.constexpr, TILE: tl.constexpr, BLOCK_DIM: tl.constexpr,
    ON_DIAGONAL: tl.constexpr,
):  # fmt: skip
    """The same for scopes of ``size`` members each, a program per tile: those on the diagonal, then those below it."""
    STRIDE: tl.constexpr = MEMBERS + 1
    first = tl.program_id(0).to(tl.int64) * size
    at, other = tl.program_id(1) * TILE, tl.program_id(2) * TILE
    rows, factors = scratch + first * STRIDE, scratch + tl.cast(count, tl.int64) * STRIDE + first
    if ON_DIAGONAL:
        tile_on_diagonal(
            embeddings, None, first, at, size, rows, factors, dim_units, DIM_UNIT, NORMALIZE, STRIDE,
            BY_LANE, TILE, BLOCK_DIM,
        )  # fmt: skip
    elif other < at:
        tile_below(
            embeddings, None, first, at, other, size, rows, factors, dim_units, DIM_UNIT, STRIDE,
            BY_LANE, TILE, BLOCK_DIM,
        )  # fmt: skip


@triton.jit
def bring_near(rows, factors, size, MEMBERS: tl.constexpr, STRIDE: tl.constexpr):
    """Read all rows once, side by side: one after the other they are then found in the multiprocessor's own cache.

    For a compiler to keep the loads they have to lead to something: to maxima, stored in the place of the factors,
    which nobody needs any more.
    """
    HEIGHT: tl.constexpr = 4096 // MEMBERS  # rows at a time
    most = tl.zeros([HEIGHT, MEMBERS], tl.float32)
    column = tl.arange(0, MEMBERS)[None, :]
    for at in range(0, size, HEIGHT):
        row = at + tl.arange(0, HEIGHT)[:, None]
        most = tl.maximum(most, tl.load(rows + row * STRIDE + column, mask=row < size, other=0.0))
    tl.store(factors + tl.arange(0, MEMBERS), tl.max(most, 0), mask=tl.arange(0, MEMBERS) < size)


@triton.jit
def given(similarity, i, j, size, mask):
    """Similarity of i to j as the caller gave it; an entry that is not finite counts as 0."""
    value = tl.load(similarity + i.to(tl.int64) * size + j, mask=mask, other=0.0)
    return tl.where(tl.abs(value) <= LARGEST, value, 0.0)


@triton.jit
def similarity_to(j, place, size, block, similarity, rows, ON_CHIP: tl.constexpr, STRIDE: tl.constexpr):
    """Similarity of every member to member j."""
    if ON_CHIP:
        # By the bits of j, half of what is left at a time: a register fewer to move per bit than adding up would take.
        for bit in tl.static_range(5):
            if block.shape[0] > 1:
                pairs = tl.reshape(block, [block.shape[0] // 2, 2, block.shape[1], block.shape[2]])
                even, odd = tl.split(tl.permute(pairs, [0, 2, 3, 1]))
                block = tl.where((j >> bit) & 1 == 1, odd, even)
        return block
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
    embeddings, similarity, order, first, size, DIM_UNITS, DIM_UNIT: tl.constexpr,
    NORMALIZE: tl.constexpr, MEMBERS: tl.constexpr, COPIES: tl.constexpr, BY_LANE: tl.constexpr, TILE: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """[j, copy, i]: similarity of member i to member j."""
    if similarity is None:
        dots = dot_products(embeddings, order, first, 0, None, size, DIM_UNITS, DIM_UNIT, BY_LANE, TILE, BLOCK_DIM)
        squares = diagonal(dots, TILE)
        row_factor, column_factor = (
            inverse_norms(tl.sum(squares, 1), NORMALIZE),
            inverse_norms(tl.sum(squares, 0), NORMALIZE),
        )
        values = scaled(dots, row_factor, column_factor)
        # Lanes past the tile repeat it: they hold no member, so nobody reads them.
        repeated = tl.broadcast_to(values[:, None, None, :], [TILE, COPIES, MEMBERS // TILE, TILE])
        return tl.reshape(repeated, [TILE, COPIES, MEMBERS])
    else:
        return given_in_registers(similarity, size, MEMBERS, COPIES, TILE, False)


@triton.jit
def given_in_registers(
    similarity, size, MEMBERS: tl.constexpr, COPIES: tl.constexpr, TILE: tl.constexpr, MIRRORED: tl.constexpr
):  # fmt: skip
    """[j, copy, i]: similarity of member i to member j as the caller gave it; MIRRORED, of j to i."""
    # Loaded flat: of three axes the lanes would get the contiguous one, j, and each row would have to cross them; or
    # the warps the first one, and a copy would lie in all of them.
    at = tl.arange(0, TILE * COPIES * MEMBERS)
    i, j = at % MEMBERS, at // (COPIES * MEMBERS)
    of, to = (j, i) if MIRRORED else (i, j)
    return tl.reshape(given(similarity, of, to, size, (i < size) & (j < size)), [TILE, COPIES, MEMBERS])
