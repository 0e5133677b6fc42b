// Adafactor without a first moment over many matrices, without a read by the host. The norms that
// clipping needs come from the sums that the running means need, so that a step reads each gradient
// three times, clipping included:
//
// 1. `square_tiles`: of each tile of a gradient the sums of squares along rows, along columns and of
//    all; `add_tiles`: of each matrix the sum of all, from which the host computes norm and factor
// 2. `mean_lines`: the sums of rows and columns added, and the running means moved
// 3. `mean_rows`: of each matrix the mean of its rows' means
// 4. `scale_tiles`: of each tile the sum of squares of the update
// 5. `clip_rates`: of each matrix the root mean square of its update, and the rate that follows
// 6. `factored`: the weights
//
// The size of an update, Σ g² r² c², follows from no sums of fewer numbers than the gradient has:
// its factors r and c are known once all rows and columns are added. Hence the second reading.
//
// A tile is 64 rows of 256 columns; a warp takes one. Sums are in another order than those of
// csrc/optimizers.cpp, and multiplied by the factor afterwards; all else is the same, operation by
// operation.
#ifndef EWE_GPU_ADAFACTOR_H
#define EWE_GPU_ADAFACTOR_H

#include "weights.h"

namespace ewe_gpu {

constexpr i64 TILE_ROWS = 64, TILE_COLUMNS = 256;

// One matrix [rows, columns] of a launch; a vector is a matrix of one row.
struct FactoredItem {
    float factor;  // every gradient is multiplied by this, sums of squares by its square
    float decay;   // every weight is, before it moves
    float rate;    // learning rate
    float kept;    // share of the running means that is kept
    float share;   // and that of the new ones: 1 - kept
    u32 key[2];
    void *weight, *exact;       // as the format has them
    const void *gradient;       // fp32 or bf16
    float *row_means, *column_means;
    float *row_sums;            // room: [tiles across, rows]
    float *column_sums;         // room: [tiles down, columns]
    float *tile_sums;           // room: one for each tile, of the gradient and then of the update
    float *mean_of_rows, *clipped_rate;  // room: one number each
    i64 rows, columns;
    i64 begin_tile;  // tiles of the items before
    i64 begin_line;  // of the same, rows and columns in groups of 32, each matrix's rows first
    int aligned;     // whether 16 divides all addresses and 8 the columns
};

struct Tile {
    i64 across, down;  // its number in both directions
    i64 row, column;   // its first
    i64 rows;          // how many of them
};

EWE_EACH Tile tile_of(const FactoredItem &item, i64 number) {
    const i64 across = groups(item.columns, TILE_COLUMNS);
    Tile tile;
    tile.across = number % across;
    tile.down = number / across;
    tile.row = tile.down * TILE_ROWS;
    tile.column = tile.across * TILE_COLUMNS;
    tile.rows = item.rows - tile.row < TILE_ROWS ? item.rows - tile.row : TILE_ROWS;
    return tile;
}

// 8 of a gradient's numbers, zeros beyond its columns.
template <class G> EWE_EACH void raw_gradients(float (&x)[8], const FactoredItem &item, i64 row, i64 column) {
    G g[8] = {};
    if (column < item.columns) {
        read_some(g, (const G *)item.gradient + row * item.columns + column, item.columns - column, item.aligned != 0);
    }
    for (int i = 0; i < 8; i++) x[i] = widened(g[i]);
}

// The same, multiplied by the factor.
template <class G> EWE_EACH void gradients(float (&x)[8], const FactoredItem &item, i64 row, i64 column) {
    raw_gradients<G>(x, item, row, column);
    for (int i = 0; i < 8; i++) x[i] = x[i] * item.factor;
}

template <class F> EWE_EACH void each_tile(const Grid &grid, const FactoredItem *items, int count, i64 tiles, F f) {
    for (i64 at = grid.warp; at < tiles; at += grid.warps) {
        const FactoredItem &item = items[item_at(count, at, [&](int i) { return items[i].begin_tile; })];
        f(item, tile_of(item, at - item.begin_tile), at - item.begin_tile);
    }
}

template <class G> EWE_EACH void square_tiles(const Grid &grid, const FactoredItem *items, int count, i64 tiles) {
    each_tile(grid, items, count, tiles, [&](const FactoredItem &item, const Tile &tile, i64 number) {
        PerLane<float[8]> down;
        PerLane<float> own;
        EWE_LANES(lane) {
            for (int i = 0; i < 8; i++) down[lane][i] = 0.0f;
        }
        for (i64 r = 0; r < tile.rows; r++) {
            PerLane<float> along;
            EWE_LANES(lane) {
                float g[8];
                raw_gradients<G>(g, item, tile.row + r, tile.column + lane * 8);
                float total = 0.0f;
                for (int i = 0; i < 8; i++) {
                    down[lane][i] += g[i] * g[i];
                    total += g[i] * g[i];
                }
                along[lane] = total;
            }
            const float sum = warp_sum(along);
            EWE_LANES(lane) {
                if (lane == 0) item.row_sums[tile.across * item.rows + tile.row + r] = sum;
            }
        }
        EWE_LANES(lane) {
            const i64 column = tile.column + lane * 8;
            write_some(item.column_sums + tile.down * item.columns + column, down[lane], item.columns - column, false);
            const float(&sums)[8] = down[lane];
            own[lane] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
        }
        const float sum = warp_sum(own);
        EWE_LANES(lane) {
            if (lane == 0) item.tile_sums[number] = sum;
        }
    });
}

// How many tiles a matrix has.
EWE_EACH i64 tiles_of(const FactoredItem &item) { return groups(item.rows, TILE_ROWS) * groups(item.columns, TILE_COLUMNS); }

// Of each gradient the sum of squares, without the factor.
EWE_EACH void add_tiles(const Grid &grid, const FactoredItem *items, int count, double *totals) {
    for (i64 at = grid.warp; at < count; at += grid.warps) {
        const i64 tiles = tiles_of(items[at]);
        PerLane<double> own;
        EWE_LANES(lane) {
            own[lane] = 0;
            for (i64 i = lane; i < tiles; i += WARP) own[lane] += items[at].tile_sums[i];
        }
        const double total = warp_sum(own);
        EWE_LANES(lane) {
            if (lane == 0) totals[at] = total;
        }
    }
}

// Added to every mean of squares.
constexpr float FACTORED_EPS = 1e-30f;

// The running mean of a row or column, after one more mean of squares.
EWE_EACH float moved_mean(float mean, float sum, i64 of, float kept, float share) {
    const float now = quotient(sum, (float)of) + FACTORED_EPS;
    return mean * kept + now * share;
}

EWE_EACH void mean_lines(const Grid &grid, const FactoredItem *items, int count, i64 lines) {
    for (i64 at = grid.warp; at < lines; at += grid.warps) {
        const FactoredItem &item = items[item_at(count, at, [&](int i) { return items[i].begin_line; })];
        const i64 group = at - item.begin_line, of_rows = groups(item.rows, WARP);
        const bool is_row = group < of_rows;
        const float *sums = is_row ? item.row_sums : item.column_sums;
        float *means = is_row ? item.row_means : item.column_means;
        const i64 size = is_row ? item.rows : item.columns, each = is_row ? item.columns : item.rows;
        const i64 parts = is_row ? groups(item.columns, TILE_COLUMNS) : groups(item.rows, TILE_ROWS);
        EWE_LANES(lane) {
            const i64 line = (is_row ? group : group - of_rows) * WARP + lane;
            if (line < size) {
                float sum = 0.0f;
                for (i64 part = 0; part < parts; part++) sum += sums[part * size + line];
                // One after the other: the square of a small factor would be 0.
                means[line] = moved_mean(means[line], sum * item.factor * item.factor, each, item.kept, item.share);
            }
        }
    }
}

// The sum of `count` numbers by one warp.
EWE_EACH float sum_of(const float *x, i64 count) {
    PerLane<float> own;
    EWE_LANES(lane) {
        // Eight sums at once, so that none waits for itself: an embedding has many rows.
        float totals[8] = {};
        for (i64 i = lane; i < count; i += WARP * 8) {
            for (int n = 0; n < 8; n++) {
                if (i + WARP * n < count) totals[n] += x[i + WARP * n];
            }
        }
        own[lane] = ((totals[0] + totals[1]) + (totals[2] + totals[3])) + ((totals[4] + totals[5]) + (totals[6] + totals[7]));
    }
    return warp_sum(own);
}

EWE_EACH void mean_rows(const Grid &grid, const FactoredItem *items, int count) {
    for (i64 at = grid.warp; at < count; at += grid.warps) {
        const float sum = sum_of(items[at].row_means, items[at].rows);
        EWE_LANES(lane) {
            if (lane == 0) *items[at].mean_of_rows = quotient(sum, (float)items[at].rows);
        }
    }
}

EWE_EACH float inverse_root(float x) { return quotient(1.0f, root(x)); }

// Factors of 8 columns.
EWE_EACH void column_factors(float (&x)[8], const FactoredItem &item, i64 column) {
    for (int i = 0; i < 8; i++) x[i] = column + i < item.columns ? inverse_root(item.column_means[column + i]) : 0.0f;
}

EWE_EACH float row_factor(const FactoredItem &item, i64 row) {
    return inverse_root(quotient(item.row_means[row], *item.mean_of_rows));
}

template <class G> EWE_EACH void scale_tiles(const Grid &grid, const FactoredItem *items, int count, i64 tiles) {
    each_tile(grid, items, count, tiles, [&](const FactoredItem &item, const Tile &tile, i64 number) {
        PerLane<float> own;
        EWE_LANES(lane) {
            float columns[8], total = 0.0f;
            column_factors(columns, item, tile.column + lane * 8);
            for (i64 r = 0; r < tile.rows; r++) {
                float g[8];
                gradients<G>(g, item, tile.row + r, tile.column + lane * 8);
                const float row = row_factor(item, tile.row + r);
                for (int i = 0; i < 8; i++) {
                    const float u = g[i] * row * columns[i];
                    total += u * u;
                }
            }
            own[lane] = total;
        }
        const float sum = warp_sum(own);
        EWE_LANES(lane) {
            if (lane == 0) item.tile_sums[number] = sum;
        }
    });
}

EWE_EACH void clip_rates(const Grid &grid, const FactoredItem *items, int count) {
    for (i64 at = grid.warp; at < count; at += grid.warps) {
        const FactoredItem &item = items[at];
        const float sum = sum_of(item.tile_sums, tiles_of(item));
        EWE_LANES(lane) {
            if (lane == 0) {
                const float size = root(quotient(sum, (float)(item.rows * item.columns)));
                // What is not a number stays so, and is seen by the guard.
                *item.clipped_rate = size <= 1.0f ? -item.rate : quotient(-item.rate, size);
            }
        }
    }
}

template <class W, class G> EWE_EACH void factored(const Grid &grid, const FactoredItem *items, int count, i64 tiles) {
    each_tile(grid, items, count, tiles, [&](const FactoredItem &item, const Tile &tile, i64) {
        EWE_LANES(lane) {
            const i64 column = tile.column + lane * 8;
            if (column < item.columns) {
                float columns[8];
                column_factors(columns, item, column);
                const float rate = *item.clipped_rate;
                for (i64 r = 0; r < tile.rows; r++) {
                    const i64 row = tile.row + r, left = item.columns - column;
                    float g[8], weight[8];
                    gradients<G>(g, item, row, column);
                    const float row_f = row_factor(item, row);
                    const Here here = {item.weight, item.exact, row * item.columns + column, left < 8 ? left : 8, item.aligned != 0};
                    W::get(here, weight);
                    for (int i = 0; i < 8; i++) weight[i] = weight[i] * item.decay + (g[i] * row_f * columns[i]) * rate;
                    W::set(here, weight, item.key);
                }
            }
        }
    });
}

}  // namespace ewe_gpu

#endif
