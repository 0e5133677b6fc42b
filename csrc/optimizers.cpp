// The update rules of optimizers.h. Compiled once for each level of instructions, like kernels.cpp.

#include "optimizers.h"

#include "kernels.h"
#include "vectors.h"

#ifndef EWE_TABLE
#error "EWE_TABLE names the table of this compilation"
#endif

namespace {

// A thread's stretch: long enough to be worth it, and a whole number of vectors and of cache lines.
constexpr int64_t STRETCH = 1 << 14;

inline f32x16 root(f32x16 x) {
    f32x16 y;
    for (int64_t i = 0; i < LANES; i++) y[i] = std::sqrt(x[i]);
    return y;
}

template <class G> struct AdamW {
    const ewe_adamw_step &s;
    const G *gradient;
    float *master, *first, *second;
    bf16 *leaf;

    void at(int64_t i, int64_t count) const {
        bool part = count < LANES;
        auto get = [&](auto *p) { return part ? load(p + i, count) : load(p + i); };
        auto put = [&](auto *p, f32x16 x) {
            if (part) {
                store(p + i, x, count);
            } else {
                store(p + i, x);
            }
        };
        f32x16 g = get(gradient) * all(s.factor), m = get(first), v = get(second);
        m = m + all(s.first_new) * (g - m);
        v = v * all(s.second_keep) + (g * all(s.second_new)) * g;
        f32x16 w = get(master) * all(s.keep) + m * all(s.rate) / (root(v) / all(s.bias2_root) + all(s.eps));
        put(first, m);
        put(second, v);
        put(master, w);
        if (leaf) put(leaf, w);
    }
};

template <class G> void adamw_of(const AdamW<G> &rule, int64_t count) {
#pragma omp parallel for schedule(static) if (count > 4 * STRETCH)
    for (int64_t from = 0; from < count; from += STRETCH) {
        int64_t to = std::min(count, from + STRETCH);
        for (int64_t i = from; i < to; i += LANES) rule.at(i, std::min(LANES, to - i));
    }
}

void adamw(const ewe_adamw_step *step, int gradient_type, const void *gradient, float *master, float *first,
           float *second, void *leaf, int64_t count) {
    if (gradient_type == EWE_BF16) {
        adamw_of(AdamW<bf16>{*step, (const bf16 *)gradient, master, first, second, (bf16 *)leaf}, count);
    } else {
        adamw_of(AdamW<float>{*step, (const float *)gradient, master, first, second, (bf16 *)leaf}, count);
    }
}

}  // namespace

extern "C" const ewe_optimizers EWE_TABLE = {adamw};
