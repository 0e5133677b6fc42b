//! A dataset as files: the rows to train on, the rows that are held out, and the card.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::card::CardWords;
use super::dataset_card::{self, DatasetFacts, SplitFile};
use super::file::PushFile;
use super::folder::CARD;
use super::repo::RepoId;
use crate::atomic_file::scratch::ScratchFolder;
use crate::interchange::write::{ExportFormat, ExportOptions};
use crate::pipeline::export;
use crate::report::Figures;
use crate::store::{Filter, Store};
use crate::task::{Origin, Split};

/// Which rows, and how they are written.
#[derive(Debug, Clone)]
pub struct DatasetChoice {
    /// The format of the rows.
    pub format: ExportFormat,
    /// Which tasks.
    pub filter: Filter,
    /// Only rows that score at least this.
    pub min_score: Option<f64>,
    /// Whether other fields of imported rows are left out.
    pub plain: bool,
}

/// A dataset as it is sent.
#[derive(Debug)]
pub struct DatasetFiles {
    /// The files, the card first.
    pub files: Vec<PushFile>,
    /// The card.
    pub card: String,
    /// What there is to say about it.
    pub remarks: Vec<String>,
    /// Where the rows are until they are sent.
    pub scratch: ScratchFolder,
}

/// Writes the rows that `choice` names into a temporary folder, and makes their card. What was
/// rejected is never among them.
///
/// # Errors
///
/// If the dataset cannot be read or has no such rows, or nothing can be written.
pub async fn read(
    store: &Store,
    id: &RepoId,
    choice: &DatasetChoice,
    words: &CardWords,
) -> Result<DatasetFiles> {
    if choice.plain && choice.format == ExportFormat::Parquet {
        bail!(
            "--plain leaves nothing out of the whole dataset as Parquet\nhint: with --format alpaca, chat and so on, only the fields of the format are written"
        );
    }
    let scratch = std::env::temp_dir();
    let scratch = ScratchFolder::within(&scratch)
        .with_context(|| format!("cannot write into {}", scratch.display()))?;
    let figures = Figures::load(store).await?;
    let mut splits = Vec::new();
    let mut files = Vec::new();
    for (split, name) in [(Split::Train, "train"), (Split::Eval, "test")] {
        if choice.filter.split.is_some_and(|only| only != split) {
            continue;
        }
        let file = format!("{name}.{}", ending(choice.format));
        let place = scratch.path().join(&file);
        let rows = rows_of(store, choice, split, &place).await?;
        if rows == 0 {
            continue;
        }
        let path = format!("data/{file}");
        files.push(PushFile::on_disk(&path, &place)?);
        splits.push(SplitFile {
            split: name,
            path,
            rows,
        });
    }
    if splits.is_empty() {
        bail!(
            "no task of the dataset is chosen, so there is nothing to push\nhint: `ewe stats` counts what there is"
        );
    }
    let facts = DatasetFacts {
        figures: &figures,
        splits: &splits,
        format: choice.format,
        selection: selection(choice),
    };
    let mut remarks: Vec<String> = facts
        .selection
        .iter()
        .map(|words| format!("the card says by which options the rows were chosen: {words}"))
        .collect();
    let card = dataset_card::of(id, &facts, words);
    files.insert(
        0,
        PushFile::made(CARD, card.clone(), "the card, made of the dataset's figures"),
    );
    if choice.filter.review.is_none() && figures.dataset.pending > 0 {
        remarks.push(format!(
            "nobody has reviewed {} of the dataset; --review accepted leaves them out",
            crate::text::counted(figures.dataset.pending, "example")
        ));
    }
    let imported = figures.origins.iter().find(|row| row.origin == Origin::Import);
    if !choice.plain && imported.is_some_and(|row| row.accepted + row.pending > 0) {
        remarks.push(
            "other fields of imported rows are sent as well; --format alpaca --plain leaves them out"
                .to_owned(),
        );
    }
    if words.license.is_none() {
        remarks.push("the card states no licence; --license says which, such as cc-by-4.0".to_owned());
    }
    Ok(DatasetFiles {
        files,
        card,
        remarks,
        scratch,
    })
}

async fn rows_of(store: &Store, choice: &DatasetChoice, split: Split, place: &Path) -> Result<usize> {
    let filter = Filter {
        split: Some(split),
        ..choice.filter.clone()
    };
    let options = ExportOptions {
        plain: choice.plain,
        ..ExportOptions::default()
    };
    let written = export::export(store, choice.format, place, &filter, choice.min_score, options).await?;
    Ok(written.rows)
}

/// The ending of a file of this format. JSON is written as lines, which are read as a stream.
fn ending(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Parquet => "parquet",
        ExportFormat::Rows(_) => "jsonl",
    }
}

/// The choice of tasks in words, if there is one.
fn selection(choice: &DatasetChoice) -> Option<String> {
    let fields = serde_json::to_value(&choice.filter).unwrap_or_default();
    let mut words: Vec<String> = fields
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None => format!("{name} {value}"),
        })
        .collect();
    words.extend(choice.min_score.map(|score| format!("min_score {score}")));
    (!words.is_empty()).then(|| words.join(", "))
}
