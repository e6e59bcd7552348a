// The greedy loop of section 4 of docs/contract.md, among at most 32 P members in the registers of one warp. No barrier: a
// step is two reductions and one read of S.
#pragma once
#include "members.h"

namespace mmr {
namespace {

// The largest value over the warp's 32 P members, and the lowest index that has it.
template <int P>
MMR_DEVICE void first_largest(const float (&value)[P], float &largest, int &index) {
    float own = value[0];
    int first = 0;
#pragma unroll
    for (int k = 1; k < P; ++k) {
        first = value[k] > own ? k : first;
        own = fmaxf(own, value[k]);
    }
    const uint32_t bits = ordered_bits(own + 0.0f), most = warp_max(bits);  // -0 + 0 = 0
    largest = from_ordered_bits(most);
    index = static_cast<int>(warp_min(bits == most ? static_cast<uint32_t>(member<P>(first)) : ~0u));
}

// Carbonell & Goldstein 1998: score = λ r - (1 - λ) nearest; `weighted` is λ r of those left, -inf once picked, `weight` λ - 1.
// Picks until `most` are picked, or stops(score, pick) says so; how many, is returned. row(pick, of_pick) gives S_ij of this
// lane's members i and the pick j; take(k, score, step) runs on the lane whose k-th member is picked.
template <int P, class Stops, class Row, class Take>
MMR_DEVICE int pick_greedily(float weight, float (&score)[P], float (&weighted)[P], float (&nearest)[P], int most,
                             Stops stops, Row row, Take take) {
    for (int step = 0; step < most; ++step) {
        float best;
        int pick;
        first_largest<P>(score, best, pick);
        if (stops(best, pick)) return step;
        float of_pick[P];
        row(pick, of_pick);
#pragma unroll
        for (int k = 0; k < P; ++k) {
            if (member<P>(k) == pick) {
                take(k, best, step);
                weighted[k] = -INFINITY;
            }
            nearest[k] = fmaxf(nearest[k], of_pick[k]);
            score[k] = fmaf(weight, nearest[k], weighted[k]);
        }
    }
    return most;
}

// λ - 1; of a λ that is no number, which nobody has checked on the device, 0: then no score of one that is left out is NaN.
MMR_DEVICE float weight_of(float lam) { return is_finite(lam) ? lam - 1 : 0; }

}  // namespace
}  // namespace mmr
