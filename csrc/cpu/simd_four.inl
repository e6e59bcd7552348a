// Four floats at a time, in the compiler's own vectors: what the blocks of S are moved in, on every instruction set.
// No include guard: mmr_cpu.cpp includes it once per instruction set, before the primitives.

typedef float four __attribute__((vector_size(16)));
typedef int32_t four_lanes __attribute__((vector_size(16)));

inline four load_four(const float *from) {
    four value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
inline void store_four(float *to, four value) { std::memcpy(to, &value, sizeof value); }

#if defined(__clang__)
inline four interleave_low(four a, four b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline four interleave_high(four a, four b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
inline four interleave_low(four a, four b) { return __builtin_shuffle(a, b, four_lanes{0, 4, 1, 5}); }
inline four interleave_high(four a, four b) { return __builtin_shuffle(a, b, four_lanes{2, 6, 3, 7}); }
#endif

// The first `count` lanes of a, the rest of b.
template <int count>
inline four join(four a, four b) {
    constexpr four_lanes of_a = {count > 0 ? -1 : 0, count > 1 ? -1 : 0, count > 2 ? -1 : 0, count > 3 ? -1 : 0};
    return of_a ? a : b;
}
