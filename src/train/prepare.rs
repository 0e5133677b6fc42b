//! Everything that precedes the first step: rows are read and encoded, the model loaded, the last checkpoint taken up.

use super::checkpoint::{Checkpoints, State};
use super::dataset::{self, Encoded, Encoder, Layout, LeftOut};
use super::jinja::UserTemplate;
use super::learner::Learner;
use super::lora::{self, LoraSettings};
use super::run::say;
use super::settings::{Settings, warn_of_idle_schedule};
use super::source::Source;
use crate::model::fingerprint::fingerprint;
use crate::model::hub::{self, Want};
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::Weights;
use crate::model::{self, CausalLm, LoadedModel, adapter};
use anyhow::{Context, Result, bail};
use ewe::cli::train::{Args, Precision};
use ewe::prompt::template::Spans;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tch::Kind;

/// Rows left out that are listed on the terminal; the file lists all.
const LISTED: usize = 5;

impl Encoder for Tokenizer {
    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        Ok(Tokenizer::encode(self, text, special)?
            .into_iter()
            .map(|id| id as u32)
            .collect())
    }

    fn end_of_text(&self) -> Result<u32> {
        let end = self.end_token().context(
            "the tokenizer names no end-of-text token\nhint: set eos_token in tokenizer_config.json",
        )?;
        Ok(end as u32)
    }

    fn chat(&self, user: &str, assistant: &str) -> Result<Spans> {
        super::chat::render(self, user, assistant)
    }
}

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
    /// What a checkpoint will say, at step 0.
    pub state: State,
    /// The model, as it was after the steps done.
    pub learner: Learner,
    /// What is computed with.
    pub kind: Kind,
    /// Where.
    pub device: tch::Device,
    /// Where they go.
    pub checkpoints: Checkpoints,
    /// Steps done.
    pub done: u64,
}

/// Reads data, model and, to resume, the last checkpoint. Fails on whatever keeps the run from beginning, and writes
/// nothing.
pub fn prepare(args: &Args, quiet: bool) -> Result<Run> {
    let source = Source::open(args)?;
    let template = Settings::template(args, source.rows.are_completions)?;
    let device = model::device::device(&args.device)?;
    let base = hub::resolve(&args.model, Want::Model)?;
    let dtype = match args.precision {
        Precision::Bf16 => "bf16",
        Precision::Fp32 => "fp32",
    };
    let own = args
        .template_file
        .as_deref()
        .map(UserTemplate::read)
        .transpose()?;
    let LoadedModel {
        mut model,
        tokenizer,
        kind,
        ..
    } = model::load(&base, device, dtype)?;
    let max_length = Settings::max_length(args, model.info().context)?;
    let layout = Layout {
        template,
        own: own.as_ref(),
        max_length,
        eval_fraction: args.eval_fraction,
        seed: args.seed,
    };
    let encoded = dataset::encode(&source.rows.rows, &layout, &tokenizer)?;
    list_left_out(&encoded.left_out, quiet);
    if encoded.train.is_empty() {
        bail!(
            "there is nothing to train on: {} rows, {} left out, {} held out\nhint: {}",
            source.rows.rows.len(),
            encoded.left_out.len(),
            encoded.eval.len(),
            if encoded.left_out.is_empty() {
                "give a dataset with rows"
            } else {
                "a larger --max-length"
            }
        );
    }
    let adapter = match &args.adapter {
        Some(dir) => Some(go_on_with(model.as_mut(), dir, args, device)?),
        None => None,
    };
    let mut settings = Settings::resolve(args, template, max_length, encoded.train.len(), adapter);
    settings.template_text = own.map(|own| own.text().to_owned());
    if let Some(warning) = warn_of_idle_schedule(&settings.schedule) {
        say(quiet, &format!("warning: {warning}"));
    }
    if let Some(lora) = &settings.lora {
        lora::check_targets(model.as_mut(), lora)?;
    }
    let mut learner = match settings.lora.clone() {
        Some(lora) => Learner::lora(model, lora, args.seed, settings.rule(), device),
        None => {
            let mut exact = exact_weights(&base, model.info().family, kind, device)?;
            let shapes: std::collections::HashMap<_, _> = model
                .parameters()
                .into_iter()
                .map(|(name, tensor)| (name, tensor.size()))
                .collect();
            let values = |name: &str| exact.as_mut().map(|weights| weights.tensor(name, &shapes[name]));
            Learner::full(model, values, settings.rule(), device)
        }
    };
    learner.recomputes = settings.recompute;
    let mut state = State::new(
        0,
        &encoded.fingerprint(),
        &fingerprint(&base, None, kind)?,
        &settings,
    );
    let checkpoints = Checkpoints::of(&args.out);
    let mut done = 0;
    if args.resume {
        match checkpoints.last()? {
            Some((place, saved)) => {
                saved
                    .admits(&state.dataset, &state.model, &settings, args.allow_changes)
                    .with_context(|| format!("cannot resume from {}", place.display()))?;
                let mut tensors = Checkpoints::tensors(&place)?;
                learner
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
        state,
        learner,
        kind,
        device,
        checkpoints,
        done,
    })
}

/// Attaches the adapter in `dir`, and gives the settings it was made with.
fn go_on_with(
    model: &mut dyn CausalLm,
    dir: &Path,
    args: &Args,
    device: tch::Device,
) -> Result<LoraSettings> {
    let attached = adapter::attach(model, dir, device)?;
    let targets: BTreeSet<String> = attached
        .paths
        .iter()
        .map(|path| path.rsplit('.').next().unwrap_or(path).to_owned())
        .collect();
    Ok(LoraSettings {
        rank: attached.rank,
        alpha: attached.alpha,
        dropout: args.lora_dropout,
        rank_stabilized: attached.rank_stabilized,
        targets: targets.into_iter().collect(),
        from: Some(fingerprint(dir, None, Kind::Float)?),
    })
}

fn list_left_out(left_out: &[LeftOut], quiet: bool) {
    if left_out.is_empty() {
        return;
    }
    say(quiet, &format!("{} rows are left out:", left_out.len()));
    for row in left_out.iter().take(LISTED) {
        say(quiet, &format!("  {}: {}", row.id, row.reason));
    }
    if left_out.len() > LISTED {
        say(quiet, "  … (left_out.jsonl in --out lists all)");
    }
}

/// The checkpoint's own values, where they are more precise than what the model computes in.
fn exact_weights(dir: &Path, family: &str, kind: Kind, device: tch::Device) -> Result<Option<Weights>> {
    let mut weights = Weights::open(dir, model::prefix(family))?;
    weights.place(Kind::Float, device);
    Ok((weights.main_kind() != kind).then_some(weights))
}
