//! The steps in their order, and what of them is left to do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::child::Runner;
use super::job::GainJob;
use super::paired::{self, Comparison, ScoredAnswer};
use super::record::{self, Record, WithoutWorst};
use super::sides::{self, Sides};
use super::steps::{self, Asked};
use crate::job::influence::ProjectionNoise;
use crate::push::repo::is_id;
use crate::store::Store;
use crate::store::query::evaluation::InfluentialRow;
use crate::suite::item::SuiteKind;
use crate::text::counted;

/// Evaluations that are looked at for the one that a step has just stored.
const LATEST: i64 = 20;
/// Characters of a row that are read: its first words are shown.
const CHARACTERS: i64 = 300;

/// A job of which it is known what is left to do.
pub struct Begun<'a> {
    job: &'a GainJob,
    sides: Sides,
    record: Record,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The base model and the tuned one.
    pub comparison: Comparison,
    /// All held-out tasks.
    pub held_out: usize,
    /// The evaluations before and after.
    pub evaluations: [i64; 2],
    /// What rows did; none for a model of which every weight was trained.
    pub influence: Option<FoundInfluence>,
    /// The tuned model, and one without the worst rows.
    pub without_worst: Option<FoundWithout>,
}

/// What rows did to the loss on held-out tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundInfluence {
    /// The run of `ewe influence`.
    pub run: i64,
    /// The rows that raised it most, the worst first.
    pub worst: Vec<InfluentialRow>,
    /// What the projection of gradients does to influences, if that is known.
    pub noise: Option<ProjectionNoise>,
}

/// Whether it helped to leave rows out.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundWithout {
    /// It was tried.
    Compared {
        /// Directory of the model.
        out: PathBuf,
        /// The tasks that were left out.
        tasks: Vec<i64>,
        /// Its evaluation.
        evaluation: i64,
        /// The model with these rows, and without.
        comparison: Comparison,
    },
    /// No row made it worse.
    NoRows,
    /// The options choose other rows now that influence is known, so there would be two changes.
    OtherChoice,
}

impl Begun<'_> {
    /// Looks at the dataset, the model, and the folder of the result, before anything is done.
    ///
    /// # Errors
    ///
    /// If there is nothing to train on or no model, or if the folder has something else.
    pub async fn of(job: &GainJob) -> Result<Begun<'_>> {
        check_model(&job.model)?;
        if job.out.file_name().is_none() {
            bail!(
                "`{}` has no name of its own\nhint: name a folder",
                job.out.display()
            );
        }
        let sides = sides::read(job).await?;
        let record = Record::take_up(job, &sides)?;
        let other = job.out_without_worst();
        if job.check_worst && record.without_worst.is_none() && !record::is_empty(&other) {
            bail!(
                "`{}` is not empty, and would receive the model that is trained without the worst rows\nhint: another folder for the \
                 result, or remove this one",
                other.display()
            );
        }
        Ok(Begun { job, sides, record })
    }

    /// Does what is left to do.
    ///
    /// # Errors
    ///
    /// [`super::child::Stopped`] if a step fails or is interrupted; if the dataset or the record
    /// fails.
    pub async fn go(mut self, runner: &mut Runner) -> Result<Found> {
        let job = self.job;
        self.split(runner).await?;
        self.record.write(&job.out)?;
        let before = self.ask(runner, Asked::Base, self.record.before).await?;
        self.record.before = Some(before.0);
        self.record.write(&job.out)?;
        if !(self.record.is_trained && record::is_finished(&job.out)) {
            let is_resumed = record::has_begun(&job.out);
            runner.run(&steps::train(job, &job.out, &[], is_resumed)).await?;
            self.record.is_trained = true;
            self.record.write(&job.out)?;
        }
        let after = self
            .ask(runner, Asked::Tuned(&job.out), self.record.after)
            .await?;
        self.record.after = Some(after.0);
        self.record.write(&job.out)?;
        let influence = match job.makes_adapter() {
            true => Some(self.influence(runner).await?),
            false => None,
        };
        let without_worst = match (&influence, job.check_worst) {
            (Some(influence), true) => Some(self.without(runner, influence, &after.1).await?),
            _ => None,
        };
        Ok(Found {
            comparison: paired::compare(&before.1, &after.1, &self.sides.held_out),
            held_out: self.sides.held_out.len(),
            evaluations: [before.0, after.0],
            influence,
            without_worst,
        })
    }

    /// Holds tasks out, unless some are.
    async fn split(&mut self, runner: &mut Runner) -> Result<()> {
        let held_out = self.sides.held_out.len();
        if held_out > 0 {
            runner.say(&format!(
                "{}: {} by its split, which is used as it is",
                self.job.db.display(),
                crate::text::chosen(held_out, "task is held out", "tasks are held out")
            ));
            return Ok(());
        }
        let step = steps::split(self.job, self.sides.has_seeds);
        runner.run(&step).await?;
        self.sides = sides::read(self.job).await?;
        if self.sides.held_out.is_empty() {
            bail!("`{}` held nothing out", step.line());
        }
        self.record = Record::fresh(self.job, &self.sides)?;
        Ok(())
    }

    /// Has a model answer the held-out tasks, unless it did. Returns the evaluation with its
    /// answers.
    async fn ask(
        &self,
        runner: &mut Runner,
        asked: Asked<'_>,
        known: Option<i64>,
    ) -> Result<(i64, Vec<ScoredAnswer>)> {
        if let Some(id) = known {
            let answers = self.answers(id).await?;
            // They are gone if the dataset was replaced by a copy from before.
            if !answers.is_empty() {
                return Ok((id, answers));
            }
        }
        let last = self.latest_evaluation().await?;
        let step = steps::evaluate(self.job, asked);
        runner.run(&step).await?;
        let id = self.latest_evaluation().await?;
        let Some(id) = id.filter(|id| last.is_none_or(|last| *id > last)) else {
            bail!("`{}` has stored no result", step.line());
        };
        Ok((id, self.answers(id).await?))
    }

    async fn answers(&self, evaluation: i64) -> Result<Vec<ScoredAnswer>> {
        let store = Store::open(&self.job.db).await?;
        let answers = store.answer_scores(evaluation).await;
        store.close().await;
        Ok(paired::read(answers?))
    }

    /// Returns the latest evaluation by held-out tasks.
    async fn latest_evaluation(&self) -> Result<Option<i64>> {
        let store = Store::open(&self.job.db).await?;
        let evaluations = store.evaluations(LATEST).await;
        store.close().await;
        let suite = SuiteKind::HeldOut.as_str();
        let of_suite = evaluations?.into_iter().filter(|of| of.suite == suite);
        Ok(of_suite.map(|of| of.id).max())
    }

    /// Computes the influence of rows, unless that was done.
    async fn influence(&mut self, runner: &mut Runner) -> Result<FoundInfluence> {
        let run = match self.record.influence {
            Some(run) => run,
            None => {
                let step = steps::influence(self.job);
                runner.run(&step).await?;
                let run = self.latest_influence().await?;
                run.with_context(|| format!("`{}` has stored no result", step.line()))?
            }
        };
        if self.record.influence.is_none() {
            let since = sides::read(self.job).await?;
            self.record.note_influence(run, &since);
            self.record.write(&self.job.out)?;
        }
        let store = Store::open(&self.job.db).await?;
        let worst = store
            .influential_rows(run, false, i64::from(self.job.rows), CHARACTERS)
            .await;
        let runs = store.runs_of("influence").await;
        store.close().await;
        let config = runs?.into_iter().find(|(id, _, _)| *id == run);
        Ok(FoundInfluence {
            run,
            worst: worst?,
            noise: config.and_then(|(_, config, _)| ProjectionNoise::of_config(&config)),
        })
    }

    /// Returns the latest run of `ewe influence`, if it is of this result.
    async fn latest_influence(&self) -> Result<Option<i64>> {
        let store = Store::open(&self.job.db).await?;
        let latest = store.latest_influence().await;
        store.close().await;
        let out = std::path::absolute(&self.job.out)?.display().to_string();
        let is_of = |config: &str| {
            let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
            config["run_dir"] == *out
        };
        Ok(latest?
            .filter(|latest| is_of(&latest.config))
            .map(|latest| latest.run_id))
    }

    /// Trains once more without the worst rows, and compares.
    async fn without(
        &mut self,
        runner: &mut Runner,
        influence: &FoundInfluence,
        with: &[ScoredAnswer],
    ) -> Result<FoundWithout> {
        let job = self.job;
        if self.record.chooses_others() {
            return Ok(FoundWithout::OtherChoice);
        }
        let mut tasks: Vec<i64> = influence.worst.iter().map(|row| row.task_id).collect();
        tasks.sort_unstable();
        tasks.dedup();
        if tasks.is_empty() {
            return Ok(FoundWithout::NoRows);
        }
        let out = job.out_without_worst();
        let mut done = self.done_without(&tasks, &out)?;
        self.note_without(&done)?;
        if !(done.is_trained && record::is_finished(&out)) {
            let is_resumed = record::has_begun(&out);
            runner.run(&steps::train(job, &out, &tasks, is_resumed)).await?;
            done.is_trained = true;
            self.note_without(&done)?;
        }
        let (evaluation, without) = self.ask(runner, Asked::Tuned(&out), done.after).await?;
        done.after = Some(evaluation);
        self.note_without(&done)?;
        Ok(FoundWithout::Compared {
            comparison: paired::compare(with, &without, &self.sides.held_out),
            out,
            tasks,
            evaluation,
        })
    }

    /// What was done of the model without these tasks.
    fn done_without(&self, tasks: &[i64], out: &Path) -> Result<WithoutWorst> {
        match &self.record.without_worst {
            Some(done) if done.tasks == tasks => Ok(done.clone()),
            Some(done) if !record::is_empty(out) => bail!(
                "`{}` is trained without {}, and now it would be {}\nhint: --rows as before, or remove the folder",
                out.display(),
                counted(done.tasks.len(), "task"),
                tasks.len()
            ),
            _ => Ok(WithoutWorst {
                tasks: tasks.to_vec(),
                is_trained: false,
                after: None,
            }),
        }
    }

    fn note_without(&mut self, done: &WithoutWorst) -> Result<()> {
        self.record.without_worst = Some(done.clone());
        self.record.write(&self.job.out)
    }
}

/// Fails if the model is neither a directory with a model nor can be one of the hub, which the
/// first step that needs it looks up.
fn check_model(model: &Path) -> Result<()> {
    let what = match model.exists() {
        true if model.join("config.json").is_file() => return Ok(()),
        true => "no model is in",
        false if model.to_str().is_some_and(is_id) => return Ok(()),
        false => "no model is at",
    };
    bail!(
        "{what} `{}`\nhint: a directory with config.json, weights and tokenizer, or an id on the Hugging Face hub",
        model.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_directory_or_can_be_an_id() {
        let dir = tempfile::tempdir().unwrap();
        let said = check_model(dir.path()).unwrap_err().to_string();
        assert!(
            said.starts_with("no model is in") && said.contains("hint: "),
            "{said}"
        );
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        check_model(dir.path()).unwrap();
        check_model(Path::new("google/gemma-3-270m")).unwrap();
        for missing in ["./nowhere", "a/b/c", "/nowhere"] {
            let said = check_model(Path::new(missing)).unwrap_err().to_string();
            assert!(said.starts_with("no model is at"), "{said}");
        }
    }
}
