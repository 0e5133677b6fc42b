// The update rules of optimizers.h, written with the compiler's vector types. Compiled once for
// each level of instructions under the name EWE_TABLE; dispatch.cpp chooses one. Compiled without
// contraction: see optimizers.h.

#include "optimizers.h"
#include "kernels.h"
#include "vectors.h"

#include <algorithm>
#include <cmath>
#include <vector>

#ifndef EWE_TABLE
#error "EWE_TABLE names the table of this compilation"
#endif

namespace {

typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int16_t i16x16 __attribute__((vector_size(32)));

// Elements of a block: they fit into the first-level cache, and share a scale.
constexpr int64_t BLOCK = EWE_OPTIMIZER_BLOCK;

inline f32x16 root(f32x16 x) {
    float of[LANES];
    store(of, x);
    for (int64_t i = 0; i < LANES; i++) of[i] = __builtin_sqrtf(of[i]);
    return load(of);
}

inline f32x16 magnitude(f32x16 x) { return (f32x16)((u32x16)x & 0x7fffffffu); }

template <class To, class From> inline To converted(const void *p) {
    From x;
    memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, To);
}

template <class To, class From> inline void keep(void *p, From x) {
    To small = __builtin_convertvector(x, To);
    memcpy(p, &small, sizeof small);
}

// Returns whether a block is all zeros. Most other blocks differ in their first bytes.
template <class T> inline bool zero(const T *p) {
    constexpr int64_t WORDS = BLOCK * (int64_t)sizeof(T) / 8, AT_ONCE = 8;
    for (int64_t i = 0; i < WORDS; i += AT_ONCE) {
        uint64_t words[AT_ONCE], any = 0;
        memcpy(words, (const char *)p + i * 8, sizeof words);
        for (int64_t j = 0; j < AT_ONCE; j++) any |= words[j];
        if (any) return false;
    }
    return true;
}

// Returns 32 random bits for each element, from its index and the key: two rounds of multiplication
// (Chris Wellons' lowbias32, with the key's second half between them).
inline u32x16 drawn(const uint32_t *key, int64_t at) {
    const u32x16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    u32x16 x = (lanes + (uint32_t)at) ^ key[0];
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= x >> 15;
    x += key[1];
    x *= 0xd35a2d97u;
    return x ^ (x >> 15);
}

// Weights by storage format. Each format loads and stores 16 of them as fp32, moves to another
// place, and has a buffer for the last block of a tensor, padded with zeros.

struct Fp32 {
    float *weight;

    static Fp32 of(const ewe_weights &w) { return {(float *)w.weight}; }
    Fp32 at(int64_t i) const { return {weight + i}; }
    f32x16 get(int64_t i) const { return load(weight + i); }
    void set(int64_t i, f32x16 x, const uint32_t *, int64_t) const { store(weight + i, x); }

    struct Room {
        float weight[BLOCK] = {};
        Fp32 of() { return {weight}; }
    };
    void copy(Fp32 from, int64_t count) const { memcpy(weight, from.weight, count * 4); }
};

// Rounds to the nearest bf16, ties away from zero: then the lower half of the fp32 tells which way
// it was rounded.
inline u32x16 upper(f32x16 x) { return ((u32x16)x + 0x8000u) >> 16; }

struct Copy {
    bf16 *weight;
    float *exact;

    static Copy of(const ewe_weights &w) { return {(bf16 *)w.weight, (float *)w.exact}; }
    Copy at(int64_t i) const { return {weight + i, exact + i}; }
    f32x16 get(int64_t i) const { return load(exact + i); }
    void set(int64_t i, f32x16 x, const uint32_t *, int64_t) const {
        store(exact + i, x);
        keep<u16x16>(weight + i, upper(x));
    }

    struct Room {
        bf16 weight[BLOCK] = {};
        float exact[BLOCK] = {};
        Copy of() { return {weight, exact}; }
    };
    void copy(Copy from, int64_t count) const {
        memcpy(weight, from.weight, count * 2);
        memcpy(exact, from.exact, count * 4);
    }
};

struct Split {
    bf16 *weight;
    int16_t *low;

    static Split of(const ewe_weights &w) { return {(bf16 *)w.weight, (int16_t *)w.exact}; }
    Split at(int64_t i) const { return {weight + i, low + i}; }
    f32x16 get(int64_t i) const {
        u32x16 high = converted<u32x16, u16x16>(weight + i) << 16;
        return (f32x16)(high + (u32x16)converted<i32x16, i16x16>(low + i));
    }
    void set(int64_t i, f32x16 x, const uint32_t *, int64_t) const {
        keep<u16x16>(weight + i, upper(x));
        keep<u16x16>(low + i, (u32x16)x);
    }

    struct Room {
        bf16 weight[BLOCK] = {};
        int16_t low[BLOCK] = {};
        Split of() { return {weight, low}; }
    };
    void copy(Split from, int64_t count) const {
        memcpy(weight, from.weight, count * 2);
        memcpy(low, from.low, count * 2);
    }
};

struct Drawn {
    bf16 *weight;

    static Drawn of(const ewe_weights &w) { return {(bf16 *)w.weight}; }
    Drawn at(int64_t i) const { return {weight + i}; }
    f32x16 get(int64_t i) const { return load(weight + i); }
    void set(int64_t i, f32x16 x, const uint32_t *key, int64_t number) const {
        keep<u16x16>(weight + i, ((u32x16)x + (drawn(key, number) >> 16)) >> 16);
    }

    struct Room {
        bf16 weight[BLOCK] = {};
        Drawn of() { return {weight}; }
    };
    void copy(Drawn from, int64_t count) const { memcpy(weight, from.weight, count * 2); }
};

// Moments by storage format, with the same functions for a block: `begin` before the first element,
// `end` after the last.

struct Moments32 {
    float *first, *second;

    static Moments32 of(const ewe_moments &m) { return {(float *)m.first, (float *)m.second}; }
    Moments32 block(int64_t n) const { return {first + n * BLOCK, second + n * BLOCK}; }
    bool nothing() const { return zero(first) && zero(second); }
    void begin() {}
    f32x16 get_first(int64_t i) const { return load(first + i); }
    f32x16 get_second(int64_t i) const { return load(second + i); }
    void set(int64_t i, f32x16 m, f32x16 v, f32x16) {
        store(first + i, m);
        store(second + i, v);
    }
    void end(const uint32_t *, int64_t) {}

    struct Room {
        float first[BLOCK] = {}, second[BLOCK] = {};
        Moments32 of(Moments32) { return {first, second}; }
    };
    void copy(const Moments32 &from, int64_t count) const {
        memcpy(first, from.first, count * 4);
        memcpy(second, from.second, count * 4);
    }
};

// Moments in 8 bits, relative to a scale that 256 elements share, the largest of them. They are
// floats with four bits of exponent; the first moment has a sign and three bits of mantissa, the
// square root of the second has four bits of mantissa. Rounding is stochastic: a second moment
// changes by a thousandth in a step, which rounding to the nearest would never let through.
struct Moments8 {
    int8_t *first;
    uint8_t *second;
    float *first_scale, *second_scale;
    f32x16 first_most, second_most;
    float first_now[BLOCK], second_now[BLOCK];

    // Bits of an fp32 below the kept mantissa, and the offset from codes to the bits above them:
    // the last code stands for 1.0.
    enum { FIRST_SHIFT = 20, FIRST_LAST = 127, FIRST_BIAS = (127 << 3) - FIRST_LAST };
    enum { SECOND_SHIFT = 19, SECOND_LAST = 255, SECOND_BIAS = (127 << 4) - SECOND_LAST };

    Moments8(int8_t *first, uint8_t *second, float *first_scale, float *second_scale)
        : first(first), second(second), first_scale(first_scale), second_scale(second_scale) {}

    static Moments8 of(const ewe_moments &m) {
        return {(int8_t *)m.first, (uint8_t *)m.second, m.first_scale, m.second_scale};
    }
    Moments8 block(int64_t n) const {
        return {first + n * BLOCK, second + n * BLOCK, first_scale + n, second_scale + n};
    }
    bool nothing() const { return zero(first) && zero(second); }
    void begin() { first_most = second_most = f32x16{}; }

    template <int SHIFT, int BIAS> static f32x16 part(i32x16 code) {
        f32x16 value = (f32x16)((code + BIAS) << SHIFT);
        return code > 0 ? value : f32x16{};
    }
    template <int SHIFT, int BIAS, int LAST> static i32x16 code(f32x16 part, u32x16 drawn) {
        i32x16 whole = (i32x16)(((u32x16)part + (drawn >> (32 - SHIFT))) >> SHIFT) - BIAS;
        whole = whole > LAST ? i32x16{} + LAST : whole;
        return whole > 0 ? whole : i32x16{};
    }

    f32x16 get_first(int64_t i) const {
        i32x16 kept = converted<i32x16, i8x16>(first + i);
        f32x16 size = part<FIRST_SHIFT, FIRST_BIAS>(kept < 0 ? -kept : kept) * all(*first_scale);
        return kept < 0 ? -size : size;
    }
    f32x16 get_second(int64_t i) const {
        f32x16 kept = part<SECOND_SHIFT, SECOND_BIAS>(converted<i32x16, u8x16>(second + i)) * all(*second_scale);
        return kept * kept;
    }
    void set(int64_t i, f32x16 m, f32x16, f32x16 v_root) {
        store(first_now + i, m);
        store(second_now + i, v_root);
        first_most = maximum(magnitude(m), first_most);
        second_most = maximum(v_root, second_most);
    }
    // For a scale this small the inverse would be infinite; then all codes are zero.
    static float inverse(float scale) { return scale > 1e-35f ? 1.0f / scale : 0.0f; }
    void end(const uint32_t *key, int64_t number) {
        *first_scale = largest(first_most);
        *second_scale = largest(second_most);
        f32x16 first_inverse = all(inverse(*first_scale)), second_inverse = all(inverse(*second_scale));
        const uint32_t first_key[2] = {key[0] ^ EWE_KEY_OF_FIRST, key[1]};
        const uint32_t second_key[2] = {key[0] ^ EWE_KEY_OF_SECOND, key[1]};
        for (int64_t i = 0; i < BLOCK; i += LANES) {
            f32x16 m = load(first_now + i), v_root = load(second_now + i);
            i32x16 whole = code<FIRST_SHIFT, FIRST_BIAS, FIRST_LAST>(magnitude(m) * first_inverse, drawn(first_key, number + i));
            keep<i8x16>(first + i, m < f32x16{} ? -whole : whole);
            whole = code<SECOND_SHIFT, SECOND_BIAS, SECOND_LAST>(v_root * second_inverse, drawn(second_key, number + i));
            // A second moment that is not zero never becomes zero, since updates are divided by it.
            i32x16 least = v_root > f32x16{} ? i32x16{} + 1 : i32x16{};
            keep<u8x16>(second + i, whole > least ? whole : least);
        }
    }

    struct Room {
        int8_t first[BLOCK] = {};
        uint8_t second[BLOCK] = {};
        Moments8 of(const Moments8 &m) { return {first, second, m.first_scale, m.second_scale}; }
    };
    void copy(const Moments8 &from, int64_t count) const {
        memcpy(first, from.first, count);
        memcpy(second, from.second, count);
    }
};

// Updates one block; `number` is the index of its first element. Where there never was a gradient,
// as in rows of tokens that no example has, only decay changes anything; without decay nothing is
// written.
template <class W, class M, class G>
inline void adamw_block(const ewe_adamw &step, W weights, M &moments, const G *gradient, int64_t number) {
    if (step.decay == 1.0f && zero(gradient) && moments.nothing()) return;
    moments.begin();
    for (int64_t i = 0; i < BLOCK; i += LANES) {
        f32x16 g = load(gradient + i) * all(step.factor);
        f32x16 m = moments.get_first(i), v = moments.get_second(i);
        m = m + (g - m) * all(step.first_share);
        v = v * all(step.second_kept) + (g * all(step.second_share)) * g;
        f32x16 v_root = root(v);
        moments.set(i, m, v, v_root);
        f32x16 below = v_root * all(step.second_bias) + all(step.eps);
        weights.set(i, weights.get(i) * all(step.decay) + (m * all(step.rate)) / below, step.key, number + i);
    }
    moments.end(step.key, number);
}

template <class W, class M, class G>
void adamw_of(const ewe_adamw &step, W weights, M moments, const G *gradient, int64_t count) {
#pragma omp parallel for schedule(static) if (count > WORTH_A_THREAD)
    for (int64_t n = 0; n < count / BLOCK; n++) {
        M block = moments.block(n);
        adamw_block(step, weights.at(n * BLOCK), block, gradient + n * BLOCK, n * BLOCK);
    }
    int64_t from = count / BLOCK * BLOCK, left = count - from;
    if (left == 0) return;
    typename W::Room weights_room;
    typename M::Room moments_room;
    G gradient_room[BLOCK] = {};
    W last_weights = weights_room.of();
    M block = moments.block(from / BLOCK), last_moments = moments_room.of(block);
    last_weights.copy(weights.at(from), left);
    last_moments.copy(block, left);
    memcpy(gradient_room, gradient + from, left * sizeof(G));
    adamw_block(step, last_weights, last_moments, gradient_room, from);
    weights.at(from).copy(last_weights, left);
    block.copy(last_moments, left);
}

// Calls `f` with the weights in their format and the gradient in its type.
template <class F> void with(const ewe_weights &weights, int type, const void *gradient, F f) {
    auto typed = [&](auto weights) {
        if (type == EWE_BF16) {
            f(weights, (const bf16 *)gradient);
        } else {
            f(weights, (const float *)gradient);
        }
    };
    switch (weights.kind) {
        case EWE_WEIGHT_FP32: return typed(Fp32::of(weights));
        case EWE_WEIGHT_COPY: return typed(Copy::of(weights));
        case EWE_WEIGHT_SPLIT: return typed(Split::of(weights));
        default: return typed(Drawn::of(weights));
    }
}

void adamw(const ewe_adamw *step, ewe_weights weights, ewe_moments moments, int type, const void *gradient,
           int64_t count) {
    with(weights, type, gradient, [&](auto weights, auto *gradient) {
        if (moments.kind == EWE_MOMENTS_8BIT) {
            adamw_of(*step, weights, Moments8::of(moments), gradient, count);
        } else {
            adamw_of(*step, weights, Moments32::of(moments), gradient, count);
        }
    });
}

// 16 elements of a row, or the rest of one.
struct Whole {
    template <class T> f32x16 get(const T *p) const { return load(p); }
    void set(float *p, f32x16 x) const { store(p, x); }
};

struct Rest {
    int64_t count;

    template <class T> f32x16 get(const T *p) const { return load(p, count); }
    void set(float *p, f32x16 x) const { store(p, x, count); }
};

// Calls `f` for every 16th index up to `count`, with the elements there.
template <class F> inline void along(int64_t count, F f) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) f(i, Whole{});
    if (i < count) f(i, Rest{count - i});
}

// Returns the sum of the results of `f`. Four sums side by side: a single one would wait for
// itself, longest where 16 floats are more than a register and the compiler keeps them in memory
// (AVX2: 30 ms instead of 10 for 67M elements, 2026-11-27).
template <class F> inline float sum_along(int64_t count, F f) {
    constexpr int64_t AT_ONCE = 4;
    f32x16 totals[AT_ONCE] = {};
    int64_t i = 0;
    for (; i + AT_ONCE * LANES <= count; i += AT_ONCE * LANES) {
        for (int64_t n = 0; n < AT_ONCE; n++) totals[n] += f(i + n * LANES, Whole{});
    }
    along(count - i, [&](int64_t j, auto here) { totals[0] += f(i + j, here); });
    return sum((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

template <class G> double sum_of_squares_of(const G *gradient, int64_t count) {
    // Stretches are summed separately, and their sums in order, whatever the number of threads.
    constexpr int64_t STRETCH = 1 << 14;
    std::vector<float> sums((count + STRETCH - 1) / STRETCH);
#pragma omp parallel for schedule(static) if (count > WORTH_A_THREAD)
    for (int64_t n = 0; n < (int64_t)sums.size(); n++) {
        const G *from = gradient + n * STRETCH;
        sums[n] = sum_along(std::min(count - n * STRETCH, STRETCH), [&](int64_t i, auto here) {
            f32x16 g = here.get(from + i);
            return g * g;
        });
    }
    double total = 0;
    for (float part : sums) total += part;
    return total;
}

double sum_of_squares(int type, const void *gradient, int64_t count) {
    return type == EWE_BF16 ? sum_of_squares_of((const bf16 *)gradient, count)
                            : sum_of_squares_of((const float *)gradient, count);
}

// Adds the squares of R rows of gradients to columns[0 .. count], and to each row's sum its own.
template <int R, class G>
void square_rows(const G *gradient, float factor, float *rows, float *columns, int64_t count) {
    f32x16 sums[R] = {};
    along(count, [&](int64_t j, auto here) {
        f32x16 column = {};
        for (int r = 0; r < R; r++) {
            f32x16 g = here.get(gradient + r * count + j) * all(factor);
            sums[r] += g * g;
            column += g * g;
        }
        here.set(columns + j, here.get(columns + j) + column);
    });
    for (int r = 0; r < R; r++) rows[r] = sum(sums[r]);
}

template <class G>
void squares_of(const G *gradient, float factor, float *rows, float *columns, float *stripes, int64_t n, int64_t count) {
    constexpr int64_t STRIPES = EWE_OPTIMIZER_STRIPES;
#pragma omp parallel for schedule(static) if (n * count > WORTH_A_THREAD)
    for (int64_t stripe = 0; stripe < STRIPES; stripe++) {
        float *own = stripes + stripe * count;
        memset(own, 0, count * sizeof(float));
        int64_t r = n * stripe / STRIPES, to = n * (stripe + 1) / STRIPES;
        for (; r + 4 <= to; r += 4) square_rows<4>(gradient + r * count, factor, rows + r, own, count);
        for (; r < to; r++) square_rows<1>(gradient + r * count, factor, rows + r, own, count);
    }
#pragma omp parallel for schedule(static) if (STRIPES * count > WORTH_A_THREAD)
    for (int64_t j = 0; j < count; j++) {
        float total = 0;
        for (int64_t stripe = 0; stripe < STRIPES; stripe++) total += stripes[stripe * count + j];
        columns[j] = total;
    }
}

void squares(int type, const void *gradient, float factor, float *rows, float *columns, float *stripes, int64_t n,
             int64_t count) {
    if (type == EWE_BF16) {
        squares_of((const bf16 *)gradient, factor, rows, columns, stripes, n, count);
    } else {
        squares_of((const float *)gradient, factor, rows, columns, stripes, n, count);
    }
}

template <class G>
void scaled_squares_of(const G *gradient, float factor, const float *row, const float *column, float *sums, int64_t n,
                       int64_t count) {
#pragma omp parallel for schedule(static) if (n * count > WORTH_A_THREAD)
    for (int64_t r = 0; r < n; r++) {
        sums[r] = sum_along(count, [&](int64_t j, auto here) {
            f32x16 u = here.get(gradient + r * count + j) * all(factor) * all(row[r]) * here.get(column + j);
            return u * u;
        });
    }
}

void scaled_squares(int type, const void *gradient, float factor, const float *row, const float *column, float *sums,
                    int64_t n, int64_t count) {
    if (type == EWE_BF16) {
        scaled_squares_of((const bf16 *)gradient, factor, row, column, sums, n, count);
    } else {
        scaled_squares_of((const float *)gradient, factor, row, column, sums, n, count);
    }
}

// Updates 16 weights of a row that `row` scales; `number` is the index of the first.
template <class W, class G>
inline void factored_lanes(const ewe_factored &step, W weights, const G *gradient, float row, const float *column,
                           int64_t number) {
    f32x16 u = load(gradient) * all(step.factor) * all(row) * load(column);
    weights.set(0, weights.get(0) * all(step.decay) + u * all(step.rate), step.key, number);
}

template <class W, class G>
void factored_row(const ewe_factored &step, W weights, const G *gradient, float row, const float *column, int64_t count,
                  int64_t number) {
    int64_t j = 0;
    for (; j + LANES <= count; j += LANES) {
        factored_lanes(step, weights.at(j), gradient + j, row, column + j, number + j);
    }
    if (j == count) return;
    typename W::Room room;
    G gradient_room[LANES] = {};
    float column_room[LANES] = {};
    W last = room.of();
    last.copy(weights.at(j), count - j);
    memcpy(gradient_room, gradient + j, (count - j) * sizeof(G));
    memcpy(column_room, column + j, (count - j) * sizeof(float));
    factored_lanes(step, last, gradient_room, row, column_room, number + j);
    weights.at(j).copy(last, count - j);
}

void factored(const ewe_factored *step, ewe_weights weights, int type, const void *gradient, const float *row,
              const float *column, int64_t n, int64_t count) {
    with(weights, type, gradient, [&](auto weights, auto *gradient) {
#pragma omp parallel for schedule(static) if (n * count > WORTH_A_THREAD)
        for (int64_t r = 0; r < n; r++) {
            int64_t at = r * count;
            factored_row(*step, weights.at(at), gradient + at, row[r], column, count, at);
        }
    });
}

// Returns what the next step would make of 16 elements of a gradient; `m` and `v` are their moments.
template <bool FIRST> inline f32x16 next_of(const ewe_next_update &next, f32x16 g, f32x16 m, f32x16 v) {
    f32x16 second = g * g * all(next.second_share) + v * all(next.second_kept);
    f32x16 below = root(second) * all(next.second_bias) + all(next.eps);
    f32x16 above = FIRST ? (g * all(next.first_share) + m * all(next.first_kept)) * all(next.first_bias) : g;
    return above / below;
}

template <bool FIRST, bool SECOND>
void add_update(const ewe_next_update *next, const float *gradient, const float *first, const float *second,
                const float *sign, const ewe_piece &piece, float *sketch) {
    along(piece.length, [&](int64_t i, auto here) {
        int64_t at = piece.start + i;
        f32x16 x = here.get(gradient + at);
        if (SECOND) x = next_of<FIRST>(*next, x, FIRST ? here.get(first + at) : f32x16{}, here.get(second + at));
        if (sign) x *= here.get(sign + at);
        float *place = sketch + piece.place + i;
        here.set(place, here.get(place) + x);
    });
}

// Examples side by side, so that sums do not depend on the number of threads.
void add_updates(const ewe_next_update *next, const float *gradient, const float *first, const float *second,
                 const float *sign, const ewe_piece *pieces, int64_t count, float *sketch, int64_t examples,
                 int64_t numbers, int64_t places) {
    auto add = !second ? add_update<false, false> : first ? add_update<true, true> : add_update<false, true>;
#pragma omp parallel for schedule(static) if (examples * numbers > WORTH_A_THREAD)
    for (int64_t e = 0; e < examples; e++) {
        for (int64_t n = 0; n < count; n++) {
            add(next, gradient + e * numbers, first, second, sign, pieces[n], sketch + e * places);
        }
    }
}

}  // namespace

extern "C" const ewe_optimizers EWE_TABLE = {adamw, sum_of_squares, squares, scaled_squares, factored, add_updates};
