//! Which files of a folder are sent: what loads the model and what describes it. A training run
//! leaves more beside them, among it rows, paths of this machine and checkpoints; that stays here.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::card::{self, CardWords, Tuned};
use super::facts::RunFacts;
use super::file::PushFile;
use super::repo::{self, RepoId};
use crate::settings_file;
use crate::text::{one_line, shell_word};

/// The card.
pub(super) const CARD: &str = "README.md";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const CONFIG: &str = "config.json";
/// Weights in one file, and the index of those in several; the first that are there are sent.
const WEIGHTS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];
const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// Files of a tokenizer, of which one or the other must be there.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "tokenizer.model", "vocab.json"];
/// What is sent if it is there.
const BESIDE: [&str; 9] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];
/// Beginnings of names of files about terms, which are sent.
const TERMS: [&str; 3] = ["LICENSE", "NOTICE", "USE_POLICY"];

/// Fields of files in which `transformers` writes where a model was loaded from.
const NAMES_OF_PATHS: [(&str, &str); 2] = [
    ("config.json", "_name_or_path"),
    ("tokenizer_config.json", "name_or_path"),
];

/// A folder as it is sent.
#[derive(Debug)]
pub struct FolderFiles {
    /// The files, the card first.
    pub files: Vec<PushFile>,
    /// The card.
    pub card: String,
    /// Names that stay here.
    pub stay: Vec<String>,
    /// What there is to say about it.
    pub remarks: Vec<String>,
}

/// Chooses the files of a model or an adapter, and makes its card unless it has one.
///
/// # Errors
///
/// If the folder is none, or lacks something without which it cannot be used, or an adapter's base
/// model is unknown.
pub fn read(tuned: Tuned, folder: &Path, id: &RepoId, mut words: CardWords) -> Result<FolderFiles> {
    let names = names_in(tuned, folder)?;
    let facts = RunFacts::read(folder);
    let mut remarks = Vec::new();
    let (mut files, base) = match tuned {
        Tuned::Model => (model(folder, &names)?, facts.base.clone()),
        Tuned::Adapter => adapter(folder, &names, words.base.as_deref())?,
    };
    if let (None, Some(base)) = (&words.base, &base) {
        // A relative path of two parts, recorded elsewhere, looks like an id.
        remarks.push(format!(
            "the card names `{base}`, as the run recorded it, as the base model's id on the hub; --base-model USER/NAME names another"
        ));
    }
    words.base = words.base.or(base);
    if words.base.is_none() && facts.is_known() {
        remarks.push(format!(
            "the card names no base model: `{}` is a folder of this machine; --base-model USER/NAME says which one of the hub it is",
            facts.base_path.as_deref().unwrap_or("?")
        ));
    }
    if words.license.is_none() {
        remarks.push("the card states no licence; --license says which, such as apache-2.0".to_owned());
    }
    let beside = BESIDE.iter().filter(|name| names.contains(**name));
    let is_about_terms = |name: &&String| TERMS.iter().any(|begin| name.starts_with(begin));
    let terms = names.iter().filter(is_about_terms);
    // A folder such as LICENSES stays here, as all folders do.
    let terms = terms.filter(|name| folder.join(name).is_file());
    for name in beside.copied().chain(terms.map(String::as_str)) {
        files.push(PushFile::on_disk(name, &folder.join(name))?);
    }
    remarks.extend(paths_in(&files));
    let card = match names.contains(CARD) {
        true => {
            let place = folder.join(CARD);
            files.insert(0, PushFile::on_disk(CARD, &place)?);
            let text = settings_file::read_text(&place, settings_file::LONGEST);
            remarks.retain(|remark| !remark.starts_with("the card "));
            let passed_over = match words.says_something() {
                true => "; what options say of the card is not in it",
                false => "",
            };
            remarks.push(format!(
                "the folder has a README.md, which is sent as it is{passed_over}"
            ));
            text.with_context(|| format!("cannot read {}", place.display()))?
        }
        false => {
            let text = card::of(tuned, id, &facts, &words);
            files.insert(0, PushFile::made(CARD, text.clone(), "the card, made of the run"));
            text
        }
    };
    let sent: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let stay = names.iter().filter(|name| !sent.contains(name.as_str()));
    Ok(FolderFiles {
        stay: stay.cloned().collect(),
        files,
        card,
        remarks,
    })
}

/// Says which files name folders of this machine, as other programs write them.
fn paths_in(files: &[PushFile]) -> Vec<String> {
    let named = |file: &PushFile| {
        let (_, field) = NAMES_OF_PATHS.iter().find(|(name, _)| *name == file.path)?;
        let bytes = (file.size <= settings_file::LONGEST).then(|| file.all())?;
        let json: Value = serde_json::from_slice(&bytes.ok()?).ok()?;
        let path = json[*field]
            .as_str()
            .filter(|text| text.starts_with(['/', '.', '~']))?;
        Some(format!(
            "{} names a folder of this machine, which will be sent with it: `{}`",
            file.path,
            one_line(path, 200)
        ))
    };
    files.iter().filter_map(named).collect()
}

/// Returns the names in the folder, which must look like what it is said to be.
fn names_in(tuned: Tuned, folder: &Path) -> Result<BTreeSet<String>> {
    let (option, other) = match tuned {
        Tuned::Model => ("--model", "--adapter"),
        Tuned::Adapter => ("--adapter", "--model"),
    };
    if folder.is_file() {
        bail!(
            "{} is a file\nhint: {option} takes the folder that `ewe train` or `ewe merge` wrote",
            folder.display()
        );
    }
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names: BTreeSet<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let (own, of_other) = match tuned {
        Tuned::Model => (CONFIG, ADAPTER_CONFIG),
        Tuned::Adapter => (ADAPTER_CONFIG, CONFIG),
    };
    if names.contains(own) {
        return Ok(names);
    }
    if names.contains(of_other) {
        bail!(
            "{} has no {own}, but {of_other}\nhint: {other} {}",
            folder.display(),
            shell_word(folder)
        );
    }
    if names.contains("run.json") {
        bail!(
            "the training run in {} is not finished: it has no {own} yet\nhint: run `ewe train --resume` as it was begun, then push",
            folder.display()
        );
    }
    bail!(
        "{} has no {own}\nhint: {option} takes the folder that `ewe train` or `ewe merge` wrote",
        folder.display()
    )
}

fn lacks(folder: &Path, what: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is incomplete: it has no {what}\nhint: a run that was cut short goes on with `ewe train --resume`",
        folder.display()
    )
}

/// The files without which a model cannot be used, except for its tokenizer.
fn model(folder: &Path, names: &BTreeSet<String>) -> Result<Vec<PushFile>> {
    let mut wanted = vec![CONFIG.to_owned()];
    let found = WEIGHTS
        .into_iter()
        .find(|(single, index)| names.contains(*single) || names.contains(*index));
    match found {
        None => return Err(lacks(folder, "model.safetensors, alone or in shards")),
        Some((single, _)) if names.contains(single) => wanted.push(single.to_owned()),
        Some((_, index)) => {
            wanted.push(index.to_owned());
            wanted.extend(shards(&folder.join(index))?);
        }
    }
    if !TOKENIZERS.iter().any(|name| names.contains(*name)) {
        return Err(lacks(folder, "tokenizer.json"));
    }
    wanted
        .iter()
        .map(|name| match names.contains(name) {
            true => PushFile::on_disk(name, &folder.join(name)),
            false => Err(lacks(folder, name)),
        })
        .collect()
}

/// Returns the names of the files that an index of weights lists.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let read = || -> Option<BTreeSet<String>> {
        let bytes = settings_file::read(index, settings_file::LONGEST).ok()?;
        let json: Value = serde_json::from_slice(&bytes).ok()?;
        let names = json["weight_map"].as_object()?.values();
        let is_name = |name: &&str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        names
            .map(|name| name.as_str().filter(is_name).map(str::to_owned))
            .collect()
    };
    read().with_context(|| format!("no shards are listed in {}", index.display()))
}

/// The files without which an adapter cannot be used, and the id of its base on the hub.
fn adapter(
    folder: &Path,
    names: &BTreeSet<String>,
    said: Option<&str>,
) -> Result<(Vec<PushFile>, Option<String>)> {
    let place = folder.join(ADAPTER_CONFIG);
    let text = settings_file::read_text(&place, settings_file::LONGEST)
        .with_context(|| format!("cannot read {}", place.display()))?;
    let mut config: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(fields) = config.as_object_mut() else {
        bail!("{} is no JSON object", place.display());
    };
    let recorded = fields
        .get("base_model_name_or_path")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let Some(base) = said.map(str::to_owned).or_else(|| repo::id_of(&recorded)) else {
        bail!(
            "the base model of this adapter is `{recorded}`, which is no model of the hub, so nobody could load it\nhint: --base-model USER/NAME says which one it is; or `ewe merge` makes a whole model, for --model"
        );
    };
    let weights = ADAPTER_WEIGHTS.into_iter().find(|name| names.contains(*name));
    let weights = weights.ok_or_else(|| lacks(folder, ADAPTER_WEIGHTS[0]))?;
    let config = match base == recorded {
        true => PushFile::on_disk(ADAPTER_CONFIG, &place)?,
        false => {
            fields.insert("base_model_name_or_path".to_owned(), base.clone().into());
            let text = format!("{config:#}\n");
            PushFile::made(ADAPTER_CONFIG, text, "with the base model's id on the hub")
        }
    };
    let weights = PushFile::on_disk(weights, &folder.join(weights))?;
    Ok((vec![config, weights], Some(base)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn sent(files: &FolderFiles) -> Vec<&str> {
        files.files.iter().map(|file| file.path.as_str()).collect()
    }

    fn read(tuned: Tuned, dir: &tempfile::TempDir, base: Option<&str>) -> Result<FolderFiles> {
        let words = CardWords {
            base: base.map(str::to_owned),
            ..CardWords::default()
        };
        super::read(tuned, dir.path(), &RepoId::parse("ann/sheep").unwrap(), words)
    }

    const INDEX: &str = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors",
                            "b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}"#;

    #[test]
    fn what_a_run_leaves_beside_its_model_stays_here() {
        let dir = folder(&[
            ("config.json", "{}"),
            ("model.safetensors.index.json", INDEX),
            ("model-00001-of-00002.safetensors", "a"),
            ("model-00002-of-00002.safetensors", "b"),
            ("tokenizer.json", "{}"),
            ("LICENSE.txt", "mine"),
            ("run.json", r#"{"model": "/home/ann/x"}"#),
            ("run.toml", ""),
            ("left_out.jsonl", "rows"),
            ("metrics.jsonl", ""),
            (".lock", ""),
        ]);
        for name in ["checkpoints", "LICENSES"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let files = read(Tuned::Model, &dir, None).unwrap();
        assert_eq!(
            sent(&files),
            [
                "README.md",
                "config.json",
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "tokenizer.json",
                "LICENSE.txt",
            ]
        );
        assert_eq!(
            files.stay,
            [
                ".lock",
                "LICENSES",
                "checkpoints",
                "left_out.jsonl",
                "metrics.jsonl",
                "run.json",
                "run.toml"
            ]
        );
        assert!(files.remarks[0].contains("/home/ann/x"), "{:?}", files.remarks);
        assert!(files.remarks[1].contains("--license"), "{:?}", files.remarks);
    }

    #[test]
    fn what_is_incomplete_is_refused() {
        let fails = |tuned, files: &[(&str, &str)], words: &[&str]| {
            let error = read(tuned, &folder(files), Some("ann/base")).unwrap_err();
            let error = format!("{error:#}");
            for word in words {
                assert!(error.contains(word), "{error:?} does not say {word:?}");
            }
        };
        let (config, adapter) = (("config.json", "{}"), ("adapter_config.json", "{}"));
        fails(Tuned::Model, &[], &["no config.json", "--model takes"]);
        fails(Tuned::Model, &[("run.json", "{}")], &["not finished", "--resume"]);
        fails(
            Tuned::Model,
            &[adapter],
            &["adapter_config.json", "hint: --adapter"],
        );
        fails(
            Tuned::Adapter,
            &[config],
            &["no adapter_config.json", "hint: --model"],
        );
        fails(Tuned::Model, &[config], &["no model.safetensors"]);
        fails(
            Tuned::Model,
            &[config, ("model.safetensors", "x")],
            &["no tokenizer.json"],
        );
        let indexed = ("model.safetensors.index.json", INDEX);
        fails(
            Tuned::Model,
            &[config, indexed, ("tokenizer.json", "{}")],
            &["no model-00001-of-00002.safetensors"],
        );
        let escaping = (
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "../secret"}}"#,
        );
        fails(Tuned::Model, &[config, escaping], &["no shards are listed"]);
        fails(Tuned::Adapter, &[adapter], &["no adapter_model.safetensors"]);
        fails(
            Tuned::Adapter,
            &[("adapter_config.json", "[]")],
            &["no JSON object"],
        );
    }

    #[test]
    fn an_adapter_names_its_base_by_its_id() {
        let config = r#"{"r": 4, "base_model_name_or_path": "/home/ann/models/gemma"}"#;
        let dir = folder(&[
            ("adapter_config.json", config),
            ("adapter_model.safetensors", "x"),
        ]);
        let error = read(Tuned::Adapter, &dir, None).unwrap_err().to_string();
        assert!(error.contains("/home/ann/models/gemma"), "{error}");
        assert!(error.contains("hint: --base-model"), "{error}");
        let files = read(Tuned::Adapter, &dir, Some("google/gemma-3-270m")).unwrap();
        let names = |files: &FolderFiles| {
            files
                .remarks
                .iter()
                .any(|said| said.contains("as the run recorded it"))
        };
        assert!(!names(&files), "{:?}", files.remarks);
        assert_eq!(
            sent(&files),
            ["README.md", "adapter_config.json", "adapter_model.safetensors"]
        );
        let made = String::from_utf8(files.files[1].all().unwrap()).unwrap();
        assert_eq!(
            made,
            "{\n  \"r\": 4,\n  \"base_model_name_or_path\": \"google/gemma-3-270m\"\n}\n"
        );
        assert!(
            files.card.contains("base_model: google/gemma-3-270m\n"),
            "{}",
            files.card
        );

        // As it is, if it has one.
        let config = r#"{"base_model_name_or_path":"google/gemma-3-270m"}"#;
        let dir = folder(&[("adapter_config.json", config), ("adapter_model.bin", "x")]);
        let files = read(Tuned::Adapter, &dir, None).unwrap();
        assert_eq!(files.files[1].all().unwrap(), config.as_bytes());
        assert!(names(&files), "{:?}", files.remarks);
        assert!(
            files.card.contains("base_model: google/gemma-3-270m\n"),
            "{}",
            files.card
        );
    }

    #[test]
    fn paths_that_other_programs_wrote_into_files_are_said() {
        let dir = folder(&[
            ("config.json", r#"{"_name_or_path": "/home/ann/secret"}"#),
            ("model.safetensors", "x"),
            ("tokenizer.json", "{}"),
            (
                "tokenizer_config.json",
                r#"{"name_or_path": "google/gemma-3-270m"}"#,
            ),
        ]);
        let remarks = read(Tuned::Model, &dir, None).unwrap().remarks;
        let said: Vec<&String> = remarks
            .iter()
            .filter(|said| said.contains("names a folder"))
            .collect();
        assert_eq!(said.len(), 1, "{remarks:?}");
        assert!(
            said[0].starts_with("config.json") && said[0].contains("/home/ann/secret"),
            "{said:?}"
        );
    }

    #[test]
    fn a_readme_that_somebody_wrote_is_kept() {
        let dir = folder(&[
            ("config.json", "{}"),
            ("model.safetensors", "x"),
            ("tokenizer.json", "{}"),
            ("README.md", "mine"),
        ]);
        let files = read(Tuned::Model, &dir, None).unwrap();
        assert_eq!(files.card, "mine");
        assert_eq!(files.files[0].all().unwrap(), b"mine");
        assert_eq!(files.remarks.len(), 1, "{:?}", files.remarks);
        assert!(files.remarks[0].contains("README.md"), "{:?}", files.remarks);
    }
}
