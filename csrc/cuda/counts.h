// Section 4 of docs/contract.md for methods that pick nothing, but those of determinants: how many members are like each,
// and r'. Of a scope of at most 32 P members, by one warp.
#pragma once
#include "advantages.h"

namespace mmr {
namespace {

// max(0, S)^p.
MMR_DEVICE float likeness(float similarity, float sharpness) {
    const float positive = fmaxf(similarity, 0);
    if (sharpness == usual_sharpness) return positive * positive * (positive * positive);
    return power(positive, sharpness);
}

// What member j adds to the count of member i, where that is no cluster's.
MMR_DEVICE float soft_count(const Problem &p, float similarity, bool itself) {
    if (p.has_published_sum()) return similarity;
    return itself ? 1 : likeness(similarity, p.sharpness);
}

// r' of a method that picks nothing, of `valid` members. `n`: how many are like this one, where the method counts; of
// "dpp" b.
MMR_DEVICE float new_reward(const Problem &p, float reward, float n, int valid) {
    switch (p.method) {
        case Method::smi:  // submodular mutual information (DRA-GRPO)
            if (p.strength == 1) return reward / (n + density_guard);
            return reward / power(fmaxf(n, 0) + density_guard, p.strength);
        case Method::partition:
            if (valid < 2) return reward;
            return reward * fmaxf((static_cast<float>(valid) - n) / static_cast<float>(valid - 1), smallest_part);
        case Method::share: case Method::unique: case Method::none: return reward;
        case Method::dpp: return p.quality ? n : reward + p.strength * n;
        case Method::mmr: break;
    }
    return NAN;
}

// The k-th of an array in registers, where k is known only at run time.
template <int P, class T>
MMR_DEVICE T chosen(const T (&of)[P], int k) {
    T value = of[0];
#pragma unroll
    for (int p = 1; p < P; ++p) value = k == p ? of[p] : value;
    return value;
}

// Calls visit(j, lane, k) for each valid member j, the k-th of its lane, in ascending order.
template <int P, class Visit>
MMR_DEVICE void for_each_valid(const Members<P> &members, int size, Visit visit) {
    uint32_t valid[P];
#pragma unroll
    for (int k = 0; k < P; ++k) valid[k] = __ballot_sync(all_lanes, members.valid[k]);
    for (int j = 0; j < size; ++j)
        if (chosen<P>(valid, j % P) >> (j / P) & 1) visit(j, j / P, j % P);
}

template <int P>
MMR_DEVICE void count_alike(const Problem &p, const Buffers &buffers, const Range &range, const Members<P> &members,
                            const Square &similarity, float (&n)[P]) {
    MMR_PHASE("counts");
    int64_t label[P] = {};
#pragma unroll
    for (int k = 0; k < P; ++k)
        if (buffers.labels && members.valid[k]) label[k] = buffers.labels.load(range.row(member<P>(k)));
    for_each_valid<P>(members, similarity.size, [&](int j, int, int) {
        if (buffers.labels) {
            const int64_t label_of_j = buffers.labels.load(range.row(j));
#pragma unroll
            for (int k = 0; k < P; ++k) n[k] += label[k] == label_of_j ? 1.0f : 0.0f;
            return;
        }
        float of_j[P];
        similarity.row<P>(j, of_j);
#pragma unroll
        for (int k = 0; k < P; ++k) n[k] += soft_count(p, of_j[k], member<P>(k) == j);
    });
}

// The lowest member of a set, 32 P where it is empty. Sets are masks of the k-th members of all lanes.
template <int P>
MMR_DEVICE int lowest_of(const uint32_t (&set)[P]) {
    int lowest = 32 * P;
#pragma unroll
    for (int k = 0; k < P; ++k)
        if (set[k]) lowest = min(lowest, (__ffs(set[k]) - 1) * P + k);
    return lowest;
}

// Connected components of S_ij > τ in either direction. The one at hand grows by one member per step: the lowest of
// those that it has reached; where it has reached all it can, the lowest member not yet seen begins the next.
template <int P>
MMR_DEVICE void count_components(const Problem &p, const Members<P> &members, const Square &similarity, float (&n)[P]) {
    MMR_PHASE("components");
    uint32_t unseen[P], reached[P] = {}, component[P] = {};
#pragma unroll
    for (int k = 0; k < P; ++k) unseen[k] = __ballot_sync(all_lanes, members.valid[k]);
    for (int step = 0; step < members.count; ++step) {
        int pick = lowest_of<P>(reached), size = 0;
        const bool begins = pick == 32 * P;
        if (begins) pick = lowest_of<P>(unseen);
        float of_pick[P];
        similarity.row<P>(pick, of_pick);
#pragma unroll
        for (int k = 0; k < P; ++k) {
            const int i = member<P>(k);
            const uint32_t picked = pick % P == k ? 1u << (pick / P) : 0;
            const bool above = of_pick[k] > p.threshold ||  // one that is given may not be symmetric
                               (p.similarity && i < similarity.size && similarity.load(pick, i) > p.threshold);
            unseen[k] &= ~picked;
            const uint32_t linked = __ballot_sync(all_lanes, above) & unseen[k];
            component[k] = (begins ? 0 : component[k]) | picked | linked;
            reached[k] = (reached[k] | linked) & ~picked;
            unseen[k] &= ~linked;
            size += __popc(component[k]);
        }
#pragma unroll
        for (int k = 0; k < P; ++k)
            if (component[k] >> lane_index() & 1) n[k] = static_cast<float>(size);
    }
}

// Sections 4 and 5 of one scope by its last warp. Not inlined, so that MMR's registers are its own.
template <int P>
MMR_DEVICE_CALL void without_picks(const Problem &p, const Work &work, int64_t scope, bool advantages) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const Square similarity(memory, static_cast<int>(range.count));
    Members<P> members(notes, similarity.size);
    float n[P] = {};
    const bool grows = p.has_threshold() && !buffers.labels;
    if (p.counts() && grows) count_components<P>(p, members, similarity, n);
    else if (p.counts()) count_alike<P>(p, buffers, range, members, similarity, n);
#pragma unroll
    for (int k = 0; k < P; ++k) members.new_reward[k] = new_reward(p, members.reward[k], n[k], members.count);
    finish<P>(p, buffers, members, range, scope, n, advantages);
}

}  // namespace
}  // namespace mmr
