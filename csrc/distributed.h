/* Groups of processes (ranks) that compute together, by libtorch's c10d: a store of keys that one
 * of them serves, and collectives. Every function returns 0, or 1 with the reason in `error`, cut to
 * `room` bytes. */
#ifndef EWE_DISTRIBUTED_H
#define EWE_DISTRIBUTED_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Connects to the store at `host`:`port`. If `serves`, serves it as well: on the listening socket
 * `listening` unless that is -1. Keys begin with `prefix`. Waits for an answer for `millis` at
 * most, then and later. */
int ewe_store_open(const char *host, int port, int serves, int listening, const char *prefix, int64_t millis, void **store, char *error,
                   size_t room);
/* Sets a key. */
int ewe_store_set(void *store, const char *key, const char *bytes, size_t count, char *error, size_t room);
/* Waits for keys that end with 0 … `count` - 1, and passes the value of each to `each`. */
int ewe_store_get_all(void *store, const char *key, int count, void (*each)(void *context, int index, const uint8_t *bytes, size_t count),
                      void *context, char *error, size_t room);
/* Adds to the number of a key, which begins with 0: `*sum` is the new one. */
int ewe_store_add(void *store, const char *key, int64_t amount, int64_t *sum, char *error, size_t room);

/* Joins a group that computes on CPUs, by Gloo. `device` is an address of this machine, or the name
 * of a network interface if `is_interface`; by default the address of its host name. A collective
 * fails after `millis`. Groups of one store differ by where they meet. */
int ewe_group_gloo(void *store, int rank, int size, const char *device, int is_interface, int64_t millis, const char *meeting, void **group, char *error,
                   size_t room);

/* Collectives in progress. All ranks begin the same ones in the same order. Results are in place:
 * sums or maxima of all ranks' tensors; the tensor of rank `root`; all ranks' tensors one behind
 * the other; this rank's part of the sum. */
int ewe_group_all_reduce(void *group, ewe_tensor x, int is_max, void **work, char *error, size_t room);
int ewe_group_broadcast(void *group, ewe_tensor x, int root, void **work, char *error, size_t room);
int ewe_group_all_gather(void *group, ewe_tensor whole, ewe_tensor part, void **work, char *error, size_t room);
int ewe_group_reduce_scatter(void *group, ewe_tensor part, ewe_tensor whole, void **work, char *error, size_t room);
/* Parts of `from`, as many as ranks, to each rank one: `to` has what each sent, by its number. */
int ewe_group_exchange(void *group, ewe_tensor to, ewe_tensor from, void **work, char *error, size_t room);
int ewe_group_barrier(void *group, void **work, char *error, size_t room);

/* Waits for `millis` at most: `*done` says whether it has ended. Fails if it has failed. */
int ewe_work_wait(void *work, int64_t millis, int *done, char *error, size_t room);
void ewe_work_free(void *work);

#ifdef __cplusplus
}
#endif
#endif
