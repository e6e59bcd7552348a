// From Python's options, sizes and addresses to the problem; the same for every module. Checks of what a caller passes
// stand in mmr_kernels/ops.py: no call gets here without them.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "mmr.h"

namespace mmr {

// The value that Python calls `name`.
template <class Choice>
Choice choice(const char *argument, std::string_view name) {
    const std::string_view names = names_of(Choice{});
    int index = 0;
    for (size_t begin = 0; begin < names.size(); ++index) {
        const size_t end = std::min(names.find(", ", begin), names.size());
        if (names.substr(begin, end - begin) == name) return static_cast<Choice>(index);
        begin = end + 2;
    }
    throw std::invalid_argument(std::string(argument) + " has no value '" + std::string(name) + "' here");
}

template <class Value>
void read(const pybind11::dict &given, const char *name, Value &value) {
    if (!given.contains(name)) throw std::invalid_argument(std::string("no option ") + name);
    if constexpr (std::is_enum_v<Value>) value = choice<Value>(name, given[name].cast<std::string>());
    else if constexpr (std::is_same_v<Value, float>) value = given[name].is_none() ? NAN : given[name].cast<float>();
    else value = given[name].cast<Value>();
}

inline Options options_of(const pybind11::dict &given) {
    Options options{};
    size_t count = 0;
#define MMR_READ(Type, name) read(given, #name, options.name), ++count;
    MMR_OPTIONS(MMR_READ)
#undef MMR_READ
    if (given.size() != count) throw std::invalid_argument("an option that csrc/mmr.h lacks");
    return options;
}

template <class Value>
std::string takes(Value value) {
    if constexpr (std::is_enum_v<Value>) return names_of(value);
    else return std::is_same_v<Value, bool> ? "bool" : "float";
}

// Defines in the module `Options`, which is read from a dictionary once; `takes`, the options with the names of their
// values; and `mmr`: the options, the fields of `Problem` in csrc/mmr.h, an address 0 for one not given, and what
// `solve` takes after the problem.
template <class... More, class Solve>
void define_mmr(pybind11::module_ &module, Solve solve) {
    // Local to the module: each of them has its own.
    pybind11::class_<Options>(module, "Options", pybind11::module_local(), "The options of mmr_kernels/options.py.")
        .def(pybind11::init(&options_of));
    pybind11::dict table;
#define MMR_TAKES(Type, name) table[#name] = takes(Type{});
    MMR_OPTIONS(MMR_TAKES)
#undef MMR_TAKES
    module.attr("takes") = table;
    const auto call = [solve](const Options &options, uintptr_t rewards, uintptr_t embeddings,
                              const std::string &embedding_dtype, int64_t num_completions, int64_t num_groups,
                              int64_t group_size, int64_t max_group_size, int64_t dim, uintptr_t similarity,
                              uintptr_t valid, uintptr_t group_offsets, uintptr_t order, uintptr_t lam, int64_t lam_count,
                              uintptr_t labels, uintptr_t dial, int64_t dial_count, uintptr_t group_of,
                              uintptr_t advantages, uintptr_t reweighted_rewards, uintptr_t selection_rank,
                              uintptr_t max_similarity, uintptr_t lam_out, uintptr_t signal, More... more) {
        Problem p{options};
        p.rewards = reinterpret_cast<const float *>(rewards);
        p.embeddings = reinterpret_cast<const void *>(embeddings);
        p.embedding_dtype = choice<DType>("embeddings", embedding_dtype);
        p.num_completions = num_completions;
        p.num_groups = num_groups;
        p.group_size = group_size;
        p.max_group_size = max_group_size;
        p.dim = dim;
        p.similarity = reinterpret_cast<const float *>(similarity);
        p.valid = reinterpret_cast<const bool *>(valid);
        p.group_offsets = reinterpret_cast<const int64_t *>(group_offsets);
        p.order = reinterpret_cast<const int64_t *>(order);
        p.lam = reinterpret_cast<const float *>(lam);
        p.lam_count = lam_count;
        p.labels = reinterpret_cast<const int64_t *>(labels);
        p.dial = reinterpret_cast<const float *>(dial);
        p.dial_count = dial_count;
        p.group_of = reinterpret_cast<const int64_t *>(group_of);
        p.advantages = reinterpret_cast<float *>(advantages);
        p.reweighted_rewards = reinterpret_cast<float *>(reweighted_rewards);
        p.selection_rank = reinterpret_cast<int64_t *>(selection_rank);
        p.max_similarity = reinterpret_cast<float *>(max_similarity);
        p.lam_out = reinterpret_cast<float *>(lam_out);
        p.signal = reinterpret_cast<float *>(signal);
        solve(p, more...);
    };
    module.def("mmr", call, "Fill the outputs of one problem.");
}

}  // namespace mmr
