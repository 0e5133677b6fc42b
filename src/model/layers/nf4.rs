//! Weights in 4 bits (NF4, Dettmers et al. 2023, <https://arxiv.org/abs/2305.14314>), for a frozen
//! base model below an adapter.
//!
//! Each block of 64 consecutive weights has a scale, its largest magnitude. Each weight is the
//! nearest of 16 levels, relative to the scale. That is half a byte a weight, and a sixteenth of a
//! byte for the scale. The levels divide a normal distribution into parts of equal probability.
//!
//! Shapes: `o` features out, `i` in, `n = o·i`, `b` blocks of 64.

use tch::{Device, Kind, Tensor};

use super::matmul::lacks_bf16;
use crate::shim::nf4::{Nf4Codes, dequantize, linear_nf4};
use crate::shim::storage::hollow;

/// Weights that share a scale.
pub const BLOCK: i64 = 64;

/// The levels of appendix E of the paper.
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Weights that are quantized at once, which bounds the temporary memory to little beside a layer.
const CHUNK: i64 = 1 << 22;

/// A weight `[o, i]` in 4 bits.
#[derive(Debug)]
pub struct Nf4 {
    /// Two weights a byte, the first in the upper half, Uint8 `[n/2]`.
    pub codes: Tensor,
    /// The largest magnitude of each block, fp32 `[b]`.
    pub scales: Tensor,
    /// The two levels that each byte of codes stands for, fp32 `[256, 2]`.
    table: Tensor,
    /// `[o, i]`.
    pub size: (i64, i64),
}

impl Nf4 {
    /// Quantizes `weight_oi`. Returns none if its number of weights is odd or zero.
    pub fn of(weight_oi: &Tensor) -> Option<Nf4> {
        let _guard = tch::no_grad_guard();
        let size = weight_oi.size2().ok()?;
        let count = size.0 * size.1;
        if count == 0 || count % 2 != 0 {
            return None;
        }
        let device = weight_oi.device();
        let middles: Vec<f32> = LEVELS.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
        let middles = Tensor::from_slice(&middles).to_device(device);
        let flat = weight_oi.reshape(-1);
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        let mut start = 0;
        while start < count {
            let length = CHUNK.min(count - start);
            let blocks = length.div_euclid(BLOCK) + i64::from(length % BLOCK != 0);
            let part = flat.narrow(0, start, length).to_kind(Kind::Float);
            let part_bw = part
                .constant_pad_nd([0, blocks * BLOCK - length])
                .view([blocks, BLOCK]);
            let scale_b = part_bw.abs().amax(1, false);
            // In a block of zeros every weight has level 0, whatever it is divided by.
            let divisor_b1 = scale_b.clamp_min(f64::from(f32::MIN_POSITIVE)).unsqueeze(1);
            let level = (part_bw / divisor_b1).bucketize(&middles, true, false);
            let pairs = level.view(-1).narrow(0, 0, length).view([-1, 2]);
            codes.push((pairs.select(1, 0) * 16 + pairs.select(1, 1)).to_kind(Kind::Uint8));
            scales.push(scale_b);
            start += length;
        }
        Some(Nf4 {
            codes: Tensor::cat(&codes, 0),
            scales: Tensor::cat(&scales, 0),
            table: table().to_device(device),
            size,
        })
    }

    /// Returns codes and scales of a weight of this size that take no memory, with nothing in them;
    /// none if its number of weights is odd or zero.
    pub fn hollow(size: (i64, i64), device: Device) -> Option<Nf4> {
        let count = size.0 * size.1;
        if count == 0 || count % 2 != 0 {
            return None;
        }
        let blocks = count.div_euclid(BLOCK) + i64::from(count % BLOCK != 0);
        Some(Nf4 {
            codes: hollow(&[count / 2], (Kind::Uint8, device)),
            scales: hollow(&[blocks], (Kind::Float, device)),
            table: table().to_device(device),
            size,
        })
    }

    fn coded(&self) -> Nf4Codes<'_> {
        Nf4Codes {
            codes: &self.codes,
            scales: &self.scales,
            table: &self.table,
            size: self.size,
        }
    }

    /// Returns the dequantized weight.
    pub fn values(&self, kind: Kind) -> Tensor {
        dequantize(self.coded(), kind)
    }

    /// Returns `x_ni · weightᵀ + bias_o`. The dequantized weight exists only during the product, in
    /// the backward pass too.
    pub fn linear(&self, x_ni: &Tensor, bias_o: Option<&Tensor>) -> Tensor {
        linear_nf4(x_ni, self.coded(), bias_o, lacks_bf16(x_ni))
    }
}

/// Returns the two levels of each byte, `[256, 2]`.
fn table() -> Tensor {
    let pairs: Vec<f32> = (0..256)
        .flat_map(|byte| [LEVELS[byte >> 4], LEVELS[byte & 15]])
        .collect();
    Tensor::from_slice(&pairs).view([256, 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::generator::with_seed;

    fn random(size: &[i64], seed: i64) -> Tensor {
        with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
    }

    #[test]
    fn each_weight_becomes_the_nearest_level_of_its_block() {
        // Rows that are no whole number of blocks, and a block of zeros.
        let weight = random(&[6, 150], 1) * 0.02;
        let _ = weight.view(-1).narrow(0, 128, 64).zero_();
        let quantized = Nf4::of(&weight).unwrap();
        assert_eq!(quantized.codes.size(), [450]);
        assert_eq!(quantized.scales.size(), [15]);
        let values = Vec::<f32>::try_from(quantized.values(Kind::Float).view(-1)).unwrap();
        let wanted = Vec::<f32>::try_from(weight.view(-1)).unwrap();
        for (values, wanted) in values.chunks(64).zip(wanted.chunks(64)) {
            let largest = wanted
                .iter()
                .fold(0f32, |largest, value| largest.max(value.abs()));
            for (&value, &want) in values.iter().zip(wanted) {
                let nearest = LEVELS
                    .map(|level| level * largest)
                    .into_iter()
                    .min_by(|a, b| (a - want).abs().total_cmp(&(b - want).abs()))
                    .unwrap();
                assert_eq!(value, nearest, "{want} of {largest}");
            }
        }
        assert!(Nf4::of(&Tensor::zeros([3, 3], (Kind::Float, Device::Cpu))).is_none());
        assert!(Nf4::hollow((3, 3), Device::Cpu).is_none());
    }

    #[test]
    fn hollow_codes_have_the_shapes_of_others() {
        for size in [[6, 150], [2, 32], [3, 64]] {
            let full = Nf4::of(&random(&size, 1)).unwrap();
            let hollow = Nf4::hollow((size[0], size[1]), Device::Cpu).unwrap();
            assert_eq!(hollow.codes.size(), full.codes.size());
            assert_eq!(hollow.scales.size(), full.scales.size());
        }
    }

    /// The codes and scales of bitsandbytes (`scripts/make_train_goldens.py`).
    #[test]
    fn codes_and_scales_are_the_references() {
        #[derive(serde::Deserialize)]
        struct Nf4Golden {
            codes: Vec<u8>,
            scales: Vec<f32>,
        }
        let path = crate::model::tests::golden("train").join("nf4.json");
        let golden: Nf4Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let weight = (Tensor::arange(900, (Kind::Double, Device::Cpu)) * 0.731).sin() * 0.05;
        let ours = Nf4::of(&weight.to_kind(Kind::Float).view([6, 150])).unwrap();
        assert_eq!(Vec::<u8>::try_from(&ours.codes).unwrap(), golden.codes);
        assert_eq!(Vec::<f32>::try_from(&ours.scales).unwrap(), golden.scales);
    }

    #[test]
    fn products_and_gradients_are_those_of_the_weight_that_it_stands_for() {
        for kind in [Kind::Float, Kind::BFloat16] {
            let random = |size: &[i64], seed| random(size, seed).to_kind(kind);
            let (quantized, bias) = (Nf4::of(&random(&[48, 32], 2)).unwrap(), random(&[48], 3));
            let (x, seed) = (random(&[40, 32], 4), random(&[40, 48], 5));
            for bias in [None, Some(&bias)] {
                let run = |linear: &dyn Fn(&Tensor) -> Tensor| {
                    let x = x.copy().set_requires_grad(true);
                    let y = linear(&x);
                    (&y * &seed).sum(Kind::Float).backward();
                    (y.detach(), x.grad())
                };
                let weight = quantized.values(kind);
                let ours = run(&|x| quantized.linear(x, bias));
                let want = run(&|x| super::super::matmul::linear(x, &weight, bias));
                let apart = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
                let limit = if kind == Kind::Float { 1e-5 } else { 0.13 };
                assert!(apart(&ours.0, &want.0) <= limit && apart(&ours.1, &want.1) <= limit);
            }
        }
    }
}
