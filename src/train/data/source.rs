//! Reads the rows of a dataset or of files. A dataset also records the run.

use super::dataset::{Row, Rows};
use crate::model::text::chat_template::ChatMessage;
use crate::model::text::turns;
use crate::train::say;
use anyhow::{Context, Result, bail};
use ewe::finetune::AnswerLoss;
use ewe::interchange::left_out::LeftOut;
use ewe::interchange::notes::Notes;
use ewe::interchange::turns::{first_answer, from_answer};
use ewe::interchange::{Location, ParsedRow, read};
use ewe::job::rows::RowsFile;
use ewe::job::train::{RowSource, TrainJob};
use ewe::pipeline::split::similar;
use ewe::pipeline::split::training_rows::{self, Taken, TrainingRows};
use ewe::reasoning::{self, ReasoningChoice};
use ewe::store::{DatasetRow, Filter, RunStatus, Store};
use ewe::task::Turn;
use ewe::text::{chosen, counted, noun};
use std::collections::HashSet;
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

/// The rows of a run, and the dataset that records the run if they come from one.
pub struct Source {
    /// The rows.
    pub rows: Rows,
    /// What was taken of a dataset.
    pub taken: Option<Taken>,
    recorder: Option<RunRecorder>,
}

struct RunRecorder {
    runtime: Runtime,
    store: Store,
    run: Option<i64>,
}

impl Drop for RunRecorder {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.clone().close());
    }
}

impl Source {
    /// Reads the rows of a run, and those that it is evaluated on. Says what it took.
    ///
    /// # Errors
    ///
    /// Names the file or dataset that cannot be read, or what does not go together.
    pub fn open(job: &TrainJob, quiet: bool) -> Result<Source> {
        let mut files = FilesReader::begin(job, quiet)?;
        let mut source = match &job.rows {
            RowSource::Dataset { path, filter } => Source::open_dataset(path, filter, job, quiet)?,
            RowSource::Files(paths) => Source {
                rows: files.read(paths)?,
                taken: None,
                recorder: None,
            },
        };
        let beside = job
            .eval_data
            .as_ref()
            .map(|file| Ok::<_, anyhow::Error>((file, files.read(std::slice::from_ref(file))?)));
        let beside = beside.transpose()?;
        files.end()?;
        if let Some((file, beside)) = beside {
            source.evaluate_on(&file.path, beside, quiet)?;
        }
        Ok(source)
    }

    fn open_dataset(path: &Path, filter: &Filter, job: &TrainJob, quiet: bool) -> Result<Source> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        let recorder = RunRecorder {
            store: runtime.block_on(Store::open_to_read(path))?,
            runtime,
            run: None,
        };
        recorder.runtime.block_on(recorder.store.check_choices(filter))?;
        let loaded = recorder
            .runtime
            .block_on(training_rows::load(&recorder.store, filter))?;
        let TrainingRows {
            train,
            held_out,
            taken,
        } = match job.loss {
            AnswerLoss::All => loaded.without_beginnings(),
            AnswerLoss::Last => loaded,
        };
        say(quiet, &format!("{}: {taken}", path.display()));
        let eval = match (held_out.is_empty(), job.eval_fraction) {
            (true, _) => None,
            (false, Some(fraction)) if fraction > 0.0 => bail!(
                "--eval-fraction {fraction} would hold out other tasks than the dataset's own, of which {}\nhint: leave it away to \
                 evaluate on these; --eval-fraction 0 evaluates nothing; `ewe split --clear` makes them ordinary tasks again",
                chosen(taken.held_out, "row is held out", "rows are held out")
            ),
            (false, Some(_)) => Some(Vec::new()),
            (false, None) => Some(held_out.into_iter().map(|of| row(of, job.reasoning)).collect()),
        };
        let rows = Rows {
            rows: train.into_iter().map(|of| row(of, job.reasoning)).collect(),
            eval,
            are_completions: false,
        };
        Ok(Source {
            rows,
            taken: Some(taken),
            recorder: Some(recorder),
        })
    }

    /// Takes the rows of a file to evaluate on, and none of the same question to train on.
    fn evaluate_on(&mut self, path: &Path, beside: Rows, quiet: bool) -> Result<()> {
        let name = path.display();
        if beside.rows.is_empty() {
            bail!("{name} has no row to evaluate on");
        }
        if beside.are_completions != self.rows.are_completions && !self.rows.rows.is_empty() {
            let (one, other) = kinds(beside.are_completions);
            bail!(
                "{name} has {one}, and the rows to train on are {other}: they are laid out differently\nhint: --eval-data with rows of \
                 the same kind"
            );
        }
        let question = |row: &Row| similar::same(&[&row.system, &row.instruction, &row.input]);
        let questions: HashSet<String> = beside.rows.iter().map(question).collect();
        let before = self.rows.rows.len();
        self.rows.rows.retain(|row| !questions.contains(&question(row)));
        let left_out = before - self.rows.rows.len();
        if left_out > 0 {
            let rows = chosen(
                left_out,
                "row is not trained on: its",
                "rows are not trained on: their",
            );
            let question = noun(left_out, "question");
            say(
                quiet,
                &format!(
                    "{rows} {question} {} in {name}",
                    if left_out == 1 { "is" } else { "are" }
                ),
            );
        }
        if self.rows.rows.is_empty() && before > 0 {
            bail!("no row is left to train on: all questions are in {name} as well");
        }
        self.rows.eval = Some(beside.rows);
        Ok(())
    }

    /// Records in the dataset's table `run` that training into `out` begins, and that earlier runs
    /// into it were killed if they have no end. Does nothing if the dataset is read-only.
    pub fn begin(&mut self, config: &serde_json::Value, seed: u64, model: &str, out: &Path) -> Result<()> {
        if let Some(RunRecorder { runtime, store, run }) = &mut self.recorder
            && !store.is_read_only()
        {
            let out = std::path::absolute(out)?.display().to_string();
            let mut config = config.clone();
            config["out"] = out.as_str().into();
            *run = Some(runtime.block_on(async {
                store.note_killed("train", Some(&out)).await?;
                store
                    .begin_run("train", &config, Some(seed as i64), Some(model))
                    .await
            })?);
        }
        Ok(())
    }

    /// Records how the run ended.
    pub fn finish(&self, status: RunStatus) -> Result<()> {
        if let Some(RunRecorder {
            runtime,
            store,
            run: Some(run),
        }) = &self.recorder
        {
            runtime.block_on(store.finish_run(*run, status))?;
        }
        Ok(())
    }
}

/// Returns a row of the dataset.
pub fn row(row: DatasetRow, reasoning: ReasoningChoice) -> Row {
    let mut said = from_answer(&row.output, row.extra.as_deref(), row.turns.as_deref());
    let later = said.split_off(1);
    let of_row = said.swap_remove(0);
    Row {
        id: format!("task {} instance {}", row.task_id, row.instance_id),
        group: format!("task {}", row.task_id),
        system: row.system.unwrap_or_default(),
        instruction: row.instruction,
        input: row.input,
        said: said_with(of_row, later, reasoning),
        output: output_with(row.output, reasoning),
    }
}

/// Returns the messages from the first answer on, with their reasoning or without it.
pub fn said_with(answer: Turn, mut later: Vec<Turn>, choice: ReasoningChoice) -> Vec<ChatMessage> {
    let mut answer = answer;
    if choice == ReasoningChoice::Keep {
        return turns::with_reasoning(answer, &later);
    }
    for turn in std::iter::once(&mut answer).chain(&mut later) {
        if turn.is_answer() {
            turn.content = reasoning::without(std::mem::take(&mut turn.content));
        }
    }
    turns::from_answer(answer, &later)
}

/// Returns the text of an answer, with its reasoning or without it.
pub fn output_with(output: String, choice: ReasoningChoice) -> String {
    match choice {
        ReasoningChoice::Keep => output,
        ReasoningChoice::Drop => reasoning::without(output),
    }
}

/// Reads files of rows. They share what happens to rows that cannot be read, and the file for
/// these.
struct FilesReader {
    left_out: LeftOut,
    /// What is said at the end.
    notes: Vec<String>,
    /// What becomes of the reasoning of answers.
    reasoning: ReasoningChoice,
    quiet: bool,
}

impl FilesReader {
    fn begin(job: &TrainJob, quiet: bool) -> Result<FilesReader> {
        let first = match &job.rows {
            RowSource::Files(files) => files.first(),
            RowSource::Dataset { .. } => None,
        };
        let policy = first.or(job.eval_data.as_ref()).map(|file| file.left_out.clone());
        Ok(FilesReader {
            left_out: LeftOut::begin(&policy.unwrap_or_default(), quiet)?,
            notes: Vec::new(),
            reasoning: job.reasoning,
            quiet,
        })
    }

    /// Reads files, one after another. The names of rows of several files begin with their file's.
    fn read(&mut self, files: &[RowsFile]) -> Result<Rows> {
        let mut all = Rows {
            rows: Vec::new(),
            eval: None,
            are_completions: false,
        };
        let several = files.len() > 1;
        for file in files {
            let (path, before) = (file.path.display(), all.rows.len());
            let mut reader = read::open(&file.path, &file.reading)?;
            let (mut notes, mut are_completions) = (Notes::default(), false);
            while let Some((row, incoming)) = self.left_out.next_row(&mut reader)? {
                notes.add(&incoming);
                are_completions |= incoming.is_finished;
                let of = several.then(|| path.to_string());
                all.rows.extend(rows(incoming, row.place, of, self.reasoning));
            }
            if before > 0 && all.rows.len() > before && are_completions != all.are_completions {
                let (one, other) = kinds(are_completions);
                bail!(
                    "{path} has {one}, and the files before it {other}: they are laid out differently\nhint: train on one \
                     kind first, and go on with the other by --adapter"
                );
            }
            all.are_completions |= are_completions;
            let of = if several {
                format!("{path}: ")
            } else {
                String::new()
            };
            if several {
                let rows = counted(all.rows.len() - before, "row");
                self.notes.push(format!("{of}{rows}"));
            }
            self.notes
                .extend(notes.lines(false).iter().map(|line| format!("{of}{line}")));
        }
        Ok(all)
    }

    /// Reports rows that were left out, and what else is to be said of the files.
    fn end(mut self) -> Result<()> {
        self.left_out.end()?;
        self.notes.iter().for_each(|line| say(self.quiet, line));
        Ok(())
    }
}

/// Names the kind of rows that are finished prompts or not, and the other kind.
fn kinds(are_completions: bool) -> (&'static str, &'static str) {
    match are_completions {
        true => ("finished prompts", "instructions"),
        false => ("instructions", "finished prompts"),
    }
}

/// Returns the rows of one file row, one for each instance. With `file`, their names begin with it.
fn rows(
    incoming: ParsedRow,
    place: Location,
    file: Option<String>,
    reasoning: ReasoningChoice,
) -> impl Iterator<Item = Row> {
    let of = file.map_or(String::new(), |file| format!("{file} "));
    let name = match place {
        Location::Text { line, .. } => format!("{of}line {line}"),
        Location::Row(row) => format!("{of}row {row}"),
    };
    let group = match &incoming.group {
        Some(group) => format!("{of}group {group}"),
        None => name.clone(),
    };
    let (system, instruction) = (incoming.system.unwrap_or_default(), incoming.task.instruction);
    let several = incoming.task.instances.len() > 1;
    let extra = incoming.extra.to_column();
    let later = incoming.turns.into_iter().chain(std::iter::repeat(Vec::new()));
    let instances = incoming.task.instances.into_iter().zip(later).zip(1..);
    instances.map(move |((instance, later), number)| Row {
        id: match several {
            true => format!("{name} instance {number}"),
            false => name.clone(),
        },
        group: group.clone(),
        system: system.clone(),
        instruction: instruction.clone(),
        input: instance.input,
        said: said_with(first_answer(&instance.output, extra.as_deref()), later, reasoning),
        output: output_with(instance.output, reasoning),
    })
}
