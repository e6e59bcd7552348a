// The CPU kernel: what bindings.cpp calls, and what the driver (mmr_cpu.cpp) and the vector code share.
#pragma once
#include <string>
#include <vector>

#include "../mmr.h"

namespace mmr {

// Scratch of one thread, laid out once per call for its largest scope; nothing is allocated while scopes run.
struct Workspace {
    int64_t count;          // valid members of the scope at hand
    int64_t stride;         // count rounded up to whole vectors: the length of the float arrays and of rows of S
    int64_t *members;       // their indices among the N completions, ascending
    const float **rows;     // their embeddings in float32; the last is repeated up to a whole tile
    float *widened;         // where 16-bit embeddings become float32, (count, D), or tiles
    float *similarity;      // S, (stride, stride)
    float *scale;           // 1 / norm, or 0 for a row that is similar to nothing
    float *rewards;         // r
    float *scores;          // two arrays: lambda * r, and scratch
    float *nearest;         // m: similarity to the nearest of those picked
    float *reweighted;      // r'
    float *max_similarity;  // m when picked
    int32_t *rank;          // step at which each was picked
    int32_t *queue;         // scratch of count_components
    float *centred;         // r less its mean
    double *weights;        // sums of section 7: of each one's likeness to the others,
    double *weighed;        // and of the same times their centred rewards; scratch besides
    double *counts;         // n of section 4
    double *gains;          // b of section 4, dpp
    double *roots;          // the square roots of qualities there
    double *matrix;         // the lower half of I + L there, (stride, stride)
    int64_t *labels;        // two arrays: each one's label, and the same sorted

    float *row(int64_t i) const { return similarity + i * stride; }
};

// How many scopes one thread takes through a greedy loop together.
constexpr int greedy_batch = 4;

// Products in blocks of so many rows: a block on the diagonal gives the norms, and those below it need all of these.
struct Products {
    int64_t rows;
    void (*prepare)(const Problem &, Workspace &, int64_t block);  // of a block's embeddings; null for nothing to do
    void (*diagonal)(const Problem &, Workspace &, int64_t block);
    void (*below_diagonal)(const Problem &, Workspace &, int64_t begin, int64_t end);  // of rows of blocks
};

// One instruction set's vector code, in the order in which a scope runs through it.
struct Kernel {
    int64_t width;  // floats in a vector
    Products float32, float16, bfloat16;
    void (*finish_similarity)(Workspace &);
    void (*take_similarity)(const Problem &, Workspace &, int64_t scope, int64_t size, int64_t first_member);
    void (*greedy)(const Problem &, Workspace *const *, const float *lam, int scopes);  // up to greedy_batch
    void (*sum_likeness)(const Workspace &, const float *centred, float sharpness);
    void (*sum_similarity)(const Workspace &, const float *centred);
    void (*count_components)(const Workspace &, float threshold, bool symmetric);
    void (*determinant_gains)(const Workspace &, const double *root, double *gains);
};

// Solves the problem with up to `threads` threads. Throws std::bad_alloc.
void solve_on_cpu(const Problem &problem, int threads);

// Names of the instruction sets this processor can run, the preferred first, and the choice among them.
std::vector<std::string> instruction_sets();
std::string instruction_set();
void use_instruction_set(const std::string &name);  // throws std::invalid_argument for one that is not in the list

}  // namespace mmr
