//! NEFTune (Jain et al. 2023, <https://arxiv.org/abs/2310.05914>): uniform noise on the embeddings
//! of the tokens that a model is trained on.
//!
//! Shapes: `t` tokens of a micro-batch, `d` hidden.

use crate::shim::keyed;
use crate::shim::transfer::numbers_on;
use tch::{Kind, Tensor};

/// Adds noise between ±`alpha / √(L·d)` to embeddings `x_1td`, where L is the length of the token's
/// sequence, `length_t`. The noise is a function of `seed`, the token's key and the feature: it
/// does not depend on the cut into micro-batches. The derivative by the embeddings stays 1.
pub fn add_noise(x_1td: &Tensor, key_t: &[i64], length_t: &[i64], alpha: f64, seed: i64) -> Tensor {
    let device = x_1td.device();
    let width = x_1td.size()[2];
    let bound = |length: &i64| (alpha / (*length as f64 * width as f64).sqrt()) as f32;
    let bounds: Vec<f32> = length_t.iter().map(bound).collect();
    let bound_1t1 = Tensor::from_slice(&bounds).view([1, -1, 1]).to_device(device);
    let key_t = numbers_on(key_t, Kind::Int64, device);
    let drawn_1td = keyed::uniform(&key_t, seed, width).unsqueeze(0);
    let noise_1td = (drawn_1td * 2.0 - 1.0) * bound_1t1;
    x_1td + noise_1td.to_kind(x_1td.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn noise_fills_its_bounds_and_follows_its_seed_and_the_key() {
        let x_1td = Tensor::zeros([1, 21, 400], (Kind::Float, Device::Cpu));
        let keys: Vec<i64> = (0..21).map(|token| token * 7919).collect();
        let lengths: Vec<i64> = (0..21).map(|token| if token < 17 { 16 } else { 4 }).collect();
        let noise = |seed| add_noise(&x_1td, &keys, &lengths, 8.0, seed);
        let most_t = noise(5).abs().amax([0, 2], false);
        for (token, length) in [(0, 16.0f64), (3, 16.0), (17, 4.0), (20, 4.0)] {
            let (most, bound) = (most_t.double_value(&[token]), 8.0 / (length * 400.0).sqrt());
            assert!(most <= bound && most > 0.95 * bound, "{token}: {most} of {bound}");
        }
        let mean = noise(5).mean(Kind::Double).double_value(&[]);
        assert!(mean.abs() < 0.01, "{mean}");
        assert_eq!(noise(5), noise(5));
        assert_ne!(noise(5), noise(6));
        // Of some of the tokens, the same.
        let some = add_noise(&x_1td.narrow(1, 0, 5), &keys[3..8], &lengths[3..8], 8.0, 5);
        assert_eq!(some, noise(5).narrow(1, 3, 5));
    }
}
