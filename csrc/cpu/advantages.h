// Sections 5 and 7 of docs/contract.md, over the group that a workspace holds.
#pragma once
#include "statistics.h"

namespace mmr {
namespace {

// The method "share": of either sign what there is of it, shared out in proportion to each one's own times n^-a.
void share_out(double *centred, const double *counts, int64_t count, double strength, double diversity) {
    for (const double sign : {1.0, -1.0}) {
        const double exponent = strength * (sign > 0 ? 1 + diversity : 1 - 3 * diversity);
        double least = std::numeric_limits<double>::infinity(), most = 0, before = 0, after = 0;
        for (int64_t k = 0; k < count; ++k) {
            if (!(centred[k] * sign > 0)) continue;
            least = std::min(least, counts[k]);
            most = std::max(most, counts[k]);
        }
        // Relative to the count that weighs most: no power overflows, and where all counts are equal each weighs 1.
        const double reference = exponent >= 0 ? least : most;
        for (int64_t k = 0; k < count; ++k) {
            if (!(centred[k] * sign > 0)) continue;
            before += centred[k];
            centred[k] *= power(reference / counts[k], exponent);
            after += centred[k];
        }
        for (int64_t k = 0; k < count; ++k)
            if (centred[k] * sign > 0) centred[k] *= before / after;
    }
}

double deviation_of_group(const Problem &p, const Moments &group, const double *centred, int64_t count) {
    if (p.weighing() != Weighing::share) return group.deviation(count - 1);
    return Moments{0, sum(count, [=](int64_t k) { return centred[k] * centred[k]; })}.deviation(count - 1);
}

// `batch_deviation` is used by scale="batch" alone; counts by methods that weigh.
void write_advantages(const Problem &p, const Workspace &w, double diversity, double batch_deviation) {
    const Moments group = moments(w.reweighted, w.count);
    const auto equal_rewards = [&] {
        const auto [lowest, highest] = std::minmax_element(w.rewards, w.rewards + w.count);
        return all_equal(*lowest, *highest);
    };
    const bool zero = w.count < 2 || (p.degenerate_zero() && equal_rewards());
    double *centred = w.weights;
    for (int64_t k = 0; k < w.count; ++k) centred[k] = w.reweighted[k] - group.mean;
    switch (p.weighing()) {
        case Weighing::share: share_out(centred, w.counts, w.count, p.strength, diversity); break;
        case Weighing::unique:
            for (int64_t k = 0; k < w.count; ++k) centred[k] *= power(1 / w.counts[k], p.strength);
            break;
        case Weighing::nothing: break;
    }
    double factor = 1;
    switch (p.scale) {
        case Scale::group: factor = 1 / (deviation_of_group(p, group, centred, w.count) + p.eps); break;
        case Scale::batch: factor = 1 / (batch_deviation + p.eps); break;
        case Scale::none: break;
    }
    for (int64_t k = 0; k < w.count; ++k)
        p.advantages[w.members[k]] = zero ? 0 : static_cast<float>(centred[k] * factor);
}

// T and V of a group, from the sums of likeness.
struct Signal {
    double explained = 0, variance = 0;
    void add(const Workspace &w) {
        if (w.count < 2) return;
        const double count = static_cast<double>(w.count), part_of_others = 1 / (count - 1);
        const double total = sum(w.count, [&](int64_t i) { return double(w.centred[i]); });
        explained += sum(w.count, [&](int64_t i) {
            const double own = w.centred[i], of_others = (total - own) * part_of_others;
            const double guess = w.weights[i] > smallest_weight ? w.weighed[i] / w.weights[i] : of_others;
            return (own - of_others) * (guess - of_others);
        });
        const double squares = sum(w.count, [&](int64_t i) { return double(w.centred[i]) * w.centred[i]; });
        variance += (squares - total * total / count) * count * part_of_others;
    }
    void write(float *to) const {
        to[0] = static_cast<float>(explained);
        to[1] = static_cast<float>(variance);
    }
};

}  // namespace
}  // namespace mmr
