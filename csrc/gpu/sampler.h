// The next token of every row of a batch. The definition is the CPU's sampler (src/engine/sampler):
// tokens in groups of `width`, the fp32 sum of a group in the order of csrc/kernels.cpp, penalized
// tokens beside their groups, sums of groups and the draw in fp64. Nothing of a row is sorted:
// candidates are taken one by one, best first, equal ones by id, until the filters are satisfied.
//
// Where the CPU adds group after group, these kernels add in a tree. Both sums of g groups are
// within g · 2^-53 of the exact one, and `exp` of doubles within 2 units of the last place. A draw
// can only come out differently if its random number is that close to one of at most v borders:
// below 2^18 · 2^13 · 2^-52 = 5e-7 for 262,144 tokens in groups of 32, and 6e-8 in groups of 256.
// A CPU without fused multiply-add has other bits in one sum of a group in a hundred; against it,
// as between two such CPUs, borders move by up to 1e-7.
#ifndef EWE_GPU_SAMPLER_H
#define EWE_GPU_SAMPLER_H

#include "exponential.h"
#include "portable.h"

namespace ewe_gpu {

// Candidates of a row that are taken before the host is asked to sample it.
constexpr i64 MOST_CANDIDATES = 256;

// Instead of a token: a score is NaN or infinite, or all are -inf; and a row for the host.
constexpr i32 NO_NUMBERS = -1, FOR_HOST = -2;

enum SamplerMode : i32 {
    GREEDY = 0,    // the likeliest token, the first of equal ones
    PLAIN = 1,     // a draw from all tokens, in the order of their ids
    FILTERED = 2,  // a draw from those that top-k, top-p and min-p keep, best first
};

// Bits of a counted token in the table of seen tokens; the rest of the number is how often it was
// generated. 0 for a token that no penalty applies to.
constexpr u32 SEEN_TOKEN = 1, REPEATED_TOKEN = 2;

// Parameters of one row.
struct SamplerItem {
    double u;                    // random number in [0, 1)
    double top_p, min_p;         // 1 and 0 switch them off
    double presence, frequency;  // subtracted penalties
    i64 seen;                    // row of the table of seen tokens; -1 without penalties
    i64 before;                  // row of `SamplerStep::before` whose token the table lacks; -1 if it lacks none
    float sharpness;             // 1 / temperature
    float repetition;            // divides positive scores, multiplies others
    i32 top_k;                   // 0 switches it off
    i32 mode;                    // a SamplerMode
};

// A number of the table of seen tokens.
struct SeenUpdate {
    i64 place;  // row · vocab + token
    u32 value, unused;
};

// One step of the sampler, which every kernel gets by value. What the host knows before the model
// has computed logits lies elsewhere, so that it can be sent with everything else of a step.
struct SamplerStep {
    void *logits;               // [rows, vocab]; forbidden ones become -inf
    u32 *seen;                  // [any, vocab]
    float *maxima;              // [rows, groups] largest score that no penalty changes
    u64 *keys;                  // [rows, groups] key of the best token; the draw changes them
    float *peaks;               // [rows, 2] largest of `maxima`, largest score of all
    float *sums;                // [rows, groups] sum of e^((score - peak) · sharpness), penalized ones left out
    double *extras;             // [rows, groups] the same of penalized ones, below the row's second peak
    double *weights;            // [rows, MOST_CANDIDATES]
    i32 *ids;                   // [rows, MOST_CANDIDATES]
    i32 *tokens;                // [rows] the result
    i64 *inputs;                // [rows] the same for the next step to look up: 0 where there is no token
    const i32 *before;          // [any] `tokens` of the step before; null if the host has read them
    const SamplerItem *items;   // [rows]
    const SeenUpdate *updates;  // [update_count]
    const i64 *forbidden;       // [forbidden_count] places (row · vocab + token) of logits
    i64 rows, vocab, width, groups, update_count, forbidden_count;
};

// Half a warp works on a group, since the CPU adds in 16 lanes.
constexpr int HALF_WARP = 16;

#ifdef __CUDACC_RTC__
// What lanes wrote before, all lanes of the warp read after.
EWE_EACH void warp_fence() { __syncwarp(); }
template <class T> EWE_EACH T at_lane(PerLane<T> &x, int lane) { return __shfl_sync(~0u, x.own, lane); }
template <class T, class F> EWE_EACH void join_halves(PerLane<T> &x, F join) {
    for (int by = HALF_WARP / 2; by > 0; by /= 2) x.own = join(x.own, __shfl_xor_sync(~0u, x.own, by));
}
EWE_EACH u64 warp_best(PerLane<u64> &x) {
    u64 value = x.own;
    for (int by = WARP / 2; by > 0; by /= 2) {
        const u64 other = __shfl_xor_sync(~0u, value, by);
        value = value > other ? value : other;
    }
    return value;
}
#else
inline void warp_fence() {}
template <class T> inline T at_lane(PerLane<T> &x, int lane) { return x.of[lane]; }
template <class T, class F> inline void join_halves(PerLane<T> &x, F join) {
    for (int by = HALF_WARP / 2; by > 0; by /= 2) {
        PerLane<T> next;
        for (int lane = 0; lane < WARP; lane++) next.of[lane] = join(x.of[lane], x.of[lane ^ by]);
        x = next;
    }
}
inline u64 warp_best(PerLane<u64> &x) {
    u64 value = 0;
    for (u64 one : x.of) value = value > one ? value : one;
    return value;
}
using std::exp;
using std::log;
#endif

// A score after penalties, and whether one applied: such tokens are not in the sums of groups.
struct SamplerScore {
    float value;
    bool is_beside;
};

template <class T> EWE_EACH SamplerScore score_of(const SamplerStep &step, const SamplerItem &item, i64 row, i64 id) {
    float x = widened(((const T *)step.logits)[row * step.vocab + id]);
    if (item.seen < 0) return {x, false};
    const u32 known = step.seen[item.seen * step.vocab + id];
    if ((known & SEEN_TOKEN) == 0) return {x, false};
    const u32 count = known >> 2;
    const double minus = count > 0 ? item.presence + item.frequency * (double)count : 0.0;
    if ((known & REPEATED_TOKEN) != 0) x = x > 0.0f ? quotient(x, item.repetition) : x * item.repetition;
    return {x - (float)minus, true};
}

// A key that is larger for a larger score, and among equal scores for the smaller id; above all
// others where the score is NaN or infinite. A draw puts 0 before -0, the likeliest token does not.
EWE_EACH u64 key_of(float score, i64 id, bool greedy) {
    if (!(score < infinity())) return ~0ull;
    const u32 bits = bits_of(greedy ? score + 0.0f : score);
    const u32 order = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (u64)order << 32 | (u32)~(u32)id;
}

EWE_EACH float score_in(u64 key) {
    const u32 order = (u32)(key >> 32);
    return float_of((order & 0x80000000u) != 0 ? order & 0x7fffffffu : ~order);
}

EWE_EACH i64 id_in(u64 key) { return (i64)(u32)~(u32)key; }

// Weight of a score beside the row's largest, `peak`.
EWE_EACH double weight_of(float score, float peak, float sharpness) { return exp((double)((score - peak) * sharpness)); }

EWE_EACH void rule_out(float *logit) { *logit = -infinity(); }
EWE_EACH void rule_out(u16 *logit) { *logit = 0xff80; }

// Counts the token that the step before chose for a row. The host has no updates of such rows.
EWE_EACH void count_before(const SamplerStep &step, const SamplerItem &item) {
    if (item.seen < 0 || item.before < 0) return;
    const i32 token = step.before[item.before];
    if (token < 0) return;
    u32 &known = step.seen[item.seen * step.vocab + token];
    const u32 count = known >> 2;
    known = (count < ~0u >> 2 ? count + 1 : count) << 2 | REPEATED_TOKEN | SEEN_TOKEN;
}

// Writes the changed numbers of the table of seen tokens, and rules out the forbidden tokens.
template <class T> EWE_EACH void sampler_prepare(const Grid &grid, const SamplerStep &step) {
    const i64 written = step.update_count + step.forbidden_count, all = written + (step.before ? step.rows : 0);
    for (i64 at = grid.warp; at < groups(all, WARP); at += grid.warps) {
        EWE_LANES(lane) {
            const i64 i = at * WARP + lane;
            if (i < step.update_count) {
                step.seen[step.updates[i].place] = step.updates[i].value;
            } else if (i < written) {
                rule_out((T *)step.logits + step.forbidden[i - step.update_count]);
            } else if (i < all) {
                count_before(step, step.items[i - written]);
            }
        }
    }
}

// Gives a row its token.
EWE_EACH void choose(const SamplerStep &step, i64 row, i32 token) {
    step.tokens[row] = token;
    step.inputs[row] = token < 0 ? 0 : token;
}

// Finds the largest score of each group, and the key of its best token. A warp takes two groups.
template <class T> EWE_EACH void sampler_maxima(const Grid &grid, const SamplerStep &step) {
    const i64 pairs = groups(step.groups, 2);
    for (i64 at = grid.warp; at < step.rows * pairs; at += grid.warps) {
        const i64 row = at / pairs, first = at % pairs * 2;
        const SamplerItem item = step.items[row];
        PerLane<float> most;
        PerLane<u64> best;
        EWE_LANES(lane) {
            const i64 from = (first + lane / HALF_WARP) * step.width + lane % HALF_WARP;
            float largest = -infinity();
            u64 found = 0;
            for (i64 id = from; id < from + step.width && id < step.vocab; id += HALF_WARP) {
                const SamplerScore score = score_of<T>(step, item, row, id);
                if (!score.is_beside && score.value > largest) largest = score.value;
                const u64 key = key_of(score.value, id, item.mode == GREEDY);
                if (key > found) found = key;
            }
            most[lane] = largest;
            best[lane] = found;
        }
        join_halves(most, [](float x, float y) { return x > y ? x : y; });
        join_halves(best, [](u64 x, u64 y) { return x > y ? x : y; });
        EWE_LANES(lane) {
            const i64 group = first + lane / HALF_WARP;
            if (lane % HALF_WARP == 0 && group < step.groups) {
                step.maxima[row * step.groups + group] = most[lane];
                step.keys[row * step.groups + group] = best[lane];
            }
        }
    }
}

// Finds the largest scores of each row, and the token of greedy rows. Other rows are the host's
// until they are drawn.
EWE_EACH void sampler_peaks(const Grid &grid, const SamplerStep &step) {
    for (i64 row = grid.warp; row < step.rows; row += grid.warps) {
        PerLane<float> most;
        PerLane<u64> best;
        EWE_LANES(lane) {
            most[lane] = -infinity();
            best[lane] = 0;
            for (i64 group = lane; group < step.groups; group += WARP) {
                const float largest = step.maxima[row * step.groups + group];
                const u64 key = step.keys[row * step.groups + group];
                if (largest > most[lane]) most[lane] = largest;
                if (key > best[lane]) best[lane] = key;
            }
        }
        join_halves(most, [](float x, float y) { return x > y ? x : y; });
        const float low = at_lane(most, 0), high = at_lane(most, HALF_WARP);
        const u64 key = warp_best(best);
        EWE_LANES(lane) {
            if (lane == 0) {
                const float peak = score_in(key);
                step.peaks[row * 2] = low > high ? low : high;
                step.peaks[row * 2 + 1] = peak;
                const bool broken = key == ~0ull || !(peak > -infinity());
                choose(step, row, broken ? NO_NUMBERS : step.items[row].mode == GREEDY ? (i32)id_in(key) : FOR_HOST);
            }
        }
    }
}

// Adds the weights of each group, for rows that need their sum.
template <class T> EWE_EACH void sampler_sums(const Grid &grid, const SamplerStep &step) {
    const i64 pairs = groups(step.groups, 2);
    for (i64 at = grid.warp; at < step.rows * pairs; at += grid.warps) {
        const i64 row = at / pairs, first = at % pairs * 2;
        const SamplerItem item = step.items[row];
        if (step.tokens[row] != FOR_HOST || (item.mode == FILTERED && item.top_k > 0)) continue;
        const float inside = step.peaks[row * 2], peak = step.peaks[row * 2 + 1];
        PerLane<float> sum;
        PerLane<double> extra;
        EWE_LANES(lane) {
            const i64 from = (first + lane / HALF_WARP) * step.width + lane % HALF_WARP;
            float total = 0.0f;
            double beside = 0.0;
            for (i64 id = from; id < from + step.width && id < step.vocab; id += HALF_WARP) {
                const SamplerScore score = score_of<T>(step, item, row, id);
                if (score.is_beside) {
                    beside += weight_of(score.value, peak, item.sharpness);
                } else if (score.value > -infinity()) {
                    total += exponential((score.value - inside) * item.sharpness);
                }
            }
            sum[lane] = total;
            extra[lane] = beside;
        }
        join_halves(sum, [](float x, float y) { return x + y; });
        join_halves(extra, [](double x, double y) { return x + y; });
        EWE_LANES(lane) {
            const i64 group = first + lane / HALF_WARP;
            if (lane % HALF_WARP == 0 && group < step.groups) {
                step.sums[row * step.groups + group] = sum[lane];
                step.extras[row * step.groups + group] = extra[lane];
            }
        }
    }
}

// A row that is drawn.
struct SamplerDraw {
    SamplerItem item;
    i64 row;
    float peak;     // largest score
    double shrink;  // weight of the largest score without penalty

    EWE_EACH double mass(const SamplerStep &step, i64 group) const {
        const i64 at = row * step.groups + group;
        return (shrink > 0.0 ? (double)step.sums[at] * shrink : 0.0) + step.extras[at];
    }
    EWE_EACH double total(const SamplerStep &step) const {
        PerLane<double> own;
        EWE_LANES(lane) {
            own[lane] = 0.0;
            for (i64 group = lane; group < step.groups; group += WARP) own[lane] += mass(step, group);
        }
        return warp_sum(own);
    }
};

// Returns the group in which the cumulated mass passes `left`, which becomes the distance from the
// group's begin; -1 if rounding left none.
EWE_EACH i64 group_at(const SamplerStep &step, const SamplerDraw &draw, double &left) {
    PerLane<double> own;
    i64 block = 0;
    for (;; block += WARP) {
        EWE_LANES(lane) own[lane] = block + lane < step.groups ? draw.mass(step, block + lane) : 0.0;
        const double sum = warp_sum(own);
        if (left < sum || block + WARP >= step.groups) break;
        left -= sum;
    }
    i64 chosen = -1;
    double before = 0.0;
    for (int i = 0; i < WARP; i++) {
        const double mass = at_lane(own, i);
        if (!(mass > 0.0)) continue;
        left -= before;
        before = mass;
        chosen = block + i;
        if (left < mass) break;
    }
    return chosen;
}

// Draws from the whole vocabulary, in the order of ids.
template <class T> EWE_EACH i64 drawn_from_all(const SamplerStep &step, const SamplerDraw &draw) {
    double left = draw.item.u * draw.total(step);
    const i64 group = group_at(step, draw, left);
    if (group < 0) return FOR_HOST;
    i64 token = FOR_HOST;
    for (i64 from = group * step.width; from < (group + 1) * step.width; from += WARP) {
        PerLane<double> own;
        EWE_LANES(lane) {
            own[lane] = 0.0;
            if (from + lane < step.vocab) {
                const float score = score_of<T>(step, draw.item, draw.row, from + lane).value;
                own[lane] = weight_of(score, draw.peak, draw.item.sharpness);
            }
        }
        for (int i = 0; i < WARP; i++) {
            const double weight = at_lane(own, i);
            if (!(weight > 0.0)) continue;
            token = from + i;
            left -= weight;
            if (left < 0.0) return token;
        }
    }
    return token;
}

// Replaces the key of a token that was taken by that of the next of its group. `own` has the best
// key of each lane's groups: those whose number is the lane's, modulo 32.
template <class T> EWE_EACH void take(const SamplerStep &step, const SamplerDraw &draw, u64 key, PerLane<u64> &own) {
    const i64 group = id_in(key) / step.width, row_keys = draw.row * step.groups;
    PerLane<u64> best;
    EWE_LANES(lane) {
        best[lane] = 0;
        const i64 end = (group + 1) * step.width < step.vocab ? (group + 1) * step.width : step.vocab;
        for (i64 id = group * step.width + lane; id < end; id += WARP) {
            const u64 other = key_of(score_of<T>(step, draw.item, draw.row, id).value, id, false);
            if (other < key && other > best[lane]) best[lane] = other;
        }
    }
    const u64 next = warp_best(best);
    EWE_LANES(lane) {
        if (lane == 0) step.keys[row_keys + group] = next;
    }
    warp_fence();
    const i64 owner = group % WARP;
    EWE_LANES(lane) {
        best[lane] = 0;
        for (i64 at = owner + lane * WARP; at < step.groups; at += WARP * WARP) {
            const u64 other = step.keys[row_keys + at];
            if (other > best[lane]) best[lane] = other;
        }
    }
    const u64 owned = warp_best(best);
    EWE_LANES(lane) {
        if (lane == owner) own[lane] = owned;
    }
}

// Draws from the `count` candidates of a row.
EWE_EACH i64 pick(const double *weights, const i32 *ids, i64 count, double sum, double u) {
    double left = u * sum;
    i64 token = FOR_HOST;
    for (i64 i = 0; i < count; i++) {
        token = ids[i];
        left -= weights[i];
        if (left < 0.0) break;
    }
    return token;
}

// Draws from the candidates that top-k, then top-p of the rest, then min-p keep.
template <class T> EWE_EACH i64 drawn_from_best(const SamplerStep &step, const SamplerDraw &draw) {
    const SamplerItem &item = draw.item;
    const bool by_count = item.top_k > 0;
    if (by_count && item.top_k > MOST_CANDIDATES && step.vocab > MOST_CANDIDATES) return FOR_HOST;
    const double best = (double)(draw.peak * item.sharpness);
    double mass = 0.0;
    if (!by_count) mass = exp(best + log(draw.total(step)) - best);
    double *weights = step.weights + draw.row * MOST_CANDIDATES;
    i32 *ids = step.ids + draw.row * MOST_CANDIDATES;
    PerLane<u64> own;
    EWE_LANES(lane) {
        own[lane] = 0;
        for (i64 group = lane; group < step.groups; group += WARP) {
            const u64 key = step.keys[draw.row * step.groups + group];
            if (key > own[lane]) own[lane] = key;
        }
    }
    i64 count = 0;
    double sum = 0.0;
    while (!(by_count && count == item.top_k)) {
        const u64 key = warp_best(own);
        // No token is left that may come.
        if (key == 0 || !(score_in(key) > -infinity())) break;
        if (count == MOST_CANDIDATES) return FOR_HOST;
        const double weight = exp((double)(score_in(key) * item.sharpness) - best);
        if (!by_count && weight < item.min_p) break;
        EWE_LANES(lane) {
            if (lane == 0) {
                weights[count] = weight;
                ids[count] = (i32)id_in(key);
            }
        }
        count++;
        sum += weight;
        if (!by_count && item.top_p < 1.0 && sum >= item.top_p * mass) break;
        take<T>(step, draw, key, own);
    }
    warp_fence();
    if (!by_count) return pick(weights, ids, count, sum, item.u);
    mass = sum;
    sum = 0.0;
    i64 kept = 0;
    while (kept < count && !(weights[kept] < item.min_p)) {
        sum += weights[kept];
        kept++;
        if (item.top_p < 1.0 && sum >= item.top_p * mass) break;
    }
    return pick(weights, ids, kept, sum, item.u);
}

// Draws the token of each row that is not greedy.
template <class T> EWE_EACH void sampler_draw(const Grid &grid, const SamplerStep &step) {
    for (i64 row = grid.warp; row < step.rows; row += grid.warps) {
        SamplerDraw draw;
        draw.item = step.items[row];
        draw.row = row;
        draw.peak = step.peaks[row * 2 + 1];
        draw.shrink = 0.0;
        if (step.tokens[row] != FOR_HOST) continue;
        const float inside = step.peaks[row * 2];
        if (inside > -infinity()) draw.shrink = weight_of(inside, draw.peak, draw.item.sharpness);
        const i64 token = draw.item.mode == PLAIN ? drawn_from_all<T>(step, draw) : drawn_from_best<T>(step, draw);
        EWE_LANES(lane) {
            if (lane == 0) choose(step, row, (i32)token);
        }
    }
}

}  // namespace ewe_gpu

#endif
