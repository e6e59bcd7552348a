// From Python's raw pointers, sizes and options to the problem; the same for every module. Checks of what the caller
// passes stand in Python.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "mmr.h"

namespace mmr {

template <class T>
T *pointer(uintptr_t address) {
    return reinterpret_cast<T *>(address);
}

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

// Defines in the module `Options`, read from strings once, and `mmr`: options, then the rest of the problem in the order
// of mmr.h, then what `solve` takes after the problem.
template <class... More, class Solve>
void define_mmr(pybind11::module_ &module, Solve solve) {
    // Local to the module: each of them has its own.
    pybind11::class_<Options>(module, "Options", pybind11::module_local(), "The options of mmr_kernels/options.py.")
        .def(pybind11::init(&options_of));
    const auto call = [solve](const Options &options, uintptr_t rewards, uintptr_t embeddings, int embedding_dtype,
                              int64_t num_completions, int64_t num_groups, int64_t group_size, int64_t dim,
                              uintptr_t similarity, uintptr_t valid, uintptr_t group_offsets, uintptr_t order,
                              uintptr_t lam, int64_t lam_count, uintptr_t advantages, uintptr_t reweighted_rewards,
                              uintptr_t selection_rank, uintptr_t max_similarity, uintptr_t lam_out, More... more) {
        Problem p{options};
        p.rewards = pointer<const float>(rewards);
        p.embeddings = pointer<const void>(embeddings);
        p.embedding_dtype = static_cast<DType>(embedding_dtype);
        p.num_completions = num_completions;
        p.num_groups = num_groups;
        p.group_size = group_size;
        p.dim = dim;
        p.similarity = pointer<const float>(similarity);
        p.valid = pointer<const bool>(valid);
        p.group_offsets = pointer<const int64_t>(group_offsets);
        p.order = pointer<const int64_t>(order);
        p.lam = pointer<const float>(lam);
        p.lam_count = lam_count;
        p.advantages = pointer<float>(advantages);
        p.reweighted_rewards = pointer<float>(reweighted_rewards);
        p.selection_rank = pointer<int64_t>(selection_rank);
        p.max_similarity = pointer<float>(max_similarity);
        p.lam_out = pointer<float>(lam_out);
        solve(p, more...);
    };
    module.def("mmr", call, "Fill the outputs of one problem.");
}

}  // namespace mmr
