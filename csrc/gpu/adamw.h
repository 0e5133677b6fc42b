// AdamW over many tensors in one launch. The arithmetic is that of csrc/optimizers.cpp, operation
// by operation.
//
// A warp updates 256 elements, 8 in a lane: with moments in 8 bits these share a scale.
#ifndef EWE_GPU_ADAMW_H
#define EWE_GPU_ADAMW_H

#include "weights.h"

namespace ewe_gpu {

constexpr i64 BLOCK = 256;

// As `ewe_adamw` of csrc/optimizers.h.
struct AdamwStep {
    float factor, decay, rate, first_share, second_kept, second_share, second_bias, eps;
    u32 key[2];
};

// One tensor of a launch. All addresses are multiples of 16.
struct AdamwItem {
    AdamwStep step;
    void *weight, *exact;               // as the format has them
    void *first, *second;               // moments: fp32, or codes of 8 bits
    float *first_scale, *second_scale;  // of codes, one for each block
    const void *gradient;               // fp32 or bf16
    i64 count;                          // elements
    i64 begin;                          // blocks of the items before
};

// 8 elements between the two halves of an update.
struct AdamwLane {
    float first[8], second_root[8];
};

// Whether 8 numbers are zero, to the last bit.
EWE_EACH bool is_nothing(const float (&x)[8]) {
    u32 any = 0;
    for (int i = 0; i < 8; i++) any |= bits_of(x[i]);
    return any == 0;
}

template <class T> EWE_EACH bool is_nothing(const T (&x)[8]) {
    for (int i = 0; i < 8; i++) {
        if (x[i] != 0) return false;
    }
    return true;
}

// Moments by format. `get` says whether what is kept of 8 elements is nothing but zeros.
struct Moments32 {
    static EWE_EACH bool get(const AdamwItem &item, const Here &here, i64, float (&m)[8], float (&v)[8]) {
        read_some(m, (const float *)item.first + here.from, here.count, here.aligned);
        read_some(v, (const float *)item.second + here.from, here.count, here.aligned);
        return is_nothing(m) && is_nothing(v);
    }
    static EWE_EACH void set(const AdamwItem &item, const Here &here, const float (&m)[8], const float (&v)[8]) {
        write_some((float *)item.first + here.from, m, here.count, here.aligned);
        write_some((float *)item.second + here.from, v, here.count, here.aligned);
    }
    static constexpr bool IN_8_BITS = false;
};

// Floats of 8 bits, parts of a scale: of the first moment a sign, four bits of exponent and three
// of mantissa; of the root of the second four and four.
template <int SHIFT, int LAST> struct Float8 {
    static constexpr i32 BIAS = (127 << (23 - SHIFT)) - LAST;

    static EWE_EACH float part(i32 code) { return code > 0 ? float_of((u32)((code + BIAS) << SHIFT)) : 0.0f; }
    static EWE_EACH i32 code(float part, u32 drawn) {
        const i32 whole = (i32)((bits_of(part) + (drawn >> (32 - SHIFT))) >> SHIFT) - BIAS;
        return whole > LAST ? LAST : (whole > 0 ? whole : 0);
    }
};
typedef Float8<20, 127> FirstCode;
typedef Float8<19, 255> SecondCode;

// Of a scale that small the inverse is infinite; everything is nothing then.
EWE_EACH float inverse(float scale) { return scale > 1e-35f ? quotient(1.0f, scale) : 0.0f; }

struct Moments8 {
    static EWE_EACH bool get(const AdamwItem &item, const Here &here, i64 block, float (&m)[8], float (&v)[8]) {
        i8 first[8];
        u8 second[8];
        read_some(first, (const i8 *)item.first + here.from, here.count, here.aligned);
        read_some(second, (const u8 *)item.second + here.from, here.count, here.aligned);
        const float first_scale = item.first_scale[block], second_scale = item.second_scale[block];
        for (int i = 0; i < 8; i++) {
            const i32 code = first[i];
            const float size = FirstCode::part(code < 0 ? -code : code) * first_scale;
            m[i] = code < 0 ? -size : size;
            const float kept = SecondCode::part(second[i]) * second_scale;
            v[i] = kept * kept;
        }
        return is_nothing(first) && is_nothing(second);
    }
    static EWE_EACH void set(const AdamwItem &, const Here &, const float (&)[8], const float (&)[8]) {}
    static constexpr bool IN_8_BITS = true;

    // Codes of 8 elements, now that the block's scales are known.
    static EWE_EACH void keep(const AdamwItem &item, const Here &here, const AdamwLane &lane, float first_scale, float second_scale) {
        const float first_inverse = inverse(first_scale), second_inverse = inverse(second_scale);
        const u32 first_key[2] = {item.step.key[0] ^ 0x9e3779b9u, item.step.key[1]};
        const u32 second_key[2] = {item.step.key[0] ^ 0x7f4a7c15u, item.step.key[1]};
        i8 first[8];
        u8 second[8];
        for (int i = 0; i < 8; i++) {
            const float m = lane.first[i], v_root = lane.second_root[i];
            const i32 code = FirstCode::code(magnitude(m) * first_inverse, drawn(first_key, here.from + i));
            first[i] = (i8)(m < 0.0f ? -code : code);
            // What is there at all never becomes nothing: it is what updates are divided by.
            const i32 least = v_root > 0.0f ? 1 : 0;
            const i32 whole = SecondCode::code(v_root * second_inverse, drawn(second_key, here.from + i));
            second[i] = (u8)(whole > least ? whole : least);
        }
        write_some((i8 *)item.first + here.from, first, here.count, here.aligned);
        write_some((u8 *)item.second + here.from, second, here.count, here.aligned);
    }
};

// One block of one tensor.
template <class W, class M, class G> EWE_EACH void adamw_block(const AdamwItem &item, i64 block) {
    const AdamwStep &step = item.step;
    PerLane<AdamwLane> moved;
    PerLane<Here> here;
    PerLane<float> first_most, second_most;
    PerLane<float[8]> gradient, first, second;
    PerLane<bool> still;
    EWE_LANES(lane) {
        const i64 from = block * BLOCK + lane * 8, left = item.count - from;
        here[lane] = {item.weight, item.exact, from, left < 8 ? left : 8, true};
        G g[8] = {};
        for (int i = 0; i < 8; i++) first[lane][i] = second[lane][i] = 0.0f;
        still[lane] = true;
        if (left > 0) {
            read_some(g, (const G *)item.gradient + from, left, true);
            still[lane] = M::get(item, here[lane], block, first[lane], second[lane]) && is_nothing(g);
        }
        for (int i = 0; i < 8; i++) gradient[lane][i] = widened(g[i]);
    }
    // Where no gradient ever was, as in the rows of tokens that no example has, nothing changes but
    // by decay.
    if (warp_all(still) && step.decay == 1.0f) return;
    EWE_LANES(lane) {
        first_most[lane] = second_most[lane] = 0.0f;
        if (here[lane].count <= 0) continue;
        float weight[8], second_now[8];
        W::get(here[lane], weight);
        for (int i = 0; i < 8; i++) {
            const float g = gradient[lane][i] * step.factor;
            float m = first[lane][i], v = second[lane][i];
            m = m + (g - m) * step.first_share;
            v = v * step.second_kept + (g * step.second_share) * g;
            const float v_root = root(v);
            moved[lane].first[i] = m;
            moved[lane].second_root[i] = v_root;
            second_now[i] = v;
            const float below = v_root * step.second_bias + step.eps;
            weight[i] = weight[i] * step.decay + quotient(m * step.rate, below);
            const float m_size = magnitude(m);
            if (M::IN_8_BITS) {
                if (m_size > first_most[lane] || m_size != m_size) first_most[lane] = m_size;
                if (v_root > second_most[lane] || v_root != v_root) second_most[lane] = v_root;
            }
        }
        W::set(here[lane], weight, step.key);
        M::set(item, here[lane], moved[lane].first, second_now);
    }
    if constexpr (M::IN_8_BITS) {
        const float first_scale = warp_largest(first_most), second_scale = warp_largest(second_most);
        EWE_LANES(lane) {
            if (lane == 0) {
                item.first_scale[block] = first_scale;
                item.second_scale[block] = second_scale;
            }
            if (here[lane].count > 0) M::keep(item, here[lane], moved[lane], first_scale, second_scale);
        }
    }
}

// All blocks of all items, `blocks` together.
template <class W, class M, class G>
EWE_EACH void adamw(const Grid &grid, const AdamwItem *items, int count, i64 blocks) {
    for (i64 at = grid.warp; at < blocks; at += grid.warps) {
        const AdamwItem &item = items[item_at(count, at, [&](int i) { return items[i].begin; })];
        adamw_block<W, M, G>(item, at - item.begin);
    }
}

}  // namespace ewe_gpu

#endif
