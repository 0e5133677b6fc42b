//! The cheapest change to a run that makes it fit.

use super::config::PlanConfig;
use super::estimate::MemoryEstimate;
use super::planner::Planner;
use crate::train::optim::registry;
use anyhow::Result;
use clap::ValueEnum;
use ewe::finetune::{Formats, LORA_RANK, LoraSettings, Master, Method, Precision, Quantize};

/// Fewest tokens per micro-batch to advise: fewer leave a GPU idle.
const LEAST_TOKENS: u64 = 256;

/// Costs of changes, as a share of the run's time or what people would give for its quality. Only
/// their order matters. Those of optimizers are in [`registry`].
mod cost {
    pub const HALF_THE_TOKENS: f64 = 0.05;
    pub const BF16: f64 = 0.02;
    pub const SPLIT: f64 = 0.0;
    pub const RECOMPUTE: f64 = 0.33;
    pub const STOCHASTIC: f64 = 0.6;
    pub const OFFLOAD: f64 = 2.0;
    pub const LORA: f64 = 3.0;
    pub const QUANTIZE: f64 = 0.7;
}

/// A run with other options than were asked for.
#[derive(Clone)]
struct Change {
    cost: f64,
    /// The options that make the change; empty for none.
    options: String,
    config: PlanConfig,
}

impl Change {
    /// Returns this change followed by another.
    fn and(&self, cost: f64, options: &str, config: PlanConfig) -> Change {
        Change {
            cost: self.cost + cost,
            options: format!("{} {options}", self.options).trim().to_owned(),
            config,
        }
    }
}

/// Returns the options of the cheapest change to `config` that needs at most `memory` bytes, and
/// the estimate with it; none if no change suffices.
pub fn cheapest(
    planner: &mut Planner,
    config: &PlanConfig,
    memory: u64,
) -> Result<Option<(String, MemoryEstimate)>> {
    let mut best: Option<(f64, String, MemoryEstimate)> = None;
    for change in changes(config) {
        if best.as_ref().is_some_and(|(least, ..)| *least <= change.cost) || !change.config.can_be_divided() {
            continue;
        }
        let estimate = planner.estimate(&change.config)?;
        if estimate.total <= memory {
            best = Some((change.cost, change.options, estimate));
        }
    }
    Ok(best.map(|(_, options, estimate)| (options, estimate)))
}

/// Returns all changes to `asked`, and their combinations.
fn changes(asked: &PlanConfig) -> Vec<Change> {
    let mut all = vec![Change {
        cost: 0.0,
        options: String::new(),
        config: asked.clone(),
    }];
    change_formats(&mut all, asked);
    change_strategies(&mut all, asked);
    if asked.is_full() {
        all.extend(adapters(asked));
    }
    quantize(&mut all);
    halve_tokens(&mut all, asked.tokens);
    all
}

/// Adds every known change combined with one more option. `apply` makes it, and returns whether it
/// makes sense.
fn add(all: &mut Vec<Change>, cost: f64, options: &str, apply: impl Fn(&mut PlanConfig) -> bool) {
    for before in all.clone() {
        let mut config = before.config.clone();
        if apply(&mut config) {
            config.place_step();
            all.push(before.and(cost, options, config));
        }
    }
}

/// Adds more compact number formats.
fn change_formats(all: &mut Vec<Change>, asked: &PlanConfig) {
    let asked = asked.formats;
    if asked.precision == Precision::Fp32 {
        add(all, cost::BF16, "--precision bf16", |config| {
            config.formats.precision = Precision::Bf16;
            true
        });
    }
    if asked.master == Master::Fp32 {
        add(all, cost::SPLIT, "--master split", |config| {
            config.formats.master = Master::Split;
            config.is_full()
        });
    }
    for optimizer in registry::smaller(asked.optimizer) {
        let value = optimizer.kind.to_possible_value();
        let value = value.expect("no optimizer is skipped");
        let options = format!("--optimizer {}", value.get_name());
        add(all, optimizer.cost, &options, |config| {
            let changes = config.formats.optimizer == asked.optimizer;
            config.formats.optimizer = optimizer.kind;
            changes && config.is_full()
        });
    }
    add(all, cost::STOCHASTIC, "--master stochastic", |config| {
        let changes = config.formats.master != Master::Stochastic && config.is_bf16();
        config.formats.master = Master::Stochastic;
        changes && config.is_full()
    });
}

/// Adds memory strategies.
fn change_strategies(all: &mut Vec<Change>, asked: &PlanConfig) {
    let formats = asked.formats;
    if asked.gpu && !formats.offload {
        add(all, cost::OFFLOAD, "--offload", |config| {
            config.formats.offload = true;
            config.is_full()
        });
    }
    if !formats.recompute {
        add(all, cost::RECOMPUTE, "--recompute", |config| {
            config.formats.recompute = true;
            true
        });
    }
    if !formats.update_in_backward {
        // It recomputes as --recompute does, and without clipping no more than that. With --clip,
        // which is 1 unless it is set, everything would be computed twice.
        let cost = 1.2 * cost::RECOMPUTE;
        add(all, cost, "--update-in-backward --clip 0", |config| {
            let changes = config.is_full() && config.formats.recompute == formats.recompute;
            (config.formats.recompute, config.formats.update_in_backward) = (true, true);
            changes
        });
    }
}

/// Returns an adapter in place of full fine-tuning, with and without recomputing.
fn adapters(asked: &PlanConfig) -> [Change; 2] {
    let adapter = |cost: f64, options: &str, recompute: bool| Change {
        cost,
        options: options.to_owned(),
        config: PlanConfig {
            method: Method::Lora,
            parts: 1,
            lora: LoraSettings {
                rank: asked.lora.rank.max(LORA_RANK),
                ..asked.lora.clone()
            },
            formats: Formats {
                recompute,
                update_in_backward: false,
                offload: false,
                ..asked.formats
            },
            tokens_beside: 0,
            ..asked.clone()
        },
    };
    [
        adapter(cost::LORA, "--method lora", false),
        adapter(cost::LORA + cost::RECOMPUTE, "--method lora --recompute", true),
    ]
}

/// Adds a quantized base to all adapters.
fn quantize(all: &mut Vec<Change>) {
    for before in all.clone() {
        let mut config = before.config.clone();
        if config.method == Method::Lora && config.formats.quantize.is_none() {
            config.formats.quantize = Some(Quantize::Nf4);
            all.push(before.and(cost::QUANTIZE, "--quantize nf4", config));
        }
    }
}

/// Adds smaller micro-batches, of half of `tokens`, a quarter, and so on.
fn halve_tokens(all: &mut Vec<Change>, tokens: u64) {
    let whole = all.clone();
    let (mut tokens, mut cost) = (tokens / 2, 0.0);
    while tokens >= LEAST_TOKENS {
        cost += cost::HALF_THE_TOKENS;
        for before in &whole {
            let config = before.config.with_tokens(tokens);
            all.push(before.and(cost, &format!("--micro-tokens {tokens}"), config));
        }
        tokens /= 2;
    }
}
