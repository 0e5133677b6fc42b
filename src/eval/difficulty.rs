//! `ewe score --db`: how hard each answer of a dataset is with and without its instruction (IFD, Li
//! et al. 2023, <https://arxiv.org/abs/2308.12032>).
//!
//! Both negative log-likelihoods are means over the same tokens: those that `ewe train` would train
//! on, once after the row's prompt, and once after the begin-of-text token alone.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ewe::interchange::turns::from_answer;
use ewe::job::rows::PromptFormat;
use ewe::job::score::ScoreJob;
use ewe::leave::INTERRUPTED;
use ewe::progress::ProgressMeter;
use ewe::store::curation::difficulty::Difficulty;
use ewe::store::{DatasetRow, RunStatus, Store};
use ewe::text::{chosen, counted, shell_word};
use serde_json::json;

use super::nll::{EncodedRow, batches, score_batch};
use super::rows;
use crate::engine::open;
use crate::model::files::fingerprint::fingerprint;
use crate::model::files::hub::{self, Fetch};
use crate::model::text::chat_template::ChatMessage;
use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::turns;
use crate::model::{LoadedModel, fault};
use crate::train::interrupt::Interrupt;

/// Command in the table `run`.
const COMMAND: &str = "score";
/// Rows that are stored at once.
const GROUP: usize = 64;
/// Rows left out that are listed.
const LISTED: usize = 5;

/// An answer in tokens, with and without its instruction.
struct EncodedAnswer {
    instance_id: i64,
    asked: EncodedRow,
    alone: EncodedRow,
}

/// Runs the command on the dataset at `db`. Returns the exit code.
pub fn run(job: &ScoreJob, db: &Path, out: Option<&Path>, quiet: bool) -> Result<u8> {
    if let Some(out) = out {
        ewe::atomic_file::check(out)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Errors of the file are found before the model is loaded.
    let (store, rows) = runtime.block_on(async {
        let store = Store::open(db).await?;
        let rows = store.dataset(None).await?;
        Ok::<_, anyhow::Error>((store, rows))
    })?;
    let loaded = open::load(&job.model)?;
    let interrupt = Interrupt::listen(Some("rows in work are computed to their end, and kept"))?;
    let ended = runtime.block_on(async {
        let ended = fill(job, &store, rows, &loaded, &interrupt, quiet).await;
        let ended = match (ended, out) {
            (Ok((run_id, true)), Some(out)) => write(&store, run_id, out).await.map(|()| true),
            (ended, _) => ended.map(|(_, done)| done),
        };
        store.close().await;
        ended
    })?;
    if !ended {
        crate::train::say(quiet, "stopped; the same command goes on from here");
        return Ok(INTERRUPTED);
    }
    if out.is_none() && !quiet {
        eprintln!(
            "`ewe list --db {} --sort ifd` lists the tasks by it",
            shell_word(db)
        );
    }
    Ok(0)
}

async fn write(store: &Store, run_id: i64, out: &Path) -> Result<()> {
    rows::write(out, &store.difficulties(run_id).await?)
}

/// Scores what is left, and stores it. Returns the run, and whether nothing is left.
async fn fill(
    job: &ScoreJob,
    store: &Store,
    rows: Vec<DatasetRow>,
    loaded: &LoadedModel,
    interrupt: &Interrupt,
    quiet: bool,
) -> Result<(i64, bool)> {
    let choice = match &job.format {
        PromptFormat::Chat(choice) => choice.as_ref(),
        PromptFormat::Text => None,
    };
    let template = ConversationTemplate::for_inference(choice, &loaded.tokenizer)?;
    crate::train::say(quiet, &format!("laid out by the template {}", template.name()));
    let path = hub::resolve(&job.model.path, Fetch::Model)?;
    let model = fingerprint(&path, job.model.adapter.as_deref(), loaded.kind)?;
    let config = json!({ "model": model, "template": template.source(), "of": "difficulty" });
    store.note_killed(COMMAND, None).await?;
    let run_id = match store.take_up_run(COMMAND, &config).await? {
        Some(run_id) => run_id,
        None => store.begin_run(COMMAND, &config, None, Some(&model)).await?,
    };
    let scored = score(store, run_id, &model, rows, (loaded, &template), interrupt, quiet).await;
    let settled = match &scored {
        Ok(true) => store.settle_difficulties(run_id).await,
        _ => Ok(()),
    };
    let status = match (&scored, &settled) {
        (Ok(true), Ok(())) => RunStatus::Done,
        (Ok(false), _) => RunStatus::Interrupted,
        _ => RunStatus::Failed,
    };
    let noted = store.finish_run(run_id, status).await;
    let done = scored?;
    settled?;
    noted?;
    Ok((run_id, done))
}

/// Scores the rows that the run has not stored. Returns whether all are done; a signal stops it
/// before.
async fn score(
    store: &Store,
    run_id: i64,
    model: &str,
    rows: Vec<DatasetRow>,
    (loaded, template): (&LoadedModel, &ConversationTemplate),
    interrupt: &Interrupt,
    quiet: bool,
) -> Result<bool> {
    let begin = begin_ids(loaded)?;
    let (mut encoded, mut left_out) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        match encode(row, loaded, template, &begin)? {
            Ok(answer) => encoded.push(answer),
            Err(reason) => left_out.push(format!("task {}: {reason}", row.task_id)),
        }
    }
    list_left_out(&left_out, quiet);
    let stored: HashSet<i64> = store
        .difficulties(run_id)
        .await?
        .iter()
        .map(|of| of.instance_id)
        .collect();
    let total = encoded.len() as u64;
    let mut progress = ProgressMeter::new("score", "row", 0, total, quiet);
    let (started, mut done, mut tokens) = (Instant::now(), 0, 0);
    while !encoded.is_empty() {
        let rest = encoded.split_off(GROUP.min(encoded.len()));
        let mut group = std::mem::replace(&mut encoded, rest);
        done += group.len() as u64;
        group.retain(|answer| !stored.contains(&answer.instance_id));
        if interrupt.asked() {
            progress.finish();
            return Ok(false);
        }
        tokens += group
            .iter()
            .map(|of| of.asked.ids.len() + of.alone.ids.len())
            .sum::<usize>();
        let of = fault::caught(|| difficulties(loaded, group))?;
        store.add_difficulties(run_id, model, &of).await?;
        let rate = tokens as f64 / started.elapsed().as_secs_f64();
        progress.set(done, &format!("{rate:.0} tok/s"));
    }
    progress.finish();
    let line = summary(&store.difficulties(run_id).await?)?;
    crate::train::say(quiet, &line);
    Ok(true)
}

/// Returns the tokens that an answer without its instruction follows: begin-of-text, or, for models
/// without one, end-of-text, which ends the text before.
fn begin_ids(loaded: &LoadedModel) -> Result<Vec<i64>> {
    let begin = loaded.tokenizer.encode("", true)?;
    match begin.is_empty() {
        false => Ok(begin),
        true => Ok(vec![loaded.tokenizer.required_end_token()?]),
    }
}

/// Encodes an answer in both ways, or returns why it cannot be scored.
fn encode(
    row: &DatasetRow,
    loaded: &LoadedModel,
    template: &ConversationTemplate,
    begin: &[i64],
) -> Result<Result<EncodedAnswer, String>> {
    let mut said = from_answer(&row.output, row.extra.as_deref(), row.turns.as_deref());
    let later = said.split_off(1);
    if later.is_empty() && row.output.trim().is_empty() {
        return Ok(Err("empty answer".to_owned()));
    }
    let system = row.system.as_deref().unwrap_or_default();
    let mut messages = ChatMessage::of_row(system, &row.instruction, &row.input);
    // Of a conversation, the last answer after all messages before it.
    let said = turns::with_reasoning(said.swap_remove(0), &later);
    match said.is_empty() {
        true => messages.push(ChatMessage::new("assistant", &row.output)),
        false => messages.extend(said),
    }
    let conversation = template
        .tokenize_last(&loaded.tokenizer, &messages)
        .with_context(|| format!("cannot encode task {} instance {}", row.task_id, row.instance_id))?;
    let row_of = |ids: Vec<i64>, scored| EncodedRow { row: 0, ids, scored };
    // A first token has none before it that would predict it.
    let mut scored = conversation.targets;
    if let Some(first) = scored.first_mut() {
        first.start = first.start.max(1);
    }
    let asked = row_of(conversation.ids, scored);
    let answer: Vec<i64> = asked.positions().map(|at| asked.ids[at]).collect();
    if answer.is_empty() {
        return Ok(Err("no token of an answer".to_owned()));
    }
    let alone = row_of([begin, answer.as_slice()].concat(), Vec::new());
    let alone = EncodedRow {
        scored: vec![begin.len()..alone.ids.len()],
        ..alone
    };
    let (longest, context) = (asked.ids.len().max(alone.ids.len()), loaded.model.info().context);
    if longest > context {
        let tokens = counted(longest, "token");
        return Ok(Err(format!("{tokens}, the model's context is {context}")));
    }
    Ok(Ok(EncodedAnswer {
        instance_id: row.instance_id,
        asked,
        alone,
    }))
}

/// Scores a group of answers.
fn difficulties(loaded: &LoadedModel, group: Vec<EncodedAnswer>) -> Result<Vec<Difficulty>> {
    let ids: Vec<i64> = group.iter().map(|answer| answer.instance_id).collect();
    let both = group.into_iter().flat_map(|answer| [answer.asked, answer.alone]);
    let number = |(row, encoded)| EncodedRow { row, ..encoded };
    let mut encoded: Vec<EncodedRow> = both.enumerate().map(number).collect();
    let mut nll = vec![(0, 0.0); encoded.len()];
    for batch in batches(&mut encoded) {
        for score in score_batch(loaded, batch) {
            nll[score.row] = (score.tokens, score.nll);
        }
    }
    let of = ids.into_iter().zip(nll.chunks(2)).map(|(instance_id, pair)| {
        let mean = |(tokens, nll): (usize, f64)| nll / tokens as f64;
        let difficulty = Difficulty {
            instance_id,
            tokens: pair[0].0 as i64,
            nll: mean(pair[0]),
            nll_alone: mean(pair[1]),
        };
        if !(difficulty.nll.is_finite() && difficulty.nll_alone.is_finite()) {
            bail!(
                "instance {instance_id}: its nll is {} and {} alone: the model's scores are no finite numbers\nhint: --dtype fp32 has \
                 more room; or the weights of the model, or of its adapter, are damaged",
                difficulty.nll,
                difficulty.nll_alone
            );
        }
        Ok(difficulty)
    });
    of.collect()
}

fn list_left_out(left_out: &[String], quiet: bool) {
    if left_out.is_empty() {
        return;
    }
    let count = chosen(left_out.len(), "row is", "rows are");
    crate::train::say(quiet, &format!("{count} left out:"));
    for line in left_out.iter().take(LISTED) {
        crate::train::say(quiet, &format!("  {line}"));
    }
    if left_out.len() > LISTED {
        crate::train::say(quiet, "  …");
    }
}

/// Returns a line on all answers.
fn summary(of: &[Difficulty]) -> Result<String> {
    let mut ratios: Vec<f64> = of.iter().filter_map(Difficulty::ifd).collect();
    if ratios.is_empty() {
        bail!("no answer could be scored\nhint: the dataset has none, or all were left out");
    }
    ratios.sort_by(f64::total_cmp);
    let mean = |of: &mut dyn Iterator<Item = f64>, count: usize| of.sum::<f64>() / count as f64;
    let above = ratios.iter().filter(|&&ratio| ratio >= 1.0).count();
    Ok(format!(
        "{}: {:.3} nats a token after the instruction, {:.3} alone; IFD {:.3} in the middle, 1 or more {}",
        counted(of.len(), "answer"),
        mean(&mut of.iter().map(|of| of.nll), of.len()),
        mean(&mut of.iter().map(|of| of.nll_alone), of.len()),
        ratios[ratios.len() / 2],
        counted(above, "time")
    ))
}
