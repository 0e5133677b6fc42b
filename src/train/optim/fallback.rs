//! The updates of [`crate::shim::optimizers`] by libtorch's operations, for devices that have no kernels of ours: the same
//! mathematics in the same order, and on the CPU the same bits but where libtorch's root is off by a unit, which the tests compare.
//!
//! Tensors are taken a piece at a time, so that the temporaries stay small beside a model.
//!
//! Shapes: `r` rows and `c` columns of a matrix, `b` blocks of [`BLOCK`] elements.

use crate::shim::optimizers::{self as kernels, AdamwStep, BLOCK, FactoredStep, Moments, Weights, blocks};
use tch::{Device, Kind, Tensor};

/// Elements of a piece: 64 MB in fp32, of which ten are alive at once. A multiple of [`BLOCK`].
const PIECE: i64 = 1 << 24;

/// Bytes of what comes and goes while a tensor of `count` numbers is updated.
pub fn temporaries(count: u64) -> u64 {
    10 * 4 * count.min(PIECE as u64)
}

/// The passes that update rules are made of.
pub struct Passes {
    /// See [`kernels::adamw`].
    pub adamw: fn(&AdamwStep, Weights, Moments, &Tensor),
    /// See [`kernels::squares`].
    pub squares: fn(&Tensor, f32) -> (Tensor, Tensor),
    /// See [`kernels::scaled_squares`].
    pub scaled_squares: fn(&Tensor, f32, &Tensor, &Tensor) -> Tensor,
    /// See [`kernels::factored`].
    pub factored: fn(&FactoredStep, Weights, &Tensor, &Tensor, &Tensor),
}

/// By kernels.
pub const KERNELS: Passes = Passes {
    adamw: kernels::adamw,
    squares: kernels::squares,
    scaled_squares: kernels::scaled_squares,
    factored: kernels::factored,
};

/// By libtorch's operations.
pub const OPERATIONS: Passes = Passes {
    adamw,
    squares,
    scaled_squares,
    factored,
};

impl Passes {
    /// Those for a device.
    pub fn on(device: Device) -> Passes {
        match device {
            Device::Cpu => KERNELS,
            _ => OPERATIONS,
        }
    }
}

/// A float of 8 bits, of four bits of exponent: the last code stands for 1.
struct Float8 {
    /// Bits of an fp32 below the mantissa that is kept.
    shift: i64,
    /// The greatest code.
    last: i64,
    /// What the key's first word is changed by.
    key: u32,
}

/// Of the first moment, beside its sign.
const FIRST: Float8 = Float8 {
    shift: 20,
    last: 127,
    key: 0x9e37_79b9,
};
/// Of the root of the second.
const SECOND: Float8 = Float8 {
    shift: 19,
    last: 255,
    key: 0x7f4a_7c15,
};

impl Float8 {
    /// How far codes are from an fp32's bits.
    fn bias(&self) -> i64 {
        (127 << (23 - self.shift)) - self.last
    }

    /// What codes (fp32, not negative) stand for.
    fn part(&self, code: &Tensor) -> Tensor {
        let bits = (code.to_kind(Kind::Int) + self.bias()).bitwise_left_shift_tensor_scalar(self.shift);
        bits.view_dtype(Kind::Float) * code.gt(0.0)
    }

    /// Codes of numbers from 0 to 1, rounded by chance.
    fn code(&self, part: &Tensor, drawn: &Tensor) -> Tensor {
        let chance = drawn
            .bitwise_right_shift_tensor_scalar(32 - self.shift)
            .to_kind(Kind::Int);
        let bits = part.view_dtype(Kind::Int) + chance;
        (bits.bitwise_right_shift_tensor_scalar(self.shift) - self.bias()).clamp(0, self.last)
    }

    /// The step's key, for what is drawn here.
    fn key(&self, key: [u32; 2]) -> [u32; 2] {
        [key[0] ^ self.key, key[1]]
    }
}

/// Scales below this have no inverse in fp32.
const LEAST_SCALE: f64 = 1e-35;

/// See [`kernels::adamw`].
fn adamw(step: &AdamwStep, weights: Weights, moments: Moments, gradient: &Tensor) {
    let gradient = gradient.view(-1);
    for (start, size) in pieces(gradient.size()[0], PIECE) {
        let g = gradient.narrow(0, start, size).to_kind(Kind::Float) * f64::from(step.factor);
        let (first, second) = recall(&moments, start, size);
        let first = (&g - &first) * f64::from(step.first_share) + first;
        let second = second * f64::from(step.second_kept) + (&g * f64::from(step.second_share)) * &g;
        let root = second.sqrt();
        let below = &root * f64::from(step.second_bias) + f64::from(step.eps);
        let moved = (&first * f64::from(step.rate)) / below;
        remember(&moments, start, &first, &second, &root, step.key);
        let weight = exact(&weights, start, size) * f64::from(step.decay) + moved;
        write(&weights, start, &weight, step.key);
    }
}

/// See [`kernels::squares`].
fn squares(gradient_rc: &Tensor, factor: f32) -> (Tensor, Tensor) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let mut along = Vec::new();
    let mut columns_c = Tensor::zeros([columns], (Kind::Float, gradient_rc.device()));
    for (start, size) in stripes(rows, columns) {
        let g = gradient_rc.narrow(0, start, size).to_kind(Kind::Float) * f64::from(factor);
        let squares = g.square();
        along.push(squares.sum_dim_intlist(1, false, Kind::Float));
        columns_c += squares.sum_dim_intlist(0, false, Kind::Float);
    }
    (Tensor::cat(&along, 0), columns_c)
}

/// See [`kernels::scaled_squares`].
fn scaled_squares(gradient_rc: &Tensor, factor: f32, row_r: &Tensor, column_c: &Tensor) -> Tensor {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    let along = stripes(rows, columns).map(|(start, size)| {
        scaled(gradient_rc, factor, row_r, column_c, start, size)
            .square()
            .sum_dim_intlist(1, false, Kind::Float)
    });
    Tensor::cat(&along.collect::<Vec<_>>(), 0)
}

/// See [`kernels::factored`].
fn factored(step: &FactoredStep, weights: Weights, gradient_rc: &Tensor, row_r: &Tensor, column_c: &Tensor) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    for (start, size) in stripes(rows, columns) {
        let moved =
            scaled(gradient_rc, step.factor, row_r, column_c, start, size).view(-1) * f64::from(step.rate);
        let weight = exact(&weights, start * columns, size * columns) * f64::from(step.decay) + moved;
        write(&weights, start * columns, &weight, step.key);
    }
}

/// The fp32 values of all weights, flat; of those in fp32 the tensor itself.
pub fn exact_values(weights: &Weights) -> Tensor {
    let (Weights::Fp32(of) | Weights::Copy(of, _) | Weights::Split(of, _) | Weights::Drawn(of)) = weights;
    exact(weights, 0, of.numel() as i64)
}

/// Sets all weights to fp32 `values`, flat, each to what its format makes of it; where that is bf16 alone, the nearest.
pub fn set_values(weights: &Weights, values: &Tensor) {
    match weights {
        Weights::Drawn(weight) => flat(weight).copy_(&nearest(values)),
        _ => write(weights, 0, values, [0; 2]),
    }
}

fn scaled(
    gradient_rc: &Tensor,
    factor: f32,
    row_r: &Tensor,
    column_c: &Tensor,
    start: i64,
    size: i64,
) -> Tensor {
    let g = gradient_rc.narrow(0, start, size).to_kind(Kind::Float) * f64::from(factor);
    g * row_r.narrow(0, start, size).unsqueeze(1) * column_c
}

/// Starts and sizes of the pieces of `count` elements, of `most` each.
pub fn pieces(count: i64, most: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..count)
        .step_by(most as usize)
        .map(move |start| (start, most.min(count - start)))
}

/// The same of the rows of a matrix.
fn stripes(rows: i64, columns: i64) -> impl Iterator<Item = (i64, i64)> {
    pieces(rows, (PIECE / columns.max(1)).max(1))
}

/// A tensor's memory in one dimension, without its gradient.
fn flat(x: &Tensor) -> Tensor {
    x.detach().view(-1)
}

fn exact(weights: &Weights, start: i64, size: i64) -> Tensor {
    let part = |x: &Tensor| flat(x).narrow(0, start, size);
    match weights {
        Weights::Fp32(weight) | Weights::Copy(_, weight) => part(weight),
        Weights::Split(weight, low) => {
            let high = part(weight).view_dtype(Kind::Int16).to_kind(Kind::Int) * 65536;
            (high + part(low).to_kind(Kind::Int)).view_dtype(Kind::Float)
        }
        Weights::Drawn(weight) => part(weight).to_kind(Kind::Float),
    }
}

fn write(weights: &Weights, start: i64, values: &Tensor, key: [u32; 2]) {
    let size = values.size()[0];
    let part = |x: &Tensor| flat(x).narrow(0, start, size);
    match weights {
        Weights::Fp32(weight) => part(weight).copy_(values),
        Weights::Copy(weight, master) => {
            part(master).copy_(values);
            part(weight).copy_(&nearest(values));
        }
        Weights::Split(weight, low) => {
            let bits = values.view_dtype(Kind::Int);
            part(low).copy_(&bits.bitwise_and(0xffff).to_kind(Kind::Int16));
            part(weight).copy_(&nearest(values));
        }
        Weights::Drawn(weight) => {
            let chance = drawn(key, start, size, values.device()).bitwise_right_shift_tensor_scalar(16);
            part(weight).copy_(&upper(
                &(values.view_dtype(Kind::Int) + chance.to_kind(Kind::Int)),
            ));
        }
    }
}

/// The nearest bf16, ties away from zero: then the lower half of the fp32 says which way it was rounded.
fn nearest(values: &Tensor) -> Tensor {
    upper(&(values.view_dtype(Kind::Int) + 0x8000))
}

/// The upper halves of 32 bits as bf16.
fn upper(bits: &Tensor) -> Tensor {
    let high = bits.bitwise_right_shift_tensor_scalar(16);
    high.to_kind(Kind::Int16).view_dtype(Kind::BFloat16)
}

/// 32 bits for each element from its number and the key: two rounds of multiplication (Chris Wellons' lowbias32, the key's
/// second half between them). Int64, from 0 to 2³² − 1.
fn drawn(key: [u32; 2], start: i64, size: i64, device: Device) -> Tensor {
    let word = |x: Tensor| x.bitwise_and(0xffff_ffffi64);
    let folded = |x: Tensor, by: i64| x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(by));
    let number = word(Tensor::arange_start(start, start + size, (Kind::Int64, device)));
    let x = folded(number.bitwise_xor(i64::from(key[0])), 16);
    let x = folded(word(x * 0x21f0_aaadi64), 15);
    let x = word(x + i64::from(key[1]));
    folded(word(x * 0xd35a_2d97i64), 15)
}

/// Both moments in fp32, as they are kept.
fn recall(moments: &Moments, start: i64, size: i64) -> (Tensor, Tensor) {
    let part = |x: &Tensor| x.narrow(0, start, size);
    match moments {
        Moments::Fp32 { first, second } => (part(first), part(second)),
        Moments::Eight {
            first,
            first_scale,
            second,
            second_scale,
        } => {
            let scale = |x: &Tensor| x.narrow(0, start / BLOCK, blocks(size)).unsqueeze(1);
            let whole = |x_bn: Tensor| x_bn.view(-1).narrow(0, 0, size);
            let code = in_blocks(&part(first).to_kind(Kind::Float));
            let size = FIRST.part(&code.abs()) * scale(first_scale);
            let of_first = size.where_self(&code.ge(0.0), &(-&size));
            let code = in_blocks(&part(second).to_kind(Kind::Float));
            let root = SECOND.part(&code) * scale(second_scale);
            (whole(of_first), whole(root.square()))
        }
    }
}

/// Keeps both moments; `root` is that of the second.
fn remember(
    moments: &Moments,
    start: i64,
    of_first: &Tensor,
    of_second: &Tensor,
    root: &Tensor,
    key: [u32; 2],
) {
    let size = root.size()[0];
    let keep = |x: &Tensor, now: &Tensor| x.narrow(0, start, size).copy_(now);
    match moments {
        Moments::Fp32 { first, second } => {
            keep(first, of_first);
            keep(second, of_second);
        }
        Moments::Eight {
            first,
            first_scale,
            second,
            second_scale,
        } => {
            let scale = |x: &Tensor, now: &Tensor| {
                x.narrow(0, start / BLOCK, blocks(size))
                    .copy_(&now.squeeze_dim(1));
            };
            let whole = |x_bn: Tensor| x_bn.view(-1).narrow(0, 0, size);
            let chance = |of: &Float8| drawn(of.key(key), start, size, root.device());
            let (scale_b1, part_bn) = parts(&in_blocks(&of_first.abs()));
            scale(first_scale, &scale_b1);
            let code = FIRST.code(&whole(part_bn), &chance(&FIRST));
            let signed = code.where_self(&of_first.ge(0.0), &(-&code));
            keep(first, &signed.to_kind(Kind::Int8));
            let (scale_b1, part_bn) = parts(&in_blocks(root));
            scale(second_scale, &scale_b1);
            let code = SECOND.code(&whole(part_bn), &chance(&SECOND));
            // What is there at all never becomes nothing: it is what updates are divided by.
            let least = root.gt(0.0).to_kind(Kind::Int);
            keep(second, &code.maximum(&least).to_kind(Kind::Uint8));
        }
    }
}

/// Of numbers that are not negative the largest of each block, `[b, 1]`, and each as a part of that.
fn parts(values_bn: &Tensor) -> (Tensor, Tensor) {
    let scale_b1 = values_bn.amax(1, true);
    let inverse = scale_b1
        .reciprocal()
        .where_scalarother(&scale_b1.gt(LEAST_SCALE), 0.0);
    let part_bn = values_bn * inverse;
    (scale_b1, part_bn)
}

/// `[n]` as `[b, BLOCK]`, with zeros behind.
fn in_blocks(x: &Tensor) -> Tensor {
    let count = x.size()[0];
    x.constant_pad_nd([0, blocks(count) * BLOCK - count])
        .view([-1, BLOCK])
}
