//! `ewe score`: negative log-likelihood of completions.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ewe::job::rows::{PromptFormat, RowsFile};
use ewe::job::score::{ScoreJob, ScoredRows};
use ewe::progress::ProgressMeter;
use ewe::text::counted;

use super::difficulty;
use super::nll::{EncodedRow, ScoreRow, batches, score_batch};
use super::rows::{self, EvalRow};
use crate::engine::open;
use crate::model::LoadedModel;
use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;

/// Runs the command. Returns the exit code.
pub fn run(job: &ScoreJob, quiet: bool) -> Result<u8> {
    match &job.rows {
        ScoredRows::File { rows, out } => of_file(job, rows, out, quiet).map(|()| 0),
        ScoredRows::Dataset { db, out } => difficulty::run(job, db, out.as_deref(), quiet),
    }
}

/// Scores the rows of a file.
fn of_file(job: &ScoreJob, file: &RowsFile, out: &Path, quiet: bool) -> Result<()> {
    let rows = rows::read(file, quiet)?;
    ewe::atomic_file::check(out)?;
    let loaded = open::load(&job.model)?;
    let template = match &job.format {
        PromptFormat::Chat(choice) => Some(ConversationTemplate::for_inference(
            choice.as_ref(),
            &loaded.tokenizer,
        )?),
        PromptFormat::Text => None,
    };
    if let Some(template) = template.as_ref().filter(|_| !quiet) {
        eprintln!("asked by the template {}", template.name());
    }
    let encoded = encode_all(&loaded, &rows, template.as_ref(), &file.path)?;
    rows::write(out, &score(&loaded, encoded, &file.path, quiet)?)
}

/// Encodes a row as one text, or as a conversation if there is a chat template.
pub(super) fn encode(
    row: &EvalRow,
    template: Option<&ConversationTemplate>,
    tokenizer: &Tokenizer,
) -> Result<EncodedRow> {
    let (ids, scored) = match template {
        Some(template) => {
            let said = [&row.messages[..], std::slice::from_ref(&row.answer)].concat();
            let conversation = template.tokenize_last(tokenizer, &said)?;
            (conversation.ids, conversation.targets)
        }
        None => {
            let (whole, from) = (format!("{}{}", row.prompt, row.answer.content), row.prompt.len());
            let encoded = tokenizer.encode_marked(&whole, true, &[from..whole.len()])?;
            (encoded.ids, encoded.marked)
        }
    };
    Ok(EncodedRow {
        row: row.row,
        ids,
        scored,
    })
}

/// Encodes `rows` of the file `path`. Fails on rows that are longer than the model's context, and
/// on a completion with no token before it.
fn encode_all(
    loaded: &LoadedModel,
    rows: &[EvalRow],
    template: Option<&ConversationTemplate>,
    path: &Path,
) -> Result<Vec<EncodedRow>> {
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let number = row.row;
        let row = encode(row, template, &loaded.tokenizer)
            .with_context(|| format!("{}: row {number}", path.display()))?;
        let context = loaded.model.info().context;
        if row.ids.len() > context {
            bail!(
                "{}: row {number} has {}, the model's context is {context}",
                path.display(),
                counted(row.ids.len(), "token")
            );
        }
        if row.positions().next() == Some(0) {
            bail!(
                "{}: row {number} has an empty prompt, and this model has no begin-of-text token to score from",
                path.display()
            );
        }
        encoded.push(row);
    }
    Ok(encoded)
}

/// Scores `encoded` rows of the file `path`. Returns the scores in input order. Fails on scores
/// that are not finite.
fn score(
    loaded: &LoadedModel,
    mut encoded: Vec<EncodedRow>,
    path: &Path,
    quiet: bool,
) -> Result<Vec<ScoreRow>> {
    let mut progress = ProgressMeter::new("score", "row", 0, encoded.len() as u64, quiet);
    let started = Instant::now();
    let (mut scores, mut tokens) = (Vec::with_capacity(encoded.len()), 0);
    for batch in batches(&mut encoded) {
        scores.extend(score_batch(loaded, batch));
        if let Some(ScoreRow { row, nll, .. }) = scores.iter().find(|score| !score.nll.is_finite()) {
            bail!(
                "{}: row {row}: its nll is {nll}: the model's scores are no finite numbers\nhint: --dtype fp32 has more room; \
                 or the weights of the model, or of its adapter, are damaged",
                path.display()
            );
        }
        tokens += batch.iter().map(|row| row.ids.len()).sum::<usize>();
        progress.set(
            scores.len() as u64,
            &format!("{:.0} tok/s", tokens as f64 / started.elapsed().as_secs_f64()),
        );
    }
    scores.sort_by_key(|score| score.row);
    progress.say(&format!(
        "{}, {} of prompts and answers in {:.1} s",
        counted(encoded.len(), "row"),
        counted(tokens, "token"),
        started.elapsed().as_secs_f64()
    ));
    progress.finish();
    Ok(scores)
}
