// The gate of an MLP, activation(gate) · up, in one launch instead of two. It rounds where libtorch's
// operations round.
//
// A lane takes 8 features of a row. Without gradients.
#ifndef EWE_GPU_GATED_H
#define EWE_GPU_GATED_H

#include "exponential.h"
#include "portable.h"

namespace ewe_gpu {

// One call, by value. Elements are of the type that the kernel is made for.
struct GatedCall {
    const void *gate;  // [rows, width], rows at this distance; a row's features are adjacent
    const void *up;    // the same
    void *out;         // [rows, width], contiguous
    i64 gate_row, up_row;
    i64 rows, width;
    i32 is_gelu;  // GELU with a tanh, or else SiLU
    i32 aligned;  // whether 8 features may be read and written at once
};

EWE_EACH float silu(float x) { return quotient(x, 1.0f + exponential(-x)); }

EWE_EACH float gelu_tanh(float x) {
    const float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    const float tanh = 1.0f - quotient(2.0f, exponential(inner + inner) + 1.0f);
    return 0.5f * x * (1.0f + tanh);
}

template <class T> EWE_EACH void gated(const Grid &grid, const GatedCall &call) {
    const i64 parts = groups(call.width, 8), count = call.rows * parts;
    const bool aligned = call.aligned != 0;
    for (i64 at = grid.warp; at < groups(count, WARP); at += grid.warps) {
        EWE_LANES(lane) {
            const i64 number = at * WARP + lane;
            if (number < count) {
                const i64 row = number / parts, from = number % parts * 8, left = call.width - from;
                T gate[8], up[8], y[8];
                read_some(gate, (const T *)call.gate + row * call.gate_row + from, left, aligned);
                read_some(up, (const T *)call.up + row * call.up_row + from, left, aligned);
                for (int i = 0; i < 8; i++) {
                    const float x = widened(gate[i]);
                    put(&y[i], rounded_as<T>(call.is_gelu ? gelu_tanh(x) : silu(x)) * widened(up[i]));
                }
                write_some((T *)call.out + row * call.width + from, y, left, aligned);
            }
        }
    }
}

}  // namespace ewe_gpu

#endif
