// mmr_kernels._cpu: raw pointers, sizes and options in, nothing out. Checks of what the caller passes stand in Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "mmr_cpu.h"

namespace py = pybind11;

namespace {

template <class T>
T *pointer(uintptr_t address) {
    return reinterpret_cast<T *>(address);
}

// Which of `names` the option is.
int option(const char *argument, std::string_view value, std::initializer_list<std::string_view> names) {
    int index = 0;
    for (const std::string_view name : names) {
        if (name == value) return index;
        ++index;
    }
    throw std::invalid_argument(std::string(argument) + " has no value '" + std::string(value) + "'");
}

void mmr_cpu(uintptr_t rewards, uintptr_t embeddings, int embedding_dtype, uintptr_t similarity, uintptr_t valid,
             uintptr_t group_offsets, uintptr_t order, uintptr_t lam, int64_t lam_count, int64_t num_completions,
             int64_t num_groups, int64_t group_size, int64_t dim, std::string_view method, std::string_view lam_mode,
             double lam_value, double temperature, std::string_view first_pick, double diversity, bool match_scale,
             std::string_view scope, std::string_view scale, double eps, std::string_view degenerate, bool normalize,
             int threads, uintptr_t advantages, uintptr_t reweighted_rewards, uintptr_t selection_rank,
             uintptr_t max_similarity, uintptr_t lam_out) {
    mmr::Problem p{};
    p.rewards = pointer<const float>(rewards);
    p.embeddings = pointer<const void>(embeddings);
    p.similarity = pointer<const float>(similarity);
    p.valid = pointer<const bool>(valid);
    p.group_offsets = pointer<const int64_t>(group_offsets);
    p.order = pointer<const int64_t>(order);
    p.lam = pointer<const float>(lam);
    p.embedding_dtype = static_cast<mmr::DType>(embedding_dtype);
    p.lam_count = lam_count;
    p.num_completions = num_completions;
    p.num_groups = num_groups;
    p.group_size = group_size;
    p.dim = dim;
    p.method = static_cast<mmr::Method>(option("method", method, {"mmr", "smi", "none"}));
    p.lambda_mode =
        static_cast<mmr::LambdaMode>(option("lam_mode", lam_mode, {"fixed", "tensor", "sigmoid", "relative_std"}));
    p.lam_value = static_cast<float>(lam_value);
    p.temperature = static_cast<float>(temperature);
    p.first_pick_score = option("first_pick", first_pick, {"reward", "score"}) == 1;
    p.diversity = static_cast<float>(diversity);
    p.match_scale = match_scale;
    p.batch_scope = option("scope", scope, {"group", "batch"}) == 1;
    p.scale = static_cast<mmr::Scale>(option("scale", scale, {"group", "batch", "none"}));
    p.eps = static_cast<float>(eps);
    p.degenerate_zero = option("degenerate", degenerate, {"reweight", "zero"}) == 1;
    p.normalize = normalize;
    p.advantages = pointer<float>(advantages);
    p.reweighted_rewards = pointer<float>(reweighted_rewards);
    p.selection_rank = pointer<int64_t>(selection_rank);
    p.max_similarity = pointer<float>(max_similarity);
    p.lam_out = pointer<float>(lam_out);

    const py::gil_scoped_release release;
    mmr::solve_on_cpu(p, threads);
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
    module.doc() = "CPU kernel of mmr_kernels; mmr_kernels.backends.cpu is its caller.";
    module.def("mmr", &mmr_cpu, "Fill the outputs of one problem; arguments in the order of csrc/mmr.h.");
    module.def("instruction_sets", &mmr::instruction_sets, "Vector code this processor can run, the preferred first.");
    module.def("instruction_set", &mmr::instruction_set, "The vector code in use.");
    module.def("use_instruction_set", &mmr::use_instruction_set, py::arg("name"),
               "Choose the vector code for the process: for tests and measurements.");
}
