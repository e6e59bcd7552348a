// mmr_kernels._cpu: a problem's tensors, sizes and options in, its outputs filled; and the short way of the plain call.
#include "../bindings.h"

#include "mmr_cpu.h"

namespace py = pybind11;

namespace {

// Whether any two objects are rewards and embeddings of them: the dimensions of the rewards, or 0: look closer.
int look(py::handle rewards, py::handle embeddings) {
    const mmr::TensorClass &torch = mmr::TensorClass::get();
    // A subclass may stand for something else than its memory.
    if (Py_TYPE(rewards.ptr()) != torch.type || Py_TYPE(embeddings.ptr()) != torch.type) return 0;
    mmr::Tensor r{}, e{};
    if (torch.read(rewards.ptr(), r) && torch.read(embeddings.ptr(), e)) return mmr::well_formed(r, e) ? r.dimensions : 0;
    PyErr_Clear();
    return 0;
}

// The call that training loops make: embeddings, groups of one size, one output. False if it is another one.
bool plain(const mmr::Tensor &rewards, const mmr::Tensor &embeddings, const mmr::Options &options, int64_t group_size,
           const mmr::Tensor &result, bool reweighted, int threads) {
    if (!mmr::well_formed(rewards, embeddings) || rewards.device.type != mmr::dlpack::cpu || !rewards.contiguous() ||
        !embeddings.contiguous() || options.lambda_mode == mmr::LambdaMode::tensor)
        return false;
    if (rewards.dimensions == 2) group_size = rewards.shape[1];
    if (group_size < 1 || rewards.elements() % group_size) return false;
    mmr::Problem p = mmr::problem_of(options, rewards, embeddings, rewards.elements() / group_size, group_size);
    (reweighted ? p.reweighted_rewards : p.advantages) = result.pointer<float>();
    const py::gil_scoped_release release;
    mmr::solve_on_cpu(p, threads);
    return true;
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
    module.doc() = "CPU kernel of mmr_kernels; mmr_kernels.backends.cpu is its caller.";
    mmr::define_mmr<int>(module, [](const mmr::Problem &problem, int threads) {
        const py::gil_scoped_release release;
        mmr::solve_on_cpu(problem, threads);
    });
    module.def("plain", &plain, "Fill the output of a plain call and return True; False if it is another call.");
    module.def("look", &look, "Dimensions of the rewards, or 0: mmr_kernels/checks.py.");
    module.def("instruction_sets", &mmr::instruction_sets, "Vector code this processor can run, the preferred first.");
    module.def("instruction_set", &mmr::instruction_set, "The vector code in use.");
    module.def("use_instruction_set", &mmr::use_instruction_set, py::arg("name"),
               "Choose the vector code for the process: for tests and measurements.");
}
