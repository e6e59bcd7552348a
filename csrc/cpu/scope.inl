// One scope (section numbers: docs/contract.md) in terms of the vector primitives. No include guard: mmr_cpu.cpp
// includes it once per instruction set, after the primitives and in the same namespace.

// ---- Section 2: similarity, formed in blocks of 4 by 4 ---------------------------------------------------------

// The rows of a 4 by 4 block become its columns.
inline void transpose(four (&m)[4]) {
    const four a = interleave_low(m[0], m[2]), b = interleave_low(m[1], m[3]);
    const four c = interleave_high(m[0], m[2]), d = interleave_high(m[1], m[3]);
    m[0] = interleave_low(a, b), m[1] = interleave_high(a, b);
    m[2] = interleave_low(c, d), m[3] = interleave_high(c, d);
}

// Four rows of S from column `column` on.
inline void store_block(float *row, int64_t stride, int64_t column, const four (&m)[4]) {
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) store_four(row + r * stride + column, m[r]);
}

// Adds one chunk of the dimension to the tile. Pairs with c + offset > r lie above the diagonal: not computed.
template <int offset, class Load>
inline __attribute__((always_inline)) void add_products(vec (&sums)[4][tile_columns], const float *const *left,
                                                        const float *const *right, Load load_chunk) {
    const vec a[4] = {load_chunk(left[0]), load_chunk(left[1]), load_chunk(left[2]), load_chunk(left[3])};
#pragma GCC unroll 4
    for (int c = 0; c < tile_columns; ++c) {
        const vec b = offset >= 0 ? a[c + (offset >= 0 ? offset : 0)] : load_chunk(right[c]);  // one row, if diagonal
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r)
            if (c + offset <= r) sums[r][c] = multiply_add(a[r], b, sums[r][c]);
    }
}

// dots[c * 4 + r] = <left[r], right[c]> for four rows and tile_columns columns. Meanwhile 2 * dim floats from `soon` on
// come to the second level of the cache.
template <int offset, bool remainder>
inline void dots_of_tile(const float *const *left, const float *const *right, int64_t dim, uintptr_t soon,
                         float *dots) {
    vec sums[4][tile_columns];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < tile_columns; ++c) sums[r][c] = zero();
    const int64_t whole = dim / width * width;
    for (int64_t d = 0; d < whole; d += width) {
        if (offset <= 0)  // once a block
            for (const int64_t ahead : {2 * d, 2 * d + width}) {
                const uintptr_t line = soon + static_cast<uintptr_t>(ahead) * sizeof(float);
                __builtin_prefetch(reinterpret_cast<const void *>(line), 0, 2);
            }
        add_products<offset>(sums, left, right, [d](const float *row) { return load(row + d); });
    }
    if (remainder)
        add_products<offset>(sums, left, right,
                             [whole, dim](const float *row) { return load_first(row + whole, dim - whole); });
    add_tile_lanes(sums, dots);
}

// dots[c * 4 + r] = <left[r], right[c]>, 4 by 4. Each dot product adds in one order wherever its pair stands in the
// scope, so a group's bits depend neither on its place nor on its neighbours.
template <bool diagonal, int column = 0>
inline void dots_of_block(const float *const *left, const float *const *right, int64_t dim, uintptr_t soon,
                          float *dots) {
    if constexpr (column < 4) {
        constexpr int offset = diagonal ? column : -4;
        if (dim % width == 0) dots_of_tile<offset, false>(left, right + column, dim, soon, dots + 4 * column);
        else dots_of_tile<offset, true>(left, right + column, dim, soon, dots + 4 * column);
        dots_of_block<diagonal, column + tile_columns>(left, right, dim, soon, dots);
    }
}

// The part of the next scope's embeddings that is prefetched while the block at (row, column) is computed. Each
// block takes its share: a burst would find the processor's few places for pending lines taken.
inline uintptr_t share_of_next(const Problem &p, const Workspace &w, int64_t row, int64_t column) {
    const int64_t rows = (w.count + 3) / 4 * 4, share = std::min(row * (row + 1) / 2 + column, rows / 2 - 1);
    const int64_t size = p.embedding_dtype == DType::float32 ? 4 : 2;
    const int64_t ahead = (w.members[0] + rows) * p.dim * size + share * 2 * p.dim * 4;  // two rows of float32
    return reinterpret_cast<uintptr_t>(p.embeddings) + static_cast<uintptr_t>(ahead);
}

// A row with a non-finite entry or of zero norm, seen by its squared norm, is similar to nothing: scale 0.
inline float row_scale(float squared_norm, bool normalize) {
    if (!(squared_norm > 0 && std::isfinite(squared_norm))) return 0;
    return normalize ? 1 / std::max(std::sqrt(squared_norm), smallest_norm) : 1;
}

// A block on the diagonal, whose own diagonal gives the norms.
void diagonal_block(const Problem &p, Workspace &w, int64_t block) {
    const int64_t first = block * 4;
    float dots[16];
    dots_of_block<true>(w.rows + first, w.rows + first, p.dim, share_of_next(p, w, block, block), dots);
    for (int i = 0; i < 4; ++i) w.scale[first + i] = row_scale(dots[i * 5], p.normalize);
    const four scale = load_four(w.scale + first);
    four of_column[4], of_row[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) of_row[c] = of_column[c] = load_four(dots + 4 * c) * (scale * scale[c]);
    transpose(of_row);
    // Column c was computed from row c on; what lies above is in the transpose.
    of_column[1] = join<1>(of_row[1], of_column[1]);
    of_column[2] = join<2>(of_row[2], of_column[2]);
    of_column[3] = join<3>(of_row[3], of_column[3]);
    store_block(w.row(first), w.stride, first, of_column);
}

// Left of the diagonal: half of S is computed, and each product stored twice.
inline void block_below_diagonal(const Problem &p, Workspace &w, int64_t block, int64_t column_block) {
    const int64_t first = block * 4, column = column_block * 4;
    const four scale = load_four(w.scale + first);
    float dots[16];
    dots_of_block<false>(w.rows + first, w.rows + column, p.dim, share_of_next(p, w, block, column_block), dots);
    four products[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) products[c] = load_four(dots + 4 * c) * (scale * w.scale[column + c]);
    store_block(w.row(column), w.stride, first, products);
    transpose(products);
    store_block(w.row(first), w.stride, column, products);
}

// All blocks left of those on the diagonal from `begin` to `end`, column after column: these rows stay in the cache,
// and the others are read once for all of them.
void below_diagonal(const Problem &p, Workspace &w, int64_t begin, int64_t end) {
    for (int64_t column = 0; column < end; ++column)
        for (int64_t block = std::max(begin, column + 1); block < end; ++block) block_below_diagonal(p, w, block, column);
}

void widen_row(const Problem &p, Workspace &w, int64_t i) {
    const uint16_t *from = static_cast<const uint16_t *>(p.embeddings) + w.members[i] * p.dim;
    float *to = w.widened + i * p.dim;
    const bool bfloat16 = p.embedding_dtype == DType::bfloat16;
    int64_t d = 0;
    for (; d + width <= p.dim; d += width) store(to + d, bfloat16 ? load_bfloat16(from + d) : load_float16(from + d));
    for (; d < p.dim; ++d)
        to[d] = bfloat16 ? float_from_bits(static_cast<uint32_t>(from[d]) << 16) : float_from_half(from[d]);
}

void widen_block(const Problem &p, Workspace &w, int64_t block) {
    for (int64_t i = block * 4; i < std::min(block * 4 + 4, w.count); ++i) widen_row(p, w, i);
}

// What the blocks left: no NaN where a row is similar to nothing, zeros from the last member to the end of a row.
void finish_similarity(Workspace &w) {
    if (w.count < w.stride)
        for (int64_t i = 0; i < w.count; ++i) std::fill(w.row(i) + w.count, w.row(i) + w.stride, 0.0f);
    for (int64_t i = 0; i < w.count; ++i) {
        if (w.scale[i] != 0) continue;
        std::fill(w.row(i), w.row(i) + w.count, 0.0f);
        for (int64_t j = 0; j < w.count; ++j) w.row(j)[i] = 0;
    }
}

// Ready-made similarity: row j of w holds S_ij for all i, the order in which the greedy loop reads.
void take_similarity(const Problem &p, Workspace &w, int64_t scope, int64_t size, int64_t first_member) {
    const float *block = p.similarity + scope * size * size;
    constexpr int64_t side = 16;  // of the squares that are transposed: a cache line of either
    for (int64_t first_j = 0; first_j < w.count; first_j += side)
        for (int64_t first_i = 0; first_i < w.count; first_i += side)
            for (int64_t i = first_i; i < std::min(first_i + side, w.count); ++i) {
                const float *row = block + (w.members[i] - first_member) * size;
                for (int64_t j = first_j; j < std::min(first_j + side, w.count); ++j) {
                    const float value = row[w.members[j] - first_member];
                    w.row(j)[i] = std::isfinite(value) ? value : 0;
                }
            }
    for (int64_t j = 0; j < w.count; ++j) std::fill(w.row(j) + w.count, w.row(j) + w.stride, 0.0f);
}

// ---- Section 4: reweighting ------------------------------------------------------------------------------------

// The lowest index of the largest of `values`, a whole number of vectors.
inline int64_t first_largest(const float *values, int64_t padded_count) {
    vec best = load(values);
    for (int64_t i = width; i < padded_count; i += width) best = maximum(best, load(values + i));
    best = spread_maximum(best);
    for (int64_t i = 0;; i += width)
        if (const uint32_t equal = equal_lanes(load(values + i), best)) return i + __builtin_ctz(equal);
}

// Greedy MMR with the state in registers: score = lam r - (1 - lam) nearest. A pick waits for the one before it, some
// fifty cycles in which the core has nothing else to do, so up to `greedy_batch` scopes of one vector take turns.
template <int scopes>
inline void greedy_in_turns(Workspace *const *w, const float *lam, bool details, int64_t *pick, float *value) {
    vec weight[scopes], rewards[scopes], nearest[scopes];
    int64_t steps = 0;
#pragma GCC unroll 4
    for (int s = 0; s < scopes; ++s) {
        weight[s] = broadcast(lam[s] - 1);
        rewards[s] = load(w[s]->scores);
        nearest[s] = zero();
        steps = std::max(steps, w[s]->count);
    }
    for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 4
        for (int s = 0; s < scopes; ++s) {
            if (step >= w[s]->count) continue;
            w[s]->reweighted[pick[s]] = value[s];
            if (details) {
                float at_pick[width];
                store(at_pick, nearest[s]);
                w[s]->rank[pick[s]] = static_cast<int32_t>(step);
                w[s]->max_similarity[pick[s]] = at_pick[pick[s]];
            }
            rewards[s] = replace_lane(rewards[s], pick[s], -INFINITY);
            nearest[s] = maximum(nearest[s], load(w[s]->row(pick[s])));
            const vec scores = multiply_add(weight[s], nearest[s], rewards[s]);
            const vec best = spread_maximum(scores);
            value[s] = first_lane(best);
            pick[s] = __builtin_ctz(equal_lanes(scores, best));
        }
    }
}

// The same for one scope of any size, with the state in memory.
inline void greedy_in_memory(Workspace &w, float lam, bool details, int64_t pick, float value) {
    const vec weight = broadcast(lam - 1);
    float *rewards = w.scores, *nearest = w.nearest, *scores = w.scores + w.stride;
    std::fill(nearest, nearest + w.stride, 0.0f);
    for (int64_t step = 0;; ++step) {
        w.reweighted[pick] = value;
        rewards[pick] = -INFINITY;
        if (details) {
            w.rank[pick] = static_cast<int32_t>(step);
            w.max_similarity[pick] = nearest[pick];
        }
        if (step + 1 == w.count) return;
        const float *row = w.row(pick);
        vec best = broadcast(-INFINITY);
        for (int64_t i = 0; i < w.stride; i += width) {
            const vec near = maximum(load(nearest + i), load(row + i));
            const vec score = multiply_add(weight, near, load(rewards + i));
            store(nearest + i, near);
            store(scores + i, score);
            best = maximum(best, score);
        }
        best = spread_maximum(best);
        value = first_lane(best);
        for (int64_t i = 0;; i += width)
            if (const uint32_t equal = equal_lanes(load(scores + i), best)) {
                pick = i + __builtin_ctz(equal);
                break;
            }
    }
}

void greedy(const Problem &p, Workspace *const *w, const float *lam, int scopes) {
    int64_t pick[greedy_batch];
    float value[greedy_batch];
    bool one_vector = true;
    for (int s = 0; s < scopes; ++s) {
        Workspace &scope = *w[s];
        std::fill(scope.rewards + scope.count, scope.rewards + scope.stride, -INFINITY);
        std::fill(scope.scores + scope.count, scope.scores + scope.stride, -INFINITY);
        for (int64_t i = 0; i < scope.count; ++i) scope.scores[i] = lam[s] * scope.rewards[i];
        pick[s] = first_largest(scope.rewards, scope.stride);
        value[s] = p.first_pick_score() ? scope.scores[pick[s]] : scope.rewards[pick[s]];
        one_vector = one_vector && scope.stride == width;
    }
    const bool details = p.selection_rank != nullptr;
    if (one_vector && scopes == greedy_batch) return greedy_in_turns<greedy_batch>(w, lam, details, pick, value);
    for (int s = 0; s < scopes; ++s) {
        if (w[s]->stride == width) greedy_in_turns<1>(w + s, lam + s, details, pick + s, value + s);
        else greedy_in_memory(*w[s], lam[s], details, pick[s], value[s]);
    }
}
