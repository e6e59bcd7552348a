// CUDA's names, for code compiled by the host: what csrc/cuda/platform.h gives to nvcc, the emulator gives here.
#pragma once
#include <algorithm>
#include <cmath>

#include "memory.h"

#ifndef MMR_TARGET
#error "MMR_TARGET: the compute capability to emulate, as __CUDA_ARCH__ has it (750, 900)"
#endif

#define MMR_DEVICE inline
#define MMR_DEVICE_CALL inline
#define MMR_PARAMETER const
#define MMR_KERNEL(blocks_beside) void
#define MMR_LAUNCH(kernel, grid, threads, shared_words, stream, ...) \
    (static_cast<void>(stream), static_cast<void>(shared_words), emulator::launch(grid, threads, [=] { kernel(__VA_ARGS__); }))
#define MMR_SHARED(T, name, count) const auto name = emulator::shared_array<T>(#name, count)
#define MMR_SHARED_OF_LAUNCH(name, words) const auto name = emulator::shared_array<float>(#name, words)
#define MMR_PHASE(name) emulator::enter_phase(name)

#define __syncthreads() emulator::sync_threads({__FILE__, __LINE__})
#define __syncthreads_count(value) emulator::sync_threads_count(value, {__FILE__, __LINE__})
#define __syncwarp() emulator::sync_warp({__FILE__, __LINE__})
#define __shfl_sync(mask, value, source) emulator::shuffle(mask, value, source, {__FILE__, __LINE__})
#define __shfl_xor_sync(mask, value, lanes) emulator::shuffle_xor(mask, value, lanes, {__FILE__, __LINE__})
#define __ballot_sync(mask, value) emulator::ballot(mask, value, {__FILE__, __LINE__})

namespace mmr {
namespace {  // one a target: several are linked into one module

constexpr int target = MMR_TARGET;

template <class T>
using Shared = emulator::Shared<T>;
template <class T>
using Global = emulator::Global<T>;

struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct uint4 {
    uint32_t x, y, z, w;
};

template <class T>
void start_copy(const Shared<float> &to, int i, const Global<const T> &from, int64_t k) {
    const float4 value = from.template load16<float4>(k);
    if (target >= 800) to.store16_later(i, value);
    else to.store16(i, value);
}
inline void close_group_of_copies() { emulator::self().copies.emplace_back(); }
template <int groups>
void wait_for_copies() {
    emulator::finish_copies(groups);
}

struct {
    struct {
        operator int() const { return emulator::self().index; }
    } x;
} const threadIdx;
struct {
    struct {
        operator int() const { return emulator::launch_state().block; }
    } x;
} const blockIdx;
struct {
    struct {
        operator int() const { return emulator::launch_state().grid; }
    } x;
} const gridDim;

inline int __ffs(uint32_t bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
inline void __threadfence() {}
inline float __uint_as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline uint32_t atomicAdd(uint32_t *address, uint32_t value) {
    const uint32_t old = *address;
    *address += value;
    return old;
}
using std::max;
using std::min;

inline float from_half(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, magnitude = half & 0x7FFF;
    if (magnitude >= 0x7C00) return __uint_as_float(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);  // inf, NaN
    // Shifted into place, the exponent is off by 112: a product puts it right, for subnormal numbers too.
    return __uint_as_float(sign | magnitude << 13) * 0x1p112f;
}

// ldmatrix: each lane reads the row that it names, then they are shared out.
struct Matrices {
    static void perform(void *const *data, uint32_t) {
        auto *const *lanes = reinterpret_cast<uint32_t(*const *)[2][4]>(data);
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) (*lanes[lane])[1][i] = (*lanes[8 * i + lane / 4])[0][lane % 4];
    }
};
inline uint4 load_matrices(const Shared<float> &from, int i, int bytes, const char *file = __builtin_FILE(),
                           int line = __builtin_LINE()) {
    const uint4 row = from.template load16_after<uint4>(i, bytes, file, line);
    uint32_t named_and_got[2][4] = {{row.x, row.y, row.z, row.w}};
    emulator::collective({"ldmatrix", {file, line}, ~0u, &named_and_got, Matrices::perform,
                          &emulator::Counts::matrix_loads});
    const auto &got = named_and_got[1];
    return {got[0], got[1], got[2], got[3]};
}

struct TensorOperands {
    float *sum;
    uint32_t a[4], b[2];
};

// m16n8k16 with exact products and an exact sum, rounded once; a GPU rounds more often, no worse than float32 does.
template <bool bfloat>
struct TensorProduct {
    static double element(uint32_t pair, int half) {
        const uint16_t bits = static_cast<uint16_t>(pair >> (16 * half));
        return bfloat ? __uint_as_float(static_cast<uint32_t>(bits) << 16) : from_half(bits);
    }
    // Lane 4 g + q holds A[g, g + 8][2 q, 2 q + 1, 2 q + 8, 2 q + 9], B[2 q, 2 q + 1, 2 q + 8, 2 q + 9][g] and
    // C[g, g + 8][2 q, 2 q + 1].
    static void perform(void *const *data, uint32_t) {
        const auto *lanes = reinterpret_cast<TensorOperands *const *>(data);
        double a[16][16], b[16][8];
        for (int g = 0; g < 8; ++g)
            for (int q = 0; q < 4; ++q)
                for (int half = 0; half < 2; ++half) {
                    const TensorOperands &lane = *lanes[4 * g + q];
                    for (int i = 0; i < 4; ++i) a[g + 8 * (i % 2)][2 * q + 8 * (i / 2) + half] = element(lane.a[i], half);
                    for (int i = 0; i < 2; ++i) b[2 * q + 8 * i + half][g] = element(lane.b[i], half);
                }
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                double sum = static_cast<double>(lanes[lane]->sum[i]);
                for (int k = 0; k < 16; ++k) sum += a[lane / 4 + 8 * (i / 2)][k] * b[k][lane % 4 * 2 + i % 2];
                lanes[lane]->sum[i] = static_cast<float>(sum);
            }
    }
};

template <bool bfloat>
void tensor_product(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    TensorOperands mine{sum, {a0, a1, a2, a3}, {b0, b1}};
    emulator::collective({"mma.sync", {__FILE__, __LINE__}, ~0u, &mine, TensorProduct<bfloat>::perform,
                      &emulator::Counts::tensor_products});
}

template <class Integer>
Integer warp_max(Integer value) {
    if (target >= 800) return emulator::reduce_max(~0u, value, {__FILE__, __LINE__});
    for (int offset = 16; offset; offset /= 2) value = max(value, __shfl_xor_sync(~0u, value, offset));
    return value;
}
template <class Integer>
Integer warp_min(Integer value) {
    return ~warp_max(~value);
}

}  // namespace
}  // namespace mmr
