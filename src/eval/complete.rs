//! `ewe complete`: continues the prompts of a file, or one prompt.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use ewe::backend::Sampling;
use ewe::cli::args::local::Engine;
use ewe::cli::models::complete::{Args, ModelArgs};
use ewe::interchange::read::Need;
use ewe::progress::Progress;
use ewe::text::counted;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;

use super::rows::{self, Row};
use crate::engine::answer::Event;
use crate::engine::batch::{Advice, Config};
use crate::engine::handle::LocalBackend;
use crate::model::chat_template::Message;
use crate::model::conversation_template::ConversationTemplate;

/// A row of `--out`.
#[derive(Serialize)]
struct Answered {
    row: usize,
    completion: String,
    finish_reason: &'static str,
    prompt_tokens: usize,
    completion_tokens: usize,
}

/// Starts the model that `args` name, for one request at a time.
pub fn single(args: &ModelArgs) -> Result<LocalBackend> {
    start(
        args,
        Config {
            max_batch: 1,
            ..Config::default()
        },
    )
}

/// Starts the model that `args` name, for as many requests as `engine` says.
pub fn batched(args: &ModelArgs, engine: &Engine) -> Result<LocalBackend> {
    start(args, config(engine, 32))
}

/// What the engine may use; `batch` requests at once where nothing was said.
pub fn config(engine: &Engine, batch: u16) -> Config {
    Config {
        max_batch: engine.batch(batch),
        kv_bytes: engine.kv_memory as usize,
        advice: Advice {
            room: "a larger --kv-memory, or a smaller limit of tokens",
            memory: "a smaller --batch or --kv-memory, or shorter prompts",
        },
        ..Config::default()
    }
}

fn start(args: &ModelArgs, config: Config) -> Result<LocalBackend> {
    let place = &args.place;
    LocalBackend::open(
        &args.model,
        args.adapter.as_deref(),
        &place.device,
        &place.dtype,
        config,
    )
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match (&args.prompt, &args.prompts, &args.out) {
        (Some(prompt), _, _) => {
            let config = Config {
                max_batch: 1,
                ..config(&args.engine, 1)
            };
            let asked = Asked::open(start(&args.model, config)?, args, quiet)?;
            let messages = Message::of_row("", prompt, "");
            runtime.block_on(one(&asked, asked.encode(prompt, &messages)?))
        }
        (None, Some(prompts), Some(out)) => {
            // Everything that can be wrong with the files is found before the model is loaded.
            let rows = rows::read(prompts, &args.reading, Need::Prompt, quiet)?;
            ewe::atomic_file::check(out)?;
            let asked = Asked::open(batched(&args.model, &args.engine)?, args, quiet)?;
            let answers = runtime.block_on(all(&asked, prompts, &rows, quiet))?;
            rows::write(out, &answers)
        }
        _ => Err(anyhow!("--prompts goes with --out, or --prompt stands alone")),
    }
}

/// A model, and how prompts are put to it.
struct Asked {
    backend: LocalBackend,
    /// With `--chat`.
    form: Option<ConversationTemplate>,
    sampling: Sampling,
}

impl Asked {
    fn open(mut backend: LocalBackend, args: &Args, quiet: bool) -> Result<Asked> {
        let mut sampling = args.sampling.sampling();
        let ask = || ConversationTemplate::to_ask(args.template.as_ref(), backend.tokenizer());
        let form = args.chat.then(ask).transpose()?;
        if let Some(form) = &form {
            if !quiet {
                eprintln!("asked by the template {}", form.name());
            }
            sampling.stop.extend_from_slice(form.stop());
            backend.also_end_at(form.end_token());
        }
        Ok(Asked {
            backend,
            form,
            sampling,
        })
    }

    /// A prompt as a text to go on with; or, by a chat template, the messages that it is.
    fn encode(&self, prompt: &str, messages: &[Message]) -> Result<Vec<i64>> {
        match &self.form {
            Some(form) => form.question(self.backend.tokenizer(), messages),
            None => Ok(self.backend.encode(prompt)?),
        }
    }
}

/// Streams the answer to one prompt, in tokens, to stdout.
async fn one(asked: &Asked, prompt: Vec<i64>) -> Result<()> {
    let mut answer = asked.backend.stream(prompt, asked.sampling.clone())?;
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

/// Answers all rows, in input order.
async fn all(asked: &Asked, path: &Path, prompts: &[Row], quiet: bool) -> Result<Vec<Answered>> {
    let backend = &asked.backend;
    let requests = prompts.iter().map(|prompt| {
        let row = prompt.row;
        let prompt = asked
            .encode(&prompt.prompt, &prompt.messages)
            .with_context(|| format!("{}: row {row}", path.display()))?;
        let mut sampling = asked.sampling.clone();
        sampling.seed = sampling.seed.wrapping_add(row as u64);
        Ok((prompt, sampling))
    });
    let requests = requests.collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let mut progress = Progress::new("complete", "prompt", 0, prompts.len() as u64, quiet);
    let numbers = prompts.iter().map(|asked| asked.row);
    let pending = numbers.zip(backend.stream_all(requests)?);
    let mut pending: FuturesUnordered<_> = pending
        .map(|(row, answer)| async move { (row, answer.completion().await) })
        .collect();
    let mut answers = Vec::with_capacity(prompts.len());
    while let Some((row, completion)) = pending.next().await {
        let completion = completion?;
        let rate = backend.stats().generated_tokens as f64 / started.elapsed().as_secs_f64();
        answers.push(Answered {
            row,
            completion: completion.text,
            finish_reason: completion.finish_reason.as_str(),
            prompt_tokens: completion.prompt_tokens,
            completion_tokens: completion.completion_tokens,
        });
        progress.set(answers.len() as u64, &format!("{rate:.0} tok/s"));
    }
    answers.sort_by_key(|answer| answer.row);
    progress.say(&summary(backend, started));
    progress.finish();
    Ok(answers)
}

/// One line on what the engine did since `started`.
pub fn summary(backend: &LocalBackend, started: Instant) -> String {
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
