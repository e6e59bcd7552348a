// The greedy loop of section 4 of docs/contract.md over a scope of any size, in rounds, by the whole block.
//
// Scores only fall as more is picked. So a round takes the best of those left, some 48, as candidates; one warp picks among
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

// The largest of all threads' keys, for all of them.
MMR_DEVICE Key block_largest(Key own, const Shared<float> &notes) {
    const Shared<uint32_t> slots = notes.as<uint32_t>();
    const uint32_t high = warp_max(static_cast<uint32_t>(own >> 32));
    const uint32_t low = warp_max(own >> 32 == high ? static_cast<uint32_t>(own) : 0u);
    __syncthreads();  // the slots may still be read from the last time
    if (lane_index() == 0) {
        slots.store(2 * warp_index(), high);
        slots.store(2 * warp_index() + 1, low);
    }
    __syncthreads();
    Key largest = 0;
#pragma unroll
    for (int warp = 0; warp < block_warps; ++warp) {
        const Key key = static_cast<Key>(slots.load(2 * warp)) << 32 | slots.load(2 * warp + 1);
        largest = key > largest ? key : largest;
    }
    return largest;
}

// Scope: a LargeScope.
template <class Scope>
struct Rounds {
    static constexpr int most = 64;     // candidates of a round
    static constexpr int usual = 48;    // threads whose best are to be among them
    const Scope &scope;
    float lam;
    int valid;
    Shared<float> block;                // S of the candidates, (most, most)
    Shared<uint32_t> found, candidates;  // indices: as they were found, and ascending
    Shared<uint32_t> picks;             // the last round's: places among the candidates, then indices
    Shared<float> scores, nears;        // of those when picked
    Shared<uint32_t> how_many;          // found; picked in the last round

    MMR_DEVICE Rounds(const Scope &scope, float lam, int valid)
        : scope(scope), lam(lam), valid(valid), block(scope.memory), found(scope.notes.from(most_small).template as<uint32_t>()),
          candidates(found.from(most)), picks(found.from(2 * most)), scores(scope.notes.from(most_small + 3 * most)),
          nears(scores.from(most)), how_many(found.from(5 * most)) {
        static_assert(most_small + 5 * most + 2 <= note_words);
    }

    MMR_DEVICE float score(int i, float near) const { return fmaf(lam - 1, near, scope.weighted.load(i)); }

    MMR_DEVICE void run() const {
        MMR_PHASE("greedy, large");
        Key own = 0;
        for (int i = thread_index(); i < scope.count; i += block_threads) {
            const int64_t row = scope.range.row(i);
            const bool takes_part = scope.buffers.takes_part(row) && can_pick(lam);
            const float reward = takes_part ? scope.buffers.rewards.load(row) : -INFINITY;
            scope.weighted.store(i, takes_part ? lam * reward : -INFINITY);
            scope.nearest.store(i, 0);
            if (!takes_part) scope.write(row, NAN, -1, 0);
            const Key key = key_of(reward, i);
            own = key > own ? key : own;
        }
        const Key first = block_largest(own, scope.notes);  // the highest reward
        if (first == 0) return;
        if (thread_index() == 0) {
            const float reward = score_of(first);
            take(0, index_of(first), scope.p.first_pick_score() ? lam * reward : reward, 0, 0);
            how_many.store(1, 1);
        }
        __syncthreads();
        for (int picked = 1; picked < valid;) {
            const int more = round(update(), picked);
            if (more == 0) return;  // a score is no number: λ r is too large
            picked += more;
        }
    }

    // The k-th pick of a round.
    MMR_DEVICE void take(int k, int index, float score, int step, float near) const {
        scope.write(scope.range.row(index), score, step, near);
        scope.weighted.store(index, -INFINITY);
        picks.store(k, static_cast<uint32_t>(index));
    }

    // Brings all up to date with the last round's picks; the best of this thread's.
    MMR_DEVICE Key update() const {
        const int count = static_cast<int>(how_many.load(1));
        scope.prepare_column(static_cast<int>(picks.load(0)));
        Key own = 0;
        for (int i = thread_index(); i < scope.count; i += block_threads) {
            float near = scope.nearest.load(i);
#pragma unroll 16
            for (int k = 0; k < count; ++k) near = fmaxf(near, scope.similarity_to(i, static_cast<int>(picks.load(k))));
            scope.nearest.store(i, near);
            const Key key = key_of(score(i, near), i);
            own = key > own ? key : own;
        }
        return own;
    }

    // A key that at least one and at most `wanted` threads' best reach, or nearly so many.
    MMR_DEVICE static Key threshold(Key own, int wanted) {
        if (__syncthreads_count(own > 0) <= wanted) return 1;
        for (Key low = 1, high = ~Key{0};;) {
            const Key middle = low + (high - low) / 2;
            const int reach = __syncthreads_count(own >= middle);
            if (reach > wanted) low = middle;
            else if (reach < (wanted + 1) / 2) high = middle;
            else return middle;
        }
    }

    // The candidates, ascending; their number, and the best of the others. Where S isn't stored the best alone: there is
    // one column at a time, and a threshold that one thread reaches lets several of its members in.
    MMR_DEVICE int choose(Key own, Key &best_other) const {
        for (int wanted = usual;; wanted /= 2) {
            const Key least = scope.stored && wanted > 0 ? threshold(own, wanted) : best_of(own);
            if (thread_index() == 0) how_many.store(0, 0);
            __syncthreads();
            best_other = 0;
#pragma unroll 4
            for (int i = thread_index(); i < scope.count; i += block_threads) {
                const Key key = key_of(score(i, scope.nearest.load(i)), i);
                if (key < least) {
                    best_other = key > best_other ? key : best_other;
                } else {
                    const uint32_t place = how_many.add(0, 1);
                    if (place < most) found.store(static_cast<int>(place), static_cast<uint32_t>(i));
                }
            }
            best_other = block_largest(best_other, scope.notes);
            const int count = static_cast<int>(how_many.load(0));
            __syncthreads();
            if (count > most) continue;  // one thread had many of the best
            if (thread_index() < count) {
                const uint32_t mine = found.load(thread_index());
                int rank = 0;
                for (int k = 0; k < count; ++k) rank += found.load(k) < mine;
                candidates.store(rank, mine);
            }
            __syncthreads();
            return count;
        }
    }

    // Nobody's key is 0, which all would reach.
    MMR_DEVICE Key best_of(Key own) const {
        const Key best = block_largest(own, scope.notes);
        return best ? best : 1;
    }

    // How many were picked.
    MMR_DEVICE int round(Key own, int picked) const {
        Key best_other;
        const int count = choose(own, best_other);
#pragma unroll 4
        for (int k = thread_index(); k < count * most; k += block_threads) {
            const int j = k / most, i = k % most;
            const bool needed = i < count && i != j;  // one that is picked is done with
            block.store(k, needed ? scope.similarity_to(static_cast<int>(candidates.load(i)),
                                                        static_cast<int>(candidates.load(j))) : 0);
        }
        __syncthreads();
        if (warp_index() == 0) pick(count, best_other, picked);
        __syncthreads();
        const int more = static_cast<int>(how_many.load(1)), k = thread_index();
        if (k < more)
            take(k, static_cast<int>(candidates.load(static_cast<int>(picks.load(k)))), scores.load(k), picked + k, nears.load(k));
        __syncthreads();
        return more;
    }

    MMR_DEVICE void pick(int count, Key best_other, int picked) const {
        constexpr int P = most / 32;
        float score[P], weighted[P], nearest[P];
#pragma unroll
        for (int k = 0; k < P; ++k) {
            const bool there = member<P>(k) < count;
            const int i = there ? static_cast<int>(candidates.load(member<P>(k))) : 0;
            weighted[k] = there ? scope.weighted.load(i) : -INFINITY;
            nearest[k] = there ? scope.nearest.load(i) : 0;
            score[k] = fmaf(lam - 1, nearest[k], weighted[k]);
        }
        const int more = pick_greedily<P>(
            lam - 1, score, weighted, nearest, min(count, valid - picked), most * 4,
            [&](float best, int place) {
                return best <= score_of(best_other) && best_other != 0 &&
                       key_of(best, static_cast<int>(candidates.load(place / (4 * most)))) < best_other;
            },
            [&](int place, float(&of_pick)[P]) {
                const float2 both = block.load16_after<float2>(member<P>(0), place);
                of_pick[0] = both.x;
                of_pick[1] = both.y;
            },
            [&](int k, float own, int step) {
                picks.store(step, static_cast<uint32_t>(member<P>(k)));
                scores.store(step, own);
                nears.store(step, nearest[k]);
            });
        if (lane_index() == 0) how_many.store(1, static_cast<uint32_t>(more));
    }
};

}  // namespace
}  // namespace mmr
