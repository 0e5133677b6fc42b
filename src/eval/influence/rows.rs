//! The rows whose influence is computed, and the held-out rows, in tokens.

use super::dataset::Dataset;
use super::tuned_run::TunedRun;
use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;
use crate::train::data::dataset::{self, Example, LeftOut, Row};
use crate::train::data::source;
use anyhow::{Context, Result, bail};
use ewe::finetune::AnswerLoss;
use ewe::interchange::left_out;
use ewe::interchange::read;
use ewe::interchange::turns::first_answer;
use ewe::job::influence::InfluenceJob;
use ewe::job::rows::RowsFile;
use ewe::pipeline::split::training_rows::TrainingRows;
use ewe::prompt::template::Template;
use ewe::reasoning::ReasoningChoice;
use ewe::text::{counted, shell_word};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A row of the dataset in tokens.
#[derive(Debug)]
pub struct InfluencedRow {
    /// The instance.
    pub instance_id: i64,
    /// Its tokens.
    pub example: Example,
}

/// A held-out task in tokens.
#[derive(Debug, Default)]
pub struct HeldOutTask {
    /// Its id; none for rows of a file.
    pub task_id: Option<i64>,
    /// Its instances.
    pub examples: Vec<Example>,
}

/// Everything that gradients are taken of.
#[derive(Debug)]
pub struct EncodedRows {
    /// The rows, in order of task and instance.
    pub rows: Vec<InfluencedRow>,
    /// The held-out tasks.
    pub held_out: Vec<HeldOutTask>,
    /// Rows and held-out rows that do not fit or have no answer.
    pub left_out: Vec<LeftOut>,
}

/// Returns the template that the run laid its rows out by; none for prompt and completion as they
/// are. `dir` has the run's result, which knows the chat template that it continued.
pub fn template(
    run: &TunedRun,
    dir: &Path,
    tokenizer: Tokenizer,
) -> Result<(Option<ConversationTemplate>, Tokenizer)> {
    let of_text = |source: &str, tokenizer: &Tokenizer| {
        ConversationTemplate::of(source, "the run's template".to_owned(), tokenizer).map(Some)
    };
    match (&run.settings.template_text, run.settings.template) {
        (Some(text), _) => Ok((of_text(text, &tokenizer)?, tokenizer)),
        (None, Template::Completion) => Ok((None, tokenizer)),
        (None, Template::Chat) => {
            let tokenizer = tokenizer.prompted_as_in(dir)?;
            let own = tokenizer
                .chat_template()
                .context("the run's model has no chat template")?;
            let template = of_text(&own.source, &tokenizer)?;
            Ok((template, tokenizer))
        }
        (None, template) => Ok((
            Some(ConversationTemplate::builtin(template, &tokenizer)?),
            tokenizer,
        )),
    }
}

/// How rows become tokens.
pub struct RowLayout<'a> {
    /// The template; none for prompt and completion as they are.
    pub template: Option<&'a ConversationTemplate>,
    /// Which answers of a conversation are targets.
    pub loss: AnswerLoss,
    /// What becomes of the reasoning of answers.
    pub reasoning: ReasoningChoice,
    /// Most tokens of a row.
    pub max_length: usize,
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
}

impl RowLayout<'_> {
    /// Encodes rows that have names of their own. Returns the example of each, by name, and those
    /// that are left out.
    fn encode(&self, rows: &[Row]) -> Result<(HashMap<String, Example>, Vec<LeftOut>)> {
        let layout = dataset::Layout {
            template: self.template,
            loss: self.loss,
            max_length: self.max_length,
            eval_fraction: 0.0,
            seed: 0,
        };
        let encoded = dataset::encode(rows, &layout, self.tokenizer)?;
        let has_targets = |example: &Example| example.target_count() > 0;
        let (some, none): (Vec<_>, Vec<_>) = encoded.train.into_iter().partition(has_targets);
        let mut left_out = encoded.left_out;
        left_out.extend(none.into_iter().map(|example| LeftOut {
            id: example.id,
            reason: "no token of an answer".to_owned(),
        }));
        let named = some.into_iter().map(|example| (example.id.clone(), example));
        Ok((named.collect(), left_out))
    }

    /// Reads and encodes the rows of the dataset, and the held-out rows.
    ///
    /// # Errors
    ///
    /// If nothing is held out, or no row is left on either side.
    pub fn read(&self, job: &InfluenceJob, dataset: &Dataset, quiet: bool) -> Result<EncodedRows> {
        let TrainingRows {
            train: rows,
            held_out: apart,
            taken,
        } = dataset.rows()?;
        crate::train::say(quiet, &format!("{}: {taken}", job.db.display()));
        let apart = match &job.eval {
            Some(file) => file_rows(file, self.reasoning, quiet)?,
            None if apart.is_empty() => bail!(
                "no task is held out, on which an influence could be seen\nhint: `ewe split --db {} --eval 10%` and train again, or \
                 --eval-data FILE with rows that were not trained on",
                shell_word(&job.db)
            ),
            None => apart
                .into_iter()
                .map(|row| (Some(row.task_id), source::row(row, self.reasoning)))
                .collect(),
        };
        let ids: Vec<i64> = rows.iter().map(|row| row.instance_id).collect();
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|row| source::row(row, self.reasoning))
            .collect();
        let (mut examples, mut left_out) = self.encode(&rows)?;
        let named = ids.into_iter().zip(&rows);
        let encoded = named.filter_map(|(instance_id, row)| {
            let example = examples.remove(&row.id)?;
            Some(InfluencedRow { instance_id, example })
        });
        let rows: Vec<InfluencedRow> = encoded.collect();
        let (tasks, beyond): (Vec<_>, Vec<_>) = apart.into_iter().unzip();
        let (mut examples, also) = self.encode(&beyond)?;
        left_out.extend(also);
        let mut grouped: BTreeMap<(Option<i64>, String), HeldOutTask> = BTreeMap::new();
        for (task_id, row) in tasks.into_iter().zip(beyond) {
            if let Some(example) = examples.remove(&row.id) {
                let task = grouped.entry((task_id, row.group)).or_default();
                task.task_id = task_id;
                task.examples.push(example);
            }
        }
        let held_out: Vec<HeldOutTask> = grouped.into_values().collect();
        for (is_empty, what) in [(rows.is_empty(), "row"), (held_out.is_empty(), "held-out task")] {
            if is_empty {
                bail!(
                    "no {what} is left: {} left out, the first because of {:?}\nhint: the run took answers of at most {}",
                    counted(left_out.len(), "row"),
                    left_out.first().map_or("", |row| row.reason.as_str()),
                    counted(self.max_length, "token")
                );
            }
        }
        Ok(EncodedRows {
            rows,
            held_out,
            left_out,
        })
    }
}

/// Reads the rows of a file, one for each instance.
fn file_rows(file: &RowsFile, reasoning: ReasoningChoice, quiet: bool) -> Result<Vec<(Option<i64>, Row)>> {
    let mut reader = read::open(&file.path, &file.reading)?;
    let mut left_out = left_out::LeftOut::begin(&file.left_out, quiet)?;
    let mut rows = Vec::new();
    while let Some((row, incoming)) = left_out.next_row(&mut reader)? {
        let name = format!("row {} of {}", row.number, file.path.display());
        let group = incoming.group.clone().unwrap_or_else(|| name.clone());
        let system = incoming.system.clone().unwrap_or_default();
        let extra = incoming.extra.to_column();
        let mut later = incoming.turns.into_iter();
        for (number, instance) in incoming.task.instances.into_iter().enumerate() {
            let later = later.next().unwrap_or_default();
            let answer = first_answer(&instance.output, extra.as_deref());
            rows.push((
                None,
                Row {
                    id: format!("{name}, instance {}", number + 1),
                    group: group.clone(),
                    system: system.clone(),
                    instruction: incoming.task.instruction.clone(),
                    input: instance.input,
                    output: source::output_with(instance.output, reasoning),
                    said: source::said_with(answer, later, reasoning),
                },
            ));
        }
    }
    left_out.end()?;
    Ok(rows)
}

impl EncodedRows {
    /// Returns a digest of all tokens, targets and ids: what was computed of other rows cannot be
    /// continued.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |id: i64, example: &Example| {
            hash.update(id.to_le_bytes());
            hash.update((example.ids.len() as u64).to_le_bytes());
            for range in &example.targets {
                hash.update((range.start as u64).to_le_bytes());
                hash.update((range.end as u64).to_le_bytes());
            }
            for id in &example.ids {
                hash.update(id.to_le_bytes());
            }
        };
        self.rows
            .iter()
            .for_each(|row| add(row.instance_id, &row.example));
        for task in &self.held_out {
            let id = task.task_id.unwrap_or(-1);
            task.examples.iter().for_each(|example| add(id, example));
        }
        ewe::text::hex(&hash.finalize())
    }
}
