/* Update rules, each one pass over a tensor: gradient, state and weight are read and written once. Plain functions over
 * pointers to contiguous memory on the CPU. */
#ifndef EWE_OPTIMIZERS_H
#define EWE_OPTIMIZERS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One step of AdamW, as PyTorch computes it. */
typedef struct {
    float factor;     /* the gradient is multiplied by this first */
    float first_new;  /* 1 - beta1; told apart from beta1, whose rounding it would inherit */
    float second_keep, second_new; /* beta2, 1 - beta2 */
    float eps;
    float keep;       /* 1 - rate · decay */
    float rate;       /* - rate / (1 - beta1^t) */
    float bias2_root; /* sqrt(1 - beta2^t) */
} ewe_adamw_step;

typedef struct {
    /* master and both moments are fp32; the gradient is of `gradient_type` (EWE_FP32 or EWE_BF16). Where `leaf` is not null,
     * it gets the new master in bf16. */
    void (*adamw)(const ewe_adamw_step *step, int gradient_type, const void *gradient, float *master, float *first,
                  float *second, void *leaf, int64_t count);
} ewe_optimizers;

/* Those for this processor. */
const ewe_optimizers *ewe_optimizers_here(void);

#ifdef __cplusplus
}
#endif
#endif
