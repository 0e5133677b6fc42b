//! What `ewe gain` has done, in a file beside its result: `tuned.gain.json` beside `tuned`. It is
//! not within, since the name of a model is a digest of the files in its folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::job::{GainJob, beside};
use super::sides::Sides;
use super::steps;
use crate::atomic_file::{self, AtomicFile, scratch};
use crate::settings_file;
use crate::text::shell_word;

/// Version of the format, raised when its meaning changes.
const VERSION: u32 = 1;

/// Files of a training run's folder that mark that it has begun, and that it is finished.
const BEGUN: &str = "run.json";
const FINISHED: [&str; 3] = [
    "adapter_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
];
/// The lock in such a folder, which a killed run leaves.
const LOCK: &str = ".lock";

/// What was done, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// What the answers of the base model depend on.
    base: Base,
    /// What the tuned model depends on besides.
    training: TrainingBasis,
    /// The most tokens of an answer.
    max_tokens: Option<u64>,
    /// The evaluation of the base model.
    pub before: Option<i64>,
    /// Whether the model is trained.
    pub is_trained: bool,
    /// The evaluation of the tuned model.
    pub after: Option<i64>,
    /// The run of `ewe influence`.
    pub influence: Option<i64>,
    /// The choice of rows after that run, on whose values it may depend.
    choice_since: Option<String>,
    /// The model that is trained without the worst rows.
    pub without_worst: Option<WithoutWorst>,
}

/// A model that is trained without some rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithoutWorst {
    /// The tasks that are left out.
    pub tasks: Vec<i64>,
    /// Whether it is trained.
    pub is_trained: bool,
    /// Its evaluation.
    pub after: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    db: PathBuf,
    model: PathBuf,
    /// Names, sizes and times of its files; none for a model on the hub.
    model_files: Vec<(String, u64, u64)>,
    template: String,
    seed: u64,
    held_out: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TrainingBasis {
    options: Vec<String>,
    condition: Option<String>,
    rows: String,
    choice: String,
}

impl Record {
    /// Returns the record of a job of which nothing is done.
    ///
    /// # Errors
    ///
    /// If the model's folder cannot be read.
    pub fn fresh(job: &GainJob, sides: &Sides) -> Result<Record> {
        let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Record {
            version: VERSION,
            base: Base {
                db: full(&job.db),
                model: full(&job.model),
                model_files: files_of(&job.model)?,
                template: steps::template(job).to_string_lossy().into_owned(),
                seed: job.seed,
                held_out: sides.held_out_digest.clone(),
            },
            training: TrainingBasis {
                options: job.training.options.clone(),
                condition: job.training.condition.clone(),
                rows: sides.training_digest.clone(),
                choice: sides.choice_digest.clone(),
            },
            max_tokens: job.max_tokens,
            before: None,
            is_trained: false,
            after: None,
            influence: None,
            choice_since: None,
            without_worst: None,
        })
    }

    /// Returns the record with which the job goes on: what is done of it, if anything is.
    ///
    /// # Errors
    ///
    /// If the result's folder has something else, or the result of another job; the message says
    /// what differs.
    pub fn take_up(job: &GainJob, sides: &Sides) -> Result<Record> {
        let fresh = Record::fresh(job, sides)?;
        let old = read(&place(&job.out))?;
        let is_begun = has_begun(&job.out);
        let Some(old) = old.filter(|_| is_begun || is_empty(&job.out)) else {
            if is_empty(&job.out) {
                return Ok(fresh);
            }
            bail!(
                "`{}` is not empty, and not of `ewe gain`\nhint: another folder for the result",
                job.out.display()
            );
        };
        let of_base = old.base_differs(&fresh);
        if !is_begun {
            // Nothing depends on how it was to be trained.
            let has_same_answers = of_base.is_empty() && old.max_tokens == fresh.max_tokens;
            return Ok(Record {
                before: old.before.filter(|_| has_same_answers),
                ..fresh
            });
        }
        let differing = [of_base, old.training_differs(&fresh)].concat();
        if !differing.is_empty() {
            bail!(
                "`{}` is the result of another `ewe gain`: it has other {}\nhint: another folder for the result, or \
                 `rm -r {} {}` to begin anew",
                job.out.display(),
                differing.join(", "),
                shell_word(&job.out),
                shell_word(&place(&job.out))
            );
        }
        Ok(old.asked_with(job.max_tokens))
    }

    /// What differs of what the answers of the base model depend on, in words.
    fn base_differs(&self, now: &Record) -> Vec<&'static str> {
        let (then, now) = (&self.base, &now.base);
        named(&[
            (then.db != now.db, "dataset"),
            (then.model != now.model, "model"),
            (then.model_files != now.model_files, "files of the model"),
            (then.template != now.template, "template"),
            (then.seed != now.seed, "seed"),
            (then.held_out != now.held_out, "held-out tasks"),
        ])
    }

    /// What differs of what the tuned model depends on besides, in words.
    fn training_differs(&self, now: &Record) -> Vec<&'static str> {
        let (then, choice) = (&self.training, &now.training.choice);
        // Values that a choice depends on are new when `ewe influence` has ended, which may not
        // have been noted.
        let is_same_choice = then.choice == *choice
            || self.choice_since.as_ref() == Some(choice)
            || self.is_trained && self.influence.is_none();
        let now = &now.training;
        named(&[
            (
                then.options != now.options || then.condition != now.condition,
                "options of `ewe train`",
            ),
            (then.rows != now.rows, "rows to train on"),
            (!is_same_choice, "choice of rows"),
        ])
    }

    /// Forgets answers that have another bound.
    fn asked_with(self, max_tokens: Option<u64>) -> Record {
        if self.max_tokens == max_tokens {
            return self;
        }
        Record {
            max_tokens,
            before: None,
            after: None,
            without_worst: self.without_worst.map(|without| WithoutWorst {
                after: None,
                ..without
            }),
            ..self
        }
    }

    /// Notes the run of `ewe influence`, and the choice of rows since.
    pub fn note_influence(&mut self, run: i64, sides: &Sides) {
        self.influence = Some(run);
        self.choice_since = Some(sides.choice_digest.clone());
    }

    /// Whether the options choose other rows now than when the model was trained.
    pub fn chooses_others(&self) -> bool {
        self.choice_since
            .as_ref()
            .is_some_and(|since| *since != self.training.choice)
    }

    /// Writes it beside the result.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let place = place(out);
        let folder = atomic_file::parent(&place);
        if !folder.exists() {
            atomic_file::make_folder(folder)?;
        }
        let mut file = AtomicFile::begin(&place)?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        file.write_all(text.as_bytes())
            .with_context(|| atomic_file::cannot_write(&place))?;
        file.commit()
    }
}

/// The names of those that are so.
fn named(all: &[(bool, &'static str)]) -> Vec<&'static str> {
    all.iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, name)| *name)
        .collect()
}

/// Returns where the record of the result in `out` is.
pub fn place(out: &Path) -> PathBuf {
    beside(out, ".gain.json")
}

fn read(place: &Path) -> Result<Option<Record>> {
    if !place.exists() {
        return Ok(None);
    }
    let text = settings_file::read(place, settings_file::LONGEST)
        .with_context(|| format!("cannot read `{}`", place.display()))?;
    match serde_json::from_slice::<Record>(&text) {
        Ok(record) if record.version == VERSION => Ok(Some(record)),
        _ => bail!(
            "`{}` is no record of this version of ewe\nhint: another folder for the result, or remove the file to begin anew",
            place.display()
        ),
    }
}

/// Whether a training run has begun in this folder.
pub fn has_begun(out: &Path) -> bool {
    out.join(BEGUN).is_file()
}

/// Whether a training run in this folder is finished.
pub fn is_finished(out: &Path) -> bool {
    FINISHED.iter().any(|name| out.join(name).is_file())
}

/// Whether a training run can begin in this folder.
pub fn is_empty(out: &Path) -> bool {
    match std::fs::read_dir(out) {
        Ok(mut entries) => entries.all(|entry| {
            entry.is_ok_and(|entry| entry.file_name() == LOCK || scratch::is_named(&entry.file_name()))
        }),
        // A missing folder is empty, and a file is none.
        Err(_) => !out.exists(),
    }
}

/// Names, sizes and times of the files of a local model.
fn files_of(model: &Path) -> Result<Vec<(String, u64, u64)>> {
    if !model.is_dir() {
        return Ok(Vec::new());
    }
    let context = || format!("cannot read `{}`", model.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(model).with_context(context)? {
        let entry = entry.with_context(context)?;
        // Follows links, as the cache of the hub has them.
        let Ok(metadata) = entry.path().metadata() else {
            continue;
        };
        if metadata.is_file() {
            let modified = metadata.modified().ok();
            let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push((name, metadata.len(), since.unwrap_or_default().as_secs()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gain::job::tests::job;

    fn sides(rows: &str, choice: &str) -> Sides {
        Sides {
            held_out: vec![1, 2],
            held_out_digest: "held".into(),
            training_digest: rows.into(),
            choice_digest: choice.into(),
            has_seeds: true,
        }
    }

    /// A job whose result has begun, and its record.
    fn begun() -> (tempfile::TempDir, GainJob) {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job();
        job.out = dir.path().join("tuned");
        let mut record = Record::take_up(&job, &sides("rows", "all")).unwrap();
        record.before = Some(7);
        record.write(&job.out).unwrap();
        std::fs::create_dir(&job.out).unwrap();
        (dir, job)
    }

    #[test]
    fn what_is_done_is_taken_up_and_another_result_refused() {
        let (_dir, job) = begun();
        let again = |job: &GainJob, sides: &Sides| Record::take_up(job, sides);
        let (same, fewer) = (sides("rows", "all"), sides("fewer", "all"));
        assert_eq!(again(&job, &same).unwrap().before, Some(7));
        // Before it is trained, only the answers of the base model count.
        assert_eq!(again(&job, &fewer).unwrap().before, Some(7));
        let shorter = GainJob {
            max_tokens: Some(9),
            ..job.clone()
        };
        assert_eq!(again(&shorter, &same).unwrap().before, None);
        std::fs::write(job.out.join(BEGUN), "{}").unwrap();
        assert_eq!(again(&job, &same).unwrap().before, Some(7));
        assert_eq!(again(&shorter, &same).unwrap().before, None);
        let said = again(&job, &fewer).unwrap_err().to_string();
        assert!(
            said.contains("another `ewe gain`: it has other rows to train on\nhint: another folder"),
            "{said}"
        );
        let mut other = job.clone();
        other.seed = 5;
        other.training.options = vec!["--epochs".into(), "2".into()];
        let said = again(&other, &same).unwrap_err().to_string();
        assert!(said.contains("other seed, options of `ewe train`"), "{said}");
        std::fs::remove_file(place(&job.out)).unwrap();
        let said = again(&job, &same).unwrap_err().to_string();
        assert!(said.contains("not empty, and not of `ewe gain`"), "{said}");
    }

    #[test]
    fn a_choice_by_influence_may_change_when_that_is_computed() {
        let (_dir, job) = begun();
        std::fs::write(job.out.join(BEGUN), "{}").unwrap();
        let (then, now) = (sides("rows", "all"), sides("rows", "best"));
        assert!(Record::take_up(&job, &now).is_err());
        let mut record = Record::take_up(&job, &then).unwrap();
        record.is_trained = true;
        record.write(&job.out).unwrap();
        let mut record = Record::take_up(&job, &now).unwrap();
        assert!(!record.chooses_others());
        record.note_influence(3, &now);
        record.write(&job.out).unwrap();
        assert!(Record::take_up(&job, &now).unwrap().chooses_others());
        assert!(Record::take_up(&job, &sides("rows", "third")).is_err());
    }

    #[test]
    fn a_damaged_record_is_named() {
        let (_dir, job) = begun();
        std::fs::write(place(&job.out), "{\"version\": 99}").unwrap();
        let said = Record::take_up(&job, &sides("rows", "all"))
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("tuned.gain.json") && said.contains("hint: "),
            "{said}"
        );
    }
}
