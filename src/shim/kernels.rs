//! The CPU kernels of `csrc/kernels.h`, made safe.

use std::ffi::{c_int, c_void};

use tch::{Kind, Tensor};

use super::alike;

/// Rows `offset .. offset + length` of a pass are the tokens from `start` on of the sequence in
/// slot `slot`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub offset: i64,
    /// Number of rows.
    pub length: i64,
    /// Slot of the sequence's keys and values.
    pub slot: i64,
    /// Number of the sequence's tokens before these.
    pub start: i64,
}

/// Where a root-mean-square norm rounds, and how its weight is stored.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Rounds to the input's type, then multiplies by the weight.
    Llama = 0,
    /// Multiplies by one plus the weight, then rounds.
    Gemma = 1,
}

/// Which features of a head are rotated as a pair.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairing {
    /// Feature `i` with `i + dims/2`.
    Halves = 0,
    /// Feature `2i` with `2i + 1`.
    Pairs = 1,
}

/// When attention weights in 16 bits are rounded.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// Before they are divided by their sum, as `e^(score - maximum)`: libtorch's fused attention.
    #[default]
    Unnormalized = 0,
    /// After they are divided by their sum: a softmax as a separate operation.
    Normalized = 1,
}

/// How queries attend to keys.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttentionParams {
    /// Factor of the product of query and key.
    pub scale: f64,
    /// Most tokens that a token sees, itself included; none for all before it.
    pub window: Option<i64>,
    /// Rounding of the attention weights, in [`attend`].
    pub rounding: Rounding,
    /// Scores become `cap · tanh(score / cap)`. Neither kernels nor flash attention take it; see
    /// `model::layers::sdpa`.
    pub cap: Option<f64>,
}

/// Activations of gated layers.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// GELU with Φ approximated by tanh.
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
    // SAFETY: a constant table of the program; choosing one only reads what the processor can do.
    unsafe { &*ewe_kernels_here() }
}

fn type_of(x: &Tensor) -> c_int {
    c_int::from(x.kind() == Kind::BFloat16)
}

fn data(x: &Tensor) -> *mut c_void {
    x.data_ptr()
}

/// Returns `norm(x_nd) · weight_d`, plus `residual_nd` if given. All are [usable](super::usable).
///
/// # Panics
///
/// If shapes do not match, or the memory of one is not [usable](super::usable).
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
    // SAFETY: all are contiguous, of one type and on the CPU, and have the sizes that are passed,
    // as checked.
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

/// Rotates the first `cos_nr.size()[1]` features of every head of `x_nhd`. `cos_nr` and `sin_nr`,
/// which includes the sign, have a column for each feature. All are [usable](super::usable).
///
/// # Panics
///
/// If shapes do not match, or the memory of one is not [usable](super::usable).
pub fn rope(pairing: RopePairing, x_nhd: &Tensor, cos_nr: &Tensor, sin_nr: &Tensor) -> Tensor {
    assert!(alike(&[x_nhd, cos_nr, sin_nr]));
    let (size, angles) = (x_nhd.size(), cos_nr.size());
    let [n, heads, width] = size[..] else {
        panic!("queries or keys have three dimensions, not {size:?}");
    };
    assert!(angles.len() == 2 && angles[0] == n && angles[1] <= width && angles[1] % 2 == 0);
    assert_eq!(sin_nr.size(), angles, "a sine for each cosine");
    let out = x_nhd.empty_like();
    // SAFETY: all are contiguous, of one type and on the CPU, and have the sizes that are passed,
    // as checked.
    unsafe {
        (kernels().rope)(
            type_of(x_nhd),
            pairing as c_int,
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

/// Returns `activation(gate) · up`, elementwise. Both are [usable](super::usable).
///
/// # Panics
///
/// If shapes do not match, or the memory of one is not [usable](super::usable).
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

/// Returns the elements of `table` at the bits of each element of `x`, as bits of the result. `x`
/// is bf16 and [usable](super::usable).
///
/// # Panics
///
/// If the table has no result for some bf16, or `x` is of another type or not contiguous on the
/// CPU.
pub fn look_up(table: &[u16], x: &Tensor) -> Tensor {
    assert!(alike(&[x]) && x.kind() == Kind::BFloat16);
    assert_eq!(table.len(), 1 << 16, "a result for every number of 16 bits");
    let out = x.empty_like();
    // SAFETY: both are contiguous, of 16 bits and one size, and on the CPU, and the table has an
    // element for every number of 16 bits, as checked.
    unsafe { (kernels().look_up)(table.as_ptr(), data(x), data(&out), x.numel() as i64) };
    out
}

/// Most features of a head for [`attend`].
const MOST_FEATURES: i64 = 512;

/// Returns whether [`attend`] takes heads of `d` features.
pub fn attends(d: i64) -> bool {
    d % 16 == 0 && d <= MOST_FEATURES
}

/// Returns `softmax(scale · q kᵀ) v`, computed in fp32 except for the attention weights: `q_nhd` to
/// `[n, h, d]`, with keys and values `k_sckd` and `v_sckd` of all slots. All are
/// [usable](super::usable), and [`attends`] holds for `d`.
///
/// # Panics
///
/// If shapes do not match, a segment is out of range, or the memory of one is not
/// [usable](super::usable).
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
    // SAFETY: all are contiguous, of one type and on the CPU, and every segment's rows and tokens
    // are in range, as checked.
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

/// Scores in groups, summarized by [`summarise`].
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The largest score of each group, row by row; NaN if one of them is.
    pub maxima_ng: Vec<f32>,
    /// `Σ exp((score − the row's largest) · sharpness)` of each group; empty without a sharpness.
    pub sums_ng: Vec<f32>,
}

/// Summarizes each group of `width` scores of `logits_nv`, which is [usable](super::usable).
/// `sharpness_n` is the inverse temperature of each row, or empty if only maxima are needed.
///
/// # Panics
///
/// If shapes do not match, or the memory of one is not [usable](super::usable).
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
    // SAFETY: the scores are contiguous and on the CPU, and the vectors have room for every group,
    // as made above.
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

/// Returns the flat index, in row-major order, of the first value of `x` that is infinite or NaN.
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
