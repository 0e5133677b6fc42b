//! Sequences that share a row and their prefixes: a tree of tokens, in which every branch is
//! computed once, however many sequences pass through it.
//!
//! A token's hidden state depends only on the tokens before it. So it is the same in all sequences
//! that share the prefix, and its gradient is the sum over these sequences. Computing the prefix in
//! each of them would give exactly the same.
//!
//! Shapes: `t` tokens of the row, `n` of a branch, `l` keys, `h` query heads, `k` key/value heads,
//! `d` features of a head.

use std::cell::Cell;

use tch::{Device, Kind, TchError, Tensor};

use super::matmul::lacks_bf16;
use super::sdpa::{self, AttentionMask};
use crate::model::fault;
use crate::shim::AttentionParams;
use crate::shim::attention::{CumulativeLengths, attend_branches, attend_flash};
use crate::shim::transfer::numbers_on;

pub use crate::shim::attention::PrefixNode;

/// Most features of a head that flash attention takes.
const MOST_FLASH_FEATURES: i64 = 256;

thread_local! {
    /// Whether flash attention was tried and is missing.
    static NO_FLASH: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether libtorch says that it has no flash attention, or none for this GPU. Any other
/// error must not be hidden by a fallback.
fn is_refusal(error: &TchError) -> bool {
    let text = error.to_string().to_lowercase().replace('_', "");
    let first = text.lines().next().unwrap_or_default();
    first.contains("flashattention")
}

/// The branches of a row.
#[derive(Debug)]
pub struct PrefixTree {
    branches: Vec<PrefixNode>,
    lengths: Vec<i64>,
    /// For each branch, the branches from the first of its sequences to itself.
    chains: Vec<Vec<usize>>,
    /// For each branch, the number of tokens before it in its sequences.
    starts: Vec<i64>,
    /// Lengths that flash attention needs, on a GPU.
    ends: Option<CumulativeLengths>,
}

impl PrefixTree {
    /// Makes the tree of a row.
    ///
    /// # Panics
    ///
    /// If a branch follows one that is not before it.
    pub fn new(branches: &[PrefixNode], device: Device) -> PrefixTree {
        let (mut chains, mut starts) = (Vec::<Vec<usize>>::new(), Vec::<i64>::new());
        for (index, branch) in branches.iter().enumerate() {
            let (mut chain, mut start) = (Vec::new(), 0);
            if let Some(after) = branch.after {
                chain.clone_from(&chains[after]);
                start = starts[after] + branches[after].length;
            }
            chain.push(index);
            chains.push(chain);
            starts.push(start);
        }
        let lengths = branches.iter().map(|branch| branch.length).collect();
        let mut made = PrefixTree {
            branches: branches.to_vec(),
            lengths,
            chains,
            starts,
            ends: None,
        };
        made.ends = device.is_cuda().then(|| made.ends(device));
        made
    }

    fn ends(&self, device: Device) -> CumulativeLengths {
        let keys = |index: usize| self.starts[index] + self.lengths[index];
        let sums = |lengths: &mut dyn Iterator<Item = i64>| {
            let ends = lengths.scan(0i32, |end, length| {
                *end += length as i32;
                Some(*end)
            });
            let ends: Vec<i32> = std::iter::once(0).chain(ends).collect();
            numbers_on(&ends, Kind::Int, device)
        };
        CumulativeLengths {
            queries: sums(&mut self.lengths.iter().copied()),
            keys: sums(&mut (0..self.lengths.len()).map(keys)),
        }
    }

    /// Returns the position of each token of the row within its sequences.
    pub fn positions(&self) -> Vec<i64> {
        let of = |(&start, &length): (&i64, &i64)| start..start + length;
        self.starts.iter().zip(&self.lengths).flat_map(of).collect()
    }

    /// Computes attention within the row: `q_thd`, `k_tkd`, `v_tkd` to `[t, h, d]`.
    pub fn attend(&self, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor, params: AttentionParams) -> Tensor {
        let dim = q_thd.size()[2];
        let of_16_bits = matches!(q_thd.kind(), Kind::BFloat16 | Kind::Half);
        match &self.ends {
            _ if params.cap.is_some() => self.attend_each(q_thd, k_tkd, v_tkd, params),
            None => {
                let widen = lacks_bf16(q_thd);
                attend_branches(q_thd, k_tkd, v_tkd, &self.branches, params, widen)
            }
            Some(ends) if of_16_bits && dim % 8 == 0 && dim <= MOST_FLASH_FEATURES && !NO_FLASH.get() => {
                attend_flash(q_thd, k_tkd, v_tkd, &self.branches, ends, params).unwrap_or_else(|error| {
                    if !is_refusal(&error) {
                        fault::raise(&error);
                    }
                    tracing::warn!("this GPU has no flash attention, and takes longer without: {error:#}");
                    NO_FLASH.set(true);
                    self.attend_each(q_thd, k_tkd, v_tkd, params)
                })
            }
            Some(_) => self.attend_each(q_thd, k_tkd, v_tkd, params),
        }
    }

    /// Returns for each branch the keys or values that it sees, in parts.
    fn seen(&self, x_tkd: &Tensor) -> Vec<Vec<Tensor>> {
        let parts = x_tkd.split_with_sizes(&self.lengths, 0);
        let of = |chain: &Vec<usize>| chain.iter().map(|&index| parts[index].shallow_clone()).collect();
        self.chains.iter().map(of).collect()
    }

    /// Computes attention branch by branch, in libtorch's operations: for what flash attention does
    /// not take, and as the reference of the tests.
    fn attend_each(&self, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor, params: AttentionParams) -> Tensor {
        let device = q_thd.device();
        let queries = q_thd.split_with_sizes(&self.lengths, 0);
        let (keys, values) = (self.seen(k_tkd), self.seen(v_tkd));
        let outputs: Vec<Tensor> = queries
            .iter()
            .enumerate()
            .map(|(index, q_nhd)| {
                let start = self.starts[index];
                let positions =
                    Tensor::arange_start(start, start + self.lengths[index], (Kind::Int64, device));
                let visible =
                    AttentionMask::of(&positions.unsqueeze(0), start, start, params.window, q_thd.kind());
                let view = |parts: &[Tensor]| {
                    let x_lkd = Tensor::cat(parts, 0);
                    x_lkd
                        .narrow(0, visible.from, visible.to - visible.from)
                        .unsqueeze(0)
                };
                let (k_1lkd, v_1lkd) = (view(&keys[index]), view(&values[index]));
                let q_1nhd = q_nhd.unsqueeze(0);
                sdpa::attend(&q_1nhd, &k_1lkd, &v_1lkd, visible.mask.as_ref(), params).squeeze_dim(0)
            })
            .collect();
        Tensor::cat(&outputs, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::forget_gradient;
    use crate::shim::generator::with_seed;

    fn branch(length: i64, after: Option<usize>) -> PrefixNode {
        PrefixNode { length, after }
    }

    /// Two sequences with a common prefix that parts twice, a third that ends where they part, and
    /// one by itself.
    fn tree() -> Vec<PrefixNode> {
        vec![
            branch(9, None),
            branch(4, Some(0)),
            branch(1, Some(1)),
            branch(6, Some(1)),
            branch(3, Some(0)),
            branch(7, None),
        ]
    }

    fn random(size: &[i64], kind: Kind, seed: i64) -> Tensor {
        with_seed(seed, || Tensor::randn(size, (Kind::Float, Device::Cpu)))
            .to_kind(kind)
            .set_requires_grad(true)
    }

    /// Result and gradients of the function with its own backward pass equal those of libtorch's
    /// operations under autograd: with many key heads and with few, with and without a window.
    #[test]
    fn attention_of_branches_is_that_of_each_alone() {
        let branches = PrefixTree::new(&tree(), Device::Cpu);
        assert_eq!(
            branches.positions()[9..],
            [
                9, 10, 11, 12, 13, 13, 14, 15, 16, 17, 18, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6
            ]
        );
        let tokens: i64 = tree().iter().map(|branch| branch.length).sum();
        for (kind, limit) in [(Kind::Float, 2e-6), (Kind::BFloat16, 3e-2)] {
            for (kv_heads, window) in [(4, None), (2, None), (1, Some(5))] {
                let params = AttentionParams {
                    window,
                    ..AttentionParams::by_root(16)
                };
                let [q, k, v, seed] = [(4, 1), (kv_heads, 2), (kv_heads, 3), (4, 4)]
                    .map(|(heads, seed)| random(&[tokens, heads, 16], kind, seed));
                let seed = seed.detach();
                let run = |out: Tensor| {
                    (&out * &seed).sum(Kind::Float).backward();
                    let gradients = [&q, &k, &v].map(|x| x.grad().copy());
                    [&q, &k, &v].into_iter().for_each(forget_gradient);
                    (out.detach(), gradients)
                };
                let (out, gradients) = run(branches.attend(&q, &k, &v, params));
                let (want, want_gradients) = run(branches.attend_each(&q, &k, &v, params));
                let apart = |a: &Tensor, b: &Tensor| {
                    let apart = (a.to_kind(Kind::Float) - b.to_kind(Kind::Float)).abs().max();
                    apart.double_value(&[]) / b.abs().max().double_value(&[])
                };
                let pairs = gradients.iter().zip(&want_gradients).chain([(&out, &want)]);
                for (ours, wanted) in pairs {
                    let apart = apart(ours, wanted);
                    assert!(apart <= limit, "{kind:?} {kv_heads} {window:?}: {apart:e}");
                }
            }
        }
    }

    /// On the CPU, the function for GPUs is an error and not a panic.
    #[test]
    fn flash_attention_of_the_cpu_is_an_error() {
        let [q, k, v] = [1, 2, 3].map(|seed| random(&[30, 2, 16], Kind::BFloat16, seed));
        let branches = PrefixTree::new(&tree(), Device::Cpu);
        let ends = branches.ends(Device::Cpu);
        assert_eq!(
            Vec::<i32>::try_from(&ends.keys).unwrap(),
            [0, 9, 22, 36, 55, 67, 74]
        );
        let error = attend_flash(&q, &k, &v, &tree(), &ends, AttentionParams::by_root(16)).unwrap_err();
        assert!(error.to_string().contains("_flash_attention_forward"), "{error}");
        assert!(is_refusal(&error));
        let refusal = |text: &str| is_refusal(&TchError::Torch(text.to_owned()));
        assert!(refusal("FlashAttention only supports Ampere GPUs or newer."));
        assert!(!refusal(
            "CUDA error: misaligned address\nframe #3: at::_ops::_flash_attention_forward"
        ));
    }

    #[test]
    #[should_panic(expected = "branches of 30 tokens in a row of 29")]
    fn a_row_of_another_length_is_refused() {
        let branches = PrefixTree::new(&tree(), Device::Cpu);
        let [q, k, v] = [1, 2, 3].map(|seed| random(&[29, 2, 16], Kind::Float, seed));
        let _ = branches.attend(&q, &k, &v, AttentionParams::by_root(16));
    }
}
