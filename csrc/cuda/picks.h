// The greedy loop of section 4 of docs/contract.md, among at most 32 P members in the registers of one warp. No barrier: a
// step is two reductions and one read of S.
#pragma once
#include "members.h"

namespace mmr {
namespace {

// The largest value over the warp's 32 P members, its bits in order, and where the first of those that have it is on this
// lane: place[k] of a member k, or INT32_MAX.
template <int P>
MMR_DEVICE int32_t warp_largest(const float (&value)[P], const int (&place)[P], int &own_place) {
    float own = value[P - 1];
    int first = place[P - 1];
#pragma unroll
    for (int k = P - 2; k >= 0; --k) {
        first = value[k] >= own ? place[k] : first;
        own = fmaxf(own, value[k]);
    }
    const int32_t bits = ordered_bits(own);
    const int32_t largest = warp_max(bits);
    own_place = bits == largest ? first : INT32_MAX;
    return largest;
}

// Carbonell & Goldstein 1998: score = λ r - (1 - λ) nearest; `weighted` is λ r of those left, -inf once picked, `weight`
// λ - 1. Picks until `most` are picked, or the next one's place lies behind last_place(the bits of its score, in order);
// how many, is returned. The place of the i-th member is i pitch, the byte where its row begins, so that no step
// multiplies. row(place, of_pick) gives S_ij of this lane's members i and the pick j; take(k, score, step) runs on the
// lane whose k-th member is picked.
template <int P, class LastPlace, class Row, class Take>
MMR_DEVICE int pick_greedily(float weight, float (&score)[P], float (&weighted)[P], float (&nearest)[P], int most, int pitch,
                             LastPlace last_place, Row row, Take take) {
    int place[P];
#pragma unroll
    for (int k = 0; k < P; ++k) place[k] = member<P>(k) * pitch;
    for (int step = 0; step < most; ++step) {
        int own;
        const int last = last_place(warp_largest<P>(score, place, own));  // worked out while the warp finds the place
        const int pick = warp_min(own);
        if (pick > last) return step;
        float of_pick[P];
        row(pick, of_pick);
#pragma unroll
        for (int k = 0; k < P; ++k) {
            if (place[k] == pick) {
                take(k, score[k], step);
                weighted[k] = -INFINITY;
            }
            nearest[k] = fmaxf(nearest[k], of_pick[k]);
            score[k] = fmaf(weight, nearest[k], weighted[k]);
        }
    }
    return most;
}

// On the device nobody has checked λ: by one that is no number nobody is picked, and all new rewards are NaN.
MMR_DEVICE bool can_pick(float lam) { return is_finite(lam); }

}  // namespace
}  // namespace mmr
