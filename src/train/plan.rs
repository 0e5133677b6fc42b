//! `ewe plan`: the memory and time of a fine-tune, from config.json alone.
//!
//! - [`size`]: the sizes of a model, from its loader.
//! - [`block`]: the activations of one block, measured.
//! - [`config`], [`bytes`], [`estimate`]: a fine-tune, and the memory that it needs; computed from
//!   [`tensors`], what exists all the time, and [`phases`], the moments of a step, with
//!   [`attention`] of [`branches`] and [`update`] on a GPU.
//! - [`planner`]: estimates of one model under many configurations.
//! - [`heaviest`]: the micro-batches of a run that need most.
//! - [`change`]: the cheapest change that makes a run fit.
//! - [`rungs`]: formats that take less memory, best first.
//! - [`machine`]: what this machine holds.
//! - [`gpus`], [`run_time`]: GPUs, and the time on each; [`wire`]: what several exchange.
//! - [`report`]: a plan as text and as JSON.
//!
//! Sizes are decimal, 1 GB = 10⁹ bytes.

pub mod attention;
pub mod block;
pub mod branches;
pub mod bytes;
pub mod change;
pub mod config;
pub mod estimate;
pub mod gpus;
pub mod heaviest;
pub mod machine;
pub mod phases;
pub mod planner;
pub mod report;
pub mod run_time;
pub mod rungs;
pub mod size;
pub mod tensors;
pub mod update;
pub mod wire;

use super::settings::Settings;
use crate::model::files::hub::{self, Fetch};
use crate::train::optim::lora;
use anyhow::{Result, bail};
use branches::Branches;
use config::PlanConfig;
use estimate::MemoryEstimate;
use ewe::finetune::{Formats, LoraSettings, Master, Method, OptimizerKind, Precision, Quantize};
use ewe::job::plan::PlanJob;
use ewe::text::counted;
use machine::Here;
use planner::Planner;
use report::PlanReport;

const OFFLOADED: &str = "--update-in-backward --offload";

/// Formats of full fine-tuning that the table shows: options, master, optimizer, and whether it
/// updates in backward.
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

/// Runs `ewe plan`. Returns the exit code.
pub fn run(job: &PlanJob) -> Result<u8> {
    Settings::check_master(job.formats.master)?;
    check_targets(job)?;
    check_parts(job)?;
    let path = hub::resolve(&job.model, Fetch::Config)?;
    let mut planner = Planner::new(size::fields(&path)?)?;
    lora::check_names(&job.lora.targets, &planner.size.targets())?;
    let methods = job
        .method
        .map_or(vec![Method::Full, Method::Lora], |method| vec![method]);
    let configs: Vec<_> = methods
        .into_iter()
        .map(|method| plan_config(job, method))
        .collect();
    let here = Here::all(job, &mut planner, &configs)?;
    let methods = configs
        .iter()
        .map(|config| planner.estimate(config))
        .collect::<Result<Vec<_>>>()?;
    let formats = other_formats(job, &mut planner)?;
    let mut changes = Vec::new();
    if let Some(memory) = job.memory {
        for of in methods.iter().filter(|of| of.total > memory) {
            let chosen = match job.formats_are_given {
                true => None,
                false => machine::chosen(
                    &mut planner,
                    &of.config,
                    machine::place(job, true),
                    (memory, u64::MAX),
                )?,
            };
            changes.push((change::cheapest(&mut planner, &of.config, memory)?, chosen));
        }
    }
    let smallest = match job.shard {
        Some(_) => {
            let method = job.method.unwrap_or(Method::Full);
            smallest_machines(&mut planner, &plan_config(job, method))?
        }
        None => Vec::new(),
    };
    let report = PlanReport {
        job,
        size: &planner.size,
        here,
        methods,
        smallest,
        formats,
        changes,
    };
    if job.json {
        println!("{}", ewe::streams::json::pretty(&report.json()?)?);
    } else {
        // It listens for signals.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let _within = runtime.enter();
        ewe::streams::pager::show(report.text().as_bytes(), false)?;
    }
    Ok(u8::from(!report.fits()))
}

/// Most GPUs that are looked at for a machine that does it.
const MOST_GPUS: u64 = 1024;

/// Returns for each size of GPUs, in gigabytes, the least power of two of them among which the
/// model can be divided; none where no such number does.
fn smallest_machines(planner: &mut Planner, of: &PlanConfig) -> Result<Vec<(u64, u64)>> {
    let mut sizes: Vec<u64> = gpus::GPUS.iter().map(|gpu| gpu.memory).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut found = Vec::new();
    let mut count = 1;
    while count <= MOST_GPUS && !sizes.is_empty() {
        let mut config = of.clone();
        config.parts = count;
        let need = planner.estimate(&config)?.total;
        let holds = |memory: &u64| need <= memory * 1_000_000_000;
        found.extend(sizes.iter().copied().filter(holds).map(|memory| (memory, count)));
        sizes.retain(|memory| !holds(memory));
        count *= 2;
    }
    found.sort_unstable();
    Ok(found)
}

/// Fails if the GPUs cannot be divided as `--shard` says.
fn check_parts(job: &PlanJob) -> Result<()> {
    if !job.ranks().is_multiple_of(job.parts()) {
        bail!(
            "--shard {} cannot divide {} into replicas of {}\nhint: a divisor of --gpus times --nodes, or --shard all",
            job.parts(),
            counted(job.ranks(), "GPU"),
            job.parts()
        );
    }
    Ok(())
}

/// Fails if there are more targets than tokens.
fn check_targets(job: &PlanJob) -> Result<()> {
    match job.target_tokens {
        Some(targets) if targets > job.micro_tokens => bail!(
            "--target-tokens {targets} is more than --micro-tokens {}, of which they are a part\nhint: a larger --micro-tokens",
            job.micro_tokens
        ),
        _ => Ok(()),
    }
}

/// Returns the tokens of a step on one GPU: those of one micro-batch unless there are several, and
/// then at least two.
fn step_tokens(job: &PlanJob) -> u64 {
    let least = job.micro_tokens * if job.cut { 2 } else { 1 };
    job.step_tokens
        .map_or(least, |tokens| tokens.div_ceil(job.ranks()))
}

/// Returns the configuration of `method`.
fn plan_config(job: &PlanJob, method: Method) -> PlanConfig {
    let step_tokens = step_tokens(job);
    let tokens = job.micro_tokens.min(step_tokens);
    let parts = job.parts();
    let mut formats = job.formats.of_method(method);
    formats.recompute |= parts > 1;
    let mut config = PlanConfig {
        method,
        lora: LoraSettings {
            dora: job.lora.dora && method == Method::Lora,
            ..job.lora.clone()
        },
        formats,
        tokens,
        // Prompts have no targets, but may be short.
        target_tokens: job.target_tokens.map_or(tokens, |targets| targets.min(tokens)),
        tokens_beside: 0,
        // What ranks add up is fp32, as the sum of several micro-batches is.
        cut: job.cut || tokens < step_tokens || (job.ranks() > 1 && (parts == 1 || method == Method::Lora)),
        parts,
        gpu: true,
        step_tokens,
        branches: Branches::apart(tokens),
        // NVRTC compiles the kernels for every GPU that libtorch supports.
        fused: true,
    };
    config.place_step();
    config
}

/// Estimates the formats of the second table, each with the options that select it.
fn other_formats(job: &PlanJob, planner: &mut Planner) -> Result<Vec<(String, MemoryEstimate)>> {
    let mut all = Vec::new();
    let is_asked = |method| job.method.is_none_or(|asked| asked == method);
    if job.formats.precision == Precision::Bf16 && is_asked(Method::Full) {
        for (options, master, optimizer, update_in_backward) in FORMATS {
            let full = plan_config(job, Method::Full);
            let formats = Formats {
                master,
                optimizer,
                recompute: full.formats.recompute || update_in_backward,
                update_in_backward,
                offload: options == OFFLOADED,
                ..full.formats
            };
            let mut full = PlanConfig { formats, ..full };
            full.place_step();
            if !full.can_be_divided() {
                continue;
            }
            all.push((options.to_owned(), planner.estimate(&full)?));
        }
    }
    let of_adapters = [("", None), (" --quantize nf4", Some(Quantize::Nf4))];
    for (options, quantize) in of_adapters.into_iter().filter(|_| is_asked(Method::Lora)) {
        let lora = plan_config(job, Method::Lora);
        let formats = Formats {
            quantize,
            ..lora.formats
        };
        let dora = if job.lora.dora { " --dora" } else { "" };
        let options = format!("--method lora{dora}{options}, rank {}", job.lora.rank);
        let lora = PlanConfig { formats, ..lora };
        all.push((options, planner.estimate(&lora)?));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
