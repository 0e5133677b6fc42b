//! The cheapest change to a run that makes it fit.

use super::Planner;
use super::choice::{MemoryEstimate, PlanConfig};
use anyhow::Result;
use ewe::cli::models::train::{Master, Method, OptimizerKind, Precision, Quantize};

/// Least tokens at once that are suggested: fewer leave a GPU idle.
const LEAST_TOKENS: u64 = 256;

/// What a change costs, in parts of the run's time or what people would give for its quality. Only the order matters.
mod cost {
    pub const HALF_THE_TOKENS: f64 = 0.05;
    pub const BF16: f64 = 0.02;
    pub const SPLIT: f64 = 0.0;
    pub const MOMENTS_IN_8_BITS: f64 = 0.08;
    pub const RECOMPUTE: f64 = 0.33;
    pub const STOCHASTIC: f64 = 0.6;
    pub const ADAFACTOR: f64 = 1.0;
    pub const OFFLOAD: f64 = 2.0;
    pub const LORA: f64 = 3.0;
    pub const QUANTIZE: f64 = 0.7;
}

/// The options of the cheapest change to `choice` that needs at most `memory` bytes, and what it needs then. None where nothing helps.
pub fn cheapest(
    planner: &mut Planner,
    choice: &PlanConfig,
    memory: u64,
) -> Result<Option<(String, MemoryEstimate)>> {
    let mut best: Option<(f64, String, MemoryEstimate)> = None;
    for (cost, options, other) in changes(choice) {
        if best.as_ref().is_some_and(|(least, ..)| *least <= cost) {
            continue;
        }
        let need = planner.need(&other)?;
        if need.total <= memory {
            best = Some((cost, options, need));
        }
    }
    Ok(best.map(|(_, options, need)| (options, need)))
}

/// Every change: its cost, its options, and what it leads to.
fn changes(choice: &PlanConfig) -> Vec<(f64, String, PlanConfig)> {
    let mut all = vec![(0.0, String::new(), choice.clone())];
    let add = |all: &mut Vec<(f64, String, PlanConfig)>,
               cost: f64,
               options: &str,
               change: &dyn Fn(&mut PlanConfig) -> bool| {
        for (before, told, of) in all.clone() {
            let mut other = of;
            if change(&mut other) {
                let told = format!("{told} {options}").trim().to_owned();
                all.push((before + cost, told, other));
            }
        }
    };
    let full = |of: &PlanConfig| of.method == Method::Full;
    if choice.precision == Precision::Fp32 {
        add(&mut all, cost::BF16, "--precision bf16", &|of| {
            of.precision = Precision::Bf16;
            true
        });
    }
    if choice.master == Master::Fp32 {
        add(&mut all, cost::SPLIT, "--master split", &|of| {
            of.master = Master::Split;
            full(of)
        });
    }
    add(
        &mut all,
        cost::MOMENTS_IN_8_BITS,
        "--optimizer adamw8bit",
        &|of| {
            let changes = of.optimizer == OptimizerKind::Adamw;
            of.optimizer = OptimizerKind::Adamw8bit;
            changes && full(of)
        },
    );
    add(&mut all, cost::ADAFACTOR, "--optimizer adafactor", &|of| {
        let changes = of.optimizer == choice.optimizer && of.optimizer != OptimizerKind::Adafactor;
        of.optimizer = OptimizerKind::Adafactor;
        changes && full(of)
    });
    add(&mut all, cost::STOCHASTIC, "--master stochastic", &|of| {
        let changes = of.master != Master::Stochastic && of.precision == Precision::Bf16;
        of.master = Master::Stochastic;
        changes && full(of)
    });
    if choice.gpu && !choice.offload {
        add(&mut all, cost::OFFLOAD, "--offload", &|of| {
            of.offload = true;
            full(of)
        });
    }
    if !choice.recompute {
        add(&mut all, cost::RECOMPUTE, "--recompute", &|of| {
            of.recompute = true;
            true
        });
    }
    if !choice.update_in_backward {
        // It computes again what --recompute does, and without clipping no more than that.
        add(
            &mut all,
            1.2 * cost::RECOMPUTE,
            "--update-in-backward --clip 0",
            &|of| {
                let changes = full(of) && of.recompute == choice.recompute;
                (of.recompute, of.update_in_backward) = (true, true);
                changes
            },
        );
    }
    if full(choice) {
        let lora = PlanConfig {
            method: Method::Lora,
            rank: choice.rank.max(16),
            update_in_backward: false,
            offload: false,
            recompute: false,
            ..choice.clone()
        };
        all.push((cost::LORA, "--method lora".to_owned(), lora.clone()));
        let recompute = PlanConfig {
            recompute: true,
            ..lora
        };
        all.push((
            cost::LORA + cost::RECOMPUTE,
            "--method lora --recompute".to_owned(),
            recompute,
        ));
    }
    let adapters: Vec<_> = all
        .iter()
        .filter(|(.., of)| of.method == Method::Lora && of.quantize.is_none())
        .cloned()
        .collect();
    all.extend(adapters.into_iter().map(|(before, told, of)| {
        let told = format!("{told} --quantize nf4").trim().to_owned();
        let quantize = Some(Quantize::Nf4);
        (before + cost::QUANTIZE, told, PlanConfig { quantize, ..of })
    }));
    let mut halves = 0.0;
    let mut tokens = choice.tokens / 2;
    let whole = all.clone();
    while tokens >= LEAST_TOKENS {
        halves += cost::HALF_THE_TOKENS;
        for (before, told, of) in &whole {
            let told = format!("{told} --micro-tokens {tokens}").trim().to_owned();
            let other = PlanConfig {
                tokens,
                target_tokens: of.target_tokens.min(tokens),
                ..of.clone()
            };
            all.push((before + halves, told, other));
        }
        tokens /= 2;
    }
    all
}
