//! README.md of a dataset: what it is, how it was made, under which terms, and its limits.

use std::fmt::Write;

use super::card::CardWords;
use super::markdown::{self, Head};
use super::repo::RepoId;
use crate::interchange::Format;
use crate::interchange::write::ExportFormat;
use crate::report::Figures;
use crate::report::card::terms_of;
use crate::task::Origin;
use crate::text::{chosen, counted};

/// The hub's names of sizes: below this many rows.
const SIZES: [(usize, &str); 5] = [
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
];

/// Rows of one split, written to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SplitFile {
    /// `train` or `test`.
    pub split: &'static str,
    /// The path in the repository.
    pub path: String,
    /// Rows.
    pub rows: usize,
}

/// What the card is made of.
pub(super) struct DatasetFacts<'a> {
    pub figures: &'a Figures,
    pub splits: &'a [SplitFile],
    pub format: ExportFormat,
    /// The choice of tasks in words; none if all were taken.
    pub selection: Option<String>,
}

/// Returns the text of README.md.
pub(super) fn of(id: &RepoId, facts: &DatasetFacts<'_>, words: &CardWords) -> String {
    let models = models(facts.figures);
    let mut card = head(facts, words, !models.is_empty());
    let _ = write!(
        card,
        "# {}\n\nInstructions with inputs and outputs, to teach a language model to follow instructions. \
         Made with `ewe`.\n\n",
        id.name
    );
    card += &contents(facts);
    card += &making(facts.figures, &models);
    card += &terms(&models, words);
    card += &limits(facts.figures);
    let load = format!(
        "from datasets import load_dataset\n\ndataset = load_dataset(\"{id}\")\nprint(dataset[\"{}\"][0])",
        facts.splits[0].split
    );
    card + "## How to use it\n\n" + &markdown::code("python", &load)
}

fn head(facts: &DatasetFacts<'_>, words: &CardWords, is_synthetic: bool) -> String {
    let mut head = Head::default();
    head.field("license", words.license.as_deref());
    head.list("language", &words.languages);
    head.list("task_categories", &["text-generation"]);
    let rows: usize = facts.splits.iter().map(|split| split.rows).sum();
    let size = SIZES.iter().find(|(below, _)| rows < *below);
    let size = size.map_or("n>10M", |(_, name)| name);
    // Such as the hub writes it, without quotes.
    head.lines(&format!("size_categories:\n- {size}\n"));
    let mut tags = vec!["ewe", "instruction-tuning"];
    if is_synthetic {
        tags.push("synthetic");
    }
    head.list("tags", &tags);
    head.lines("configs:\n- config_name: default\n  data_files:\n");
    for SplitFile { split, path, .. } in facts.splits {
        head.lines(&format!("  - split: {split}\n    path: {path}\n"));
    }
    head.end()
}

fn contents(facts: &DatasetFacts<'_>) -> String {
    let mut text = "## What is in it\n\n".to_owned();
    let rows: Vec<Vec<String>> = facts
        .splits
        .iter()
        .map(|split| {
            let about = match split.split {
                "train" => "to train on",
                _ => "held out for evaluation by `ewe split`",
            };
            vec![split.split.to_owned(), split.rows.to_string(), about.to_owned()]
        })
        .collect();
    text += &markdown::table(&["split", "rows", ""], &rows);
    if let Some(selection) = &facts.selection {
        let _ = write!(
            text,
            "These were chosen from a larger dataset: {}. Figures below are of all of it.\n\n",
            markdown::text(selection)
        );
    }
    let fields = match facts.format {
        ExportFormat::Parquet => {
            "`instruction`, `input` (may be empty), `output`; `name`, `is_classification`, `task_id` and others"
        }
        ExportFormat::Rows(Format::Alpaca) => "`instruction`, `input` (may be empty), `output`",
        ExportFormat::Rows(Format::Dolly) => {
            "`instruction`, `context` (may be empty), `response`, `category`"
        }
        ExportFormat::Rows(Format::Chat) => "`messages`, each with `role` and `content`",
        ExportFormat::Rows(Format::ShareGpt) => "`conversations`, each with `from` and `value`",
        ExportFormat::Rows(Format::Completion) => "`prompt`, `completion`",
        ExportFormat::Rows(_) => "`instruction`, `instances`, each with `input` and `output`",
    };
    let _ = write!(text, "Fields: {fields}. All texts.\n\n");
    text
}

/// The models that wrote tasks, by name.
fn models(figures: &Figures) -> Vec<&str> {
    let wrote = figures
        .runs
        .iter()
        .filter(|run| run.command == "generate" && run.tasks > 0);
    let mut models: Vec<&str> = wrote.filter_map(|run| run.model.as_deref()).collect();
    models.sort_unstable();
    models.dedup();
    models
}

/// The name of a model without the folders before it: those of this machine are nobody's business.
fn name(model: &str) -> String {
    let is_path = model.starts_with(['/', '.', '~']);
    match model.trim_end_matches('/').rsplit('/').next() {
        Some(last) if is_path => markdown::text(last),
        _ => markdown::text(model),
    }
}

fn making(figures: &Figures, models: &[&str]) -> String {
    let mut text = "## How it was made\n\n".to_owned();
    let kept = |origin: Origin| {
        let of = figures.origins.iter().find(|row| row.origin == origin);
        of.map_or(0, |row| row.accepted + row.pending)
    };
    let origins = [
        (
            Origin::Seed,
            "was written by people as a seed",
            "were written by people as seeds",
        ),
        (
            Origin::Machine,
            "was written by a model",
            "were written by a model",
        ),
        (Origin::Import, "was imported", "were imported"),
    ];
    for (origin, one, several) in origins {
        if kept(origin) > 0 {
            let _ = writeln!(
                text,
                "- {} {}",
                counted(kept(origin), "task"),
                if kept(origin) == 1 { one } else { several }
            );
        }
    }
    let candidates = &figures.candidates;
    if candidates.parsed > 0 {
        let _ = writeln!(
            text,
            "- of {}, {} the filter (rules, near-duplicates by ROUGE-L)",
            counted(candidates.parsed, "candidate"),
            chosen(candidates.accepted, "passed", "passed")
        );
    }
    let dataset = &figures.dataset;
    let _ = writeln!(
        text,
        "- people accepted {}; nobody has looked at {}; what was rejected is not in it",
        counted(dataset.accepted, "example"),
        dataset.pending
    );
    if !models.is_empty() {
        let names: Vec<String> = models.iter().map(|model| name(model)).collect();
        let _ = writeln!(text, "- models that wrote: {}", names.join(", "));
    }
    text + "\n"
}

fn terms(models: &[&str], words: &CardWords) -> String {
    let mut text = "## Licence and terms\n\n".to_owned();
    text += match &words.license {
        Some(_) => "The licence is named above.",
        None => "No licence is stated.",
    };
    if !models.is_empty() {
        text += " What a model wrote may be bound to the terms of that model. Going by their names:\n";
        for model in models {
            let terms = terms_of(model).unwrap_or("terms unknown here");
            let _ = write!(text, "\n- {}: {terms}", name(model));
        }
    }
    text + "\n\n"
}

fn limits(figures: &Figures) -> String {
    let mut text = "## Limits\n\n".to_owned();
    let dataset = &figures.dataset;
    if dataset.pending > 0 {
        let _ = writeln!(
            text,
            "- {} of {} seen by no person: what they say may be wrong, biased or harmful.",
            dataset.pending,
            chosen(dataset.examples, "example was", "examples were")
        );
    }
    text + "- Near-duplicates were found by the words that instructions have in common, not by what they mean.\n\
            - Rules over meaning know English.\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_stay_here() {
        assert_eq!(name("/home/ann/models/gemma-3"), "gemma-3");
        assert_eq!(name("../models/gemma/"), "gemma");
        assert_eq!(name("google/gemma-3-270m (chat)"), "google/gemma-3-270m (chat)");
    }
}
