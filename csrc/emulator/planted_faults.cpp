// Kernels with one fault each, to show that the emulator catches it; tests alone run them.
#define MMR_TARGET 900
#include "cuda.h"

namespace mmr {
namespace {

inline int thread_index() { return threadIdx.x; }

// Each passes its number to the thread 32 further on; right but for the fault named.
void pass_on(const std::string &fault, const Global<float> &out) {
    MMR_SHARED(float, numbers, 64);
    const int i = thread_index();
    if (fault != "uninitialised read" || i != 5) numbers.store(i, static_cast<float>(i));
    if (fault != "missing barrier") __syncthreads();
    const float number = numbers.load((i + 32) % 64);
    if (fault == "race") numbers.store(i, 0);  // the other warp may still be reading
    if (fault == "out of bounds in shared memory" && i == 63) numbers.load(i + 1);
    out.store(fault == "out of bounds in global memory" ? i + 1 : i, number);
}

void between_lanes(const std::string &fault) {
    MMR_SHARED(float, pairs, 64);
    const int i = thread_index();
    pairs.store(i, static_cast<float>(i));
    if (fault != "missing __syncwarp") __syncwarp();
    pairs.load(i ^ 1);
}

void copied(const std::string &fault) {
    alignas(16) static const float numbers[4 * 64] = {};
    MMR_SHARED(float, copies, 4 * 64);
    const int i = 4 * thread_index();
    start_copy(copies, i, Global<const float>(numbers, 4 * 64, "numbers"), i);
    close_group_of_copies();
    if (fault != "copy not waited for") wait_for_copies<0>();
    copies.load(i);
}

void shared_out(const std::string &fault) {
    MMR_SHARED(float, rows, 4 * 64);
    const int i = 4 * thread_index();
    for (int k = 0; k < 4; ++k)
        if (fault != "row of a matrix not written" || i != 4 * 37) rows.store(i + k, static_cast<float>(i + k));
    if (fault != "matrices of another thread") __syncwarp();
    if (fault == "matrices with missing lanes" && i == 4 * 7) return;
    const int named = fault == "matrices of another thread" ? std::max(i - 4, 0) : i;
    load_matrices(rows, fault == "misaligned row of a matrix" ? named + 1 : named, 0);
}

void divergent(const std::string &fault) {
    const int i = thread_index();
    if (fault == "divergent barrier") {
        if (i < 32) __syncthreads();
        else __syncthreads();
    }
    if (fault == "barrier not reached" && i != 40) __syncthreads();
    if (fault == "shuffle with missing lanes" && i != 7) __shfl_xor_sync(~0u, i, 1);
    if (fault == "shuffle against barrier") {
        if (i == 3) __syncthreads();
        else __shfl_xor_sync(~0u, i, 1);
    }
    if (fault == "lane left out of the mask") __shfl_xor_sync(0xFFFFu, i, 1);
}

}  // namespace
}  // namespace mmr

namespace emulator {

void run_planted_fault(const std::string &name) {
    float out[64] = {};
    launch(2, 64, [&] {
        mmr::pass_on(name, mmr::Global<float>(out, 64, "out"));
        mmr::between_lanes(name);
        mmr::copied(name);
        mmr::shared_out(name);
        mmr::divergent(name);
    });
}

}  // namespace emulator
