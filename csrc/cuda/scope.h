// Sections 2 to 5 of docs/contract.md for a scope whose S fits into shared memory: the block forms S, then one warp does the
// rest with all state in registers.
#pragma once
#include "determinants.h"
#include "picks.h"
#include "signal.h"

namespace mmr {
namespace {

// Section 3.
MMR_DEVICE float lambda(const Problem &p, const Buffers &buffers, int64_t scope, const Moments &r, int count) {
    float chosen = 0;
    switch (p.lam_mode) {
        case LambdaMode::fixed: chosen = p.lam_value; break;
        case LambdaMode::tensor: chosen = buffers.lam.load(p.lam_count == 1 ? 0 : scope); break;
        case LambdaMode::sigmoid: chosen = 1 / (1 + expf(-r.deviation(count))); break;
        case LambdaMode::relative_std: {
            const float relative = p.temperature * r.deviation(count) / (fabsf(r.mean) + mean_guard);
            chosen = 1 - 1 / (1 + relative);  // = relative / (1 + relative), without inf / inf
            break;
        }
    }
    return 1 - buffers.diversity(p, scope) * (1 - chosen);
}

// Notes the rewards of a scope of at most 128 members, and λ: by one warp.
MMR_DEVICE void note_rewards(const Problem &p, const Buffers &buffers, const Shared<float> &notes, int64_t scope,
                             const Range &range) {
    const int own = (static_cast<int>(range.count) - lane_index() + 31) / 32;
    float reward[most_small / 32];
    int count = 0;
#pragma unroll
    for (int k = 0; k < most_small / 32; ++k) {
        reward[k] = NAN;
        if (k < own) {
            const int64_t row = range.row(lane_index() + 32 * k);
            const float value = buffers.rewards.load(row);
            if (buffers.takes_part(row, value)) reward[k] = value;
            notes.store(noted_rewards + lane_index() + 32 * k, reward[k]);
        }
        count += __popc(__ballot_sync(all_lanes, reward[k] == reward[k]));
    }
    float lam = NAN;
    if (p.picks()) {
        const Moments r = warp_moments(most_small / 32, count, [&](int k) { return reward[k]; },
                                       [&](int k) { return reward[k] == reward[k]; });
        lam = lambda(p, buffers, scope, r, count);
    }
    if (lane_index() == 0) {
        notes.store(noted_lambda, lam);
        if (buffers.lam_out) buffers.lam_out.store(scope, lam);
    }
    __syncwarp();
}

// The S that was given.
MMR_DEVICE void take_square(const Buffers &buffers, const Square &square, int64_t scope) {
    for (int i = warp_index(); i < square.size; i += block_warps)
        for (int j = lane_index(); j < square.size; j += 32)
            square.store(i, j, buffers.given_similarity(scope, square.size, i, j));
    square.clear_ends();
    __syncthreads();
}

// Sections 4 and 5 of "mmr" by the scope's last warp.
template <int P>
MMR_DEVICE_CALL void with_picks(const Problem &p, const Work &work, int64_t scope, bool advantages) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const Square similarity(memory, static_cast<int>(range.count));
    Members<P> members(notes, similarity.size);
    const float lam = notes.load(noted_lambda);
    float score[P], weighted[P], nearest[P] = {};
#pragma unroll
    for (int k = 0; k < P; ++k) {
        score[k] = members.valid[k] ? members.reward[k] : -INFINITY;  // the first pick is of the highest reward
        weighted[k] = members.valid[k] ? lam * members.reward[k] : -INFINITY;
        if (!can_pick(lam)) members.new_reward[k] = NAN;
    }
    const int most = can_pick(lam) ? members.count : 0;
    MMR_PHASE("greedy");
    pick_greedily<P>(lam - 1, score, weighted, nearest, most, similarity.row_bytes(),
                     [](int32_t) { return INT32_MAX; },
                     [&](int place, float(&of_pick)[P]) { similarity.row_from<P>(place, of_pick); },
                     [&](int k, float own, int step) {
                         members.new_reward[k] = own;
                         members.rank[k] = step;
                         members.max_similarity[k] = nearest[k];
                     });
#pragma unroll
    for (int k = 0; k < P; ++k)
        if (members.rank[k] == 0 && p.first_pick_score()) members.new_reward[k] *= lam;
    if (p.match_scale) members.match_scale();
    write_outputs<P>(p, buffers, members, range, advantages, [](float (&)[P], const Moments &) {});
}

// All but S and the picks, of a scope of at most 32 P members.
template <int P>
MMR_DEVICE void reweight_small(const Problem &p, const Work &work, const Buffers &buffers, int64_t scope, bool advantages) {
    if (buffers.signal && warp_index() == 0) write_signal<P>(p, work, scope);
    if (p.method == Method::dpp) determinants<P>(p, work, scope, advantages);
    else if (!p.picks() && warp_index() == block_warps - 1) without_picks<P>(p, work, scope, advantages);
}

// One scope of at most 32 P members, P 1 or 4, by the whole block. How members lie in lanes, its own size alone decides.
template <class Element, int P>
MMR_DEVICE void small_scope(const Problem &p, const Work &work, const Buffers &buffers, const Shared<float> &memory,
                            const Shared<float> &notes, int64_t scope, const Range &range, bool advantages) {
    const Square square(memory, static_cast<int>(range.count));
    const auto note = [&] {
        if (warp_index() == block_warps - 1) note_rewards(p, buffers, notes, scope, range);
    };
    const bool needs_square = p.needs_similarity() && square.size > 0;
    if (needs_square && !p.similarity) {
        form_square<P>(Embeddings<Element>(p, work.aligned), square, notes, p.normalize,
                       [&](int i) { return range.row(i); }, note);
    } else {
        note();
        if (needs_square) take_square(buffers, square, scope);
    }
    if (P == 1 || square.size <= 32) reweight_small<1>(p, work, buffers, scope, advantages);
    else reweight_small<P>(p, work, buffers, scope, advantages);
    if (!p.picks() || warp_index() < block_warps - 1) return;
    if (P == 1 || square.size <= 32) with_picks<1>(p, work, scope, advantages);
    else if (square.size <= 64) with_picks<(P + 1) / 2>(p, work, scope, advantages);
    else with_picks<P>(p, work, scope, advantages);
}

}  // namespace
}  // namespace mmr
