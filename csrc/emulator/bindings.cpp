// mmr_kernels._emulator: the CUDA module's call, run by the emulator, what it counted, and kernels with planted faults.
#include "../bindings.h"

#include "../cuda/mmr_cuda.h"
#include "memory.h"

namespace mmr {
std::string emulate_750(const Problem &problem, int device, void *stream, const Allocate &allocate);
std::string emulate_900(const Problem &problem, int device, void *stream, const Allocate &allocate);
}  // namespace mmr
namespace emulator {
void run_planted_fault(const std::string &name);
}

namespace py = pybind11;

PYBIND11_MODULE(_emulator, module) {
    module.doc() = "The CUDA kernel of mmr_kernels on the emulator of csrc/emulator, for tests.";
    module.attr("largest_group") = mmr::largest_group;
    module.attr("largest_batch") = mmr::largest_batch;
    static int target = 900;
    mmr::define_mmr<int, uintptr_t, py::object>(
        module, [](const mmr::Problem &problem, int device, uintptr_t stream, const py::object &allocate) {
            const auto emulate = target == 750 ? mmr::emulate_750 : mmr::emulate_900;
            emulate(problem, device, reinterpret_cast<void *>(stream), [&allocate](int64_t bytes) {
                return reinterpret_cast<void *>(allocate(bytes).cast<uintptr_t>());
            });
        });
    module.def(
        "emulate", [](int new_target, unsigned seed) { target = new_target, emulator::launch_state().seed = seed; },
        py::arg("target") = 900, py::arg("seed") = 0,
        "Which code to run (750 or 900) and, by a seed, in which order its blocks and threads run.");
    module.def(
        "counts",
        [] {
            py::dict phases;
            for (const auto &[phase, counts] : emulator::launch_state().counts) {
                using namespace py::literals;
                phases[py::str(phase)] = py::dict(
                    "barriers"_a = counts.barriers, "warp_syncs"_a = counts.warp_syncs, "shuffles"_a = counts.shuffles,
                    "votes"_a = counts.votes, "reductions"_a = counts.reductions,
                    "tensor_products"_a = counts.tensor_products, "matrix_loads"_a = counts.matrix_loads,
                    "shared_accesses"_a = counts.shared_accesses,
                    "shared_wavefronts"_a = counts.shared_wavefronts,
                    "worst_bank_conflict"_a = counts.worst_bank_conflict);
            }
            return phases;
        },
        "What the last launch did, by phase.");
    module.def(
        "traffic",
        [] {
            py::dict buffers;
            for (const auto &[name, traffic] : emulator::launch_state().traffic)
                buffers[py::str(name)] = py::make_tuple(traffic.bytes_read, traffic.bytes_written);
            return buffers;
        },
        "Bytes of global memory that the last launch read and wrote, by buffer.");
    module.def("run_planted_fault", &emulator::run_planted_fault, py::arg("name"),
               "Run a kernel with the named fault; raises RuntimeError saying where the emulator saw it.");
}
