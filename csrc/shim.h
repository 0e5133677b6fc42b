/* Functions of libtorch that its Rust binding lacks: plain functions over tensors. A tensor is the
 * binding's pointer to an at::Tensor. Every function returns 0, or 1 with the reason in `error`,
 * cut to `room` bytes. Tensors that are returned through a pointer belong to the caller. */
#ifndef EWE_SHIM_H
#define EWE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void *ewe_tensor;

/* Packs weights [out, in] in oneDNN's own order, for inference on the CPU. Fails where this build
 * of libtorch or this processor has no such order. */
int ewe_linear_pack(ewe_tensor weight, ewe_tensor *packed, char *error, size_t room);

/* x [n, in] times packed weights, plus bias [out] unless it is null: `*y` [n, out]. */
int ewe_linear_packed(ewe_tensor x, ewe_tensor packed, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* x [n, in] times weight [out, in], plus bias [out] unless it is null: `*y` [n, out], of the type
 * of x. Computed in fp32 whatever the types, in the backward pass too. */
int ewe_linear_widened(ewe_tensor x, ewe_tensor weight, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* The same without arithmetic, in the backward pass too: allocates what a product does, filled with
 * zeros. */
int ewe_linear_hollow(ewe_tensor x, ewe_tensor weight, ewe_tensor bias, ewe_tensor *y, char *error, size_t room);

/* Dequantizes codes of 4 bits to a weight [outputs, inputs] of the type of `like`. `codes` has two
 * a byte, the first in the upper half; `scales`, fp32, has one for each 64 consecutive weights;
 * `table` [256, 2], fp32, has the two levels of each byte. */
int ewe_nf4_values(ewe_tensor codes, ewe_tensor scales, ewe_tensor table, int64_t outputs, int64_t inputs, ewe_tensor like, ewe_tensor *weight,
                   char *error, size_t room);

/* Makes `count` weights on GPU `index` from the same codes, scales and table, in bf16 or fp32.
 * Returns 0, or 1 where it cannot. */
typedef int (*ewe_nf4_make)(int index, void *codes, void *scales, void *table, void *weights, int64_t count, int is_bf16);

/* Has weights on GPUs made by that, in backward passes too. */
void ewe_nf4_use(ewe_nf4_make make);

/* x [n, in] times such a weight, plus bias [outputs] unless it is null: `*y` [n, outputs]. Computed
 * in fp32 if `widen`. */
int ewe_linear_nf4(ewe_tensor x, ewe_tensor codes, ewe_tensor scales, ewe_tensor table, int64_t outputs, ewe_tensor bias, int widen,
                   ewe_tensor *y, char *error, size_t room);

/* fp32 numbers from 0 to below 1, [keys, columns], on the CPU: each a function of the row's key
 * (int64), `salt` and its column. */
int ewe_keyed_uniform(ewe_tensor keys, int64_t salt, int64_t columns, ewe_tensor *numbers, char *error, size_t room);

/* Frees the gradient that backward passes have accumulated in a leaf. */
int ewe_forget_gradient(ewe_tensor leaf, char *error, size_t room);

/* Gives the memory of a storage of its own back, and to it new memory of `bytes` bytes, with
 * undefined contents. Views of it keep their sizes, and must not be read in between. */
int ewe_storage_release(ewe_tensor x, char *error, size_t room);
int ewe_storage_fill(ewe_tensor x, size_t bytes, char *error, size_t room);

/* Bytes of a GPU, as counted by libtorch's allocator: allocated, most allocated since the last
 * `ewe_gpu_forget_peak`, free. */
typedef struct {
    int64_t allocated;
    int64_t peak;
    int64_t free;
} ewe_gpu_bytes;

int ewe_gpu_memory(int index, ewe_gpu_bytes *bytes, char *error, size_t room);
/* The CUDA stream that libtorch enqueues on, on this thread. */
int ewe_gpu_stream(int index, void **stream, char *error, size_t room);

int ewe_gpu_forget_peak(int index, char *error, size_t room);

/* Returns the memory of GPUs that libtorch's allocator keeps for later to their drivers. */
int ewe_gpu_give_back(char *error, size_t room);

/* What NVIDIA's driver library, libcuda.so.1, says of itself: whether it was found, the CUDA
 * version that it implements (12040 is 12.4), what cuInit returned, with the library's words for it
 * unless that is 0, and the GPUs that it shows to this process. */
typedef struct {
    int found;
    int version;
    int status;
    int count;
    char text[128];
} ewe_driver;

int ewe_cuda_driver(ewe_driver *state, char *error, size_t room);

/* A GPU: its compute capability, whether the driver maps its memory page by page, as expandable
 * segments need, its bytes and its name. */
typedef struct {
    int major;
    int minor;
    int virtual_memory;
    int64_t total;
    char name[128];
} ewe_card;

int ewe_cuda_card(int index, ewe_card *card, char *error, size_t room);

/* The CUDA version that libtorch was built for, as above. Fails unless libtorch_cuda is open. */
int ewe_cuda_toolkit(int *version, char *error, size_t room);

/* Free bytes of a GPU, after the context of this process was made on it. */
int ewe_cuda_free(int index, int64_t *bytes, char *error, size_t room);

/* Sets the kernels that scaled dot product attention chooses among: flash, memory-efficient and
 * composed ones, none of cuDNN. */
int ewe_cuda_choose_attention(char *error, size_t room);

/* Lets segments of libtorch's allocator grow. To be called after libtorch_cuda was opened and
 * before the first allocation. */
int ewe_cuda_expandable_segments(char *error, size_t room);

/* Sets whether operators must be deterministic, and whether fp32 products may use TF32. */
int ewe_cuda_numerics(int deterministic, int tf32, char *error, size_t room);

/* The settings of the three functions above, as they are now: 0 or 1 each. */
typedef struct {
    int flash;
    int efficient;
    int math;
    int cudnn;
    int deterministic;
    int tf32;
    int expandable;
} ewe_context;

int ewe_cuda_context(ewe_context *settings, char *error, size_t room);

/* The kernels of kernels.h, each recorded for autograd as one operation with its backward pass
 * (backward.h). Tensors are contiguous, fp32 or bf16, on the CPU, and of one type. A norm's weight
 * is not trained; its residual may be null. */
int ewe_rms_norm_recorded(ewe_tensor x, ewe_tensor weight, ewe_tensor residual, int kind, double eps, ewe_tensor *out, char *error, size_t room);
int ewe_gated_recorded(ewe_tensor gate, ewe_tensor up, int activation, ewe_tensor *out, char *error, size_t room);
int ewe_rope_recorded(ewe_tensor x, ewe_tensor cos, ewe_tensor sin, int pairing, ewe_tensor *out, char *error, size_t room);

/* Tokens of a row that follow the branch `after`, or begin a sequence if that is -1. Branches are
 * consecutive in the row, each somewhere after the one that it follows. */
typedef struct {
    int64_t length;
    int64_t after;
} ewe_branch;

/* Attention of branches within a row on the CPU, with its own backward pass. Every token sees the
 * branches that its own follows, and its own up to itself; of all these the last `window` tokens,
 * unless that is 0. Computed in fp32 if `widen`, else in the type of q [t, h, d], k and v [t, kv,
 * d], which is also the type of `*out` [t, h, d]. */
int ewe_attend_branches(ewe_tensor q, ewe_tensor k, ewe_tensor v, const ewe_branch *branches, size_t count, double scale, int64_t window,
                        int widen, ewe_tensor *out, char *error, size_t room);

/* The same with flash attention on CUDA, in 16 bits. `ends_q` and `ends_k`, int32 [branches + 1],
 * are the cumulative lengths of the branches' queries and of the keys that each sees, beginning
 * with 0. Fails on GPUs before Ampere. If `plain`, the same on the CPU in libtorch's operations, with
 * the same keys gathered and gradients summed. */
int ewe_attend_flash(ewe_tensor q, ewe_tensor k, ewe_tensor v, ewe_tensor ends_q, ewe_tensor ends_k, const ewe_branch *branches, size_t count,
                     double scale, int64_t window, int plain, ewe_tensor *out, char *error, size_t room);

/* New tokens of several sequences that attend to a cache of pages. `q` [n, h, d] has the tokens of
 * one sequence after the other; `k` and `v` [pages, page, kv, d] the pages, of a multiple of 256
 * tokens. int32 on the device of q: `query_ends` and `key_ends` [sequences + 1], cumulative lengths
 * beginning with 0; `used` [sequences], the keys of each, its new tokens' included; `table`
 * [sequences, w], the pages of each in order. The largest lengths are on the host. A token sees all
 * keys up to its own, of these the last `window` unless that is 0. */
typedef struct {
    ewe_tensor q, k, v;
    ewe_tensor query_ends, key_ends, used, table;
    int64_t most_queries, most_keys;
    double scale;
    int64_t window;
    int plain; /* whether in libtorch's operations instead of flash attention */
} ewe_pages_call;

/* `*out` [n, h, d] of the type of q, without a backward pass: one call of flash attention on CUDA in
 * 16 bits, or the same in libtorch's operations on any device. Flash attention fails on GPUs before
 * Ampere. */
int ewe_attend_pages(const ewe_pages_call *call, ewe_tensor *out, char *error, size_t room);

/* How many parts that call of flash attention may divide keys into: 0 for any number. */
int64_t ewe_attend_pages_parts(int64_t most_queries, int64_t heads, int64_t kv_heads, int64_t window);

/* Counts of a trace: calls of operators, with those that others call; views; kernels that a GPU
 * launches for them; bytes that these read and write; copies from the device and to it. */
typedef struct {
    int64_t operators;
    int64_t views;
    int64_t launches;
    int64_t bytes;
    int64_t reads;
    int64_t uploads;
} ewe_trace_counts;

/* Takes an operator's name without `aten::`, its calls and its launches. */
typedef void (*ewe_trace_name)(void *context, const char *name, int64_t calls, int64_t launches);

/* Counts what this thread computes, with its backward passes, until `ewe_trace_end` on the same
 * thread: on GPUs if `gpu`, else on the CPU, as a stand-in for one. Fails if this thread holds a
 * trace. */
int ewe_trace_begin(int gpu, void **trace, char *error, size_t room);
/* Frees the trace, and calls `each` for every operator. */
int ewe_trace_end(void *trace, ewe_trace_counts *counts, ewe_trace_name each, void *context, char *error, size_t room);

#ifdef __cplusplus
}
#endif
#endif
