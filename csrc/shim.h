/* What libtorch can do and its Rust binding does not offer: plain functions over tensors. A tensor is the binding's
 * pointer to an at::Tensor. Every function returns 0, or 1 with the reason in `error`, cut to `room` bytes. */
#ifndef EWE_SHIM_H
#define EWE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void *ewe_tensor;

/* Weights [out, in] in the order in which oneDNN multiplies by them, for inference on the CPU. `*packed` is the
 * caller's. Fails where this build of libtorch or this processor has no such order. */
int ewe_linear_pack(ewe_tensor weight, ewe_tensor *packed, char *error, size_t room);

/* x [n, in] times packed weights, plus bias [out] if that is not null; `*y` [n, out] is the caller's. */
int ewe_linear_packed(ewe_tensor x, ewe_tensor packed, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* x [n, in] times weight [out, in], plus bias [out] if that is not null, computed in fp32 whatever their type, as is the backward pass;
 * `*y` [n, out], of the type of x, is the caller's. */
int ewe_linear_widened(ewe_tensor x, ewe_tensor weight, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* The same without any arithmetic, backward pass included: what a product allocates, full of zeros. */
int ewe_linear_hollow(ewe_tensor x, ewe_tensor weight, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* The weight [outputs, inputs], of the type of `like`, that codes of 4 bits stand for: `codes` has two a byte, the first in the upper half,
 * `scales` in fp32 one for each 64 weights in a row, `table` [256, 2] in fp32 the two levels of each byte. `*weight` is the caller's. */
int ewe_nf4_values(ewe_tensor codes, ewe_tensor scales, ewe_tensor table, int64_t outputs, int64_t inputs, ewe_tensor like, ewe_tensor *weight,
                   char *error, size_t room);

/* x [n, in] times such a weight, plus bias [outputs] if that is not null, in fp32 if `widen`. `*y` [n, outputs] is the caller's. */
int ewe_linear_nf4(ewe_tensor x, ewe_tensor codes, ewe_tensor scales, ewe_tensor table, int64_t outputs, ewe_tensor bias, int widen,
                   ewe_tensor *y, char *error, size_t room);

/* Frees the gradient that backward passes have left with a leaf. */
int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room);

/* Bytes of a GPU, as libtorch's allocator for it counts: given out, given out at most since the last `ewe_gpu_forget_peak`, free. */
typedef struct {
    int64_t allocated;
    int64_t peak;
    int64_t free;
} ewe_gpu_bytes;

int ewe_gpu_memory(int index, ewe_gpu_bytes *bytes, char *error, size_t room);
int ewe_gpu_forget_peak(int index, char *error, size_t room);

/* Tokens of a row that follow those of another stretch of it, `after`, or begin a sequence where that is -1. Branches lie one behind
 * the other in the row, each behind the one that it follows. */
typedef struct {
    int64_t length;
    int64_t after;
} ewe_branch;

/* Attention within a row of branches on the CPU, with a backward of its own: every token sees what its branch follows, and its branch
 * up to itself, of all that the last `window` tokens unless that is 0. It is computed in fp32 if `widen`, else in the type of q [t, h, d], k
 * and v [t, kv, d], which `*out` [t, h, d], the caller's, has in either case. */
int ewe_attend_branches(ewe_tensor q, ewe_tensor k, ewe_tensor v, const ewe_branch *branches, size_t count, double scale, int64_t window,
                        int widen, ewe_tensor *out, char *error, size_t room);

/* The same by flash attention on CUDA, in 16 bits. `ends_q` and `ends_k` [branches + 1] of int32 are where the branches' queries, and all the
 * keys that each sees, end when they lie one behind the other, from 0 on. Fails on GPUs before Ampere. */
int ewe_attend_flash(ewe_tensor q, ewe_tensor k, ewe_tensor v, ewe_tensor ends_q, ewe_tensor ends_k, const ewe_branch *branches, size_t count,
                     double scale, int64_t window, ewe_tensor *out, char *error, size_t room);

#ifdef __cplusplus
}
#endif
#endif
