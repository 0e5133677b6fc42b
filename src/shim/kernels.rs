//! The CPU kernels of `csrc/kernels.h`, made safe.

use std::ffi::{c_int, c_void};

use tch::{Kind, Tensor};

use super::alike;

/// Rows `offset .. offset + length` of a pass are tokens `start ..` of the sequence in slot `slot`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub offset: i64,
    /// Rows.
    pub length: i64,
    /// Which sequence of the keys and values it belongs to.
    pub slot: i64,
    /// Tokens of that sequence before it.
    pub start: i64,
}

/// Where a root-mean-square norm rounds, and what its weight means.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Rounded to the input's type, then multiplied by the weight.
    Llama = 0,
    /// Multiplied by one more than the weight, then rounded.
    Gemma = 1,
}

/// Which features of a head turn together.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Feature `i` with `i + dims/2`.
    Halves = 0,
    /// Feature `2i` with `2i + 1`.
    Pairs = 1,
}

/// When attention's weights are rounded, if their type has 16 bits.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// `e^(score - maximum)`, as libtorch's fused attention does.
    #[default]
    AsTheyAre = 0,
    /// Once they sum to 1, as a softmax of its own does.
    OfOne = 1,
}

/// How queries weigh the keys that they see.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weighing {
    /// Products of query and key are multiplied with this.
    pub scale: f64,
    /// A token sees itself and those before it, at most so many.
    pub window: Option<i64>,
    /// Of the weights, in [`attend`].
    pub rounding: Rounding,
}

/// Activations of gated layers.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// GELU by way of tanh.
    GeluTanh = 0,
    /// `x · sigmoid(x)`.
    Silu = 1,
}

#[repr(C)]
struct Kernels {
    rms_norm: unsafe extern "C" fn(
        c_int,
        c_int,
        *const c_void,
        *const c_void,
        *const c_void,
        *mut c_void,
        i64,
        i64,
        f32,
    ),
    rope: unsafe extern "C" fn(
        c_int,
        c_int,
        *const c_void,
        *const c_void,
        *const c_void,
        *mut c_void,
        i64,
        i64,
        i64,
        i64,
    ),
    gated: unsafe extern "C" fn(c_int, c_int, *const c_void, *const c_void, *mut c_void, i64),
    attend: unsafe extern "C" fn(
        c_int,
        *const c_void,
        *const c_void,
        *const c_void,
        *mut c_void,
        *const Segment,
        i64,
        i64,
        i64,
        i64,
        i64,
        i64,
        f32,
        i64,
        c_int,
    ),
    summarise: unsafe extern "C" fn(c_int, *const c_void, *const f32, *mut f32, *mut f32, i64, i64, i64),
    look_up: unsafe extern "C" fn(*const u16, *const c_void, *mut c_void, i64),
    not_finite: unsafe extern "C" fn(c_int, *const c_void, i64) -> i64,
}

unsafe extern "C" {
    fn ewe_kernels_here() -> *const Kernels;
}

fn kernels() -> &'static Kernels {
    // SAFETY: a constant table of the program; choosing one reads what the processor can do and nothing else.
    unsafe { &*ewe_kernels_here() }
}

fn type_of(x: &Tensor) -> c_int {
    c_int::from(x.kind() == Kind::BFloat16)
}

fn data(x: &Tensor) -> *mut c_void {
    x.data_ptr()
}

/// `norm(x_nd) · weight_d`, plus `residual_nd` where there is one. All of them [usable](super::usable).
///
/// # Panics
///
/// If shapes do not match, or one is not what [usable](super::usable) asks of memory.
pub fn rms_norm(
    norm: Norm,
    x_nd: &Tensor,
    weight_d: &Tensor,
    residual_nd: Option<&Tensor>,
    eps: f64,
) -> Tensor {
    assert!(alike(&[x_nd, weight_d]) && residual_nd.is_none_or(|residual| alike(&[x_nd, residual])));
    let size = x_nd.size();
    let features = *size.last().expect("a tensor of features");
    assert_eq!(weight_d.size(), [features], "a weight for each feature");
    if let Some(residual) = residual_nd {
        assert_eq!(
            residual.size(),
            size,
            "the residual has the shape of what is added to it"
        );
    }
    let out = x_nd.empty_like();
    let rows = x_nd.numel() as i64 / features.max(1);
    // SAFETY: all are contiguous, of one type and on the CPU, and have the sizes that are passed, as checked.
    unsafe {
        (kernels().rms_norm)(
            type_of(x_nd),
            norm as c_int,
            data(x_nd),
            data(weight_d),
            residual_nd.map_or(std::ptr::null(), |x| data(x).cast_const()),
            data(&out),
            rows,
            features,
            eps as f32,
        );
    }
    out
}

/// Turns the first `cos_nr.size()[1]` features of every head of `x_nhd`. `cos_nr` and `sin_nr`, which has its sign, have
/// a column a feature. All of them [usable](super::usable).
///
/// # Panics
///
/// If shapes do not match, or one is not what [usable](super::usable) asks of memory.
pub fn rope(turn: Turn, x_nhd: &Tensor, cos_nr: &Tensor, sin_nr: &Tensor) -> Tensor {
    assert!(alike(&[x_nhd, cos_nr, sin_nr]));
    let (size, angles) = (x_nhd.size(), cos_nr.size());
    let [n, heads, width] = size[..] else {
        panic!("queries or keys have three dimensions, not {size:?}");
    };
    assert!(angles.len() == 2 && angles[0] == n && angles[1] <= width && angles[1] % 2 == 0);
    assert_eq!(sin_nr.size(), angles, "a sine for each cosine");
    let out = x_nhd.empty_like();
    // SAFETY: all are contiguous, of one type and on the CPU, and have the sizes that are passed, as checked.
    unsafe {
        (kernels().rope)(
            type_of(x_nhd),
            turn as c_int,
            data(x_nhd),
            data(cos_nr),
            data(sin_nr),
            data(&out),
            n,
            heads,
            width,
            angles[1],
        );
    }
    out
}

/// `activation(gate) · up`, elementwise. Both [usable](super::usable).
///
/// # Panics
///
/// If shapes do not match, or one is not what [usable](super::usable) asks of memory.
pub fn gated(activation: Gate, gate: &Tensor, up: &Tensor) -> Tensor {
    assert!(alike(&[gate, up]));
    assert_eq!(gate.size(), up.size(), "a gate for each feature");
    let out = gate.empty_like();
    // SAFETY: all are contiguous, of one type and one size, and on the CPU, as checked.
    unsafe {
        (kernels().gated)(
            type_of(gate),
            activation as c_int,
            data(gate),
            data(up),
            data(&out),
            gate.numel() as i64,
        );
    }
    out
}

/// `table[bits of x]`, as bits of the result, elementwise. `x` is bf16 and [usable](super::usable).
///
/// # Panics
///
/// If the table has not a result for every bf16, or `x` is another type or not contiguous on the CPU.
pub fn look_up(table: &[u16], x: &Tensor) -> Tensor {
    assert!(alike(&[x]) && x.kind() == Kind::BFloat16);
    assert_eq!(table.len(), 1 << 16, "a result for every number of 16 bits");
    let out = x.empty_like();
    // SAFETY: both are contiguous, of 16 bits and one size, and on the CPU, and no number of 16 bits lies beyond the table, as checked.
    unsafe { (kernels().look_up)(table.as_ptr(), data(x), data(&out), x.numel() as i64) };
    out
}

/// The most features a head may have for [`attend`].
const MOST_FEATURES: i64 = 512;

/// Whether [`attend`] takes heads of `d` features.
pub fn attends(d: i64) -> bool {
    d % 16 == 0 && d <= MOST_FEATURES
}

/// `softmax(scale · q kᵀ) v`, in fp32 but for the weights: `q_nhd` to `[n, h, d]`, with the keys and values `k_sckd` and `v_sckd`
/// of all slots. All of them
/// [usable](super::usable), and [`attends`] says so of `d`.
///
/// # Panics
///
/// If shapes do not match, a segment lies outside of them, or one is not what [usable](super::usable) asks of memory.
pub fn attend(
    q_nhd: &Tensor,
    k_sckd: &Tensor,
    v_sckd: &Tensor,
    segments: &[Segment],
    weighing: Weighing,
) -> Tensor {
    assert!(alike(&[q_nhd, k_sckd, v_sckd]));
    let (size, keys) = (q_nhd.size(), k_sckd.size());
    let (&[n, heads, d], &[slots, capacity, kv_heads, width]) = (&size[..], &keys[..]) else {
        panic!("queries have three dimensions and keys four, not {size:?} and {keys:?}");
    };
    assert!(attends(d) && d == width && heads % kv_heads == 0 && v_sckd.size() == keys);
    for segment in segments {
        let Segment {
            offset,
            length,
            slot,
            start,
        } = *segment;
        assert!(offset >= 0 && length >= 0 && offset + length <= n && start >= 0);
        assert!((0..slots).contains(&slot) && start + length <= capacity);
    }
    let out = q_nhd.empty_like();
    // SAFETY: all are contiguous, of one type and on the CPU, and every segment's rows and tokens are among them, as
    // checked.
    unsafe {
        (kernels().attend)(
            type_of(q_nhd),
            data(q_nhd),
            data(k_sckd),
            data(v_sckd),
            data(&out),
            segments.as_ptr(),
            segments.len() as i64,
            heads,
            kv_heads,
            d,
            capacity * kv_heads * d,
            kv_heads * d,
            weighing.scale as f32,
            weighing.window.unwrap_or(0),
            weighing.rounding as c_int,
        );
    }
    out
}

/// Scores in groups, as [`summarise`] sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The largest score of each group, row by row; not a number where one of them is not.
    pub maxima_ng: Vec<f32>,
    /// `Σ exp((score − the row's largest) · sharpness)` of each group; empty if no sharpness was given.
    pub sums_ng: Vec<f32>,
}

/// What is in each group of `width` scores of `logits_nv`, which is [usable](super::usable). `sharpness_n`, the inverse of a temperature for
/// each row, is empty where only maxima are wanted.
///
/// # Panics
///
/// If shapes do not match, or one is not what [usable](super::usable) asks of memory.
pub fn summarise(logits_nv: &Tensor, width: usize, sharpness_n: &[f32]) -> Summary {
    assert!(alike(&[logits_nv]));
    let size = logits_nv.size();
    let [n, vocab] = size[..] else {
        panic!("scores have two dimensions, not {size:?}");
    };
    assert!(width > 0 && (sharpness_n.is_empty() || sharpness_n.len() as i64 == n));
    let groups = (vocab as usize).div_ceil(width);
    let mut maxima_ng = vec![0f32; n as usize * groups];
    let mut sums_ng = vec![
        0f32;
        if sharpness_n.is_empty() {
            0
        } else {
            maxima_ng.len()
        }
    ];
    let (sharpness, sums) = if sharpness_n.is_empty() {
        (std::ptr::null(), std::ptr::null_mut())
    } else {
        (sharpness_n.as_ptr(), sums_ng.as_mut_ptr())
    };
    // SAFETY: the scores are contiguous and on the CPU, and the vectors have room for every group, as made above.
    unsafe {
        (kernels().summarise)(
            type_of(logits_nv),
            data(logits_nv),
            sharpness,
            maxima_ng.as_mut_ptr(),
            sums,
            n,
            vocab,
            width as i64,
        );
    }
    Summary { maxima_ng, sums_ng }
}

/// Where the first value of `x` is that is infinite or not a number, as a flat index in row-major order.
pub fn not_finite(x: &Tensor) -> Option<i64> {
    if !alike(&[x]) {
        let bad = x.isfinite().logical_not().flatten(0, -1);
        return bad
            .any()
            .int64_value(&[])
            .eq(&1)
            .then(|| bad.to_kind(Kind::Uint8).argmax(-1, false).int64_value(&[]));
    }
    // SAFETY: the values are contiguous, of the type that is passed and on the CPU, as checked.
    let found = unsafe { (kernels().not_finite)(type_of(x), data(x), x.numel() as i64) };
    (found >= 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::super::tests::{KINDS, apart, numbers, step};
    use super::*;

    #[test]
    fn norms_round_where_libtorch_does() {
        for kind in KINDS {
            for (rows, d) in [(1, 16), (5, 40), (3, 7), (70, 640)] {
                let (x, w, r) = (
                    numbers(&[rows, d], kind, 1),
                    numbers(&[d], kind, 2),
                    numbers(&[rows, d], kind, 3),
                );
                let wide = x.to_kind(Kind::Float);
                let gemma = wide
                    .rms_norm([d], Some(&(w.to_kind(Kind::Float) + 1.0)), 1e-6)
                    .to_kind(kind);
                let llama = wide.rms_norm([d], None::<&Tensor>, 1e-6).to_kind(kind) * &w;
                for (norm, want) in [(Norm::Gemma, gemma), (Norm::Llama, llama)] {
                    let plain = rms_norm(norm, &x, &w, None, 1e-6);
                    assert!(apart(&plain, &want) <= step(kind), "{norm:?} {kind:?} {rows}x{d}");
                    let added = rms_norm(norm, &x, &w, Some(&r), 1e-6);
                    assert!(
                        apart(&added, &(want + &r)) <= 2.0 * step(kind),
                        "{norm:?} {kind:?} {rows}x{d}"
                    );
                }
            }
        }
    }

    #[test]
    fn turning_is_exact() {
        for kind in KINDS {
            for (d, dims) in [(32, 32), (48, 24), (16, 4), (8, 8)] {
                let x = numbers(&[3, 2, d], kind, 1);
                let (cos, sin) = (numbers(&[3, dims], kind, 2), numbers(&[3, dims], kind, 3));
                let part = x.narrow(2, 0, dims);
                let halves = part.roll(dims / 2, 2);
                let pairs = part.unflatten(2, [dims / 2, 2]).flip(-1).flatten(-2, -1);
                for (turn, swapped) in [(Turn::Halves, halves), (Turn::Pairs, pairs)] {
                    let turned = &part * cos.unsqueeze(1) + swapped * sin.unsqueeze(1);
                    let want = Tensor::cat(&[turned, x.narrow(2, dims, d - dims)], 2);
                    let got = rope(turn, &x, &cos, &sin);
                    // A fused multiply-add may stand where libtorch rounds to fp32 in between.
                    let most = if kind == Kind::Float { 1e-6 } else { 0.0 };
                    assert!(apart(&got, &want) <= most, "{turn:?} {kind:?} {d} {dims}");
                }
            }
        }
    }

    #[test]
    fn gates_are_those_of_libtorch() {
        for kind in KINDS {
            for count in [1, 31, 5000, 40_000] {
                let (gate, up) = (numbers(&[count], kind, 1) * 4.0, numbers(&[count], kind, 2));
                let gelu = gate.gelu("tanh") * &up;
                let silu = gate.silu() * &up;
                assert!(
                    apart(&gated(Gate::GeluTanh, &gate, &up), &gelu) <= step(kind),
                    "{kind:?}"
                );
                assert!(
                    apart(&gated(Gate::Silu, &gate, &up), &silu) <= step(kind),
                    "{kind:?}"
                );
            }
        }
        let broken = Tensor::from_slice(&[f32::NAN, f32::INFINITY, -1e30, 1e30]);
        let got = Vec::<f32>::try_from(gated(Gate::Silu, &broken, &broken.ones_like())).unwrap();
        assert!(
            got[0].is_nan() && got[1] == f32::INFINITY && got[2] == 0.0 && got[3] == 1e30,
            "{got:?}"
        );
    }

    #[test]
    fn every_token_attends_to_its_own_sequence_and_window() {
        for kind in KINDS {
            for (heads, kv_heads, d) in [(4, 1, 64), (4, 4, 32), (6, 2, 16), (1, 1, 256)] {
                for (window, rounding) in [None, Some(5), Some(70)]
                    .into_iter()
                    .flat_map(|window| [(window, Rounding::AsTheyAre), (window, Rounding::OfOne)])
                {
                    // A sequence begun more than a block before, one step of another, one from its start; slots out of order.
                    let segments = [(0, 9, 2, 566), (9, 1, 0, 130), (10, 75, 1, 0)];
                    let q = numbers(&[85, heads, d], kind, 1);
                    let (k, v) = (
                        numbers(&[3, 600, kv_heads, d], kind, 2),
                        numbers(&[3, 600, kv_heads, d], kind, 3),
                    );
                    let listed: Vec<Segment> = segments
                        .iter()
                        .map(|&(offset, length, slot, start)| Segment {
                            offset,
                            length,
                            slot,
                            start,
                        })
                        .collect();
                    let weighing = Weighing {
                        scale: 0.11,
                        window,
                        rounding,
                    };
                    let got = attend(&q, &k, &v, &listed, weighing);
                    for (offset, length, slot, start) in segments {
                        let to = start + length;
                        let wide = |x: &Tensor| {
                            let x = x.get(slot).narrow(0, 0, to).to_kind(Kind::Double);
                            x.repeat_interleave_self_int(heads / kv_heads, 1, None)
                                .transpose(0, 1)
                        };
                        let q_hld = q.narrow(0, offset, length).to_kind(Kind::Double).transpose(0, 1);
                        let at = Tensor::arange_start(start, to, (Kind::Int64, Device::Cpu)).unsqueeze(1);
                        let keys = Tensor::arange(to, (Kind::Int64, Device::Cpu));
                        let mut hidden = keys.gt_tensor(&at);
                        if let Some(window) = window {
                            hidden = hidden.logical_or(&keys.le_tensor(&(&at - window)));
                        }
                        let scores = (q_hld.matmul(&wide(&k).transpose(1, 2)) * 0.11)
                            .masked_fill(&hidden, f64::NEG_INFINITY);
                        let want = scores.softmax(-1, Kind::Double).matmul(&wide(&v)).transpose(0, 1);
                        let difference = apart(&got.narrow(0, offset, length), &want);
                        assert!(
                            difference <= step(kind),
                            "{kind:?} {heads}/{kv_heads} {d} {weighing:?}: {difference}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_that_is_not_a_number_reaches_every_token_that_sees_it() {
        let q = numbers(&[4, 1, 16], Kind::Float, 1);
        let (k, v) = (
            numbers(&[1, 4, 1, 16], Kind::Float, 2),
            numbers(&[1, 4, 1, 16], Kind::Float, 3),
        );
        let _ = k.get(0).get(2).fill_(f64::NAN);
        let all = Segment {
            offset: 0,
            length: 4,
            slot: 0,
            start: 0,
        };
        let bad = attend(
            &q,
            &k,
            &v,
            &[all],
            Weighing {
                scale: 1.0,
                ..Weighing::default()
            },
        )
        .isnan()
        .any_dim(2, false)
        .view(-1);
        assert_eq!(Vec::<bool>::try_from(bad).unwrap(), [false, false, true, true]);
    }

    #[test]
    fn groups_have_their_maxima_and_their_masses() {
        for kind in KINDS {
            let x = numbers(&[3, 1000], kind, 1);
            let summary = summarise(&x, 64, &[1.0, 0.5, 3.0]);
            assert_eq!(summary.maxima_ng.len(), 3 * 16);
            for row in 0..3 {
                let wide = x.get(row).to_kind(Kind::Double);
                let most = wide.max().double_value(&[]);
                for group in 0..16 {
                    let of = wide.narrow(0, group * 64, 64.min(1000 - group * 64));
                    let sharpness = [1.0, 0.5, 3.0][row as usize];
                    let at = (row * 16 + group) as usize;
                    assert_eq!(f64::from(summary.maxima_ng[at]), of.max().double_value(&[]));
                    let sum = ((of - most) * sharpness)
                        .exp()
                        .sum(Kind::Double)
                        .double_value(&[]);
                    assert!(
                        (f64::from(summary.sums_ng[at]) - sum).abs() <= 1e-5 * sum.max(1e-3),
                        "{row} {group}"
                    );
                }
            }
            assert!(summarise(&x, 64, &[]).sums_ng.is_empty());
        }
        let x = numbers(&[1, 100], Kind::Float, 1);
        let _ = x.get(0).get(99).fill_(f64::NAN);
        let maxima = summarise(&x, 64, &[]).maxima_ng;
        assert!(!maxima[0].is_nan() && maxima[1].is_nan());
    }

    #[test]
    fn the_first_value_that_is_no_finite_number_is_found() {
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let x = numbers(&[700, 1000], kind, 1);
            assert_eq!(not_finite(&x), None, "{kind:?}");
            let _ = x.get(655).narrow(0, 991, 1).fill_(f64::INFINITY);
            assert_eq!(not_finite(&x), Some(655_991), "{kind:?}");
            let _ = x.get(2).narrow(0, 7, 1).fill_(f64::NAN);
            assert_eq!(not_finite(&x), Some(2_007), "{kind:?}");
            assert_eq!(not_finite(&Tensor::zeros([0], (kind, Device::Cpu))), None);
        }
    }
}
