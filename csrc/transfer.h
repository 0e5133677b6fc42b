/* Copies between a GPU and host memory that the host does not wait for. The conventions are those
 * of shim.h. */
#ifndef EWE_TRANSFER_H
#define EWE_TRANSFER_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Allocates `count` bytes of page-locked host memory: `*bytes`, uint8 [count]. Fails without a GPU.
 * libtorch rounds `count` up to a power of two and never returns the memory to the system. */
int ewe_pinned_bytes(int64_t count, ewe_tensor *bytes, char *error, size_t room);

/* Copies `from` to `to`, of the same shape, on the current stream. If one of the two is in
 * page-locked host memory and the other on a GPU, returns before the copy has taken place. */
int ewe_copy_without_waiting(ewe_tensor to, ewe_tensor from, char *error, size_t room);

/* Records everything that this thread has enqueued on its current stream of GPU `index`. */
int ewe_event_of_stream(int index, void **event, char *error, size_t room);

/* The number of the stream that libtorch computes on, on this thread, or with `beside` that of one of
 * libtorch's others, a new one each time until there are no more. */
int ewe_stream(int index, int beside, int64_t *stream, char *error, size_t room);

/* As ewe_copy_without_waiting, on that stream. The memory of both tensors must stay until the copy is
 * done. */
int ewe_stream_copy(int index, int64_t stream, ewe_tensor to, ewe_tensor from, char *error, size_t room);

/* Records everything that is enqueued on that stream. */
int ewe_stream_record(int index, int64_t stream, void **event, char *error, size_t room);

/* Has that stream wait for what was recorded before it goes on; the host does not wait. */
int ewe_stream_wait(int index, int64_t stream, void *event, char *error, size_t room);

/* The stream by CUDA's own handle. */
int ewe_stream_handle(int index, int64_t stream, void **handle, char *error, size_t room);

/* Has this thread's calls of CUDA be about GPU `index`. */
int ewe_set_device(int index, char *error, size_t room);

/* Whether everything that was recorded has been done. */
int ewe_event_is_done(void *event, int *done, char *error, size_t room);

/* Waits until everything that was recorded has been done. */
int ewe_event_wait(void *event, char *error, size_t room);

void ewe_event_free(void *event);

#ifdef __cplusplus
}
#endif

#endif
