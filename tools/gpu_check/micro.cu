// Latencies in cycles per step of a chain of dependent instructions, and bandwidth in GB/s; one "name value" per line.
// It needs compute capability 9.0, for the clusters.
#include "clock.h"

#include <algorithm>
#include <cooperative_groups.h>
#include <string>
#include <vector>

namespace cg = cooperative_groups;

constexpr int STEPS = 256;
constexpr long long READ_BYTES = 1LL << 30;

// cycles[0] gets what STEPS steps took; cycles[1] the last value, so that the compiler keeps them.
template <class Step> __device__ void chain(long long *cycles, unsigned value, Step step) {
    const long long begin = now();
#pragma unroll 16
    for (int i = 0; i < STEPS; ++i) value = step(value);
    const long long taken = now() - begin;
    if (threadIdx.x == 0 && blockIdx.x == 0) cycles[0] = taken, cycles[1] = value;
}

__global__ void redux(long long *cycles) {
    chain(cycles, threadIdx.x, [](unsigned x) { return __reduce_max_sync(~0u, x) + threadIdx.x; });
}
__global__ void shuffle(long long *cycles) {
    chain(cycles, threadIdx.x, [](unsigned x) { return __shfl_xor_sync(~0u, x, 1) + 1; });
}
__global__ void ballot(long long *cycles) {
    chain(cycles, threadIdx.x, [](unsigned x) { return x + __ffs(__ballot_sync(~0u, x & 1)); });
}
__global__ void barrier(long long *cycles) {
    chain(cycles, 0, [](unsigned x) { return __syncthreads(), x + 1; });
}
__global__ void shared_load(long long *cycles) {
    __shared__ unsigned next[1024];
    for (int i = threadIdx.x; i < 1024; i += blockDim.x) next[i] = (i + 33) % 1024;
    __syncthreads();
    chain(cycles, threadIdx.x, [](unsigned x) { return next[x]; });
}
__global__ void global_load(long long *cycles, const unsigned *next) {
    chain(cycles, 0, [=](unsigned x) { return __ldcg(next + x); });
}
__global__ void cluster_barrier(long long *cycles) {
    chain(cycles, 0, [](unsigned x) {
        asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
        return x + 1;
    });
}
__global__ void cluster_load(long long *cycles) {
    __shared__ unsigned next[1024];
    for (int i = threadIdx.x; i < 1024; i += blockDim.x) next[i] = (i + 33) % 1024;
    cg::cluster_group cluster = cg::this_cluster();
    cluster.sync();
    const unsigned *far = cluster.map_shared_rank(next, (cluster.block_rank() + 1) % cluster.num_blocks());
    chain(cycles, threadIdx.x & 31, [=](unsigned x) { return far[x]; });
    cluster.sync();
}
// One atomic per block, and everybody waits; all blocks must fit on the device at once.
__global__ void grid_barrier(long long *cycles, unsigned *arrived) {
    chain(cycles, gridDim.x, [=](unsigned all) {
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(arrived, 1u);
            while (*(volatile unsigned *)arrived < all) {}
            __threadfence();
        }
        __syncthreads();
        return all + gridDim.x;
    });
}
// Each block reads its share so many times over, with eight loads of 16 bytes per thread in flight.
__global__ void read_share(const uint4 *data, long long words, int rounds, unsigned *sink) {
    const long long share = words / gridDim.x;
    data += blockIdx.x * share;
    unsigned seen = 0;
    for (int round = 0; round < rounds; ++round)
        for (long long i = threadIdx.x; i + 7 * blockDim.x < share; i += 8 * blockDim.x) {
            uint4 some[8];
#pragma unroll
            for (int k = 0; k < 8; ++k) some[k] = __ldcg(data + i + k * blockDim.x);
#pragma unroll
            for (int k = 0; k < 8; ++k) seen += some[k].x ^ some[k].y ^ some[k].z ^ some[k].w ^ round;
        }
    if (seen == 0x12345) *sink = seen;
}

long long *cycles;
unsigned *counter;

// Launches twice, the first time to warm up unless `cold`, in clusters of so many blocks if they are named.
template <class... Parameters, class... Arguments>
void latency(const std::string &name, void (*kernel)(Parameters...), int blocks, int threads, int cluster, bool cold,
             Arguments... arguments) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = cluster, attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t configuration = {};
    configuration.gridDim = blocks, configuration.blockDim = threads;
    configuration.attrs = &attribute, configuration.numAttrs = cluster > 0;
    if (cluster > 8) check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    for (int launch = cold; launch < 2; ++launch) {
        check(cudaMemset(counter, 0, sizeof *counter));
        check(cudaLaunchKernelEx(&configuration, kernel, Parameters(arguments)...));
    }
    long long taken;
    check(cudaMemcpy(&taken, cycles, sizeof taken, cudaMemcpyDeviceToHost));
    std::printf("%s %.1f\n", name.c_str(), double(taken) / STEPS);
}

void load_latency(const std::string &name, long long bytes, bool cold) {
    const long long count = bytes / sizeof(unsigned), stride = 4099 * 32 % count;
    std::vector<unsigned> next(count);
    for (long long i = 0, place = 0; i < 8 * STEPS; ++i, place = (place + stride) % count)
        next[place] = unsigned((place + stride) % count);
    unsigned *data;
    check(cudaMalloc(&data, bytes));
    check(cudaMemcpy(data, next.data(), bytes, cudaMemcpyHostToDevice));
    void *sweep;  // larger than the last cache
    check(cudaMalloc(&sweep, 256 << 20));
    if (cold) check(cudaMemset(sweep, 1, 256 << 20));
    latency(name, global_load, 1, 1, 0, cold, cycles, data);
    check(cudaFree(sweep));
    check(cudaFree(data));
}

// Reads READ_BYTES in all, so that the launch, which the events count too, makes no difference.
void bandwidth(const std::string &name, const uint4 *data, long long bytes, int blocks, int threads) {
    const int rounds = int(READ_BYTES / bytes);
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin));
    check(cudaEventCreate(&end));
    std::vector<float> taken(15);
    for (float &milliseconds : taken) {
        check(cudaEventRecord(begin));
        read_share<<<blocks, threads>>>(data, bytes / sizeof *data, rounds, counter);
        check(cudaEventRecord(end));
        check(cudaEventSynchronize(end));
        check(cudaEventElapsedTime(&milliseconds, begin, end));
    }
    std::sort(taken.begin(), taken.end());
    std::printf("%s_%dx%d_gb_per_s %.0f\n", name.c_str(), blocks, threads, READ_BYTES / taken[7] / 1e6);
}

int main() {
    int multiprocessors;
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
    check(cudaMalloc(&cycles, 2 * sizeof *cycles));
    check(cudaMalloc(&counter, sizeof *counter));
    std::printf("multiprocessors %d\n", multiprocessors);
    latency("redux_and_add", redux, 1, 32, 0, false, cycles);
    latency("shuffle_and_add", shuffle, 1, 32, 0, false, cycles);
    latency("ballot_ffs_and_add", ballot, 1, 32, 0, false, cycles);
    for (int warps : {8, 16, 32}) latency("barrier_of_" + std::to_string(warps) + "_warps", barrier, 1, 32 * warps, 0, false, cycles);
    latency("shared_load", shared_load, 1, 32, 0, false, cycles);
    load_latency("l2_load", 1 << 20, false);
    load_latency("memory_load", 512 << 20, true);
    for (int blocks : {2, 4, 8, 16}) {
        latency("cluster_barrier_of_" + std::to_string(blocks), cluster_barrier, blocks, 256, blocks, false, cycles);
        latency("cluster_load_of_" + std::to_string(blocks), cluster_load, blocks, 256, blocks, false, cycles);
    }
    for (int blocks : {8, 32, multiprocessors})
        latency("grid_barrier_of_" + std::to_string(blocks), grid_barrier, blocks, 256, 0, false, cycles, counter);
    for (const auto &[name, bytes] : {std::pair("read_l2", 8LL << 20), std::pair("read_memory", READ_BYTES)}) {
        uint4 *data;
        check(cudaMalloc(&data, bytes));
        check(cudaMemset(data, 1, bytes));
        for (int blocks : {1, 8, 16, 32, 64, multiprocessors, 2 * multiprocessors})
            bandwidth(name, data, bytes, blocks, 1024);
        check(cudaFree(data));
    }
}
