// Counts the bytes that our GPU kernels read and write, for tests that hold budgets: their own
// lines (csrc/gpu) with other functions for eight numbers at once. What they read one by one, such
// as the scale of a block, is not counted.

#include <cstdlib>
#include <vector>

// Apart from the twin's functions of the same names.
#define ewe_gpu ewe_gpu_traced
#include "gpu/portable.h"

namespace ewe_gpu {

static thread_local i64 touched = 0;

inline i64 some(i64 count) { return count < 0 ? 0 : count < 8 ? count : 8; }

template <class T> inline void read_traced(T (&x)[8], const T *p, i64 count, bool aligned) {
    touched += some(count) * (i64)sizeof(T);
    read_some(x, p, count, aligned);
}

template <class T> inline void write_traced(T *p, const T (&x)[8], i64 count, bool aligned) {
    touched += some(count) * (i64)sizeof(T);
    write_some(p, x, count, aligned);
}

}  // namespace ewe_gpu

#define read_some read_traced
#define write_some write_traced
#include "gpu/adafactor.h"
#include "gpu/adamw.h"
#undef read_some
#undef write_some

namespace {

using namespace ewe_gpu;

// Zeroed memory at a multiple of 16.
struct Memory {
    std::vector<void *> all;

    void *of(i64 bytes) {
        void *at = aligned_alloc(16, (size_t)(bytes + 16) / 16 * 16);
        if (at == nullptr) abort();
        memset(at, 0, (size_t)(bytes + 16) / 16 * 16);
        all.push_back(at);
        return at;
    }
    ~Memory() {
        for (void *at : all) free(at);
    }
};

template <class W, class M, class G> i64 adamw_touches(i64 count) {
    Memory memory;
    AdamwItem item = {};
    item.step = {1.0f, 0.99f, -0.001f, 0.1f, 0.999f, 0.001f, 1.0f, 1e-8f, {1, 2}};
    const i64 blocks = groups(count, BLOCK);
    item.weight = memory.of(4 * count);
    item.exact = memory.of(4 * count);
    item.first = memory.of(4 * count);
    item.second = memory.of(4 * count);
    item.first_scale = (float *)memory.of(4 * blocks);
    item.second_scale = (float *)memory.of(4 * blocks);
    item.gradient = memory.of(sizeof(G) * count);
    item.count = count;
    touched = 0;
    adamw<W, M, G>({0, 1}, &item, 1, blocks);
    return touched;
}

template <class W, class G> i64 adafactor_touches(i64 rows, i64 columns) {
    Memory memory;
    FactoredItem item = {};
    const i64 count = rows * columns, down = groups(rows, TILE_ROWS), across = groups(columns, TILE_COLUMNS);
    item.factor = item.decay = item.rate = 1.0f;
    item.kept = item.share = 0.5f;
    item.weight = memory.of(4 * count);
    item.exact = memory.of(4 * count);
    item.gradient = memory.of(sizeof(G) * count);
    item.row_means = (float *)memory.of(4 * rows);
    item.column_means = (float *)memory.of(4 * columns);
    item.row_sums = (float *)memory.of(4 * across * rows);
    item.column_sums = (float *)memory.of(4 * down * columns);
    item.tile_sums = (float *)memory.of(4 * down * across);
    item.mean_of_rows = (float *)memory.of(4);
    item.clipped_rate = (float *)memory.of(4);
    item.rows = rows;
    item.columns = columns;
    item.aligned = columns % 8 == 0;
    const i64 tiles = down * across, lines = groups(rows, WARP) + groups(columns, WARP);
    square_tiles<G>({0, 1}, &item, 1, tiles);
    // What is above comes with the norm that clipping needs.
    touched = 0;
    mean_lines({0, 1}, &item, 1, lines);
    mean_rows({0, 1}, &item, 1);
    scale_tiles<G>({0, 1}, &item, 1, tiles);
    clip_rates({0, 1}, &item, 1);
    factored<W, G>({0, 1}, &item, 1, tiles);
    return touched;
}

template <class W, class M> i64 adamw_by_gradient(bool is_bf16, i64 count) {
    return is_bf16 ? adamw_touches<W, M, u16>(count) : adamw_touches<W, M, float>(count);
}

template <class W> i64 adamw_by_moments(bool in_8_bits, bool is_bf16, i64 count) {
    return in_8_bits ? adamw_by_gradient<W, Moments8>(is_bf16, count) : adamw_by_gradient<W, Moments32>(is_bf16, count);
}

template <class W> i64 adafactor_by_gradient(bool is_bf16, i64 rows, i64 columns) {
    return is_bf16 ? adafactor_touches<W, u16>(rows, columns) : adafactor_touches<W, float>(rows, columns);
}

}  // namespace

extern "C" {

// Formats of weights: 0 fp32, 1 fp32 copy, 2 split, 3 stochastic. Returns bytes, or -1 for another.

int64_t ewe_touched_by_adamw(int weights, int in_8_bits, int is_bf16, int64_t count) {
    switch (weights) {
    case 0: return adamw_by_moments<Fp32>(in_8_bits, is_bf16, count);
    case 1: return adamw_by_moments<Copy>(in_8_bits, is_bf16, count);
    case 2: return adamw_by_moments<Split>(in_8_bits, is_bf16, count);
    case 3: return adamw_by_moments<Stochastic>(in_8_bits, is_bf16, count);
    default: return -1;
    }
}

int64_t ewe_touched_by_adafactor(int weights, int is_bf16, int64_t rows, int64_t columns) {
    switch (weights) {
    case 0: return adafactor_by_gradient<Fp32>(is_bf16, rows, columns);
    case 1: return adafactor_by_gradient<Copy>(is_bf16, rows, columns);
    case 2: return adafactor_by_gradient<Split>(is_bf16, rows, columns);
    case 3: return adafactor_by_gradient<Stochastic>(is_bf16, rows, columns);
    default: return -1;
    }
}
}
