/* One update of a tensor of weights on the CPU, for every storage format of weights and moments, in
 * one pass over each of them. Plain functions over pointers; no libtorch here.
 *
 * Everything is computed in fp32, operation by operation and never with fused multiply-adds, so the
 * bits are equal on every processor and with any number of threads. src/train/optim/fallback.rs
 * does the same in libtorch's operations. Weights, gradients and moments are contiguous. */
#ifndef EWE_OPTIMIZERS_H
#define EWE_OPTIMIZERS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a weight is stored. The model computes with the bf16. */
enum {
    EWE_WEIGHT_FP32 = 0,  /* fp32 only */
    EWE_WEIGHT_COPY = 1,  /* bf16, and in `exact` the fp32 it is rounded from, ties away from zero */
    EWE_WEIGHT_SPLIT = 2, /* bf16, and in `exact` the fp32's lower half: fp32 = (bf16 << 16) + int16 */
    EWE_WEIGHT_DRAWN = 3, /* bf16 only, with stochastic rounding */
};

typedef struct {
    int kind;
    void *weight; /* fp32 or bf16 */
    void *exact;  /* fp32, int16 or null */
} ewe_weights;

/* How the moments of AdamW are stored. */
enum {
    EWE_MOMENTS_FP32 = 0,
    EWE_MOMENTS_8BIT = 1, /* int8 and uint8, with a scale for each EWE_OPTIMIZER_BLOCK */
};

/* Elements that share a scale. */
enum { EWE_OPTIMIZER_BLOCK = 256 };

typedef struct {
    int kind;
    void *first, *second;              /* fp32; or 8-bit floats, int8 first and uint8 √second */
    float *first_scale, *second_scale; /* largest |first| and √second of a block, or null */
} ewe_moments;

/* Moments in 8 bits are rounded with the step's key, its first word xored with these. */
#define EWE_KEY_OF_FIRST 0x9e3779b9u
#define EWE_KEY_OF_SECOND 0x7f4a7c15u

/* One step of AdamW. `key` and the index of an element seed the rounding of its weight. */
typedef struct {
    float factor;       /* of every gradient */
    float decay;        /* of every weight, before the update: 1 - rate · decay */
    float rate;         /* -rate / (1 - beta1^t) */
    float first_share;  /* 1 - beta1 */
    float second_kept;  /* beta2 */
    float second_share; /* 1 - beta2 */
    float second_bias;  /* 1 / √(1 - beta2^t) */
    float eps;
    uint32_t key[2];
} ewe_adamw;

/* One step with a factored second moment. */
typedef struct {
    float factor; /* of every gradient */
    float decay;  /* of every weight, before the update */
    float rate;   /* -rate, clipped */
    uint32_t key[2];
} ewe_factored;

/* What the next step of AdamW would make of a gradient, up to learning rate and sign. */
typedef struct {
    float first_kept;   /* beta1 */
    float first_share;  /* 1 - beta1 */
    float first_bias;   /* 1 / (1 - beta1^t) */
    float second_kept;  /* beta2 */
    float second_share; /* 1 - beta2 */
    float second_bias;  /* 1 / √(1 - beta2^t) */
    float eps;
} ewe_next_update;

/* `length` numbers of a parameter from `start` on, which are added from `place` on. */
typedef struct {
    int64_t start, length, place;
} ewe_piece;

typedef struct {
    /* Updates moments and weights of `count` elements; `gradient` is of `type`, EWE_FP32 or
     * EWE_BF16. */
    void (*adamw)(const ewe_adamw *step, ewe_weights weights, ewe_moments moments, int type, const void *gradient,
                  int64_t count);

    /* Returns the sum of gradient² over all elements. */
    double (*sum_of_squares)(int type, const void *gradient, int64_t count);

    /* Sums (factor · gradient_rc)² along rows and columns. `stripes_sc` is scratch memory of
     * EWE_OPTIMIZER_STRIPES rows. */
    void (*squares)(int type, const void *gradient_rc, float factor, float *rows_r, float *columns_c, float *stripes_sc,
                    int64_t rows, int64_t columns);

    /* Sums (factor · gradient_rc · row_r · column_c)² along each row. */
    void (*scaled_squares)(int type, const void *gradient_rc, float factor, const float *row_r, const float *column_c,
                           float *sums_r, int64_t rows, int64_t columns);

    /* Multiplies weights by their decay, then adds rate · (factor · gradient_rc · row_r ·
     * column_c). */
    void (*factored)(const ewe_factored *step, ewe_weights weights, int type, const void *gradient_rc, const float *row_r,
                     const float *column_c, int64_t rows, int64_t columns);

    /* Adds to each sketch what AdamW would make of one example's gradient, times the signs. Without
     * first moments (null) the gradient stands in their place, without second ones it is added as
     * it is; without signs all are 1. */
    void (*add_updates)(const ewe_next_update *next, const float *gradient_ep, const float *first_p,
                        const float *second_p, const float *sign_p, const ewe_piece *pieces, int64_t count,
                        float *sketch_ek, int64_t examples, int64_t numbers, int64_t places);
} ewe_optimizers;

/* Stripes of rows whose column sums are computed apart, so that the order of sums does not depend
 * on the number of threads. */
enum { EWE_OPTIMIZER_STRIPES = 64 };

/* Returns the functions for this processor. */
const ewe_optimizers *ewe_optimizers_here(void);

#ifdef __cplusplus
}
#endif
#endif
