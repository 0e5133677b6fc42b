//! The result of an evaluation: figures as JSON, answers as rows of a file and of the dataset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::contamination::{Found, TrainingData};
use super::scoring;
use crate::job::eval::EvalJob;
use crate::pipeline::answers::{Answer, Answers};
use crate::store::asked::evaluation::{NewEvaluation, NewEvaluationAnswer};
use crate::suite::checks::ProgramPolicy;
use crate::suite::figures::{Figures, Scores, by_category};
use crate::suite::interval::RESAMPLES;
use crate::suite::item::{Item, Suite, SuiteKind};

/// What came of an item.
#[derive(Debug, Clone, Default)]
pub struct ResultRow {
    /// The answer; none if the request failed.
    pub answer: Option<Answer>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Its scores.
    pub scores: Scores,
    /// Whether the scores are of a part of the answer, which is too long.
    pub is_cut: bool,
    /// Where the item is in the training rows.
    pub found: Option<Found>,
}

/// What came of a suite.
#[derive(Debug, Clone)]
pub struct SuiteResult<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// A row for each item.
    pub rows: Vec<ResultRow>,
}

/// The figures of a suite.
#[derive(Debug, Clone)]
pub struct SuiteFigures {
    /// Of all answers.
    pub all: Figures,
    /// Of those whose items were not found in the training rows; none if none was found.
    pub without_contaminated: Option<Figures>,
    /// Of each category, as JSON.
    pub categories: BTreeMap<String, Value>,
    /// Items found in the training rows.
    pub contaminated: usize,
    /// Items whose request failed, and why, most frequent first.
    pub failures: Vec<(usize, String)>,
    /// Items whose input was shortened.
    pub cut_inputs: usize,
    /// Answers that were scored in part.
    pub cut_answers: usize,
    /// Answers without a grade although there is a judge.
    pub ungraded: usize,
    /// All of it as JSON.
    pub json: Value,
}

/// The training rows that were searched.
#[derive(Debug, Clone)]
pub struct Searched {
    /// The number of tasks.
    pub tasks: usize,
    /// The files; none for those of the dataset.
    pub files: Vec<PathBuf>,
}

/// A whole evaluation.
#[derive(Debug, Clone)]
pub struct Evaluated<'a> {
    /// The name of the model.
    pub model: String,
    /// The judge.
    pub judge: Option<String>,
    /// The run that trained the model.
    pub train_run_id: Option<i64>,
    /// Whether training rows were searched.
    pub searched: Option<Searched>,
    /// Whether the model told the likelihood of references.
    pub has_likelihood: bool,
    /// What came of each suite.
    pub results: Vec<SuiteResult<'a>>,
    /// The figures of each.
    pub figures: Vec<SuiteFigures>,
    /// The content of `--out`.
    pub json: Value,
}

impl<'a> SuiteResult<'a> {
    /// Scores the answers to a suite, in order of its items.
    pub fn of(suite: &'a Suite, answers: Answers, programs: ProgramPolicy) -> SuiteResult<'a> {
        let row = |(item, answer): (&Item, _)| match answer {
            Some(Ok(answer)) => {
                let (scores, is_cut) = scoring::scores(suite.spec.kind, item, &answer, programs);
                ResultRow {
                    answer: Some(answer),
                    scores,
                    is_cut,
                    ..ResultRow::default()
                }
            }
            Some(Err(why)) => ResultRow {
                failure: Some(why),
                ..ResultRow::default()
            },
            None => ResultRow::default(),
        };
        SuiteResult {
            suite,
            rows: suite.items.iter().zip(answers).map(row).collect(),
        }
    }

    /// Looks for the items in the training rows.
    pub fn search(&mut self, training: &TrainingData) {
        for (row, found) in self.rows.iter_mut().zip(training.find(&self.suite.items)) {
            row.found = found;
        }
    }

    /// Items that were answered, with their scores.
    fn answered(&self) -> impl Iterator<Item = (&Item, &ResultRow)> {
        let rows = self.suite.items.iter().zip(&self.rows);
        rows.filter(|(_, row)| row.answer.is_some())
    }

    /// Computes the figures.
    fn figures(&self, seed: u64, has_judge: bool) -> SuiteFigures {
        let scored = || self.answered().map(|(item, row)| (item, &row.scores));
        let clean = self.answered().filter(|(_, row)| row.found.is_none());
        let contaminated = self.rows.iter().filter(|row| row.found.is_some()).count();
        let graded = matches!(self.suite.spec.kind, SuiteKind::Instructions | SuiteKind::HeldOut);
        let mut figures = SuiteFigures {
            all: Figures::of(scored(), seed),
            without_contaminated: (contaminated > 0)
                .then(|| Figures::of(clean.map(|(item, row)| (item, &row.scores)), seed)),
            categories: by_category(self.suite.spec.kind, scored(), seed),
            contaminated,
            failures: self.failures(),
            cut_inputs: self.suite.items.iter().filter(|item| item.is_cut).count(),
            cut_answers: self.rows.iter().filter(|row| row.is_cut).count(),
            ungraded: match has_judge && graded {
                true => scored().filter(|(_, scores)| scores.rating.is_none()).count(),
                false => 0,
            },
            json: Value::Null,
        };
        figures.json = self.to_json(&figures);
        figures
    }

    /// Why requests failed, most frequent first.
    fn failures(&self) -> Vec<(usize, String)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for why in self.rows.iter().filter_map(|row| row.failure.as_deref()) {
            *counts.entry(why).or_default() += 1;
        }
        let mut failures: Vec<(usize, String)> = counts
            .into_iter()
            .map(|(why, count)| (count, why.to_owned()))
            .collect();
        failures.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        failures
    }

    fn to_json(&self, figures: &SuiteFigures) -> Value {
        let mut json = figures.all.to_json();
        let source = self.suite.spec.source.display().to_string();
        let left_out: Map<String, Value> = self
            .suite
            .left_out
            .iter()
            .map(|(count, what)| ((*what).to_owned(), json!(count)))
            .collect();
        let failures: Vec<Value> = figures
            .failures
            .iter()
            .map(|(count, words)| json!({"count": count, "words": words}))
            .collect();
        let failed: usize = figures.failures.iter().map(|(count, _)| count).sum();
        let more = json!({
            "categories": figures.categories,
            "contaminated": figures.contaminated,
            "without_contaminated": figures.without_contaminated.as_ref().map(Figures::to_json),
            "failed": failed,
            "failures": failures,
            "left_out": left_out,
            "cut_inputs": figures.cut_inputs,
            "cut_answers": figures.cut_answers,
            "ungraded": figures.ungraded,
            "source": source,
        });
        if let Value::Object(more) = more {
            json.extend(more);
        }
        Value::Object(json)
    }
}

impl<'a> Evaluated<'a> {
    /// Computes all figures.
    pub fn of(
        job: &EvalJob,
        model: String,
        results: Vec<SuiteResult<'a>>,
        judge: Option<String>,
        searched: Option<Searched>,
        has_likelihood: bool,
        train_run_id: Option<i64>,
    ) -> Evaluated<'a> {
        let figures: Vec<SuiteFigures> = results
            .iter()
            .map(|result| result.figures(job.seed, judge.is_some()))
            .collect();
        let suites: Map<String, Value> = results
            .iter()
            .zip(&figures)
            .map(|(result, figures)| (result.suite.name.clone(), figures.json.clone()))
            .collect();
        let training = searched.as_ref().map(|searched| {
            json!({"tasks": searched.tasks, "files": searched.files, "db": searched.files.is_empty().then_some(&job.db)})
        });
        let json = json!({
            "suites": suites,
            "model": model,
            "judge": judge,
            "train_run": train_run_id,
            "computed_from": {
                "ewe": env!("CARGO_PKG_VERSION"),
                "answers": results.iter().map(|result| result.answered().count()).sum::<usize>(),
                "training_data": training,
                "likelihood": has_likelihood,
                "temperature": job.temperature,
                "punkt": job.punkt.as_ref().map(|dir| dir.display().to_string()),
                "max_tokens": results.iter().map(|result| {
                    let kind = result.suite.spec.kind;
                    (result.suite.name.clone(), json!(job.max_tokens.unwrap_or(kind.max_tokens())))
                }).collect::<Map<_, _>>(),
                "seed": job.seed,
                "interval": format!("95 %, {RESAMPLES} bootstrap resamples of groups"),
            },
        });
        Evaluated {
            model,
            judge,
            train_run_id,
            searched,
            has_likelihood,
            results,
            figures,
            json,
        }
    }

    /// Returns the rows of `--answers`.
    pub fn answer_rows(&self) -> impl Iterator<Item = Value> {
        self.results.iter().flat_map(|result| {
            let rows = result.suite.items.iter().zip(&result.rows);
            rows.map(|(item, row)| answer_row(result.suite, item, row))
        })
    }

    /// Returns the suites with their answers as they are stored. Failed requests have no row.
    pub fn to_store(&self, run_id: i64) -> Vec<(NewEvaluation<'_>, Vec<NewEvaluationAnswer<'_>>)> {
        self.results
            .iter()
            .zip(&self.figures)
            .map(|(result, figures)| {
                let new = NewEvaluation {
                    run_id,
                    suite: result.suite.spec.kind.as_str(),
                    source: result.suite.spec.source.to_str().unwrap_or_default(),
                    model: &self.model,
                    train_run_id: self.train_run_id,
                    result: &figures.json,
                };
                let rows = result.suite.items.iter().zip(&result.rows);
                (new, rows.filter_map(|(item, row)| stored(item, row)).collect())
            })
            .collect()
    }
}

/// A row of `--answers`.
fn answer_row(suite: &Suite, item: &Item, row: &ResultRow) -> Value {
    let mut json = json!({
        "suite": suite.name,
        "task": item.key,
        "category": item.category,
        "prompt": item.question.text(),
        "answer": row.answer.as_ref().map(|answer| &answer.text),
        "finish_reason": row.answer.as_ref().map(|answer| answer.finish_reason.as_str()),
        "references": item.references,
        "scores": row.scores,
        "found_in": row.found.as_ref().map(Found::to_json),
    });
    if let Some(why) = &row.failure {
        json["error"] = why.as_str().into();
    }
    json
}

/// A row of table `evaluation_answer`.
fn stored<'a>(item: &'a Item, row: &'a ResultRow) -> Option<NewEvaluationAnswer<'a>> {
    let answer = row.answer.as_ref()?;
    Some(NewEvaluationAnswer {
        item: &item.key,
        category: item.category.as_deref(),
        task_id: item.task_id,
        prompt: item.question.text(),
        answer: &answer.text,
        finish_reason: answer.finish_reason.as_str(),
        references: &item.references,
        scores: json!(row.scores),
        found_in: row.found.as_ref().and_then(|found| found.task_id),
    })
}
