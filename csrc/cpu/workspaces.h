// Memory of one call: all workspaces in one block, none of whose arrays shares a cache line with another's.
#pragma once
#include <memory>
#include <new>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "mmr_cpu.h"

namespace mmr {
namespace {

// `together` workspaces per thread, in one block of memory: for scopes of up to `largest` members in the first thread,
// which holds those that threads share, and of up to `largest_apart` in the others.
class Workspaces {
  public:
    Workspaces(const Problem &p, int threads, int together, int64_t largest, int64_t largest_apart)
        : together(together) {
        constexpr int64_t longest_vector = 16;  // floats, on any instruction set
        const bool squares = p.needs_similarity();
        const bool widen = squares && p.embeddings && p.embedding_dtype != DType::float32;
        each.resize(static_cast<size_t>(threads) * static_cast<size_t>(together));
        for (int pass = 0; pass < 2; ++pass) {  // first to count, then to carve
            used = 0;
            for (Workspace &w : each) {
                const int64_t most = &w < each.data() + together ? largest : largest_apart;
                const int64_t stride = (most + longest_vector - 1) / longest_vector * longest_vector;
                w.similarity = carve<float>(squares ? stride * stride : 0);
                w.widened = carve<float>(widen ? (most + 31) / 32 * 32 * ((p.dim + 31) / 32 * 32) : 0);  // whole tiles
                w.rows = carve<const float *>(stride);
                w.members = carve<int64_t>(stride);
                w.rank = carve<int32_t>(stride);
                w.scale = carve<float>(stride);
                w.rewards = carve<float>(stride);
                w.scores = carve<float>(2 * stride);
                w.nearest = carve<float>(stride);
                w.reweighted = carve<float>(stride);
                w.max_similarity = carve<float>(stride);
                w.queue = carve<int32_t>(p.has_threshold() ? stride : 0);
                w.centred = carve<float>(stride);
                w.weights = carve<double>(stride);
                w.weighed = carve<double>(stride);
                w.counts = carve<double>(p.counts() ? stride : 0);
                w.gains = carve<double>(p.method == Method::dpp ? stride : 0);
                w.roots = carve<double>(p.method == Method::dpp ? stride : 0);
                w.matrix = carve<double>(p.method == Method::dpp ? stride * stride : 0);
                w.labels = carve<int64_t>(p.labels ? 2 * stride : 0);
                if (pass) pointers.push_back(&w);
            }
            if (!pass) memory.reset(static_cast<char *>(::operator new(used, line)));
        }
    }
    Workspace *const *of_thread(int thread) const { return pointers.data() + thread * together; }

  private:
    template <class T>
    T *carve(int64_t count) {
        const size_t begin = used, end = begin + static_cast<size_t>(count) * sizeof(T), size = static_cast<size_t>(line);
        used = (end + size - 1) / size * size;
#if defined(__SANITIZE_ADDRESS__)
        used += size;  // a gap that no one may touch, or one array's overrun would be another's element
        if (memory) ASAN_POISON_MEMORY_REGION(memory.get() + end, used - end);
#endif
        return memory ? reinterpret_cast<T *>(memory.get() + begin) : nullptr;
    }
    int together;
    size_t used = 0;
    std::vector<Workspace> each;
    std::vector<Workspace *> pointers;
    static constexpr std::align_val_t line{64};
    struct Free {
        void operator()(char *block) const { ::operator delete(block, line); }
    };
    std::unique_ptr<char, Free> memory;
};

}  // namespace
}  // namespace mmr
