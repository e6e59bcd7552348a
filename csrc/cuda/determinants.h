// "dpp" of section 4 of docs/contract.md for a scope of at most 32 P members: the diagonal of (I + L)⁻¹ by the sweep operator
// (Beaton 1964), in place on the packed triangle in shared memory, by the whole block. All pivots lie in float32 between
// 1 and 1 + L_ii, so no step divides by little.
#pragma once
#include "counts.h"

namespace mmr {
namespace {

// The triangle of I + L, where L_ij = factor_i S_ij factor_j; a factor of 0 leaves a row of I.
template <int P>
MMR_DEVICE void form_kernel(const Problem &p, const Buffers &buffers, const Shared<float> &triangle,
                            const Shared<float> &factor, int64_t scope, int size) {
    const float scale = p.quality ? quality_scale : 1;
    for (int i = warp_index(); i < size; i += block_warps)
        for (int j = lane_index(); j <= i; j += 32) {
            const int place = triangle_index(i, j);
            float value = 0;
            if (factor.load(i) != 0 && factor.load(j) != 0) {
                const float similarity = p.similarity ? (buffers.given_similarity(scope, size, i, j) +
                                                         buffers.given_similarity(scope, size, j, i)) / 2
                                                      : triangle.load(place);
                value = scale * factor.load(i) * similarity * factor.load(j);
            }
            triangle.store(place, i == j ? value + 1 : value);
        }
}

// Brings the k-th row and column of the symmetric matrix to its negative inverse; `row`: room for it.
template <int P>
MMR_DEVICE void sweep(const Shared<float> &triangle, const Shared<float> &row, int size, int k) {
    if (thread_index() < size) row.store(thread_index(), triangle.load(triangle_index(thread_index(), k)));
    __syncthreads();
    const float pivot = fmaxf(row.load(k), 1);
    float divided[P];
#pragma unroll
    for (int q = 0; q < P; ++q) {
        const int j = lane_index() + 32 * q;
        divided[q] = j == k ? -1 / pivot : j < size ? row.load(j) / pivot : 0;
    }
    for (int i = warp_index(); i < size; i += block_warps) {
        const float of_row = row.load(i);
#pragma unroll
        for (int q = 0; q < P; ++q) {
            const int j = lane_index() + 32 * q, place = triangle_index(i, j);
            if (j > i) continue;
            const float value = i == k ? divided[q] : j == k ? of_row / pivot : fmaf(-of_row, divided[q], triangle.load(place));
            triangle.store(place, value);
        }
    }
    __syncthreads();
}

// Sections 4 and 5 of one scope, by the block.
template <int P>
MMR_DEVICE_CALL void determinants(const Problem &p, const Work &work, const Shared<float> memory,
                                  const Shared<float> factor, int64_t scope, bool advantages) {
    MMR_PHASE("determinants");
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const int size = static_cast<int>(range.count);
    const Shared<float> row = memory.from(stage_words - 32 * P);  // past the triangle
    Members<P> members(buffers, range, true);
    float lowest = INFINITY;
#pragma unroll
    for (int k = 0; k < P; ++k)
        if (members.valid[k]) lowest = fminf(lowest, members.reward[k]);
    lowest = -warp_largest(-lowest);
    if (warp_index() == 0) {
#pragma unroll
        for (int k = 0; k < P; ++k)
            factor.store(lane_index() + 32 * k,
                         !members.valid[k] ? 0 : p.quality ? sqrtf(members.reward[k] - lowest) : 1);
    }
    __syncthreads();  // and the signal has been read from the triangle
    form_kernel<P>(p, buffers, memory, factor, scope, size);
    __syncthreads();
    float most[P];  // of a pivot
#pragma unroll
    for (int k = 0; k < P; ++k) {
        const int i = lane_index() + 32 * k;
        most[k] = i < size ? fmaxf(memory.load(triangle_index(i, i)), 1) : 1;
    }
    for (int k = 0; k < size; ++k)
        if (factor.load(k) != 0) sweep<P>(memory, row, size, k);
    if (warp_index() != block_warps - 1) return;
#pragma unroll
    for (int k = 0; k < P; ++k) {
        const int i = lane_index() + 32 * k;
        // From 1 / (1 + L_ii) to 1; a NaN, which only an L that isn't positive semidefinite can give, counts as 1.
        const bool alone = i >= size || factor.load(i) == 0;
        const float inverse = alone ? 1 : -memory.load(triangle_index(i, i));
        const float gain = -logf(inverse <= 1 ? fmaxf(inverse, 1 / most[k]) : 1);
        members.new_reward[k] = p.quality ? gain : members.reward[k] + p.strength * gain;
    }
    const float n[P] = {};
    finish<P>(p, buffers, members, range, scope, n, advantages);
}

}  // namespace
}  // namespace mmr
