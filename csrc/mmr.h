// The problem one call of the op poses, as every kernel sees it. mmr_kernels/problem.py is the same in Python.
// N completions, D dimensions; sizes and offsets count elements, never bytes. The caller owns all memory.
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define MMR_ANYWHERE __host__ __device__
#else
#define MMR_ANYWHERE
#endif

namespace mmr {

// An enum and its values' names, joined by ", ": Python knows them by name.
#define MMR_CHOICE(Type, ...)                \
    enum class Type : int { __VA_ARGS__ };   \
    inline const char *names_of(Type) { return #__VA_ARGS__; }

MMR_CHOICE(DType, float32, bfloat16, float16)
MMR_CHOICE(Method, mmr, smi, share, unique, partition, dpp, none)
MMR_CHOICE(LambdaMode, fixed, tensor, sigmoid, relative_std)
MMR_CHOICE(FirstPick, reward, score)
MMR_CHOICE(Scope, group, batch)
MMR_CHOICE(Scale, group, batch, none)
MMR_CHOICE(Degenerate, reweight, zero)

// The options of mmr_kernels/options.py that a kernel reads, by their names there; a number that is None there is NaN.
#define MMR_OPTIONS(OPTION)         \
    OPTION(Method, method)          \
    OPTION(LambdaMode, lam_mode)    \
    OPTION(float, lam_value)        \
    OPTION(float, temperature)      \
    OPTION(FirstPick, first_pick)   \
    OPTION(float, diversity)        \
    OPTION(float, strength)         \
    OPTION(float, sharpness)        \
    OPTION(float, threshold)        \
    OPTION(bool, quality)           \
    OPTION(bool, match_scale)       \
    OPTION(Scope, scope)            \
    OPTION(Scale, scale)            \
    OPTION(float, eps)              \
    OPTION(Degenerate, degenerate)  \
    OPTION(bool, normalize)

constexpr float usual_sharpness = 4;

enum class Weighing { nothing, share, unique };

struct Options {
#define MMR_FIELD(Type, name) Type name;
    MMR_OPTIONS(MMR_FIELD)
#undef MMR_FIELD

    // Each by a switch without a default, and compiled with -Werror=switch: a value more must be dealt with here and
    // in every other switch over it before anything compiles.
    MMR_ANYWHERE bool of_rewards_alone() const {
        switch (method) {
            case Method::none: return true;
            case Method::mmr: case Method::smi: case Method::share: case Method::unique: case Method::partition:
            case Method::dpp: return false;
        }
        return false;
    }
    MMR_ANYWHERE bool picks() const {
        switch (method) {
            case Method::mmr: return true;
            case Method::smi: case Method::share: case Method::unique: case Method::partition: case Method::dpp:
            case Method::none: return false;
        }
        return false;
    }
    // How many completions are like each: n of section 4.
    MMR_ANYWHERE bool counts() const {
        switch (method) {
            case Method::smi: case Method::share: case Method::unique: case Method::partition: return true;
            case Method::mmr: case Method::dpp: case Method::none: return false;
        }
        return false;
    }
    // The method's rule for its advantages, where it leaves the rewards as they are: section 5 has the counts too.
    MMR_ANYWHERE Weighing weighing() const {
        switch (method) {
            case Method::share: return Weighing::share;
            case Method::unique: return Weighing::unique;
            case Method::mmr: case Method::smi: case Method::partition: case Method::dpp: case Method::none: break;
        }
        return Weighing::nothing;
    }
    MMR_ANYWHERE bool weighs() const { return weighing() != Weighing::nothing; }
    MMR_ANYWHERE bool has_threshold() const { return threshold == threshold; }
    // SMI's published sum of similarities, in place of a soft count.
    MMR_ANYWHERE bool has_published_sum() const { return sharpness != sharpness; }
    MMR_ANYWHERE float signal_sharpness() const { return has_published_sum() ? usual_sharpness : sharpness; }
    MMR_ANYWHERE bool first_pick_score() const {
        switch (first_pick) {
            case FirstPick::reward: return false;
            case FirstPick::score: return true;
        }
        return false;
    }
    MMR_ANYWHERE bool batch_scope() const {
        switch (scope) {
            case Scope::group: return false;
            case Scope::batch: return true;
        }
        return false;
    }
    MMR_ANYWHERE bool degenerate_zero() const {
        switch (degenerate) {
            case Degenerate::reweight: return false;
            case Degenerate::zero: return true;
        }
        return false;
    }
};

struct Problem : Options {
    // Inputs, contiguous. A pointer that is not given is null.
    const float *rewards;           // (N)
    const void *embeddings;         // (N, D) of embedding_dtype
    DType embedding_dtype;
    int64_t num_completions;        // N
    int64_t num_groups;
    int64_t group_size;             // members of each group, 0 when ragged
    int64_t max_group_size;         // no group has more members; N where nothing less is known
    int64_t dim;                    // D
    const float *similarity;        // (num_scopes, M, M) instead of embeddings
    const bool *valid;              // (N)
    const int64_t *group_offsets;   // (num_groups + 1), null when groups are uniform
    const int64_t *order;           // (N), null for the identity: group g is order[offsets[g] .. offsets[g + 1])
    const float *lam;               // (lam_count), for LambdaMode::tensor
    int64_t lam_count;              // 1, or one per scope
    const int64_t *labels;          // (N): members of a scope with one label are one cluster
    const float *dial;              // (dial_count), instead of the option diversity
    int64_t dial_count;             // 1, or one per scope
    const int64_t *group_of;        // (N), the group of each completion, where a scope of several has a signal

    // Outputs, contiguous; null when not asked for.
    float *advantages;              // (N)
    float *reweighted_rewards;      // (N)
    int64_t *selection_rank;        // (N)
    float *max_similarity;          // (N)
    float *lam_out;                 // (num_scopes)
    float *signal;                  // (num_scopes, 2): T and V of section 7; null where there is nothing to take them from

    MMR_ANYWHERE int64_t num_scopes() const { return batch_scope() ? 1 : num_groups; }
    MMR_ANYWHERE bool has_signal() const { return signal; }
    MMR_ANYWHERE bool needs_similarity() const {
        return has_signal() || (!of_rewards_alone() && !(counts() && labels));
    }
};

// Guards and constants of sections 2 to 7 of docs/contract.md; mmr_kernels/reference/ holds the same.
constexpr float smallest_norm = 1e-12f;
constexpr float mean_guard = 1e-8f;
constexpr float density_guard = 1e-6f;
constexpr float spread_guard = 1e-8f;
constexpr float smallest_part = 0.1f;
constexpr float quality_scale = 8;
constexpr float equality_guard = 1e-6f;
constexpr float smallest_weight = 1e-9f;

// Whether rewards from `lowest` to `highest` are equal up to rounding.
MMR_ANYWHERE inline bool all_equal(float lowest, float highest) {
    return highest - lowest <= equality_guard * fmaxf(1, fmaxf(fabsf(lowest), fabsf(highest)));
}

}  // namespace mmr
