// The kernels of kernels.h, written with the compiler's vector types. Compiled once for each level
// of instructions under the name EWE_TABLE; dispatch.cpp chooses one.

#include "kernels.h"
#include "activations.h"
#include "vectors.h"

#include <vector>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#ifndef EWE_TABLE
#error "EWE_TABLE names the table of this compilation"
#endif

namespace {

template <class T>
void rms_norm_row(int kind, const T *x, const T *weight, const T *residual, T *out, int64_t d, float eps) {
    f32x16 squares = {}, more = {};
    int64_t i = 0;
    for (; i + 2 * LANES <= d; i += 2 * LANES) {
        f32x16 a = load(x + i), b = load(x + i + LANES);
        squares += a * a;
        more += b * b;
    }
    for (; i < d; i += LANES) {
        f32x16 a = d - i < LANES ? load(x + i, d - i) : load(x + i);
        squares += a * a;
    }
    float factor = 1.0f / std::sqrt(sum(squares + more) / (float)d + eps);
    for (i = 0; i < d; i += LANES) {
        int64_t count = std::min(d - i, LANES);
        bool part = count < LANES;
        f32x16 y = (part ? load(x + i, count) : load(x + i)) * all(factor);
        f32x16 w = part ? load(weight + i, count) : load(weight + i);
        y = kind == EWE_NORM_GEMMA ? y * (w + all(1.0f)) : rounded(x, y) * w;
        if (residual) {
            y = rounded(x, y) + (part ? load(residual + i, count) : load(residual + i));
        }
        if (part) {
            store(out + i, y, count);
        } else {
            store(out + i, y);
        }
    }
}

template <class T>
void rms_norm_of(int kind, const T *x, const T *weight, const T *residual, T *out, int64_t n, int64_t d, float eps) {
#pragma omp parallel for schedule(static) if (n * d > WORTH_A_THREAD)
    for (int64_t row = 0; row < n; row++) {
        rms_norm_row(kind, x + row * d, weight, residual ? residual + row * d : nullptr, out + row * d, d, eps);
    }
}

void rms_norm(int type, int kind, const void *x, const void *weight, const void *residual, void *out, int64_t n,
              int64_t d, float eps) {
    if (type == EWE_BF16) {
        rms_norm_of(kind, (const bf16 *)x, (const bf16 *)weight, (const bf16 *)residual, (bf16 *)out, n, d, eps);
    } else {
        rms_norm_of(kind, (const float *)x, (const float *)weight, (const float *)residual, (float *)out, n, d, eps);
    }
}

inline f32x16 neighbours_swapped(f32x16 x) {
    return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
}

template <class T> void turn_head(int layout, const T *x, const T *cos, const T *sin, T *out, int64_t dims) {
    int64_t half = dims / 2;
    auto turned = [&](f32x16 own, f32x16 other, f32x16 c, f32x16 s) {
        return rounded(x, own * c) + rounded(x, other * s);
    };
    if (layout == EWE_ROPE_PAIRS) {
        for (int64_t i = 0; i < dims; i += LANES) {
            int64_t count = std::min(dims - i, LANES);
            if (count == LANES) {
                f32x16 own = load(x + i);
                store(out + i, turned(own, neighbours_swapped(own), load(cos + i), load(sin + i)));
            } else {
                f32x16 own = load(x + i, count);
                f32x16 y = turned(own, neighbours_swapped(own), load(cos + i, count), load(sin + i, count));
                store(out + i, y, count);
            }
        }
        return;
    }
    for (int64_t i = 0; i < half; i += LANES) {
        int64_t count = std::min(half - i, LANES), j = i + half;
        if (count == LANES) {
            f32x16 a = load(x + i), b = load(x + j);
            store(out + i, turned(a, b, load(cos + i), load(sin + i)));
            store(out + j, turned(b, a, load(cos + j), load(sin + j)));
        } else {
            f32x16 a = load(x + i, count), b = load(x + j, count);
            store(out + i, turned(a, b, load(cos + i, count), load(sin + i, count)), count);
            store(out + j, turned(b, a, load(cos + j, count), load(sin + j, count)), count);
        }
    }
}

template <class T>
void rope_of(int layout, const T *x, const T *cos, const T *sin, T *out, int64_t n, int64_t h, int64_t d,
             int64_t dims) {
#pragma omp parallel for schedule(static) if (n * h * d > WORTH_A_THREAD)
    for (int64_t row = 0; row < n; row++) {
        for (int64_t head = 0; head < h; head++) {
            int64_t at = (row * h + head) * d;
            turn_head(layout, x + at, cos + row * dims, sin + row * dims, out + at, dims);
            memcpy(out + at + dims, x + at + dims, (d - dims) * sizeof(T));
        }
    }
}

void rope(int type, int layout, const void *x, const void *cos, const void *sin, void *out, int64_t n, int64_t h,
          int64_t d, int64_t dims) {
    if (type == EWE_BF16) {
        rope_of(layout, (const bf16 *)x, (const bf16 *)cos, (const bf16 *)sin, (bf16 *)out, n, h, d, dims);
    } else {
        rope_of(layout, (const float *)x, (const float *)cos, (const float *)sin, (float *)out, n, h, d, dims);
    }
}

template <class T> void gated_of(int activation, const T *gate, const T *up, T *out, int64_t count) {
    constexpr int64_t PIECE = 1024;
#pragma omp parallel for schedule(static) if (count > WORTH_A_THREAD / 4)
    for (int64_t from = 0; from < count; from += PIECE) {
        int64_t to = std::min(count, from + PIECE);
        for (int64_t i = from; i < to; i += LANES) {
            int64_t left = std::min(to - i, LANES);
            bool part = left < LANES;
            f32x16 g = part ? load(gate + i, left) : load(gate + i);
            f32x16 u = part ? load(up + i, left) : load(up + i);
            f32x16 y = rounded(gate, activation == EWE_SILU ? silu(g) : gelu_tanh(g)) * u;
            if (part) {
                store(out + i, y, left);
            } else {
                store(out + i, y);
            }
        }
    }
}

void gated(int type, int activation, const void *gate, const void *up, void *out, int64_t count) {
    if (type == EWE_BF16) {
        gated_of(activation, (const bf16 *)gate, (const bf16 *)up, (bf16 *)out, count);
    } else {
        gated_of(activation, (const float *)gate, (const float *)up, (float *)out, count);
    }
}

constexpr int64_t MOST_FEATURES = 512;
// Keys whose scores are held at once: as many as libtorch's fused attention weighs by one maximum.
constexpr int64_t KEYS = 512;
// Keys whose values are prefetched while their scores are computed.
constexpr int64_t STRETCH = 64;

// Keys and values of one head of one sequence, and how a block of queries attends to them.
template <class T> struct Head {
    const T *k, *v;
    int64_t stride, d;
    float scale;
    int rounding;
};

// One query: its features, where its result goes, and the range of keys it sees.
template <class T> struct Query {
    const T *q;
    T *out;
    int64_t from, to;
};

// Sums that are computed side by side, so that the multipliers are busy: each addition takes four
// cycles.
constexpr int SUMS = 8;

// The queries of a block in the form that products with keys need.
template <int R, class T> struct Scaled {
    alignas(64) float q[R][MOST_FEATURES];

    void set(int r, const T *from, const Head<T> &head) {
        for (int64_t i = 0; i < head.d; i += LANES) store(&q[r][i], load(from + i));
    }

    // Computes scores against N consecutive keys: s[r][0 .. N].
    template <int N> void against(const T *k, const Head<T> &head, float (*s)[KEYS]) const {
        f32x16 sums[N][R] = {};
        for (int64_t i = 0; i < head.d; i += LANES) {
            f32x16 key[N];
            for (int n = 0; n < N; n++) key[n] = load(k + n * head.stride + i);
            for (int r = 0; r < R; r++) {
                f32x16 query = load(&q[r][i]);
                for (int n = 0; n < N; n++) sums[n][r] += key[n] * query;
            }
        }
        for (int r = 0; r < R; r++) {
            for (int n = 0; n < N; n++) s[r][n] = sum(sums[n][r]);
        }
    }
};

#if defined(__AVX512BF16__)
// Pairs of bf16 are multiplied without conversion; products and sums are fp32.
template <int R> struct Scaled<R, bf16> {
    const bf16 *q[R];

    void set(int r, const bf16 *from, const Head<bf16> &) { q[r] = from; }

    template <int N> void against(const bf16 *k, const Head<bf16> &head, float (*s)[KEYS]) const {
        __m512 sums[N][R] = {};
        int64_t i = 0;
        for (; i + 2 * LANES <= head.d; i += 2 * LANES) {
            __m512bh key[N];
            for (int n = 0; n < N; n++) key[n] = (__m512bh)_mm512_loadu_si512(k + n * head.stride + i);
            for (int r = 0; r < R; r++) {
                __m512bh query = (__m512bh)_mm512_loadu_si512(q[r] + i);
                for (int n = 0; n < N; n++) sums[n][r] = _mm512_dpbf16_ps(sums[n][r], key[n], query);
            }
        }
        for (; i < head.d; i += LANES) {
            for (int n = 0; n < N; n++) {
                for (int r = 0; r < R; r++) {
                    sums[n][r] += (__m512)(load(k + n * head.stride + i) * load(q[r] + i));
                }
            }
        }
        for (int r = 0; r < R; r++) {
            for (int n = 0; n < N; n++) s[r][n] = sum((f32x16)sums[n][r]);
        }
    }
};
#endif

// How many keys ahead memory is prefetched.
constexpr int64_t AHEAD = 16;

template <class T> inline void fetch(const T *row, int64_t d) {
    for (int64_t i = 0; i < d; i += 64 / (int64_t)sizeof(T)) __builtin_prefetch(row + i);
}

// Computes scores of R queries against `count` keys, s[r][j], and prefetches the values of these
// keys.
template <int R, class T>
inline void scores(const Scaled<R, T> &q, const T *k, const T *v, const Head<T> &head, int64_t count, float (*s)[KEYS]) {
    constexpr int N = std::max(2, SUMS / R);
    int64_t j = 0;
    auto at = [&](int64_t j) { return (float(*)[KEYS])(&s[0][j]); };
    for (; j + N <= count; j += N) {
        // Processors prefetch within a page only, and eight keys fill one.
        for (int n = 0; n < N; n++) {
            fetch(k + (j + n + AHEAD) * head.stride, head.d);
            fetch(v + (j + n) * head.stride, head.d);
        }
        q.template against<N>(k + j * head.stride, head, at(j));
    }
    for (; j < count; j++) q.template against<1>(k + j * head.stride, head, at(j));
}

// Adds the weighted values of `count` keys to C · 16 features: o[r] += Σ p[r][j] v[j].
template <int R, int C, class T>
inline void weighted(const float (*p)[KEYS], const T *v, const Head<T> &head, int64_t count, float (*o)[MOST_FEATURES]) {
    f32x16 sums[R][C];
    for (int r = 0; r < R; r++) {
        for (int c = 0; c < C; c++) sums[r][c] = load(&o[r][c * LANES]);
    }
    for (int64_t j = 0; j < count; j++) {
        f32x16 value[C];
        for (int c = 0; c < C; c++) value[c] = load(v + j * head.stride + c * LANES);
        for (int r = 0; r < R; r++) {
            f32x16 weight = all(p[r][j]);
            for (int c = 0; c < C; c++) sums[r][c] += value[c] * weight;
        }
    }
    for (int r = 0; r < R; r++) {
        for (int c = 0; c < C; c++) store(&o[r][c * LANES], sums[r][c]);
    }
}

template <int R, class T>
inline void values(const float (*p)[KEYS], const T *v, const Head<T> &head, int64_t count, float (*o)[MOST_FEATURES]) {
    constexpr int C = std::max(2, SUMS / R);
    int64_t i = 0;
    auto at = [&](int64_t i) { return (float(*)[MOST_FEATURES])(&o[0][i]); };
    for (; i + C * LANES <= head.d; i += C * LANES) weighted<R, C>(p, v + i, head, count, at(i));
    for (; i < head.d; i += LANES) weighted<R, 1>(p, v + i, head, count, at(i));
}

// Computes scores of R queries against the block of `count` keys at `first`; -inf where a query
// does not see the key, and up to the next multiple of 16.
template <int R, class T>
void scores_of(const Scaled<R, T> &q, const Query<T> *queries, const Head<T> &head, int64_t first, int64_t count,
               float (*s)[KEYS]) {
    for (int64_t j = 0; j < count; j += STRETCH) {
        const int64_t at = (first + j) * head.stride;
        scores<R, T>(q, head.k + at, head.v + at, head, std::min(STRETCH, count - j), (float(*)[KEYS])(&s[0][j]));
    }
    for (int r = 0; r < R; r++) {
        for (int64_t j = 0; j < count; j += LANES) {
            store(&s[r][j], load(&s[r][j]) * all(head.scale));
        }
        int64_t low = std::min(std::max(queries[r].from - first, (int64_t)0), count);
        int64_t high = std::max(std::min(queries[r].to - first, count), low);
        for (int64_t j = 0; j < low; j++) s[r][j] = -INFINITY;
        for (int64_t j = high; j < (count + LANES - 1) / LANES * LANES; j++) s[r][j] = -INFINITY;
    }
}

// Attention weight e^x, x at most 0. For weights that are rounded to bf16, it is computed as in
// libtorch's fused attention.
inline f32x16 weight(const float *, f32x16 x) { return exponential(x); }
inline f32x16 weight(const bf16 *, f32x16 x) { return rough_exponential(x); }

// Adds a block of scores to the running maximum and sum. Returns the factor by which results
// weighed by the former maximum shrink. If `weighs`, scores become weights, e^(score - maximum).
template <class T> float absorb(float *s, int64_t count, float &most, float &total, bool weighs) {
    f32x16 best = all(-INFINITY);
    for (int64_t j = 0; j < count; j += LANES) best = maximum(best, load(s + j));
    float top = largest(best);
    float now = top > most || top != top ? top : most;
    if (now == -INFINITY) {
        // This query sees none of these keys and none before them.
        if (weighs) memset(s, 0, (count + LANES - 1) / LANES * LANES * sizeof(float));
        return 1;
    }
    f32x16 sums = {};
    for (int64_t j = 0; j < count; j += LANES) {
        f32x16 below = load(s + j) - all(now);
        f32x16 e = weighs ? weight((const T *)nullptr, below) : exponential(below);
        sums += e;
        if (weighs) store(s + j, rounded((const T *)nullptr, e));
    }
    float shrink = now == most ? 1.0f : most == -INFINITY ? 0.0f : std::exp(most - now);
    total = total * shrink + sum(sums);
    most = now;
    return shrink;
}

// R queries of one head at once, so that keys and values are read once for all of them.
template <int R, class T> struct Attending {
    const Query<T> *queries;
    const Head<T> &head;
    Scaled<R, T> q;
    // The results; the scores of a block of keys; and over all blocks so far, the maximum and the
    // sum of e^(score - maximum).
    alignas(64) float o[R][MOST_FEATURES], s[R][KEYS];
    float most[R], total[R];
    int64_t from, to;

    Attending(const Query<T> *queries, const Head<T> &head)
        : queries(queries), head(head), from(queries[0].from), to(queries[0].to) {
        for (int r = 0; r < R; r++) {
            q.set(r, queries[r].q, head);
            for (int64_t i = 0; i < head.d; i += LANES) store(&o[r][i], f32x16{});
            most[r] = -INFINITY;
            total[r] = 0;
            from = std::min(from, queries[r].from);
            to = std::max(to, queries[r].to);
        }
    }

    template <class F> void each_block(F f) {
        for (int64_t first = from; first < to; first += KEYS) f(first, std::min(KEYS, to - first));
    }
    void score(int64_t first, int64_t count) { scores_of<R, T>(q, queries, head, first, count, s); }
    void add_values(int64_t first, int64_t count) {
        values<R, T>(s, head.v + first * head.stride, head, count, o);
    }
    void scale(int r, float by) {
        for (int64_t i = 0; i < head.d; i += LANES) store(&o[r][i], load(&o[r][i]) * all(by));
    }

    // Rounds weights in 16 bits before they are divided by their sum: an online softmax, block by
    // block (Milakov and Gimelshein 2018, <https://arxiv.org/abs/1805.02867>).
    void as_they_are() {
        each_block([&](int64_t first, int64_t count) {
            score(first, count);
            for (int r = 0; r < R; r++) {
                float shrink = absorb<T>(s[r], count, most[r], total[r], true);
                if (shrink != 1) scale(r, shrink);
            }
            add_values(first, count);
        });
        for (int r = 0; r < R; r++) scale(r, 1.0f / total[r]);
    }

    // Rounds weights in 16 bits after they are divided by their sum, which is known only after all
    // keys.
    void of_one() {
        each_block([&](int64_t first, int64_t count) {
            score(first, count);
            for (int r = 0; r < R; r++) absorb<T>(s[r], count, most[r], total[r], false);
        });
        each_block([&](int64_t first, int64_t count) {
            // With a single block, its scores are still there.
            if (to - from > KEYS) score(first, count);
            for (int r = 0; r < R; r++) {
                for (int64_t j = 0; j < count; j += LANES) {
                    f32x16 share = exponential(load(&s[r][j]) - all(most[r])) / all(total[r]);
                    store(&s[r][j], rounded((const T *)nullptr, share));
                }
            }
            add_values(first, count);
        });
    }
};

template <int R, class T> void attend_block(const Query<T> *queries, const Head<T> &head) {
    Attending<R, T> block(queries, head);
    if (head.rounding == EWE_WEIGHTS_AS_THEY_ARE) {
        block.as_they_are();
    } else {
        block.of_one();
    }
    for (int r = 0; r < R; r++) {
        for (int64_t i = 0; i < head.d; i += LANES) store(queries[r].out + i, load(&block.o[r][i]));
    }
}

template <class T> void attend_some(const Query<T> *queries, int64_t count, const Head<T> &head) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) attend_block<8>(queries + i, head);
    for (; i + 4 <= count; i += 4) attend_block<4>(queries + i, head);
    for (; i + 2 <= count; i += 2) attend_block<2>(queries + i, head);
    for (; i < count; i++) attend_block<1>(queries + i, head);
}

// Queries `first .. first + count` of one key/value head of a segment; token by token, then head by
// head.
struct Piece {
    int64_t segment, head, first, count;
};

template <class T>
void attend_of(const T *q, const T *k, const T *v, T *out, const ewe_segment *segments, int64_t segment_count,
               int64_t h, int64_t kv_heads, int64_t d, int64_t slot_stride, int64_t token_stride, float scale,
               int64_t window, int rounding, int threads) {
    int64_t shared = h / kv_heads, work = 0;
    std::vector<Piece> pieces;
    // As many queries at once as fit into registers; fewer where that would leave a thread without
    // any.
    for (int64_t size = 8; size >= 1; size /= 2) {
        pieces.clear();
        for (int64_t i = 0; i < segment_count; i++) {
            int64_t rows = segments[i].length * shared;
            for (int64_t head = 0; head < kv_heads; head++) {
                for (int64_t first = 0; first < rows; first += size) {
                    pieces.push_back({i, head, first, std::min(size, rows - first)});
                }
            }
        }
        if ((int64_t)pieces.size() >= threads) break;
    }
    for (int64_t i = 0; i < segment_count; i++) {
        work += segments[i].length * (segments[i].start + segments[i].length) * h * d;
    }
#pragma omp parallel for schedule(dynamic, 1) if (work > WORTH_A_THREAD)
    for (size_t index = 0; index < pieces.size(); index++) {
        Piece piece = pieces[index];
        const ewe_segment &segment = segments[piece.segment];
        int64_t at = segment.slot * slot_stride + piece.head * d;
        Head<T> head = {k + at, v + at, token_stride, d, scale, rounding};
        Query<T> queries[8];
        for (int64_t i = 0; i < piece.count; i++) {
            int64_t token = (piece.first + i) / shared, of = (piece.first + i) % shared;
            int64_t row = ((segment.offset + token) * h + piece.head * shared + of) * d;
            int64_t end = segment.start + token + 1;
            queries[i] = {q + row, out + row, window > 0 ? std::max((int64_t)0, end - window) : 0, end};
        }
        attend_some(queries, piece.count, head);
    }
}

}  // namespace

#ifdef _OPENMP
#include <omp.h>
static int threads() { return omp_get_max_threads(); }
#else
static int threads() { return 1; }
#endif

namespace {

void attend(int type, const void *q, const void *k, const void *v, void *out, const ewe_segment *segments,
            int64_t count, int64_t h, int64_t kv_heads, int64_t d, int64_t slot_stride, int64_t token_stride,
            float scale, int64_t window, int rounding) {
    if (type == EWE_BF16) {
        attend_of((const bf16 *)q, (const bf16 *)k, (const bf16 *)v, (bf16 *)out, segments, count, h, kv_heads, d,
                  slot_stride, token_stride, scale, window, rounding, threads());
    } else {
        attend_of((const float *)q, (const float *)k, (const float *)v, (float *)out, segments, count, h, kv_heads, d,
                  slot_stride, token_stride, scale, window, rounding, threads());
    }
}

template <class T> float group_maximum(const T *x, int64_t count) {
    f32x16 most = all(-INFINITY);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) most = maximum(load(x + i), most);
    float best = largest(most);
    if (i < count) {
        f32x16 rest = load(x + i, count - i);
        for (int64_t j = 0; j < count - i; j++) best = rest[j] > best || rest[j] != rest[j] ? rest[j] : best;
    }
    return best;
}

template <class T> float group_sum(const T *x, int64_t count, float most, float sharpness) {
    f32x16 total = {};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) total += exponential((load(x + i) - all(most)) * all(sharpness));
    float found = sum(total);
    if (i < count) {
        f32x16 rest = exponential((load(x + i, count - i) - all(most)) * all(sharpness));
        for (int64_t j = 0; j < count - i; j++) found += rest[j];
    }
    return found;
}

template <class T>
void summarise_of(const T *logits, const float *sharpness, float *maxima, float *sums, int64_t n, int64_t v,
                  int64_t width) {
    int64_t groups = (v + width - 1) / width;
    // A thread works on a part of a row that fits into its cache, not on a group.
    constexpr int64_t STRETCH = 64;
    int64_t stretches = (groups + STRETCH - 1) / STRETCH;
#pragma omp parallel for schedule(static) if (n * v > WORTH_A_THREAD)
    for (int64_t piece = 0; piece < n * stretches; piece++) {
        int64_t row = piece / stretches, first = piece % stretches * STRETCH;
        for (int64_t group = first; group < std::min(groups, first + STRETCH); group++) {
            int64_t from = group * width;
            maxima[row * groups + group] = group_maximum(logits + row * v + from, std::min(width, v - from));
        }
    }
    if (!sums) return;
    std::vector<float> most(n);
    for (int64_t row = 0; row < n; row++) {
        most[row] = *std::max_element(maxima + row * groups, maxima + (row + 1) * groups);
    }
#pragma omp parallel for schedule(static) if (n * v > WORTH_A_THREAD / 4)
    for (int64_t piece = 0; piece < n * stretches; piece++) {
        int64_t row = piece / stretches, first = piece % stretches * STRETCH;
        for (int64_t group = first; group < std::min(groups, first + STRETCH); group++) {
            int64_t from = group * width;
            sums[row * groups + group] =
                group_sum(logits + row * v + from, std::min(width, v - from), most[row], sharpness[row]);
        }
    }
}

void summarise(int type, const void *logits, const float *sharpness, float *maxima, float *sums, int64_t n, int64_t v,
               int64_t width) {
    if (type == EWE_BF16) {
        summarise_of((const bf16 *)logits, sharpness, maxima, sums, n, v, width);
    } else {
        summarise_of((const float *)logits, sharpness, maxima, sums, n, v, width);
    }
}

void look_up(const uint16_t *table, const uint16_t *x, uint16_t *out, int64_t count) {
#pragma omp parallel for schedule(static) if (count > WORTH_A_THREAD / 4)
    for (int64_t i = 0; i < count; i++) out[i] = table[x[i]];
}

// Numbers whose exponent bits, `mask`, are all set are infinite or NaN.
template <class Bits> int64_t not_finite_of(const Bits *x, int64_t count, Bits mask) {
    constexpr int64_t PIECE = 1 << 16;
    int64_t found = count;
#pragma omp parallel for schedule(static) reduction(min : found) if (count > 8 * PIECE)
    for (int64_t from = 0; from < count; from += PIECE) {
        int64_t to = std::min(count, from + PIECE);
        Bits any = 0;
        for (int64_t i = from; i < to; i++) any |= (x[i] & mask) == mask;
        for (int64_t i = from; any && i < to; i++) {
            if ((x[i] & mask) == mask) {
                found = std::min(found, i);
                break;
            }
        }
    }
    return found == count ? -1 : found;
}

int64_t not_finite(int type, const void *x, int64_t count) {
    if (type == EWE_BF16) return not_finite_of<uint16_t>((const uint16_t *)x, count, 0x7f80);
    return not_finite_of<uint32_t>((const uint32_t *)x, count, 0x7f800000);
}

}  // namespace

extern "C" const ewe_kernels EWE_TABLE = {rms_norm, rope, gated, attend, summarise, look_up, not_finite};
