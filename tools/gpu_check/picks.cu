// Cycles of one pick of the greedy loop, as the CUDA kernel has it, by one warp alone; one "name value" per line.
#include "clock.h"
#include "picks.h"

namespace mmr {
namespace {

// Some number between 0 and 1.
MMR_DEVICE float drawn(uint32_t seed) { return static_cast<float>((seed * 2654435761u + 12345u) * 2246822519u >> 8) * 0x1p-24f; }

// cycles[0] gets what all picks took; ranks and scores are written, so that the compiler keeps them.
template <int P>
__global__ void picks(long long *cycles, float *results, int size) {
    MMR_SHARED_OF_LAUNCH(memory, 0);
    const Square similarity(memory, size);
    for (int place = lane_index(); place < size * similarity.stride; place += 32) memory.store(place, drawn(place));
    __syncwarp();
    float score[P], weighted[P], nearest[P] = {};
    float taken[2 * P];
#pragma unroll
    for (int k = 0; k < P; ++k) {
        score[k] = drawn(member<P>(k) + 77777);
        weighted[k] = 0.7f * score[k];
    }
    const long long begin = now();
    pick_greedily<P>(-0.3f, score, weighted, nearest, size, similarity.row_bytes(), [](int32_t) { return INT32_MAX; },
                     [&](int place, float(&of_pick)[P]) { similarity.row_from<P>(place, of_pick); },
                     [&](int k, float own, int step) {
                         taken[2 * k] = own;
                         taken[2 * k + 1] = static_cast<float>(step);
                     });
    const long long end = now();
    if (lane_index() == 0) cycles[0] = end - begin;
#pragma unroll
    for (int k = 0; k < 2 * P; ++k) results[lane_index() * 2 * P + k] = taken[k];
}

template <int P>
void measure() {
    constexpr int words = 32 * P * (32 * P + 4);
    long long *cycles, taken;
    float *results;
    check(cudaMalloc(&cycles, sizeof *cycles));
    check(cudaMalloc(&results, 64 * P * sizeof *results));
    check(cudaFuncSetAttribute(picks<P>, cudaFuncAttributeMaxDynamicSharedMemorySize, 4 * words));
    for (int launch = 0; launch < 2; ++launch) {  // the first one warms up
        picks<P><<<1, 32, 4 * words>>>(cycles, results, 32 * P);
        check(cudaGetLastError());
    }
    check(cudaMemcpy(&taken, cycles, sizeof taken, cudaMemcpyDeviceToHost));
    std::printf("pick_of_%d %.1f\n", 32 * P, static_cast<double>(taken) / (32 * P));
}

}  // namespace
}  // namespace mmr

int main() {
    mmr::measure<1>();
    mmr::measure<2>();
    mmr::measure<4>();
}
