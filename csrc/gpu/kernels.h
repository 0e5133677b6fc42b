// Every GPU kernel by its name: for NVRTC the kernels themselves, for g++ the entries of the twin's
// table (twin.cpp). A kernel gets its arguments behind its place in the launch.
#include "adafactor.h"
#include "adamw.h"
#include "gated.h"
#include "nf4.h"
#include "norms.h"
#include "rms_norm.h"
#include "rope_cache.h"
#include "sampler.h"

#ifdef __CUDACC_RTC__
// The kernel `name` of these parameters calls `function` with these arguments.
#define EWE_KERNEL(name, function, parameters, ...)                 \
    extern "C" __global__ void __launch_bounds__(256) name parameters { \
        using namespace ewe_gpu;                                    \
        function(grid(), __VA_ARGS__);                              \
    }
using namespace ewe_gpu;
#endif

// What stands between brackets is one argument of a macro.
#define EWE_ONE(...) __VA_ARGS__

#define EWE_ADAMW(name, W, M, G) \
    EWE_KERNEL(name, EWE_ONE(adamw<W, M, G>), (const AdamwItem *items, int count, i64 blocks), items, count, blocks)
#define EWE_ADAMW_OF(format, W)                       \
    EWE_ADAMW(adamw_##format##_32_fp32, W, Moments32, float) \
    EWE_ADAMW(adamw_##format##_32_bf16, W, Moments32, u16)   \
    EWE_ADAMW(adamw_##format##_8_fp32, W, Moments8, float)   \
    EWE_ADAMW(adamw_##format##_8_bf16, W, Moments8, u16)
#if defined(EWE_ALL) || defined(EWE_ADAMW_FP32)
EWE_ADAMW_OF(fp32, Fp32)
#endif
#if defined(EWE_ALL) || defined(EWE_ADAMW_COPY)
EWE_ADAMW_OF(copy, Copy)
#endif
#if defined(EWE_ALL) || defined(EWE_ADAMW_SPLIT)
EWE_ADAMW_OF(split, Split)
#endif
#if defined(EWE_ALL) || defined(EWE_ADAMW_STOCHASTIC)
EWE_ADAMW_OF(stochastic, Stochastic)
#endif

#define EWE_TILES(name, function) \
    EWE_KERNEL(name, EWE_ONE(function), (const FactoredItem *items, int count, i64 tiles), items, count, tiles)
#define EWE_FACTORED_OF(format, W)                           \
    EWE_TILES(factored_##format##_fp32, EWE_ONE(factored<W, float>)) \
    EWE_TILES(factored_##format##_bf16, EWE_ONE(factored<W, u16>))
#if defined(EWE_ALL) || defined(EWE_ADAFACTOR)
EWE_FACTORED_OF(fp32, Fp32)
EWE_FACTORED_OF(copy, Copy)
EWE_FACTORED_OF(split, Split)
EWE_FACTORED_OF(stochastic, Stochastic)
EWE_TILES(square_tiles_fp32, square_tiles<float>)
EWE_TILES(square_tiles_bf16, square_tiles<u16>)
EWE_TILES(scale_tiles_fp32, scale_tiles<float>)
EWE_TILES(scale_tiles_bf16, scale_tiles<u16>)
EWE_TILES(mean_lines, mean_lines)
EWE_KERNEL(add_tiles, add_tiles, (const FactoredItem *items, int count, double *totals), items, count, totals)
EWE_KERNEL(mean_rows, mean_rows, (const FactoredItem *items, int count), items, count)
EWE_KERNEL(clip_rates, clip_rates, (const FactoredItem *items, int count), items, count)
#endif

#define EWE_STRETCHES(name, G)                                                                              \
    EWE_KERNEL(name, square_stretches<G>, (const NormItem *items, int count, i64 stretches, float *sums), items, \
               count, stretches, sums)
#if defined(EWE_ALL) || defined(EWE_NORMS)
EWE_STRETCHES(square_stretches_fp32, float)
EWE_STRETCHES(square_stretches_bf16, u16)
EWE_KERNEL(add_stretches, add_stretches,
           (const NormItem *items, int count, i64 stretches, const float *sums, double *totals), items, count,
           stretches, sums, totals)
#endif

#define EWE_NF4(name, T)                                                                                         \
    EWE_KERNEL(name, nf4_values<T>, (const u8 *codes, const float *scales, const float *table, T *weights, i64 count), \
               codes, scales, table, weights, count)
#if defined(EWE_ALL) || defined(EWE_NF4)
EWE_NF4(nf4_values_fp32, float)
EWE_NF4(nf4_values_bf16, u16)
#endif

#define EWE_SAMPLER(name, function) EWE_KERNEL(name, EWE_ONE(function), (SamplerStep step), step)
#define EWE_SAMPLER_OF(kind, T)                                  \
    EWE_SAMPLER(sampler_prepare_##kind, sampler_prepare<T>) \
    EWE_SAMPLER(sampler_maxima_##kind, sampler_maxima<T>)   \
    EWE_SAMPLER(sampler_sums_##kind, sampler_sums<T>)       \
    EWE_SAMPLER(sampler_draw_##kind, sampler_draw<T>)
#if defined(EWE_ALL) || defined(EWE_SAMPLING)
EWE_SAMPLER_OF(fp32, float)
EWE_SAMPLER_OF(bf16, u16)
EWE_SAMPLER(sampler_peaks, sampler_peaks)
#endif

#define EWE_RMS_NORM(name, T) EWE_KERNEL(name, rms_norm<T>, (RmsNormCall call), call)
#if defined(EWE_ALL) || defined(EWE_RMS_NORMS)
EWE_RMS_NORM(rms_norm_fp32, float)
EWE_RMS_NORM(rms_norm_bf16, u16)
#endif

#define EWE_GATED_KERNEL(name, T) EWE_KERNEL(name, gated<T>, (GatedCall call), call)
#if defined(EWE_ALL) || defined(EWE_GATED)
EWE_GATED_KERNEL(gated_fp32, float)
EWE_GATED_KERNEL(gated_bf16, u16)
#endif

#define EWE_ROPE_CACHE(name, T)                                                                                          \
    EWE_KERNEL(name, rope_cache<T>,                                                                                      \
               (const T *q, i64 q_token, i64 q_head, const T *k, i64 k_token, i64 k_head, const T *v, i64 v_token,       \
                i64 v_head, const T *cos, const T *sin, const i64 *places, T *q_out, T *k_cache, T *v_cache, i64 tokens, \
                i64 heads, i64 kv, i64 width, i64 dims, int halves, int aligned),                                        \
               q, q_token, q_head, k, k_token, k_head, v, v_token, v_head, cos, sin, places, q_out, k_cache, v_cache,    \
               tokens, heads, kv, width, dims, halves, aligned)
#if defined(EWE_ALL) || defined(EWE_ROPE)
EWE_ROPE_CACHE(rope_cache_fp32, float)
EWE_ROPE_CACHE(rope_cache_bf16, u16)
#endif
