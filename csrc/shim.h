/* What libtorch can do and its Rust binding does not offer: plain functions over tensors. A tensor is the binding's
 * pointer to an at::Tensor. Every function returns 0, or 1 with the reason in `error`, cut to `room` bytes. */
#ifndef EWE_SHIM_H
#define EWE_SHIM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void *ewe_tensor;

/* Weights [out, in] in the order in which oneDNN multiplies by them, for inference on the CPU. `*packed` is the
 * caller's. Fails where this build of libtorch or this processor has no such order. */
int ewe_linear_pack(ewe_tensor weight, ewe_tensor *packed, char *error, size_t room);

/* x [n, in] times packed weights, plus bias [out] if that is not null; `*y` [n, out] is the caller's. */
int ewe_linear_packed(ewe_tensor x, ewe_tensor packed, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* Frees the gradient that backward passes have left with a leaf. */
int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room);

#ifdef __cplusplus
}
#endif
#endif
