// One source for two compilers: NVRTC makes GPU kernels of these headers when a program runs, and
// g++ makes of the same lines a twin that runs on the CPU, grid by grid, for tests and for
// `ewe selftest`.
//
// Kernels are written for warps of 32 lanes. What a lane keeps between two reductions is a
// `PerLane`; code between them stands in `EWE_LANES`, which is the lane's own on a GPU and a loop
// over 32 on the CPU. So nothing here depends on the order in which lanes run.
//
// Compiled without contraction (`--fmad=false`, `-ffp-contract=off`): both give the same bits.
#ifndef EWE_GPU_PORTABLE_H
#define EWE_GPU_PORTABLE_H

#ifdef __CUDACC_RTC__
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
#define EWE_EACH __device__ __forceinline__
#else
#include <cmath>
#include <cstdint>
#include <cstring>
typedef int8_t i8;
typedef uint8_t u8;
typedef int16_t i16;
typedef uint16_t u16;
typedef int32_t i32;
typedef uint32_t u32;
typedef long long i64;
typedef unsigned long long u64;
#define EWE_EACH inline
#endif

namespace ewe_gpu {

constexpr int WARP = 32;

// Where a warp stands in a launch. Kernels stride over their work by `warps`, so any grid does.
struct Grid {
    i64 warp;   // number of this warp, of all thread blocks
    i64 warps;  // how many there are
};

#ifdef __CUDACC_RTC__

EWE_EACH Grid grid() {
    const i64 per_block = blockDim.x / WARP;
    return {(i64)blockIdx.x * per_block + threadIdx.x / WARP, (i64)gridDim.x * per_block};
}

template <class T> struct PerLane {
    T own;
    EWE_EACH T &operator[](int) { return own; }
};

#define EWE_LANES(lane) for (int lane = threadIdx.x % 32, once = 1; once; once = 0)

// The same in every lane afterwards, and the same bits as on the CPU: halves are paired alike.
EWE_EACH float warp_sum(PerLane<float> &x) {
    float value = x.own;
    for (int by = WARP / 2; by > 0; by /= 2) value += __shfl_xor_sync(~0u, value, by);
    return value;
}

EWE_EACH double warp_sum(PerLane<double> &x) {
    double value = x.own;
    for (int by = WARP / 2; by > 0; by /= 2) value += __shfl_xor_sync(~0u, value, by);
    return value;
}

// The largest of numbers that are not negative; what is not a number wins.
EWE_EACH float warp_largest(PerLane<float> &x) {
    float value = x.own;
    for (int by = WARP / 2; by > 0; by /= 2) {
        const float other = __shfl_xor_sync(~0u, value, by);
        value = (value > other || value != value) ? value : other;
    }
    return value;
}

EWE_EACH bool warp_all(PerLane<bool> &x) { return __all_sync(~0u, x.own); }

EWE_EACH u32 bits_of(float x) { return __float_as_uint(x); }
EWE_EACH float float_of(u32 bits) { return __uint_as_float(bits); }
EWE_EACH float root(float x) { return __fsqrt_rn(x); }
EWE_EACH float quotient(float x, float y) { return __fdiv_rn(x, y); }

// 8 numbers that lie one behind the other, at an address that their size divides: one or two loads
// of 16 bytes.
template <class T> struct alignas(sizeof(T) * 8 < 16 ? sizeof(T) * 8 : 16) Eight { T of[8]; };
template <class T> EWE_EACH void read(T (&x)[8], const T *p) {
    const Eight<T> eight = *(const Eight<T> *)p;
    for (int i = 0; i < 8; i++) x[i] = eight.of[i];
}
template <class T> EWE_EACH void write(T *p, const T (&x)[8]) {
    Eight<T> eight;
    for (int i = 0; i < 8; i++) eight.of[i] = x[i];
    *(Eight<T> *)p = eight;
}

#else

template <class T> struct PerLane {
    T of[WARP];
    T &operator[](int lane) { return of[lane]; }
};

#define EWE_LANES(lane) for (int lane = 0; lane < 32; lane++)

template <class T> inline T sum_of_halves(PerLane<T> &x) {
    T now[WARP], next[WARP];
    memcpy(now, x.of, sizeof now);
    for (int by = WARP / 2; by > 0; by /= 2) {
        for (int lane = 0; lane < WARP; lane++) next[lane] = now[lane] + now[lane ^ by];
        memcpy(now, next, sizeof now);
    }
    return now[0];
}

inline float warp_sum(PerLane<float> &x) { return sum_of_halves(x); }
inline double warp_sum(PerLane<double> &x) { return sum_of_halves(x); }

inline float warp_largest(PerLane<float> &x) {
    float now[WARP], next[WARP];
    memcpy(now, x.of, sizeof now);
    for (int by = WARP / 2; by > 0; by /= 2) {
        for (int lane = 0; lane < WARP; lane++) {
            const float value = now[lane], other = now[lane ^ by];
            next[lane] = (value > other || value != value) ? value : other;
        }
        memcpy(now, next, sizeof now);
    }
    return now[0];
}

inline bool warp_all(PerLane<bool> &x) {
    for (bool one : x.of) {
        if (!one) return false;
    }
    return true;
}

inline u32 bits_of(float x) {
    u32 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float float_of(u32 bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
inline float root(float x) { return std::sqrt(x); }
inline float quotient(float x, float y) { return x / y; }

// Traps where a GPU would: its wide loads ask for addresses that 16 bytes, or the size of all 8,
// divide.
template <class T> inline void must_be_aligned(const T *p) {
    const uintptr_t by = sizeof(T) * 8 < 16 ? sizeof(T) * 8 : 16;
    if ((uintptr_t)p % by != 0) __builtin_trap();
}
template <class T> inline void read(T (&x)[8], const T *p) {
    must_be_aligned(p);
    memcpy(x, p, sizeof x);
}
template <class T> inline void write(T *p, const T (&x)[8]) {
    must_be_aligned(p);
    memcpy(p, x, sizeof x);
}

#endif

// 8 numbers from `p`, those from `count` on zero: wide loads where all are there and `aligned`.
template <class T> EWE_EACH void read_some(T (&x)[8], const T *p, i64 count, bool aligned) {
    if (aligned && count >= 8) return read(x, p);
    for (int i = 0; i < 8; i++) {
        if (i < count) {
            x[i] = p[i];
        } else {
            x[i] = T();
        }
    }
}

template <class T> EWE_EACH void write_some(T *p, const T (&x)[8], i64 count, bool aligned) {
    if (aligned && count >= 8) return write(p, x);
    for (int i = 0; i < 8; i++) {
        if (i < count) p[i] = x[i];
    }
}

EWE_EACH float magnitude(float x) { return float_of(bits_of(x) & 0x7fffffffu); }

// bf16 as its bits.
EWE_EACH float widened(float x) { return x; }
EWE_EACH float widened(u16 bits) { return float_of((u32)bits << 16); }

// bf16, rounded to the nearest, ties to even, as libtorch rounds.
EWE_EACH u16 narrowed(float x) {
    const u32 bits = bits_of(x);
    return x == x ? (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16) : (u16)0x7fc0u;
}

EWE_EACH void put(float *p, float x) { *p = x; }
EWE_EACH void put(u16 *p, float x) { *p = narrowed(x); }

// As libtorch leaves a number in this type.
template <class T> EWE_EACH float rounded_as(float x);
template <> EWE_EACH float rounded_as<float>(float x) { return x; }
template <> EWE_EACH float rounded_as<u16>(float x) { return widened(narrowed(x)); }

// The number of the item that `at` falls into, of items that begin at `begin_of(i)`, the first at
// 0.
template <class F> EWE_EACH int item_at(int items, i64 at, F begin_of) {
    int low = 0, high = items - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (begin_of(middle) <= at) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

// How many groups of `of` hold `count`.
EWE_EACH i64 groups(i64 count, i64 of) { return (count + of - 1) / of; }

// 32 bits for an element from its number and a key: two rounds of multiplication (Chris Wellons'
// lowbias32, the key's second half between them), as in csrc/optimizers.cpp.
EWE_EACH u32 drawn(const u32 *key, i64 at) {
    u32 x = (u32)at ^ key[0];
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= x >> 15;
    x += key[1];
    x *= 0xd35a2d97u;
    return x ^ (x >> 15);
}

}  // namespace ewe_gpu

#endif
