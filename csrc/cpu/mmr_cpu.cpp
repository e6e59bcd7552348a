// The CPU kernel's driver: which instruction set, which thread takes which scope, and what a method makes of it.
#include "mmr_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "advantages.h"
#include "methods.h"
#include "scopes.h"
#include "statistics.h"
#include "workspaces.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 header initialises a "don't care" vector with itself and then warns of it (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace mmr {
namespace {

inline float float_from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float float_from_half(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, magnitude = half & 0x7FFF;
    if (magnitude >= 0x7C00) return float_from_bits(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);  // inf, NaN
    // Shifted into place, the exponent is off by 112: a product puts it right, for subnormal numbers too.
    return float_from_bits(sign | magnitude << 13) * 0x1p112f;
}

namespace portable {
#include "simd_four.inl"
#include "simd_portable.inl"
#include "scope.inl"
#include "counts.inl"
}  // namespace portable

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
namespace avx2 {
#include "simd_four.inl"
#include "simd_avx2.inl"
#include "scope.inl"
#include "counts.inl"
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma,f16c"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,f16c")
#endif
namespace avx512 {
#include "simd_four.inl"
#include "simd_avx512.inl"
#include "scope.inl"
#include "counts.inl"
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma,f16c,amx-tile,amx-bf16"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,f16c,amx-tile,amx-bf16")
#endif
namespace amx {
#include "amx.inl"
}  // namespace amx
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

struct InstructionSet {
    const char *name;
    const Kernel *kernel;
};

std::vector<InstructionSet> supported() {
    std::vector<InstructionSet> sets;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma")) {
        if (amx::allowed()) sets.push_back({"amx", &amx::kernel});
        sets.push_back({"avx512", &avx512::kernel});
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back({"avx2", &avx2::kernel});
    sets.push_back({"sse2", &portable::kernel});
#elif defined(__aarch64__)
    sets.push_back({"neon", &portable::kernel});
#else
    sets.push_back({"portable", &portable::kernel});
#endif
    return sets;
}

InstructionSet chosen = supported().front();

// ---- One scope -------------------------------------------------------------------------------------------------

// Runs body(0) … body(count - 1), on several threads where asked; the bodies write disjoint memory. Bodies of one size
// are split as torch splits them, in runs, so that a thread meets what it has in its cache; others are dealt out.
template <class Body>
void for_each(int64_t count, int threads, bool one_size, Body body) {
#ifdef _OPENMP
    if (threads > 1 && one_size) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < count; ++i) body(i);
        return;
    }
    if (threads > 1) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) body(i);
        return;
    }
#endif
    // Not an if() clause above: a team of one still costs a team.
    for (int64_t i = 0; i < count; ++i) body(i);
    static_cast<void>(threads), static_cast<void>(one_size);
}

// Of embeddings in float32: what a core's cache of the second level holds beside other rows.
constexpr int64_t strip_bytes = 1 << 19;

const Products &products_of(const Kernel &kernel, DType dtype) {
    switch (dtype) {
        case DType::float32: break;
        case DType::float16: return kernel.float16;
        case DType::bfloat16: return kernel.bfloat16;
    }
    return kernel.float32;
}

void form_similarity(const Problem &p, Workspace &w, int64_t scope, int threads) {
    const Kernel &kernel = *chosen.kernel;
    if (p.similarity) {
        const Range positions = positions_of_scope(p, scope);
        return kernel.take_similarity(p, w, scope, positions.end - positions.begin, positions.begin);
    }
    const Products &products = products_of(kernel, p.embedding_dtype);
    const int64_t blocks = (w.count + products.rows - 1) / products.rows;
    if (products.prepare) for_each(blocks, threads, true, [&](int64_t block) { products.prepare(p, w, block); });
    for (int64_t i = 0; i < (w.count + 3) / 4 * 4; ++i) {
        const int64_t member = std::min(i, w.count - 1);
        w.rows[i] = products.prepare ? w.widened + member * p.dim
                                     : static_cast<const float *>(p.embeddings) + w.members[member] * p.dim;
    }
    for_each(blocks, threads, true, [&](int64_t block) { products.diagonal(p, w, block); });
    // Strips of as many blocks as a cache of the second level holds, but enough for all threads; from the longest to the
    // shortest, so that threads end together.
    const int64_t block_bytes = 4 * products.rows * std::max<int64_t>(p.dim, 1);
    const int64_t enough = threads > 1 ? blocks / (4 * threads) : blocks;
    const int64_t strip = std::max<int64_t>(std::min(strip_bytes / block_bytes, enough), 1);
    const int64_t strips = (blocks + strip - 1) / strip;
    for_each(strips, threads, false, [&](int64_t from_last) {
        const int64_t begin = (strips - 1 - from_last) * strip;
        products.below_diagonal(p, w, begin, std::min(begin + strip, blocks));
    });
    kernel.finish_similarity(w);
}

// Sections 2 to 4 for the scopes first_scope, first_scope + 1, …, one per workspace; and 7, where they are groups.
void reweight(const Problem &p, Workspace *const *w, int64_t first_scope, int scopes, int threads) {
    const Kernel &kernel = *chosen.kernel;
    Workspace *filled[greedy_batch];
    float lam[greedy_batch];
    int count_filled = 0;
    for (int s = 0; s < scopes; ++s) {
        Workspace &scope = *w[s];
        const int64_t number = first_scope + s;
        collect(p, scope, positions_of_scope(p, number), p.batch_scope());
        scope.stride = (scope.count + kernel.width - 1) / kernel.width * kernel.width;
        lam[count_filled] = p.picks() ? lambda(p, scope, number) : std::numeric_limits<float>::quiet_NaN();
        if (p.lam_out) p.lam_out[number] = lam[count_filled];
        if (scope.count != 0) {
            if (p.needs_similarity()) form_similarity(p, scope, number, threads);
            count(p, kernel, scope);
            filled[count_filled++] = &scope;
        }
        if (!p.has_signal() || p.batch_scope()) continue;
        Signal signal;
        signal.add(scope);
        signal.write(p.signal + 2 * number);
    }
    if (p.picks()) kernel.greedy(p, filled, lam, count_filled);  // of several scopes at once
    for (int s = 0; s < count_filled; ++s) {
        Workspace &scope = *filled[s];
        without_picks(p, kernel, scope);
        if (p.match_scale) match_scale(scope);
        const bool ranked = p.picks();
        for (int64_t k = 0; k < scope.count; ++k) {
            if (p.selection_rank) p.selection_rank[scope.members[k]] = ranked ? scope.rank[k] : -1;
            if (p.max_similarity) p.max_similarity[scope.members[k]] = ranked ? scope.max_similarity[k] : 0;
        }
    }
}

// Section 7 where the scope is the whole batch, which w holds: over its groups, each with its part of S.
void write_signal_of_batch(const Problem &p, const Workspace &w) {
    int64_t largest = 0;
    for (int64_t group = 0; group < p.num_groups; ++group) {
        const Range positions = positions_of_group(p, group);
        largest = std::max(largest, positions.end - positions.begin);
    }
    Workspaces workspaces(p, 1, 1, largest, largest);
    Workspace &part = *workspaces.of_thread(0)[0];
    Signal signal;
    for (int64_t group = 0; group < p.num_groups; ++group) {
        collect(p, part, positions_of_group(p, group), false);
        part.stride = (part.count + chosen.kernel->width - 1) / chosen.kernel->width * chosen.kernel->width;
        int32_t *place = part.rank;  // in w of each member; nothing is picked here
        std::transform(part.members, part.members + part.count, place, [&](int64_t member) {
            return static_cast<int32_t>(std::lower_bound(w.members, w.members + w.count, member) - w.members);
        });
        for (int64_t i = 0; i < part.count; ++i) {
            const float *row = w.row(place[i]);
            for (int64_t j = 0; j < part.count; ++j) part.row(i)[j] = row[place[j]];
            std::fill(part.row(i) + part.count, part.row(i) + part.stride, 0.0f);
        }
        centre_rewards(part);
        chosen.kernel->sum_likeness(part, part.centred, p.signal_sharpness());
        signal.add(part);
    }
    signal.write(p.signal);
}

// ---- The call --------------------------------------------------------------------------------------------------

// Fewer multiply-adds than this take less time than waking a second thread.
constexpr double worth_a_thread = 1 << 18;
// A single scope of fewer members has too few tiles to share out.
constexpr int64_t worth_sharing = 128;
// Most pairs that threads may hold apart from one another, each in a scope of its own: 4 GiB of similarities.
constexpr double most_pairs_apart = 1 << 29;

int64_t size_of_scope(const Problem &p, int64_t scope) {
    const Range positions = positions_of_scope(p, scope);
    return positions.end - positions.begin;
}

double pairs_among(int64_t size) { return static_cast<double>(size) * static_cast<double>(size + 1) / 2; }

int thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

double deviation_of_batch(const Problem &p, const float *reweighted) {
    std::vector<float> values;
    for (int64_t i = 0; i < p.num_completions; ++i)
        if (takes_part(p, i)) values.push_back(reweighted[i]);
    const int64_t count = static_cast<int64_t>(values.size());
    return moments(values.data(), count).deviation(count - 1);
}

}  // namespace

void solve_on_cpu(const Problem &p, int threads) {
    double pairs = 0;
    for (int64_t scope = 0; scope < p.num_scopes(); ++scope) pairs += pairs_among(size_of_scope(p, scope));
    if (pairs * static_cast<double>(p.needs_similarity() ? p.dim + 1 : 1) < worth_a_thread) threads = 1;
    // Threads share a scope that is more than one thread's part of the work, and take the others apart. So what they
    // hold of similarities is no more than all scopes have.
    const auto is_shared = [&](int64_t scope) {
        const int64_t size = size_of_scope(p, scope);
        return threads > 1 && size >= worth_sharing && threads * pairs_among(size) > std::min(pairs, most_pairs_apart);
    };
    int64_t largest = 0, largest_apart = 0;
    for (int64_t scope = 0; scope < p.num_scopes(); ++scope) {
        const int64_t size = size_of_scope(p, scope);
        largest = std::max(largest, size);
        if (!is_shared(scope)) largest_apart = std::max(largest_apart, size);
        if (!p.group_offsets) break;
    }
    const int scope_threads = largest_apart ? static_cast<int>(std::min<int64_t>(threads, p.num_scopes())) : 1;
    // Only scopes of one vector gain by taking turns.
    const int together =
        largest <= chosen.kernel->width ? static_cast<int>(std::clamp<int64_t>(p.num_scopes(), 1, greedy_batch)) : 1;
    Workspaces workspaces(p, scope_threads, together, largest, largest_apart);

    // r' goes where it is asked for; else it waits in the memory of the advantages made from it.
    float *reweighted = p.reweighted_rewards ? p.reweighted_rewards : p.advantages;
    const bool at_once = p.advantages && !p.batch_scope() && p.scale != Scale::batch;
    std::vector<double> counts(p.advantages && !at_once && p.weighs() ? static_cast<size_t>(p.num_completions) : 0);
    const auto solve = [&](Workspace *const *w, int64_t first_scope, int scopes, int threads_within) {
        reweight(p, w, first_scope, scopes, threads_within);
        for (int s = 0; s < scopes; ++s) {
            if (p.reweighted_rewards || !at_once)
                for (int64_t k = 0; k < w[s]->count; ++k) reweighted[w[s]->members[k]] = w[s]->reweighted[k];
            for (int64_t k = 0; !counts.empty() && k < w[s]->count; ++k)
                counts[static_cast<size_t>(w[s]->members[k])] = w[s]->counts[k];
            if (at_once) write_advantages(p, *w[s], diversity(p, first_scope + s), 0);
        }
    };
    for (int64_t scope = 0; largest != largest_apart && scope < p.num_scopes(); ++scope)
        if (is_shared(scope)) solve(workspaces.of_thread(0), scope, 1, threads);
    const int64_t batches = (p.num_scopes() + together - 1) / together;
    for_each(batches, scope_threads, p.group_offsets == nullptr, [&](int64_t batch) {
        const int64_t first_scope = batch * together;
        if (largest != largest_apart && is_shared(first_scope)) return;
        const int scopes = static_cast<int>(std::min<int64_t>(together, p.num_scopes() - first_scope));
        solve(workspaces.of_thread(scope_threads > 1 ? thread_number() : 0), first_scope, scopes, 1);
    });
    if (p.has_signal() && p.batch_scope()) write_signal_of_batch(p, *workspaces.of_thread(0)[0]);
    if (!p.advantages || at_once) return;

    const double batch_deviation = p.scale == Scale::batch ? deviation_of_batch(p, reweighted) : 0;
    Workspace &w = *workspaces.of_thread(0)[0];
    for (int64_t group = 0; group < p.num_groups; ++group) {
        collect(p, w, positions_of_group(p, group), false);
        for (int64_t k = 0; k < w.count; ++k) w.reweighted[k] = reweighted[w.members[k]];
        for (int64_t k = 0; !counts.empty() && k < w.count; ++k)
            w.counts[k] = counts[static_cast<size_t>(w.members[k])];
        write_advantages(p, w, diversity(p, p.batch_scope() ? 0 : group), batch_deviation);
    }
}

std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (const InstructionSet &set : supported()) names.emplace_back(set.name);
    return names;
}

std::string instruction_set() { return chosen.name; }

void use_instruction_set(const std::string &name) {
    for (const InstructionSet &set : supported())
        if (name == set.name) {
            chosen = set;
            return;
        }
    throw std::invalid_argument("instruction set '" + name + "' is not one this processor has");
}

}  // namespace mmr
