//! `ewe plan`: what a fine-tune needs, from config.json alone.
//!
//! - [`size`]: the model's tensors, as its loader says.
//! - [`block`]: what one block takes, measured.
//! - [`choice`]: what a run is to be like, and what it needs at the moment that takes most.
//! - [`change`]: what to do where it does not fit.
//! - [`gpus`]: what can be rented, and how long it takes there.
//!
//! Sizes are decimal, 1 GB = 10⁹ bytes.

pub mod block;
pub mod change;
pub mod choice;
pub mod dry_run;
pub mod gpus;
pub mod heaviest;
pub mod size;

use super::settings::Settings;
use crate::model::config::Fields;
use crate::model::hub::{self, Want};
use crate::train::optim::lora;
use anyhow::Result;
use block::Block;
use choice::{MemoryEstimate, PlanConfig};
use ewe::cli::models::plan::Args;
use ewe::cli::models::train::{Master, Method, OptimizerKind, Precision, Quantize};
use ewe::text::{counted, noun};
use serde_json::json;
use size::Size;

/// A model that is planned with: its size, and its blocks as they were measured.
pub struct Planner {
    fields: Fields,
    /// Its size.
    pub size: Size,
    blocks: Vec<(PlanConfig, Block)>,
}

impl Planner {
    /// For the model of `fields`.
    pub fn new(fields: Fields) -> Result<Planner> {
        Ok(Planner {
            size: Size::of(&fields)?,
            fields,
            blocks: Vec::new(),
        })
    }

    /// What `choice` needs without the activations of blocks.
    pub fn least(&self, choice: &PlanConfig) -> MemoryEstimate {
        MemoryEstimate::of(&self.size, &Block::default(), choice)
    }

    /// What `choice` needs.
    pub fn need(&mut self, choice: &PlanConfig) -> Result<MemoryEstimate> {
        let alike = |of: &PlanConfig| {
            (of.method, of.precision, of.rank, of.dora)
                == (choice.method, choice.precision, choice.rank, choice.dora)
                && of.targets == choice.targets
                // Of one that wants everything a half-wanted block is not measured.
                && (of.target_tokens < of.tokens) >= (choice.target_tokens < choice.tokens)
        };
        let block = match self.blocks.iter().find(|(of, _)| alike(of)) {
            Some((_, block)) => *block,
            None => {
                let block = Block::measure(&self.fields, choice, self.size.block)?;
                self.blocks.push((choice.clone(), block));
                block
            }
        };
        Ok(MemoryEstimate::of(&self.size, &block, choice))
    }
}

const OFFLOADED: &str = "--update-in-backward --offload";

/// Formats that the table shows, as options and what they mean.
const FORMATS: [(&str, Master, OptimizerKind, bool); 7] = [
    ("--master fp32", Master::Fp32, OptimizerKind::Adamw, false),
    ("(default)", Master::Split, OptimizerKind::Adamw, false),
    (OFFLOADED, Master::Split, OptimizerKind::Adamw, true),
    (
        "--optimizer adamw8bit",
        Master::Split,
        OptimizerKind::Adamw8bit,
        false,
    ),
    (
        "--optimizer adamw8bit --update-in-backward",
        Master::Split,
        OptimizerKind::Adamw8bit,
        true,
    ),
    (
        "--optimizer adamw8bit --master stochastic --update-in-backward",
        Master::Stochastic,
        OptimizerKind::Adamw8bit,
        true,
    ),
    (
        "--optimizer adafactor --master stochastic --update-in-backward",
        Master::Stochastic,
        OptimizerKind::Adafactor,
        true,
    ),
];

/// GPUs have bf16.
fn precision(args: &Args) -> Precision {
    args.formats.precision.unwrap_or(Precision::Bf16)
}

fn choice(args: &Args, method: Method) -> PlanConfig {
    let tokens = u64::from(args.micro_tokens);
    PlanConfig {
        method,
        rank: u64::from(args.lora_rank),
        targets: args.formats.lora_targets.clone(),
        dora: args.formats.dora && method == Method::Lora,
        quantize: args.formats.quantize.filter(|_| method == Method::Lora),
        precision: precision(args),
        master: args.formats.master,
        optimizer: args.formats.optimizer,
        recompute: args.formats.recompute || (args.formats.update_in_backward && method == Method::Full),
        update_in_backward: args.formats.update_in_backward && method == Method::Full,
        offload: args.formats.offload && method == Method::Full,
        tokens,
        // Prompts carry no loss, but may be short.
        target_tokens: args.target_tokens.map_or(tokens, u64::from),
        tokens_beside: 0,
        cut: args.cut,
        gpu: true,
    }
}

/// Runs `ewe plan`; gives the exit code.
pub fn run(args: &Args) -> Result<u8> {
    Settings::check(&args.formats)?;
    args.check()?;
    let path = hub::resolve(&args.model, Want::Config)?;
    let mut planner = Planner::new(size::fields(&path)?)?;
    lora::refuse_unknown(&args.formats.lora_targets, &planner.size.targets())?;
    let methods = args
        .method
        .map_or(vec![Method::Full, Method::Lora], |method| vec![method]);
    let mut needs = Vec::new();
    for &method in &methods {
        needs.push(planner.need(&choice(args, method))?);
    }
    let mut formats = Vec::new();
    if precision(args) == Precision::Bf16 {
        for (options, master, optimizer, within) in FORMATS {
            let full = PlanConfig {
                master,
                optimizer,
                recompute: args.formats.recompute || within,
                update_in_backward: within,
                offload: options == OFFLOADED,
                ..choice(args, Method::Full)
            };
            formats.push((options.to_owned(), planner.need(&full)?));
        }
    }
    for (options, quantize) in [("", None), (" --quantize nf4", Some(Quantize::Nf4))] {
        let lora = PlanConfig {
            quantize,
            ..choice(args, Method::Lora)
        };
        let dora = if args.formats.dora { " --dora" } else { "" };
        let options = format!("--method lora{dora}{options}, rank {}", args.lora_rank);
        formats.push((options, planner.need(&lora)?));
    }
    let mut changes = Vec::new();
    if let Some(memory) = args.memory {
        for need in needs.iter().filter(|need| need.total > memory) {
            changes.push(change::cheapest(&mut planner, &need.choice, memory)?);
        }
    }
    let time = |need: &MemoryEstimate| gpus::times(need, args.tokens, args.utilisation / 100.0);
    if args.json {
        let of = |need: &MemoryEstimate| {
            let mut value = serde_json::to_value(need)?;
            value["fits"] = json!(gpus::smallest(need.total));
            value["fits_memory"] = json!(args.memory.map(|memory| need.total <= memory));
            value["times"] = json!(time(need));
            anyhow::Ok(value)
        };
        let methods = needs.iter().map(of).collect::<Result<Vec<_>>>()?;
        let formats = formats.iter().map(|(options, need)| {
            let mut value = of(need)?;
            value["options"] = json!(options);
            anyhow::Ok(value)
        });
        let formats = formats.collect::<Result<Vec<_>>>()?;
        let changes: Vec<_> = changes
            .iter()
            .flatten()
            .map(|(options, need)| json!({"options": options, "total": need.total}))
            .collect();
        let value =
            json!({"model": planner.size, "methods": methods, "formats": formats, "changes": changes});
        println!("{}", ewe::cli::args::json::pretty(&value)?);
    } else {
        print!("{}", text(args, &planner.size, &needs, &formats, &changes));
    }
    let fits = args
        .memory
        .is_none_or(|memory| needs.iter().any(|need| need.total <= memory));
    Ok(u8::from(!fits))
}

/// A row of the table, as what it takes from a need.
type Kind = fn(&MemoryEstimate) -> u64;

fn text(
    args: &Args,
    size: &Size,
    needs: &[MemoryEstimate],
    formats: &[(String, MemoryEstimate)],
    changes: &[Option<(String, MemoryEstimate)>],
) -> String {
    let mut text = format!(
        "{} with {}: {} parameters, {} of them in linear layers\n\n{:<12}",
        size.family,
        counted(size.layers, "block"),
        grouped(size.parameters),
        grouped(size.linear),
        ""
    );
    let name = |need: &MemoryEstimate| match need.choice.method {
        Method::Full => "full".to_owned(),
        Method::Lora if need.choice.dora => format!("DoRA r{}", need.choice.rank),
        Method::Lora => format!("LoRA r{}", need.choice.rank),
    };
    text.extend(needs.iter().map(|need| format!("{:>12}", name(need))));
    text += "\n";
    let rows: [(&str, Kind); 8] = [
        ("weights", |need| need.bytes.weights),
        ("masters", |need| need.bytes.masters),
        ("moments", |need| need.bytes.states),
        ("gradients", |need| need.bytes.gradients),
        ("activations", |need| need.bytes.activations),
        ("logits", |need| need.bytes.logits),
        ("workspace", |need| need.bytes.workspace),
        ("total", |need| need.total),
    ];
    for (name, of) in rows {
        text += &format!("{name:<12}");
        text.extend(
            needs
                .iter()
                .map(|need| format!("{:>9.1} GB", gigabytes(of(need)))),
        );
        text += "\n";
    }
    text += &format!("{:<12}", "fits");
    text.extend(
        needs
            .iter()
            .map(|need| format!("{:>12}", gpus::smallest_named(need.total))),
    );
    text += &format!(
        "\n\nThis is the moment that takes most, with {} at once (--micro-tokens), {}.\n\n",
        counted(args.micro_tokens, "token"),
        args.target_tokens
            .filter(|&targets| targets < args.micro_tokens)
            .map_or("all of them targets".to_owned(), |targets| format!(
                "{} among them",
                counted(targets, "target")
            )),
    );
    text += &format!(
        "{:<64}{:>12}{:>10}{:>10}{:>12}\n",
        "", "bytes/param", "formats", "total", "fits"
    );
    for (options, need) in formats {
        let formats = need.bytes.formats(need.all_gradients);
        text += &format!(
            "{options:<64}{:>12.1}{:>7.1} GB{:>7.1} GB{:>12}\n",
            formats as f64 / size.parameters as f64,
            gigabytes(formats),
            gigabytes(need.total),
            gpus::smallest_named(need.total)
        );
    }
    text += "\nFormats are weights, masters, moments and gradients; with --update-in-backward gradients are one block's.\n";
    if let Some((_, need)) = formats.iter().find(|(_, need)| need.host > 0) {
        text += &format!(
            "--offload takes {:.1} GB of the machine's own memory besides.\n",
            gigabytes(need.host)
        );
    }
    for need in needs {
        text += &format!(
            "\n{}: {:.2} TFLOP for 1000 tokens. {} {} at {:.0} % of the peak {}",
            name(need),
            need.flops_per_token / 1e9,
            grouped(args.tokens),
            noun(args.tokens, "token"),
            args.utilisation,
            if args.tokens == 1 { "takes" } else { "take" }
        );
        let times = gpus::times(need, args.tokens, args.utilisation / 100.0);
        let shown: Vec<String> = times
            .iter()
            .map(|time| format!("{:.1} min on {}", time.minutes, time.gpu))
            .collect();
        text += &match shown.as_slice() {
            [] => " longer than anyone has: no one GPU holds it".to_owned(),
            shown => format!(" {}", shown.join(", ")),
        };
        text += ".\n";
    }
    if let Some(memory) = args.memory {
        let mut changes = changes.iter();
        for need in needs {
            text += &if need.total <= memory {
                format!("\n{}: fits into {:.1} GB.\n", name(need), gigabytes(memory))
            } else {
                let way = match changes.next() {
                    Some(Some((options, need))) => {
                        format!("`ewe train {options}` does, with {:.1} GB", gigabytes(need.total))
                    }
                    _ => "nothing that ewe has does".to_owned(),
                };
                format!(
                    "\n{}: does not fit into {:.1} GB; {way}.\n",
                    name(need),
                    gigabytes(memory)
                )
            };
        }
    }
    text
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// `6050882784` as `6,050,882,784`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
