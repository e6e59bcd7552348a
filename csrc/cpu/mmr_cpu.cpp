// The CPU kernel's driver: which instruction set, which thread takes which scope, and all that is not vector code:
// the statistics of sections 3 and 5, in double so that their rounding never shows in a float32 result.
#include "mmr_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
}  // namespace avx512
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
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        sets.push_back({"avx512", &avx512::kernel});
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

// ---- Groups and scopes -----------------------------------------------------------------------------------------

struct Range {
    int64_t begin, end;
};

Range positions_of_group(const Problem &p, int64_t group) {
    if (!p.group_offsets) return {group * p.group_size, (group + 1) * p.group_size};
    return {p.group_offsets[group], p.group_offsets[group + 1]};
}

Range positions_of_scope(const Problem &p, int64_t scope) {
    return p.batch_scope() ? Range{0, p.num_completions} : positions_of_group(p, scope);
}

bool takes_part(const Problem &p, int64_t i) { return std::isfinite(p.rewards[i]) && (!p.valid || p.valid[i]); }

// Lists the valid ones, and writes all outputs of the others.
void collect(const Problem &p, Workspace &w, Range positions, bool whole_batch) {
    w.count = 0;
    for (int64_t position = positions.begin; position < positions.end; ++position) {
        const int64_t i = p.order && !whole_batch ? p.order[position] : position;
        if (takes_part(p, i)) {
            w.members[w.count] = i;
            w.rewards[w.count++] = p.rewards[i];
            continue;
        }
        if (p.advantages) p.advantages[i] = 0;
        if (p.reweighted_rewards) p.reweighted_rewards[i] = std::numeric_limits<float>::quiet_NaN();
        if (p.selection_rank) p.selection_rank[i] = -1;
        if (p.max_similarity) p.max_similarity[i] = 0;
    }
}

// ---- Statistics ------------------------------------------------------------------------------------------------

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
    return static_cast<float>(std::fmin(std::fmax(1 - p.diversity * (1 - chosen_lambda), 0.0), 1.0));
}

// Section 4, last paragraph.
void match_scale(Workspace &w) {
    const Moments before = moments(w.rewards, w.count), after = moments(w.reweighted, w.count);
    if (!(after.deviation(w.count) > spread_guard)) return;
    const double factor = (before.deviation(w.count) + spread_guard) / (after.deviation(w.count) + spread_guard);
    for (int64_t i = 0; i < w.count; ++i)
        w.reweighted[i] = static_cast<float>((w.reweighted[i] - after.mean) * factor + before.mean);
}

// Section 5, over the group that w holds; `batch_deviation` is used by scale="batch" alone.
void write_advantages(const Problem &p, const Workspace &w, double batch_deviation) {
    const Moments group = moments(w.reweighted, w.count);
    const auto equal_rewards = [&] {
        const auto [lowest, highest] = std::minmax_element(w.rewards, w.rewards + w.count);
        return all_equal(*lowest, *highest);
    };
    const bool zero = w.count < 2 || (p.degenerate_zero() && equal_rewards());
    double factor = 1;
    switch (p.scale) {
        case Scale::group: factor = 1 / (group.deviation(w.count - 1) + p.eps); break;
        case Scale::batch: factor = 1 / (batch_deviation + p.eps); break;
        case Scale::none: break;
    }
    for (int64_t k = 0; k < w.count; ++k)
        p.advantages[w.members[k]] = zero ? 0 : static_cast<float>((w.reweighted[k] - group.mean) * factor);
}

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

void form_similarity(const Problem &p, Workspace &w, int64_t scope, int threads) {
    const Kernel &kernel = *chosen.kernel;
    if (p.similarity) {
        const Range positions = positions_of_scope(p, scope);
        return kernel.take_similarity(p, w, scope, positions.end - positions.begin, positions.begin);
    }
    const int64_t blocks = (w.count + 3) / 4;
    if (p.embedding_dtype != DType::float32)
        for_each(w.count, threads, true, [&](int64_t i) { kernel.widen_row(p, w, i); });
    for (int64_t i = 0; i < blocks * 4; ++i) {
        const int64_t member = std::min(i, w.count - 1);
        w.rows[i] = p.embedding_dtype == DType::float32 ? static_cast<const float *>(p.embeddings) + w.members[member] * p.dim
                                                        : w.widened + member * p.dim;
    }
    if (threads > 1) {
        for_each(blocks, threads, true, [&](int64_t block) { kernel.diagonal_block(p, w, block); });
        // From the longest strip to the shortest, so that threads end together.
        for_each(blocks, threads, false, [&](int64_t block) { kernel.below_diagonal(p, w, blocks - 1 - block); });
    } else {
        for (int64_t block = 0; block < blocks; ++block) {
            kernel.diagonal_block(p, w, block);
            kernel.below_diagonal(p, w, block);
        }
    }
    kernel.finish_similarity(w);
}

// Sections 2 to 4 for the scopes first_scope, first_scope + 1, …, one a workspace.
void reweight(const Problem &p, Workspace *const *w, int64_t first_scope, int scopes, int threads) {
    const Kernel &kernel = *chosen.kernel;
    Workspace *filled[greedy_batch];
    float lam[greedy_batch];
    int count = 0;
    for (int s = 0; s < scopes; ++s) {
        Workspace &scope = *w[s];
        collect(p, scope, positions_of_scope(p, first_scope + s), p.batch_scope());
        scope.stride = (scope.count + kernel.width - 1) / kernel.width * kernel.width;
        lam[count] = p.picks() ? lambda(p, scope, first_scope + s) : std::numeric_limits<float>::quiet_NaN();
        if (p.lam_out) p.lam_out[first_scope + s] = lam[count];
        if (scope.count == 0) continue;
        if (p.needs_similarity()) form_similarity(p, scope, first_scope + s, threads);
        filled[count++] = &scope;
    }
    if (p.method == Method::mmr) kernel.greedy(p, filled, lam, count);  // of several scopes at once
    for (int s = 0; s < count; ++s) {
        Workspace &scope = *filled[s];
        switch (p.method) {
            case Method::mmr: break;  // done
            case Method::smi: kernel.divide_by_density(scope); break;
            case Method::none: std::copy(scope.rewards, scope.rewards + scope.count, scope.reweighted); break;
        }
        if (p.match_scale) match_scale(scope);
        const bool ranked = p.picks();
        for (int64_t k = 0; k < scope.count; ++k) {
            if (p.selection_rank) p.selection_rank[scope.members[k]] = ranked ? scope.rank[k] : -1;
            if (p.max_similarity) p.max_similarity[scope.members[k]] = ranked ? scope.max_similarity[k] : 0;
        }
    }
}

// ---- Memory ----------------------------------------------------------------------------------------------------

// `together` workspaces per thread, in one block of memory: for scopes of up to `largest` members in the first thread,
// which holds those that threads share, and of up to `largest_apart` in the others.
class Workspaces {
  public:
    Workspaces(const Problem &p, int threads, int together, int64_t largest, int64_t largest_apart)
        : together(together) {
        constexpr int64_t longest_vector = 16;  // floats, on any instruction set
        const bool squares = p.needs_similarity();
        const bool widen = squares && p.embeddings && p.embedding_dtype != DType::float32;
        each.resize(static_cast<size_t>(threads) * static_cast<size_t>(together));
        for (int pass = 0; pass < 2; ++pass) {  // first to count, then to carve
            used = 0;
            for (Workspace &w : each) {
                const int64_t most = &w < each.data() + together ? largest : largest_apart;
                const int64_t stride = (most + longest_vector - 1) / longest_vector * longest_vector;
                w.similarity = carve<float>(squares ? stride * stride : 0);
                w.widened = carve<float>(widen ? most * p.dim : 0);
                w.rows = carve<const float *>(stride);
                w.members = carve<int64_t>(stride);
                w.rank = carve<int32_t>(stride);
                w.scale = carve<float>(stride);
                w.rewards = carve<float>(stride);
                w.scores = carve<float>(2 * stride);
                w.nearest = carve<float>(stride);
                w.reweighted = carve<float>(stride);
                w.max_similarity = carve<float>(stride);
                if (pass) pointers.push_back(&w);
            }
            if (!pass) memory.reset(static_cast<char *>(::operator new(used, line)));
        }
    }
    Workspace *const *of_thread(int thread) const { return pointers.data() + thread * together; }

  private:
    template <class T>
    T *carve(int64_t count) {
        const size_t begin = used, end = begin + static_cast<size_t>(count) * sizeof(T), size = static_cast<size_t>(line);
        used = (end + size - 1) / size * size;
#if defined(__SANITIZE_ADDRESS__)
        used += size;  // a gap that no one may touch, or one array's overrun would be another's element
        if (memory) ASAN_POISON_MEMORY_REGION(memory.get() + end, used - end);
#endif
        return memory ? reinterpret_cast<T *>(memory.get() + begin) : nullptr;
    }
    int together;
    size_t used = 0;
    std::vector<Workspace> each;
    std::vector<Workspace *> pointers;
    static constexpr std::align_val_t line{64};
    struct Free {
        void operator()(char *block) const { ::operator delete(block, line); }
    };
    std::unique_ptr<char, Free> memory;
};

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
    const auto solve = [&](Workspace *const *w, int64_t first_scope, int scopes, int threads_within) {
        reweight(p, w, first_scope, scopes, threads_within);
        for (int s = 0; s < scopes; ++s) {
            if (p.reweighted_rewards || !at_once)
                for (int64_t k = 0; k < w[s]->count; ++k) reweighted[w[s]->members[k]] = w[s]->reweighted[k];
            if (at_once) write_advantages(p, *w[s], 0);
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
    if (!p.advantages || at_once) return;

    const double batch_deviation = p.scale == Scale::batch ? deviation_of_batch(p, reweighted) : 0;
    Workspace &w = *workspaces.of_thread(0)[0];
    for (int64_t group = 0; group < p.num_groups; ++group) {
        collect(p, w, positions_of_group(p, group), false);
        for (int64_t k = 0; k < w.count; ++k) w.reweighted[k] = reweighted[w.members[k]];
        write_advantages(p, w, batch_deviation);
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
