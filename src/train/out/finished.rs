//! A run that is finished: `--resume` has nothing to do, and refuses what asks for another run than it was.

use crate::model::conversation_template::ConversationTemplate;
use crate::model::hub::{self, Want};
use crate::model::tokenizer::Tokenizer;
use crate::train::prepare::go_on_with;
use crate::train::settings::Settings;
use anyhow::{Context, Result, bail};
use ewe::cli::models::train::{Args, Method};
use ewe::prompt::template::{Template, TemplateChoice};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::Device;

/// What a run notes of itself in its folder when it begins.
pub const RECORD: &str = "run.json";

/// What of it a finished run is known by.
#[derive(Deserialize)]
struct Record {
    model: PathBuf,
    /// The file or the dataset that the rows came from, unless an older version wrote this.
    rows: Option<PathBuf>,
    examples: usize,
    settings: Settings,
}

/// Whether `out` is the folder of a run.
pub fn is_run(out: &Path) -> bool {
    out.join(RECORD).is_file()
}

/// Fails, naming each option that differs, where `args` ask for another run than the one in `--out`. Rows are not read again: those of
/// a dataset change, and the run is over.
pub fn check(args: &Args) -> Result<()> {
    let path = args.out.join(RECORD);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let run: Record = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is not of this version of ewe, so nothing can be resumed",
            path.display()
        )
    })?;
    let mut differing = Vec::new();
    let rows = args.data.as_deref().or(args.db.as_deref());
    let name = if args.data.is_some() { "--data" } else { "--db" };
    for (name, then, now) in [
        ("--model", Some(run.model.as_path()), Some(args.model.as_path())),
        (name, run.rows.as_deref(), rows),
    ] {
        if let (Some(then), Some(now)) = (then, now)
            && !is_same(then, now)
        {
            differing.push(format!(
                "\n  {name}: {} then, {} now",
                then.display(),
                now.display()
            ));
        }
    }
    differing.extend(settings(args, &run)?.differing(&run.settings, |_| true)?);
    if differing.is_empty() {
        return Ok(());
    }
    let out = args.out.display();
    let on = match run.settings.method {
        Method::Lora => format!("--adapter {out}"),
        Method::Full => format!("--model {out}"),
    };
    bail!(
        "{out} is finished, and its run was another one:{}\nhint: {on} and another --out go on with what it has learnt",
        differing.concat()
    )
}

/// The settings that `args` make with the examples of `run`. What they leave to the model is taken to be as it was.
fn settings(args: &Args, run: &Record) -> Result<Settings> {
    let saved = &run.settings;
    let (template, text) = match args.template_choice() {
        None => (saved.template, saved.template_text.clone()),
        Some(TemplateChoice::Known(template)) => (template, None),
        Some(choice @ TemplateChoice::File(_)) => {
            let tokenizer = Tokenizer::read(&hub::resolve(&args.model, Want::Model)?)?;
            let form = ConversationTemplate::choose(Some(&choice), &tokenizer)?;
            (Template::Chat, form.map(|form| form.source().to_owned()))
        }
    };
    let precision = Settings::precision(&args.formats, Some(saved.precision), Device::Cpu);
    let max_length = args.max_length.map_or(saved.max_length, |length| length as usize);
    let adapter = args
        .adapter
        .as_deref()
        .map(|dir| go_on_with(dir, args))
        .transpose()?;
    let mut settings = Settings::resolve(args, precision, template, max_length, run.examples, adapter);
    settings.template_text = text;
    Ok(settings)
}

/// Whether two paths lead to the same place. Of one that leads nowhere from here, as from another folder, only the name is known.
fn is_same(then: &Path, now: &Path) -> bool {
    match (then.canonicalize(), now.canonicalize()) {
        (Ok(then), Ok(now)) => then == now,
        _ => then.file_name() == now.file_name(),
    }
}
