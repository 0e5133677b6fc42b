//! Everything before the first step: reads and encodes the rows, loads the model, and restores the
//! last checkpoint.

use super::chosen::{choose_formats, choose_micro_tokens};
use super::conclusion::HeldOutCurve;
use super::fit::{Heaviest, OfRanks, Room, refuse_what_cannot_fit};
use super::load::{Loaded, allocated, divided_trainer, trainer, weights_are_small};
use super::say;
use super::settings::{Settings, warn_of_idle_schedule};
use super::trainer::Trainer;
use crate::distributed::group::Ranks;
use crate::model::files::config::ConfigFields;
use crate::model::files::fingerprint::fingerprint;
use crate::model::files::hub::{self, Fetch};
use crate::model::files::weights::Form;
use crate::model::text::token_bytes::TokenBytes;
use crate::model::text::tokenizer::Tokenizer;
use crate::model::{self, ModelInfo};
use crate::train::data::dataset::{self, Encoded, Example, Layout, LeftOut};
use crate::train::data::row_template::RowTemplate;
use crate::train::data::source::Source;
use crate::train::optim::lora;
use crate::train::out::checkpoint::{Checkpoints, KeptSteps, State};
use crate::train::out::saved_template::SavedTemplate;
use anyhow::{Context, Result, bail};
use ewe::finetune::{EVAL_FRACTION, Formats, Precision};
use ewe::job::train::TrainJob;
use ewe::program::about;
use ewe::prompt::template::Template;
use ewe::text::{chosen, counted};
use std::path::PathBuf;
use tch::{Device, Kind};

/// Rows left out that are listed on the terminal; the file lists all.
const LISTED: usize = 5;

/// A run that can begin.
pub struct Run {
    /// Rows, and the dataset that records the run.
    pub source: Source,
    /// Directory of the base model.
    pub base: PathBuf,
    /// The rows, encoded.
    pub encoded: Encoded,
    /// Settings of the run.
    pub settings: Settings,
    /// Template that is saved with the result.
    pub saved_template: SavedTemplate,
    /// State of a checkpoint after no step.
    pub state: State,
    /// The model after `done` steps.
    pub trainer: Trainer,
    /// Type that the model computes in.
    pub kind: Kind,
    /// Device of the model.
    pub device: Device,
    /// Checkpoints of the run.
    pub checkpoints: Checkpoints,
    /// Bytes allocated before the weights, by rows and tokenizer.
    pub before_weights: u64,
    /// The micro-batch that needs most memory.
    pub heaviest: Option<Heaviest>,
    /// Steps done.
    pub done: u64,
    /// Whether the rows are those of the steps done.
    pub has_same_rows: bool,
    /// The evaluations so far.
    pub curve: HeldOutCurve,
    /// This process among those that train together.
    pub ranks: Ranks,
}

/// Reads rows, model and, to resume, the last checkpoint. Fails if anything keeps the run from
/// beginning, and writes nothing.
pub fn prepare(job: &TrainJob, mut ranks: Ranks, quiet: bool) -> Result<Run> {
    // Reading, encoding and loading take as long as they take.
    ranks.set_alone(true);
    let source = Source::open(job, quiet)?;
    Settings::check_template(job.template.as_ref(), source.rows.are_completions)?;
    let base = Base::open(job, quiet)?;
    let (early, tokenizer) = base.read_early(job)?;
    let rows = EncodedRows::of(job, &source, &base.info, tokenizer, quiet)?;
    let of_ranks = OfRanks {
        device: base.device,
        ranks: ranks.size,
        parts: ranks.division().map_or(1, |of| of.parts),
    };
    let mut settings = resolve_settings(job, &base, &rows, quiet)?;
    fit_settings(
        job,
        &base,
        (&rows.encoded.train, of_ranks),
        &mut settings,
        &ranks,
        quiet,
    )?;
    let device = base.device;
    let heaviest = Heaviest::find(
        base.fields,
        &settings,
        &rows.encoded.train,
        of_ranks,
        job.dry_run || of_ranks.parts > 1,
    )?;
    let estimate = heaviest.as_ref().and_then(|of| of.estimate.as_ref());
    if let (Some(estimate), false) = (estimate, job.ignore_plan) {
        refuse_what_cannot_fit(estimate, Room::of(device, ranks.here))?;
    }
    let (mut trainer, kind, before_weights) = match ranks.division() {
        Some(division) => divided_trainer(job, &settings, &base.dir, (device, base.precision), division)?,
        None => {
            let loaded = match early {
                Some(loaded) => loaded,
                None => Loaded::read(&base.dir, device, base.precision, settings.form())?,
            };
            let (kind, before) = (loaded.kind, allocated(device).saturating_sub(loaded.bytes));
            (trainer(job, &settings, &base.dir, loaded, device)?, kind, before)
        }
    };
    let model = fingerprint(&base.dir, None, kind)?;
    let mut state = State::new(0, &rows.encoded.fingerprint(), &model, &settings);
    let saved_rows = base.last.as_ref().map(|(_, saved)| saved.dataset.clone());
    let done = match job.resume {
        true => resume(job, base.last, &mut state, &mut trainer, quiet)?,
        false => 0,
    };
    ranks.set_alone(false);
    agree(&ranks, &state, done)?;
    exchange_on(&mut ranks, device, quiet)?;
    let kept = KeptSteps {
        parts: job.keep_checkpoints,
        total: settings.schedule.total,
    };
    Ok(Run {
        source,
        base: base.dir,
        encoded: rows.encoded,
        settings,
        saved_template: rows.saved_template,
        trainer,
        kind,
        device,
        checkpoints: base.checkpoints.keeping(kept),
        before_weights,
        heaviest,
        done,
        has_same_rows: saved_rows.is_none_or(|saved| saved == state.dataset),
        state,
        curve: HeldOutCurve::default(),
        ranks,
    })
}

/// Reads and encodes the rows of a run, and no weights. Returns them with the bytes of tokens.
///
/// # Errors
///
/// When rows, tokenizer or template cannot be used.
pub fn only_rows(job: &TrainJob, quiet: bool) -> Result<(Encoded, TokenBytes)> {
    let source = Source::open(job, quiet)?;
    Settings::check_template(job.template.as_ref(), source.rows.are_completions)?;
    let dir = hub::resolve(&job.model, Fetch::Model)?;
    let info = model::info(&model::fields(&dir)?)?;
    let tokenizer = Tokenizer::read(&dir)?.belongs_to(&info)?;
    let bytes = TokenBytes::of(&tokenizer);
    Ok((
        EncodedRows::of(job, &source, &info, tokenizer, quiet)?.encoded,
        bytes,
    ))
}

/// Has ranks exchange what is on GPUs there, and warns where they cannot.
fn exchange_on(ranks: &mut Ranks, device: Device, quiet: bool) -> Result<()> {
    ranks.exchange_on(device)?;
    if ranks.has_others() && ranks.exchanges_on(device) != device {
        say(
            quiet,
            "warning: ranks exchange by Gloo, through host memory, which is slow: not all of them have libnccl.so.2, or EWE_NCCL is 0",
        );
    }
    Ok(())
}

/// Sets what a run chooses by the memory that is free. A resumed run keeps its settings: less may
/// be free now.
fn fit_settings(
    job: &TrainJob,
    base: &Base,
    examples: (&[Example], OfRanks),
    settings: &mut Settings,
    ranks: &Ranks,
    quiet: bool,
) -> Result<()> {
    match &base.last {
        Some((_, saved)) if base.device.is_cuda() && job.micro_tokens.is_none() => {
            settings.micro_tokens = saved.settings.micro_tokens;
        }
        Some(_) => {}
        None => {
            choose_formats(job, &base.dir, examples, settings, ranks, quiet)?;
            choose_micro_tokens(job, &base.dir, examples, settings)?;
        }
    }
    // Free memory may differ from GPU to GPU.
    settings.micro_tokens = ranks.least("micro-tokens", settings.micro_tokens)?;
    Ok(())
}

/// Fails unless all ranks train the same model on the same rows with the same settings, from the
/// same step on.
fn agree(ranks: &Ranks, state: &State, done: u64) -> Result<()> {
    ranks.agree("rows", &state.dataset)?;
    ranks.agree("a base model", &state.model)?;
    let settings = serde_json::to_string(&state.settings)?;
    ranks.agree(
        "settings",
        &format!("{settings} from step {done} by {}", about::VERSION_WITH_COMMIT),
    )
}

/// The base model before its weights are loaded, and the checkpoint to resume from.
struct Base {
    dir: PathBuf,
    fields: ConfigFields,
    info: ModelInfo,
    device: Device,
    precision: Precision,
    checkpoints: Checkpoints,
    /// The last checkpoint, if the run is resumed from one.
    last: Option<(PathBuf, State)>,
}

impl Base {
    fn open(job: &TrainJob, quiet: bool) -> Result<Base> {
        let device = model::device::for_training(&job.device, job.numerics)?;
        let dir = hub::resolve(&job.model, Fetch::Model)?;
        let checkpoints = Checkpoints::of(&job.out);
        let last = if job.resume { checkpoints.last()? } else { None };
        // A run that is resumed on another machine keeps its precision.
        let before = last.as_ref().map(|(_, saved)| saved.settings.formats.precision);
        let precision = Settings::precision(job, before, device);
        if precision == Precision::Fp32 && job.precision.is_none() && before.is_none() {
            say(quiet, &model::device::why_fp32(device));
        }
        model::device::check_training(device, precision)?;
        let fields = model::fields(&dir)?;
        fields.refuse_in_training()?;
        Ok(Base {
            info: model::info(&fields)?,
            dir,
            fields,
            device,
            precision,
            checkpoints,
            last,
        })
    }

    /// Returns the formats that a resumed run goes on with, unless formats were given.
    fn kept_formats(&self, job: &TrainJob) -> Option<Formats> {
        let saved = self.last.as_ref().filter(|_| !job.formats_are_given);
        saved.map(|(_, saved)| Formats {
            precision: self.precision,
            ..saved.settings.formats
        })
    }

    /// Reads the tokenizer, and beside it the weights of a small model. A quantized model is read
    /// once it is known to fit: small models need no quantization.
    fn read_early(&self, job: &TrainJob) -> Result<(Option<Loaded>, Tokenizer)> {
        let early = || match weights_are_small(&self.dir, self.info.family, self.device)? {
            true if self.kept_formats(job).unwrap_or(job.formats).quantize.is_none()
                && job.ranks.shard.is_none() =>
            {
                Loaded::read(&self.dir, self.device, self.precision, Form::Plain).map(Some)
            }
            _ => Ok(None),
        };
        let (early, tokenizer) = model::beside_tokenizer(&self.dir, early)?;
        let tokenizer = tokenizer?.belongs_to(&self.info)?;
        Ok((early?, tokenizer))
    }
}

/// The rows in tokens, and the template that laid them out.
struct EncodedRows {
    encoded: Encoded,
    /// Whether the rows to evaluate on are no share of the others.
    eval_is_own: bool,
    max_length: usize,
    template: Template,
    /// Text of the user's own template.
    template_text: Option<String>,
    saved_template: SavedTemplate,
}

impl EncodedRows {
    fn of(
        job: &TrainJob,
        source: &Source,
        info: &ModelInfo,
        mut tokenizer: Tokenizer,
        quiet: bool,
    ) -> Result<EncodedRows> {
        if let Some(dir) = &job.adapter {
            tokenizer = tokenizer.prompted_as_in(dir)?;
        }
        let template = RowTemplate::choose(job, source.rows.are_completions, &tokenizer)?;
        template.remarks.iter().for_each(|remark| say(quiet, remark));
        let max_length = Settings::max_length(job.max_length, info.context)?;
        let layout = Layout {
            template: template.rows(),
            loss: job.loss,
            max_length,
            eval_fraction: job.eval_fraction.unwrap_or(EVAL_FRACTION),
            seed: job.seed,
        };
        let encoded = dataset::encode_both(&source.rows, &layout, &tokenizer)?;
        let name = template.template;
        let (template_text, saved_template) = template.finish(&tokenizer)?;
        model::drop_tokenizer(tokenizer);
        let remarks = encoded.remarks.iter();
        remarks.for_each(|remark| say(quiet, &format!("warning: {remark}")));
        list_left_out(&encoded.left_out, !encoded.train.is_empty(), quiet);
        if encoded.train.is_empty() {
            bail!(
                "there is nothing to train on: {}, {} left out, {} held out\nhint: {}",
                counted(source.rows.rows.len(), "row"),
                encoded.left_out.len(),
                encoded.eval.len(),
                if encoded.left_out.is_empty() {
                    "give a dataset with rows"
                } else {
                    "a larger --max-length"
                }
            );
        }
        Ok(EncodedRows {
            encoded,
            eval_is_own: source.rows.eval.is_some(),
            max_length,
            template: name,
            template_text,
            saved_template,
        })
    }
}

/// Resolves the settings of the run, and warns of those that have no effect.
fn resolve_settings(job: &TrainJob, base: &Base, rows: &EncodedRows, quiet: bool) -> Result<Settings> {
    Settings::check_held_out(job, rows.encoded.eval.len(), rows.eval_is_own)?;
    let adapter = job.adapter.as_deref();
    let adapter = adapter
        .map(|dir| lora::adapter_settings(dir, job.lora.dropout))
        .transpose()?;
    let mut settings = Settings::resolve(
        job,
        base.precision,
        rows.template,
        rows.max_length,
        rows.encoded.train.len(),
        adapter,
    );
    settings.template_text = rows.template_text.clone();
    if rows.eval_is_own {
        settings.eval_fraction = 0.0;
    }
    if let Some(kept) = base.kept_formats(job) {
        settings.formats = kept;
    }
    if let Some(warning) = warn_of_idle_schedule(&settings.schedule) {
        say(quiet, &format!("warning: {warning}"));
    }
    if settings.formats.offload && !base.device.is_cuda() {
        say(
            quiet,
            "warning: --offload keeps a second copy of the weights here and saves nothing: it is for a GPU",
        );
    }
    Ok(settings)
}

/// Restores the last checkpoint. Returns the steps done.
fn resume(
    job: &TrainJob,
    last: Option<(PathBuf, State)>,
    state: &mut State,
    trainer: &mut Trainer,
    quiet: bool,
) -> Result<u64> {
    let Some((place, saved)) = last else {
        say(quiet, "there is no checkpoint yet: starting from the first step");
        return Ok(0);
    };
    saved
        .admits(&state.dataset, &state.model, &state.settings, job.allow_changes)
        .with_context(|| format!("cannot resume from {}", place.display()))?;
    Checkpoints::restore(&place, |take| trainer.restore(take))?;
    (state.best, state.evaluations_since) = (saved.best, saved.evaluations_since);
    say(quiet, &format!("continuing after step {}", saved.step));
    Ok(saved.step)
}

/// Prints the first rows that were left out, and where a run lists the rest.
fn list_left_out(left_out: &[LeftOut], is_run: bool, quiet: bool) {
    if left_out.is_empty() {
        return;
    }
    say(
        quiet,
        &format!("{} left out:", chosen(left_out.len(), "row is", "rows are")),
    );
    for row in left_out.iter().take(LISTED) {
        say(quiet, &format!("  {}: {}", row.id, row.reason));
    }
    if left_out.len() > LISTED {
        let listed = if is_run {
            " (left_out.jsonl in --out lists all)"
        } else {
            ""
        };
        say(quiet, &format!("  …{listed}"));
    }
}
