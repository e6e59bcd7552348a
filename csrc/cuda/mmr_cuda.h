// What the bindings call: the CUDA kernel, or the same source run by the emulator.
#pragma once
#include <functional>
#include <string>

#include "../mmr.h"

namespace mmr {

// Scratch of `bytes` bytes, on the problem's device, uninitialised; used by this launch alone.
using Allocate = std::function<void *(int64_t bytes)>;

// Launches on the stream and returns; "" or what went wrong, in CUDA's words and with the launch's shape. The current
// device is the caller's again afterwards.
std::string solve_on_device(const Problem &problem, int device, void *stream, const Allocate &allocate);

// The largest scope the kernel takes: one group, and all completions of a call with scope="batch".
constexpr int64_t largest_group = 1024;
constexpr int64_t largest_batch = 4096;

}  // namespace mmr
