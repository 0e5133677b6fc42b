//! The memory of a block's activations, measured: one block of the model, filled with zeros, runs
//! forward and backward on the CPU while the allocator counts.
//!
//! What autograd keeps depends on the family, the types, on what is trained, and on libtorch; a
//! formula would describe every model file a second time. Only one block is ever touched, so the 6B
//! model takes a gigabyte and a few seconds.

use super::config::PlanConfig;
use super::size::is_first;
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::attention::ForwardPass;
use crate::model::layers::matmul::Hollow;
use crate::model::layers::prefix_tree::PrefixNode;
use crate::model::{self, CausalLm};
use crate::shim::memory;
use crate::shim::recorded::Training;
use crate::train::optim::lora;
use crate::train::settings;
use anyhow::{Context, Result};
use ewe::finetune::{LoraSettings, Method};
use tch::{Device, Kind, Tensor};

/// Floating-point operations that one measurement may take: a second or two, and there are three or
/// five.
const OPERATIONS: u64 = 500_000_000_000;
/// Fewest tokens to measure: attention of a single token is computed in another way.
const LEAST: u64 = 2;

/// Tokens per example: attention is computed per example, and keeps tensors for each.
const EXAMPLE: i64 = 128;

/// Bytes as a linear function of the tokens of a micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    fixed: f64,
    per_token: f64,
}

impl Line {
    fn through(token_counts: [i64; 2], [first, second]: [u64; 2]) -> Line {
        let per_token = (second as f64 - first as f64) / (token_counts[1] - token_counts[0]) as f64;
        Line {
            fixed: first as f64 - per_token * token_counts[0] as f64,
            per_token,
        }
    }

    /// Returns the bytes at this many tokens.
    pub fn at(&self, tokens: u64) -> u64 {
        (self.fixed + self.per_token * tokens as f64).max(0.0) as u64
    }
}

/// The memory of a block, in bytes or as a function.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory<T> {
    /// What the forward pass keeps for the backward pass, the block's output included.
    pub kept: T,
    /// Peak beyond that in the backward pass: gradients and temporaries.
    pub backward: T,
}

impl<T> Memory<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Memory<U> {
        Memory {
            kept: f(self.kept),
            backward: f(self.backward),
        }
    }

    fn zip<U>(self, other: Memory<U>) -> Memory<(T, U)> {
        Memory {
            kept: (self.kept, other.kept),
            backward: (self.backward, other.backward),
        }
    }
}

/// The memory of a block as a function of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BlockMemory {
    whole: Memory<Line>,
    /// If half of the output is needed.
    half: Memory<Line>,
}

impl BlockMemory {
    /// Returns the memory of any block but the last.
    pub fn at(&self, tokens: u64) -> Memory<u64> {
        self.whole.map(|line| line.at(tokens))
    }

    /// Returns the memory of the last block, which computes only `wanted` tokens after attention.
    pub fn last(&self, tokens: u64, wanted: u64) -> Memory<u64> {
        let unwanted = 1.0 - wanted as f64 / tokens.max(1) as f64;
        let half = self.half.map(|line| line.at(tokens) as f64);
        self.at(tokens).zip(half).map(|(whole, half)| {
            let whole = whole as f64;
            (whole + 2.0 * unwanted * (half - whole)).max(0.0) as u64
        })
    }

    /// Measures the first block, of `parameters` parameters, of the model of `fields`: at the
    /// tokens of `config`, or at as many as take a second or two each.
    pub fn measure(fields: &ConfigFields, config: &PlanConfig, parameters: u64) -> Result<BlockMemory> {
        let kind = settings::kind(config.formats.precision);
        // On a GPU nothing is widened, and there is no oneDNN scratch; skipping the arithmetic
        // makes the measurement fast.
        let _hollow = config.gpu.then(Hollow::hold);
        // A GPU records each operation of libtorch.
        let _training = (!config.gpu).then(Training::hold);
        let least = 2 * LEAST;
        let most = (OPERATIONS / (6 * parameters.max(1))).clamp(least, config.tokens.max(least)) as i64;
        let token_counts = [most / 2, most];
        let mut blank = Weights::blank(kind);
        let mut model = model::build(fields, &mut blank)?;
        train_first(model.as_mut(), config);
        // A first run that does not count: what libraries allocate once is no part of a block.
        measure(model.as_ref(), kind, token_counts[0], token_counts[0])?;
        let line = |part: i64| -> Result<Memory<Line>> {
            let [first, second] =
                token_counts.map(|tokens| measure(model.as_ref(), kind, tokens, tokens / part));
            Ok(first?
                .zip(second?)
                .map(|(first, second)| Line::through(token_counts, [first, second])))
        };
        let whole = line(1)?;
        // If all tokens are targets, as in a plan without a dataset, this is not needed.
        let half = if config.target_tokens < config.tokens {
            line(2)?
        } else {
            whole
        };
        Ok(BlockMemory { whole, half })
    }
}

/// Sets the first block to zero, and switches on the gradients of what is trained of it.
fn train_first(model: &mut dyn CausalLm, config: &PlanConfig) {
    let first = || model.parameters().into_iter().filter(|(name, _)| is_first(name));
    first().for_each(|(_, mut tensor)| drop(tch::no_grad(|| tensor.fill_(0.0))));
    match config.method {
        Method::Full => first().for_each(|(_, tensor)| drop(tensor.set_requires_grad(true))),
        Method::Lora => {
            let settings = LoraSettings {
                rank: config.lora.rank,
                alpha: 1.0,
                targets: config.lora.targets.clone(),
                dora: config.lora.dora,
                ..LoraSettings::default()
            };
            let _ = lora::attach_where(model, &settings, 0, Device::Cpu, &is_first);
        }
    }
}

/// Measures the bytes of a block; with `wanted` below `tokens`, of a last block.
fn measure(model: &dyn CausalLm, kind: Kind, tokens: i64, wanted: i64) -> Result<Memory<u64>> {
    let uncounted = "this build's allocator does not count, so no memory can be planned";
    let examples: Vec<PrefixNode> = (0..tokens)
        .step_by(EXAMPLE as usize)
        .map(|start| PrefixNode {
            length: EXAMPLE.min(tokens - start),
            after: None,
        })
        .collect();
    let mut pass = ForwardPass::packed(&examples, Device::Cpu);
    if wanted < tokens {
        // At regular positions, as targets are spread.
        let position_w = Tensor::arange(wanted, (Kind::Int64, Device::Cpu)) * (tokens / wanted);
        pass = pass.select_at(0, position_w);
    }
    let hidden = model.info().hidden;
    let x_1td = Tensor::zeros([1, tokens, hidden], (kind, Device::Cpu)).set_requires_grad(true);
    // What a pass allocates once for all blocks.
    tch::no_grad(|| drop(model.block(0, &x_1td, &mut pass)));
    let before = memory::allocated(Device::Cpu).context(uncounted)?;
    let y_1td = model.block(0, &x_1td, &mut pass);
    let kept = memory::allocated(Device::Cpu)
        .context(uncounted)?
        .saturating_sub(before);
    let ((), peak) = memory::peak_of(Device::Cpu, || {
        let gradient_1td = Tensor::zeros_like(&y_1td.detach());
        (&y_1td * &gradient_1td).sum(Kind::Float).backward();
    });
    // All tokens are alike here, and choose the same experts. In a step the others have gradients,
    // too.
    let mut without = 0;
    for (name, tensor) in model.parameters() {
        if is_first(&name) {
            if tensor.requires_grad() && !tensor.grad().defined() {
                without += (tensor.numel() * kind.elt_size_in_bytes()) as u64;
            }
            crate::shim::forget_gradient(&tensor);
        }
    }
    Ok(Memory {
        kept,
        backward: peak.context(uncounted)? + without,
    })
}
