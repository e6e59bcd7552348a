// What every file of the kernel works with: the call's buffers, groups and scopes as ranges of completions, statistics,
// and a scope of at most 32 P members in the registers of one warp: lane l holds members P l, …, P l + P - 1.
#pragma once
#include "gram.h"

namespace mmr {
namespace {

// Buffers of the call as views, and what the host worked out for this launch.
struct Work {
    uint32_t *finished_blocks;  // 1, zero at launch
    float *state;               // (3, state_stride), for scopes of more members than registers hold: see state_of
    float *counts;              // (N), n of a method that weighs advantages, where these are formed later; or null
    float *similarity;          // a block of S for each block of the launch, or for each scope at its first member's place
    int64_t capacity;           // the most members a scope can have for its S to fit, in whole fours
    bool aligned;               // every row of embeddings starts on 16 bytes
};

struct Buffers {
    Global<const float> rewards, similarity, lam, dial;
    Global<const bool> valid;
    Global<const int64_t> group_offsets, order, labels, group_of;
    Global<float> advantages, reweighted_rewards, max_similarity, lam_out, signal, counts;
    Global<int64_t> selection_rank;
    Global<float> new_rewards;  // r' between phases: where it is asked for, else in the memory of the advantages

    MMR_DEVICE Buffers(const Problem &p, const Work &work)
        : rewards(p.rewards, p.num_completions, "rewards"),
          similarity(p.similarity, p.num_completions * (p.batch_scope() ? p.num_completions : p.group_size), "similarity"),
          lam(p.lam, p.lam_count, "lam"),
          dial(p.dial, p.dial_count, "dial"),
          valid(p.valid, p.num_completions, "valid"),
          group_offsets(p.group_offsets, p.num_groups + 1, "group_offsets"),
          order(p.order, p.num_completions, "order"),
          labels(p.labels, p.num_completions, "labels"),
          group_of(p.group_of, p.num_completions, "group_of"),
          advantages(p.advantages, p.num_completions, "advantages"),
          reweighted_rewards(p.reweighted_rewards, p.num_completions, "reweighted_rewards"),
          max_similarity(p.max_similarity, p.num_completions, "max_similarity"),
          lam_out(p.lam_out, p.batch_scope() ? 1 : p.num_groups, "lam"),
          signal(p.signal, 2 * (p.batch_scope() ? 1 : p.num_groups), "signal"),
          counts(work.counts, p.num_completions, "counts"),
          selection_rank(p.selection_rank, p.num_completions, "selection_rank"),
          new_rewards(reweighted_rewards ? reweighted_rewards : advantages) {}

    MMR_DEVICE bool takes_part(int64_t row, float reward) const { return is_finite(reward) && (!valid || valid.load(row)); }
    MMR_DEVICE bool takes_part(int64_t row) const { return takes_part(row, rewards.load(row)); }
    MMR_DEVICE float diversity(const Problem &p, int64_t scope) const {
        return dial ? dial.load(p.dial_count == 1 ? 0 : scope) : p.diversity;
    }
    // As given, of a scope of `size` members.
    MMR_DEVICE float given_similarity(int64_t scope, int64_t size, int64_t i, int64_t j) const {
        const float value = similarity.load((scope * size + i) * size + j);
        return is_finite(value) ? value : 0;
    }
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
    return {begin, end - begin < p.max_group_size ? end - begin : p.max_group_size, buffers.order, p.num_completions};
}
MMR_DEVICE Range range_of_scope(const Problem &p, const Buffers &buffers, int64_t scope) {
    if (p.batch_scope()) return {0, p.num_completions, {}, p.num_completions};
    return range_of_group(p, buffers, scope);
}

// What stands in scratch begins on 16 bytes, each row of S and each scope's state: so many elements, of which the last
// few are nobody's.
MMR_ANYWHERE inline int64_t padded(int64_t count) { return (count + 3) / 4 * 4; }

// Rows of state in scratch have room for all scopes so padded.
MMR_ANYWHERE inline int64_t state_stride(const Problem &p) {
    return (p.num_completions / 4 + p.num_scopes()) * 4;
}
MMR_DEVICE Global<float> state_of(const Problem &p, const Work &work, int64_t scope, const Range &range, int row) {
    return {work.state + row * state_stride(p) + (range.begin / 4 + scope) * 4, padded(range.count), "state"};
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

// The base of a power is never below 0. Not inlined: it is long, and few calls need it.
MMR_DEVICE_CALL float power(float base, float exponent) { return powf(base, exponent); }

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

// Floats as integers of the same order, and back; -0, which ties with 0, becomes 0.
MMR_DEVICE int32_t ordered_bits(float value) {
    const uint32_t bits = __float_as_uint(value);
    return static_cast<int32_t>(bits & 0x80000000u ? 0x80000000u - bits : bits);
}
MMR_DEVICE float from_ordered_bits(int32_t ordered) {
    const uint32_t bits = static_cast<uint32_t>(ordered);
    return __uint_as_float(ordered < 0 ? 0x80000000u - bits : bits);
}

// The largest of the warp's values, on every lane; 0 for -0.
MMR_DEVICE float warp_largest(float value) { return from_ordered_bits(warp_max(ordered_bits(value))); }

// The k-th of those that this lane holds.
template <int P>
MMR_DEVICE int member(int k) {
    return lane_index() * P + k;
}

// What a block notes beside its room: norms and partial results, and of a small scope its rewards, NaN for who takes no
// part, and λ.
constexpr int most_small = 128, noted_rewards = 3 * most_small, noted_lambda = 4 * most_small;
constexpr int note_words = noted_lambda + 8;

// A block's notes, and its room behind them. A function that is not inlined asks anew, or its accesses would be of any
// memory, which takes longer.
#define MMR_BLOCK_MEMORY(notes, memory)                    \
    MMR_SHARED_OF_LAUNCH(notes, note_words + room.words);  \
    [[maybe_unused]] const Shared<float> memory = notes.from(note_words)

template <int P>
struct Members {
    float reward[P], new_reward[P], max_similarity[P];
    int rank[P];
    bool valid[P];
    int count;  // valid ones

    // From what `note_rewards` left.
    MMR_DEVICE Members(const Shared<float> &notes, int size) {
        count = 0;
#pragma unroll
        for (int k = 0; k < P; ++k) {
            const int i = member<P>(k);
            reward[k] = i < size ? notes.load(noted_rewards + i) : NAN;
            valid[k] = reward[k] == reward[k];
            reward[k] = new_reward[k] = valid[k] ? reward[k] : 0;
            max_similarity[k] = 0;
            rank[k] = -1;
        }
#pragma unroll
        for (int k = 0; k < P; ++k) count += __popc(__ballot_sync(all_lanes, valid[k]));
    }
    MMR_DEVICE Moments moments(const float (&value)[P]) const {
        return warp_moments(P, count, [&](int p) { return value[p]; }, [&](int p) { return valid[p]; });
    }
    MMR_DEVICE void match_scale() {
        const MatchScale match(moments(reward), moments(new_reward), count);
#pragma unroll
        for (int k = 0; k < P; ++k) new_reward[k] = match(new_reward[k]);
    }
};

MMR_DEVICE float block_sum(float value, const Shared<float> &slots) {
    value = warp_sum(value);
    __syncthreads();  // the slots may still be read from the last time
    if (lane_index() == 0) slots.store(warp_index(), value);
    __syncthreads();
    float sum = 0;
    for (int warp = 0; warp < block_warps; ++warp) sum += slots.load(warp);
    return sum;
}

}  // namespace
}  // namespace mmr
