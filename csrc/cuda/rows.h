// Rows of embeddings on their way to shared memory: each is read once, 16 bytes at a time, in chunks of its length. Four
// chunks form a ring; while one is worked on, the next three are under way.
#pragma once
#include <type_traits>

#include "platform.h"
#include "../mmr.h"

namespace mmr {
namespace {

constexpr int block_threads = 256;
constexpr int block_warps = block_threads / 32;
constexpr uint32_t all_lanes = ~0u;

// What a block keeps in shared memory at a time, in words of 4 bytes: first chunks of rows, then S in their place. From
// 8.0 on a ring of four chunks of 128 rows by 32 words, or S of 128 members (67 KB); before, two such chunks, or S of 64.
struct Room {
    int stages, words, members;
};
MMR_ANYWHERE constexpr Room room_of(int compute_capability) {
    return compute_capability >= 800 ? Room{4, 128 * 132, 128} : Room{2, 128 * 64, 64};
}
constexpr Room room = room_of(target);

// 16 bits of bfloat16 or float16: which, the launch says.
struct Half {
    uint16_t bits;
};

MMR_DEVICE int thread_index() { return threadIdx.x; }
MMR_DEVICE int warp_index() { return thread_index() / 32; }
MMR_DEVICE int lane_index() { return thread_index() % 32; }
MMR_DEVICE bool is_finite(float value) { return fabsf(value) <= 3.402823466e38f; }

// 16 bytes of which `left` elements are there, one element at a time: for rows that don't start on 16 bytes. Not
// inlined, or it would be most of the kernel's code.
template <class Element>
MMR_DEVICE_CALL float4 gather_piece(const Global<const Element> data, int64_t first, int64_t left) {
    constexpr int per_word = 4 / sizeof(Element);
    uint32_t word[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 4 * per_word; ++i) {
        if (i >= left) continue;
        const Element element = data.load(first + i);
        if constexpr (per_word == 1) word[i] = __float_as_uint(element);
        else word[i / 2] |= static_cast<uint32_t>(element.bits) << (i % 2 * 16);
    }
    return {__uint_as_float(word[0]), __uint_as_float(word[1]), __uint_as_float(word[2]), __uint_as_float(word[3])};
}

template <class Element>
struct Embeddings {
    static constexpr int width = 16 / sizeof(Element);         // elements in 16 bytes
    static constexpr int per_word = 4 / sizeof(Element);
    Global<const Element> data;  // (N, dim)
    int64_t dim;
    bool aligned;                // every row starts on 16 bytes
    bool bfloat;

    MMR_DEVICE Embeddings(const Problem &p, bool aligned)
        : data(static_cast<const Element *>(p.embeddings), p.num_completions * p.dim, "embeddings"),
          dim(p.dim),
          aligned(aligned),
          bfloat(p.embedding_dtype == DType::bfloat16) {}

    // 16 bytes as float32 values.
    MMR_DEVICE void unpack(float4 words, float (&value)[width]) const {
        const float *word = &words.x;
#pragma unroll
        for (int i = 0; i < width; ++i) {
            const uint32_t bits = __float_as_uint(word[i / per_word]);
            if constexpr (per_word == 1) value[i] = word[i];
            else if (bfloat) value[i] = __uint_as_float(i % 2 ? bits & 0xFFFF0000u : bits << 16);
            else value[i] = from_half(static_cast<uint16_t>(i % 2 ? bits >> 16 : bits & 0xFFFF));
        }
    }
};

// A thread brings 16 bytes of at most four rows of each chunk, the same ones of each.
constexpr int most_pieces = 4, most_chunk_words = 4 * most_pieces * block_threads;
static_assert(room.stages * most_chunk_words <= room.words);

// Words of one row in a chunk of `rows` rows: a power of two, so many that the threads can bring the chunk, and no more
// than put the whole row of `dim` elements into the ring.
MMR_ANYWHERE inline int chunk_words(Room room, int64_t rows, int64_t dim, int element_bytes) {
    int words = 32;
    const int64_t spread = rows < most_pieces ? most_pieces : rows;  // a row has no more pieces than there are threads
    while (2 * words * spread <= most_chunk_words && 4 * words * room.stages < dim * element_bytes) words *= 2;
    return words;
}

// One chunk in shared memory. Pieces of 16 bytes stand in an order that differs from row to row, so that neither one
// piece of eight neighbouring rows nor four pieces of two rows share a bank.
struct Chunk {
    const Shared<float> &memory;
    int begin, stride;
    int words;  // of each row that are there: of the last chunk perhaps fewer, in whole 32

    // Behind the chunk's beginning. The row begins at a multiple of the stride, a power of two: along it, pieces of an even
    // number are an exclusive or away from the first two.
    MMR_DEVICE static int place_in_chunk(int row, int piece, int stride) {
        const int turned = row % 2 * 4 + row / 2 % 2 * 2 + row / 4 % 2;
        return row * stride + (piece ^ turned) * 4;
    }
    MMR_DEVICE int place(int row, int piece) const { return begin + place_in_chunk(row, piece, stride); }
    MMR_DEVICE float4 load(int row, int piece) const { return memory.load16<float4>(place(row, piece)); }
};

// What a thread brings of each chunk, one chunk after the other: so it knows its rows, and goes on by an addition.
template <class Element>
struct OwnPieces {
    int piece, count;           // along each row, and of how many rows
    int place[most_pieces];     // in a chunk
    int64_t from[most_pieces];  // elements
    int64_t k;                  // along each row, in elements

    template <class RowOf>
    MMR_DEVICE OwnPieces(const Embeddings<Element> &embeddings, int rows, int words, RowOf row_of) {
        const int shift = __ffs(words / 4) - 1, first = thread_index() >> shift, step = block_threads >> shift;
        piece = thread_index() & (words / 4 - 1);
        count = first < rows ? (rows - 1 - first) / static_cast<unsigned>(step) + 1 : 0;
        k = piece * Embeddings<Element>::width;
#pragma unroll
        for (int i = 0; i < most_pieces; ++i) {
            place[i] = Chunk::place_in_chunk(first + i * step, piece, words);
            from[i] = i < count ? row_of(first + i * step) * embeddings.dim + k : 0;
        }
    }
    MMR_DEVICE void bring(const Embeddings<Element> &embeddings, const Chunk &to) {
        const auto for_each = [&](auto visit) {
#pragma unroll
            for (int i = 0; i < most_pieces; ++i)
                if (i < count) visit(to.begin + place[i], from[i]);
        };
        if (k >= embeddings.dim) {
            if (piece * 4 < to.words) for_each([&](int at, int64_t) { to.memory.store16(at, float4{0, 0, 0, 0}); });
        } else if (embeddings.aligned) {
            for_each([&](int at, int64_t element) { start_copy(to.memory, at, embeddings.data, element); });
        } else {
            for_each([&](int at, int64_t element) {
                to.memory.store16(at, gather_piece(embeddings.data, element, embeddings.dim - k));
            });
        }
        const int step = to.stride * Embeddings<Element>::per_word;
        k += step;
#pragma unroll
        for (int i = 0; i < most_pieces; ++i) from[i] += step;
    }
};

// Brings `rows` rows, the i-th of which is row_of(i) of the embeddings, and calls work(chunk) for one chunk after the
// other; meanwhile(words of a row in a chunk) once, when the first are under way. Afterwards a barrier must come before the
// memory is written.
template <class Element, class RowOf, class Meanwhile, class Work>
MMR_DEVICE void for_each_chunk(const Embeddings<Element> &embeddings, const Shared<float> &memory, int rows, RowOf row_of,
                               Meanwhile meanwhile, Work work) {
    const int words = chunk_words(room, rows, embeddings.dim, sizeof(Element)), shift = __ffs(words) - 1;
    const int64_t row_words = (embeddings.dim + Embeddings<Element>::per_word - 1) / Embeddings<Element>::per_word;
    const int last = row_words ? static_cast<int>((row_words - 1) >> shift) : 0;
    const int64_t left = max(row_words, int64_t{1}) - (static_cast<int64_t>(last) << shift);
    const int words_of_last = (static_cast<int>(left) + 31) / 32 * 32;
    const auto chunk = [&](int c) {
        return Chunk{memory, c % room.stages * rows * words, words, c == last ? words_of_last : words};
    };
    OwnPieces<Element> own(embeddings, rows, words, row_of);
#pragma unroll 1
    for (int c = 1 - room.stages; c <= last; ++c) {
        if (c == 0) meanwhile(words);
        if (c >= 0) {
            wait_for_copies<room.stages - 2>();
            __syncthreads();  // all of the chunk is there, and all are done with the one before
        }
        if (c + room.stages - 1 <= last) own.bring(embeddings, chunk(c + room.stages - 1));
        close_group_of_copies();
        if (c >= 0) work(chunk(c));
    }
    wait_for_copies<0>();
}

}  // namespace
}  // namespace mmr
