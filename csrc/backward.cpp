// The kernels of backward.h, written with the compiler's vector types. Compiled once for each level
// of instructions under the name EWE_TABLE; dispatch.cpp chooses one.

#include "backward.h"
#include "activations.h"
#include "vectors.h"

#ifndef EWE_TABLE
#error "EWE_TABLE names the table of this compilation"
#endif

namespace {

template <class T> inline f32x16 load_some(const T *p, int64_t count) { return count < LANES ? load(p, count) : load(p); }

template <class T> inline void store_some(T *p, f32x16 x, int64_t count) {
    if (count < LANES) {
        store(p, x, count);
    } else {
        store(p, x);
    }
}

// With y = x · f and f = (Σ x² / d + eps)^-½, the gradient of x is g · f − x · (Σ g · x) · f³ / d,
// where g is the gradient before the weight.
template <class T>
void rms_norm_row(int kind, const T *gradient, const T *x, const T *weight, T *out, int64_t d, float eps) {
    auto before_weight = [&](int64_t i, int64_t count) {
        f32x16 y = load_some(gradient + i, count), w = load_some(weight + i, count);
        return kind == EWE_NORM_GEMMA ? y * (w + all(1.0f)) : rounded(x, y * w);
    };
    f32x16 squares = {}, products = {};
    for (int64_t i = 0; i < d; i += LANES) {
        int64_t count = std::min(d - i, LANES);
        f32x16 a = load_some(x + i, count);
        squares += a * a;
        products += before_weight(i, count) * a;
    }
    float factor = 1.0f / std::sqrt(sum(squares) / (float)d + eps);
    float pull = sum(products) * factor * factor * factor / (float)d;
    for (int64_t i = 0; i < d; i += LANES) {
        int64_t count = std::min(d - i, LANES);
        f32x16 g = before_weight(i, count) * all(factor) - load_some(x + i, count) * all(pull);
        store_some(out + i, g, count);
    }
}

template <class T>
void rms_norm_of(int kind, const T *gradient, const T *x, const T *weight, T *out, int64_t n, int64_t d, float eps) {
#pragma omp parallel for schedule(static) if (n * d > WORTH_A_THREAD)
    for (int64_t row = 0; row < n; row++) {
        rms_norm_row(kind, gradient + row * d, x + row * d, weight, out + row * d, d, eps);
    }
}

void rms_norm(int type, int kind, const void *gradient, const void *x, const void *weight, void *out, int64_t n, int64_t d, float eps) {
    if (type == EWE_BF16) {
        rms_norm_of(kind, (const bf16 *)gradient, (const bf16 *)x, (const bf16 *)weight, (bf16 *)out, n, d, eps);
    } else {
        rms_norm_of(kind, (const float *)gradient, (const float *)x, (const float *)weight, (float *)out, n, d, eps);
    }
}

template <class T>
void gated_of(int activation, const T *gradient, const T *gate, const T *up, T *gate_gradient, T *up_gradient, int64_t count) {
    constexpr int64_t PIECE = 1024;
#pragma omp parallel for schedule(static) if (count > WORTH_A_THREAD / 4)
    for (int64_t from = 0; from < count; from += PIECE) {
        int64_t to = std::min(count, from + PIECE);
        for (int64_t i = from; i < to; i += LANES) {
            int64_t left = std::min(to - i, LANES);
            f32x16 y = load_some(gradient + i, left), g = load_some(gate + i, left), u = load_some(up + i, left);
            bool is_silu = activation == EWE_SILU;
            f32x16 active = rounded(gate, is_silu ? silu(g) : gelu_tanh(g));
            f32x16 slope = is_silu ? silu_slope(g) : gelu_tanh_slope(g);
            store_some(up_gradient + i, y * active, left);
            store_some(gate_gradient + i, rounded(gate, y * u) * slope, left);
        }
    }
}

void gated(int type, int activation, const void *gradient, const void *gate, const void *up, void *gate_gradient, void *up_gradient,
           int64_t count) {
    if (type == EWE_BF16) {
        gated_of(activation, (const bf16 *)gradient, (const bf16 *)gate, (const bf16 *)up, (bf16 *)gate_gradient, (bf16 *)up_gradient, count);
    } else {
        gated_of(activation, (const float *)gradient, (const float *)gate, (const float *)up, (float *)gate_gradient, (float *)up_gradient,
                 count);
    }
}

}  // namespace

extern "C" const ewe_backward EWE_TABLE = {rms_norm, gated};
