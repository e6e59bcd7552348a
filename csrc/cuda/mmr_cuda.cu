// The CUDA kernel: one launch per call. A block takes a group; where something spans groups (scope="batch" picks across
// them, scale="batch" divides by a deviation over them), the block that finishes last does that part: one owner, so the
// order of every sum is fixed. The emulator compiles this file too (csrc/emulator).
#include "mmr_cuda.h"

#include "large.h"

// Elements of S that ragged groups, whose sizes the host doesn't know, may share: 64 MB.
#ifndef MMR_SIMILARITY_BUDGET
#define MMR_SIMILARITY_BUDGET (int64_t{1} << 24)
#endif
#ifndef MMR_ENTRY
#define MMR_ENTRY solve_on_device
#endif

namespace mmr {
namespace {

// True in one block, that which comes here last, for all its threads: the work of every other block is then visible to it.
MMR_DEVICE bool is_last_block(uint32_t *finished_blocks, const Shared<float> &memory) {
    if (gridDim.x == 1) {
        __syncthreads();
        return true;
    }
    __threadfence();
    __syncthreads();
    if (thread_index() == 0)
        memory.store(0, atomicAdd(finished_blocks, 1u) == static_cast<uint32_t>(gridDim.x) - 1 ? 1.0f : 0.0f);
    __syncthreads();
    const bool last = memory.load(0) == 1;
    __syncthreads();
    __threadfence();
    return last;
}

// `large`: scopes may have more than 32 P members, and how many, only the device knows.
template <class Element, int P, bool large>
MMR_KERNEL mmr_kernel(MMR_PARAMETER Problem p, const Work work) {
    MMR_SHARED(float, memory, stage_words);
    MMR_SHARED(float, scale, 2 * tile_side);
    const Buffers buffers(p, work);
    const bool later = p.batch_scope() || p.scale == Scale::batch;  // advantages wait for all blocks
    const bool advantages = buffers.advantages && !later;

    const int64_t scope = p.batch_scope() ? 0 : static_cast<int64_t>(blockIdx.x);
    const Range range = range_of_scope(p, buffers, scope);
    if (!large || range.count <= 32 * P) {
        small_scope<Element, P>(p, work, buffers, memory, scale, scope, range, advantages);
    } else {
        const LargeScope<Element> whole(p, work, buffers, memory, scale, scope, range);
        bool complete = true;
        if (whole.needs_products() && whole.stored) {
            // Of a batch each block forms its tiles; a group's one block forms all.
            const int first = p.batch_scope() ? static_cast<int>(blockIdx.x) : 0;
            const int step = p.batch_scope() ? static_cast<int>(gridDim.x) : 1;
            for (int tile = first; tile < whole.tiles(); tile += step) whole.form_tile(tile);
            if (p.batch_scope()) complete = is_last_block(work.finished_blocks, memory);
        }
        if (!complete) return;
        whole.reweight();
        if (advantages && warp_index() == 0) group_advantages(p, buffers, range, scope, 0);
    }
    if (!later || !buffers.advantages) return;
    if (!p.batch_scope() && !is_last_block(work.finished_blocks, memory)) return;
    all_advantages(p, work, scale);
}

// ---- Launch ----------------------------------------------------------------------------------------------------

struct Plan {
    int64_t grid, largest;       // blocks; members of the largest scope, as far as the host knows
    int64_t capacity;            // see Work
    int64_t state, similarity, counts;  // elements of scratch
    bool counts_blocks;
};

Plan plan_of(const Problem &p) {
    const int64_t n = p.num_completions;
    const bool ragged = !p.batch_scope() && p.group_offsets;
    Plan plan{};
    plan.largest = p.batch_scope() || ragged ? n : p.group_size;
    plan.grid = p.batch_scope() ? 1 : p.num_groups;
    const bool products = p.needs_similarity() && !p.similarity;
    if (plan.largest > 128) {
        plan.state = 3 * n;
        const bool in_place = p.method == Method::dpp;  // works on S itself, so it is there
        const bool all_fit = in_place || !ragged || n * n <= MMR_SIMILARITY_BUDGET;
        plan.capacity = !products && !in_place ? 0 : all_fit ? plan.largest : MMR_SIMILARITY_BUDGET / n;
        plan.similarity = n * plan.capacity;
        const int64_t side = (n + tile_side - 1) / tile_side;
        if (p.batch_scope() && products) plan.grid = side * (side + 1) / 2;
    }
    const bool later = p.batch_scope() || p.scale == Scale::batch;
    if (p.weighs() && p.advantages && (later || plan.largest > 128)) plan.counts = n;
    plan.counts_blocks = plan.grid > 1 && later;
    return plan;
}

template <class Element>
void launch(const Problem &p, const Plan &plan, const Work &work, void *stream) {
    if (plan.largest > 128) MMR_LAUNCH((mmr_kernel<Element, 4, true>), plan.grid, block_threads, stream, p, work);
    else if (plan.largest > 64) MMR_LAUNCH((mmr_kernel<Element, 4, false>), plan.grid, block_threads, stream, p, work);
    else if (plan.largest > 32) MMR_LAUNCH((mmr_kernel<Element, 2, false>), plan.grid, block_threads, stream, p, work);
    else MMR_LAUNCH((mmr_kernel<Element, 1, false>), plan.grid, block_threads, stream, p, work);
}

void launch(const Problem &p, const Plan &plan, const Work &work, void *stream) {
    if (!p.embeddings || p.embedding_dtype == DType::float32) launch<float>(p, plan, work, stream);
    else if (p.embedding_dtype == DType::bfloat16) launch<bfloat16>(p, plan, work, stream);
    else launch<float16>(p, plan, work, stream);
}

#ifdef __CUDACC__
std::string error_text(cudaError_t error, const char *where, const Plan &plan, int device) {
    return std::string(where) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + "; device " +
           std::to_string(device) + ", " + std::to_string(plan.grid) + " blocks of " + std::to_string(block_threads) +
           " threads, largest scope " + std::to_string(plan.largest) + ")";
}

// Makes a device current for as long as it lives.
struct DeviceGuard {
    int before = -1;
    cudaError_t error;
    explicit DeviceGuard(int device) {
        error = cudaGetDevice(&before);
        if (error == cudaSuccess && before != device) error = cudaSetDevice(device);
        else before = -1;
    }
    ~DeviceGuard() {
        if (before >= 0) cudaSetDevice(before);
    }
};
#endif

}  // namespace

std::string MMR_ENTRY(const Problem &p, int device, void *stream, const Allocate &allocate) {
    const Plan plan = plan_of(p);
    if (plan.grid == 0) return "";
    if (plan.grid > INT32_MAX) return "a launch takes at most 2^31 - 1 groups, got " + std::to_string(plan.grid);
    Work work{};
    const int64_t element_bytes = p.embedding_dtype == DType::float32 ? 4 : 2;
    work.aligned = reinterpret_cast<uintptr_t>(p.embeddings) % 16 == 0 && p.dim * element_bytes % 16 == 0;
    work.capacity = plan.capacity;
    if (plan.counts_blocks || plan.state || plan.counts) {
        constexpr int64_t counter_bytes = 16;
        char *scratch = static_cast<char *>(allocate(counter_bytes + 4 * (plan.state + plan.similarity + plan.counts)));
        work.finished_blocks = reinterpret_cast<uint32_t *>(scratch);
        work.state = reinterpret_cast<float *>(scratch + counter_bytes);
        if (plan.similarity) work.similarity = work.state + plan.state;
        if (plan.counts) work.counts = work.state + plan.state + plan.similarity;
    }
#ifdef __CUDACC__
    const DeviceGuard guard(device);
    if (guard.error != cudaSuccess) {
        cudaGetLastError();  // an error that is reported does not stay for the next call to find
        return error_text(guard.error, "cudaSetDevice", plan, device);
    }
    if (plan.counts_blocks) {
        const cudaError_t error =
            cudaMemsetAsync(work.finished_blocks, 0, sizeof(uint32_t), static_cast<cudaStream_t>(stream));
        if (error != cudaSuccess) {
            cudaGetLastError();
            return error_text(error, "cudaMemsetAsync", plan, device);
        }
    }
    launch(p, plan, work, stream);
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? "" : error_text(error, "launch of mmr_kernel", plan, device);
#else
    static_cast<void>(device);
    if (plan.counts_blocks) *work.finished_blocks = 0;
    launch(p, plan, work, stream);
    return "";
#endif
}

}  // namespace mmr
