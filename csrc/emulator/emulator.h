// Runs CUDA C++ on the host: one fiber per thread, one block after another, warp collectives and barriers that are real.
// A fiber runs until it must wait for others; the scheduler then takes the next. What a GPU leaves undefined is an
// error here that names block, thread and line: a barrier or a warp collective that some threads never reach.
// memory.h does the same for memory. Only what mmr_cuda.cu uses is here.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace emulator {

constexpr int warp_size = 32;

struct Where {
    const char *file;
    int line;
    bool operator==(const Where &other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
    std::string text() const {
        const char *slash = std::strrchr(file, '/');
        return std::string(slash ? slash + 1 : file) + ":" + std::to_string(line);
    }
};

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Counts of one launch, by phase of the kernel. Collectives count once per warp, barriers once a block, accesses to
// shared memory once per warp instruction, global memory in bytes.
struct Counts {
    int64_t barriers = 0, warp_syncs = 0, shuffles = 0, votes = 0, reductions = 0, tensor_products = 0;
    int64_t matrix_loads = 0;
    int64_t shared_accesses = 0, shared_wavefronts = 0, worst_bank_conflict = 0;
};
struct Traffic {
    int64_t bytes_read = 0, bytes_written = 0;
};

// One lane's part in a warp collective: what it brings, and where it waits.
struct Arrival {
    const char *operation = nullptr;
    Where where{"", 0};
    uint32_t mask = 0;
    void *data = nullptr;
    void (*perform)(void *const *data, uint32_t mask) = nullptr;  // run once, when all lanes of the mask are there
    int64_t Counts::*counter = nullptr;
};

struct Thread {
    enum State { runnable, at_barrier, at_collective, finished };
    int index = 0;
    State state = runnable;
    Arrival arrival;
    Where barrier{"", 0};
    bool counted = false;  // by the barrier
    std::vector<std::vector<std::function<void()>>> copies{1};  // under way, by group; the last group is open
    Counts *counts = nullptr;  // of the phase it is in
    int64_t warp_epoch = 0;   // advances when the warp orders its memory
    ucontext_t start;
    jmp_buf resume;
    bool started = false;
    int warp() const { return index / warp_size; }
    int lane() const { return index % warp_size; }
};

struct BlockMemory;  // memory.h

// The launch at hand. One at a time in a process: the Python binding holds the GIL.
struct Launch {
    int grid = 0, threads = 0, block = 0;
    unsigned seed = 0;  // of the order in which blocks and threads run; 0: ascending
    int64_t block_epoch = 0;
    int counted = 0;  // threads that the last barrier counted
    std::vector<Thread> thread;
    Thread *current = nullptr;
    jmp_buf scheduler;
    std::exception_ptr failure;
    std::function<void()> body;
    std::map<std::string, Counts> counts;
    std::map<std::string, Traffic> traffic;
    BlockMemory *memory = nullptr;
    std::vector<std::unique_ptr<char[]>> stacks;
};

inline Launch &launch_state() {
    static Launch state;
    return state;
}
inline Thread &self() { return *launch_state().current; }
inline void enter_phase(const char *name) { self().counts = &launch_state().counts[name]; }

[[noreturn]] inline void fail(const std::string &what, const Thread &thread, const Where &where) {
    throw Fault(what + " (block " + std::to_string(launch_state().block) + ", thread " + std::to_string(thread.index) +
                ", " + where.text() + ")");
}

// memory.h:
inline void close_epoch_of_warp(int warp);  // books the bank conflicts of its accesses since the last time
inline void open_block_memory();
inline void close_block_memory();

// ---- Fibers ----------------------------------------------------------------------------------------------------

inline void leave_fiber() { _longjmp(launch_state().scheduler, 1); }

inline void fiber_main() {
    Launch &launch = launch_state();
    try {
        launch.body();
    } catch (...) {
        launch.failure = std::current_exception();
    }
    launch.current->state = Thread::finished;
    leave_fiber();
}

// To the scheduler, until it makes this thread runnable again.
inline void wait() {
    if (_setjmp(self().resume) == 0) leave_fiber();
}

inline void run(Thread &thread) {
    constexpr size_t stack_bytes = 128 * 1024;
    Launch &launch = launch_state();
    launch.current = &thread;
    if (_setjmp(launch.scheduler) != 0) {
        if (launch.failure) std::rethrow_exception(std::exchange(launch.failure, nullptr));
        return;
    }
    if (thread.started) _longjmp(thread.resume, 1);
    thread.started = true;
    while (launch.stacks.size() <= static_cast<size_t>(thread.index)) launch.stacks.emplace_back(new char[stack_bytes]);
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = launch.stacks[static_cast<size_t>(thread.index)].get();
    thread.start.uc_stack.ss_size = stack_bytes;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, fiber_main, 0);
    setcontext(&thread.start);
}

// ---- Waiting together ------------------------------------------------------------------------------------------

inline void sync_threads(Where where) {
    Thread &thread = self();
    thread.state = Thread::at_barrier;
    thread.barrier = where;
    wait();
}

inline int sync_threads_count(bool counted, Where where) {
    self().counted = counted;
    sync_threads(where);
    return launch_state().counted;
}

// Until at most `groups` closed groups of copies are under way: only now is what they bring in its place.
inline void finish_copies(size_t groups) {
    auto &copies = self().copies;
    for (; copies.size() > groups + 1; copies.erase(copies.begin()))
        for (const auto &copy : copies.front()) copy();
}

inline void collective(const Arrival &arrival) {
    Thread &thread = self();
    if (!(arrival.mask >> thread.lane() & 1))
        fail(std::string(arrival.operation) + " by a lane that its mask leaves out", thread, arrival.where);
    thread.arrival = arrival;
    thread.state = Thread::at_collective;
    wait();
}

// Performs the collective that `thread` waits at, if all lanes of its mask are there.
inline bool complete_collective(Thread &thread) {
    Launch &launch = launch_state();
    const Arrival arrival = thread.arrival;
    void *data[warp_size] = {};
    const int first = thread.warp() * warp_size;
    for (int lane = 0; lane < warp_size; ++lane) {
        if (!(arrival.mask >> lane & 1)) continue;
        if (first + lane >= launch.threads)
            fail(std::string(arrival.operation) + " names lane " + std::to_string(lane) + ", which the block lacks", thread,
                 arrival.where);
        const Thread &other = launch.thread[static_cast<size_t>(first + lane)];
        if (other.state == Thread::finished)
            fail(std::string(arrival.operation) + " waits for lane " + std::to_string(lane) + ", which has returned",
                 thread, arrival.where);
        if (other.state != Thread::at_collective) return false;
        const Arrival &theirs = other.arrival;
        if (theirs.perform != arrival.perform || theirs.mask != arrival.mask || !(theirs.where == arrival.where))
            fail(std::string(arrival.operation) + " while lane " + std::to_string(lane) + " waits at " + theirs.operation +
                     ", " + theirs.where.text(),
                 thread, arrival.where);
        data[lane] = theirs.data;
    }
    if (arrival.perform) arrival.perform(data, arrival.mask);
    ++(thread.counts->*arrival.counter);
    if (arrival.mask == ~0u) close_epoch_of_warp(thread.warp());
    for (int lane = 0; lane < warp_size; ++lane) {
        if (!(arrival.mask >> lane & 1)) continue;
        Thread &other = launch.thread[static_cast<size_t>(first + lane)];
        // Of the collectives only __syncwarp orders memory; a shuffle does not.
        if (arrival.mask == ~0u && arrival.counter == &Counts::warp_syncs) ++other.warp_epoch;
        other.state = Thread::runnable;
    }
    return true;
}

// Releases the block barrier, if every thread has arrived.
inline bool complete_barrier() {
    Launch &launch = launch_state();
    const Thread &first = launch.thread.front();
    for (const Thread &thread : launch.thread)
        if (thread.state != Thread::at_barrier) return false;
    for (const Thread &thread : launch.thread)
        if (!(thread.barrier == first.barrier))
            fail("divergent __syncthreads: thread 0 waits at " + first.barrier.text(), thread, thread.barrier);
    ++first.counts->barriers;
    ++launch.block_epoch;
    launch.counted = 0;
    for (Thread &thread : launch.thread) {
        launch.counted += thread.counted;
        thread.state = Thread::runnable;
    }
    for (int warp = 0; warp * warp_size < launch.threads; ++warp) close_epoch_of_warp(warp);
    return true;
}

// Nobody can run: says who waits for whom.
[[noreturn]] inline void report_deadlock() {
    const std::vector<Thread> &threads = launch_state().thread;
    for (const Thread &thread : threads)
        if (thread.state == Thread::at_collective)
            for (const Thread &other : threads)
                if (other.warp() == thread.warp() && thread.arrival.mask >> other.lane() & 1 &&
                    other.state == Thread::at_barrier)
                    fail(std::string(thread.arrival.operation) + " waits for lane " + std::to_string(other.lane()) +
                             ", which waits at __syncthreads, " + other.barrier.text(),
                         thread, thread.arrival.where);
    for (const Thread &thread : threads)
        if (thread.state == Thread::at_barrier)
            for (const Thread &other : threads)
                if (other.state == Thread::finished)
                    fail("__syncthreads waits for thread " + std::to_string(other.index) + ", which has returned", thread,
                         thread.barrier);
    throw Fault("deadlock in block " + std::to_string(launch_state().block));
}

// ---- Scheduler -------------------------------------------------------------------------------------------------

// A permutation of 0 … count - 1, from a seed and not from the standard library, so that it is the same everywhere.
inline std::vector<int> order_of(int count, unsigned seed) {
    std::vector<int> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    uint64_t state = seed;
    for (int i = count - 1; seed && i > 0; --i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(order[static_cast<size_t>(i)], order[(state >> 33) % static_cast<uint64_t>(i + 1)]);
    }
    return order;
}

inline void run_block(int block) {
    Launch &launch = launch_state();
    launch.block = block;
    launch.block_epoch = 0;
    launch.thread.assign(static_cast<size_t>(launch.threads), Thread());
    for (int i = 0; i < launch.threads; ++i) {
        launch.thread[static_cast<size_t>(i)].index = i;
        launch.thread[static_cast<size_t>(i)].counts = &launch.counts[""];
    }
    const std::vector<int> order = order_of(launch.threads, launch.seed);
    open_block_memory();
    for (bool all_finished = false; !all_finished;) {
        bool progress = false;
        all_finished = true;
        for (const int index : order) {
            Thread &thread = launch.thread[static_cast<size_t>(index)];
            if (thread.state == Thread::runnable) {
                run(thread);
                progress = true;
            }
            if (thread.state == Thread::at_collective) progress = complete_collective(thread) || progress;
            all_finished = all_finished && thread.state == Thread::finished;
        }
        progress = complete_barrier() || progress;
        if (!progress && !all_finished) report_deadlock();
    }
    close_block_memory();
}

// kernel<<<grid, threads>>>: returns when all blocks have run, throws the first Fault.
inline void launch(int64_t grid, int threads, std::function<void()> body) {
    Launch &state = launch_state();
    state.grid = static_cast<int>(grid);
    state.threads = threads;
    state.body = std::move(body);
    state.counts.clear();
    state.traffic.clear();
    for (const int block : order_of(state.grid, state.seed)) run_block(block);
}

// ---- Warp collectives ------------------------------------------------------------------------------------------

template <class T>
struct Exchange {
    T value;
    int argument;
    T result;
};

template <class T, class Combine>
T exchange(const char *name, int64_t Counts::*counter, uint32_t mask, T value, int argument, Where where, Combine) {
    Exchange<T> mine{value, argument, T()};
    Arrival arrival{name, where, mask, &mine, nullptr, counter};
    arrival.perform = [](void *const *data, uint32_t lanes) {
        for (int lane = 0; lane < warp_size; ++lane)
            if (lanes >> lane & 1) Combine::apply(reinterpret_cast<Exchange<T> *const *>(data), lanes, lane);
    };
    collective(arrival);
    return mine.result;
}

struct TakeFrom {
    template <class T>
    static void apply(Exchange<T> *const *lanes, uint32_t mask, int lane) {
        const int source = lanes[lane]->argument;
        if (source < 0 || source >= warp_size || !(mask >> source & 1))
            fail("shuffle from lane " + std::to_string(source) + ", which takes no part", launch_state().thread[0], {"", 0});
        lanes[lane]->result = lanes[source]->value;
    }
};
struct Ballot {
    static void apply(Exchange<uint32_t> *const *lanes, uint32_t mask, int lane) {
        for (int i = 0; i < warp_size; ++i)
            if (mask >> i & 1 && lanes[i]->value) lanes[lane]->result |= 1u << i;
    }
};
struct Largest {
    template <class Integer>
    static void apply(Exchange<Integer> *const *lanes, uint32_t mask, int lane) {
        lanes[lane]->result = lanes[lane]->value;
        for (int i = 0; i < warp_size; ++i)
            if (mask >> i & 1) lanes[lane]->result = std::max(lanes[lane]->result, lanes[i]->value);
    }
};

template <class T>
T shuffle_xor(uint32_t mask, T value, int lane_mask, Where where) {
    return exchange("__shfl_xor_sync", &Counts::shuffles, mask, value, self().lane() ^ lane_mask, where, TakeFrom());
}
template <class T>
T shuffle(uint32_t mask, T value, int source, Where where) {
    return exchange("__shfl_sync", &Counts::shuffles, mask, value, source, where, TakeFrom());
}
inline uint32_t ballot(uint32_t mask, bool value, Where where) {
    return exchange<uint32_t>("__ballot_sync", &Counts::votes, mask, value, 0, where, Ballot());
}
template <class Integer>
Integer reduce_max(uint32_t mask, Integer value, Where where) {
    return exchange<Integer>("__reduce_max_sync", &Counts::reductions, mask, value, 0, where, Largest());
}
inline void sync_warp(Where where) {
    collective({"__syncwarp", where, ~0u, nullptr, nullptr, &Counts::warp_syncs});
}

}  // namespace emulator
