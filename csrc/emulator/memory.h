// Memory as emulated code sees it: every access is checked against the bounds of its array, every access to shared
// memory also against its neighbours in time. Two accesses of one word by two threads, one of them a write, are a race
// unless a __syncthreads, or for lanes of one warp a __syncwarp, stands between them. Shared memory starts poisoned,
// and reading a word that nobody wrote is an error.
#pragma once
#include "emulator.h"

namespace emulator {

// What is known of one 4-byte word of shared memory.
struct Word {
    bool written = false;
    bool under_way = false;  // a copy to it was started and not waited for
    int writer = -1;
    int64_t write_block_epoch = -1, write_warp_epoch = -1;
    int64_t read_block_epoch = -1;   // of the reads that follow
    uint32_t reading_warps = 0;
    int last_reading_warp = -1;
    int64_t read_warp_epoch = -1;    // of the last reading warp
    uint32_t reading_lanes = 0;
    int64_t add_block_epoch = -1;    // of the last atomic addition
};

struct SharedArray {
    const char *name;
    std::vector<uint32_t> data;
    std::vector<Word> words;
    int64_t first_word;  // where it starts in the block's shared memory: decides the banks
};

struct SharedAccess {
    Where where;
    int64_t word;
    int words;
    Counts *counts;  // of the phase that it belongs to
};

struct BlockMemory {
    std::map<std::string, SharedArray> arrays;
    int64_t used_words = 0;
    std::vector<std::vector<SharedAccess>> log;  // of each thread, since its warp's last collective
};

inline void open_block_memory() {
    static BlockMemory memory;
    memory = BlockMemory();
    memory.log.resize(static_cast<size_t>(launch_state().threads));
    launch_state().memory = &memory;
}

inline void close_block_memory() {
    for (int warp = 0; warp * warp_size < launch_state().threads; ++warp) close_epoch_of_warp(warp);
}

// Wavefronts that one warp instruction takes: the most distinct words it touches in one of 32 banks. An instruction
// of 16 bytes per lane runs as four of eight lanes.
inline int wavefronts(const std::vector<const SharedAccess *> &lanes, int words) {
    const int lanes_together = warp_size / words;
    int total = 0;
    for (int first = 0; first < warp_size; first += lanes_together) {
        std::vector<int64_t> touched[warp_size];
        for (int lane = first; lane < first + lanes_together; ++lane) {
            if (!lanes[static_cast<size_t>(lane)]) continue;
            for (int k = 0; k < words; ++k) {
                const int64_t word = lanes[static_cast<size_t>(lane)]->word + k;
                std::vector<int64_t> &bank = touched[word % warp_size];
                if (std::find(bank.begin(), bank.end(), word) == bank.end()) bank.push_back(word);
            }
        }
        size_t most = 0;
        for (const auto &bank : touched) most = std::max(most, bank.size());
        total = std::max(total, static_cast<int>(most));
    }
    return total;
}

// Lanes' k-th accesses from one place of the source since the last collective are one instruction.
inline void close_epoch_of_warp(int warp) {
    Launch &launch = launch_state();
    struct Instruction {
        std::vector<const SharedAccess *> lanes = std::vector<const SharedAccess *>(warp_size, nullptr);
        Counts *counts = nullptr;
    };
    std::map<std::pair<int, int>, Instruction> instructions;  // by line and repetition
    for (int lane = 0; lane < warp_size && warp * warp_size + lane < launch.threads; ++lane) {
        const size_t index = static_cast<size_t>(warp * warp_size + lane);
        std::map<int, int> repetition;
        for (const SharedAccess &access : launch.memory->log[index]) {
            Instruction &instruction = instructions[{access.where.line, repetition[access.where.line]++}];
            instruction.lanes[static_cast<size_t>(lane)] = &access;
            instruction.counts = access.counts;
        }
    }
    for (const auto &[key, instruction] : instructions) {
        Counts &counts = *instruction.counts;
        int words = 1;
        for (const SharedAccess *access : instruction.lanes)
            if (access) words = access->words;
        const int64_t taken = wavefronts(instruction.lanes, words);
        ++counts.shared_accesses;
        counts.shared_wavefronts += taken * words;
        counts.worst_bank_conflict = std::max(counts.worst_bank_conflict, taken);
    }
    for (int lane = 0; lane < warp_size && warp * warp_size + lane < launch.threads; ++lane)
        launch.memory->log[static_cast<size_t>(warp * warp_size + lane)].clear();
}

// Did `other`, at these epochs, come before what the current thread does now?
inline bool ordered(int other, int64_t block_epoch, int64_t warp_epoch) {
    const Thread &thread = self();
    if (other == thread.index || block_epoch < launch_state().block_epoch) return true;
    return other / warp_size == thread.warp() && warp_epoch < thread.warp_epoch;
}

inline void note_read(Word &word, const char *name, int64_t index, Where where) {
    const Thread &thread = self();
    const int64_t now = launch_state().block_epoch;
    const auto place = [&] { return std::string("shared ") + name + "[" + std::to_string(index) + "]"; };
    if (word.under_way) fail("read of " + place() + ", to which a copy is under way", thread, where);
    if (!word.written) fail("read of " + place() + ", which nobody wrote", thread, where);
    if (!ordered(word.writer, word.write_block_epoch, word.write_warp_epoch))
        fail("race: read of " + place() + ", written by thread " + std::to_string(word.writer) + " with no barrier between",
             thread, where);
    if (word.read_block_epoch != now) {
        word.read_block_epoch = now;
        word.reading_warps = 0;
        word.last_reading_warp = -1;
    }
    if (word.last_reading_warp != thread.warp() || word.read_warp_epoch != thread.warp_epoch) word.reading_lanes = 0;
    word.reading_warps |= 1u << thread.warp();
    word.last_reading_warp = thread.warp();
    word.read_warp_epoch = thread.warp_epoch;
    word.reading_lanes |= 1u << thread.lane();
}

inline void note_write(Word &word, const char *name, int64_t index, Where where) {
    const Thread &thread = self();
    const int64_t now = launch_state().block_epoch;
    const auto place = [&] { return std::string("shared ") + name + "[" + std::to_string(index) + "]"; };
    if (word.under_way) fail("write of " + place() + ", to which a copy is under way", thread, where);
    if (word.written && !ordered(word.writer, word.write_block_epoch, word.write_warp_epoch))
        fail("race: write of " + place() + ", written by thread " + std::to_string(word.writer) + " with no barrier between",
             thread, where);
    if (word.read_block_epoch == now) {
        const bool other_warp = (word.reading_warps & ~(1u << thread.warp())) != 0;
        const bool other_lane = word.last_reading_warp == thread.warp() && word.read_warp_epoch == thread.warp_epoch &&
                                (word.reading_lanes & ~(1u << thread.lane())) != 0;
        if (other_warp || other_lane)
            fail("race: write of " + place() + ", read by another thread with no barrier between", thread, where);
    }
    word.written = true;
    word.writer = thread.index;
    word.write_block_epoch = now;
    word.write_warp_epoch = thread.warp_epoch;
}

// An array in shared memory, of 4-byte elements.
template <class T>
class Shared {
  public:
    explicit Shared(SharedArray &array, int64_t begin = 0) : array(&array), begin(begin) {}
    T load(int64_t i, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        return take<T>(i, {file, line});
    }
    void store(int64_t i, T value, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        put(i, value, {file, line});
    }
    template <class Vector>
    Vector load16(int64_t i, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        return take<Vector>(i, {file, line});
    }
    template <class Vector>
    Vector load16_after(int64_t i, int64_t bytes, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        return take<Vector>(i + bytes / 4, {file, line});
    }
    template <class Vector>
    void store16(int64_t i, Vector value, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        put(i, value, {file, line});
    }
    // What the lanes add arrives in some order, which is no race.
    T add(int64_t i, T value, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        const int64_t first = checked<T>(i, {file, line});
        Word &word = array->words[static_cast<size_t>(first)];
        if (word.add_block_epoch != launch_state().block_epoch) {
            note_read(word, array->name, first, {file, line});
            note_write(word, array->name, first, {file, line});
            word.add_block_epoch = launch_state().block_epoch;
        }
        T old;
        std::memcpy(&old, &array->data[static_cast<size_t>(first)], sizeof old);
        const T sum = old + value;
        std::memcpy(&array->data[static_cast<size_t>(first)], &sum, sizeof sum);
        return old;
    }
    // A copy that the thread must wait for. From now on nobody else may touch its place.
    template <class Vector>
    void store16_later(int64_t i, Vector value, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        put(i, Vector(), {file, line});
        SharedArray &memory = *array;
        const int64_t first = begin + i, words = sizeof(Vector) / 4;
        for (int64_t k = first; k < first + words; ++k) memory.words[static_cast<size_t>(k)].under_way = true;
        self().copies.back().push_back([&memory, first, words, value, where = Where{file, line}] {
            for (int64_t k = first; k < first + words; ++k) {
                memory.words[static_cast<size_t>(k)].under_way = false;
                note_write(memory.words[static_cast<size_t>(k)], memory.name, k, where);
            }
            std::memcpy(&memory.data[static_cast<size_t>(first)], &value, sizeof value);
        });
    }
    Shared from(int64_t i) const { return Shared(*array, begin + i); }
    template <class U>
    Shared<U> as() const {
        return Shared<U>(*array, begin);
    }

  private:
    static_assert(sizeof(T) == 4, "shared memory is kept in words of 4 bytes");

    template <class Value>
    int64_t checked(int64_t i, Where where) const {
        const int64_t first = begin + i, words = sizeof(Value) / 4;
        if (first < 0 || first + words > static_cast<int64_t>(array->data.size()))
            fail(std::string("out of bounds: shared ") + array->name + "[" + std::to_string(first) + "] of " +
                     std::to_string(array->data.size()),
                 self(), where);
        if (first % words)
            fail(std::string("misaligned: 16 bytes at shared ") + array->name + "[" + std::to_string(first) + "]", self(),
                 where);
        launch_state().memory->log[static_cast<size_t>(self().index)].push_back(
            {where, array->first_word + first, static_cast<int>(words), self().counts});
        return first;
    }
    template <class Value>
    Value take(int64_t i, Where where) const {
        const int64_t first = checked<Value>(i, where);
        for (int64_t k = 0; k < static_cast<int64_t>(sizeof(Value) / 4); ++k)
            note_read(array->words[static_cast<size_t>(first + k)], array->name, first + k, where);
        Value value;
        std::memcpy(&value, &array->data[static_cast<size_t>(first)], sizeof value);
        return value;
    }
    template <class Value>
    void put(int64_t i, Value value, Where where) const {
        const int64_t first = checked<Value>(i, where);
        for (int64_t k = 0; k < static_cast<int64_t>(sizeof(Value) / 4); ++k)
            note_write(array->words[static_cast<size_t>(first + k)], array->name, first + k, where);
        std::memcpy(&array->data[static_cast<size_t>(first)], &value, sizeof value);
    }
    SharedArray *array;
    int64_t begin;
};

// __shared__ T name[count]: one a block, whichever thread comes first.
template <class T>
Shared<T> shared_array(const char *name, int64_t count) {
    constexpr uint32_t poison = 0x7FFFDEAD;  // a NaN, and no index
    BlockMemory &memory = *launch_state().memory;
    auto [place, fresh] = memory.arrays.try_emplace(name);
    if (fresh) {
        SharedArray &array = place->second;
        array.name = place->first.c_str();
        array.data.assign(static_cast<size_t>(count), poison);
        array.words.resize(static_cast<size_t>(count));
        array.first_word = memory.used_words;
        memory.used_words += (count + 31) / 32 * 32;
    }
    return Shared<T>(place->second);
}

// An array in global memory: `count` elements, traffic booked under `name`. A null pointer has no elements.
template <class T>
class Global {
  public:
    Global() = default;
    Global(T *data, int64_t count, const char *name)
        : data(data), count(data ? count : 0), name(name), traffic(&launch_state().traffic[name]) {}
    explicit operator bool() const { return data != nullptr; }

    T load(int64_t i, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        check(i, 1, {file, line});
        traffic->bytes_read += static_cast<int64_t>(sizeof(T));
        return data[i];
    }
    void store(int64_t i, T value, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        check(i, 1, {file, line});
        traffic->bytes_written += static_cast<int64_t>(sizeof(T));
        data[i] = value;
    }
    template <class Vector>
    Vector load16(int64_t i, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        check16<Vector>(i, {file, line});
        traffic->bytes_read += static_cast<int64_t>(sizeof(Vector));
        Vector value;
        std::memcpy(&value, data + i, sizeof value);
        return value;
    }
    template <class Vector>
    void store16(int64_t i, Vector value, const char *file = __builtin_FILE(), int line = __builtin_LINE()) const {
        check16<Vector>(i, {file, line});
        traffic->bytes_written += static_cast<int64_t>(sizeof(Vector));
        std::memcpy(data + i, &value, sizeof value);
    }

  private:
    template <class Vector>
    void check16(int64_t i, Where where) const {
        check(i, static_cast<int64_t>(sizeof(Vector) / sizeof(T)), where);
        if (reinterpret_cast<uintptr_t>(data + i) % sizeof(Vector))
            fail(std::string("misaligned: 16 bytes at global ") + name + "[" + std::to_string(i) + "]", self(), where);
    }
    void check(int64_t i, int64_t elements, Where where) const {
        if (i < 0 || i + elements > count)
            fail(std::string("out of bounds: global ") + name + "[" + std::to_string(i) + "] of " + std::to_string(count),
                 self(), where);
    }
    T *data = nullptr;
    int64_t count = 0;
    const char *name = "";
    Traffic *traffic = nullptr;
};

}  // namespace emulator
