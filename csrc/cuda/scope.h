// Sections 3 to 5 of docs/contract.md for a scope of at most 32 P members, by one warp with all state in registers:
// lane l holds members l, l + 32, … No barrier: a step of the greedy loop is a reduction, a vote and one read of S.
#pragma once
#include "gram.h"

namespace mmr {
namespace {

// Buffers of the call as views, and what the host worked out for this launch.
struct Work {
    uint32_t *finished_blocks;  // 1, zero at launch
    float *state;               // (3, N), for scopes of more members than registers hold
    float *similarity;          // (N, capacity): a block of S for each scope, at its first member's place
    int64_t capacity;           // the most members a scope can have for its S to fit
    bool aligned;               // every row of embeddings starts on 16 bytes
};

struct Buffers {
    Global<const float> rewards, similarity, lam;
    Global<const bool> valid;
    Global<const int64_t> group_offsets, order;
    Global<float> advantages, reweighted_rewards, max_similarity, lam_out;
    Global<int64_t> selection_rank;
    Global<float> new_rewards;  // r' between phases: where it is asked for, else in the memory of the advantages

    MMR_DEVICE Buffers(const Problem &p, int64_t scope_size)
        : rewards(p.rewards, p.num_completions, "rewards"),
          similarity(p.similarity, (p.batch_scope() ? 1 : p.num_groups) * scope_size * scope_size, "similarity"),
          lam(p.lam, p.lam_count, "lam"),
          valid(p.valid, p.num_completions, "valid"),
          group_offsets(p.group_offsets, p.num_groups + 1, "group_offsets"),
          order(p.order, p.num_completions, "order"),
          advantages(p.advantages, p.num_completions, "advantages"),
          reweighted_rewards(p.reweighted_rewards, p.num_completions, "reweighted_rewards"),
          max_similarity(p.max_similarity, p.num_completions, "max_similarity"),
          lam_out(p.lam_out, p.batch_scope() ? 1 : p.num_groups, "lam"),
          selection_rank(p.selection_rank, p.num_completions, "selection_rank"),
          new_rewards(reweighted_rewards ? reweighted_rewards : advantages) {}

    MMR_DEVICE bool takes_part(int64_t row) const { return is_finite(rewards.load(row)) && (!valid || valid.load(row)); }
};

// The completions begin, begin + 1, … of the call, or of its `order`: members of a group or a scope.
struct Range {
    int64_t begin, count;
    Global<const int64_t> order;
    int64_t num_completions;

    MMR_DEVICE int64_t row(int64_t i) const {
        if (!order) return begin + i;
        const int64_t row = order.load(begin + i);  // on the device nobody has checked it
        return row < 0 ? 0 : row < num_completions ? row : num_completions - 1;
    }
};

MMR_DEVICE Range range_of_group(const Problem &p, const Buffers &buffers, int64_t group) {
    if (!p.group_offsets) return {group * p.group_size, p.group_size, {}, p.num_completions};
    int64_t begin = buffers.group_offsets.load(group), end = buffers.group_offsets.load(group + 1);
    begin = begin < 0 ? 0 : begin < p.num_completions ? begin : p.num_completions;
    end = end < begin ? begin : end < p.num_completions ? end : p.num_completions;
    return {begin, end - begin, buffers.order, p.num_completions};
}
MMR_DEVICE Range range_of_scope(const Problem &p, const Buffers &buffers, int64_t scope) {
    if (p.batch_scope()) return {0, p.num_completions, {}, p.num_completions};
    return range_of_group(p, buffers, scope);
}

// ---- Statistics ------------------------------------------------------------------------------------------------

MMR_DEVICE float warp_sum(float value) {
#pragma unroll
    for (int offset = 16; offset; offset /= 2) value += __shfl_xor_sync(all_lanes, value, offset);
    return value;
}

struct Moments {
    float mean, squares;  // squares: the sum of squared distances from the mean
    MMR_DEVICE float deviation(int degrees_of_freedom) const {
        return sqrtf(squares / static_cast<float>(max(degrees_of_freedom, 1)));
    }
};

// Of `count` values over a warp; each lane brings `own` of them, value(k), or leaves one out where takes(k) is false.
template <class Value, class Takes>
MMR_DEVICE Moments warp_moments(int own, int count, Value value, Takes takes) {
    float sum = 0, squares = 0;
#pragma unroll 4
    for (int k = 0; k < own; ++k)
        if (takes(k)) sum += value(k);
    const float mean = count ? warp_sum(sum) / static_cast<float>(count) : 0;
#pragma unroll 4
    for (int k = 0; k < own; ++k)
        if (takes(k)) {
            const float distance = value(k) - mean;
            squares += distance * distance;
        }
    return {mean, warp_sum(squares)};
}

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
    return 1 - p.diversity * (1 - chosen);
}

// Section 4, last paragraph, for one value.
struct MatchScale {
    bool matched;
    float mean_before, mean_after, factor;
    MMR_DEVICE MatchScale(const Moments &before, const Moments &after, int count)
        : matched(after.deviation(count) > spread_guard),
          mean_before(before.mean),
          mean_after(after.mean),
          factor((before.deviation(count) + spread_guard) / (after.deviation(count) + spread_guard)) {}
    MMR_DEVICE float operator()(float value) const {
        return matched ? (value - mean_after) * factor + mean_before : value;
    }
};

MMR_DEVICE float group_divisor(const Problem &p, const Moments &group, int count, float batch_deviation) {
    switch (p.scale) {
        case Scale::group: return group.deviation(count - 1) + p.eps;
        case Scale::batch: return batch_deviation + p.eps;
        case Scale::none: break;
    }
    return 1;
}

// ---- Greedy MMR ------------------------------------------------------------------------------------------------

// Floats as integers of the same order, and back; -0 and 0, which tie, must be made one before.
MMR_DEVICE uint32_t ordered_bits(float value) {
    const uint32_t bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
MMR_DEVICE float from_ordered_bits(uint32_t bits) {
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7FFFFFFFu : ~bits);
}

template <int P>
struct Members {
    float reward[P], new_reward[P], max_similarity[P];
    int rank[P];
    bool valid[P];
    int count;  // valid ones

    // Only one warp has use for them.
    MMR_DEVICE Members(const Buffers &buffers, const Range &range, bool wanted) {
        count = 0;
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int i = lane_index() + 32 * p;
            const int64_t row = wanted && i < range.count ? range.row(i) : -1;
            valid[p] = row >= 0 && buffers.takes_part(row);
            reward[p] = new_reward[p] = valid[p] ? buffers.rewards.load(row) : 0;
            max_similarity[p] = 0;
            rank[p] = -1;
        }
#pragma unroll
        for (int p = 0; p < P; ++p) count += __popc(__ballot_sync(all_lanes, valid[p]));
    }
    MMR_DEVICE Moments moments(const float (&value)[P]) const {
        return warp_moments(P, count, [&](int p) { return value[p]; }, [&](int p) { return valid[p]; });
    }
};

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

// r' of a method that picks nothing; `density`, the sum of similarities to the valid members, itself included, is 0
// where the method needs none.
MMR_DEVICE float new_reward(const Problem &p, float reward, float density) {
    switch (p.method) {
        case Method::smi: return reward / (density + density_guard);  // submodular mutual information (DRA-GRPO)
        case Method::none: return reward;
        case Method::share: case Method::unique: case Method::partition: case Method::dpp:
        case Method::mmr: break;
    }
    return NAN;
}

template <int P, class Similarity>
MMR_DEVICE void without_picks(const Problem &p, Members<P> &members, int size, Similarity similarity) {
    MMR_PHASE("density");
    float density[P] = {};
    if (!p.needs_similarity()) size = 0;
#pragma unroll
    for (int from = 0; from < P; ++from) {
        const uint32_t valid = __ballot_sync(all_lanes, members.valid[from]);
        for (int j = from * 32; j < size && j < from * 32 + 32; ++j) {
            if (!(valid >> (j % 32) & 1)) continue;
#pragma unroll
            for (int k = 0; k < P; ++k) density[k] += similarity(lane_index() + 32 * k, j);
        }
    }
#pragma unroll
    for (int k = 0; k < P; ++k) members.new_reward[k] = new_reward(p, members.reward[k], density[k]);
}

// Section 5, and the details.
template <int P>
MMR_DEVICE void write_outputs(const Problem &p, const Buffers &buffers, const Members<P> &members, const Range &range,
                              bool advantages) {
    MMR_PHASE("advantages");
    const Moments group = members.moments(members.new_reward);
    float lowest = INFINITY, highest = -INFINITY;
#pragma unroll
    for (int k = 0; k < P; ++k)
        if (members.valid[k]) {
            lowest = fminf(lowest, members.reward[k]);
            highest = fmaxf(highest, members.reward[k]);
        }
    bool zero = members.count < 2;
    if (p.degenerate_zero()) {
        const float top = from_ordered_bits(warp_max(ordered_bits(highest + 0.0f)));
        const float bottom = -from_ordered_bits(warp_max(ordered_bits(-lowest + 0.0f)));
        zero = zero || all_equal(bottom, top);
    }
    const float divisor = group_divisor(p, group, members.count, 0);
#pragma unroll
    for (int k = 0; k < P; ++k) {
        const int i = lane_index() + 32 * k;
        if (i >= range.count) continue;
        const int64_t row = range.row(i);
        const bool valid = members.valid[k];
        if (advantages)
            buffers.advantages.store(row, zero || !valid ? 0 : (members.new_reward[k] - group.mean) / divisor);
        if (buffers.reweighted_rewards || !advantages)
            buffers.new_rewards.store(row, valid ? members.new_reward[k] : NAN);
        if (buffers.selection_rank) buffers.selection_rank.store(row, members.rank[k]);
        if (buffers.max_similarity) buffers.max_similarity.store(row, members.max_similarity[k]);
    }
}

// One scope of at most 32 P members, by the whole block: its last warp does all but the products.
template <class Element, int P>
MMR_DEVICE void small_scope(const Problem &p, const Work &work, const Buffers &buffers, const Shared<float> &memory,
                            const Shared<float> &scale, int64_t scope, const Range &range, bool advantages) {
    const bool leads = warp_index() == block_warps - 1;
    const int size = static_cast<int>(range.count);
    Members<P> members(buffers, range, leads);
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
    if (!leads) return;

    const auto of_embeddings = [&](int i, int j) {
        return i < size ? memory.load(triangle_index(i, j)) : 0;
    };
    const auto as_given = [&](int i, int j) {
        if (i >= size) return 0.0f;
        const float value = buffers.similarity.load((scope * size + i) * size + j);
        return is_finite(value) ? value : 0.0f;
    };
    const auto reweight = [&](const auto &similarity) {
        if (p.picks()) greedy<P>(members, lam, p.first_pick_score(), similarity);
        else without_picks<P>(p, members, size, similarity);
    };
    if (p.similarity) reweight(as_given);
    else reweight(of_embeddings);
    if (p.match_scale) {
        const MatchScale match(members.moments(members.reward), members.moments(members.new_reward), members.count);
#pragma unroll
        for (int k = 0; k < P; ++k) members.new_reward[k] = match(members.new_reward[k]);
    }
    write_outputs<P>(p, buffers, members, range, advantages);
}

}  // namespace
}  // namespace mmr
