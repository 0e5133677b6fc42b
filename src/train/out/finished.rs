//! `--resume` of a finished run: there is nothing to do, and options of another run are refused.

use crate::model::device;
use crate::model::files::hub::{self, Fetch};
use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;
use crate::train::fit::GPU_MICRO_TOKENS;
use crate::train::optim::lora::adapter_settings;
use crate::train::out::RECORD;
use crate::train::settings::Settings;
use anyhow::{Context, Result, bail};
use ewe::finetune::Method;
use ewe::job::train::TrainJob;
use ewe::prompt::template::{Template, TemplateChoice};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::Device;

/// The record of a run, as far as a finished run is compared by it.
#[derive(Deserialize)]
struct Record {
    model: PathBuf,
    /// Files or dataset of the rows; older versions did not record them.
    rows: Option<Paths>,
    /// Which tasks of the dataset were taken; null for all.
    #[serde(default)]
    select: serde_json::Value,
    examples: usize,
    settings: Settings,
}

/// One path, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

impl Paths {
    fn all(self) -> Vec<PathBuf> {
        match self {
            Paths::One(path) => vec![path],
            Paths::Several(paths) => paths,
        }
    }
}

/// Fails if `job` asks for another run than the one in `--out`, and names each option that differs.
/// Rows are not read again: those of a dataset change, and the run is over.
pub fn check(job: &TrainJob) -> Result<()> {
    let path = job.out.join(RECORD);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let run: Record = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not of this version of ewe, so nothing can be resumed",
            path.display()
        )
    })?;
    let resolved = settings(job, &run)?;
    let mut differing = Vec::new();
    let model = (vec![run.model], vec![job.model.as_path()]);
    let rows = run.rows.map(|rows| (rows.all(), job.rows.paths()));
    for (name, (then, now)) in [("--model", Some(model)), (job.rows.option(), rows)]
        .into_iter()
        .filter_map(|(name, paths)| Some((name, paths?)))
    {
        let mut pairs = then.iter().zip(&now);
        if then.len() != now.len() || !pairs.all(|(then, now)| is_same(then, now)) {
            differing.push(format!(
                "\n  {name}: {} then, {} now",
                list(then.iter().map(PathBuf::as_path)),
                list(now)
            ));
        }
    }
    let now = job.rows.selection();
    if run.select != now {
        differing.push(format!("\n  tasks: {} then, {now} now", run.select));
    }
    differing.extend(resolved.differing(&run.settings, |_| true)?);
    if differing.is_empty() {
        return Ok(());
    }
    let out = job.out.display();
    let on = match run.settings.method {
        Method::Lora => format!("--adapter {out}"),
        Method::Full => format!("--model {out}"),
    };
    bail!(
        "{out} is finished, and its run was another one:{}\nhint: {on} and another --out train it further",
        differing.concat()
    )
}

/// Resolves the settings of `job` with the examples of `run`. Defaults that depend on the model are
/// taken from the run.
fn settings(job: &TrainJob, run: &Record) -> Result<Settings> {
    let saved = &run.settings;
    let (template, text) = match &job.template {
        None => (saved.template, saved.template_text.clone()),
        Some(TemplateChoice::Known(template)) => (*template, None),
        Some(choice @ TemplateChoice::File(_)) => {
            let tokenizer = Tokenizer::read(&hub::resolve(&job.model, Fetch::Model)?)?;
            let form = ConversationTemplate::choose(Some(choice), &tokenizer)?;
            (Template::Chat, form.map(|form| form.source().to_owned()))
        }
    };
    let precision = Settings::precision(job, Some(saved.formats.precision), Device::Cpu);
    let max_length = job.max_length.map_or(saved.max_length, |length| length as usize);
    let adapter = job.adapter.as_deref();
    let adapter = adapter
        .map(|dir| adapter_settings(dir, job.lora.dropout))
        .transpose()?;
    let mut settings = Settings::resolve(job, precision, template, max_length, run.examples, adapter);
    settings.template_text = text;
    // Nothing of a share is left where tasks or a file of their own are evaluated on.
    if job.eval_fraction.is_none() {
        settings.eval_fraction = saved.eval_fraction;
    }
    // On a GPU the default is what fits, see `gpu_micro_tokens`.
    let is_chosen = job.micro_tokens.is_none() && GPU_MICRO_TOKENS.contains(&saved.micro_tokens);
    if is_chosen && saved.micro_tokens != settings.micro_tokens && device::device(&job.device)?.is_cuda() {
        settings.micro_tokens = saved.micro_tokens;
    }
    Ok(settings)
}

/// Lists paths.
fn list<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let paths = paths.into_iter().map(|path| path.display().to_string());
    paths.collect::<Vec<_>>().join(", ")
}

/// Returns whether two paths lead to the same place. If one does not exist here, as after a change
/// of folder, names are compared.
fn is_same(then: &Path, now: &Path) -> bool {
    match (then.canonicalize(), now.canonicalize()) {
        (Ok(then), Ok(now)) => then == now,
        _ => then.file_name() == now.file_name(),
    }
}
