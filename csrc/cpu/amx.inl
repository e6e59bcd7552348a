// Products of bfloat16 on AMX: S in blocks of 32 by 32, two tiles of 16 rows by two. Products of bfloat16 are exact in
// float32, which sums them; what is below float32's normal numbers counts as 0. Otherwise this set is AVX-512.

constexpr int64_t block_rows = 32, chunk = 32;            // members and dimensions of a block
constexpr int64_t tile_elements = 16 * chunk;             // bfloat16, 1 KiB
constexpr int64_t chunk_elements = 4 * tile_elements;     // of both halves of a block: as rows, then as columns

struct alignas(64) TileConfiguration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

inline int64_t chunks_of(const Problem &p) { return (p.dim + chunk - 1) / chunk; }
inline uint16_t *packed_block(const Problem &p, const Workspace &w, int64_t block) {
    return reinterpret_cast<uint16_t *>(w.widened) + block * chunks_of(p) * chunk_elements;
}

// Sixteen rows of sixteen 32-bit elements become columns.
inline void transpose_tile(const __m512i (&rows)[16], uint16_t *to) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; ++k) {
            b[i + 2 * k] = _mm512_unpacklo_epi64(a[i + k], a[i + 2 + k]);
            b[i + 2 * k + 1] = _mm512_unpackhi_epi64(a[i + k], a[i + 2 + k]);
        }
    // Column 4 l + c of rows 4 i … 4 i + 3 is lane l of b[4 i + c].
    for (int c = 0; c < 4; ++c) {
        const __m512i low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88), high = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xDD);
        const __m512i low2 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88),
                      high2 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xDD);
        _mm512_storeu_si512(to + (0 + c) * 32, _mm512_shuffle_i32x4(low, low2, 0x88));
        _mm512_storeu_si512(to + (8 + c) * 32, _mm512_shuffle_i32x4(low, low2, 0xDD));
        _mm512_storeu_si512(to + (4 + c) * 32, _mm512_shuffle_i32x4(high, high2, 0x88));
        _mm512_storeu_si512(to + (12 + c) * 32, _mm512_shuffle_i32x4(high, high2, 0xDD));
    }
}

// A block's embeddings as tiles, zeros past the last member and the last dimension.
void pack_block(const Problem &p, Workspace &w, int64_t block) {
    const uint16_t *embeddings = static_cast<const uint16_t *>(p.embeddings);
    for (int64_t c = 0; c < chunks_of(p); ++c) {
        const int64_t left = p.dim - c * chunk;
        const __mmask32 there = left >= chunk ? 0xFFFFFFFFu : (1u << left) - 1;
        uint16_t *tiles = packed_block(p, w, block) + c * chunk_elements;
        for (int64_t half = 0; half < 2; ++half, tiles += tile_elements) {
            __m512i rows[16];
            for (int64_t r = 0; r < 16; ++r) {
                const int64_t i = block * block_rows + half * 16 + r;
                rows[r] = i < w.count ? _mm512_maskz_loadu_epi16(there, embeddings + w.members[i] * p.dim + c * chunk)
                                      : _mm512_setzero_si512();
                _mm512_storeu_si512(tiles + r * chunk, rows[r]);
            }
            transpose_tile(rows, tiles + 2 * tile_elements);
        }
    }
}

// dots[i * 32 + j] = <row i of one block, row j of the other>.
inline void dots_of_blocks(const Problem &p, const Workspace &w, int64_t block, int64_t other, float *dots) {
    const uint16_t *rows = packed_block(p, w, block), *columns = packed_block(p, w, other) + 2 * tile_elements;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t c = 0; c < chunks_of(p); ++c, rows += chunk_elements, columns += chunk_elements) {
        _tile_loadd(4, rows, 64);
        _tile_loadd(5, rows + tile_elements, 64);
        _tile_loadd(6, columns, 64);
        _tile_loadd(7, columns + tile_elements, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, dots, 4 * block_rows);
    _tile_stored(1, dots + 16, 4 * block_rows);
    _tile_stored(2, dots + 16 * block_rows, 4 * block_rows);
    _tile_stored(3, dots + 16 * block_rows + 16, 4 * block_rows);
}

inline void store_products(Workspace &w, int64_t block, int64_t other, const float *dots) {
    const int64_t row = block * block_rows, column = other * block_rows;
    const int64_t rows = std::min(block_rows, w.count - row), columns = std::min(block_rows, w.count - column);
    for (int64_t i = 0; i < rows; ++i) {
        float *to = w.row(row + i) + column;
        for (int64_t j = 0; j < columns; ++j) to[j] = dots[i * block_rows + j] * (w.scale[row + i] * w.scale[column + j]);
    }
    if (block == other) return;
    for (int64_t j = 0; j < columns; ++j) {
        float *to = w.row(column + j) + row;
        for (int64_t i = 0; i < rows; ++i) to[i] = dots[i * block_rows + j] * (w.scale[row + i] * w.scale[column + j]);
    }
}

void diagonal_of_packed(const Problem &p, Workspace &w, int64_t block) {
    const TileConfiguration configuration;
    _tile_loadconfig(&configuration);
    alignas(64) float dots[block_rows * block_rows];
    dots_of_blocks(p, w, block, block, dots);
    _tile_release();
    for (int64_t i = 0; i < std::min(block_rows, w.count - block * block_rows); ++i)
        w.scale[block * block_rows + i] = avx512::row_scale(dots[i * (block_rows + 1)], p.normalize);
    store_products(w, block, block, dots);
}

void below_diagonal_of_packed(const Problem &p, Workspace &w, int64_t begin, int64_t end) {
    const TileConfiguration configuration;
    _tile_loadconfig(&configuration);
    alignas(64) float dots[block_rows * block_rows];
    for (int64_t column = 0; column < end; ++column)
        for (int64_t block = std::max(begin, column + 1); block < end; ++block) {
            dots_of_blocks(p, w, block, column, dots);
            store_products(w, block, column, dots);
        }
    _tile_release();
}

// Whether this processor has AMX and the system lets this process use it: its registers are 8 KiB per thread, which
// Linux gives to whoever asks.
bool allowed() {
#if defined(__linux__)
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return (d & amx_bf16) && (d & amx_tile) && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}

const Kernel kernel = [] {
    Kernel with_amx = avx512::kernel;
    with_amx.bfloat16 = {block_rows, pack_block, diagonal_of_packed, below_diagonal_of_packed};
    return with_amx;
}();
