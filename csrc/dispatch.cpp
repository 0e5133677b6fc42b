// Chooses the kernels for the processor at run time.

#include "backward.h"
#include "kernels.h"
#include "optimizers.h"

extern "C" {
extern const ewe_backward ewe_backward_base;
extern const ewe_kernels ewe_kernels_base;
extern const ewe_optimizers ewe_optimizers_base;
#if defined(__x86_64__)
extern const ewe_backward ewe_backward_v3, ewe_backward_v4, ewe_backward_v4_bf16;
extern const ewe_kernels ewe_kernels_v3, ewe_kernels_v4, ewe_kernels_v4_bf16;
extern const ewe_optimizers ewe_optimizers_v3, ewe_optimizers_v4, ewe_optimizers_v4_bf16;
#endif
}

namespace {

// Levels of instructions, named as in build.rs.
enum Level { BASE, V3, V4, V4_BF16 };

Level level() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return __builtin_cpu_supports("avx512bf16") ? V4_BF16 : V4;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return V3;
#endif
    return BASE;
}

}  // namespace

extern "C" {

#if defined(__x86_64__)
#define EWE_HERE(table)                                                                       \
    static const table *const tables[] = {&table##_base, &table##_v3, &table##_v4, &table##_v4_bf16}; \
    return tables[level()]
#else
#define EWE_HERE(table) return &table##_base
#endif

const ewe_backward *ewe_backward_here(void) { EWE_HERE(ewe_backward); }

const ewe_kernels *ewe_kernels_here(void) { EWE_HERE(ewe_kernels); }

const ewe_optimizers *ewe_optimizers_here(void) { EWE_HERE(ewe_optimizers); }
}
