// Section 2 of docs/contract.md for one block of 256 threads and a scope whose S fits into shared memory: dot products of
// rows are formed there, in float32 (FFMA), or for 16-bit elements on targets from 8.0 on by tensor cores, whose products
// are exact and whose sums are float32.
#pragma once
#include "rows.h"

namespace mmr {
namespace {

template <class Element>
constexpr bool on_tensor_cores = sizeof(Element) == 2 && target >= 800;

// S in shared memory: row j holds S_ij for all i, in the order in which picks read it. Rows begin 4 banks apart, and each
// ends with zeros up to a whole 16 bytes.
struct Square {
    Shared<float> memory;
    int size, stride;

    MMR_DEVICE Square(const Shared<float> &memory, int size)
        : memory(memory), size(size), stride((size + 31) / 32 * 32 + 4) {}
    MMR_DEVICE float load(int i, int j) const { return memory.load(j * stride + i); }
    MMR_DEVICE void store(int i, int j, float value) const { memory.store(j * stride + i, value); }
    // S_ij of this lane's members i = P l, …, P l + P - 1, some finite number beyond the last; the row of j starts at
    // byte `place`.
    template <int P>
    MMR_DEVICE void row_from(int place, float (&value)[P]) const {
        using Vector = std::conditional_t<P == 1, float, std::conditional_t<P == 2, float2, float4>>;
        const int first = min(lane_index() * P, (size - 1) / P * P);
        const Vector of_lane = memory.template load16_after<Vector>(first, place);
        const float *element = reinterpret_cast<const float *>(&of_lane);
#pragma unroll
        for (int k = 0; k < P; ++k) value[k] = element[k];
    }
    template <int P>
    MMR_DEVICE void row(int j, float (&value)[P]) const {
        row_from<P>(j * row_bytes(), value);
    }
    MMR_DEVICE int row_bytes() const { return 4 * stride; }
    MMR_DEVICE void clear_ends() const {
        const int end = (size + 3) / 4 * 4 - size;
        for (int i = thread_index(); i < size * end; i += block_threads) store(size + i % end, i / end, 0);
    }
};

// Row of the `tile`-th tile in a triangle of tiles, rows first.
MMR_DEVICE int triangle_row(int tile) {
    int row = static_cast<int>((sqrtf(8.0f * static_cast<float>(tile) + 1.0f) - 1.0f) * 0.5f);
    if (row * (row + 1) / 2 > tile) --row;  // the root may have been rounded, either way
    if ((row + 1) * (row + 2) / 2 <= tile) ++row;
    return row;
}

// Adds dot products of four rows of a chunk with four others over 16-byte pieces first, first + step, …
template <class Element>
MMR_DEVICE void add_products(const Embeddings<Element> &embeddings, float (&sum)[16], const Chunk &chunk,
                             const int (&left)[4], const int (&right)[4], int first, int step) {
    for (int piece = first; piece < chunk.words / 4; piece += step) {
        float a[4][Embeddings<Element>::width], b[4][Embeddings<Element>::width];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            embeddings.unpack(chunk.load(left[i], piece), a[i]);
            embeddings.unpack(chunk.load(right[i], piece), b[i]);
        }
#pragma unroll
        for (int k = 0; k < Embeddings<Element>::width; ++k)
#pragma unroll
            for (int i = 0; i < 16; ++i) sum[i] = fmaf(a[i / 4][k], b[i % 4][k], sum[i]);
    }
}

// Each exchange with the lane `offset` away halves the sums a lane is in charge of, until one is left or all lanes that
// share a tile have been met: 15 shuffles for 16 sums over 16 lanes. It ends up with `held` sums from `first` on.
template <int half>
MMR_DEVICE void halve(float (&sum)[16], int &held, int &first, int &offset) {
    if (offset == 0) return;
    const bool upper = (lane_index() & offset) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
        const float give = upper ? sum[i] : sum[i + half], keep = upper ? sum[i + half] : sum[i];
        sum[i] = keep + __shfl_xor_sync(all_lanes, give, offset);
    }
    first += upper ? half : 0;
    held = half;
    offset /= 2;
    if constexpr (half > 1) halve<half / 2>(sum, held, first, offset);
}

// The Gram matrix of at most 32 P rows in tiles of 4 by 4, one per thread or, where there are fewer tiles than threads,
// one for `slices` neighbouring lanes that share out the dimension. A tile's rows are strided, so that neighbouring
// threads read neighbouring rows: other banks.
template <class Element, int P>
struct FloatTiles {
    static constexpr int passes = P == 4 ? 3 : 1;
    int rows, row_tiles, tiles, slices;
    float sum[passes][16] = {};

    MMR_DEVICE explicit FloatTiles(int rows) : rows(rows), row_tiles((rows + 3) / 4) {
        tiles = row_tiles * (row_tiles + 1) / 2;
        slices = 1;
        while (slices < 32 && slices * 2 * tiles <= block_threads) slices *= 2;
    }
    MMR_DEVICE int tile_of(int pass, int thread) const { return (thread + pass * block_threads) / slices; }
    MMR_DEVICE void rows_of(int tile, int (&left)[4], int (&right)[4]) const {
        const int row = triangle_row(tile), column = tile - row * (row + 1) / 2;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            left[i] = row + i * row_tiles;
            right[i] = column + i * row_tiles;
        }
    }
    MMR_DEVICE void find_rows(int) {}
    // A whole warp works or rests; its lanes past the last tile repeat that one.
    MMR_DEVICE bool works(int pass) const { return tile_of(pass, warp_index() * 32) < tiles; }

    MMR_DEVICE void add(const Embeddings<Element> &embeddings, const Chunk &chunk) {
#pragma unroll
        for (int pass = 0; pass < passes; ++pass) {
            if (!works(pass)) continue;
            int left[4], right[4];
            rows_of(min(tile_of(pass, thread_index()), tiles - 1), left, right);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                left[i] = min(left[i], rows - 1);
                right[i] = min(right[i], rows - 1);
            }
            add_products(embeddings, sum[pass], chunk, left, right, thread_index() % slices, slices);
        }
    }

    // Sums over the slices, to the part of S where i ≥ j. The chunks may be overwritten.
    MMR_DEVICE void finish(const Square &square) {
#pragma unroll
        for (int pass = 0; pass < passes; ++pass) {
            if (!works(pass)) continue;
            int left[4], right[4];
            const int tile = tile_of(pass, thread_index());
            rows_of(tile, left, right);
            int held = 16, first = 0, offset = slices / 2;
            halve<8>(sum[pass], held, first, offset);
            if (offset) sum[pass][0] += __shfl_xor_sync(all_lanes, sum[pass][0], offset);
            if (tile >= tiles || (offset && lane_index() % 2)) continue;
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                if (i >= held) continue;
                const int row = left[0] + (first + i) / 4 * row_tiles, column = right[0] + (first + i) % 4 * row_tiles;
                const bool mirrored = left[0] == right[0] && row < column;  // a tile on the diagonal has both
                if (row < rows && column < rows && !mirrored)
                    square.store(max(row, column), min(row, column), sum[pass][i]);
            }
        }
    }
};

// The same by tensor cores, in tiles of 16 by 16, each two products of 16 by 8, along 16 dimensions at a time. What a
// lane names of a tile's rows lies at one byte of every chunk, and k words further along, a multiple of 8, at that byte's
// exclusive or with 4 k. Rows beyond the last repeat it.
MMR_DEVICE int operand_byte(int rows, int words, int row, int piece) {
    return 4 * Chunk::place_in_chunk(min(row, rows - 1), piece, words);
}
// Of A: rows 0 to 7 and 8 to 15 of the first 16 bytes, then of the second.
MMR_DEVICE int left_byte(int rows, int words, int tile) {
    return operand_byte(rows, words, tile * 16 + lane_index() % 16, lane_index() / 16);
}
// Of B: both 16 bytes of rows 0 to 7, which the first product takes, then of rows 8 to 15.
MMR_DEVICE int right_byte(int rows, int words, int tile) {
    return operand_byte(rows, words, tile * 16 + lane_index() / 16 * 8 + lane_index() % 8, lane_index() / 8 % 2);
}
MMR_DEVICE uint4 load_operand(const Chunk &chunk, int byte, int k) {
    return load_matrices(chunk.memory, chunk.begin, byte ^ 4 * k);
}

using TensorSum = float[2][4];

template <bool bfloat>
MMR_DEVICE void multiply(TensorSum &sum, const uint4 &a, const uint4 &b) {
    tensor_product<bfloat>(sum[0], a.x, a.y, a.z, a.w, b.x, b.y);
    tensor_product<bfloat>(sum[1], a.x, a.y, a.z, a.w, b.z, b.w);
}

// A tile's sums to the part of the square where i ≥ j, of a tile on the diagonal all. Where that mirrors the tile, half
// of the lanes go the other way round: no bank twice.
MMR_DEVICE void store_sums(const Square &square, int rows, int row_tile, int column_tile, const TensorSum &sum) {
    const bool mirrored = row_tile < column_tile, turned = mirrored && lane_index() % 4 >= 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int row = row_tile * 16 + lane_index() / 4 + i / 2 % 2 * 8;
        const int column = column_tile * 16 + i / 4 * 8 + lane_index() % 4 * 2 + (i % 2 ^ turned);
        if (row >= rows || column >= rows) continue;
        const float value = turned ? sum[i / 4][i % 4 ^ 1] : sum[i / 4][i % 4];
        square.store(mirrored ? column : row, mirrored ? row : column, value);
    }
}

// The rows fill 1, 2, 4 or 8 tiles, some perhaps of nothing but the last row. Of R a warp has two, R / 2 apart, and takes
// the columns from its first one on, wrapping around: the first R / 2 + 1 of them with its first tile, from there on with
// its second. So every two tiles meet once, all warps have R + 1 meetings, and each column is loaded once. Warps that are
// left share out the dimension.
template <class Element, int P>
struct TensorTiles {
    static constexpr int most = 2 * P;
    int rows, row_tiles, pairs, slices, slice, pair;
    int left[2], right[most];  // bytes
    TensorSum sum[most + 1] = {};

    MMR_DEVICE explicit TensorTiles(int rows) : rows(rows) {
        row_tiles = rows <= 16 ? 1 : rows <= 32 ? 2 : rows <= 64 ? 4 : 8;
        pairs = (row_tiles + 1) / 2;
        slices = block_warps / pairs;
        slice = warp_index() / pairs;
        pair = warp_index() % pairs;
    }
    MMR_DEVICE int row_of(int t) const { return t <= row_tiles / 2 ? pair : pair + pairs; }
    MMR_DEVICE int column_of(int t) const { return (pair + t - (t > row_tiles / 2)) % row_tiles; }

    MMR_DEVICE void find_rows(int words) {
#pragma unroll
        for (int i = 0; i < 2; ++i) left[i] = left_byte(rows, words, pair + i * pairs);
#pragma unroll
        for (int j = 0; j < most; ++j) right[j] = right_byte(rows, words, (pair + j) % row_tiles);
    }

    template <int R, bool bfloat>
    MMR_DEVICE void add_products_of(const Chunk &chunk) {
        constexpr int pairs = (R + 1) / 2, step = block_warps / pairs * 16;
        for (int k = slice * 16; k < chunk.words; k += step)
#pragma unroll
            for (int piece = 0; piece < 16; piece += 8) {
                const uint4 first = load_operand(chunk, left[0], k + piece);
                const uint4 second = R > 1 ? load_operand(chunk, left[1], k + piece) : first;
#pragma unroll
                for (int j = 0; j < R; ++j) {
                    const uint4 column = load_operand(chunk, right[j], k + piece);
                    if (j <= R / 2) multiply<bfloat>(sum[j], first, column);
                    if (R > 1 && j >= R / 2) multiply<bfloat>(sum[j + 1], second, column);
                }
            }
    }
    template <bool bfloat>
    MMR_DEVICE void add_products(const Chunk &chunk) {
        if (row_tiles == 1) return add_products_of<1, bfloat>(chunk);
        if (P == 1 || row_tiles == 2) return add_products_of<2, bfloat>(chunk);
        if constexpr (P > 1) {
            if (row_tiles == 4) add_products_of<4, bfloat>(chunk);
            else add_products_of<8, bfloat>(chunk);
        }
    }

    MMR_DEVICE void add(const Embeddings<Element> &embeddings, const Chunk &chunk) {
        if (embeddings.bfloat) add_products<true>(chunk);
        else add_products<false>(chunk);
    }

    // Sums over the slices, to the part of S where i ≥ j. The chunks may be overwritten.
    MMR_DEVICE void finish(const Square &square) {
        MMR_PHASE("sums");
        const int held = row_tiles == 1 ? 1 : row_tiles + 1;
        const auto partial = [&](int of_slice, int t, int half) {
            return ((((of_slice - 1) * pairs + pair) * held + t) * 2 + half) * 128 + lane_index() * 4;
        };
        const auto for_each_half = [&](auto visit) {
#pragma unroll
            for (int t = 0; t <= most; ++t)
                if (t < held) visit(t, 0), visit(t, 1);
        };
        if (slice > 0)
            for_each_half([&](int t, int half) {
                const float(&own)[4] = sum[t][half];
                square.memory.store16(partial(slice, t, half), float4{own[0], own[1], own[2], own[3]});
            });
        __syncthreads();
        if (slice == 0)
            for (int other = 1; other < slices; ++other)
                for_each_half([&](int t, int half) {
                    const float4 more = square.memory.load16<float4>(partial(other, t, half));
                    sum[t][half][0] += more.x, sum[t][half][1] += more.y;
                    sum[t][half][2] += more.z, sum[t][half][3] += more.w;
                });
        __syncthreads();
        if (slice > 0) return;
#pragma unroll
        for (int t = 0; t <= most; ++t)
            if (t < held) store_sums(square, rows, row_of(t), column_of(t), sum[t]);
    }
};

// A row with a non-finite entry or of zero norm, seen by its squared norm, is similar to nothing: scale 0.
MMR_DEVICE float row_scale(float squared_norm, bool normalize) {
    if (!(squared_norm > 0 && is_finite(squared_norm))) return 0;
    return normalize ? 1 / fmaxf(sqrtf(squared_norm), smallest_norm) : 1;
}
MMR_DEVICE float scaled(float dot, float scale_i, float scale_j) {
    return scale_i == 0 || scale_j == 0 ? 0 : dot * (scale_i * scale_j);  // dot may be NaN
}

// Dot products of the square's rows where i ≥ j, as many as `tiles` has, and each row's scale. `meanwhile` runs while the
// first rows are under way. A barrier must follow.
template <class Tiles, class Element, class RowOf, class Meanwhile>
MMR_DEVICE void form_products(Tiles tiles, const Embeddings<Element> &embeddings, const Square &square,
                              const Shared<float> &scale, bool normalize, RowOf row_of, Meanwhile meanwhile) {
    const auto find_rows = [&](int words) {
        tiles.find_rows(words);
        meanwhile();
    };
    for_each_chunk(embeddings, square.memory, square.size, row_of, find_rows,
                   [&](const Chunk &chunk) { tiles.add(embeddings, chunk); });
    __syncthreads();
    tiles.finish(square);
    __syncthreads();
    for (int i = thread_index(); i < square.size; i += block_threads)
        scale.store(i, row_scale(square.load(i, i), normalize));
}

// S of at most 32 P rows. Ends with a barrier.
template <int P, class Element, class RowOf, class Meanwhile>
MMR_DEVICE void form_square(const Embeddings<Element> &embeddings, const Square &square, const Shared<float> &scale,
                            bool normalize, RowOf row_of, Meanwhile meanwhile) {
    using Tiles = std::conditional_t<on_tensor_cores<Element>, TensorTiles<Element, P>, FloatTiles<Element, P>>;
    MMR_PHASE("products");
    const int rows = square.size;
    form_products(Tiles(rows), embeddings, square, scale, normalize, row_of, meanwhile);
    MMR_PHASE("square");
    square.clear_ends();
    __syncthreads();
    for (int j = warp_index(); j < rows; j += block_warps)
#pragma unroll 4
        for (int i = lane_index(); i < rows; i += 32) {
            if (i < j) continue;
            const float value = scaled(square.load(i, j), scale.load(i), scale.load(j));
            square.store(i, j, value);
            if (i != j) square.store(j, i, value);
        }
    __syncthreads();
}

}  // namespace
}  // namespace mmr
