//! The options of a run in `run.toml`, with which `ewe train --config` runs it again.

use super::files;
use crate::train::settings::Settings;
use anyhow::Result;
use ewe::finetune::Precision;
use ewe::job::train::TrainJob;
use ewe::settings::written::RunOptions;
use ewe::text::shell_word;
use std::path::Path;

/// File with the options of a run.
pub const OPTIONS: &str = "run.toml";

/// Returns the options of the job, with what was chosen for those that depend on the model, the
/// rows or the device, so that another version with other defaults repeats the run.
pub fn options(settings: &Settings, job: &TrainJob) -> RunOptions {
    let mut options = job.options.clone();
    if options.is_empty() {
        return options;
    }
    options.add("lr", settings.schedule.peak);
    options.add("warmup-steps", settings.schedule.warmup);
    options.add("max-length", settings.max_length);
    options.add("micro-batch", settings.micro_batch);
    options.add("micro-tokens", settings.micro_tokens);
    match settings.formats.precision {
        Precision::Bf16 => options.add("precision", "bf16"),
        Precision::Fp32 => {
            options.add("precision", "fp32");
            // It has no master, and none could be chosen beside it.
            options.remove("master");
        }
    }
    if job.steps.is_none() {
        options.add("epochs", job.epochs.unwrap_or(1));
    }
    if let (Some(lora), None) = (&settings.lora, &job.adapter) {
        options.add("lora-rank", lora.rank);
        options.add("lora-alpha", lora.alpha);
    }
    options
}

/// Writes the options of the run in `out`, with the command that runs it again.
pub fn write(options: &RunOptions, out: &Path) -> Result<()> {
    let (file, other) = (out.join(OPTIONS), out.with_added_extension("again"));
    let again = format!(
        "    ewe train --config {} --out {}",
        shell_word(&file),
        shell_word(&other)
    );
    let version = env!("CARGO_PKG_VERSION");
    let remarks = [
        format!("The options of a run of ewe {version}. The same run once more:"),
        again.replace('\n', " "),
    ];
    files::write(&file, options.to_toml("train", &remarks).as_bytes())
}
