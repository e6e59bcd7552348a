// The CUDA kernel: one launch per call. A block takes a group; where something spans groups (scope="batch" picks across
// them, scale="batch" divides by a deviation over them), the block that finishes last does that part: one owner, so the
// order of every sum is fixed. The emulator compiles this file too (csrc/emulator).
#include "mmr_cuda.h"

#ifdef __CUDACC__
#include <atomic>
#endif

#include "large.h"

// Elements of S that ragged groups of any size may share: 64 MB.
#ifndef MMR_SIMILARITY_BUDGET
#define MMR_SIMILARITY_BUDGET (int64_t{1} << 24)
#endif
// And that groups whose size is known may, of uniform ones as many blocks' as there is room for: 512 MB.
#ifndef MMR_KNOWN_BUDGET
#define MMR_KNOWN_BUDGET (int64_t{1} << 27)
#endif
#ifndef MMR_ENTRY
#define MMR_ENTRY solve_on_device
#endif

namespace mmr {
namespace {

// True in one block, that which comes here last, for all its threads: the work of every other block is then visible to
// it. A barrier hands a block's writes to its first thread, whose fence, on either side of the counter, hands them on.
MMR_DEVICE bool is_last_block(uint32_t *finished_blocks, const Shared<float> &notes) {
    __syncthreads();
    if (gridDim.x == 1) return true;
    if (thread_index() == 0) {
        __threadfence();
        notes.store(0, atomicAdd(finished_blocks, 1u) == static_cast<uint32_t>(gridDim.x) - 1 ? 1.0f : 0.0f);
        __threadfence();
    }
    __syncthreads();
    const bool last = notes.load(0) == 1;
    __syncthreads();
    return last;
}

// One scope of any size; false in a block that has formed its tiles of a batch and leaves the rest to the last one. Not
// inlined, so that what it keeps is its own.
template <class Element>
MMR_DEVICE_CALL bool large_scope(const Problem &p, const Work &work, int64_t scope, bool advantages) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const Range range = range_of_scope(p, buffers, scope);
    const auto made = [&] { return LargeScope<Element>(p, work, buffers, memory, notes, scope, range); };
    if (const auto whole = made(); whole.needs_square()) {
        const int first = p.batch_scope() ? static_cast<int>(blockIdx.x) : 0;
        const int step = p.batch_scope() ? static_cast<int>(gridDim.x) : 1;
        for (int tile = first; tile < whole.tiles(); tile += step) whole.form(tile);
        if (p.batch_scope() && !is_last_block(work.finished_blocks, notes)) return false;
    }
    made().reweight();  // made anew, or what tiles don't need would hold registers meanwhile
    if (advantages && warp_index() == 0) group_advantages(p, buffers, range, scope, 0);
    return true;
}

// P: 1 where every scope has at most 32 members, and else 4.
template <class Element, int P>
MMR_KERNEL(P == 1 ? 2 : 1) mmr_kernel(MMR_PARAMETER Problem p, MMR_PARAMETER Work work) {
    MMR_BLOCK_MEMORY(notes, memory);
    const Buffers buffers(p, work);
    const bool later = p.batch_scope() || p.scale == Scale::batch;  // advantages wait for all blocks
    const bool advantages = buffers.advantages && !later;

    // Of a batch every block takes its tiles of S; of groups one after the other, where there are more than blocks.
    const int64_t scopes = p.batch_scope() ? 1 : p.num_groups;
    for (int64_t scope = p.batch_scope() ? 0 : blockIdx.x; scope < scopes; scope += gridDim.x) {
        const Range range = range_of_scope(p, buffers, scope);
        if (P == 1 || range.count <= room.members)
            small_scope<Element, P>(p, work, buffers, memory, notes, scope, range, advantages);
        else if (!large_scope<Element>(p, work, scope, advantages))
            return;
        if (scope + gridDim.x < scopes) __syncthreads();
    }
    if (!later || !buffers.advantages) return;
    if (!p.batch_scope() && !is_last_block(work.finished_blocks, notes)) return;
    all_advantages(p, work);
}

// ---- Launch ----------------------------------------------------------------------------------------------------

struct Plan {
    int64_t grid, largest;       // blocks; members of the largest scope, as far as the host knows
    int64_t capacity;            // see Work
    int64_t state, similarity, counts;  // elements of scratch
    int room_words;              // of shared memory
    bool counts_blocks;
};

Plan plan_of(const Problem &p, const Room &room) {
    const int64_t n = p.num_completions;
    const bool ragged = !p.batch_scope() && p.group_offsets;
    Plan plan{};
    plan.largest = p.batch_scope() ? n : p.max_group_size;
    plan.grid = p.batch_scope() ? 1 : p.num_groups;
    plan.room_words = room.words;
    if (plan.largest <= 32) {
        // Chunks of rows, or in their place S and, before it, partial sums of three tiles from seven warps: the least
        // that is needed, so that blocks fit beside one another. Chunks of fewer rows may be longer.
        const int element_bytes = p.embedding_dtype == DType::float32 ? 4 : 2;
        constexpr int64_t partial_sums = 7 * 3 * 256;
        int64_t words = partial_sums;
        for (int64_t rows = ragged ? 1 : plan.largest; rows <= plan.largest; ++rows) {
            const int64_t ring = room.stages * rows * chunk_words(room, rows, p.dim, element_bytes);
            words = ring > words ? ring : words;
        }
        plan.room_words = static_cast<int>(words);
    }
    if (plan.largest > room.members) {
        plan.state = 3 * state_stride(p);
        const bool in_place = p.method == Method::dpp;  // works on S itself, so it is there
        const int64_t budget = plan.largest < n ? MMR_KNOWN_BUDGET : MMR_SIMILARITY_BUDGET;
        const bool all_fit = in_place || !ragged || n * plan.largest <= budget;
        plan.capacity = !p.needs_similarity() ? 0 : all_fit ? padded(plan.largest) : budget / n / 4 * 4;
        const int64_t side = (n + tile_side - 1) / tile_side, square = plan.capacity * plan.capacity;
        if (p.batch_scope()) {
            plan.similarity = square;
            if (p.needs_similarity()) plan.grid = side * (side + 1) / 2;
        } else if (ragged) {
            plan.similarity = n * plan.capacity;
        } else {
            const int64_t squares = square ? MMR_KNOWN_BUDGET / square : plan.grid;
            plan.grid = plan.grid < squares ? plan.grid : squares > 1 ? squares : 1;
            plan.similarity = plan.grid * square;
        }
    }
    const bool later = p.batch_scope() || p.scale == Scale::batch;
    if (p.weighs() && p.advantages && (later || plan.largest > room.members)) plan.counts = n;
    plan.counts_blocks = plan.grid > 1 && later;
    return plan;
}

#ifdef __CUDACC__
// More shared memory than every kernel may have is asked for once per kernel and device.
template <auto kernel>
cudaError_t allow_room(int device, int words) {
    static std::atomic<uint64_t> allowed{0};
    const uint64_t bit = uint64_t{1} << (device % 64);
    if (words * 4 <= 48 * 1024 || (device < 64 && allowed.load() & bit)) return cudaSuccess;
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   (note_words + room_of(800).words) * 4);
    if (error == cudaSuccess) allowed.fetch_or(bit);
    return error;
}
#endif

template <class Element, int P>
auto launch(const Problem &p, const Plan &plan, const Work &work, int device, void *stream) {
    const int words = note_words + plan.room_words;
#ifdef __CUDACC__
    if (const cudaError_t error = allow_room<mmr_kernel<Element, P>>(device, words); error != cudaSuccess) return error;
#endif
    MMR_LAUNCH((mmr_kernel<Element, P>), plan.grid, block_threads, words, stream, p, work);
#ifdef __CUDACC__
    return cudaGetLastError();
#else
    return device;
#endif
}

auto launch(const Problem &p, const Plan &plan, const Work &work, int device, void *stream) {
    const bool half = p.embeddings && p.embedding_dtype != DType::float32;
    if (half && plan.largest <= 32) return launch<Half, 1>(p, plan, work, device, stream);
    if (half) return launch<Half, 4>(p, plan, work, device, stream);
    if (plan.largest <= 32) return launch<float, 1>(p, plan, work, device, stream);
    return launch<float, 4>(p, plan, work, device, stream);
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
#ifdef __CUDACC__
    int major = 0;
    if (const cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device)) {
        cudaGetLastError();  // an error that is reported does not stay for the next call to find
        return error_text(error, "cudaDeviceGetAttribute", plan_of(p, room_of(800)), device);
    }
    constexpr int built_for[] = {__CUDA_ARCH_LIST__};  // ascending; a newer device runs the code of the last
    const int newest = built_for[sizeof built_for / sizeof *built_for - 1];
    const Plan plan = plan_of(p, room_of(major * 100 < newest ? major * 100 : newest));
#else
    const Plan plan = plan_of(p, room);
#endif
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
        cudaGetLastError();
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
    const cudaError_t error = launch(p, plan, work, device, stream);
    return error == cudaSuccess ? "" : error_text(error, "launch of mmr_kernel", plan, device);
#else
    if (plan.counts_blocks) *work.finished_blocks = 0;
    launch(p, plan, work, device, stream);
    return "";
#endif
}

}  // namespace mmr
