// Weights in 4 bits to the type that is computed with, in one launch and 2.6 bytes a weight.
#ifndef EWE_GPU_NF4_H
#define EWE_GPU_NF4_H

#include "portable.h"

namespace ewe_gpu {

// Weights that share a scale.
constexpr i64 NF4_BLOCK = 64;

// `codes` has two weights a byte, the first in the upper half; `table` the 16 levels. Each lane
// makes 8 weights of 4 bytes.
template <class T>
EWE_EACH void nf4_values(const Grid &grid, const u8 *codes, const float *scales, const float *table, T *weights, i64 count) {
    const i64 each = WARP * 8;
    for (i64 at = grid.warp; at < groups(count, each); at += grid.warps) {
        EWE_LANES(lane) {
            const i64 from = at * each + lane * 8;
            for (i64 i = 0; i < 8 && from + i < count; i++) {
                const i64 number = from + i;
                put(weights + number, table[codes[number / 2] * 2 + number % 2] * scales[number / NF4_BLOCK]);
            }
        }
    }
}

}  // namespace ewe_gpu

#endif
