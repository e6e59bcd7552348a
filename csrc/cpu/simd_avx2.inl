// Vector primitives for AVX2 with FMA and F16C; see simd_avx512.h for what each does.

constexpr int width = 8;
constexpr int tile_columns = 2;  // with four rows: 8 accumulators and 6 operands of the 16 registers
using vec = __m256;

inline vec zero() { return _mm256_setzero_ps(); }
inline vec broadcast(float value) { return _mm256_set1_ps(value); }
inline vec load(const float *from) { return _mm256_loadu_ps(from); }
inline __m256i lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
inline vec load_first(const float *from, int64_t count) {
    return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane_numbers()));
}
inline void store(float *to, vec value) { _mm256_storeu_ps(to, value); }
inline vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
inline vec maximum(vec a, vec b) { return _mm256_max_ps(a, b); }

inline vec spread_maximum(vec a) {
    a = maximum(a, _mm256_permute2f128_ps(a, a, 0x01));
    a = maximum(a, _mm256_permute_ps(a, 0x4E));
    return maximum(a, _mm256_permute_ps(a, 0xB1));
}
inline float first_lane(vec a) { return _mm256_cvtss_f32(a); }
inline uint32_t equal_lanes(vec a, vec b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)));
}
inline vec replace_lane(vec a, int64_t lane, float value) {
    const __m256i here = _mm256_cmpeq_epi32(lane_numbers(), _mm256_set1_epi32(static_cast<int>(lane)));
    return _mm256_blendv_ps(a, broadcast(value), _mm256_castsi256_ps(here));
}

inline void add_tile_lanes(const vec (&tile)[4][tile_columns], float *sums) {
    const vec first = _mm256_hadd_ps(_mm256_hadd_ps(tile[0][0], tile[1][0]), _mm256_hadd_ps(tile[2][0], tile[3][0]));
    const vec second = _mm256_hadd_ps(_mm256_hadd_ps(tile[0][1], tile[1][1]), _mm256_hadd_ps(tile[2][1], tile[3][1]));
    store(sums, _mm256_add_ps(_mm256_permute2f128_ps(first, second, 0x20), _mm256_permute2f128_ps(first, second, 0x31)));
}

inline vec load_bfloat16(const uint16_t *from) {
    const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}
inline vec load_float16(const uint16_t *from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
}
