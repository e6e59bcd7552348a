// Statistics of sections 3 to 5 of docs/contract.md, in double, so that their rounding never shows in a float32 result.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "mmr_cpu.h"

namespace mmr {
namespace {

struct Moments {
    double mean, squares;  // squares: the sum of squared distances from the mean
    double deviation(int64_t degrees_of_freedom) const {
        return std::sqrt(squares / static_cast<double>(std::max<int64_t>(degrees_of_freedom, 1)));
    }
};

template <class Value>
double sum(int64_t count, Value value) {
    double part[4] = {0, 0, 0, 0};  // four chains, or the adds would wait for one another
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int k = 0; k < 4; ++k) part[k] += value(i + k);
    for (; i < count; ++i) part[0] += value(i);
    return (part[0] + part[2]) + (part[1] + part[3]);
}

Moments moments(const float *values, int64_t count) {
    const double mean = count ? sum(count, [=](int64_t i) { return double(values[i]); }) / static_cast<double>(count) : 0;
    return {mean, sum(count, [=](int64_t i) { return (values[i] - mean) * (values[i] - mean); })};
}

float diversity(const Problem &p, int64_t scope) { return p.dial ? p.dial[p.dial_count == 1 ? 0 : scope] : p.diversity; }

// Section 3.
float lambda(const Problem &p, const Workspace &w, int64_t scope) {
    double chosen_lambda = 0;
    switch (p.lam_mode) {
        case LambdaMode::fixed: chosen_lambda = p.lam_value; break;
        case LambdaMode::tensor: chosen_lambda = p.lam[p.lam_count == 1 ? 0 : scope]; break;
        case LambdaMode::sigmoid: {
            chosen_lambda = 1 / (1 + std::exp(-moments(w.rewards, w.count).deviation(w.count)));
            break;
        }
        case LambdaMode::relative_std: {
            const Moments r = moments(w.rewards, w.count);
            const double relative = p.temperature * r.deviation(w.count) / (std::fabs(r.mean) + mean_guard);
            chosen_lambda = 1 - 1 / (1 + relative);  // = relative / (1 + relative), without inf / inf
            break;
        }
    }
    // Whatever came in: the greedy loops end because every score is a number.
    return static_cast<float>(std::fmin(std::fmax(1 - diversity(p, scope) * (1 - chosen_lambda), 0.0), 1.0));
}

// Section 4, last paragraph.
void match_scale(Workspace &w) {
    const Moments before = moments(w.rewards, w.count), after = moments(w.reweighted, w.count);
    if (!(after.deviation(w.count) > spread_guard)) return;
    const double factor = (before.deviation(w.count) + spread_guard) / (after.deviation(w.count) + spread_guard);
    for (int64_t i = 0; i < w.count; ++i)
        w.reweighted[i] = static_cast<float>((w.reweighted[i] - after.mean) * factor + before.mean);
}

// x^a, exactly 1 where x is; the powers that defaults ask for take no logarithm.
double power(double x, double a) {
    if (a == 1) return x;
    if (a == 0.5) return std::sqrt(x);
    return std::pow(x, a);
}

}  // namespace
}  // namespace mmr
