// Section 2 of docs/contract.md for one block of 256 threads: rows of embeddings are brought to shared memory 16 bytes
// at a time, each once, and their dot products are formed there: in float32 (FFMA), or for 16-bit elements on targets
// from 8.0 on by tensor cores, whose products are exact and whose sums are float32.
#pragma once
#include <type_traits>

#include "platform.h"
#include "../mmr.h"

namespace mmr {
namespace {

constexpr int block_threads = 256;
constexpr int block_warps = block_threads / 32;
constexpr uint32_t all_lanes = ~0u;

// What one block keeps in shared memory at a time, in words of 4 bytes: chunks of rows, then S in their place. 128 rows
// of 64 words and their padding; the lower triangle of 128 by 128 is less.
constexpr int stage_words = 128 * (64 + 4);

struct bfloat16 {
    uint16_t bits;
};
struct float16 {
    uint16_t bits;
};

MMR_DEVICE int thread_index() { return threadIdx.x; }
MMR_DEVICE int warp_index() { return thread_index() / 32; }
MMR_DEVICE int lane_index() { return thread_index() % 32; }
MMR_DEVICE bool is_finite(float value) { return fabsf(value) <= 3.402823466e38f; }

// Where S_ij stands in the packed lower triangle. 32 neighbours of a row lie in 32 banks, and so do 32 of a column,
// since i (i + 1) / 2 takes every value mod 32; a read of both kinds is at worst 2-way.
MMR_DEVICE int triangle_index(int i, int j) { return i >= j ? i * (i + 1) / 2 + j : j * (j + 1) / 2 + i; }

// Row of the `tile`-th tile in a triangle of tiles, rows first.
MMR_DEVICE int triangle_row(int tile) {
    int row = static_cast<int>((sqrtf(8.0f * static_cast<float>(tile) + 1.0f) - 1.0f) * 0.5f);
    if (row * (row + 1) / 2 > tile) --row;  // the root may have been rounded, either way
    if ((row + 1) * (row + 2) / 2 <= tile) ++row;
    return row;
}

// 16 bytes of which `left` elements are there, one element at a time: for rows that don't start on 16 bytes. Not
// inlined, or it would be most of the kernel's code.
template <class Element>
MMR_DEVICE_CALL float4 gather_piece(const Global<const Element> data, int64_t first, int64_t left) {
    constexpr int per_word = 4 / sizeof(Element);
    uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 4 * per_word; ++i) {
        if (i >= left) continue;
        const Element element = data.load(first + i);
        if constexpr (per_word == 1) word[i] = __float_as_uint(element);
        else word[i / 2] |= static_cast<uint32_t>(element.bits) << (i % 2 * 16);
    }
    return {__uint_as_float(word[0]), __uint_as_float(word[1]), __uint_as_float(word[2]), __uint_as_float(word[3])};
}

template <class Element>
struct Embeddings {
    static constexpr int width = 16 / sizeof(Element);         // elements in 16 bytes
    static constexpr int per_word = 4 / sizeof(Element);
    Global<const Element> data;  // (N, dim)
    int64_t dim;
    bool aligned;                // every row starts on 16 bytes

    MMR_DEVICE Embeddings(const Problem &p, bool aligned)
        : data(static_cast<const Element *>(p.embeddings), p.num_completions * p.dim, "embeddings"),
          dim(p.dim),
          aligned(aligned) {}

    // The words of one row, rounded up to whole chunks.
    MMR_DEVICE int64_t words() const {
        const int64_t words = (dim + per_word - 1) / per_word;
        return words ? (words + 31) / 32 * 32 : 32;
    }

    // 16 bytes of a row from element k on, zeros beyond its end.
    MMR_DEVICE float4 piece(int64_t row, int64_t k) const {
        if (k >= dim) return {0, 0, 0, 0};
        return aligned ? data.template load16<float4>(row * dim + k) : gather_piece(data, row * dim + k, dim - k);
    }

    // 16 bytes as float32 values.
    MMR_DEVICE static void unpack(float4 words, float (&value)[width]) {
        const float *word = &words.x;
#pragma unroll
        for (int i = 0; i < width; ++i) {
            const uint32_t bits = __float_as_uint(word[i / per_word]);
            if constexpr (per_word == 1) value[i] = word[i];
            else if constexpr (is_bfloat()) value[i] = __uint_as_float(i % 2 ? bits & 0xFFFF0000u : bits << 16);
            else value[i] = from_half(static_cast<uint16_t>(i % 2 ? bits >> 16 : bits & 0xFFFF));
        }
    }
    MMR_DEVICE static constexpr bool is_bfloat() { return std::is_same<Element, bfloat16>::value; }
};

// Brings `words` words of each of `slots` rows, from element k on, to the stage: one row a warp at a time, several
// loads in flight.
template <class Element, class RowOf>
MMR_DEVICE void stage_rows(const Embeddings<Element> &embeddings, const Shared<float> &stage, int stride, int slots,
                           RowOf row_of, int64_t k, int words) {
    constexpr int in_flight = 8;
    int slot = warp_index(), piece = lane_index();
    while (slot < slots) {
        float4 loaded[in_flight];
        int place[in_flight];
#pragma unroll
        for (int i = 0; i < in_flight; ++i) {
            place[i] = slot < slots && piece * 4 < words ? slot * stride + piece * 4 : -1;
            if (place[i] >= 0) loaded[i] = embeddings.piece(row_of(slot), k + piece * Embeddings<Element>::width);
            piece += 32;
            if (piece - lane_index() >= words / 4) {
                piece = lane_index();
                slot += block_warps;
            }
        }
#pragma unroll
        for (int i = 0; i < in_flight; ++i)
            if (place[i] >= 0) stage.store16(place[i], loaded[i]);
    }
}

// Adds dot products of four staged rows with four others over 16-byte pieces first, first + step, …
template <class Element>
MMR_DEVICE void add_products(float (&sum)[16], const Shared<float> &stage, int stride, const int (&left)[4],
                             const int (&right)[4], int words, int first, int step) {
    for (int piece = first; piece < words / 4; piece += step) {
        float a[4][Embeddings<Element>::width], b[4][Embeddings<Element>::width];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            Embeddings<Element>::unpack(stage.template load16<float4>(left[i] * stride + piece * 4), a[i]);
            Embeddings<Element>::unpack(stage.template load16<float4>(right[i] * stride + piece * 4), b[i]);
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

// The Gram matrix of at most 128 rows in tiles of 4 by 4, one per thread or, where there are fewer tiles than threads,
// one for `slices` neighbouring lanes that share out the dimension. A tile's rows are strided, so that neighbouring
// threads read neighbouring rows: other banks.
template <class Element, int passes>
struct FloatTiles {
    static constexpr int padding = 4;
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
    // A whole warp works or rests; its lanes past the last tile repeat that one.
    MMR_DEVICE bool works(int pass) const { return tile_of(pass, warp_index() * 32) < tiles; }

    MMR_DEVICE void accumulate(const Shared<float> &stage, int stride, int words) {
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
            add_products<Element>(sum[pass], stage, stride, left, right, words, thread_index() % slices, slices);
        }
    }

    // Sums over the slices and writes the triangle; the stage may be overwritten.
    MMR_DEVICE void finish(const Shared<float> &triangle) {
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
                if (row < rows && column < rows && !mirrored) triangle.store(triangle_index(row, column), sum[pass][i]);
            }
        }
    }
};

// The same by tensor cores, in tiles of 16 by 16, one per warp; where there are fewer tiles than warps, several warps
// share out the dimension. Lane 4 g + q reads elements 8 q … 8 q + 7 of rows g and g + 8: which k an element stands
// for is free, as long as both operands agree, so 16 bytes feed two products.
template <class Element, int passes>
struct TensorTiles {
    static constexpr int padding = 16;
    static constexpr int partial_sums = 1024;  // where they start: beyond the triangle of 32 rows
    int rows, tiles, slices;
    float sum[passes][2][4] = {};  // left and right half of a tile

    MMR_DEVICE explicit TensorTiles(int rows) : rows(rows) {
        const int row_tiles = (rows + 15) / 16;
        tiles = row_tiles * (row_tiles + 1) / 2;
        slices = tiles == 1 ? block_warps : tiles == 3 ? 2 : 1;
    }
    MMR_DEVICE int tile_of(int pass) const { return (warp_index() + pass * block_warps) / slices; }

    MMR_DEVICE void accumulate(const Shared<float> &stage, int stride, int words) {
        const int g = lane_index() / 4, q = lane_index() % 4;
#pragma unroll
        for (int pass = 0; pass < passes; ++pass) {
            const int tile = tile_of(pass);
            if (tile >= tiles) continue;
            const int row = triangle_row(tile), column = tile - row * (row + 1) / 2;
            const int left = min(row * 16 + g, rows - 1) * stride, left8 = min(row * 16 + g + 8, rows - 1) * stride;
            const int right = min(column * 16 + g, rows - 1) * stride, right8 = min(column * 16 + g + 8, rows - 1) * stride;
            for (int k = warp_index() % slices * 16; k < words; k += slices * 16) {
                const float4 a = stage.template load16<float4>(left + k + q * 4);
                const float4 a8 = stage.template load16<float4>(left8 + k + q * 4);
                float4 b = a, b8 = a8;
                if (row != column) {
                    b = stage.template load16<float4>(right + k + q * 4);
                    b8 = stage.template load16<float4>(right8 + k + q * 4);
                }
                add(sum[pass], a.x, a8.x, a.y, a8.y, b.x, b.y, b8.x, b8.y);
                add(sum[pass], a.z, a8.z, a.w, a8.w, b.z, b.w, b8.z, b8.w);
            }
        }
    }
    MMR_DEVICE static void add(float (&sum)[2][4], float a0, float a1, float a2, float a3, float b0, float b1, float c0,
                               float c1) {
        constexpr bool bfloat = Embeddings<Element>::is_bfloat();
        const uint32_t a[4] = {__float_as_uint(a0), __float_as_uint(a1), __float_as_uint(a2), __float_as_uint(a3)};
        tensor_product<bfloat>(sum[0], a[0], a[1], a[2], a[3], __float_as_uint(b0), __float_as_uint(b1));
        tensor_product<bfloat>(sum[1], a[0], a[1], a[2], a[3], __float_as_uint(c0), __float_as_uint(c1));
    }

    MMR_DEVICE void write(const Shared<float> &triangle, int tile, int row_in_tile, int column_in_tile, float value) const {
        const int tile_row = triangle_row(tile), tile_column = tile - tile_row * (tile_row + 1) / 2;
        const int row = tile_row * 16 + row_in_tile, column = tile_column * 16 + column_in_tile;
        if (row < rows && column <= row) triangle.store(triangle_index(row, column), value);
    }

    MMR_DEVICE void finish(const Shared<float> &memory) {
        const int g = lane_index() / 4, q = lane_index() % 4, slice = warp_index() % slices;
#pragma unroll
        for (int pass = 0; pass < passes; ++pass) {
            const int tile = tile_of(pass);
            if (tile >= tiles) continue;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const int row = g + i / 2 % 2 * 8, column = i / 4 * 8 + q * 2 + i % 2;
                if (slices == 1) write(memory, tile, row, column, sum[pass][i / 4][i % 4]);
                else memory.store(partial_sums + (slice * tiles + tile) * 256 + row * 16 + column,
                                  sum[pass][i / 4][i % 4]);
            }
        }
        if (slices == 1) return;
        __syncthreads();
        for (int i = thread_index(); i < tiles * 256; i += block_threads) {
            float total = 0;
            for (int other = 0; other < slices; ++other) total += memory.load(partial_sums + other * tiles * 256 + i);
            write(memory, i / 256, i % 256 / 16, i % 16, total);
        }
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

// S of at most 32 P rows as a packed lower triangle at the start of `memory`. The last warp, which has the least to do
// with the products, runs `meanwhile` beside them. Ends with a barrier.
template <class Element, int P, class RowOf, class Meanwhile>
MMR_DEVICE void form_triangle(const Embeddings<Element> &embeddings, const Shared<float> &memory,
                              const Shared<float> &scale, int rows, bool normalize, RowOf row_of, Meanwhile meanwhile) {
    constexpr bool tensor_cores = sizeof(Element) == 2 && target >= 800;
    using Tiles = std::conditional_t<tensor_cores, TensorTiles<Element, P == 1 ? 1 : P == 2 ? 2 : 5>,
                                     FloatTiles<Element, P == 4 ? 3 : 1>>;
    MMR_PHASE("products");
    Tiles tiles(rows);
    const int64_t all_words = embeddings.words();
    const int64_t fitting = (stage_words / max(rows, 1) - Tiles::padding) / 32 * 32;
    const int words = static_cast<int>(all_words < fitting ? all_words : fitting), stride = words + Tiles::padding;
    for (int64_t word = 0; word < all_words; word += words) {
        stage_rows(embeddings, memory, stride, rows, row_of, word * Embeddings<Element>::per_word, words);
        __syncthreads();
        if (word == 0 && warp_index() == block_warps - 1) meanwhile();
        tiles.accumulate(memory, stride, words);
        __syncthreads();
    }
    tiles.finish(memory);
    __syncthreads();
    for (int i = thread_index(); i < rows; i += block_threads)
        scale.store(i, row_scale(memory.load(triangle_index(i, i)), normalize));
    __syncthreads();
    for (int i = warp_index(); i < rows; i += block_warps)
        for (int j = lane_index(); j <= i; j += 32) {
            const int place = triangle_index(i, j);
            memory.store(place, scaled(memory.load(place), scale.load(i), scale.load(j)));
        }
    __syncthreads();
}

}  // namespace
}  // namespace mmr
