//! What a block takes, measured: one block of the model, blank, is computed and differentiated on the CPU, and the allocator counts.
//!
//! What autograd keeps depends on the family, the type, on what is trained, and on libtorch; a formula of it would be a second account
//! of every model file. Nothing but one block is ever touched, so the 6B model takes a gigabyte and a few seconds.

use super::choice::PlanConfig;
use super::size::is_first;
use crate::model::attention::ForwardPass;
use crate::model::config::Fields;
use crate::model::matmul::Hollow;
use crate::model::prefix_tree::PrefixNode;
use crate::model::weights::Weights;
use crate::model::{self, CausalLm};
use crate::shim::memory;
use crate::train::optim::lora::{self, LoraSettings};
use crate::train::settings;
use anyhow::{Context, Result};
use ewe::cli::models::train::Method;
use tch::{Device, Kind, Tensor};

/// Operations that a trial may take: a second or two, of which there are three or five.
const OPERATIONS: u64 = 500_000_000_000;
/// Tokens that are tried at least: attention of a single one is computed in another way.
const LEAST: u64 = 2;

/// Tokens of an example: attention goes example by example, and keeps what is made for each.
const EXAMPLE: i64 = 128;

/// Bytes as a function of the tokens that go through at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Line {
    at_none: f64,
    per_token: f64,
}

impl Line {
    fn through(tried: [i64; 2], [first, second]: [u64; 2]) -> Line {
        let per_token = (second as f64 - first as f64) / (tried[1] - tried[0]) as f64;
        Line {
            at_none: first as f64 - per_token * tried[0] as f64,
            per_token,
        }
    }

    /// At so many tokens.
    pub fn at(&self, tokens: u64) -> u64 {
        (self.at_none + self.per_token * tokens as f64).max(0.0) as u64
    }
}

/// A block's memory, of whatever tells how much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory<T> {
    /// What the forward pass leaves for the backward pass, the block's result included.
    pub kept: T,
    /// What there is at most beyond that, while it is propagated back: its gradients, and whatever comes and goes.
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

/// One block's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    whole: Memory<Line>,
    /// Where half of what comes out of it is wanted.
    half: Memory<Line>,
}

impl Block {
    /// Of any block but the last.
    pub fn at(&self, tokens: u64) -> Memory<u64> {
        self.whole.map(|line| line.at(tokens))
    }

    /// Of the last, which computes only `wanted` of the tokens behind attention.
    pub fn last(&self, tokens: u64, wanted: u64) -> Memory<u64> {
        let unwanted = 1.0 - wanted as f64 / tokens.max(1) as f64;
        let half = self.half.map(|line| line.at(tokens) as f64);
        self.at(tokens).zip(half).map(|(whole, half)| {
            let whole = whole as f64;
            (whole + 2.0 * unwanted * (half - whole)).max(0.0) as u64
        })
    }

    /// Measures the first block of the model of `fields`, which has `numbers` of them, at the choice's tokens, or at as many as take
    /// a second or two each.
    pub fn measure(fields: &Fields, choice: &PlanConfig, numbers: u64) -> Result<Block> {
        let kind = settings::kind(choice.precision);
        // On a GPU nothing is widened, nor is there oneDNN's scratch; and what is not computed is quickly measured.
        let _hollow = choice.gpu.then(Hollow::hold);
        let least = 2 * LEAST;
        let most = (OPERATIONS / (6 * numbers.max(1))).clamp(least, choice.tokens.max(least)) as i64;
        let tried = [most / 2, most];
        let mut blank = Weights::blank(kind);
        let mut model = model::build(fields, &mut blank)?;
        train_first(model.as_mut(), choice);
        // Once in vain: what libraries make once and for all is no part of a block.
        measure(model.as_ref(), kind, tried[0], tried[0])?;
        let line = |part: i64| -> Result<Memory<Line>> {
            let [first, second] = tried.map(|tokens| measure(model.as_ref(), kind, tokens, tokens / part));
            Ok(first?
                .zip(second?)
                .map(|(first, second)| Line::through(tried, [first, second])))
        };
        let whole = line(1)?;
        // Where all of it is wanted, as without a dataset, nobody asks.
        let half = if choice.target_tokens < choice.tokens {
            line(2)?
        } else {
            whole
        };
        Ok(Block { whole, half })
    }
}

/// Makes the first block zero, and switches on the gradients of what is trained of it.
fn train_first(model: &mut dyn CausalLm, choice: &PlanConfig) {
    let first = || model.parameters().into_iter().filter(|(name, _)| is_first(name));
    first().for_each(|(_, mut tensor)| drop(tch::no_grad(|| tensor.fill_(0.0))));
    match choice.method {
        Method::Full => first().for_each(|(_, tensor)| drop(tensor.set_requires_grad(true))),
        Method::Lora => {
            let settings = LoraSettings {
                rank: choice.rank as u32,
                alpha: 1.0,
                targets: choice.targets.clone(),
                dora: choice.dora,
                ..LoraSettings::default()
            };
            let _ = lora::attach_where(model, &settings, 0, Device::Cpu, &is_first);
        }
    }
}

/// Bytes that a block takes which is the last if anything of what comes out of it is not wanted.
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
        // Here and there, as targets are.
        let position_w = Tensor::arange(wanted, (Kind::Int64, Device::Cpu)) * (tokens / wanted);
        pass = pass.wanted_at(0, position_w);
    }
    let hidden = model.info().hidden;
    let x_1td = Tensor::zeros([1, tokens, hidden], (kind, Device::Cpu)).set_requires_grad(true);
    // What a pass makes once for all blocks.
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
    for (name, tensor) in model.parameters() {
        if is_first(&name) {
            crate::shim::forget_gradient(&tensor);
        }
    }
    Ok(Memory {
        kept,
        backward: peak.context(uncounted)?,
    })
}
