// Vectors of 16 floats in the compiler's own types, and bf16 in memory.
#ifndef EWE_VECTORS_H
#define EWE_VECTORS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

// Anonymous, since each file of each level inlines its own version: they must not become one
// symbol.
namespace {

// 16 lanes: one register with AVX-512, two with AVX2, four without either.
constexpr int64_t LANES = 16;
typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));

// Elements of work below which a second thread would wake up too late.
constexpr int64_t WORTH_A_THREAD = 1 << 15;

struct bf16 {
    uint16_t bits;
};

inline f32x16 all(float x) { return f32x16{} + x; }

inline f32x16 load(const float *p) {
    f32x16 x;
    memcpy(&x, p, sizeof x);
    return x;
}

inline f32x16 load(const bf16 *p) {
    u16x16 half;
    memcpy(&half, p, sizeof half);
    return (f32x16)(__builtin_convertvector(half, u32x16) << 16);
}

inline void store(float *p, f32x16 x) { memcpy(p, &x, sizeof x); }

// Rounds to the nearest bf16, ties to even; NaN stays NaN.
inline u16x16 narrow(f32x16 x) {
    u32x16 bits = (u32x16)x;
    u32x16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    u32x16 quiet = u32x16{} + 0x7fc0;
    return __builtin_convertvector((u32x16)(x == x ? (i32x16)rounded : (i32x16)quiet), u16x16);
}

inline void store(bf16 *p, f32x16 x) {
    u16x16 half = narrow(x);
    memcpy(p, &half, sizeof half);
}

// Rounds as a store and a load would.
inline f32x16 rounded(const float *, f32x16 x) { return x; }
inline f32x16 rounded(const bf16 *, f32x16 x) {
    return (f32x16)(__builtin_convertvector(narrow(x), u32x16) << 16);
}

// The last elements of a row, fewer than 16, padded with zeros.
template <class T> inline f32x16 load(const T *p, int64_t count) {
    T padded[LANES] = {};
    memcpy(padded, p, count * sizeof(T));
    return load(padded);
}

template <class T> inline void store(T *p, f32x16 x, int64_t count) {
    T padded[LANES];
    store(padded, x);
    memcpy(p, padded, count * sizeof(T));
}

// Combines halves with halves: a sum in the order of a tree, whatever the width of a register.
#define EWE_HALVES(x, op)                                                                                   \
    x = op(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));         \
    x = op(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));         \
    x = op(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));         \
    x = op(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14))

inline f32x16 plus(f32x16 a, f32x16 b) { return a + b; }

// NaN in `a` stays; so does NaN in `b`, unless `a` is larger, which never happens.
inline f32x16 maximum(f32x16 a, f32x16 b) { return ((a > b) | (a != a)) ? a : b; }
inline f32x16 minimum(f32x16 a, f32x16 b) { return a < b ? a : b; }

inline float sum(f32x16 x) {
    EWE_HALVES(x, plus);
    return x[0];
}

inline float largest(f32x16 x) {
    EWE_HALVES(x, maximum);
    return x[0];
}

// e^x within two units of the last place; 0 below -87, infinite above 88; NaN stays NaN. (Cody and
// Waite's reduction, Cephes' polynomial.)
inline f32x16 exponential(f32x16 given) {
    f32x16 x = minimum(maximum(given, all(-87.0f)), all(88.0f));
    const f32x16 magic = all(12582912.0f);  // 1.5 · 2^23: adding it rounds to a whole number
    f32x16 shifted = x * all(1.44269504088896341f) + magic;
    f32x16 n = shifted - magic;
    f32x16 r = x - n * all(0.693359375f);
    r = r - n * all(-2.12194440e-4f);
    f32x16 p = all(1.9875691500e-4f);
    p = p * r + all(1.3981999507e-3f);
    p = p * r + all(8.3334519073e-3f);
    p = p * r + all(4.1665795894e-2f);
    p = p * r + all(1.6666665459e-1f);
    p = p * r + all(5.0000001201e-1f);
    p = p * r * r + r + all(1.0f);
    i32x16 power = (__builtin_convertvector(n, i32x16) + 127) << 23;
    f32x16 e = p * (f32x16)power;
    e = given > all(88.0f) ? all(INFINITY) : e;
    return given > all(-87.0f) ? e : (given == given ? f32x16{} : given);
}

// e^x within one part in ten thousand, x at most 88; 0 below -87.3; NaN stays NaN. The bits of 2^y
// are y, with its fraction corrected by a cubic (Malossi et al. 2015, Fast Exponential Computation
// on SIMD Architectures; the coefficients are libtorch's).
inline f32x16 rough_exponential(f32x16 x) {
    f32x16 y = x * all(1.44269504088896341f);
    i32x16 whole = __builtin_convertvector(y, i32x16);
    f32x16 below = __builtin_convertvector(whole, f32x16);
    f32x16 fraction = y - (below > y ? below - all(1.0f) : below);
    f32x16 wrong = fraction * all(-0.079204240219773236f) + all(-0.22433836478672356f);
    wrong = fraction * wrong + all(0.30354260500649682f);
    wrong = fraction * wrong + all(0.00010703434948458272f);
    f32x16 bits = all(8388608.0f) * (y - wrong) + all(8388608.0f * 127.0f);
    f32x16 e = (f32x16)__builtin_convertvector(bits, i32x16);
    return x >= all(-87.3365447505531f) ? e : (x == x ? f32x16{} : x);
}

}  // namespace

#endif
