// Rotary position embedding (Su et al. 2021) of queries and keys, and the write of keys and values
// into the cache, in one launch instead of some twenty. The arithmetic is that of libtorch's
// operations, rounding by rounding: x · cos, swapped · sin, and their sum.
//
// A lane takes 8 features of a head, of queries, keys or values.
#ifndef EWE_GPU_ROPE_CACHE_H
#define EWE_GPU_ROPE_CACHE_H

#include "portable.h"

namespace ewe_gpu {

// What a rotation needs besides angles: the first `dims` features of `width` are rotated, with the
// feature that is half of them away if `halves`, else with the neighbor.
struct RotatedHead {
    i64 width, dims;
    bool halves;
    bool aligned;  // whether 8 features may be read at once, and no 8 are rotated in part
};

EWE_EACH i64 partner_of(const RotatedHead &head, i64 feature) {
    const i64 half = head.dims / 2;
    if (!head.halves) return feature ^ 1;
    return feature < half ? feature + half : feature - half;
}

// Features `from` to `from + 8` of a head, rotated.
template <class T>
EWE_EACH void rotate_8(T (&y)[8], const T *x, const T *cos, const T *sin, i64 from, const RotatedHead &head) {
    read_some(y, x + from, head.width - from, head.aligned);
    if (from >= head.dims) return;
    const i64 count = head.dims - from;
    T swapped[8], c[8], s[8];
    read_some(c, cos + from, count, head.aligned);
    read_some(s, sin + from, count, head.aligned);
    if (head.halves && head.aligned) {
        read(swapped, x + partner_of(head, from));
    } else {
        for (int i = 0; i < 8; i++) swapped[i] = i < count ? x[partner_of(head, from + i)] : T();
    }
    for (int i = 0; i < 8; i++) {
        if (i < count) {
            const float own = rounded_as<T>(widened(y[i]) * widened(c[i]));
            const float other = rounded_as<T>(widened(swapped[i]) * widened(s[i]));
            put(&y[i], own + other);
        }
    }
}

// `cos` and `sin`, which has the sign of the rotation, are [tokens, dims]; `places` has for each
// token its place in `k_cache` and `v_cache` [places, kv, width]; `q_out` is [tokens, heads,
// width]. `x_token` and `x_head` are the distances of tokens and heads in x.
template <class T>
EWE_EACH void rope_cache(const Grid &grid, const T *q, i64 q_token, i64 q_head, const T *k, i64 k_token, i64 k_head, const T *v, i64 v_token,
                         i64 v_head, const T *cos, const T *sin, const i64 *places, T *q_out, T *k_cache, T *v_cache, i64 tokens, i64 heads,
                         i64 kv, i64 width, i64 dims, int halves, int aligned) {
    const RotatedHead head = {width, dims, halves != 0, aligned != 0};
    const i64 parts = groups(width, 8), rows = heads + 2 * kv;
    const i64 count = tokens * rows * parts;
    for (i64 at = grid.warp; at < groups(count, WARP); at += grid.warps) {
        EWE_LANES(lane) {
            const i64 number = at * WARP + lane;
            if (number < count) {
                const i64 from = number % parts * 8, row = number / parts % rows, token = number / parts / rows;
                const T *c = cos + token * dims, *s = sin + token * dims;
                T y[8];
                T *to;
                if (row < heads) {
                    rotate_8(y, q + token * q_token + row * q_head, c, s, from, head);
                    to = q_out + (token * heads + row) * width;
                } else if (row < heads + kv) {
                    const i64 own = row - heads;
                    rotate_8(y, k + token * k_token + own * k_head, c, s, from, head);
                    to = k_cache + (places[token] * kv + own) * width;
                } else {
                    const i64 own = row - heads - kv;
                    read_some(y, v + token * v_token + own * v_head + from, width - from, head.aligned);
                    to = v_cache + (places[token] * kv + own) * width;
                }
                write_some(to + from, y, width - from, head.aligned);
            }
        }
    }
}

}  // namespace ewe_gpu

#endif
