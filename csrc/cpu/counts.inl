// Counts of section 4 and the sums of section 7 in terms of the vector primitives. No include guard: mmr_cpu.cpp includes
// it once per instruction set, after scope.inl and in the same namespace.

// What two members' similarity counts. Types of their own, because GCC compiles a lambda without a capture once more
// as a plain function, and that without this instruction set.
struct Fourth {
    vec operator()(vec s) const {
        const vec positive = maximum(s, zero()), square = multiply_add(positive, positive, zero());
        return multiply_add(square, square, zero());
    }
};
struct WholePower {
    int exponent;
    vec operator()(vec s) const {
        vec x = maximum(s, zero()), result = broadcast(1);
        for (int p = exponent; p; p >>= 1) {
            if (p & 1) result = multiply_add(result, x, zero());
            if (p > 1) x = multiply_add(x, x, zero());
        }
        return result;
    }
};
struct AnyPower {
    float exponent;
    vec operator()(vec s) const {
        float values[width];
        store(values, maximum(s, zero()));
        for (float &value : values) value = static_cast<float>(std::pow(double(value), double(exponent)));
        return load(values);
    }
};
struct Published {
    vec operator()(vec s) const { return s; }
};

// weights[i] = sum of likeness(S_ij) over the members j, weighed[i] = the same times centred[j]; j = i is one of them or
// not. Rows are added in
// float for as long as that is as good as exact, and then in double.
template <bool with_itself, class Likeness>
inline void sum_rows(const Workspace &w, const float *centred, Likeness likeness) {
    constexpr int64_t rows_at_once = 64;
    for (int64_t i = 0; i < w.count; i += width) {
        double *weights = w.weights + i, *weighed = w.weighed + i;
        std::fill(weights, weights + width, 0.0);
        std::fill(weighed, weighed + width, 0.0);
        for (int64_t first = 0; first < w.count; first += rows_at_once) {
            vec sum = zero(), sum_weighed = zero();
            for (int64_t j = first; j < std::min(first + rows_at_once, w.count); ++j) {
                vec alike = likeness(load(w.row(j) + i));
                if (!with_itself) alike = replace_lane(alike, j - i, 0);
                sum = multiply_add(alike, broadcast(1), sum);
                sum_weighed = multiply_add(alike, broadcast(centred[j]), sum_weighed);
            }
            float part[width], part_weighed[width];
            store(part, sum);
            store(part_weighed, sum_weighed);
            for (int64_t lane = 0; lane < width; ++lane) {
                weights[lane] += part[lane];
                weighed[lane] += part_weighed[lane];
            }
        }
    }
}

// The likeness of each member to the others, max(0, S_ij)^p; of none to itself.
void sum_likeness(const Workspace &w, const float *centred, float sharpness) {
    const int whole = static_cast<int>(sharpness);
    if (sharpness == 4) sum_rows<false>(w, centred, Fourth{});
    else if (static_cast<float>(whole) == sharpness) sum_rows<false>(w, centred, WholePower{whole});
    else sum_rows<false>(w, centred, AnyPower{sharpness});
}

// DRA-GRPO's published sum.
void sum_similarity(const Workspace &w, const float *centred) { sum_rows<true>(w, centred, Published{}); }

// counts[i] = members of i's connected component of S_ij > threshold, in either direction where S is not symmetric. A
// component grows from its lowest member; each member is reached once, and its row read once.
void count_components(const Workspace &w, float threshold, bool symmetric) {
    const vec least = broadcast(std::nextafter(threshold, INFINITY));  // s > threshold where s >= least
    int32_t *queue = w.rank, *unseen = w.queue;
    int64_t tail = 0;
    for (int64_t block = 0; block * width < w.count; ++block)
        unseen[block] = static_cast<int32_t>((1u << std::min<int64_t>(w.count - block * width, width)) - 1);
    const auto reach = [&](int64_t block, uint32_t lanes) {
        for (lanes &= static_cast<uint32_t>(unseen[block]); lanes; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes);
            unseen[block] &= ~(1 << lane);
            queue[tail++] = static_cast<int32_t>(block * width + lane);
        }
    };
    for (int64_t start = 0; start < w.count; ++start) {
        const int64_t begin = tail;
        reach(start / width, 1u << start % width);
        for (int64_t head = begin; head < tail; ++head) {
            const int64_t j = queue[head];
            for (int64_t block = 0; block * width < w.count; ++block) {
                const vec s = load(w.row(j) + block * width);
                reach(block, equal_lanes(maximum(s, least), s));
            }
            for (int64_t i = 0; !symmetric && i < w.count; ++i)
                if (w.row(i)[j] > threshold) reach(i / width, 1u << i % width);
        }
        for (int64_t k = begin; k < tail; ++k) w.counts[queue[k]] = static_cast<double>(tail - begin);
    }
}

// gains[i] = -log of the diagonal of (I + L)^-1 (section 4, dpp), L = root_i S_ij root_j. Each step brings one place of
// the symmetric matrix, whose lower half is held, to its negative inverse: Beaton's sweep operator (1964).
void determinant_gains(const Workspace &w, const double *root, double *gains) {
    const int64_t count = w.count;
    const auto row = [&](int64_t i) { return w.matrix + i * w.stride; };
    double *column = w.weights, *divided = w.weighed;
    for (int64_t i = 0; i < count; ++i) {
        for (int64_t j = 0; j <= i; ++j)
            row(i)[j] = root[i] * root[j] * (0.5 * (static_cast<double>(w.row(i)[j]) + w.row(j)[i]));
        row(i)[i] += 1;
        gains[i] = std::max(row(i)[i], 1.0);
    }
    for (int64_t k = 0; k < count; ++k) {
        const double pivot = std::max(row(k)[k], 1.0);
        for (int64_t i = 0; i < count; ++i) {
            column[i] = i < k ? row(k)[i] : row(i)[k];
            divided[i] = column[i] / pivot;
        }
        for (int64_t i = 0; i < count; ++i) {
            const double factor = column[i];
            double *const of_row = row(i);
            for (int64_t j = 0; j <= i; ++j) of_row[j] -= factor * divided[j];
        }
        for (int64_t i = 0; i < count; ++i) (i < k ? row(k)[i] : row(i)[k]) = divided[i];
        row(k)[k] = -1 / pivot;
    }
    // 1 / (1 + L_ii) <= inverse <= 1; a NaN, which only a matrix that isn't positive semidefinite can give, counts as 1.
    for (int64_t i = 0; i < count; ++i) {
        const double inverse = -row(i)[i];
        gains[i] = -std::log(inverse < 1 ? std::max(inverse, 1 / gains[i]) : 1.0);
    }
}

constexpr Products as_it_is = {4, nullptr, diagonal_block, below_diagonal};
constexpr Products widened = {4, widen_block, diagonal_block, below_diagonal};
const Kernel kernel = {width, as_it_is, widened, widened, finish_similarity, take_similarity, greedy,
                       sum_likeness, sum_similarity, count_components, determinant_gains};
