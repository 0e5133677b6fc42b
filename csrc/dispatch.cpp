// Chooses the kernels for the processor that runs them.

#include "kernels.h"

extern "C" {
extern const ewe_kernels ewe_kernels_base;
#if defined(__x86_64__)
extern const ewe_kernels ewe_kernels_v3;
extern const ewe_kernels ewe_kernels_v4;
extern const ewe_kernels ewe_kernels_v4_bf16;
#endif

const ewe_kernels *ewe_kernels_here(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return __builtin_cpu_supports("avx512bf16") ? &ewe_kernels_v4_bf16 : &ewe_kernels_v4;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
        return &ewe_kernels_v3;
    }
#endif
    return &ewe_kernels_base;
}
}
