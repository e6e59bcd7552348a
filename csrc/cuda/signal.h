// Section 7 of docs/contract.md: the signal of a scope of at most 32 P members, by one warp.
#pragma once
#include "counts.h"

namespace mmr {
namespace {

// What one member adds to T: its centred reward against a guess from the others, weighed by likeness. `total` is the sum
// of its group's centred rewards, 0 but for rounding.
MMR_DEVICE float explained_part(float centred, float total, int valid, float weights, float weighed) {
    if (!(weights > smallest_weight)) return 0;
    const float others = (total - centred) / static_cast<float>(valid - 1);
    return (centred - others) * (weighed / weights - others);
}
MMR_DEVICE float variance_of(const Moments &r, int valid) {
    return r.squares * static_cast<float>(valid) / static_cast<float>(valid - 1);
}

template <int P>
MMR_DEVICE void add_signal(const Members<P> &members, const Square &similarity, float sharpness, float &explained,
                           float &variance) {
    if (members.count < 2) return;
    const Moments r = members.moments(members.reward);
    float centred[P], weights[P] = {}, weighed[P] = {}, total = 0;
#pragma unroll
    for (int k = 0; k < P; ++k) {
        centred[k] = members.valid[k] ? members.reward[k] - r.mean : 0;
        total += centred[k];
    }
    total = warp_sum(total);
    for_each_valid<P>(members, similarity.size, [&](int j, int lane, int at) {
        const float centred_j = __shfl_sync(all_lanes, chosen<P>(centred, at), lane);
        float of_j[P];
        similarity.row<P>(j, of_j);
#pragma unroll
        for (int k = 0; k < P; ++k) {
            const float alike = member<P>(k) == j ? 0 : likeness(of_j[k], sharpness);
            weights[k] += alike;
            weighed[k] = fmaf(alike, centred_j, weighed[k]);
        }
    });
    float part = 0;
#pragma unroll
    for (int k = 0; k < P; ++k)
        if (members.valid[k]) part += explained_part(centred[k], total, members.count, weights[k], weighed[k]);
    explained += warp_sum(part);
    variance += variance_of(r, members.count);
}

// Not inlined: a warp that has nothing else to do runs it while the last one picks.
template <int P>
MMR_DEVICE_CALL void write_signal(const Problem &p, const Work &work, int64_t scope) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const Square similarity(memory, static_cast<int>(range.count));
    Members<P> members(notes, similarity.size);
    int64_t group_of[P];
    bool valid[P];
#pragma unroll
    for (int k = 0; k < P; ++k) {
        valid[k] = members.valid[k];
        group_of[k] = p.batch_scope() && valid[k] ? buffers.group_of.load(range.row(member<P>(k))) : 0;
    }
    MMR_PHASE("signal");
    float explained = 0, variance = 0;
    for (int64_t group = 0; group < (p.batch_scope() ? p.num_groups : 1); ++group) {
        members.count = 0;
#pragma unroll
        for (int k = 0; k < P; ++k) {
            members.valid[k] = valid[k] && group_of[k] == group;
            members.count += __popc(__ballot_sync(all_lanes, members.valid[k]));
        }
        add_signal<P>(members, similarity, p.signal_sharpness(), explained, variance);
    }
    if (lane_index() > 0) return;
    buffers.signal.store(2 * scope, explained);
    buffers.signal.store(2 * scope + 1, variance);
}

}  // namespace
}  // namespace mmr
