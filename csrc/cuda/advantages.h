// Section 5 of docs/contract.md: by one warp, of members in its registers or in memory.
#pragma once
#include "members.h"

namespace mmr {
namespace {

MMR_DEVICE float group_divisor(const Problem &p, const Moments &group, int count, float batch_deviation) {
    switch (p.scale) {
        case Scale::group: return group.deviation(count - 1) + p.eps;
        case Scale::batch: return batch_deviation + p.eps;
        case Scale::none: break;
    }
    return 1;
}

// From the least to the largest of some values.
struct ValueRange {
    float lowest, highest;
    // Rounding may not move a mean past all values: of equal ones it is their value, and each advantage 0.
    MMR_DEVICE float clamped(float mean) const { return fminf(fmaxf(mean, lowest), highest); }
    MMR_DEVICE bool all_equal() const { return mmr::all_equal(lowest, highest); }
};

// As `warp_moments`, of what each lane brings.
template <class Value, class Takes>
MMR_DEVICE ValueRange warp_range(int own, Value value, Takes takes) {
    float lowest = INFINITY, highest = -INFINITY;
#pragma unroll 4
    for (int k = 0; k < own; ++k)
        if (takes(k)) {
            lowest = fminf(lowest, value(k));
            highest = fmaxf(highest, value(k));
        }
    return {-warp_largest(-lowest), warp_largest(highest)};
}

// ---- Methods that weigh --------------------------------------------------------------------------------------------

// What "share" makes of the members of one group whose centred rewards have one sign. They are weighed relative to the
// count that weighs most: no power overflows, and where all counts are equal every weight and the factor are 1.
struct Side {
    float exponent, reference, factor;
    MMR_DEVICE float weighed(float centred, float n) const { return centred * power(reference / n, exponent); }
};

// Each lane brings `own` members, as for `warp_moments`.
template <class Centred, class Counts, class Takes>
MMR_DEVICE Side side_of(float sign, float exponent, int own, Centred centred, Counts n, Takes takes) {
    float reference = -INFINITY;  // the least count, negated, or the most
    const float direction = exponent >= 0 ? -1.0f : 1.0f;
#pragma unroll 4
    for (int k = 0; k < own; ++k)
        if (takes(k) && sign * centred(k) > 0) reference = fmaxf(reference, direction * n(k));
    Side side{exponent, direction * warp_largest(reference), 1};
    float sum = 0, weighed = 0;
#pragma unroll 4
    for (int k = 0; k < own; ++k)
        if (takes(k) && sign * centred(k) > 0) {
            sum += centred(k);
            weighed += side.weighed(centred(k), n(k));
        }
    side.factor = warp_sum(sum) / warp_sum(weighed);
    return side;
}

// The centred rewards of one group as its method weighs them; "share" divides by their squares, not by those of r'.
struct Weigher {
    Weighing weighing;
    float strength;
    Side positive, negative;

    template <class Centred, class Counts, class Takes>
    MMR_DEVICE Weigher(const Problem &p, float diversity, int own, Centred centred, Counts n, Takes takes, Moments &group)
        : weighing(p.weighing()), strength(p.strength), positive{}, negative{} {
        if (weighing != Weighing::share) return;
        positive = side_of(1, strength * (1 + diversity), own, centred, n, takes);
        negative = side_of(-1, strength * (1 - 3 * diversity), own, centred, n, takes);
        float squares = 0;
#pragma unroll 4
        for (int k = 0; k < own; ++k)
            if (takes(k)) {
                const float value = (*this)(centred(k), n(k));
                squares += value * value;
            }
        group.squares = warp_sum(squares);
    }
    MMR_DEVICE float operator()(float centred, float n) const {
        switch (weighing) {
            case Weighing::share: {
                if (centred == 0) return 0;
                const Side &side = centred > 0 ? positive : negative;
                return side.weighed(centred, n) * side.factor;
            }
            case Weighing::unique: return centred * power(n, -strength);
            case Weighing::nothing: break;
        }
        return centred;
    }
};

// ---- One scope in registers ------------------------------------------------------------------------------------------

// Advantages and the details. `weigh` changes the centred rewards, and with them the group's squares.
template <int P, class Weigh>
MMR_DEVICE void write_outputs(const Problem &p, const Buffers &buffers, const Members<P> &members, const Range &range,
                              bool advantages, Weigh weigh) {
    MMR_PHASE("advantages");
    Moments group = members.moments(members.new_reward);
    const auto takes = [&](int k) { return members.valid[k]; };
    group.mean = warp_range(P, [&](int k) { return members.new_reward[k]; }, takes).clamped(group.mean);
    bool zero = members.count < 2;
    if (p.degenerate_zero())
        zero = zero || warp_range(P, [&](int k) { return members.reward[k]; }, takes).all_equal();
    float advantage[P];
#pragma unroll
    for (int k = 0; k < P; ++k) advantage[k] = members.new_reward[k] - group.mean;
    if (advantages) weigh(advantage, group);
    const float divisor = group_divisor(p, group, members.count, 0);
#pragma unroll
    for (int k = 0; k < P; ++k) {
        const int i = member<P>(k);
        if (i >= range.count) continue;
        const int64_t row = range.row(i);
        const bool valid = members.valid[k];
        if (advantages) buffers.advantages.store(row, zero || !valid ? 0 : advantage[k] / divisor);
        if (buffers.reweighted_rewards || !advantages)
            buffers.new_rewards.store(row, valid ? members.new_reward[k] : NAN);
        if (buffers.selection_rank) buffers.selection_rank.store(row, members.rank[k]);
        if (buffers.max_similarity) buffers.max_similarity.store(row, members.max_similarity[k]);
    }
}

// The same for a method that picks nothing, and n where it counts: r' is made to match, and advantages are weighed.
template <int P>
MMR_DEVICE void finish(const Problem &p, const Buffers &buffers, Members<P> &members, const Range &range, int64_t scope,
                       const float (&n)[P], bool advantages) {
    if (p.match_scale) members.match_scale();
    if (buffers.counts) {
#pragma unroll
        for (int k = 0; k < P; ++k)
            if (members.valid[k]) buffers.counts.store(range.row(member<P>(k)), n[k]);
    }
    write_outputs<P>(p, buffers, members, range, advantages, [&](float (&advantage)[P], Moments &group) {
        if (!p.weighs()) return;
        const Weigher weigh(p, buffers.diversity(p, scope), P, [&](int k) { return advantage[k]; },
                            [&](int k) { return n[k]; }, [&](int k) { return members.valid[k]; }, group);
#pragma unroll
        for (int k = 0; k < P; ++k) advantage[k] = weigh(advantage[k], n[k]);
    });
}

// ---- Groups in memory ------------------------------------------------------------------------------------------------

// One group of any size from the r' in memory.
MMR_DEVICE void group_advantages(const Problem &p, const Buffers &buffers, const Range &range, int64_t group_index,
                                 float batch_deviation) {
    MMR_PHASE("advantages, large");
    const int count = static_cast<int>(range.count), own = (count - lane_index() + 31) / 32;
    const auto row = [&](int k) { return range.row(lane_index() + 32 * k); };
    const auto takes = [&](int k) { return buffers.takes_part(row(k)); };
    float own_valid = 0;
    for (int k = 0; k < own; ++k) own_valid += takes(k);
    const int valid = static_cast<int>(warp_sum(own_valid));
    const auto reward = [&](int k) { return buffers.rewards.load(row(k)); };
    const auto new_reward = [&](int k) { return buffers.new_rewards.load(row(k)); };
    Moments group = warp_moments(own, valid, new_reward, takes);
    group.mean = warp_range(own, new_reward, takes).clamped(group.mean);
    const bool zero = valid < 2 || (p.degenerate_zero() && warp_range(own, reward, takes).all_equal());
    const auto centred = [&](int k) { return new_reward(k) - group.mean; };
    if (!p.weighs()) {
        const float divisor = group_divisor(p, group, valid, batch_deviation);
        for (int k = 0; k < own; ++k) buffers.advantages.store(row(k), zero || !takes(k) ? 0 : centred(k) / divisor);
        return;
    }
    const auto n = [&](int k) { return buffers.counts.load(row(k)); };
    const Weigher weigh(p, buffers.diversity(p, p.batch_scope() ? 0 : group_index), own, centred, n, takes, group);
    const float divisor = group_divisor(p, group, valid, batch_deviation);
    for (int k = 0; k < own; ++k)
        buffers.advantages.store(row(k), zero || !takes(k) ? 0 : weigh(centred(k), n(k)) / divisor);
}

// Bessel's deviation of all r' of the call, by the block.
MMR_DEVICE float deviation_of_batch(const Problem &p, const Buffers &buffers, const Shared<float> &slots) {
    float valid = 0, sum = 0, squares = 0;
    for (int64_t i = thread_index(); i < p.num_completions; i += block_threads)
        if (buffers.takes_part(i)) {
            valid += 1;
            sum += buffers.new_rewards.load(i);
        }
    valid = block_sum(valid, slots);
    const float mean = block_sum(sum, slots) / fmaxf(valid, 1);
    for (int64_t i = thread_index(); i < p.num_completions; i += block_threads)
        if (buffers.takes_part(i)) {
            const float distance = buffers.new_rewards.load(i) - mean;
            squares += distance * distance;
        }
    return Moments{mean, block_sum(squares, slots)}.deviation(static_cast<int>(valid) - 1);
}

// All groups, by one block, where that had to wait for all r'. Not inlined: few calls need it, and it would be half of
// the code that all of them load.
MMR_DEVICE_CALL void all_advantages(const Problem &p, const Work &work) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    __syncthreads();
    const float batch_deviation = p.scale == Scale::batch ? deviation_of_batch(p, buffers, notes) : 0;
    __syncthreads();  // r' may stand where advantages go
    for (int64_t group = warp_index(); group < p.num_groups; group += block_warps)
        group_advantages(p, buffers, range_of_group(p, buffers, group), group, batch_deviation);
}

}  // namespace
}  // namespace mmr
