// mmr_kernels._cpu: the arguments of bindings.h and a number of threads.
#include "../bindings.h"

#include "mmr_cpu.h"

namespace py = pybind11;

PYBIND11_MODULE(_cpu, module) {
    module.doc() = "CPU kernel of mmr_kernels; mmr_kernels.backends.cpu is its caller.";
    mmr::define_mmr<int>(module, [](const mmr::Problem &problem, int threads) {
        const py::gil_scoped_release release;
        mmr::solve_on_cpu(problem, threads);
    });
    module.def("instruction_sets", &mmr::instruction_sets, "Vector code this processor can run, the preferred first.");
    module.def("instruction_set", &mmr::instruction_set, "The vector code in use.");
    module.def("use_instruction_set", &mmr::use_instruction_set, py::arg("name"),
               "Choose the vector code for the process: for tests and measurements.");
}
