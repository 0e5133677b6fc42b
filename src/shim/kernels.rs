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
pub enum RopePairing {
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
pub struct AttentionParams {
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
pub fn rope(turn: RopePairing, x_nhd: &Tensor, cos_nr: &Tensor, sin_nr: &Tensor) -> Tensor {
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
    params: AttentionParams,
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
            params.scale as f32,
            params.window.unwrap_or(0),
            params.rounding as c_int,
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
mod tests;
