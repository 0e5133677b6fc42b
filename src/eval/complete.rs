//! `ewe complete`: continues the prompts of a file, or one prompt.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use ewe::backend::{Completion, Sampling};
use ewe::job::complete::{CompleteJob, Prompts};
use ewe::job::rows::PromptFormat;
use ewe::progress::ProgressMeter;
use ewe::text::counted;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use serde_json::{Value, json};

use super::rows::{self, EvalRow};
use crate::engine::event::Event;
use crate::engine::handle::LocalBackend;
use crate::engine::open;
use crate::model::text::chat_template::ChatMessage;
use crate::model::text::conversation_template::ConversationTemplate;

/// A row of `--out`.
#[derive(Serialize)]
struct CompletionRow {
    row: usize,
    completion: String,
    finish_reason: &'static str,
    prompt_tokens: usize,
    completion_tokens: usize,
}

impl CompletionRow {
    fn of(row: usize, completion: Completion) -> CompletionRow {
        CompletionRow {
            row,
            completion: completion.text,
            finish_reason: completion.finish_reason.as_str(),
            prompt_tokens: completion.prompt_tokens,
            completion_tokens: completion.completion_tokens,
        }
    }
}

/// Runs the command.
pub fn run(job: &CompleteJob, quiet: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match &job.prompts {
        Prompts::One(prompt) => {
            let completer = Completer::open(job, quiet)?;
            let messages = ChatMessage::of_row("", prompt, "");
            let ids = completer.encode(prompt, &messages)?;
            match job.json {
                true => {
                    let answer = runtime.block_on(completer.whole(ids))?;
                    println!("{}", ewe::streams::json::line(&answer)?);
                    Ok(())
                }
                false => runtime.block_on(completer.stream(ids)),
            }
        }
        Prompts::File { rows: file, out } => {
            // Errors of the files are found before the model is loaded.
            let rows = rows::read(file, quiet)?;
            ewe::atomic_file::check(out)?;
            let completer = Completer::open(job, quiet)?;
            let answers = runtime.block_on(completer.all(&file.path, &rows, quiet))?;
            rows::write(out, &answers)?;
            if job.json {
                println!("{}", ewe::streams::json::value(&result(out, &answers)));
            }
            Ok(())
        }
    }
}

/// A model, and how prompts are put to it.
struct Completer {
    backend: LocalBackend,
    /// None for texts to continue.
    template: Option<ConversationTemplate>,
    sampling: Sampling,
}

impl Completer {
    fn open(job: &CompleteJob, quiet: bool) -> Result<Completer> {
        let mut backend = open::batched(&job.model, job.limits)?;
        let mut sampling = job.sampling.clone();
        let template = match &job.format {
            PromptFormat::Chat(choice) => Some(ConversationTemplate::for_inference(
                choice.as_ref(),
                backend.tokenizer(),
            )?),
            PromptFormat::Text => None,
        };
        if let Some(template) = &template {
            if !quiet {
                eprintln!("asked by the template {}", template.name());
            }
            sampling.stop.extend_from_slice(template.stop());
            backend.also_end_at(template.end_token());
        }
        Ok(Completer {
            backend,
            template,
            sampling,
        })
    }

    /// Returns the token ids of a prompt: of the text, or of the messages if there is a chat
    /// template.
    fn encode(&self, prompt: &str, messages: &[ChatMessage]) -> Result<Vec<i64>> {
        match &self.template {
            Some(template) => template.question(self.backend.tokenizer(), messages),
            None => Ok(self.backend.encode(prompt)?),
        }
    }

    /// Streams the answer to one prompt, in token ids, to standard output.
    async fn stream(&self, prompt: Vec<i64>) -> Result<()> {
        let mut answer = self.backend.stream(prompt, self.sampling.clone())?;
        let mut stdout = ewe::streams::stdout();
        while let Some(event) = answer.next().await {
            if let Event::Text(text) = event? {
                stdout.write_all(text.as_bytes())?;
                stdout.flush()?;
            }
        }
        writeln!(stdout)?;
        Ok(())
    }

    /// Returns the answer to one prompt, in token ids.
    async fn whole(&self, prompt: Vec<i64>) -> Result<CompletionRow> {
        let answer = self.backend.stream(prompt, self.sampling.clone())?;
        Ok(CompletionRow::of(0, answer.completion().await?))
    }

    /// Answers all rows of the file `path`. Returns the answers in input order.
    async fn all(&self, path: &Path, rows: &[EvalRow], quiet: bool) -> Result<Vec<CompletionRow>> {
        let backend = &self.backend;
        let requests = rows.iter().map(|row| self.request(path, row));
        let requests = requests.collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        let mut progress = ProgressMeter::new("complete", "prompt", 0, rows.len() as u64, quiet);
        let numbers = rows.iter().map(|row| row.row);
        let pending = numbers.zip(backend.stream_all(requests)?);
        let mut pending: FuturesUnordered<_> = pending
            .map(|(row, answer)| async move { (row, answer.completion().await) })
            .collect();
        let mut answers = Vec::with_capacity(rows.len());
        while let Some((row, completion)) = pending.next().await {
            let completion = completion?;
            let rate = backend.stats().generated_tokens as f64 / started.elapsed().as_secs_f64();
            answers.push(CompletionRow::of(row, completion));
            progress.set(answers.len() as u64, &format!("{rate:.0} tok/s"));
        }
        answers.sort_by_key(|answer| answer.row);
        progress.say(&summary(backend, started));
        progress.finish();
        Ok(answers)
    }

    /// Returns token ids and sampling parameters of a row. Row N uses seed + N.
    fn request(&self, path: &Path, row: &EvalRow) -> Result<(Vec<i64>, Sampling)> {
        let prompt = self
            .encode(&row.prompt, &row.messages)
            .with_context(|| format!("{}: row {}", path.display(), row.row))?;
        let mut sampling = self.sampling.clone();
        sampling.seed = sampling.seed.wrapping_add(row.row as u64);
        Ok((prompt, sampling))
    }
}

/// Returns what the file of answers has, for programs.
fn result(out: &Path, answers: &[CompletionRow]) -> Value {
    let sum = |count: fn(&CompletionRow) -> usize| answers.iter().map(count).sum::<usize>();
    json!({
        "out": out.to_string_lossy(),
        "rows": answers.len(),
        "prompt_tokens": sum(|answer| answer.prompt_tokens),
        "completion_tokens": sum(|answer| answer.completion_tokens),
    })
}

/// Returns one line for people on what the engine did since `started`.
fn summary(backend: &LocalBackend, started: Instant) -> String {
    let stats = backend.stats();
    let seconds = started.elapsed().as_secs_f64();
    format!(
        "{} in {seconds:.2} s, {:.0} tok/s ({}; prompts {:.2} s, model {:.2} s, sampling {:.2} s); {} of {} reused",
        counted(stats.generated_tokens, "token"),
        stats.generated_tokens as f64 / seconds,
        counted(stats.steps, "step"),
        stats.prefill.as_secs_f64(),
        stats.decode.as_secs_f64(),
        stats.sample.as_secs_f64(),
        stats.saved_tokens,
        counted(stats.prompt_tokens, "prompt token"),
    )
}
