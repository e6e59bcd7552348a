// The greedy loop of section 4 of docs/contract.md over a scope of any size, in rounds, by the whole block.
//
// Scores only fall as more is picked. So a round takes the best of those left, some 54, as candidates; one warp picks among
// them, with their part of S in shared memory, for as long as the best of them is ahead of the best that the round left
// out; then all that are left are brought up to date, for all picks of the round at once. Order and bits are those of the
// greedy loop, whoever the candidates are: fmaf rounds monotonically, and a maximum doesn't ask in which order it is taken.
#pragma once
#include "picks.h"

namespace mmr {
namespace {

// Scores with their indices as integers of one order, the best largest: no two are equal, and 0 is nobody.
using Key = uint64_t;
MMR_DEVICE Key key_of(float score, int index) {
    if (!(score > -INFINITY)) return 0;
    const uint32_t ordered = static_cast<uint32_t>(ordered_bits(score)) + 0x80000000u;  // from 0 on
    return static_cast<Key>(ordered) << 32 | (~0u - static_cast<uint32_t>(index));
}
MMR_DEVICE float score_of(Key key) {
    return from_ordered_bits(static_cast<int32_t>(static_cast<uint32_t>(key >> 32) - 0x80000000u));
}
MMR_DEVICE int index_of(Key key) { return static_cast<int>(~0u - static_cast<uint32_t>(key)); }

// The largest of all threads' keys, for all of them: each warp notes its own, and after a barrier every thread has it.
MMR_DEVICE void note_largest(Key own, const Shared<uint32_t> &slots) {
    const uint32_t high = warp_max(static_cast<uint32_t>(own >> 32));
    const uint32_t low = warp_max(own >> 32 == high ? static_cast<uint32_t>(own) : 0u);
    if (lane_index() > 0) return;
    slots.store(2 * warp_index(), high);
    slots.store(2 * warp_index() + 1, low);
}
MMR_DEVICE Key noted_largest(const Shared<uint32_t> &slots) {
    Key largest = 0;
#pragma unroll
    for (int warp = 0; warp < block_warps; ++warp) {
        const Key key = static_cast<Key>(slots.load(2 * warp)) << 32 | slots.load(2 * warp + 1);
        largest = key > largest ? key : largest;
    }
    return largest;
}
MMR_DEVICE Key block_largest(Key own, const Shared<float> &notes) {
    const Shared<uint32_t> slots = notes.as<uint32_t>();
    __syncthreads();  // the slots may still be read from the last time
    note_largest(own, slots);
    __syncthreads();
    return noted_largest(slots);
}

// Scope: a LargeScope. A thread has four neighbouring members, 16 bytes of a row of S, and four each 1024 further on.
template <class Scope>
struct Rounds {
    static constexpr int most = 64;      // candidates of a round
    static constexpr int usual = 56;     // threads whose best are to be among them
    static constexpr int together = 16;  // loads that a thread has under way
    static constexpr int P = most / 32;
    const Scope &scope;
    float lam;
    int valid;
    Shared<float> block;                 // S of the candidates, (most, most)
    Shared<uint32_t> found, candidates;  // indices: as they were found, then ~0; ascending, then any of them
    Shared<uint32_t> picks;              // the last round's, the last of them repeated up to a whole sixteen
    Shared<float> scores, nears;         // of those when picked
    Shared<uint32_t> how_many;           // found; picked in the last round
    Shared<uint32_t> of_threads, of_others;  // what each warp notes of its threads' best, and of those left out

    MMR_DEVICE Rounds(const Scope &scope, float lam, int valid)
        : scope(scope), lam(lam), valid(valid), block(scope.memory),
          found(scope.notes.from(most_small).template as<uint32_t>()), candidates(found.from(most)),
          picks(found.from(2 * most)), scores(scope.notes.from(most_small + 3 * most)), nears(scores.from(most)),
          how_many(found.from(5 * most)),
          of_threads(scope.notes.from(2 * block_warps).template as<uint32_t>()),
          of_others(of_threads.from(2 * block_warps)) {
        static_assert(most_small + 5 * most + 2 <= note_words && 6 * block_warps <= most_small);
    }

    // As many indices as rows are read together.
    struct Sixteen {
        uint4 four[together / 4];
        MMR_DEVICE Sixteen(const Shared<uint32_t> &indices, int first) {
#pragma unroll
            for (int k = 0; k < together / 4; ++k) four[k] = indices.load16<uint4>(first + 4 * k);
        }
        MMR_DEVICE int operator[](int k) const { return static_cast<int>((&four[k / 4].x)[k % 4]); }
    };

    // Of the k-th of four members.
    MMR_DEVICE float score(const float4 &near, const float4 &weighted, int k) const {
        return fmaf(lam - 1, (&near.x)[k], (&weighted.x)[k]);
    }

    MMR_DEVICE void run() const {
        MMR_PHASE("greedy, large");
        Key own = 0;
        for (int i = thread_index(); i < padded(scope.count); i += block_threads) {
            const int64_t row = i < scope.count ? scope.range.row(i) : 0;
            const bool takes_part = i < scope.count && scope.buffers.takes_part(row) && can_pick(lam);
            const float reward = takes_part ? scope.buffers.rewards.load(row) : -INFINITY;
            scope.weighted.store(i, takes_part ? lam * reward : -INFINITY);
            scope.nearest.store(i, 0);
            if (!takes_part && i < scope.count) scope.write(row, NAN, -1, 0);
            const Key key = key_of(reward, i);
            own = key > own ? key : own;
        }
        forget_found();
        const Key first = block_largest(own, scope.notes);  // the highest reward
        if (first == 0) return;
        if (thread_index() == 0) {
            const float reward = score_of(first);
            for (int k = 0; k < together; ++k) picks.store(k, static_cast<uint32_t>(index_of(first)));
            take(0, scope.p.first_pick_score() ? lam * reward : reward, 0, 0);
            how_many.store(1, 1);
        }
        __syncthreads();
        for (int picked = 1; picked < valid;) {
            const int more = round(picked);
            if (more == 0) return;  // a score is no number: λ r is too large
            picked += more;
        }
    }

    // The k-th pick of a round.
    MMR_DEVICE void take(int k, float score, int step, float near) const {
        const int index = static_cast<int>(picks.load(k));
        scope.write(scope.range.row(index), score, step, near);
        scope.weighted.store(index, -INFINITY);
    }
    MMR_DEVICE void forget_found() const {
        if (thread_index() < most) found.store(thread_index(), ~0u);
        if (thread_index() == 0) how_many.store(0, 0);
    }

    // Brings all up to date with the last round's picks; the best of this thread's. Sixteen rows' loads are under way
    // together, the last pick's as often as it takes: what is left over would be loads that wait for one another.
    MMR_DEVICE Key update() const {
        const int count = static_cast<int>(how_many.load(1));
        scope.prepare_column(static_cast<int>(picks.load(0)));
        Key own = 0;
        for (int i = 4 * thread_index(); i < scope.count; i += 4 * block_threads) {
            const float4 weighted = scope.weighted.template load16<float4>(i);
            float4 near = scope.nearest.template load16<float4>(i);
            for (int first = 0; first < count; first += together) {
                const Sixteen pick(picks, first);
                float4 of_pick[together];
#pragma unroll
                for (int k = 0; k < together; ++k) of_pick[k] = scope.similarities_to(i, pick[k]);
#pragma unroll
                for (int k = 0; k < together; ++k) {
                    near.x = fmaxf(near.x, of_pick[k].x);
                    near.y = fmaxf(near.y, of_pick[k].y);
                    near.z = fmaxf(near.z, of_pick[k].z);
                    near.w = fmaxf(near.w, of_pick[k].w);
                }
            }
            scope.nearest.store16(i, near);
#pragma unroll
            for (int k = 0; k < 4; ++k) own = max(own, key_of(score(near, weighted, k), i + k));
        }
        return own;
    }

    // A key that some threads' best reach, at most `wanted` and at least seven eighths as many; fewer where threads with
    // members left are few, for each of these has several among the best.
    MMR_DEVICE Key threshold(Key own, int wanted) const {
        const uint32_t score = static_cast<uint32_t>(own >> 32);
        const uint32_t largest = warp_max(score), smallest = warp_min(own ? score : ~0u);
        if (lane_index() == 0) {
            of_threads.store(warp_index(), largest);
            of_threads.store(block_warps + warp_index(), smallest);
        }
        const int there = __syncthreads_count(own > 0);
        if (there == 0) return 1;
        wanted = max(wanted * min(there, 80) / 80, 1);
        Key low = ~0u, high = 0;
#pragma unroll
        for (int warp = 0; warp < block_warps; ++warp) {
            low = min(low, static_cast<Key>(of_threads.load(block_warps + warp)));
            high = max(high, static_cast<Key>(of_threads.load(warp)));
        }
        for (low = low << 32, high = (high + 1) << 32;;) {
            const Key middle = low + (high - low) / 2;
            const int reach = __syncthreads_count(own >= middle);
            if (reach > wanted) low = middle;
            else if (8 * reach < 7 * wanted) high = middle;
            else return middle;
        }
    }

    // The candidates, ascending; their number, and the best of the others. Where S isn't stored the best alone: there is
    // one column at a time, and a threshold that one thread reaches lets several of its members in.
    MMR_DEVICE int choose(Key own, int left, Key &best_other) const {
        for (int wanted = usual;; wanted = wanted * 3 / 4) {
            const Key least = !scope.stored || wanted == 0 ? best_of(own) : left <= most ? 1 : threshold(own, wanted);
            best_other = 0;
            constexpr float4 nobody{-INFINITY, -INFINITY, -INFINITY, -INFINITY};
            for (int first = 4 * thread_index(); first < scope.count; first += 16 * block_threads) {
                float4 near[4], weighted[4];  // read together
                const auto member = [&](int four) { return first + four * 4 * block_threads; };
#pragma unroll
                for (int four = 0; four < 4; ++four) {
                    const bool there = member(four) < scope.count;
                    near[four] = there ? scope.nearest.template load16<float4>(member(four)) : float4{};
                    weighted[four] = there ? scope.weighted.template load16<float4>(member(four)) : nobody;
                }
#pragma unroll
                for (int i = 0; i < 16; ++i) {
                    const Key key = key_of(score(near[i / 4], weighted[i / 4], i % 4), member(i / 4) + i % 4);
                    if (key < least) {
                        best_other = max(best_other, key);
                    } else {
                        const uint32_t place = how_many.add(0, 1);
                        if (place < most) found.store(static_cast<int>(place), static_cast<uint32_t>(index_of(key)));
                    }
                }
            }
            note_largest(best_other, of_others);
            __syncthreads();
            best_other = noted_largest(of_others);
            const int count = static_cast<int>(how_many.load(0));
            if (count > most) {  // one thread had many of the best
                __syncthreads();
                forget_found();
                continue;
            }
            if (const int t = thread_index(); t < most) {
                const uint32_t mine = found.load(t);
                int rank = 0;
#pragma unroll
                for (int k = 0; k < most; ++k) rank += found.load(k) < mine;
                candidates.store(t < count ? rank : t, t < count ? mine : found.load(0));
            }
            __syncthreads();
            return count;
        }
    }

    // Nobody's key is 0, which all would reach.
    MMR_DEVICE Key best_of(Key own) const { return max(block_largest(own, scope.notes), Key{1}); }

    // How many were picked.
    MMR_DEVICE int round(int picked) const {
        Key best_other;
        const int count = choose(update(), valid - picked, best_other);
        Candidates own;
        if (warp_index() == 0) own = Candidates(*this, count);
        form_block(count);
        __syncthreads();
        if (warp_index() == 0) pick(own, min(count, valid - picked), best_other);
        __syncthreads();
        const int more = static_cast<int>(how_many.load(1)), k = thread_index();
        if (k < more) take(k, scores.load(k), picked + k, nears.load(k));
        else if (0 < more && k < most) picks.store(k, picks.load(more - 1));
        forget_found();
        __syncthreads();
        return more;
    }

    // Candidate i by four threads, with sixteen others each. What it has with itself is not needed, nor what candidates
    // beyond the last have, but that is some similarity too, and not what was left in this memory.
    MMR_DEVICE void form_block(int count) const {
        const int i = thread_index() % most, first = thread_index() / most * together;
        static_assert(block_threads / most * together == most);
        if (first >= count) return;
        const int candidate = static_cast<int>(candidates.load(i));
        const Sixteen other(candidates, first);
        float of_other[together];
#pragma unroll
        for (int k = 0; k < together; ++k) of_other[k] = scope.similarity_to(candidate, other[k]);
#pragma unroll
        for (int k = 0; k < together; ++k) block.store((first + k) * most + i, of_other[k]);
    }

    // Of the warp that picks: each lane's P candidates.
    struct Candidates {
        int index[P];
        float weighted[P], nearest[P];
        Candidates() = default;
        MMR_DEVICE Candidates(const Rounds &rounds, int count) {
#pragma unroll
            for (int k = 0; k < P; ++k) {
                const bool there = member<P>(k) < count;
                index[k] = there ? static_cast<int>(rounds.candidates.load(member<P>(k))) : INT32_MAX;
                weighted[k] = there ? rounds.scope.weighted.load(index[k]) : -INFINITY;
                nearest[k] = there ? rounds.scope.nearest.load(index[k]) : 0;
            }
        }
    };

    // Picks as long as the best candidate is ahead of the best of the others or, tied with it, comes before it.
    MMR_DEVICE void pick(Candidates &own, int at_most, Key best_other) const {
        const int32_t other = static_cast<int32_t>(static_cast<uint32_t>(best_other >> 32) - 0x80000000u);
        float score[P];
        int tied = -1;  // before the place of the first candidate that comes after the best of the others
#pragma unroll
        for (int k = 0; k < P; ++k) {
            score[k] = fmaf(lam - 1, own.nearest[k], own.weighted[k]);
            tied += 4 * most * __popc(__ballot_sync(all_lanes, own.index[k] < index_of(best_other)));
        }
        const int more = pick_greedily<P>(
            lam - 1, score, own.weighted, own.nearest, at_most, 4 * most,
            [&](int32_t best) { return best < other ? -1 : best == other ? tied : INT32_MAX; },
            [&](int place, float(&of_pick)[P]) {
                const float2 both = block.load16_after<float2>(member<P>(0), place);
                of_pick[0] = both.x;
                of_pick[1] = both.y;
            },
            [&](int k, float best, int step) {
                picks.store(step, static_cast<uint32_t>(own.index[k]));
                scores.store(step, best);
                nears.store(step, own.nearest[k]);
            });
        if (lane_index() == 0) how_many.store(1, static_cast<uint32_t>(more));
    }
};

}  // namespace
}  // namespace mmr
