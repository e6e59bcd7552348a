// Scopes whose S doesn't fit into shared memory: the whole block, with state in global memory. S is formed there in tiles
// of 64 by 64, by this block or, for scope="batch", by all; where it doesn't fit, a column at a time is formed when
// its completion is picked. Both sum a dot product in the same order, so the bits don't depend on which it was.
#pragma once
#include "rounds.h"
#include "scope.h"

namespace mmr {
namespace {

constexpr int tile_side = 64;

// Members of the two halves of a tile, rows first; a pair of tiles mirrors another, so only one of them is listed.
struct Tile {
    int first_row, first_column;

    MMR_DEVICE explicit Tile(int tile) {
        const int row = triangle_row(tile);
        first_row = row * tile_side;
        first_column = (tile - row * (row + 1) / 2) * tile_side;
    }
    MMR_DEVICE int member(int slot) const {
        return slot < tile_side ? first_row + slot : first_column + slot - tile_side;
    }
};

// S of 64 by 64 members, and its mirror image; every dot product and every norm is summed in ascending k.
template <class Element>
MMR_DEVICE void form_tile(const Embeddings<Element> &embeddings, const Shared<float> &memory, const Shared<float> &scale,
                          const Range &range, bool normalize, const Tile &tile, const Global<float> &similarity) {
    constexpr int slots = 2 * tile_side;
    const int count = static_cast<int>(range.count), row = thread_index() / 16, column = thread_index() % 16;
    int left[4], right[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        left[i] = row + 16 * i;
        right[i] = tile_side + column + 16 * i;
    }
    float sum[16] = {}, square = 0;
    __syncthreads();
    for_each_chunk(embeddings, memory, slots, [&](int slot) { return range.row(min(tile.member(slot), count - 1)); }, [] {},
                   [&](const Chunk &chunk) {
                       add_products(embeddings, sum, chunk, left, right, 0, 1);
                       for (int piece = 0; thread_index() < slots && piece < chunk.words / 4; ++piece) {
                           float value[Embeddings<Element>::width];
                           embeddings.unpack(chunk.load(thread_index(), piece), value);
#pragma unroll
                           for (int k = 0; k < Embeddings<Element>::width; ++k) square = fmaf(value[k], value[k], square);
                       }
                   });
    if (thread_index() < slots) scale.store(thread_index(), row_scale(square, normalize));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        const int64_t a = tile.member(left[i / 4]), b = tile.member(right[i % 4]);
        if (a >= count || b >= count) continue;
        const float value = scaled(sum[i], scale.load(left[i / 4]), scale.load(right[i % 4]));
        similarity.store(a * count + b, value);
        if (tile.first_row != tile.first_column) similarity.store(b * count + a, value);
    }
}

// The same of an S that is given, whose (i, j) goes to row j.
MMR_DEVICE void take_tile(const Buffers &buffers, const Shared<float> &memory, int64_t scope, int count, const Tile &tile,
                          const Global<float> &similarity) {
    constexpr int stride = tile_side + 1;
    for (int half = 0; half < (tile.first_row == tile.first_column ? 1 : 2); ++half) {
        const int first_i = half ? tile.first_column : tile.first_row, first_j = half ? tile.first_row : tile.first_column;
        __syncthreads();
#pragma unroll 4
        for (int k = thread_index(); k < tile_side * tile_side; k += block_threads) {
            const int i = first_i + k / tile_side, j = first_j + k % tile_side;
            memory.store(k / tile_side * stride + k % tile_side,
                         i < count && j < count ? buffers.given_similarity(scope, count, i, j) : 0);
        }
        __syncthreads();
        for (int k = thread_index(); k < tile_side * tile_side; k += block_threads) {
            const int j = first_j + k / tile_side, i = first_i + k % tile_side;
            if (i < count && j < count)
                similarity.store(static_cast<int64_t>(j) * count + i, memory.load(k % tile_side * stride + k / tile_side));
        }
    }
}

// Where a scope that has no room for S has one column of it.
MMR_DEVICE Global<float> column_of(const Problem &p, const Work &work, const Range &range) {
    return {work.state + 2 * p.num_completions + range.begin, range.count, "state"};
}

// S_ij of all members i with member j, to the scope's column. Not inlined: whoever needs columns calls it.
template <class Element>
MMR_DEVICE_CALL void form_column(const Problem &p, const Work &work, int64_t scope, int64_t j) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const Global<float> column = column_of(p, work, range);
    const Embeddings<Element> embeddings(p, work.aligned);
    constexpr int slots = 2 * tile_side;
    for (int64_t first = 0; first < range.count; first += slots - 1) {
        const auto member = [&](int slot) {
            const int64_t i = first + slot;
            return slot == slots - 1 ? j : i < range.count ? i : range.count - 1;
        };
        float dot = 0, square = 0, square_j = 0;
        __syncthreads();
        for_each_chunk(embeddings, memory, slots, [&](int slot) { return range.row(member(slot)); }, [] {},
                       [&](const Chunk &chunk) {
                           for (int piece = 0; thread_index() < slots && piece < chunk.words / 4; ++piece) {
                               float a[Embeddings<Element>::width], b[Embeddings<Element>::width];
                               embeddings.unpack(chunk.load(thread_index(), piece), a);
                               embeddings.unpack(chunk.load(slots - 1, piece), b);
#pragma unroll
                               for (int k = 0; k < Embeddings<Element>::width; ++k) {
                                   dot = fmaf(a[k], b[k], dot);
                                   square = fmaf(a[k], a[k], square);
                                   square_j = fmaf(b[k], b[k], square_j);
                               }
                           }
                       });
        const int64_t i = first + thread_index();
        if (thread_index() < slots - 1 && i < range.count)
            column.store(i, scaled(dot, row_scale(square, p.normalize), row_scale(square_j, p.normalize)));
    }
}

// One scope of any size, by one block of which every thread has the members thread, thread + 256, …
template <class Element>
struct LargeScope {
    const Problem &p;
    const Work &work;
    const Buffers &buffers;
    const Shared<float> &memory, &notes;
    int64_t scope;
    Range range;
    int count;
    Global<float> weighted, nearest, column, similarity;  // weighted: lam r of those left, -inf once picked
    bool stored;                                          // S stands in `similarity`, S_ij in row j

    MMR_DEVICE LargeScope(const Problem &p, const Work &work, const Buffers &buffers, const Shared<float> &memory,
                          const Shared<float> &notes, int64_t scope, const Range &range)
        : p(p), work(work), buffers(buffers), memory(memory), notes(notes), scope(scope), range(range),
          count(static_cast<int>(range.count)),
          weighted(work.state + range.begin, range.count, "state"),
          nearest(work.state + p.num_completions + range.begin, range.count, "state"),
          column(column_of(p, work, range)),
          similarity(work.similarity ? work.similarity + place_of_similarity() : nullptr, range.count * range.count,
                     "scratch"),
          stored(range.count <= work.capacity) {}

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
    MMR_DEVICE float similarity_to(int64_t i, int64_t j) const {
        return stored ? similarity.load(j * count + i) : column.load(i);
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
        const Determinants<Global<float>> all{p, buffers, range, similarity, count, weighted, nearest, column};
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
        const auto place = [&](int i) { return p.batch_scope() ? group.row(i) : i; };  // in the scope
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
                const int64_t at = place(i);
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
