// The problem one call of the op poses, as every kernel sees it. mmr_kernels/problem.py is the same in Python.
// N completions, D dimensions; sizes and offsets count elements, never bytes. The caller owns all memory.
#pragma once
#include <cstdint>

namespace mmr {

enum class DType : int { float32, bfloat16, float16 };
enum class Method : int { mmr, smi, none };
enum class LambdaMode : int { fixed, tensor, sigmoid, relative_std };
enum class Scale : int { group, batch, none };

// mmr_kernels/options.py is the same in Python, in the same order.
struct Options {
    Method method;
    LambdaMode lambda_mode;
    float lam_value;                // for LambdaMode::fixed
    float temperature;              // for LambdaMode::relative_std
    bool first_pick_score;          // the first pick gets lambda * r instead of r
    float diversity;
    bool match_scale;
    bool batch_scope;               // one selection over all completions instead of one a group
    Scale scale;
    float eps;
    bool degenerate_zero;
    bool normalize;
};

struct Problem : Options {
    // Inputs, contiguous. A pointer that is not given is null.
    const float *rewards;           // (N)
    const void *embeddings;         // (N, D) of embedding_dtype
    DType embedding_dtype;
    int64_t num_completions;        // N
    int64_t num_groups;
    int64_t group_size;             // members of each group, 0 when ragged
    int64_t dim;                    // D
    const float *similarity;        // (num_scopes, M, M) instead of embeddings
    const bool *valid;              // (N)
    const int64_t *group_offsets;   // (num_groups + 1), null when groups are uniform
    const int64_t *order;           // (N), null for the identity: group g is order[offsets[g] .. offsets[g + 1])
    const float *lam;               // (lam_count), for LambdaMode::tensor
    int64_t lam_count;              // 1, or one a scope

    // Outputs, contiguous; null when not asked for.
    float *advantages;              // (N)
    float *reweighted_rewards;      // (N)
    int64_t *selection_rank;        // (N)
    float *max_similarity;          // (N)
    float *lam_out;                 // (num_scopes)

    int64_t num_scopes() const { return batch_scope ? 1 : num_groups; }
};

// Guards of sections 2, 3 and 4 of docs/contract.md; mmr_kernels/reference.py holds the same four.
constexpr float smallest_norm = 1e-12f;
constexpr float mean_guard = 1e-8f;
constexpr float density_guard = 1e-6f;
constexpr float spread_guard = 1e-8f;

}  // namespace mmr
