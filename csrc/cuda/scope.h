// Sections 3 and 4 of docs/contract.md for a scope of at most 32 P members, by one warp with all state in registers. No
// barrier: a step of the greedy loop is a reduction, a vote and one read of S.
#pragma once
#include "determinants.h"
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

// ---- Greedy MMR ------------------------------------------------------------------------------------------------

// The largest value over the warp's 32 P members, and the lowest index that has it.
template <int P>
MMR_DEVICE void first_largest(const float (&value)[P], float &largest, int &index) {
    float own = value[0];
#pragma unroll
    for (int p = 1; p < P; ++p) own = fmaxf(own, value[p]);
    largest = from_ordered_bits(warp_max(ordered_bits(own + 0.0f)));  // -0 + 0 = 0
    index = 0;
#pragma unroll
    for (int p = P - 1; p >= 0; --p) {
        const uint32_t lanes = __ballot_sync(all_lanes, value[p] == largest);
        if (lanes) index = __ffs(lanes) - 1 + 32 * p;
    }
}

// Carbonell & Goldstein 1998: score = lam r - (1 - lam) nearest. similarity(i, j) is S_ij for picked j.
template <int P, class Similarity>
MMR_DEVICE void greedy(Members<P> &members, float lam, bool first_pick_score, Similarity similarity) {
    MMR_PHASE("first pick");
    const float weight = lam - 1;
    float weighted[P], score[P], nearest[P];  // weighted: lam r, of those left; -inf once picked
#pragma unroll
    for (int p = 0; p < P; ++p) {
        weighted[p] = members.valid[p] ? lam * members.reward[p] : -INFINITY;
        score[p] = members.valid[p] ? members.reward[p] : -INFINITY;
        nearest[p] = 0;
    }
    float best;
    int pick;
    first_largest<P>(score, best, pick);
    if (first_pick_score) best *= lam;
    MMR_PHASE("greedy");
    for (int step = 0; step < members.count; ++step) {
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int i = lane_index() + 32 * p;
            if (i == pick) {
                members.new_reward[p] = best;
                members.rank[p] = step;
                members.max_similarity[p] = nearest[p];
                weighted[p] = -INFINITY;
            }
        }
        if (step + 1 == members.count) return;
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int i = lane_index() + 32 * p;
            nearest[p] = fmaxf(nearest[p], similarity(i, pick));
            score[p] = fmaf(weight, nearest[p], weighted[p]);
        }
        first_largest<P>(score, best, pick);
    }
}

// One scope of at most 32 P members, by the whole block: its last warp does all but the products and the signal.
template <class Element, int P>
MMR_DEVICE void small_scope(const Problem &p, const Work &work, const Buffers &buffers, const Shared<float> &memory,
                            const Shared<float> &scale, int64_t scope, const Range &range, bool advantages) {
    const bool leads = warp_index() == block_warps - 1;
    const int size = static_cast<int>(range.count);
    Members<P> members(buffers, range, leads && p.picks());
    float lam = NAN;
    const auto meanwhile = [&] {
        if (p.picks()) lam = lambda(p, buffers, scope, members.moments(members.reward), members.count);
        if (buffers.lam_out && lane_index() == 0) buffers.lam_out.store(scope, lam);
    };
    if (p.needs_similarity() && !p.similarity) {
        const Embeddings<Element> embeddings(p, work.aligned);
        form_triangle<Element, P>(embeddings, memory, scale, size, p.normalize,
                                  [&](int slot) { return range.row(slot); }, meanwhile);
    } else if (leads) {
        meanwhile();
    }
    if (buffers.signal && warp_index() == 0) write_signal<P>(p, work, memory, scope);
    if (p.method == Method::dpp) {
        determinants<P>(p, work, memory, scope, advantages);
        return;
    }
    if (!leads) return;
    if (!p.picks()) {
        without_picks<P>(p, work, memory, scope, advantages);
        return;
    }
    const auto of_embeddings = [&](int i, int j) {
        return i < size ? memory.load(triangle_index(i, j)) : 0;
    };
    const auto as_given = [&](int i, int j) {
        return i < size ? buffers.given_similarity(scope, size, i, j) : 0;
    };
    if (p.similarity) greedy<P>(members, lam, p.first_pick_score(), as_given);
    else greedy<P>(members, lam, p.first_pick_score(), of_embeddings);
    if (p.match_scale) members.match_scale();
    write_outputs<P>(p, buffers, members, range, advantages, [](float (&)[P], const Moments &) {});
}

}  // namespace
}  // namespace mmr
