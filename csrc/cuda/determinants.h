// "dpp" of section 4 of docs/contract.md by a whole block: the diagonal of (I + L)⁻¹ by the sweep operator (Beaton 1964), in
// place on the lower triangle of the matrix, wherever that stands. Every pivot lies between 1 and 1 + L_ii, so no step
// divides by little.
#pragma once
#include "counts.h"

namespace mmr {
namespace {

// S in `memory`, one row after the other, which in the end has the inverse in its lower triangle.
template <class Memory>
struct Determinants {
    const Problem &p;
    const Buffers &buffers;
    const Range &range;
    Memory memory;
    int64_t stride;
    Memory factor, most, row;  // most: 1 + L_ii, the largest that a pivot can be

    MMR_DEVICE float load(int i, int j) const { return memory.load(i * stride + j); }
    MMR_DEVICE void store(int i, int j, float value) const { memory.store(i * stride + j, value); }
    MMR_DEVICE int size() const { return static_cast<int>(range.count); }

    // I + L, where L_ij = factor_i S_ij factor_j; a factor of 0 leaves a row of I.
    MMR_DEVICE void form() const {
        float lowest = INFINITY;  // by each warp alone, so all have it
        for (int i = lane_index(); i < size(); i += 32)
            if (buffers.takes_part(range.row(i))) lowest = fminf(lowest, buffers.rewards.load(range.row(i)));
        lowest = -warp_largest(-lowest);
        for (int i = thread_index(); i < size(); i += block_threads) {
            const int64_t at = range.row(i);
            factor.store(i, !buffers.takes_part(at) ? 0 : p.quality ? sqrtf(buffers.rewards.load(at) - lowest) : 1);
        }
        __syncthreads();  // and whoever took the signal from the matrix is done
        const float scale = p.quality ? quality_scale : 1;
        for (int i = warp_index(); i < size(); i += block_warps)
            for (int j = lane_index(); j <= i; j += 32) {
                float value = i == j ? 1 : 0;
                if (factor.load(i) != 0 && factor.load(j) != 0) {
                    const float similarity = 0.5f * load(i, j) + 0.5f * load(j, i);  // one that is given may not be symmetric
                    value += scale * factor.load(i) * similarity * factor.load(j);
                }
                store(i, j, value);
                if (i == j) most.store(i, fmaxf(value, 1));
            }
        __syncthreads();
    }

    // Brings the k-th row and column to their negative inverse.
    MMR_DEVICE void sweep(int k) const {
        for (int i = thread_index(); i < size(); i += block_threads)
            row.store(i, i >= k ? load(i, k) : load(k, i));
        __syncthreads();
        const float pivot = fmaxf(row.load(k), 1);
        for (int first = 0; first < size(); first += 32) {
            const int j = first + lane_index();
            const float divided = j == k ? -1 / pivot : j < size() ? row.load(j) / pivot : 0;
#pragma unroll 4
            for (int i = first + warp_index(); i < size(); i += block_warps) {
                if (j > i) continue;
                const float of_row = row.load(i);
                store(i, j, i == k ? divided : j == k ? of_row / pivot
                                                             : fmaf(-of_row, divided, load(i, j)));
            }
        }
        __syncthreads();
    }

    MMR_DEVICE void run() const {
        MMR_PHASE("determinants");
        form();
        for (int k = 0; k < size(); ++k)
            if (factor.load(k) != 0) sweep(k);
    }

    // b_i. The inverse lies from 1 / (1 + L_ii) to 1, and is held there; a NaN counts as 1: neither comes but where a
    // given L is not positive semidefinite.
    MMR_DEVICE float gain(int i) const {
        if (i >= size() || factor.load(i) == 0) return 0;
        const float inverse = -load(i, i);
        return -logf(inverse <= 1 ? fmaxf(inverse, 1 / most.load(i)) : 1);
    }
};

// Sections 4 and 5 of one scope of at most 32 P members, by the block.
template <int P>
MMR_DEVICE_CALL void determinants(const Problem &p, const Work &work, int64_t scope, bool advantages) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const int size = static_cast<int>(range.count);
    const Determinants<Shared<float>> all{p, buffers, range, memory, Square(memory, size).stride,
                                          notes, notes.from(most_small), notes.from(2 * most_small)};
    all.run();
    if (warp_index() != block_warps - 1) return;
    Members<P> members(notes, size);
#pragma unroll
    for (int k = 0; k < P; ++k)
        members.new_reward[k] = new_reward(p, members.reward[k], all.gain(member<P>(k)), members.count);
    const float n[P] = {};
    finish<P>(p, buffers, members, range, scope, n, advantages);
}

}  // namespace
}  // namespace mmr
