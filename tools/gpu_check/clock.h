// What both programs of the phase "micro" need: errors of CUDA that end them, and the device's own clock.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

inline void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
    std::exit(1);
}

// Nothing moves across it, loads neither.
__device__ inline long long now() {
    long long cycles;
    asm volatile("mov.u64 %0, %clock64;" : "=l"(cycles)::"memory");
    return cycles;
}
