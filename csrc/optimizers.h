/* One update of a tensor of weights on the CPU: every format in which weights and moments are kept, in one pass over
 * each of them. Plain functions over pointers; no libtorch here.
 *
 * Everything is computed in fp32, operation by operation and never with fused multiply-adds, so the same bits come out on
 * every processor and with any number of threads. src/train/composed.rs does the same by libtorch's operations. Weights, gradients and
 * moments are contiguous. */
#ifndef EWE_OPTIMIZERS_H
#define EWE_OPTIMIZERS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a weight is kept. The bf16 is the one that the model computes with. */
enum {
    EWE_WEIGHT_FP32 = 0,  /* fp32 alone */
    EWE_WEIGHT_COPY = 1,  /* bf16, and fp32 in `exact`; the bf16 is the fp32 rounded to the nearest, ties away from zero */
    EWE_WEIGHT_SPLIT = 2, /* the same bf16, and in `exact` the lower 16 bits of the fp32: fp32 = (bf16 << 16) + int16 */
    EWE_WEIGHT_DRAWN = 3, /* bf16 alone, rounded up or down by chance, in proportion to what is nearer */
};

typedef struct {
    int kind;
    void *weight; /* fp32 or bf16 */
    void *exact;  /* fp32, int16 or null */
} ewe_weights;

/* How the moments of AdamW are kept. */
enum {
    EWE_MOMENTS_FP32 = 0,
    EWE_MOMENTS_8BIT = 1, /* int8 and uint8, and a scale for each EWE_OPTIMIZER_BLOCK of them */
};

/* Numbers that share a scale. */
enum { EWE_OPTIMIZER_BLOCK = 256 };

typedef struct {
    int kind;
    void *first, *second;              /* fp32; or int8 and uint8: first and √second as floats of 8 bits, parts of the scale */
    float *first_scale, *second_scale; /* the largest |first| and √second of each block; null for fp32 */
} ewe_moments;

/* The key of what is drawn for moments in 8 bits is the step's, its first word xor these. */
#define EWE_KEY_OF_FIRST 0x9e3779b9u
#define EWE_KEY_OF_SECOND 0x7f4a7c15u

/* One step of AdamW. `key` decides, with the number of an element, which way its weight is drawn. */
typedef struct {
    float factor;       /* every gradient is multiplied by this */
    float decay;        /* every weight is, before it moves: 1 - rate · decay */
    float rate;         /* -rate / (1 - beta1^t) */
    float first_share;  /* 1 - beta1 */
    float second_kept;  /* beta2 */
    float second_share; /* 1 - beta2 */
    float second_bias;  /* 1 / √(1 - beta2^t) */
    float eps;
    uint32_t key[2];
} ewe_adamw;

/* One step of a factored second moment. */
typedef struct {
    float factor; /* every gradient is multiplied by this */
    float decay;  /* every weight is, before it moves */
    float rate;   /* -rate, clipped */
    uint32_t key[2];
} ewe_factored;

typedef struct {
    /* Moments and weights of `count` elements; `gradient` is of `type`, EWE_FP32 or EWE_BF16. */
    void (*adamw)(const ewe_adamw *step, ewe_weights weights, ewe_moments moments, int type, const void *gradient,
                  int64_t count);

    /* Sum of gradient² over all of it. */
    double (*sum_of_squares)(int type, const void *gradient, int64_t count);

    /* Sums of (factor · gradient_rc)² along rows and columns. `stripes_sc` is room for EWE_OPTIMIZER_STRIPES rows. */
    void (*squares)(int type, const void *gradient_rc, float factor, float *rows_r, float *columns_c, float *stripes_sc,
                    int64_t rows, int64_t columns);

    /* Sum of (factor · gradient_rc · row_r · column_c)² along each row. */
    void (*scaled_squares)(int type, const void *gradient_rc, float factor, const float *row_r, const float *column_c,
                           float *sums_r, int64_t rows, int64_t columns);

    /* weight += rate · (factor · gradient_rc · row_r · column_c), after its decay. */
    void (*factored)(const ewe_factored *step, ewe_weights weights, int type, const void *gradient_rc, const float *row_r,
                     const float *column_c, int64_t rows, int64_t columns);
} ewe_optimizers;

/* Stripes of rows whose columns are summed apart, so that the order of sums does not depend on the number of threads. */
enum { EWE_OPTIMIZER_STRIPES = 64 };

/* Those for this processor. */
const ewe_optimizers *ewe_optimizers_here(void);

#ifdef __cplusplus
}
#endif
#endif
