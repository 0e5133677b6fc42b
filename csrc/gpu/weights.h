// Formats of trained weights, as csrc/optimizers.h describes them, 8 at a time.
#ifndef EWE_GPU_WEIGHTS_H
#define EWE_GPU_WEIGHTS_H

#include "portable.h"

namespace ewe_gpu {

// Where 8 weights of a tensor lie: `weight` is what the model computes with, `exact` what is kept
// beside it.
struct Here {
    void *weight, *exact;
    i64 from;      // number of the first
    i64 count;     // how many there are, at least 1; the rest are not touched
    bool aligned;  // whether 8 may be read at once
};

// The nearest bf16, ties away from zero: then the lower half of the fp32 says which way it was
// rounded.
EWE_EACH u16 upper(float x) { return (u16)((bits_of(x) + 0x8000u) >> 16); }

struct Fp32 {
    static EWE_EACH void get(const Here &here, float (&x)[8]) {
        read_some(x, (const float *)here.weight + here.from, here.count, here.aligned);
    }
    static EWE_EACH void set(const Here &here, const float (&x)[8], const u32 *) {
        write_some((float *)here.weight + here.from, x, here.count, here.aligned);
    }
};

// bf16, and fp32 beside it.
struct Copy {
    static EWE_EACH void get(const Here &here, float (&x)[8]) {
        read_some(x, (const float *)here.exact + here.from, here.count, here.aligned);
    }
    static EWE_EACH void set(const Here &here, const float (&x)[8], const u32 *) {
        u16 rounded[8];
        for (int i = 0; i < 8; i++) rounded[i] = upper(x[i]);
        write_some((float *)here.exact + here.from, x, here.count, here.aligned);
        write_some((u16 *)here.weight + here.from, rounded, here.count, here.aligned);
    }
};

// bf16, and the lower 16 bits of the fp32 beside it.
struct Split {
    static EWE_EACH void get(const Here &here, float (&x)[8]) {
        u16 high[8];
        i16 low[8];
        read_some(high, (const u16 *)here.weight + here.from, here.count, here.aligned);
        read_some(low, (const i16 *)here.exact + here.from, here.count, here.aligned);
        for (int i = 0; i < 8; i++) x[i] = float_of(((u32)high[i] << 16) + (u32)(i32)low[i]);
    }
    static EWE_EACH void set(const Here &here, const float (&x)[8], const u32 *) {
        u16 high[8];
        i16 low[8];
        for (int i = 0; i < 8; i++) {
            high[i] = upper(x[i]);
            low[i] = (i16)(u16)bits_of(x[i]);
        }
        write_some((u16 *)here.weight + here.from, high, here.count, here.aligned);
        write_some((i16 *)here.exact + here.from, low, here.count, here.aligned);
    }
};

// bf16 alone, rounded up or down by chance.
struct Stochastic {
    static EWE_EACH void get(const Here &here, float (&x)[8]) {
        u16 high[8];
        read_some(high, (const u16 *)here.weight + here.from, here.count, here.aligned);
        for (int i = 0; i < 8; i++) x[i] = widened(high[i]);
    }
    static EWE_EACH void set(const Here &here, const float (&x)[8], const u32 *key) {
        u16 high[8];
        for (int i = 0; i < 8; i++) {
            high[i] = (u16)((bits_of(x[i]) + (drawn(key, here.from + i) >> 16)) >> 16);
        }
        write_some((u16 *)here.weight + here.from, high, here.count, here.aligned);
    }
};

}  // namespace ewe_gpu

#endif
