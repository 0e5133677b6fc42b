//! The update rules of `csrc/optimizers.h`, made safe: one pass over a tensor's weights and
//! optimizer state, on the CPU. `train::optim::fallback` does the same in libtorch's operations.
//!
//! Shapes: `r` rows and `c` columns of a matrix, `b` blocks of [`BLOCK`] elements.

use std::ffi::{c_int, c_void};
use tch::{Device, Kind, Tensor};

/// Consecutive elements of a flattened tensor that share a scale.
pub const BLOCK: i64 = 256;
/// Stripes of rows whose column sums are computed apart.
const STRIPES: i64 = 64;

/// The tensors that hold a weight, in its storage format. The model computes with the bf16 tensor.
#[derive(Debug, Clone, Copy)]
pub enum WeightTensors<'a> {
    /// fp32 only.
    Fp32(&'a Tensor),
    /// Master weights: bf16, and the fp32 that it is rounded from, ties away from zero.
    Copy(&'a Tensor, &'a Tensor),
    /// Split master: the same bf16, and the lower 16 bits of the fp32 as Int16, so that
    /// `fp32 = (bf16 << 16) + low`.
    Split(&'a Tensor, &'a Tensor),
    /// bf16 only, with stochastic rounding.
    Drawn(&'a Tensor),
}

/// The tensors that hold AdamW's moments, in their storage format.
#[derive(Debug, Clone, Copy)]
pub enum MomentTensors<'a> {
    /// fp32.
    Fp32 {
        /// Moving average of the gradients.
        first: &'a Tensor,
        /// Moving average of their squares.
        second: &'a Tensor,
    },
    /// 8 bits, with a scale for each block.
    Eight {
        /// Int8: floats of 8 bits, relative to the scale.
        first: &'a Tensor,
        /// The largest magnitude of each block, fp32 `[b]`.
        first_scale: &'a Tensor,
        /// Uint8: square roots as unsigned floats of 8 bits, relative to the scale.
        second: &'a Tensor,
        /// The largest square root of each block, fp32 `[b]`.
        second_scale: &'a Tensor,
    },
}

/// One step of AdamW.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwStep {
    /// Factor of every gradient.
    pub factor: f32,
    /// Factor of every weight before the update: `1 - rate · decay`.
    pub decay: f32,
    /// `-rate / (1 - beta1^t)`.
    pub rate: f32,
    /// `1 - beta1`.
    pub first_share: f32,
    /// `beta2`.
    pub second_kept: f32,
    /// `1 - beta2`.
    pub second_share: f32,
    /// `1 / √(1 - beta2^t)`.
    pub second_bias: f32,
    /// Added to the square root.
    pub eps: f32,
    /// Seed of stochastic rounding, together with the index of an element.
    pub key: [u32; 2],
}

/// One step with a factored second moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FactoredStep {
    /// Factor of every gradient.
    pub factor: f32,
    /// Factor of every weight before the update.
    pub decay: f32,
    /// Factor of the scaled gradient: the negative learning rate, clipped.
    pub rate: f32,
    /// Seed of stochastic rounding, together with the index of an element.
    pub key: [u32; 2],
}

/// What the next step of AdamW would make of a gradient, up to learning rate and sign.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextUpdate {
    /// `beta1`.
    pub first_kept: f32,
    /// `1 - beta1`.
    pub first_share: f32,
    /// `1 / (1 - beta1^t)`.
    pub first_bias: f32,
    /// `beta2`.
    pub second_kept: f32,
    /// `1 - beta2`.
    pub second_share: f32,
    /// `1 / √(1 - beta2^t)`.
    pub second_bias: f32,
    /// Added to the square root.
    pub eps: f32,
}

/// Consecutive numbers of a parameter, and where they are added in a sketch.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first number.
    pub start: i64,
    /// How many.
    pub length: i64,
    /// The place of the first.
    pub place: i64,
}

#[repr(C)]
struct RawWeights {
    kind: c_int,
    weight: *mut c_void,
    exact: *mut c_void,
}

#[repr(C)]
struct RawMoments {
    kind: c_int,
    first: *mut c_void,
    second: *mut c_void,
    first_scale: *mut c_void,
    second_scale: *mut c_void,
}

#[repr(C)]
struct Optimizers {
    adamw: unsafe extern "C" fn(*const AdamwStep, RawWeights, RawMoments, c_int, *const c_void, i64),
    sum_of_squares: unsafe extern "C" fn(c_int, *const c_void, i64) -> f64,
    squares: unsafe extern "C" fn(c_int, *const c_void, f32, *mut c_void, *mut c_void, *mut c_void, i64, i64),
    scaled_squares:
        unsafe extern "C" fn(c_int, *const c_void, f32, *const c_void, *const c_void, *mut c_void, i64, i64),
    factored: unsafe extern "C" fn(
        *const FactoredStep,
        RawWeights,
        c_int,
        *const c_void,
        *const c_void,
        *const c_void,
        i64,
        i64,
    ),
    add_updates: unsafe extern "C" fn(
        *const NextUpdate,
        *const c_void,
        *const c_void,
        *const c_void,
        *const c_void,
        *const Piece,
        i64,
        *mut c_void,
        i64,
        i64,
        i64,
    ),
}

unsafe extern "C" {
    fn ewe_optimizers_here() -> *const Optimizers;
}

fn optimizers() -> &'static Optimizers {
    // SAFETY: a constant table of the program; choosing one only reads what the processor can do.
    unsafe { &*ewe_optimizers_here() }
}

/// Returns the pointer of a tensor after checking that a kernel can use it.
fn checked(what: &str, x: &Tensor, kind: Kind, count: i64) -> *mut c_void {
    assert!(
        x.kind() == kind && x.numel() as i64 == count && x.is_contiguous() && x.device() == Device::Cpu,
        "{what}: {count} contiguous {kind:?} on the CPU, not {:?} {:?} on {:?}",
        x.size(),
        x.kind(),
        x.device()
    );
    x.data_ptr()
}

/// Returns type and pointer of a gradient.
fn gradient_of(x: &Tensor, count: i64) -> (c_int, *mut c_void) {
    let is_bf16 = x.kind() == Kind::BFloat16;
    let kind = if is_bf16 { Kind::BFloat16 } else { Kind::Float };
    (c_int::from(is_bf16), checked("a gradient", x, kind, count))
}

impl WeightTensors<'_> {
    fn raw(&self, count: i64) -> RawWeights {
        let half = |x: &Tensor| checked("a weight", x, Kind::BFloat16, count);
        let (kind, weight, exact) = match self {
            WeightTensors::Fp32(weight) => (
                0,
                checked("a weight", weight, Kind::Float, count),
                std::ptr::null_mut(),
            ),
            WeightTensors::Copy(weight, master) => {
                (1, half(weight), checked("a master", master, Kind::Float, count))
            }
            WeightTensors::Split(weight, low) => {
                (2, half(weight), checked("a lower half", low, Kind::Int16, count))
            }
            WeightTensors::Drawn(weight) => (3, half(weight), std::ptr::null_mut()),
        };
        RawWeights { kind, weight, exact }
    }
}

impl MomentTensors<'_> {
    fn raw(&self, count: i64) -> RawMoments {
        let whole = |x: &Tensor, kind| checked("a moment", x, kind, count);
        let scale = |x: &Tensor| checked("scales", x, Kind::Float, blocks(count));
        match self {
            MomentTensors::Fp32 { first, second } => RawMoments {
                kind: 0,
                first: whole(first, Kind::Float),
                second: whole(second, Kind::Float),
                first_scale: std::ptr::null_mut(),
                second_scale: std::ptr::null_mut(),
            },
            MomentTensors::Eight {
                first,
                first_scale,
                second,
                second_scale,
            } => RawMoments {
                kind: 1,
                first: whole(first, Kind::Int8),
                second: whole(second, Kind::Uint8),
                first_scale: scale(first_scale),
                second_scale: scale(second_scale),
            },
        }
    }
}

/// Returns the number of blocks of a tensor of `count` elements.
pub fn blocks(count: i64) -> i64 {
    (count + BLOCK - 1) / BLOCK
}

/// Updates one tensor by AdamW (Loshchilov & Hutter 2017), moments and weights in place; `gradient`
/// is bf16 or fp32.
///
/// # Panics
///
/// If a tensor is of another type or size, not contiguous, or not on the CPU.
pub fn adamw(step: &AdamwStep, weights: WeightTensors, moments: MomentTensors, gradient: &Tensor) {
    let count = gradient.numel() as i64;
    let (kind, pointer) = gradient_of(gradient, count);
    // SAFETY: all are contiguous, on the CPU, of the types of their formats, and have `count`
    // elements or a scale for each of their blocks, as checked.
    unsafe {
        (optimizers().adamw)(step, weights.raw(count), moments.raw(count), kind, pointer, count);
    }
}

/// Returns the sum of `gradient²` over a contiguous bf16 or fp32 tensor on the CPU, without copying
/// it.
///
/// # Panics
///
/// If the tensor is anything else.
pub fn sum_of_squares(gradient: &Tensor) -> f64 {
    let count = gradient.numel() as i64;
    let (kind, pointer) = gradient_of(gradient, count);
    // SAFETY: contiguous, on the CPU, of the type that is passed, with `count` elements, as
    // checked.
    unsafe { (optimizers().sum_of_squares)(kind, pointer, count) }
}

/// Returns the sums of `(factor · gradient_rc)²` along rows, `[r]`, and along columns, `[c]`, in
/// fp32.
///
/// # Panics
///
/// If the gradient is no contiguous bf16 or fp32 matrix on the CPU.
pub fn squares(gradient_rc: &Tensor, factor: f32) -> (Tensor, Tensor) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let (kind, pointer) = gradient_of(gradient_rc, rows * columns);
    let room = |size: &[i64]| Tensor::empty(size, (Kind::Float, Device::Cpu));
    let (rows_r, columns_c, stripes_sc) = (room(&[rows]), room(&[columns]), room(&[STRIPES, columns]));
    // SAFETY: the gradient was checked; the others were made here with the sizes that are passed.
    unsafe {
        (optimizers().squares)(
            kind,
            pointer,
            factor,
            rows_r.data_ptr(),
            columns_c.data_ptr(),
            stripes_sc.data_ptr(),
            rows,
            columns,
        );
    }
    (rows_r, columns_c)
}

/// Returns the sums of `(factor · gradient_rc · row_r · column_c)²` along rows, fp32 `[r]`.
///
/// # Panics
///
/// If a tensor is of another type or size, not contiguous, or not on the CPU.
pub fn scaled_squares(gradient_rc: &Tensor, factor: f32, row_r: &Tensor, column_c: &Tensor) -> Tensor {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let (kind, pointer) = gradient_of(gradient_rc, rows * columns);
    let sums_r = Tensor::empty([rows], (Kind::Float, Device::Cpu));
    // SAFETY: all are contiguous, on the CPU, and of the types and sizes that are passed, as
    // checked.
    unsafe {
        (optimizers().scaled_squares)(
            kind,
            pointer,
            factor,
            checked("factors of rows", row_r, Kind::Float, rows),
            checked("factors of columns", column_c, Kind::Float, columns),
            sums_r.data_ptr(),
            rows,
            columns,
        );
    }
    sums_r
}

/// Multiplies the weights by their decay, then adds
/// `rate · (factor · gradient_rc · row_r · column_c)`.
///
/// # Panics
///
/// If a tensor is of another type or size, not contiguous, or not on the CPU.
pub fn factored(
    step: &FactoredStep,
    weights: WeightTensors,
    gradient_rc: &Tensor,
    row_r: &Tensor,
    column_c: &Tensor,
) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let (kind, pointer) = gradient_of(gradient_rc, rows * columns);
    // SAFETY: all are contiguous, on the CPU, and of the types and sizes that are passed, as
    // checked.
    unsafe {
        (optimizers().factored)(
            step,
            weights.raw(rows * columns),
            kind,
            pointer,
            checked("factors of rows", row_r, Kind::Float, rows),
            checked("factors of columns", column_c, Kind::Float, columns),
            rows,
            columns,
        );
    }
}

/// Adds to each sketch, `[e, k]`, what AdamW would make of one example's gradient, `[e, p]`, times
/// the signs, `[p]`. `moments` are the first, without which the gradient stands in its place, and
/// the second; without them the gradient is added as it is. Without signs all are 1.
///
/// # Panics
///
/// If a tensor is not fp32, of another size, not contiguous, or not on the CPU, or a piece lies
/// outside.
pub fn add_updates(
    sketch_ek: &Tensor,
    gradient_ep: &Tensor,
    moments: Option<(&NextUpdate, Option<&Tensor>, &Tensor)>,
    sign_p: Option<&Tensor>,
    pieces: &[Piece],
) {
    let (examples, numbers) = gradient_ep.size2().expect("a row for each example");
    let (_, places) = sketch_ek.size2().expect("a row for each example");
    let lies_within = |piece: &Piece| {
        let fits = |first: i64, all: i64| first >= 0 && piece.length >= 0 && first + piece.length <= all;
        fits(piece.start, numbers) && fits(piece.place, places)
    };
    assert!(pieces.iter().all(lies_within), "a piece lies outside");
    let fp32 = |what: &str, x: &Tensor, count: i64| checked(what, x, Kind::Float, count);
    let of_all = |what: &str, x: Option<&Tensor>| x.map_or(std::ptr::null_mut(), |x| fp32(what, x, numbers));
    let (next, first, second) = match moments {
        Some((next, first, second)) => (std::ptr::from_ref(next), first, Some(second)),
        None => (std::ptr::null(), None, None),
    };
    // SAFETY: all are contiguous fp32 on the CPU with the sizes that are passed, and the pieces lie
    // within them, as checked; `next` is read only where there are second moments.
    unsafe {
        (optimizers().add_updates)(
            next,
            fp32("gradients", gradient_ep, examples * numbers),
            of_all("first moments", first),
            of_all("second moments", second),
            of_all("signs", sign_p),
            pieces.as_ptr(),
            pieces.len() as i64,
            fp32("sketches", sketch_ek, examples * places),
            examples,
            numbers,
            places,
        );
    }
}
