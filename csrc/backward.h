/* Backward passes of the kernels that training shares with inference (kernels.h), each in one pass
 * over the data. Plain functions over pointers; no libtorch here.
 *
 * Shapes: `n` tokens, `d` features. Everything is contiguous and of one type, EWE_FP32 or EWE_BF16.
 * Gradients are rounded where those of libtorch's operations are. */
#ifndef EWE_BACKWARD_H
#define EWE_BACKWARD_H

#include "kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    /* Gradient of a norm's input, from that of its output, without the residual. */
    void (*rms_norm)(int type, int kind, const void *gradient_nd, const void *x_nd, const void *weight_d, void *x_gradient_nd,
                     int64_t n, int64_t d, float eps);

    /* Gradients of gate and up, from that of activation(gate) · up. */
    void (*gated)(int type, int activation, const void *gradient, const void *gate, const void *up, void *gate_gradient,
                  void *up_gradient, int64_t count);
} ewe_backward;

/* Returns them for this processor. */
const ewe_backward *ewe_backward_here(void);

#ifdef __cplusplus
}
#endif

#endif
