//! The updates of `csrc/optimizers.h`, made safe: one pass over a tensor's weights and over what the optimizer remembers of
//! them, on the CPU. `train::optim::fallback` does the same with libtorch's operations.
//!
//! Shapes: `r` rows and `c` columns of a matrix, `b` blocks of [`BLOCK`] elements.

use std::ffi::{c_int, c_void};
use tch::{Device, Kind, Tensor};

/// Elements of a tensor, counted flat, that share a scale.
pub const BLOCK: i64 = 256;
/// Stripes of rows whose columns are summed apart.
const STRIPES: i64 = 64;

/// How a weight is kept. The bf16 tensor is the one that the model computes with.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// In fp32 alone.
    Fp32(&'a Tensor),
    /// The bf16, and an fp32 of which it is the nearest, ties away from zero.
    Copy(&'a Tensor, &'a Tensor),
    /// The same bf16, and in 16 bits (Int16) what the fp32 has below it: `fp32 = (bf16 << 16) + low`.
    Split(&'a Tensor, &'a Tensor),
    /// In bf16 alone: rounded up or down by chance, so that it is right on average.
    Drawn(&'a Tensor),
}

/// How AdamW's moments are kept.
#[derive(Debug, Clone, Copy)]
pub enum Moments<'a> {
    /// In fp32.
    Fp32 {
        /// Mean of the gradients.
        first: &'a Tensor,
        /// Mean of their squares.
        second: &'a Tensor,
    },
    /// In 8 bits, with a scale for each block.
    Eight {
        /// Int8: floats of 8 bits, parts of the scale.
        first: &'a Tensor,
        /// fp32 `[b]`, the largest of each block.
        first_scale: &'a Tensor,
        /// Uint8: the root, as floats of 8 bits without a sign, parts of the scale.
        second: &'a Tensor,
        /// fp32 `[b]`, the largest root of each block.
        second_scale: &'a Tensor,
    },
}

/// One step of AdamW.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwStep {
    /// Every gradient is multiplied by this.
    pub factor: f32,
    /// Every weight is, before it moves: `1 - rate · decay`.
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
    /// Added to the root.
    pub eps: f32,
    /// Decides, with the number of an element, which way a weight is drawn.
    pub key: [u32; 2],
}

/// One step of a factored second moment.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FactoredStep {
    /// Every gradient is multiplied by this.
    pub factor: f32,
    /// Every weight is, before it moves.
    pub decay: f32,
    /// What the scaled gradient is multiplied with: the negative rate, clipped.
    pub rate: f32,
    /// Decides, with the number of an element, which way a weight is drawn.
    pub key: [u32; 2],
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
}

unsafe extern "C" {
    fn ewe_optimizers_here() -> *const Optimizers;
}

fn optimizers() -> &'static Optimizers {
    // SAFETY: a constant table of the program; choosing one reads what the processor can do and nothing else.
    unsafe { &*ewe_optimizers_here() }
}

/// The pointer of a tensor that is what a kernel reads or writes.
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

/// Type and pointer of a gradient.
fn gradient_of(x: &Tensor, count: i64) -> (c_int, *mut c_void) {
    let is_bf16 = x.kind() == Kind::BFloat16;
    let kind = if is_bf16 { Kind::BFloat16 } else { Kind::Float };
    (c_int::from(is_bf16), checked("a gradient", x, kind, count))
}

impl Weights<'_> {
    fn raw(&self, count: i64) -> RawWeights {
        let half = |x: &Tensor| checked("a weight", x, Kind::BFloat16, count);
        let (kind, weight, exact) = match self {
            Weights::Fp32(weight) => (
                0,
                checked("a weight", weight, Kind::Float, count),
                std::ptr::null_mut(),
            ),
            Weights::Copy(weight, master) => {
                (1, half(weight), checked("a master", master, Kind::Float, count))
            }
            Weights::Split(weight, low) => {
                (2, half(weight), checked("a lower half", low, Kind::Int16, count))
            }
            Weights::Drawn(weight) => (3, half(weight), std::ptr::null_mut()),
        };
        RawWeights { kind, weight, exact }
    }
}

impl Moments<'_> {
    fn raw(&self, count: i64) -> RawMoments {
        let whole = |x: &Tensor, kind| checked("a moment", x, kind, count);
        let scale = |x: &Tensor| checked("scales", x, Kind::Float, blocks(count));
        match self {
            Moments::Fp32 { first, second } => RawMoments {
                kind: 0,
                first: whole(first, Kind::Float),
                second: whole(second, Kind::Float),
                first_scale: std::ptr::null_mut(),
                second_scale: std::ptr::null_mut(),
            },
            Moments::Eight {
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

/// Blocks of a tensor of `count` elements.
pub fn blocks(count: i64) -> i64 {
    (count + BLOCK - 1) / BLOCK
}

/// AdamW (Loshchilov & Hutter 2017) of one tensor; `gradient` is bf16 or fp32. Moments and weights are updated in place.
///
/// # Panics
///
/// If something is of another type or size, not contiguous, or not on the CPU.
pub fn adamw(step: &AdamwStep, weights: Weights, moments: Moments, gradient: &Tensor) {
    let count = gradient.numel() as i64;
    let (kind, pointer) = gradient_of(gradient, count);
    // SAFETY: all are contiguous, on the CPU, of the types that go with their formats and of `count` elements or of a
    // scale for each of their blocks, as checked.
    unsafe {
        (optimizers().adamw)(step, weights.raw(count), moments.raw(count), kind, pointer, count);
    }
}

/// Sum of `gradient²` over a contiguous bf16 or fp32 tensor on the CPU, without a copy of it.
///
/// # Panics
///
/// If it is anything else.
pub fn sum_of_squares(gradient: &Tensor) -> f64 {
    let count = gradient.numel() as i64;
    let (kind, pointer) = gradient_of(gradient, count);
    // SAFETY: contiguous, on the CPU, of the type that is passed and of `count` elements, as checked.
    unsafe { (optimizers().sum_of_squares)(kind, pointer, count) }
}

/// Sums of `(factor · gradient_rc)²` along rows, `[r]`, and along columns, `[c]`, in fp32.
///
/// # Panics
///
/// If the gradient is no contiguous bf16 or fp32 matrix on the CPU.
pub fn squares(gradient_rc: &Tensor, factor: f32) -> (Tensor, Tensor) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let (kind, pointer) = gradient_of(gradient_rc, rows * columns);
    let room = |size: &[i64]| Tensor::empty(size, (Kind::Float, Device::Cpu));
    let (rows_r, columns_c, stripes_sc) = (room(&[rows]), room(&[columns]), room(&[STRIPES, columns]));
    // SAFETY: the gradient is what is said of it, as checked; the others were made here with the sizes that are passed.
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

/// Sums of `(factor · gradient_rc · row_r · column_c)²` along rows, fp32 `[r]`.
///
/// # Panics
///
/// If something is of another type or size, not contiguous, or not on the CPU.
pub fn scaled_squares(gradient_rc: &Tensor, factor: f32, row_r: &Tensor, column_c: &Tensor) -> Tensor {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let (kind, pointer) = gradient_of(gradient_rc, rows * columns);
    let sums_r = Tensor::empty([rows], (Kind::Float, Device::Cpu));
    // SAFETY: all are contiguous, on the CPU, and of the types and sizes that are passed, as checked.
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

/// `weight += rate · (factor · gradient_rc · row_r · column_c)`, after its decay.
///
/// # Panics
///
/// If something is of another type or size, not contiguous, or not on the CPU.
pub fn factored(
    step: &FactoredStep,
    weights: Weights,
    gradient_rc: &Tensor,
    row_r: &Tensor,
    column_c: &Tensor,
) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let (kind, pointer) = gradient_of(gradient_rc, rows * columns);
    // SAFETY: all are contiguous, on the CPU, and of the types and sizes that are passed, as checked.
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
