// Scopes whose S doesn't fit into shared memory: the whole block, with state in global memory. S is formed there in tiles,
// by this block or, for scope="batch", by all; where it doesn't fit, a column at a time is formed when its completion is
// picked.
#pragma once
#include "rounds.h"
#include "scope.h"
#include "tiles.h"

namespace mmr {
namespace {

// One scope of any size, by one block.
template <class Element>
struct LargeScope {
    const Problem &p;
    const Work &work;
    const Buffers &buffers;
    const Shared<float> &memory, &notes;
    int64_t scope;
    Range range;
    int count;
    bool stored;                        // all of S
    Global<float> weighted, nearest;    // weighted: lam r of those left, -inf once picked
    Global<float> similarity, column;   // S in scratch, or the column that was formed last
    Global<float> rows;                 // whichever it is: S_ij in row j
    int stride;                         // from row to row; S has at most 2^27 elements

    MMR_DEVICE LargeScope(const Problem &p, const Work &work, const Buffers &buffers, const Shared<float> &memory,
                          const Shared<float> &notes, int64_t scope, const Range &range)
        : p(p), work(work), buffers(buffers), memory(memory), notes(notes), scope(scope), range(range),
          count(static_cast<int>(range.count)),
          stored(range.count <= work.capacity),
          weighted(state_of(p, work, scope, range, 0)),
          nearest(state_of(p, work, scope, range, 1)),
          similarity(work.similarity ? work.similarity + place_of_similarity() : nullptr, range.count * padded(range.count),
                     "scratch"),
          column(state_of(p, work, scope, range, 2)),
          rows(stored ? similarity : column),
          stride(stored ? static_cast<int>(padded(range.count)) : 0) {}

    MMR_DEVICE int64_t place_of_similarity() const {
        if (p.batch_scope()) return 0;
        return p.group_offsets ? range.begin * work.capacity : blockIdx.x * work.capacity * work.capacity;
    }
    MMR_DEVICE bool needs_square() const { return p.needs_similarity() && stored; }
    MMR_DEVICE int tiles() const {
        const int side = (count + tile_side - 1) / tile_side;
        return side * (side + 1) / 2;
    }
    MMR_DEVICE void form(int tile) const {
        if (p.similarity) take_tile(buffers, memory, scope, count, Tile(tile), similarity);
        else form_tile(Embeddings<Element>(p, work.aligned), memory, notes, range, p.normalize, Tile(tile), similarity);
    }
    MMR_DEVICE float similarity_to(int i, int j) const {
        return rows.load(j * stride + i);
    }
    MMR_DEVICE float4 similarities_to(int i, int j) const {  // of i, …, i + 3
        return rows.template load16<float4>(j * stride + i);
    }
    MMR_DEVICE void prepare_column(int64_t j) const {
        if (stored) return;
        form_column<Element>(p, work, scope, j);
        __syncthreads();
    }

    MMR_DEVICE void write(int64_t row, float new_reward, int rank, float max_similarity) const {
        buffers.new_rewards.store(row, new_reward);
        if (buffers.selection_rank) buffers.selection_rank.store(row, rank);
        if (buffers.max_similarity) buffers.max_similarity.store(row, max_similarity);
    }

    // Connected components as `count_components` has them: to `weighted`, -1 and less, one number per component.
    MMR_DEVICE void components() const {
        constexpr float unseen = 1, reached = 2;
        MMR_PHASE("components, large");
        int component = 0;
        Key own = 0;
        for (int i = thread_index(); i < count; i += block_threads) {
            const bool takes_part = buffers.takes_part(range.row(i));
            weighted.store(i, takes_part ? unseen : 0);
            if (takes_part && own == 0) own = key_of(unseen, i);
        }
        while (const Key next = block_largest(own, notes)) {
            const int pick = index_of(next);
            if (score_of(next) == unseen) --component;
            prepare_column(pick);
            own = 0;
            for (int i = thread_index(); i < count; i += block_threads) {
                float state = weighted.load(i);
                if (i == pick) state = static_cast<float>(component);
                else if (state == unseen && (similarity_to(i, pick) > p.threshold ||
                                             (p.similarity && similarity_to(pick, i) > p.threshold)))
                    state = reached;
                weighted.store(i, state);
                const Key key = state > 0 ? key_of(state, i) : 0;
                own = key > own ? key : own;
            }
        }
    }

    // n, to `nearest`.
    MMR_DEVICE void count_alike() const {
        MMR_PHASE("counts, large");
        const bool clusters = buffers.labels || p.has_threshold();
        if (clusters && !buffers.labels) components();
        for (int i = thread_index(); i < count; i += block_threads) {
            float n = 0;
            for (int j = 0; clusters && j < count; ++j) {
                const bool alike = buffers.labels
                    ? buffers.takes_part(range.row(j)) &&
                          buffers.labels.load(range.row(i)) == buffers.labels.load(range.row(j))
                    : weighted.load(i) == weighted.load(j);
                n += alike ? 1.0f : 0.0f;
            }
            nearest.store(i, n);
        }
        for (int j = 0; !clusters && j < count; ++j) {
            if (!buffers.takes_part(range.row(j))) continue;
            prepare_column(j);
#pragma unroll 4
            for (int i = thread_index(); i < count; i += block_threads)
                nearest.store(i, nearest.load(i) + soft_count(p, similarity_to(i, j), i == j));
        }
    }

    MMR_DEVICE void without_picks(int valid) const {
        const Determinants<Global<float>> all{p, buffers, range, similarity, stride, weighted, nearest, column};
        if (p.counts()) count_alike();
        else if (p.method == Method::dpp) all.run();
        for (int i = thread_index(); i < count; i += block_threads) {
            const int64_t row = range.row(i);
            const bool takes_part = buffers.takes_part(row);
            const float n = p.counts() ? nearest.load(i) : p.method == Method::dpp ? all.gain(i) : 0;
            write(row, takes_part ? new_reward(p, buffers.rewards.load(row), n, valid) : NAN, -1, 0);
            if (buffers.counts && takes_part) buffers.counts.store(row, n);
        }
    }

    // Section 7 for one group of the scope by a team of `step` threads, of which this is one from the `first` on: what
    // its members add to T. V is added to `variance` on the team's first thread.
    MMR_DEVICE float explained(const Range &group, int first, int step, float &variance) const {
        const int members = static_cast<int>(group.count), own = (members - lane_index() + 31) / 32;
        const auto row = [&](int k) { return group.row(lane_index() + 32 * k); };
        float part = 0;
        for (int k = 0; k < own; ++k) part += buffers.takes_part(row(k)) ? 1.0f : 0.0f;
        const int valid = static_cast<int>(warp_sum(part));
        if (valid < 2) return 0;
        const Moments r = warp_moments(own, valid, [&](int k) { return buffers.rewards.load(row(k)); },
                                       [&](int k) { return buffers.takes_part(row(k)); });
        if (first == 0) variance += variance_of(r, valid);
        part = 0;
        for (int k = 0; k < own; ++k) part += buffers.takes_part(row(k)) ? buffers.rewards.load(row(k)) - r.mean : 0;
        const float total = warp_sum(part);
        const auto place = [&](int i) { return p.batch_scope() ? static_cast<int>(group.row(i)) : i; };  // in the scope
        const Global<float> &weights = weighted, &sums = nearest;
        for (int i = first; i < members; i += step) {
            weights.store(place(i), 0);
            sums.store(place(i), 0);
        }
        for (int j = 0; j < members; ++j) {
            if (!buffers.takes_part(group.row(j))) continue;
            prepare_column(place(j));
            const float centred = buffers.rewards.load(group.row(j)) - r.mean;
            for (int i = first; i < members; i += step) {
                if (i == j) continue;
                const int at = place(i);
                const float alike = likeness(similarity_to(at, place(j)), p.signal_sharpness());
                weights.store(at, weights.load(at) + alike);
                sums.store(at, fmaf(alike, centred, sums.load(at)));
            }
        }
        part = 0;
        for (int i = first; i < members; i += step)
            if (buffers.takes_part(group.row(i)))
                part += explained_part(buffers.rewards.load(group.row(i)) - r.mean, total, valid, weights.load(place(i)),
                                       sums.load(place(i)));
        return part;
    }

    // The signal: of a group by all threads; of a batch, whose S is stored, each warp takes groups.
    MMR_DEVICE void write_signal() const {
        MMR_PHASE("signal, large");
        float sum = 0, variance = 0;
        if (!p.batch_scope()) sum = explained(range, thread_index(), block_threads, variance);
        for (int64_t group = warp_index(); p.batch_scope() && group < p.num_groups; group += block_warps)
            sum += explained(range_of_group(p, buffers, group), lane_index(), 32, variance);
        sum = block_sum(sum, notes);
        variance = block_sum(variance, notes);
        if (thread_index() == 0) {
            buffers.signal.store(2 * scope, sum);
            buffers.signal.store(2 * scope + 1, variance);
        }
        __syncthreads();
    }

    // Sections 3 and 4; S, if it is stored, is complete.
    MMR_DEVICE void reweight() const {
        __syncthreads();
        float own = 0;
        for (int i = thread_index(); i < count; i += block_threads) own += buffers.takes_part(range.row(i)) ? 1.0f : 0.0f;
        const int valid = static_cast<int>(block_sum(own, notes));
        __syncthreads();
        const Moments r = moments(buffers.rewards, valid);
        const float lam = p.picks() ? lambda(p, buffers, scope, r, valid) : NAN;
        if (buffers.lam_out && thread_index() == 0) buffers.lam_out.store(scope, lam);
        if (buffers.signal) write_signal();
        if (p.picks()) Rounds<LargeScope>(*this, lam, valid).run();
        else without_picks(valid);
        __syncthreads();
        if (!p.match_scale) return;
        const MatchScale match(r, moments(buffers.new_rewards, valid), valid);
        __syncthreads();  // every warp read what now changes
        for (int i = thread_index(); i < count; i += block_threads) {
            const int64_t row = range.row(i);
            buffers.new_rewards.store(row, match(buffers.new_rewards.load(row)));
        }
        __syncthreads();
    }
    // By each warp alone, so all have it.
    template <class Values>
    MMR_DEVICE Moments moments(const Values &values, int valid) const {
        const auto row = [&](int k) { return range.row(lane_index() + 32 * k); };
        return warp_moments((count - lane_index() + 31) / 32, valid, [&](int k) { return values.load(row(k)); },
                            [&](int k) { return buffers.takes_part(row(k)); });
    }
};

}  // namespace
}  // namespace mmr
