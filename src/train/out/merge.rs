//! `ewe merge`: adds an adapter to the weights of its model, and writes the result as a model like
//! any other, a GGUF file, or both. Without an adapter the model is written as it is.

use super::saved_template::SavedTemplate;
use super::{files, gguf as gguf_file, save};
use crate::gguf;
use crate::model::files::adapter::{self, Attached};
use crate::model::files::hub::{self, Fetch};
use crate::model::layers::Linear;
use crate::model::{self, CausalLm, LoadedModel};
use crate::train::out::NewFolder;
use anyhow::{Context, Result, bail};
use ewe::job::merge::MergeJob;
use ewe::next::NextCommands;
use ewe::text::{counted, format_size, shell_word};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Does what `job` says. Fails, and writes nothing, if an adapter changes no weight, or if
/// llama.cpp has no such model.
pub fn run(job: &MergeJob, quiet: bool) -> Result<()> {
    let folder = job.out.as_deref().map(NewFolder::begin).transpose()?;
    let base = hub::resolve(&job.model, Fetch::Model)?;
    refuse_copies(job, &base)?;
    if job.gguf.is_some() {
        gguf_file::architecture(&model::fields(&base)?)?;
    }
    let _guard = tch::no_grad_guard();
    let dtype = match job.dtype.as_str() {
        "auto" => model::kept_dtype(&base)?,
        given => given,
    };
    let LoadedModel {
        mut model,
        kind,
        mut tokenizer,
        ..
    } = model::load(&base, Device::Cpu, dtype)?;
    let mut merged = None;
    if let Some(adapter) = &job.adapter {
        merged = Some(merge(model.as_mut(), &base, adapter, kind)?);
        // The merged model is prompted as the adapter was trained.
        tokenizer = tokenizer.prompted_as_in(adapter)?;
    }
    let mut files = Vec::new();
    if let Some(path) = &job.gguf {
        let written = gguf_file::write(path, job.gguf_type, model.as_ref(), &base, &tokenizer)?;
        for note in &written.notes {
            crate::train::say(quiet, &format!("{}: {note}", path.display()));
        }
        crate::train::say(
            quiet,
            &format!(
                "{}: {} in {}; {} is for Ollama",
                path.display(),
                written.kind,
                format_size(written.bytes),
                written.modelfile.display()
            ),
        );
        files.extend([path.clone(), written.modelfile]);
    }
    if let (Some(folder), Some(out)) = (folder, &job.out) {
        let template = SavedTemplate::of(&tokenizer);
        folder.fill(save::is_last, |out| {
            files::make_sure_of_room(out, files::bytes(&model.parameters()))
                .context("cannot save the model")?;
            save::copy_tokenizer(&base, out)?;
            template.write(&base, out)?;
            save::write_model(model.as_ref(), &base, out)
        })?;
        let what = merged.as_deref().unwrap_or("the model, in files of transformers");
        crate::train::say(quiet, &format!("{}: {what}", out.display()));
        files.extend(files_in(out)?);
    }
    if job.json {
        println!("{}", ewe::streams::json::value(&result(job, &files)?));
    }
    after_merging(job).say(quiet);
    Ok(())
}

/// Returns the files of a folder, sorted.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

/// Returns the result for programs.
fn result(job: &MergeJob, files: &[PathBuf]) -> Result<Value> {
    let (mut listed, mut sum) = (Vec::new(), 0);
    for path in files {
        let bytes = path
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        sum += bytes;
        listed.push(json!({ "path": path.to_string_lossy(), "bytes": bytes }));
    }
    let name = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    Ok(json!({ "out": name(&job.out), "gguf": name(&job.gguf), "files": listed, "bytes": sum }))
}

/// What to do with the model.
fn after_merging(job: &MergeJob) -> NextCommands {
    let mut next = NextCommands::default();
    for model in [&job.out, &job.gguf]
        .into_iter()
        .flatten()
        .map(|path| shell_word(path))
    {
        next = next
            .with(format!("ewe chat --model {model}"), "")
            .with(format!("ewe serve --model {model}"), "behind OpenAI's API");
    }
    next
}

/// Fails if the result would be a copy of the model's folder.
fn refuse_copies(job: &MergeJob, base: &Path) -> Result<()> {
    if job.adapter.is_none() && job.gguf.is_none() && !gguf::is(base) {
        bail!(
            "without --adapter there is nothing to merge, and --out would be a copy of {}\nhint: --adapter DIR, or --gguf FILE",
            base.display()
        );
    }
    Ok(())
}

/// Merges the adapter in directory `adapter` into `model`, whose files are in `base`. Returns what
/// was done, for people. Fails if no weight changes.
fn merge(model: &mut dyn CausalLm, base: &Path, adapter: &Path, kind: Kind) -> Result<String> {
    let Attached { layers, replaced } = adapter::attach(model, base, adapter, Device::Cpu)?;
    let (mut changed, mut all) = (0.0, 0.0);
    let mut merge = |linear: &mut Linear| {
        if linear.lora.is_none() {
            return;
        }
        let before = linear.weight.copy();
        linear.merge();
        let count = |x: Tensor| x.sum(Kind::Double).double_value(&[]);
        changed += count(linear.weight.not_equal_tensor(&before));
        all += before.numel() as f64;
    };
    model.for_each_linear(&mut merge);
    merge(model.embedding_and_head().head);
    if changed == 0.0 && replaced.is_empty() {
        bail!(
            "the merged model is its base: no weight differs\nhint: an adapter that was never trained changes nothing, and what it \
             changes can be less than a step of {}; --dtype fp32 keeps it",
            model::device::dtype_name(kind)
        );
    }
    Ok(format!(
        "{} merged in {}, {:.1} % of the weights there differ from the base's{}",
        counted(layers, "layer"),
        model::device::dtype_name(kind),
        // An adapter of whole weights has no layers.
        100.0 * changed / f64::max(all, 1.0),
        match replaced.len() {
            0 => String::new(),
            _ => format!("; replaced: {}", replaced.join(", ")),
        }
    ))
}
