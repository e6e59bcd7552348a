// What the kernel is written in: CUDA, and views of memory that are bare pointers there. Compiled by a host compiler
// the same names come from the emulator (csrc/emulator), where every access and every barrier is checked.
#pragma once
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define MMR_DEVICE __device__ __forceinline__
#define MMR_DEVICE_CALL __device__ __noinline__
#define MMR_PARAMETER const __grid_constant__  // may be passed on by reference without a copy
#define MMR_KERNEL(blocks_beside) __global__ void __launch_bounds__(256, blocks_beside)
#define MMR_LAUNCH(kernel, grid, threads, shared_words, stream, ...)                                         \
    kernel<<<static_cast<unsigned>(grid), threads, 4 * (shared_words), static_cast<cudaStream_t>(stream)>>>( \
        __VA_ARGS__)
// Of as many words as the launch asked for.
#define MMR_SHARED_OF_LAUNCH(name, words)          \
    extern __shared__ __align__(16) float memory_of_launch[]; \
    const Shared<float> name(memory_of_launch)
#define MMR_PHASE(name)

namespace mmr {
namespace {

#ifdef __CUDA_ARCH__
constexpr int target = __CUDA_ARCH__;
#else
constexpr int target = 0;  // the host's pass over the source: no kernel's body runs there
#endif

template <class T>
struct Shared {
    T *data;
    MMR_DEVICE explicit Shared(T *data) : data(data) {}
    MMR_DEVICE T load(int i) const { return data[i]; }
    MMR_DEVICE void store(int i, T value) const { data[i] = value; }
    template <class Vector>
    MMR_DEVICE Vector load16(int i) const {
        return *reinterpret_cast<const Vector *>(data + i);
    }
    // Of `bytes` behind the i-th element: where i is a lane's own, one addition is all that an address takes.
    template <class Vector>
    MMR_DEVICE Vector load16_after(int i, int bytes) const {
        return *reinterpret_cast<const Vector *>(reinterpret_cast<const char *>(data + i) + bytes);
    }
    template <class Vector>
    MMR_DEVICE void store16(int i, Vector value) const {
        *reinterpret_cast<Vector *>(data + i) = value;
    }
    MMR_DEVICE T add(int i, T value) const { return atomicAdd(data + i, value); }
    MMR_DEVICE Shared from(int i) const { return Shared(data + i); }
    template <class U>
    MMR_DEVICE Shared<U> as() const {
        return Shared<U>(reinterpret_cast<U *>(data));
    }
};

template <class T>
struct Global {
    T *data = nullptr;
    Global() = default;
    MMR_DEVICE Global(T *data, int64_t, const char *) : data(data) {}
    MMR_DEVICE explicit operator bool() const { return data != nullptr; }
    MMR_DEVICE T load(int64_t i) const { return data[i]; }
    MMR_DEVICE void store(int64_t i, T value) const { data[i] = value; }
    template <class Vector>
    MMR_DEVICE Vector load16(int64_t i) const {
        if constexpr (std::is_const_v<T>) return __ldg(reinterpret_cast<const Vector *>(data + i));  // no kernel writes it
        __builtin_assume(__isGlobal(data + i));
        return *reinterpret_cast<const Vector *>(data + i);
    }
    template <class Vector>
    MMR_DEVICE void store16(int64_t i, Vector value) const {
        *reinterpret_cast<Vector *>(data + i) = value;
    }
};

// Starts to bring 16 bytes to shared memory, in the thread's newest group of copies. Before 8.0 they are there at once.
template <class T>
MMR_DEVICE void start_copy(const Shared<float> &to, int i, const Global<const T> &from, int64_t k) {
    if constexpr (target >= 800) {
        const uint32_t place = static_cast<uint32_t>(__cvta_generic_to_shared(to.data + i));
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from.data + k) : "memory");
    } else {
        to.store16(i, from.template load16<float4>(k));
    }
}
MMR_DEVICE void close_group_of_copies() {
    if constexpr (target >= 800) asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until at most `groups` closed groups of this thread's copies are under way.
template <int groups>
MMR_DEVICE void wait_for_copies() {
    if constexpr (target >= 800) asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

MMR_DEVICE float from_half(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// Four matrices of eight rows of 16 bytes: lane l names the row l % 8 of matrix l / 8, `bytes` behind the i-th element, and
// gets of each matrix, in turn, word l % 4 of row l / 4: as operands of a tensor product lie.
MMR_DEVICE uint4 load_matrices(const Shared<float> &from, int i, int bytes) {
    const uint32_t place = static_cast<uint32_t>(__cvta_generic_to_shared(from.data + i)) + bytes;
    uint4 part;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(part.x), "=r"(part.y), "=r"(part.z), "=r"(part.w)
                 : "r"(place)
                 : "memory");
    return part;
}

// sum += A B for A 16 by 16, row-major, and B 16 by 8, column-major, spread over the warp as PTX lays out m16n8k16.
template <bool bfloat>
MMR_DEVICE void tensor_product(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                               uint32_t b1) {
    if constexpr (target < 800) {
        __trap();  // older targets never come here: m16n8k16 is not theirs
    } else if constexpr (bfloat) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }
}

// The largest of the warp's values, on every lane, and the smallest.
template <class Integer>
MMR_DEVICE Integer warp_max(Integer value) {
    if constexpr (target >= 800) {
        return __reduce_max_sync(~0u, value);
    } else {
        for (int offset = 16; offset; offset /= 2) value = max(value, __shfl_xor_sync(~0u, value, offset));
        return value;
    }
}
template <class Integer>
MMR_DEVICE Integer warp_min(Integer value) {
    if constexpr (target >= 800) return __reduce_min_sync(~0u, value);
    else return ~warp_max(~value);
}

}  // namespace
}  // namespace mmr

#else
#include "../emulator/cuda.h"
#endif
