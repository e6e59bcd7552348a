// Vector primitives for AVX-512; simd_avx2.h and simd_portable.h have the same names. No include guard: mmr_cpu.cpp
// includes each of the three once, in a namespace of its own and under its own target options.

constexpr int width = 16;
constexpr int tile_columns = 4;  // with four rows: 16 accumulators of the 32 registers
using vec = __m512;

inline vec zero() { return _mm512_setzero_ps(); }
inline vec broadcast(float value) { return _mm512_set1_ps(value); }
inline vec load(const float *from) { return _mm512_loadu_ps(from); }
inline vec load_first(const float *from, int64_t count) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
}
inline void store(float *to, vec value) { _mm512_storeu_ps(to, value); }
inline vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
inline vec maximum(vec a, vec b) { return _mm512_max_ps(a, b); }

// Every lane becomes the largest.
inline vec spread_maximum(vec a) {
    a = maximum(a, _mm512_shuffle_f32x4(a, a, 0x4E));
    a = maximum(a, _mm512_shuffle_f32x4(a, a, 0xB1));
    a = maximum(a, _mm512_permute_ps(a, 0x4E));
    return maximum(a, _mm512_permute_ps(a, 0xB1));
}
inline float first_lane(vec a) { return _mm512_cvtss_f32(a); }

// Bit l is set where lane l of a equals lane l of b.
inline uint32_t equal_lanes(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

// a, with one lane replaced; no lane for a negative index or one past the end.
inline vec replace_lane(vec a, int64_t lane, float value) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 here = _mm512_cmpeq_epi32_mask(lanes, _mm512_set1_epi32(static_cast<int>(lane)));
    return _mm512_mask_mov_ps(a, here, broadcast(value));
}

// sums[c * 4 + r] = sum of the lanes of tile[r][c], all by the same tree.
inline void add_tile_lanes(const vec (&tile)[4][tile_columns], float *sums) {
    vec of_row[4];  // lane c: four partial sums of tile[r][c]
    for (int r = 0; r < 4; ++r) {
        const vec low = _mm512_add_ps(_mm512_shuffle_f32x4(tile[r][0], tile[r][1], 0x44),
                                      _mm512_shuffle_f32x4(tile[r][0], tile[r][1], 0xEE));
        const vec high = _mm512_add_ps(_mm512_shuffle_f32x4(tile[r][2], tile[r][3], 0x44),
                                       _mm512_shuffle_f32x4(tile[r][2], tile[r][3], 0xEE));
        of_row[r] = _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xDD));
    }
    const vec first = _mm512_add_ps(_mm512_unpacklo_ps(of_row[0], of_row[1]), _mm512_unpackhi_ps(of_row[0], of_row[1]));
    const vec second = _mm512_add_ps(_mm512_unpacklo_ps(of_row[2], of_row[3]), _mm512_unpackhi_ps(of_row[2], of_row[3]));
    store(sums, _mm512_add_ps(_mm512_shuffle_ps(first, second, 0x44), _mm512_shuffle_ps(first, second, 0xEE)));
}

inline vec load_bfloat16(const uint16_t *from) {
    const __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
inline vec load_float16(const uint16_t *from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}
