/* What inference computes on the CPU between matrix products, each in one pass over the data:
 * libtorch composes the same of five to ten operations that all read and write memory. Plain
 * functions over pointers; no libtorch here.
 *
 * Shapes: `n` tokens, `d` features, `h` query heads, `k` key/value heads, `s` slots of a cache, `c`
 * tokens of a slot, `v` vocabulary, `g` groups of it. Rows are contiguous unless a stride is given;
 * strides count elements. `type` is one of EWE_*. Results are rounded where libtorch's operations
 * round theirs, so both agree except for the order of sums. */
#ifndef EWE_KERNELS_H
#define EWE_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EWE_FP32 = 0, EWE_BF16 = 1 };

/* Where a root-mean-square norm rounds, and how its weight is stored. */
enum {
    EWE_NORM_LLAMA = 0, /* rounded, then multiplied by the weight */
    EWE_NORM_GEMMA = 1, /* multiplied by one plus the weight, then rounded */
};

/* Which features of a head are rotated as a pair. */
enum {
    EWE_ROPE_HALVES = 0, /* i with i + dims/2 */
    EWE_ROPE_PAIRS = 1,  /* 2i with 2i + 1 */
};

enum { EWE_GELU_TANH = 0, EWE_SILU = 1 };

/* When attention weights in 16 bits are rounded. */
enum {
    EWE_WEIGHTS_AS_THEY_ARE = 0, /* before division by their sum: libtorch's fused attention */
    EWE_WEIGHTS_OF_ONE = 1,      /* after division by their sum: a separate softmax */
};

/* Rows `offset .. offset + length` of the queries are the tokens from `start` on of the sequence in
 * slot `slot`. */
typedef struct {
    int64_t offset, length, slot, start;
} ewe_segment;

typedef struct {
    /* out_nd = norm(x_nd) · weight_d, plus residual_nd unless it is null. */
    void (*rms_norm)(int type, int kind, const void *x_nd, const void *weight_d, const void *residual_nd, void *out_nd,
                     int64_t n, int64_t d, float eps);

    /* Rotates the first `dims` features of every head; cos_nr and sin_nr, which includes the sign,
     * have `dims` columns. */
    void (*rope)(int type, int layout, const void *x_nhd, const void *cos_nr, const void *sin_nr, void *out_nhd,
                 int64_t n, int64_t h, int64_t d, int64_t dims);

    /* out = activation(gate) · up, elementwise. */
    void (*gated)(int type, int activation, const void *gate, const void *up, void *out, int64_t count);

    /* out_nhd = softmax(scale · q kᵀ) v, in fp32 except for the weights. Every token sees itself
     * and the tokens before it, at most `window` in all (0: no limit). `d` is a multiple of 16, at
     * most 512. */
    void (*attend)(int type, const void *q_nhd, const void *k_sckd, const void *v_sckd, void *out_nhd,
                   const ewe_segment *segments, int64_t count, int64_t h, int64_t k, int64_t d, int64_t slot_stride,
                   int64_t token_stride, float scale, int64_t window, int rounding);

    /* For each row the maximum of each group of `width` scores and, unless `sums_ng` is null, the
     * sum of exp((score - the row's maximum) · sharpness) of each group. */
    void (*summarise)(int type, const void *logits_nv, const float *sharpness_n, float *maxima_ng, float *sums_ng,
                      int64_t n, int64_t v, int64_t width);

    /* out[i] = table[x[i]], for 16-bit elements, by their bits. */
    void (*look_up)(const uint16_t *table, const uint16_t *x, uint16_t *out, int64_t count);

    /* Returns the index of the first of `count` numbers that is infinite or NaN, or -1. */
    int64_t (*not_finite)(int type, const void *x, int64_t count);
} ewe_kernels;

/* Returns the kernels for this processor. */
const ewe_kernels *ewe_kernels_here(void);

#ifdef __cplusplus
}
#endif
#endif
