// S of a scope that has no room in shared memory, in global memory: in tiles of 64 by 64, or one column. Each sum over the
// dimension has the same order in both, so the bits don't depend on which it was, nor on where in a tile two rows stand.
#pragma once
#include "members.h"

namespace mmr {
namespace {

constexpr int tile_side = 64, tile_slots = 2 * tile_side;

// Members of the two halves of a tile, rows first; a pair of tiles mirrors another, so only one of them is listed.
struct Tile {
    int first_row, first_column;

    MMR_DEVICE explicit Tile(int tile) {
        const int row = triangle_row(tile);
        first_row = row * tile_side;
        first_column = (tile - row * (row + 1) / 2) * tile_side;
    }
    MMR_DEVICE int member(int slot) const {
        return slot < tile_side ? first_row + slot : first_column + slot - tile_side;
    }
};

// On tensor cores, of a tile's 128 rows: each warp has a tile of 16 by 16 on the diagonal, for its norms, and those of its
// rows with two tiles of the other half, which don't take this one in turn.
template <class Element>
struct AcrossTiles {
    int own, first;      // the other's second is two tiles further
    int left, right[3];  // bytes
    TensorSum sum[3] = {};

    MMR_DEVICE AcrossTiles() : own(warp_index()), first(own < 4 ? 4 + own % 2 : 1 - own % 2) {}
    MMR_DEVICE int column_of(int t) const { return t == 2 ? own : first + 2 * t; }
    MMR_DEVICE void find_rows(int words) {
        left = left_byte(tile_slots, words, own);
#pragma unroll
        for (int t = 0; t < 3; ++t) right[t] = right_byte(tile_slots, words, column_of(t));
    }
    template <bool bfloat>
    MMR_DEVICE void add_products_of(const Chunk &chunk) {
#pragma unroll 2
        for (int k = 0; k < chunk.words; k += 8) {
            const uint4 of_row = load_operand(chunk, left, k);
#pragma unroll
            for (int t = 0; t < 3; ++t) multiply<bfloat>(sum[t], of_row, load_operand(chunk, right[t], k));
        }
    }
    MMR_DEVICE void add(const Embeddings<Element> &embeddings, const Chunk &chunk) {
        if (embeddings.bfloat) add_products_of<true>(chunk);
        else add_products_of<false>(chunk);
    }
    MMR_DEVICE void finish(const Square &square) {
#pragma unroll
        for (int t = 0; t < 3; ++t) store_sums(square, tile_slots, own, column_of(t), sum[t]);
    }
};

// And of 128 rows the products with the last one, and the norms: 16 rows per warp.
template <class Element>
struct ColumnTiles {
    int left, right, last;  // bytes
    TensorSum norm = {};
    float dot[4] = {};  // with the last eight

    MMR_DEVICE void find_rows(int words) {
        left = left_byte(tile_slots, words, warp_index());
        right = right_byte(tile_slots, words, warp_index());
        last = right_byte(tile_slots, words, block_warps - 1);
    }
    template <bool bfloat>
    MMR_DEVICE void add_products_of(const Chunk &chunk) {
#pragma unroll 2
        for (int k = 0; k < chunk.words; k += 8) {
            const uint4 a = load_operand(chunk, left, k), b = load_operand(chunk, last, k);
            tensor_product<bfloat>(dot, a.x, a.y, a.z, a.w, b.z, b.w);
            multiply<bfloat>(norm, a, load_operand(chunk, right, k));
        }
    }
    MMR_DEVICE void add(const Embeddings<Element> &embeddings, const Chunk &chunk) {
        if (embeddings.bfloat) add_products_of<true>(chunk);
        else add_products_of<false>(chunk);
    }
    MMR_DEVICE void finish(const Square &square) {
        store_sums(square, tile_slots, warp_index(), warp_index(), norm);
        if (lane_index() % 4 < 3) return;
        square.store(warp_index() * 16 + lane_index() / 4, tile_slots - 1, dot[1]);
        square.store(warp_index() * 16 + lane_index() / 4 + 8, tile_slots - 1, dot[3]);
    }
};

// S_ij to row j and to row i, where dot(i, j) is the product of the i-th member of the tile's columns and the j-th of its
// rows.
template <class Dot>
MMR_DEVICE void write_tile(const Tile &tile, int count, const Shared<float> &scale, const Global<float> &similarity,
                           Dot dot) {
    const int stride = static_cast<int>(padded(count));
    const auto write = [&](int i, int j, bool to_row_i) {
        const int a = tile.first_column + i, b = tile.first_row + j;  // S has at most 2^27 elements
        if (a >= count || b >= count) return;
        const float value = scaled(dot(i, j), scale.load(tile_side + i), scale.load(j));
        similarity.store(to_row_i ? a * stride + b : b * stride + a, value);
    };
#pragma unroll 4
    for (int k = thread_index(); k < tile_side * tile_side; k += block_threads) write(k % tile_side, k / tile_side, false);
    if (tile.first_row == tile.first_column) return;
    // A warp takes four i and eight j: no bank twice, and whole sectors of memory.
#pragma unroll 4
    for (int k = thread_index(); k < tile_side * tile_side; k += block_threads)
        write(k / block_threads * 4 + k / 8 % 4, k / 32 % 8 * 8 + k % 8, true);
}

// S of 64 by 64 members, and its mirror image.
template <class Element>
MMR_DEVICE void form_tile(const Embeddings<Element> &embeddings, const Shared<float> &memory, const Shared<float> &scale,
                          const Range &range, bool normalize, const Tile &tile, const Global<float> &similarity) {
    MMR_PHASE("products, large");
    const int count = static_cast<int>(range.count);
    const auto row_of = [&](int slot) { return range.row(min(tile.member(slot), count - 1)); };
    __syncthreads();
    if constexpr (on_tensor_cores<Element>) {
        const Square square(memory, tile_slots);
        form_products(AcrossTiles<Element>(), embeddings, square, scale, normalize, row_of, [] {});
        __syncthreads();
        write_tile(tile, count, scale, similarity, [&](int i, int j) { return square.load(tile_side + i, j); });
    } else {
        // Lanes' rows are 1 and 4 apart: other banks, of a chunk and of the square.
        const int row = warp_index() / 4 * 8 + warp_index() % 4 + lane_index() / 16 * 4, column = lane_index() % 16;
        int left[4], right[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            left[i] = row + 16 * i;
            right[i] = tile_side + column + 16 * i;
        }
        float sum[16] = {}, squared_norm = 0;
        for_each_chunk(embeddings, memory, tile_slots, row_of, [](int) {}, [&](const Chunk &chunk) {
            add_products(embeddings, sum, chunk, left, right, 0, 1);
            for (int piece = 0; thread_index() < tile_slots && piece < chunk.words / 4; ++piece) {
                float value[Embeddings<Element>::width];
                embeddings.unpack(chunk.load(thread_index(), piece), value);
#pragma unroll
                for (int k = 0; k < Embeddings<Element>::width; ++k)
                    squared_norm = fmaf(value[k], value[k], squared_norm);
            }
        });
        __syncthreads();
        const Square square(memory, tile_side);
#pragma unroll
        for (int i = 0; i < 16; ++i) square.store(right[i % 4] - tile_side, left[i / 4], sum[i]);
        if (thread_index() < tile_slots) scale.store(thread_index(), row_scale(squared_norm, normalize));
        __syncthreads();
        write_tile(tile, count, scale, similarity, [&](int i, int j) { return square.load(i, j); });
    }
}

// The same of an S that is given, whose (i, j) goes to row j.
MMR_DEVICE void take_tile(const Buffers &buffers, const Shared<float> &memory, int64_t scope, int count, const Tile &tile,
                          const Global<float> &similarity) {
    constexpr int stride = tile_side + 1;
    for (int half = 0; half < (tile.first_row == tile.first_column ? 1 : 2); ++half) {
        const int first_i = half ? tile.first_column : tile.first_row, first_j = half ? tile.first_row : tile.first_column;
        __syncthreads();
#pragma unroll 4
        for (int k = thread_index(); k < tile_side * tile_side; k += block_threads) {
            const int i = first_i + k / tile_side, j = first_j + k % tile_side;
            memory.store(k / tile_side * stride + k % tile_side,
                         i < count && j < count ? buffers.given_similarity(scope, count, i, j) : 0);
        }
        __syncthreads();
        for (int k = thread_index(); k < tile_side * tile_side; k += block_threads) {
            const int j = first_j + k / tile_side, i = first_i + k % tile_side;
            if (i < count && j < count)
                similarity.store(j * padded(count) + i, memory.load(k % tile_side * stride + k / tile_side));
        }
    }
}

// S_ij of all members i with member j, to the scope's column. Not inlined: whoever needs columns calls it.
template <class Element>
MMR_DEVICE_CALL void form_column(const Problem &p, const Work &work, int64_t scope, int64_t j) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const Global<float> column = state_of(p, work, scope, range, 2);
    const Embeddings<Element> embeddings(p, work.aligned);
    for (int64_t first = 0; first < range.count; first += tile_slots - 1) {
        const auto row_of = [&](int slot) {
            const int64_t i = first + slot;
            return range.row(slot == tile_slots - 1 ? j : i < range.count ? i : range.count - 1);
        };
        const int64_t i = first + thread_index();
        const bool writes = thread_index() < tile_slots - 1 && i < range.count;
        __syncthreads();
        if constexpr (on_tensor_cores<Element>) {
            const Square square(memory, tile_slots);
            form_products(ColumnTiles<Element>(), embeddings, square, notes, p.normalize, row_of, [] {});
            __syncthreads();
            if (writes)
                column.store(i, scaled(square.load(thread_index(), tile_slots - 1), notes.load(thread_index()),
                                       notes.load(tile_slots - 1)));
        } else {
            float dot = 0, square = 0, square_j = 0;
            for_each_chunk(embeddings, memory, tile_slots, row_of, [](int) {}, [&](const Chunk &chunk) {
                for (int piece = 0; thread_index() < tile_slots && piece < chunk.words / 4; ++piece) {
                    float a[Embeddings<Element>::width], b[Embeddings<Element>::width];
                    embeddings.unpack(chunk.load(thread_index(), piece), a);
                    embeddings.unpack(chunk.load(tile_slots - 1, piece), b);
#pragma unroll
                    for (int k = 0; k < Embeddings<Element>::width; ++k) {
                        dot = fmaf(a[k], b[k], dot);
                        square = fmaf(a[k], a[k], square);
                        square_j = fmaf(b[k], b[k], square_j);
                    }
                }
            });
            if (writes)
                column.store(i, scaled(dot, row_scale(square, p.normalize), row_scale(square_j, p.normalize)));
        }
    }
}

}  // namespace
}  // namespace mmr
