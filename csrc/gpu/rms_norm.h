// Root-mean-square norm (Zhang and Sennrich 2019) of rows, with a sum before or behind it, in one
// launch instead of four to six. It rounds where libtorch's operations round, and sums squares in
// fp32 as they do, though in another order.
//
// A warp takes a row. Without gradients.
#ifndef EWE_GPU_RMS_NORM_H
#define EWE_GPU_RMS_NORM_H

#include "portable.h"

namespace ewe_gpu {

// One call, by value. Elements are of the type that the kernel is made for.
struct RmsNormCall {
    const void *x;        // [tokens, heads, width], at these distances; a row's features are adjacent
    const void *weight;   // [width]
    const void *residual; // [tokens, heads, width], contiguous, or null
    void *sum;            // the same: x + residual, which is normalized; null if the residual is added behind
    void *out;            // the same
    i64 x_token, x_head;
    i64 tokens, heads, width;
    float eps;
    i32 is_gemma;  // whether the scale is 1 + weight, and the product is rounded once
    i32 aligned;   // whether 8 features may be read and written at once
    i32 unused;
};

// 8 features of a row that is normalized, from its begin or from the sum that was written.
template <class T> EWE_EACH void read_row(T (&x)[8], const RmsNormCall &call, const T *row, const T *sum, i64 at) {
    read_some(x, (sum ? sum : row) + at, call.width - at, call.aligned != 0);
}

// Adds the residual's features to those of a row, and writes the sum.
template <class T> EWE_EACH void add_residual(T (&x)[8], const RmsNormCall &call, const T *residual, T *sum, i64 at) {
    T other[8];
    read_some(other, residual + at, call.width - at, call.aligned != 0);
    for (int i = 0; i < 8; i++) put(&x[i], widened(x[i]) + widened(other[i]));
    write_some(sum + at, x, call.width - at, call.aligned != 0);
}

template <class T> EWE_EACH void rms_norm(const Grid &grid, const RmsNormCall &call) {
    const i64 rows = call.tokens * call.heads;
    const bool aligned = call.aligned != 0;
    for (i64 at = grid.warp; at < rows; at += grid.warps) {
        const T *row = (const T *)call.x + at / call.heads * call.x_token + at % call.heads * call.x_head;
        const T *residual = call.residual ? (const T *)call.residual + at * call.width : nullptr;
        T *const sum = call.sum ? (T *)call.sum + at * call.width : nullptr;
        T *const out = (T *)call.out + at * call.width;
        PerLane<float> own;
        EWE_LANES(lane) {
            // Eight sums at once, so that none waits for itself.
            float totals[8] = {};
            for (i64 i = lane * 8; i < call.width; i += WARP * 8) {
                T x[8];
                read_row<T>(x, call, row, nullptr, i);
                if (sum) add_residual(x, call, residual, sum, i);
                for (int n = 0; n < 8; n++) totals[n] += widened(x[n]) * widened(x[n]);
            }
            own[lane] = ((totals[0] + totals[1]) + (totals[2] + totals[3])) + ((totals[4] + totals[5]) + (totals[6] + totals[7]));
        }
        const float mean = quotient(warp_sum(own), (float)call.width);
        const float factor = quotient(1.0f, root(mean + call.eps));
        EWE_LANES(lane) {
            // A lane reads only what it wrote itself.
            for (i64 i = lane * 8; i < call.width; i += WARP * 8) {
                const i64 count = call.width - i;
                T x[8], w[8], r[8], y[8];
                read_row<T>(x, call, row, sum, i);
                read_some(w, (const T *)call.weight + i, count, aligned);
                const bool adds = residual && !sum;
                if (adds) read_some(r, residual + i, count, aligned);
                for (int n = 0; n < 8; n++) {
                    const float scaled = widened(x[n]) * factor;
                    const float scale = widened(w[n]);
                    float normed = call.is_gemma ? scaled * (scale + 1.0f) : rounded_as<T>(scaled) * scale;
                    if (adds) normed = rounded_as<T>(normed) + widened(r[n]);
                    put(&y[n], normed);
                }
                write_some(out + i, y, count, aligned);
            }
        }
    }
}

}  // namespace ewe_gpu

#endif
