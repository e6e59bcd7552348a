// Vector primitives in the compiler's own four-lane vectors: SSE2 or NEON, whatever the target's baseline has. See
// simd_avx512.h for what each does.

constexpr int width = 4;
constexpr int tile_columns = 2;
using vec = four;

inline vec zero() { return vec{0, 0, 0, 0}; }
inline vec broadcast(float value) { return vec{value, value, value, value}; }
inline vec load(const float *from) { return load_four(from); }
inline vec load_first(const float *from, int64_t count) {
    vec value = zero();
    std::memcpy(&value, from, static_cast<size_t>(count) * sizeof(float));
    return value;
}
inline void store(float *to, vec value) { store_four(to, value); }
inline vec multiply_add(vec a, vec b, vec c) { return a * b + c; }
inline vec maximum(vec a, vec b) { return a > b ? a : b; }

inline vec spread_maximum(vec a) { return broadcast(std::max(std::max(a[0], a[1]), std::max(a[2], a[3]))); }
inline float first_lane(vec a) { return a[0]; }
inline float add_lanes(vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline uint32_t equal_lanes(vec a, vec b) {
    const four_lanes equal = a == b;
    return (equal[0] & 1u) | (equal[1] & 2u) | (equal[2] & 4u) | (equal[3] & 8u);
}
inline vec replace_lane(vec a, int64_t lane, float value) {
    if (0 <= lane && lane < width) a[lane] = value;
    return a;
}

inline void add_tile_lanes(const vec (&tile)[4][tile_columns], float *sums) {
    for (int c = 0; c < tile_columns; ++c)
        for (int r = 0; r < 4; ++r) sums[c * 4 + r] = add_lanes(tile[r][c]);
}

inline vec load_bfloat16(const uint16_t *from) {
    vec value;
    for (int l = 0; l < width; ++l) value[l] = float_from_bits(static_cast<uint32_t>(from[l]) << 16);
    return value;
}
inline vec load_float16(const uint16_t *from) {
    vec value;
    for (int l = 0; l < width; ++l) value[l] = float_from_half(from[l]);
    return value;
}
