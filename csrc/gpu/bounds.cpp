// Runs every kernel of the twin over tensors of odd sizes whose memory ends where they end. Compiled
// with the address and undefined-behaviour sanitizers by a test, which so sees each read and write
// beyond a tensor, each wide load at an odd address, and each overflow of an index.

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "adafactor.h"
#include "adamw.h"
#include "gated.h"
#include "nf4.h"
#include "norms.h"
#include "rms_norm.h"
#include "rope_cache.h"

extern "C" int ewe_gpu_twin(const char *name, int64_t blocks, int64_t threads, void **arguments);

using namespace ewe_gpu;

namespace {

// Memory of exactly so many bytes, at a multiple of 16, with small numbers in it.
struct Exactly {
    std::vector<void *> all;

    template <class T> T *of(i64 count) {
        void *at = nullptr;
        if (count > 0 && posix_memalign(&at, 16, count * sizeof(T)) != 0) abort();
        all.push_back(at);
        for (i64 i = 0; i < count; i++) {
            ((T *)at)[i] = T((i * 7 + 3) % 11);
        }
        return (T *)at;
    }
    ~Exactly() {
        for (void *at : all) free(at);
    }
};

int runs = 0;

template <class... Arguments> void run(const char *name, i64 work, Arguments... arguments) {
    void *addresses[] = {&arguments...};
    // One block, some, and more warps than there is work for.
    for (i64 blocks : {i64(1), i64(2), work / 8 + 3}) {
        if (ewe_gpu_twin(name, blocks, 256, addresses) != 0) {
            fprintf(stderr, "no kernel %s\n", name);
            exit(1);
        }
        runs++;
    }
}

void adamw_of(const char *name, bool wide_weight, int exact_width, bool eight, bool bf16, const std::vector<i64> &counts) {
    Exactly exactly;
    std::vector<AdamwItem> items;
    i64 blocks = 0;
    for (i64 count : counts) {
        AdamwItem item = {};
        item.step = {1.0f, 0.99f, -0.001f, 0.1f, 0.999f, 0.001f, 1.0f, 1e-8f, {1, 2}};
        item.weight = wide_weight ? (void *)exactly.of<float>(count) : exactly.of<u16>(count);
        item.exact = exact_width == 4 ? (void *)exactly.of<float>(count) : exact_width == 2 ? exactly.of<i16>(count) : nullptr;
        item.first = eight ? (void *)exactly.of<i8>(count) : exactly.of<float>(count);
        item.second = eight ? (void *)exactly.of<u8>(count) : exactly.of<float>(count);
        item.first_scale = eight ? exactly.of<float>(groups(count, BLOCK)) : nullptr;
        item.second_scale = eight ? exactly.of<float>(groups(count, BLOCK)) : nullptr;
        item.gradient = bf16 ? (void *)exactly.of<u16>(count) : exactly.of<float>(count);
        item.count = count;
        item.begin = blocks;
        blocks += groups(count, BLOCK);
        items.push_back(item);
    }
    run(name, blocks, (const AdamwItem *)items.data(), (int)items.size(), blocks);
}

void adafactor_of(const char *const (&names)[3], bool wide_weight, int exact_width, bool bf16, const std::vector<std::pair<i64, i64>> &sizes) {
    Exactly exactly;
    std::vector<FactoredItem> items;
    i64 tiles = 0, lines = 0;
    for (auto [rows, columns] : sizes) {
        const i64 count = rows * columns, across = groups(columns, TILE_COLUMNS), down = groups(rows, TILE_ROWS);
        FactoredItem item = {};
        item.factor = item.decay = 1.0f;
        item.rate = 0.001f;
        item.kept = item.share = 0.5f;
        item.weight = wide_weight ? (void *)exactly.of<float>(count) : exactly.of<u16>(count);
        item.exact = exact_width == 4 ? (void *)exactly.of<float>(count) : exact_width == 2 ? exactly.of<i16>(count) : nullptr;
        item.gradient = bf16 ? (void *)exactly.of<u16>(count) : exactly.of<float>(count);
        item.row_means = exactly.of<float>(rows);
        item.column_means = exactly.of<float>(columns);
        item.row_sums = exactly.of<float>(across * rows);
        item.column_sums = exactly.of<float>(down * columns);
        item.tile_sums = exactly.of<float>(across * down);
        item.mean_of_rows = exactly.of<float>(1);
        item.clipped_rate = exactly.of<float>(1);
        item.rows = rows;
        item.columns = columns;
        item.begin_tile = tiles;
        item.begin_line = lines;
        item.aligned = columns % 8 == 0;
        tiles += across * down;
        lines += groups(rows, WARP) + groups(columns, WARP);
        items.push_back(item);
    }
    const FactoredItem *list = items.data();
    const int count = (int)items.size();
    run(names[0], tiles, list, count, tiles);
    run("add_tiles", count, list, count, exactly.of<double>(count));
    run("mean_lines", lines, list, count, lines);
    run("mean_rows", count, list, count);
    run(names[1], tiles, list, count, tiles);
    run("clip_rates", count, list, count);
    run(names[2], tiles, list, count, tiles);
}

void norms_of(const char *name, bool bf16, const std::vector<i64> &counts) {
    Exactly exactly;
    std::vector<NormItem> items;
    i64 stretches = 0;
    for (i64 count : counts) {
        items.push_back({bf16 ? (void *)exactly.of<u16>(count) : exactly.of<float>(count), count, stretches});
        stretches += groups(count, STRETCH);
    }
    float *sums = exactly.of<float>(stretches);
    double *totals = exactly.of<double>(items.size());
    run(name, stretches, (const NormItem *)items.data(), (int)items.size(), stretches, sums);
    run("add_stretches", items.size(), (const NormItem *)items.data(), (int)items.size(), stretches, (const float *)sums, totals);
}

template <class T> void nf4_of(const char *name, i64 count) {
    Exactly exactly;
    run(name, groups(count, 256), (const u8 *)exactly.of<u8>(groups(count, 2)), (const float *)exactly.of<float>(groups(count, NF4_BLOCK)),
        (const float *)exactly.of<float>(512), exactly.of<T>(count), count);
}

// Rows of `width` features, `apart` elements between tokens, with a residual before, behind or not
// at all.
template <class T> void rms_norm_of(const char *name, i64 tokens, i64 heads, i64 width, i64 apart) {
    Exactly exactly;
    const i64 count = tokens * heads * width;
    for (int residual : {0, 1, 2}) {
        RmsNormCall call = {};
        call.x = exactly.of<T>(count + (tokens - 1) * apart);
        call.weight = exactly.of<T>(width);
        call.residual = residual > 0 ? exactly.of<T>(count) : nullptr;
        call.sum = residual > 1 ? exactly.of<T>(count) : nullptr;
        call.out = exactly.of<T>(count);
        call.x_token = heads * width + apart;
        call.x_head = width;
        call.tokens = tokens;
        call.heads = heads;
        call.width = width;
        call.eps = 1e-6f;
        call.is_gemma = residual % 2;
        call.aligned = width % 8 == 0 && apart % 8 == 0;
        run(name, tokens * heads, call);
    }
}

// Rows of `width` features, `apart` elements between them.
template <class T> void gated_of(const char *name, i64 rows, i64 width, i64 apart) {
    Exactly exactly;
    for (int is_gelu : {0, 1}) {
        GatedCall call = {};
        call.gate = exactly.of<T>(rows * width + (rows - 1) * apart);
        call.up = exactly.of<T>(rows * width);
        call.out = exactly.of<T>(rows * width);
        call.gate_row = width + apart;
        call.up_row = width;
        call.rows = rows;
        call.width = width;
        call.is_gelu = is_gelu;
        call.aligned = width % 8 == 0 && apart % 8 == 0;
        run(name, groups(rows * groups(width, 8), WARP), call);
    }
}

// Heads of `width` features of which `dims` are rotated, each tensor by itself; `apart` elements
// between tokens belong to none.
template <class T> void rope_of(const char *name, i64 tokens, i64 heads, i64 kv, i64 width, i64 dims, i64 apart) {
    Exactly exactly;
    const auto given = [&](i64 each) { return (const T *)exactly.of<T>(tokens * each * width + (tokens - 1) * apart); };
    const i64 own = kv * width + apart;
    i64 *places = exactly.of<i64>(tokens);
    // Backwards, in a cache that ends with the first.
    for (i64 i = 0; i < tokens; i++) places[i] = 2 * (tokens - 1 - i);
    const i64 cached = (2 * tokens - 1) * kv * width;
    for (int halves : {0, 1}) {
        const int aligned = width % 8 == 0 && dims % (halves ? 16 : 8) == 0 && apart % 8 == 0;
        run(name, groups(tokens * (heads + 2 * kv) * groups(width, 8), WARP), given(heads), heads * width + apart, width, given(kv), own, width,
            given(kv), own, width, (const T *)exactly.of<T>(tokens * dims), (const T *)exactly.of<T>(tokens * dims), (const i64 *)places,
            exactly.of<T>(tokens * heads * width), exactly.of<T>(cached), exactly.of<T>(cached), tokens, heads, kv, width, dims, halves, aligned);
    }
}

}  // namespace

int main() {
    const std::vector<i64> counts = {1, 7, 8, 9, 255, 256, 257, 1000, 33, 16385, 4096};
    struct Format {
        const char *name;
        bool wide;
        int exact;
    };
    for (const Format &format : {Format{"fp32", true, 0}, Format{"copy", false, 4}, Format{"split", false, 2}, Format{"stochastic", false, 0}}) {
        for (bool eight : {false, true}) {
            for (bool bf16 : {false, true}) {
                char name[64];
                snprintf(name, sizeof name, "adamw_%s_%s_%s", format.name, eight ? "8" : "32", bf16 ? "bf16" : "fp32");
                adamw_of(name, format.wide, format.exact, eight, bf16, counts);
                for (i64 count : counts) adamw_of(name, format.wide, format.exact, eight, bf16, {count});
            }
        }
        for (bool bf16 : {false, true}) {
            char name[64];
            snprintf(name, sizeof name, "factored_%s_%s", format.name, bf16 ? "bf16" : "fp32");
            const char *names[] = {bf16 ? "square_tiles_bf16" : "square_tiles_fp32", bf16 ? "scale_tiles_bf16" : "scale_tiles_fp32", name};
            const std::vector<std::pair<i64, i64>> sizes = {{1, 1}, {1, 257}, {65, 9}, {64, 256}, {63, 264}, {130, 515}, {3, 8}, {257, 1}};
            adafactor_of(names, format.wide, format.exact, bf16, sizes);
            for (auto size : sizes) adafactor_of(names, format.wide, format.exact, bf16, {size});
        }
    }
    norms_of("square_stretches_fp32", false, counts);
    norms_of("square_stretches_bf16", true, counts);
    for (i64 count : counts) {
        nf4_of<float>("nf4_values_fp32", count);
        nf4_of<u16>("nf4_values_bf16", count);
    }
    for (i64 tokens : {1, 5}) {
        for (i64 heads : {1, 3}) {
            for (i64 apart : {0, 3, 16}) {
                for (i64 width : {1, 7, 8, 64, 255, 256, 264, 1000, 2056}) {
                    rms_norm_of<float>("rms_norm_fp32", tokens, heads, width, apart);
                    rms_norm_of<u16>("rms_norm_bf16", tokens, heads, width, apart);
                }
            }
        }
    }
    for (i64 rows : {1, 5}) {
        for (i64 apart : {0, 3, 16}) {
            for (i64 width : {1, 7, 8, 255, 256, 264, 1000}) {
                gated_of<float>("gated_fp32", rows, width, apart);
                gated_of<u16>("gated_bf16", rows, width, apart);
            }
        }
    }
    for (i64 tokens : {1, 3, 65}) {
        for (i64 apart : {0, 3, 16}) {
            for (auto [width, dims] : {std::pair<i64, i64>{64, 64}, {256, 64}, {16, 8}, {80, 20}, {6, 2}, {24, 24}, {8, 8}}) {
                rope_of<float>("rope_cache_fp32", tokens, 4, 2, width, dims, apart);
                rope_of<u16>("rope_cache_bf16", tokens, 4, 2, width, dims, apart);
            }
        }
    }
    printf("%d launches\n", runs);
}
