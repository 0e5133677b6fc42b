// Activations of gated layers, of 16 floats.
#ifndef EWE_ACTIVATIONS_H
#define EWE_ACTIVATIONS_H

#include "vectors.h"

namespace {

constexpr float ROOT = 0.7978845608028654f;
constexpr float CUBIC = 0.044715f;

inline f32x16 tanh_of(f32x16 x) {
    f32x16 e = exponential(x + x);
    return all(1.0f) - all(2.0f) / (e + all(1.0f));
}

inline f32x16 gelu_tanh(f32x16 x) {
    f32x16 inner = all(ROOT) * (x + all(CUBIC) * x * x * x);
    return all(0.5f) * x * (all(1.0f) + tanh_of(inner));
}

inline f32x16 silu(f32x16 x) { return x / (all(1.0f) + exponential(-x)); }

inline f32x16 gelu_tanh_slope(f32x16 x) {
    f32x16 t = tanh_of(all(ROOT) * (x + all(CUBIC) * x * x * x));
    f32x16 inner_slope = all(ROOT) * (all(1.0f) + all(3.0f * CUBIC) * x * x);
    return all(0.5f) * (all(1.0f) + t) + all(0.5f) * x * (all(1.0f) - t * t) * inner_slope;
}

inline f32x16 silu_slope(f32x16 x) {
    f32x16 sigmoid = all(1.0f) / (all(1.0f) + exponential(-x));
    return sigmoid * (all(1.0f) + x * (all(1.0f) - sigmoid));
}

}  // namespace

#endif
