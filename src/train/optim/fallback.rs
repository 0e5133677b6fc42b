//! The updates of [`crate::shim::optimizers`] in libtorch operations, for devices without our
//! kernels: the same arithmetic in the same order. On the CPU the bits are the same as well, except
//! where libtorch's square root is one unit off; tests compare both.
//!
//! Optimizers without kernels are here, too.
//!
//! Tensors are processed in chunks, so that temporaries stay small beside a model.
//!
//! Shapes: `r` rows and `c` columns of a matrix, `b` blocks of [`BLOCK`] elements.

use crate::shim::optimizers::{
    self as kernels, AdamwStep, BLOCK, FactoredStep, MomentTensors, WeightTensors, blocks,
};
use tch::{Device, Kind, Tensor};

/// Elements of a chunk: 64 MB in fp32, of which ten are alive at once. A multiple of [`BLOCK`].
const CHUNK: i64 = 1 << 24;

/// Returns the peak bytes of temporaries while a tensor of `count` numbers is updated.
pub fn temporaries(count: u64) -> u64 {
    10 * 4 * count.min(CHUNK as u64)
}

/// The operations that optimizers are made of.
pub struct Passes {
    /// See [`kernels::adamw`].
    pub adamw: fn(&AdamwStep, WeightTensors, MomentTensors, &Tensor),
    /// See [`kernels::squares`].
    pub squares: fn(&Tensor, f32) -> (Tensor, Tensor),
    /// See [`kernels::scaled_squares`].
    pub scaled_squares: fn(&Tensor, f32, &Tensor, &Tensor) -> Tensor,
    /// See [`kernels::factored`].
    pub factored: fn(&FactoredStep, WeightTensors, &Tensor, &Tensor, &Tensor),
}

/// The operations as kernels.
pub const KERNELS: Passes = Passes {
    adamw: kernels::adamw,
    squares: kernels::squares,
    scaled_squares: kernels::scaled_squares,
    factored: kernels::factored,
};

/// The operations in libtorch.
pub const OPERATIONS: Passes = Passes {
    adamw,
    squares,
    scaled_squares,
    factored,
};

impl Passes {
    /// Returns the operations for `device`.
    pub fn on(device: Device) -> Passes {
        match device {
            Device::Cpu => KERNELS,
            _ => OPERATIONS,
        }
    }
}

/// An 8-bit float with four exponent bits. The greatest code stands for 1.
struct Float8 {
    /// Bits of an fp32 below the mantissa that is stored.
    shift: i64,
    /// The greatest code.
    last: i64,
    /// Changes the first word of the key, so that both moments draw different bits.
    key: u32,
}

/// Format of the first moment, beside its sign.
const FIRST: Float8 = Float8 {
    shift: 20,
    last: 127,
    key: 0x9e37_79b9,
};
/// Format of the second moment's root.
const SECOND: Float8 = Float8 {
    shift: 19,
    last: 255,
    key: 0x7f4a_7c15,
};

impl Float8 {
    /// Difference between an fp32's shifted bits and its code.
    fn bias(&self) -> i64 {
        (127 << (23 - self.shift)) - self.last
    }

    /// Decodes `code` (fp32, not negative) to fractions of the scale.
    fn part(&self, code: &Tensor) -> Tensor {
        let bits = (code.to_kind(Kind::Int) + self.bias()).bitwise_left_shift_tensor_scalar(self.shift);
        bits.view_dtype(Kind::Float) * code.gt(0.0)
    }

    /// Encodes fractions from 0 to 1, rounded stochastically.
    fn code(&self, part: &Tensor, drawn: &Tensor) -> Tensor {
        let chance = drawn
            .bitwise_right_shift_tensor_scalar(32 - self.shift)
            .to_kind(Kind::Int);
        let bits = part.view_dtype(Kind::Int) + chance;
        (bits.bitwise_right_shift_tensor_scalar(self.shift) - self.bias()).clamp(0, self.last)
    }

    /// Returns the step's key for this format.
    fn key(&self, key: [u32; 2]) -> [u32; 2] {
        [key[0] ^ self.key, key[1]]
    }
}

/// Scales below this have no inverse in fp32.
const LEAST_SCALE: f64 = 1e-35;

/// See [`kernels::adamw`].
fn adamw(step: &AdamwStep, weights: WeightTensors, moments: MomentTensors, gradient: &Tensor) {
    let gradient = gradient.view(-1);
    for (start, size) in chunks(gradient.size()[0], CHUNK) {
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
fn factored(
    step: &FactoredStep,
    weights: WeightTensors,
    gradient_rc: &Tensor,
    row_r: &Tensor,
    column_c: &Tensor,
) {
    let (rows, columns) = gradient_rc.size2().expect("a matrix");
    for (start, size) in stripes(rows, columns) {
        let moved =
            scaled(gradient_rc, step.factor, row_r, column_c, start, size).view(-1) * f64::from(step.rate);
        let weight = exact(&weights, start * columns, size * columns) * f64::from(step.decay) + moved;
        write(&weights, start * columns, &weight, step.key);
    }
}

/// One step of Lion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LionStep {
    /// Factor of every gradient.
    pub factor: f32,
    /// Factor of every weight before the update.
    pub decay: f32,
    /// The negative learning rate.
    pub rate: f32,
    /// Share of the gradient in the direction, `1 - beta1`.
    pub direction_share: f32,
    /// Share of the gradient in the next momentum, `1 - beta2`.
    pub first_share: f32,
    /// Seed of stochastic rounding, together with the index of an element.
    pub key: [u32; 2],
}

/// Updates weights and the momentum `first`, fp32 and flat, by Lion. It has no kernel.
pub fn lion(step: &LionStep, weights: WeightTensors, first: &Tensor, gradient: &Tensor) {
    let gradient = gradient.view(-1);
    for (start, size) in chunks(gradient.size()[0], CHUNK) {
        let g = gradient.narrow(0, start, size).to_kind(Kind::Float) * f64::from(step.factor);
        let mut first = first.narrow(0, start, size);
        let ahead = g - &first;
        let direction = (&ahead * f64::from(step.direction_share) + &first).sign();
        first.copy_(&(ahead * f64::from(step.first_share) + &first));
        let moved = direction * f64::from(step.rate);
        let weight = exact(&weights, start, size) * f64::from(step.decay) + moved;
        write(&weights, start, &weight, step.key);
    }
}

/// Returns the fp32 values of all weights, flat; of fp32 weights the tensor itself.
pub fn exact_values(weights: &WeightTensors) -> Tensor {
    let (WeightTensors::Fp32(of)
    | WeightTensors::Copy(of, _)
    | WeightTensors::Split(of, _)
    | WeightTensors::Drawn(of)) = weights;
    exact(weights, 0, of.numel() as i64)
}

/// Sets all weights to fp32 `values`, flat, in the format of each; bf16 without a master is rounded
/// to nearest.
pub fn set_values(weights: &WeightTensors, values: &Tensor) {
    match weights {
        WeightTensors::Drawn(weight) => flat(weight).copy_(&nearest(values)),
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

/// Returns start and size of each chunk of `count` elements, at most `most` each.
pub fn chunks(count: i64, most: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..count)
        .step_by(most as usize)
        .map(move |start| (start, most.min(count - start)))
}

/// Returns first row and rows of each chunk of a matrix.
fn stripes(rows: i64, columns: i64) -> impl Iterator<Item = (i64, i64)> {
    chunks(rows, (CHUNK / columns.max(1)).max(1))
}

/// Returns a flat view of a tensor's memory, without its gradient.
fn flat(x: &Tensor) -> Tensor {
    x.detach().view(-1)
}

fn exact(weights: &WeightTensors, start: i64, size: i64) -> Tensor {
    let part = |x: &Tensor| flat(x).narrow(0, start, size);
    match weights {
        WeightTensors::Fp32(weight) | WeightTensors::Copy(_, weight) => part(weight),
        WeightTensors::Split(weight, low) => {
            let high = part(weight).view_dtype(Kind::Int16).to_kind(Kind::Int) * 65536;
            (high + part(low).to_kind(Kind::Int)).view_dtype(Kind::Float)
        }
        WeightTensors::Drawn(weight) => part(weight).to_kind(Kind::Float),
    }
}

fn write(weights: &WeightTensors, start: i64, values: &Tensor, key: [u32; 2]) {
    let size = values.size()[0];
    let part = |x: &Tensor| flat(x).narrow(0, start, size);
    match weights {
        WeightTensors::Fp32(weight) => part(weight).copy_(values),
        WeightTensors::Copy(weight, master) => {
            part(master).copy_(values);
            part(weight).copy_(&nearest(values));
        }
        WeightTensors::Split(weight, low) => {
            let bits = values.view_dtype(Kind::Int);
            part(low).copy_(&bits.bitwise_and(0xffff).to_kind(Kind::Int16));
            part(weight).copy_(&nearest(values));
        }
        WeightTensors::Drawn(weight) => {
            let chance = drawn(key, start, size, values.device()).bitwise_right_shift_tensor_scalar(16);
            part(weight).copy_(&upper(
                &(values.view_dtype(Kind::Int) + chance.to_kind(Kind::Int)),
            ));
        }
    }
}

/// Rounds to the nearest bf16, ties away from zero: then the lower half of the fp32 tells which way
/// it was rounded.
fn nearest(values: &Tensor) -> Tensor {
    upper(&(values.view_dtype(Kind::Int) + 0x8000))
}

/// Returns the upper 16 bits of 32 as bf16.
fn upper(bits: &Tensor) -> Tensor {
    let high = bits.bitwise_right_shift_tensor_scalar(16);
    high.to_kind(Kind::Int16).view_dtype(Kind::BFloat16)
}

/// Returns 32 random bits for each element, a function of its number and the key: two rounds of
/// multiplication (Chris Wellons' lowbias32, the key's second word between them). Int64, from 0 to
/// 2³² − 1.
fn drawn(key: [u32; 2], start: i64, size: i64, device: Device) -> Tensor {
    let word = |x: Tensor| x.bitwise_and(0xffff_ffffi64);
    let folded = |x: Tensor, by: i64| x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(by));
    let number = word(Tensor::arange_start(start, start + size, (Kind::Int64, device)));
    let x = folded(number.bitwise_xor(i64::from(key[0])), 16);
    let x = folded(word(x * 0x21f0_aaadi64), 15);
    let x = word(x + i64::from(key[1]));
    folded(word(x * 0xd35a_2d97i64), 15)
}

/// Reads `size` elements of both moments from `start` on, as fp32.
pub fn recall(moments: &MomentTensors, start: i64, size: i64) -> (Tensor, Tensor) {
    let part = |x: &Tensor| x.narrow(0, start, size);
    match moments {
        MomentTensors::Fp32 { first, second } => (part(first), part(second)),
        MomentTensors::Eight {
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

/// Stores both moments in their format; `root` is the root of the second.
fn remember(
    moments: &MomentTensors,
    start: i64,
    of_first: &Tensor,
    of_second: &Tensor,
    root: &Tensor,
    key: [u32; 2],
) {
    let size = root.size()[0];
    let keep = |x: &Tensor, now: &Tensor| x.narrow(0, start, size).copy_(now);
    match moments {
        MomentTensors::Fp32 { first, second } => {
            keep(first, of_first);
            keep(second, of_second);
        }
        MomentTensors::Eight {
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
            // A nonzero root stays nonzero, since updates are divided by it.
            let least = root.gt(0.0).to_kind(Kind::Int);
            keep(second, &code.maximum(&least).to_kind(Kind::Uint8));
        }
    }
}

/// Returns the largest of each block, `[b, 1]`, and each value as a fraction of it. `values_bn` are
/// not negative.
fn parts(values_bn: &Tensor) -> (Tensor, Tensor) {
    let scale_b1 = values_bn.amax(1, true);
    let inverse = scale_b1
        .reciprocal()
        .where_scalarother(&scale_b1.gt(LEAST_SCALE), 0.0);
    let part_bn = values_bn * inverse;
    (scale_b1, part_bn)
}

/// Reshapes `[n]` to `[b, BLOCK]`, padded with zeros.
fn in_blocks(x: &Tensor) -> Tensor {
    let count = x.size()[0];
    x.constant_pad_nd([0, blocks(count) * BLOCK - count])
        .view([-1, BLOCK])
}
