//! Settings of a training run, resolved once from the job, the model and the rows.

use crate::model::device::has_bf16;
use crate::model::files::weights::Form;
use crate::train::data::micro_batch::{BatchSampler, MicroBatchLimits};
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::optim::schedule::Schedule;
use anyhow::{Result, bail};
use ewe::finetune::{
    AnswerLoss, EVAL_FRACTION, Formats, LoraSettings, Master, Method, Precision, Quantize, RowOrder,
};
use ewe::job::train::TrainJob;
use ewe::prompt::template::{Template, TemplateChoice};
use ewe::reasoning::ReasoningChoice;
use ewe::text::counted;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Kind};

/// Everything that decides what a run computes. Stored with each checkpoint: a resumed run must
/// have the same settings. The order of the fields is their order in `run.json` and `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Which weights are trained.
    pub method: Method,
    /// Hyperparameters of the adapter, none for full fine-tuning.
    pub lora: Option<LoraSettings>,
    /// Template that lays out the rows.
    pub template: Template,
    /// Text of a template given as a file; it is then the chat template.
    pub template_text: Option<String>,
    /// Which answers of a conversation are targets.
    #[serde(default)]
    pub loss: AnswerLoss,
    /// What becomes of the reasoning of answers.
    #[serde(default)]
    pub reasoning: ReasoningChoice,
    /// Most tokens of an example.
    pub max_length: usize,
    /// Share of the tasks that is held out.
    pub eval_fraction: f64,
    /// Examples per optimizer step.
    pub batch_size: usize,
    /// Order of the rows.
    pub order: RowOrder,
    /// Seed of everything random.
    pub seed: u64,
    /// Most examples per micro-batch.
    pub micro_batch: usize,
    /// Most tokens per micro-batch.
    pub micro_tokens: usize,
    /// Number formats and memory strategies.
    #[serde(flatten)]
    pub formats: Formats,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0 does not clip.
    pub clip: f64,
    /// Strength of the noise on embeddings; none for no noise.
    #[serde(default)]
    pub neftune: Option<f64>,
    /// Threshold of the loss-spike guard, in standard deviations; 0 skips only steps that are not
    /// finite.
    pub guard: f64,
    /// Steps between evaluations; 0 evaluates at the end of each epoch.
    pub eval_every: u64,
    /// Evaluations without improvement that end the run; 0 for no limit.
    pub early_stop: u32,
    /// Whether the best checkpoint is kept and becomes the result.
    pub keep_best: bool,
    /// Learning rate of each step, and the number of steps.
    pub schedule: Schedule,
}

/// Default warm-up, as a share of all steps.
const WARMUP_SHARE: f64 = 0.03;
/// Default limit of an example: four times the longest answer of the published instruction sets.
const MAX_LENGTH: usize = 2048;
/// Default tokens per micro-batch: about a step of eight examples, so that most steps are one
/// micro-batch, whose gradients need no sum in fp32. Half as many are 5 % slower on a CPU, and a 6B
/// model on a GPU has room for these. There, [`super::fit::gpu_micro_tokens`] chooses.
const MICRO_TOKENS: u32 = 2048;

/// Returns the tensor type that a precision computes in.
pub fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp32 => Kind::Float,
    }
}

impl Settings {
    /// Fails if bf16 weights were to be updated without a master and rounded to nearest.
    pub fn check_master(master: Master) -> Result<()> {
        if master == Master::Bf16 {
            bail!(
                "--master bf16 is refused: bf16 has 8 bits, so that an update of less than 1/512 of a weight is rounded away, which at a \
                 rate of 1e-5 are most of them\nhint: --master stochastic takes as little memory and loses nothing on average; \
                 --master split loses nothing at all"
            );
        }
        Ok(())
    }

    /// Fails if the rows hold finished prompts and the template would wrap them again.
    pub fn check_template(choice: Option<&TemplateChoice>, rows_are_completions: bool) -> Result<()> {
        let told = match choice {
            Some(TemplateChoice::Known(Template::Completion)) | None => return Ok(()),
            Some(TemplateChoice::Known(template)) => template.to_string(),
            Some(TemplateChoice::File(path)) => path.display().to_string(),
        };
        if rows_are_completions {
            bail!(
                "the rows hold finished prompts, which the template {told} would wrap once more\nhint: --template \
                 completion, or rows of instruction, input and output"
            );
        }
        Ok(())
    }

    /// Returns the most tokens of an example: as given, or the default within the model's context.
    /// Fails if more than the context was given.
    pub fn max_length(given: Option<u32>, context: usize) -> Result<usize> {
        match given.map(|length| length as usize) {
            Some(length) if length > context => {
                bail!(
                    "--max-length {length} is beyond the model's context of {}",
                    counted(context, "token")
                )
            }
            length => Ok(length.unwrap_or(MAX_LENGTH.min(context))),
        }
    }

    /// Returns the precision to compute in: as given, or as `before` in a resumed run, or bf16 if
    /// `device` has it. A master other than the default implies bf16, since fp32 has none.
    pub fn precision(job: &TrainJob, before: Option<Precision>, device: Device) -> Precision {
        let natural = if has_bf16(device) || job.formats.master != Master::Split {
            Precision::Bf16
        } else {
            Precision::Fp32
        };
        job.precision.or(before).unwrap_or(natural)
    }

    /// Resolves all settings, once the number of training `examples` is known. `adapter` has the
    /// settings of the adapter that the run continues, if there is one.
    pub fn resolve(
        job: &TrainJob,
        precision: Precision,
        template: Template,
        max_length: usize,
        examples: usize,
        adapter: Option<LoraSettings>,
    ) -> Settings {
        let lora = (job.method == Method::Lora).then(|| adapter.unwrap_or_else(|| job.lora.clone()));
        let sampler = BatchSampler {
            batch_size: job.batch_size as usize,
            order: job.order,
            seed: job.seed,
        };
        let epochs = u64::from(job.epochs.unwrap_or(1));
        let total = job.steps.unwrap_or(epochs * sampler.steps_per_epoch(examples));
        let peak = job.lr.unwrap_or(match job.method {
            Method::Lora => 2e-4,
            Method::Full => 2e-5,
        });
        let warmup = job.warmup_steps.unwrap_or((total as f64 * WARMUP_SHARE) as u64);
        Settings {
            method: job.method,
            lora,
            template,
            template_text: None,
            loss: job.loss,
            reasoning: job.reasoning,
            max_length,
            eval_fraction: job.eval_fraction.unwrap_or(EVAL_FRACTION),
            batch_size: sampler.batch_size,
            order: job.order,
            seed: job.seed,
            micro_batch: job.micro_batch.unwrap_or(job.batch_size) as usize,
            micro_tokens: job.micro_tokens.unwrap_or(MICRO_TOKENS) as usize,
            formats: Formats {
                precision,
                ..job.formats.of_method(job.method)
            },
            weight_decay: job.weight_decay,
            clip: job.clip,
            neftune: job.neftune,
            guard: job.guard,
            eval_every: job.eval_every.unwrap_or(0),
            early_stop: job.early_stop.unwrap_or(0),
            keep_best: job.keep_best || job.early_stop.is_some(),
            schedule: Schedule {
                kind: job.schedule,
                peak,
                warmup,
                total,
            },
        }
    }

    /// Returns the storage format of the base's linear layers.
    pub fn form(&self) -> Form {
        match self.formats.quantize {
            Some(Quantize::Nf4) => Form::Quantized,
            None => Form::Plain,
        }
    }

    /// Returns the settings of the optimizer.
    pub fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            formats: self.formats,
            weight_decay: self.weight_decay,
            seed: self.seed,
        }
    }

    /// Returns the sampler that decides which examples form a step.
    pub fn sampler(&self) -> BatchSampler {
        BatchSampler {
            batch_size: self.batch_size,
            order: self.order,
            seed: self.seed,
        }
    }

    /// Returns the limits of a micro-batch.
    pub fn limits(&self) -> MicroBatchLimits {
        MicroBatchLimits {
            examples: self.micro_batch,
            positions: self.micro_tokens,
        }
    }

    /// Fails if a setting differs from those `saved` with a checkpoint, and names all that do.
    pub fn same_as(&self, saved: &Settings) -> Result<()> {
        self.agree(
            saved,
            |_| true,
            "give the same ones, continue with these by --allow-changes, or use another --out",
        )
    }

    /// Fails if a checkpoint with `saved` settings holds other tensors than a run with these.
    pub fn trains_as(&self, saved: &Settings) -> Result<()> {
        let decisive = ["method", "lora", "quantize", "precision", "master", "optimizer"];
        self.agree(
            saved,
            |name| decisive.contains(&name),
            "--allow-changes cannot change these; start over with another --out",
        )
    }

    fn agree(&self, saved: &Settings, matters: impl Fn(&str) -> bool, hint: &str) -> Result<()> {
        let differing = self.differing(saved, matters)?;
        if !differing.is_empty() {
            bail!(
                "the run to resume was started with other settings:{}\nhint: {hint}",
                differing.concat()
            );
        }
        Ok(())
    }

    /// Returns a line for each setting that matters and differs from `saved`: it begins with a line
    /// break and names the option.
    pub fn differing(&self, saved: &Settings, matters: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let (ours, theirs) = (serde_json::to_value(self)?, serde_json::to_value(saved)?);
        let (ours, theirs) = (leaves(&ours), leaves(&theirs));
        let mut lines = Vec::new();
        for (name, value) in &ours {
            let before = theirs.iter().find(|(other, _)| other == name);
            let before = before.map_or(&Value::Null, |(_, value)| *value);
            let whole = name.split('.').next().unwrap_or_default();
            if before != *value && matters(whole) {
                lines.push(format!(
                    "\n  {}: {} then, {} now",
                    option(name),
                    short(before),
                    short(value)
                ));
            }
        }
        Ok(lines)
    }

    /// Fails if an option needs evaluations and there are no rows for them. `own` says whether
    /// these are rows of their own: held-out tasks, or a file.
    pub fn check_held_out(job: &TrainJob, held_out: usize, own: bool) -> Result<()> {
        let wanted = [
            (job.keep_best, "--keep-best"),
            (job.early_stop.is_some(), "--early-stop"),
            (job.eval_every.is_some(), "--eval-every"),
        ];
        match wanted.into_iter().find(|(given, _)| *given) {
            Some((_, option)) if held_out == 0 && own => {
                bail!(
                    "{option} needs something to evaluate on, and there is no such row\nhint: leave {option} away"
                )
            }
            Some((_, option)) if held_out == 0 => bail!(
                "{option} needs something held out, and --eval-fraction {} of these rows is none\nhint: a larger --eval-fraction, or leave \
                 {option} away",
                job.eval_fraction.unwrap_or(EVAL_FRACTION)
            ),
            _ => Ok(()),
        }
    }
}

/// Returns all values of `settings` that are no objects, by name: `clip`, `schedule.peak`.
fn leaves(settings: &Value) -> Vec<(String, &Value)> {
    let mut leaves = Vec::new();
    for (name, value) in settings.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(within) => leaves.extend(
                within
                    .iter()
                    .map(|(part, value)| (format!("{name}.{part}"), value)),
            ),
            // Null without an adapter; `method` differs then.
            None if name == "lora" => {}
            None => leaves.push((name.clone(), value)),
        }
    }
    leaves
}

/// Returns the option that sets `name`.
fn option(name: &str) -> String {
    match name {
        "lora.dora" => "--dora".to_owned(),
        "lora.from" => "--adapter".to_owned(),
        "template_text" => "--template".to_owned(),
        "schedule.kind" => "--schedule".to_owned(),
        "schedule.peak" => "--lr".to_owned(),
        "schedule.warmup" => "--warmup-steps".to_owned(),
        "schedule.total" => "--steps".to_owned(),
        name => format!("--{}", name.replace(['_', '.'], "-")),
    }
}

/// Returns the beginning of a value, since a template can be a page long.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Returns a warning if the warm-up lasts as long as the run.
pub fn warn_of_idle_schedule(schedule: &Schedule) -> Option<String> {
    (schedule.warmup >= schedule.total).then(|| {
        format!(
            "warm-up takes {} of {}: the peak rate is never reached",
            schedule.warmup,
            counted(schedule.total, "step")
        )
    })
}

#[cfg(test)]
pub mod tests;
