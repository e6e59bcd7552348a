// Section 4 of docs/contract.md for methods that pick nothing, over the scope that a workspace holds.
#pragma once
#include "statistics.h"

namespace mmr {
namespace {

// n of section 4 from labels: members that have the same.
void count_labels(const Problem &p, Workspace &w) {
    int64_t *sorted = w.labels + w.stride;
    for (int64_t k = 0; k < w.count; ++k) sorted[k] = w.labels[k] = p.labels[w.members[k]];
    std::sort(sorted, sorted + w.count);
    for (int64_t k = 0; k < w.count; ++k) {
        const auto [first, last] = std::equal_range(sorted, sorted + w.count, w.labels[k]);
        w.counts[k] = static_cast<double>(last - first);
    }
}

void centre_rewards(Workspace &w) {
    const double mean = moments(w.rewards, w.count).mean;
    for (int64_t k = 0; k < w.count; ++k) w.centred[k] = static_cast<float>(w.rewards[k] - mean);
}

// The counts of section 4; and those sums of likeness that the signal needs, of a scope that is a group.
void count(const Problem &p, const Kernel &kernel, Workspace &w) {
    const bool soft = p.counts() && !p.labels && !p.has_threshold() && !p.has_published_sum();
    if (p.counts() && p.labels) {
        count_labels(p, w);
    } else if (p.counts() && p.has_threshold()) {
        kernel.count_components(w, p.threshold, !p.similarity);
    } else if (p.counts() && !soft) {
        centre_rewards(w);
        kernel.sum_similarity(w, w.centred);
        std::copy(w.weights, w.weights + w.count, w.counts);
    }
    if (!soft && !(p.has_signal() && !p.batch_scope())) return;
    centre_rewards(w);
    kernel.sum_likeness(w, w.centred, p.signal_sharpness());
    for (int64_t k = 0; soft && k < w.count; ++k) w.counts[k] = 1 + w.weights[k];
}

// Section 4 for a method that picks nothing.
void without_picks(const Problem &p, const Kernel &kernel, Workspace &w) {
    const double others = static_cast<double>(w.count - 1);
    switch (p.method) {
        case Method::smi:
            for (int64_t k = 0; k < w.count; ++k) {
                const double n = p.strength == 1 ? w.counts[k] : std::max(w.counts[k], 0.0);
                w.reweighted[k] = static_cast<float>(w.rewards[k] / power(n + density_guard, p.strength));
            }
            return;
        case Method::partition:
            for (int64_t k = 0; k < w.count; ++k) {
                const double part = w.count < 2 ? 1 : (static_cast<double>(w.count) - w.counts[k]) / others;
                w.reweighted[k] = static_cast<float>(w.rewards[k] * std::max(part, double(smallest_part)));
            }
            return;
        case Method::dpp: {
            const float lowest = *std::min_element(w.rewards, w.rewards + w.count);
            double *root = w.roots;
            for (int64_t k = 0; k < w.count; ++k)
                root[k] = p.quality ? std::sqrt(quality_scale * (double(w.rewards[k]) - lowest)) : 1;
            kernel.determinant_gains(w, root, w.gains);
            for (int64_t k = 0; k < w.count; ++k)
                w.reweighted[k] = static_cast<float>(p.quality ? w.gains[k] : w.rewards[k] + p.strength * w.gains[k]);
            return;
        }
        case Method::mmr: return;  // picks
        case Method::share: case Method::unique: case Method::none:
            std::copy(w.rewards, w.rewards + w.count, w.reweighted);
    }
}

}  // namespace
}  // namespace mmr
