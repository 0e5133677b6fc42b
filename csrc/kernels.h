/* What inference computes on the CPU between its matrix products, each in one pass over the data: libtorch composes the
 * same of five to ten operations that all read and write memory. Plain functions over pointers; no libtorch here.
 *
 * Shapes: `n` tokens, `d` features, `h` query heads, `k` key/value heads, `s` slots of a cache, `c` tokens of a slot,
 * `v` vocabulary, `g` groups of it. Rows are contiguous unless a stride is given; strides count elements. `type` is one
 * of EWE_*. Results are rounded where libtorch's operations round theirs, so both agree but for the order of sums. */
#ifndef EWE_KERNELS_H
#define EWE_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EWE_FP32 = 0, EWE_BF16 = 1 };

/* Where a root-mean-square norm rounds, and what its weight means. */
enum {
    EWE_NORM_LLAMA = 0, /* rounded, then multiplied by the weight */
    EWE_NORM_GEMMA = 1, /* multiplied by one more than the weight, then rounded */
};

/* Which features of a head turn together. */
enum {
    EWE_ROPE_HALVES = 0, /* i with i + dims/2 */
    EWE_ROPE_PAIRS = 1,  /* 2i with 2i + 1 */
};

enum { EWE_GELU_TANH = 0, EWE_SILU = 1 };

/* When attention's weights are rounded, if their type has 16 bits. */
enum {
    EWE_WEIGHTS_AS_THEY_ARE = 0, /* e^(score - maximum), as libtorch's fused attention does */
    EWE_WEIGHTS_OF_ONE = 1,      /* once they sum to 1, as a softmax of its own does */
};

/* Rows `offset .. offset + length` of the queries are tokens `start ..` of the sequence in slot `slot`. */
typedef struct {
    int64_t offset, length, slot, start;
} ewe_segment;

typedef struct {
    /* out_nd = norm(x_nd) · weight_d, plus residual_nd where that is not null. */
    void (*rms_norm)(int type, int kind, const void *x_nd, const void *weight_d, const void *residual_nd, void *out_nd,
                     int64_t n, int64_t d, float eps);

    /* Turns the first `dims` features of every head; cos_nr and sin_nr (with its sign) have `dims` columns. */
    void (*rope)(int type, int layout, const void *x_nhd, const void *cos_nr, const void *sin_nr, void *out_nhd,
                 int64_t n, int64_t h, int64_t d, int64_t dims);

    /* out = activation(gate) · up, elementwise. */
    void (*gated)(int type, int activation, const void *gate, const void *up, void *out, int64_t count);

    /* out_nhd = softmax(scale · q kᵀ) v in fp32 but for the weights, every token seeing itself and those before it, at most `window` of
     * them (0: all). `d` is a multiple of 16, at most 512. */
    void (*attend)(int type, const void *q_nhd, const void *k_sckd, const void *v_sckd, void *out_nhd,
                   const ewe_segment *segments, int64_t count, int64_t h, int64_t k, int64_t d, int64_t slot_stride,
                   int64_t token_stride, float scale, int64_t window, int rounding);

    /* For each row the maxima of its groups of `width` scores, and, where `sums_ng` is not null, the sums of
     * exp((score - the row's maximum) · sharpness) of each. */
    void (*summarise)(int type, const void *logits_nv, const float *sharpness_n, float *maxima_ng, float *sums_ng,
                      int64_t n, int64_t v, int64_t width);

    /* out[i] = table[x[i]], of numbers of 16 bits, by their bits. */
    void (*look_up)(const uint16_t *table, const uint16_t *x, uint16_t *out, int64_t count);

    /* Where the first of `count` numbers is that is infinite or none, or -1. */
    int64_t (*not_finite)(int type, const void *x, int64_t count);
} ewe_kernels;

/* Those for this processor. */
const ewe_kernels *ewe_kernels_here(void);

#ifdef __cplusplus
}
#endif
#endif
