// From Python's tensors, sizes and options to the problem; the same for every module. What the caller passes is
// checked in Python, with words; here, that no kernel leaves its tensors.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "mmr.h"
#include "tensor.h"

namespace mmr {

// Which of `names` the option is.
inline int option(const char *argument, std::string_view value, std::initializer_list<std::string_view> names) {
    int index = 0;
    for (const std::string_view name : names) {
        if (name == value) return index;
        ++index;
    }
    throw std::invalid_argument(std::string(argument) + " has no value '" + std::string(value) + "'");
}

inline Options options_of(std::string_view method, std::string_view lam_mode, double lam_value, double temperature,
                          std::string_view first_pick, double diversity, bool match_scale, std::string_view scope,
                          std::string_view scale, double eps, std::string_view degenerate, bool normalize) {
    Options o{};
    o.method = static_cast<Method>(option("method", method, {"mmr", "smi", "none"}));
    o.lambda_mode =
        static_cast<LambdaMode>(option("lam_mode", lam_mode, {"fixed", "tensor", "sigmoid", "relative_std"}));
    o.lam_value = static_cast<float>(lam_value);
    o.temperature = static_cast<float>(temperature);
    o.first_pick_score = option("first_pick", first_pick, {"reward", "score"}) == 1;
    o.diversity = static_cast<float>(diversity);
    o.match_scale = match_scale;
    o.batch_scope = option("scope", scope, {"group", "batch"}) == 1;
    o.scale = static_cast<Scale>(option("scale", scale, {"group", "batch", "none"}));
    o.eps = static_cast<float>(eps);
    o.degenerate_zero = option("degenerate", degenerate, {"reweight", "zero"}) == 1;
    o.normalize = normalize;
    return o;
}

inline DType embedding_dtype(const Tensor &embeddings) {
    if (embeddings.dtype.code == dlpack::Code::bfloat) return DType::bfloat16;
    return embeddings.dtype.bits == 16 ? DType::float16 : DType::float32;
}

// Of `Problem`, what every call has.
inline Problem problem_of(const Options &options, const Tensor &rewards, const Tensor &embeddings, int64_t num_groups,
                          int64_t group_size) {
    Problem p{options};
    p.rewards = rewards.pointer<const float>();
    p.embeddings = embeddings.pointer<const void>();
    p.embedding_dtype = embedding_dtype(embeddings);
    p.num_completions = rewards.elements();
    p.num_groups = num_groups;
    p.group_size = group_size;
    p.dim = embeddings.given ? embeddings.shape[embeddings.dimensions - 1] : 0;
    return p;
}

// Rewards, (N,) or (B, G), and a vector of floats for each, on one device.
inline bool well_formed(const Tensor &rewards, const Tensor &embeddings) {
    const int32_t dimensions = rewards.dimensions;
    return (dimensions == 1 || dimensions == 2) && embeddings.dimensions == dimensions + 1 && rewards.is_float32() &&
           embeddings.is_embedding_dtype() && rewards.device == embeddings.device &&
           std::equal(rewards.shape, rewards.shape + dimensions, embeddings.shape);
}

inline void require(bool kept, const char *promise) {
    if (!kept) throw std::invalid_argument(promise);
}

// The promises of mmr_kernels/problem.py that keep a kernel within its tensors. The API has checked what its caller
// passed; a graph that was exported, and whoever calls the op by its name, come here without.
inline void check(const Problem &p, const Tensor &rewards, const Tensor &embeddings, const Tensor &similarity,
                  const Tensor &valid, const Tensor &group_offsets, const Tensor &order, const Tensor &lam) {
    const int64_t count = p.num_completions, members = p.batch_scope ? count : p.group_size;
    require(rewards.is_float32() && rewards.contiguous(), "rewards must be contiguous float32 here");
    require(!embeddings.given || (well_formed(rewards, embeddings) && embeddings.contiguous()),
            "embeddings must be contiguous float32, bfloat16 or float16, one vector a completion");
    require(!similarity.given || (similarity.is_float32() && similarity.contiguous() &&
                                  similarity.elements() == p.num_scopes() * members * members),
            "similarity must be contiguous float32, one square block a scope");
    require(embeddings.given || similarity.given || p.method == Method::none, "embeddings or similarity must be given");
    require(!valid.given || (valid.dtype.bits == 8 && valid.contiguous() && valid.elements() == count),
            "valid must be contiguous bool, like rewards");
    if (group_offsets.given) {
        require(group_offsets.is_int64() && group_offsets.contiguous() && group_offsets.elements() == p.num_groups + 1,
                "group_offsets must be contiguous int64, one a group and one more");
    } else {
        require(p.group_size >= 0 && p.num_groups * p.group_size == count, "group_size must divide the completions");
    }
    require(!order.given || (order.is_int64() && order.contiguous() && order.elements() == count),
            "order must be contiguous int64, like rewards");
    require(lam.given ? lam.is_float32() && lam.contiguous() && (lam.elements() == 1 || lam.elements() == p.num_scopes())
                      : p.lambda_mode != LambdaMode::tensor,
            "lam must be contiguous float32, one or one a scope");
}

// Defines in the module `Options`, read from strings once, and `mmr`: the fields of mmr_kernels/problem.py, `Problem` and
// then `Outputs`, and what `solve` takes after the problem.
template <class... More, class Solve>
void define_mmr(pybind11::module_ &module, Solve solve) {
    TensorClass::import();
    // Local to the module: each of them has its own.
    pybind11::class_<Options>(module, "Options", pybind11::module_local(), "The options of mmr_kernels/options.py.")
        .def(pybind11::init(&options_of));
    const auto call = [solve](const Tensor &rewards, const Tensor &embeddings, int64_t num_groups, int64_t group_size,
                              const Options &options, const Tensor &similarity, const Tensor &valid,
                              const Tensor &group_offsets, const Tensor &order, const Tensor &lam,
                              const Tensor &advantages, const Tensor &reweighted_rewards, const Tensor &selection_rank,
                              const Tensor &max_similarity, const Tensor &lam_out, More... more) {
        Problem p = problem_of(options, rewards, embeddings, num_groups, group_size);
        p.similarity = similarity.pointer<const float>();
        p.valid = valid.pointer<const bool>();
        p.group_offsets = group_offsets.pointer<const int64_t>();
        p.order = order.pointer<const int64_t>();
        p.lam = lam.pointer<const float>();
        p.lam_count = lam.given ? lam.elements() : 0;
        p.advantages = advantages.pointer<float>();
        p.reweighted_rewards = reweighted_rewards.pointer<float>();
        p.selection_rank = selection_rank.pointer<int64_t>();
        p.max_similarity = max_similarity.pointer<float>();
        p.lam_out = lam_out.pointer<float>();
        check(p, rewards, embeddings, similarity, valid, group_offsets, order, lam);
        solve(p, more...);
    };
    module.def("mmr", call, "Fill the outputs of one problem.");
}

}  // namespace mmr
