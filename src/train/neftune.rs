//! NEFTune (Jain et al. 2023, <https://arxiv.org/abs/2310.05914>): uniform noise on the embeddings
//! of the tokens that a model is trained on.
//!
//! Shapes: `t` tokens of a micro-batch, `d` hidden.

use crate::model::layers::prefix_tree::PrefixNode;
use crate::shim::generator::with_seed;
use tch::{Kind, Tensor};

/// Adds noise between ±`alpha / √(L·d)` to embeddings `x_1td`, where L is the length of the token's
/// sequence. The noise is a function of `seed`. A prefix that several sequences share gets that of
/// the longest. The derivative by the embeddings stays 1.
pub fn add_noise(x_1td: &Tensor, nodes: &[PrefixNode], alpha: f64, seed: i64) -> Tensor {
    let device = x_1td.device();
    let width = x_1td.size()[2] as f64;
    let bounds: Vec<f32> = nodes
        .iter()
        .zip(sequence_lengths(nodes))
        .flat_map(|(node, length)| {
            let bound = alpha / (length as f64 * width).sqrt();
            std::iter::repeat_n(bound as f32, node.length as usize)
        })
        .collect();
    let bound_1t1 = Tensor::from_slice(&bounds).view([1, -1, 1]).to_device(device);
    let drawn_1td = with_seed(seed, || Tensor::rand(x_1td.size(), (Kind::Float, device)));
    let noise_1td = (drawn_1td * 2.0 - 1.0) * bound_1t1;
    x_1td + noise_1td.to_kind(x_1td.kind())
}

/// Returns the tokens of the longest sequence through each node.
fn sequence_lengths(nodes: &[PrefixNode]) -> Vec<i64> {
    let mut lengths: Vec<i64> = Vec::with_capacity(nodes.len());
    for node in nodes {
        lengths.push(node.length + node.after.map_or(0, |before| lengths[before]));
    }
    for (index, node) in nodes.iter().enumerate().rev() {
        if let Some(before) = node.after {
            lengths[before] = lengths[before].max(lengths[index]);
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const NODES: [PrefixNode; 4] = [
        PrefixNode {
            length: 3,
            after: None,
        },
        PrefixNode {
            length: 1,
            after: Some(0),
        },
        PrefixNode {
            length: 13,
            after: Some(0),
        },
        PrefixNode {
            length: 4,
            after: None,
        },
    ];

    #[test]
    fn a_prefix_counts_as_long_as_its_longest_sequence() {
        assert_eq!(sequence_lengths(&NODES), [16, 4, 16, 4]);
    }

    #[test]
    fn noise_fills_its_bounds_and_follows_its_seed() {
        let x_1td = Tensor::zeros([1, 21, 400], (Kind::Float, Device::Cpu));
        let noise = |seed| add_noise(&x_1td, &NODES, 8.0, seed);
        let most_t = noise(5).abs().amax([0, 2], false);
        for (token, length) in [(0, 16.0f64), (3, 4.0), (4, 16.0), (17, 4.0)] {
            let (most, bound) = (most_t.double_value(&[token]), 8.0 / (length * 400.0).sqrt());
            assert!(most <= bound && most > 0.95 * bound, "{token}: {most} of {bound}");
        }
        let mean = noise(5).mean(Kind::Double).double_value(&[]);
        assert!(mean.abs() < 0.01, "{mean}");
        assert_eq!(noise(5), noise(5));
        assert_ne!(noise(5), noise(6));
    }
}
