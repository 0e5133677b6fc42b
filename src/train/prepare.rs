//! Everything that precedes the first step: rows are read and encoded, the model loaded, the last checkpoint taken up.

use super::plan::Planner;
use super::plan::choice::{MemoryEstimate, PlanConfig};
use super::run::say;
use super::settings::{self, Settings, warn_of_idle_schedule};
use super::trainer::Trainer;
use crate::model::config::Fields;
use crate::model::device::dtype_name;
use crate::model::fingerprint::fingerprint;
use crate::model::hub::{self, Want};
use crate::model::weights::{Form, Weights};
use crate::model::{self, CausalLm, adapter};
use crate::shim::memory;
use crate::train::data::dataset::{self, Encoded, Layout, LeftOut};
use crate::train::data::row_template::RowTemplate;
use crate::train::data::source::Source;
use crate::train::optim::lora::{self, LoraSettings};
use crate::train::out::checkpoint::{Checkpoints, State};
use crate::train::out::saved_template::SavedTemplate;
use crate::train::plan::heaviest::{Demand, Largest, Steps};
use anyhow::{Context, Result, bail};
use ewe::cli::args::size::shown;
use ewe::cli::models::train::{Args, Precision};
use ewe::text::{chosen, counted};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tch::Kind;

/// Rows left out that are listed on the terminal; the file lists all.
const LISTED: usize = 5;

/// A run that can begin.
pub struct Run {
    /// Where the rows came from.
    pub source: Source,
    /// Where the model lies.
    pub base: PathBuf,
    /// The rows, encoded.
    pub encoded: Encoded,
    /// What to do.
    pub settings: Settings,
    /// What is saved of the form that the rows had.
    pub saved_form: SavedTemplate,
    /// What a checkpoint will say, at step 0.
    pub state: State,
    /// The model, as it was after the steps done.
    pub trainer: Trainer,
    /// What is computed with.
    pub kind: Kind,
    /// Where.
    pub device: tch::Device,
    /// Where they go.
    pub checkpoints: Checkpoints,
    /// Bytes that there were before the weights: the rows, the tokenizer.
    pub before_weights: u64,
    /// What of it takes most memory.
    pub heaviest: Option<Heaviest>,
    /// Steps done.
    pub done: u64,
}

/// What of a run takes most memory.
pub struct Heaviest {
    /// The piece that does.
    pub demand: Demand,
    /// Whether a step has several pieces.
    pub cut: bool,
    /// What the run needs, where that was looked into.
    pub need: Option<MemoryEstimate>,
}

/// Reads data, model and, to resume, the last checkpoint. Fails on whatever keeps the run from beginning, and writes
/// nothing.
pub fn prepare(args: &Args, quiet: bool) -> Result<Run> {
    let source = Source::open(args, quiet)?;
    Settings::check_template(args, source.rows.are_completions)?;
    let device = model::device::device(&args.device)?;
    let base = hub::resolve(&args.model, Want::Model)?;
    let checkpoints = Checkpoints::of(&args.out);
    let last = if args.resume { checkpoints.last()? } else { None };
    // Another machine goes on with what was computed with before.
    let before = last.as_ref().map(|(_, saved)| saved.settings.precision);
    let precision = Settings::precision(&args.formats, before, device);
    if precision == Precision::Fp32 && args.formats.precision.is_none() && before.is_none() {
        say(
            quiet,
            "this processor has no instructions for bf16: computing in fp32, which takes twice the memory; --precision bf16 for all that",
        );
    }
    let dtype = dtype_name(settings::kind(precision));
    let fields = model::fields(&base)?;
    fields.refuse_in_training()?;
    let info = model::info(&fields)?;
    let early = || match weights_are_small(&base, info.family, device)? {
        // What is quantised is read once it is known that it fits: small models have no need of that.
        true if args.formats.quantize.is_none() => Loaded::read(&base, device, dtype, Form::Plain).map(Some),
        _ => Ok(None),
    };
    let (early, tokenizer) = model::beside_tokenizer(&base, early)?;
    let mut tokenizer = tokenizer?.belongs_to(&info)?;
    let early = early?;
    if let Some(dir) = &args.adapter {
        tokenizer = tokenizer.asked_as_in(dir)?;
    }
    let form = RowTemplate::choose(args, source.rows.are_completions, &tokenizer)?;
    form.remarks.iter().for_each(|remark| say(quiet, remark));
    let max_length = Settings::max_length(args, info.context)?;
    let layout = Layout {
        form: form.rows(),
        max_length,
        eval_fraction: args.eval_fraction,
        seed: args.seed,
    };
    let encoded = dataset::encode(&source.rows.rows, &layout, &tokenizer)?;
    let template = form.template;
    let (template_text, saved) = form.finish(&tokenizer)?;
    model::let_go(tokenizer);
    encoded
        .remarks
        .iter()
        .for_each(|remark| say(quiet, &format!("warning: {remark}")));
    list_left_out(&encoded.left_out, quiet);
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
    Settings::check_held_out(args, encoded.eval.len())?;
    let adapter = args
        .adapter
        .as_deref()
        .map(|dir| go_on_with(dir, args))
        .transpose()?;
    let mut settings = Settings::resolve(
        args,
        precision,
        template,
        max_length,
        encoded.train.len(),
        adapter,
    );
    settings.template_text = template_text;
    if let Some(warning) = warn_of_idle_schedule(&settings.schedule) {
        say(quiet, &format!("warning: {warning}"));
    }
    if settings.offload && !device.is_cuda() {
        say(
            quiet,
            "warning: --offload keeps a second copy of the weights here and saves nothing: it is for a GPU",
        );
    }
    let heaviest = heaviest(fields, &settings, &encoded, device, args.dry_run)?;
    if !args.ignore_plan {
        refuse_what_cannot_fit(heaviest.as_ref().and_then(|of| of.need.as_ref()), device)?;
    }
    let loaded = match early {
        Some(loaded) => loaded,
        None => Loaded::read(&base, device, dtype, settings.form())?,
    };
    let before_weights = allocated(device).saturating_sub(loaded.bytes);
    let Loaded { mut model, kind, .. } = loaded;
    if let Some(dir) = &args.adapter {
        adapter::attach(model.as_mut(), &base, dir, device)?;
    }
    if let Some(lora) = &settings.lora {
        lora::check_targets(model.as_mut(), lora)?;
    }
    let mut trainer = match settings.lora.clone() {
        Some(lora) => Trainer::lora(model, lora, args.seed, settings.rule(), device),
        None => {
            let mut exact = exact_weights(&base, model.info().family, kind, device)?;
            let shapes: std::collections::HashMap<_, _> = model
                .parameters()
                .into_iter()
                .map(|(name, tensor)| (name, tensor.size()))
                .collect();
            let values = |name: &str| exact.as_mut().map(|weights| weights.tensor(name, &shapes[name]));
            Trainer::full(model, values, settings.rule(), device)
        }
    };
    trainer.recomputes = settings.recompute;
    let mut state = State::new(
        0,
        &encoded.fingerprint(),
        &fingerprint(&base, None, kind)?,
        &settings,
    );
    let mut done = 0;
    if args.resume {
        match last {
            Some((place, saved)) => {
                saved
                    .admits(&state.dataset, &state.model, &settings, args.allow_changes)
                    .with_context(|| format!("cannot resume from {}", place.display()))?;
                let mut tensors = Checkpoints::tensors(&place)?;
                trainer
                    .restore(&mut |name| tensors.remove(name))
                    .with_context(|| format!("{} is damaged", place.display()))?;
                done = saved.step;
                (state.best, state.evaluations_since) = (saved.best, saved.evaluations_since);
                say(quiet, &format!("continuing after step {done}"));
            }
            None => say(quiet, "there is no checkpoint yet: starting from the first step"),
        }
    }
    Ok(Run {
        source,
        base,
        encoded,
        settings,
        saved_form: saved,
        state,
        trainer,
        kind,
        device,
        checkpoints,
        before_weights,
        heaviest,
        done,
    })
}

/// The model's weights, and what they take.
struct Loaded {
    model: Box<dyn CausalLm>,
    kind: Kind,
    /// As the allocator counts them.
    bytes: u64,
}

impl Loaded {
    fn read(base: &Path, device: tch::Device, dtype: &str, form: Form) -> Result<Loaded> {
        let before = allocated(device);
        let (model, kind) = model::load_weights(base, device, dtype, form)?;
        let bytes = allocated(device).saturating_sub(before);
        Ok(Loaded { model, kind, bytes })
    }
}

/// What has been allocated; 0 where nothing is counted.
fn allocated(device: tch::Device) -> u64 {
    memory::allocated(device).unwrap_or_default()
}

/// Whether the weights may be read beside the tokenizer, before it is known what the run will need: where it needs sixteen
/// times as much, twice what training every weight in fp32 takes of a checkpoint in 16 bits, it still fits.
fn weights_are_small(base: &Path, family: &str, device: tch::Device) -> Result<bool> {
    let Some(free) = available(device) else {
        return Ok(false);
    };
    Ok(16 * Weights::open(base, model::prefix(family))?.bytes() < free)
}

/// The settings of the adapter in `dir`.
pub(super) fn go_on_with(dir: &Path, args: &Args) -> Result<LoraSettings> {
    let about = adapter::about(dir)?;
    if !about.beyond.is_empty() {
        bail!(
            "{} has what training does not go on with: {}\nhint: `ewe merge` puts it into its model, which can be trained with another adapter",
            dir.display(),
            about.beyond.join(", ")
        );
    }
    let targets: BTreeSet<String> = about
        .paths
        .iter()
        .map(|path| lora::last(path).to_owned())
        .collect();
    Ok(LoraSettings {
        rank: about.rank,
        alpha: about.alpha,
        dropout: args.lora_dropout,
        rank_stabilized: about.rank_stabilized,
        dora: about.dora,
        targets: targets.into_iter().collect(),
        from: Some(fingerprint(dir, None, Kind::Float)?),
    })
}

/// What of the run takes most memory, none where there is nothing to train on. What it needs is planned with measured blocks where it
/// matters, since that takes a second or more: for a dry run, and where without their activations half the memory is taken.
fn heaviest(
    fields: Fields,
    settings: &Settings,
    encoded: &Encoded,
    device: tch::Device,
    dry_run: bool,
) -> Result<Option<Heaviest>> {
    let Largest { demands, cut } = Largest::of(&Steps::of(settings), &encoded.train);
    let of_all = |need: &mut dyn FnMut(&PlanConfig) -> Result<MemoryEstimate>| {
        let mut most: Option<(&Demand, MemoryEstimate)> = None;
        for demand in &demands {
            let need = need(&PlanConfig::of(settings, demand, cut, device.is_cuda()))?;
            if most.as_ref().is_none_or(|(_, most)| need.total > most.total) {
                most = Some((demand, need));
            }
        }
        anyhow::Ok(most)
    };
    let mut planner = Planner::new(fields)?;
    let Some((demand, least)) = of_all(&mut |choice| Ok(planner.least(choice)))? else {
        return Ok(None);
    };
    let scarce = |device, bytes: u64| available(device).is_some_and(|free| 2 * bytes > free);
    let tight = scarce(device, least.total) || scarce(tch::Device::Cpu, least.host);
    // Where nothing is counted nothing can be planned; training goes on without.
    let planned = match memory::allocated(tch::Device::Cpu).is_some() && (dry_run || tight) {
        true => of_all(&mut |choice| planner.need(choice))?,
        false => None,
    };
    let (demand, need) = planned.map_or((demand, None), |(demand, need)| (demand, Some(need)));
    let demand = demand.clone();
    Ok(Some(Heaviest { demand, cut, need }))
}

/// Fails where the machine's memory is less than what the run needs.
fn refuse_what_cannot_fit(need: Option<&MemoryEstimate>, device: tch::Device) -> Result<()> {
    let (Some(need), Some(free)) = (need, available(device)) else {
        return Ok(());
    };
    if need.host > 0
        && let Some(free) = available(tch::Device::Cpu)
        && need.host > free
    {
        bail!(
            "--offload needs {} of the machine's own memory, and {} are free\nhint: --optimizer adamw8bit keeps a quarter of the moments; \
             --ignore-plan tries nevertheless",
            shown(need.host),
            shown(free)
        );
    }
    if need.total > free {
        bail!(
            "the run needs {}, and {} of memory are free: weights {}, masters {}, moments {}, gradients {}, activations {}\n\
             hint: `ewe plan --memory {}MB` with the run's options says what to change; --ignore-plan tries nevertheless",
            shown(need.total),
            shown(free),
            shown(need.bytes.weights),
            shown(need.bytes.masters),
            shown(need.bytes.states),
            shown(need.bytes.gradients),
            shown(need.bytes.activations),
            free / 1_000_000,
        );
    }
    Ok(())
}

/// Bytes that the system, or the GPU, could give.
fn available(device: tch::Device) -> Option<u64> {
    if device.is_cuda() {
        return memory::free(device);
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

fn list_left_out(left_out: &[LeftOut], quiet: bool) {
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
        say(quiet, "  … (left_out.jsonl in --out lists all)");
    }
}

/// The checkpoint's own values, where they are more precise than what the model computes in.
fn exact_weights(dir: &Path, family: &str, kind: Kind, device: tch::Device) -> Result<Option<Weights>> {
    if kind == Kind::Float {
        return Ok(None);
    }
    let mut weights = Weights::open(dir, model::prefix(family))?;
    weights.place(Kind::Float, device);
    Ok((weights.main_kind() != kind).then_some(weights))
}
