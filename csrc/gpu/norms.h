// Sums of squares of many gradients: what clipping needs, in two launches and one read by the host.
#ifndef EWE_GPU_NORMS_H
#define EWE_GPU_NORMS_H

#include "portable.h"

namespace ewe_gpu {

// Elements that are summed in fp32 before their sum is added to others in fp64.
constexpr i64 STRETCH = 1 << 14;

// One gradient. Its address is a multiple of 16.
struct NormItem {
    const void *gradient;  // fp32 or bf16
    i64 count;
    i64 begin;  // stretches of the items before
};

// The sum of squares of each stretch of each item.
template <class G>
EWE_EACH void square_stretches(const Grid &grid, const NormItem *items, int count, i64 stretches, float *sums) {
    for (i64 at = grid.warp; at < stretches; at += grid.warps) {
        const NormItem &item = items[item_at(count, at, [&](int i) { return items[i].begin; })];
        const i64 from = (at - item.begin) * STRETCH;
        const i64 to = from + STRETCH < item.count ? from + STRETCH : item.count;
        PerLane<float> own;
        EWE_LANES(lane) {
            // Eight sums at once, so that none waits for itself.
            float totals[8] = {};
            for (i64 i = from + lane * 8; i < to; i += WARP * 8) {
                G g[8];
                read_some(g, (const G *)item.gradient + i, to - i, true);
                for (int n = 0; n < 8; n++) totals[n] += widened(g[n]) * widened(g[n]);
            }
            own[lane] = ((totals[0] + totals[1]) + (totals[2] + totals[3])) + ((totals[4] + totals[5]) + (totals[6] + totals[7]));
        }
        const float sum = warp_sum(own);
        EWE_LANES(lane) {
            if (lane == 0) sums[at] = sum;
        }
    }
}

// Of each item the sum over its stretches.
EWE_EACH void add_stretches(const Grid &grid, const NormItem *items, int count, i64 stretches, const float *sums, double *totals) {
    for (i64 at = grid.warp; at < count; at += grid.warps) {
        const i64 from = items[at].begin, to = at + 1 < count ? items[at + 1].begin : stretches;
        PerLane<double> own;
        EWE_LANES(lane) {
            own[lane] = 0;
            for (i64 i = from + lane; i < to; i += WARP) own[lane] += sums[i];
        }
        const double total = warp_sum(own);
        EWE_LANES(lane) {
            if (lane == 0) totals[at] = total;
        }
    }
}

}  // namespace ewe_gpu

#endif
