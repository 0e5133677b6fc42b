// e^x with the bits of the CPU's kernels.
#ifndef EWE_GPU_EXPONENTIAL_H
#define EWE_GPU_EXPONENTIAL_H

#include "portable.h"

namespace ewe_gpu {

#ifdef __CUDACC_RTC__
EWE_EACH float fused(float x, float y, float z) { return __fmaf_rn(x, y, z); }
#else
inline float fused(float x, float y, float z) { return std::fma(x, y, z); }
#endif

EWE_EACH float infinity() { return float_of(0x7f800000u); }

// The `exponential` of csrc/vectors.h, with the bits that it has on CPUs with fused multiply-add.
EWE_EACH float exponential(float given) {
    if (!(given > -87.0f)) return given == given ? 0.0f : given;
    if (given > 88.0f) return infinity();
    const float magic = 12582912.0f;  // 1.5 · 2^23: adding it rounds to a whole number
    const float n = fused(given, 1.44269504088896341f, magic) - magic;
    float r = fused(-n, 0.693359375f, given);
    r = fused(-n, -2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fused(p, r, 1.3981999507e-3f);
    p = fused(p, r, 8.3334519073e-3f);
    p = fused(p, r, 4.1665795894e-2f);
    p = fused(p, r, 1.6666665459e-1f);
    p = fused(p, r, 5.0000001201e-1f);
    p = fused(p * r, r, r) + 1.0f;
    return p * float_of((u32)((i32)n + 127) << 23);
}

}  // namespace ewe_gpu

#endif
