//! `ewe chat`: a conversation on the terminal. If standard input is no terminal, each of its lines
//! is a question.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use ewe::job::chat::ChatJob;
use futures::StreamExt;

use crate::engine::event::Event;
use crate::engine::handle::LocalBackend;
use crate::engine::open;
use crate::model::text::chat_template::{ChatMessage, Rendering};
use crate::model::text::conversation_template::ConversationTemplate;

/// Runs the command until the end of the input.
///
/// On a terminal, a model with a chat template sees the whole conversation; a model without one
/// sees the last message only. Elsewhere, each line is a conversation of its own.
pub fn run(job: &ChatJob, quiet: bool) -> Result<()> {
    let mut backend = open::single(&job.model)?;
    let template = ConversationTemplate::for_inference(job.template.as_ref(), backend.tokenizer())?;
    backend.also_end_at(template.end_token());
    if !quiet {
        eprintln!("asked by the template {}", template.name());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let stdin = std::io::stdin();
    let is_terminal = stdin.is_terminal();
    let has_template = job.template.is_some() || backend.tokenizer().chat_template().is_some();
    let remembers = is_terminal && has_template;
    let mut messages = Vec::new();
    loop {
        if is_terminal {
            eprint!("> ");
        }
        let mut line = String::new();
        if stdin
            .lock()
            .read_line(&mut line)
            .context("cannot read standard input")?
            == 0
        {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        if !remembers {
            messages.clear();
        }
        messages.push(ChatMessage::new("user", line.trim()));
        let answer = runtime.block_on(answer(&backend, &template, &messages, job))?;
        messages.push(ChatMessage::new("assistant", &answer));
    }
}

/// Prints the answer as it comes, and returns it.
async fn answer(
    backend: &LocalBackend,
    template: &ConversationTemplate,
    messages: &[ChatMessage],
    job: &ChatJob,
) -> Result<String> {
    let prompt = template.prompt(backend.tokenizer(), messages, &Rendering::default(), usize::MAX)?;
    let mut sampling = job.sampling.clone();
    sampling.stop.extend_from_slice(template.stop());
    let mut events = backend.stream(prompt.unwrap_or_default(), sampling)?;
    let mut stdout = ewe::streams::stdout();
    let mut answer = String::new();
    while let Some(event) = events.next().await {
        let Event::Text(text) = event? else { break };
        // After a template that ends in "Response:", many models begin with a line break.
        let text = if answer.is_empty() {
            text.trim_start()
        } else {
            &text
        };
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        answer.push_str(text);
    }
    writeln!(stdout)?;
    Ok(answer)
}
