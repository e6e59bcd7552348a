// mmr_kernels._cuda: the CPU module's arguments, then a device's index, a stream's handle and a source of scratch.
#include <vector>

#include "../bindings.h"

#include "mmr_cuda.h"

namespace py = pybind11;

PYBIND11_MODULE(_cuda, module) {
    module.doc() = "CUDA kernel of mmr_kernels; mmr_kernels.backends.cuda is its caller.";
    module.attr("targets") = std::vector<int>{MMR_CUDA_TARGETS};  // compute capabilities, 90 for 9.0
    module.attr("largest_group") = mmr::largest_group;
    module.attr("largest_batch") = mmr::largest_batch;
    // `allocate` takes a number of bytes and returns the address of memory that lives until the launch is enqueued.
    mmr::define_mmr<int, uintptr_t, py::object>(
        module, [](const mmr::Problem &problem, int device, uintptr_t stream, const py::object &allocate) {
            const std::string error =
                mmr::solve_on_device(problem, device, reinterpret_cast<void *>(stream), [&allocate](int64_t bytes) {
                    return reinterpret_cast<void *>(allocate(bytes).cast<uintptr_t>());
                });
            if (!error.empty()) throw std::runtime_error(error);
        });
}
