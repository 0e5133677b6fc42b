//! `ewe chat`: questions from the terminal or, line by line, from whatever standard input is.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use ewe::cli::models::chat::Args;
use futures::StreamExt;

use crate::engine::answer::Event;
use crate::engine::handle::LocalBackend;
use crate::eval::complete::single;
use crate::model::chat_template::{Message, Rendering};
use crate::model::conversation_template::ConversationTemplate;

/// Runs the command: until the end of the input.
///
/// On a terminal, a model with a chat template sees the whole conversation; a model without one
/// sees the last question only. Elsewhere each line stands alone.
pub fn run(args: &Args, quiet: bool) -> Result<()> {
    let mut backend = single(&args.model)?;
    let form = ConversationTemplate::to_ask(args.form.template.as_ref(), backend.tokenizer())?;
    backend.also_end_at(form.end_token());
    if !quiet {
        eprintln!("asked by the template {}", form.name());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let stdin = std::io::stdin();
    let talking = stdin.is_terminal();
    let remembers =
        talking && (args.form.template.is_some() || backend.tokenizer().chat_template().is_some());
    let mut messages = Vec::new();
    loop {
        if talking {
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
        messages.push(Message::new("user", line.trim()));
        let answer = runtime.block_on(answer(&backend, &form, &messages, args))?;
        messages.push(Message::new("assistant", &answer));
    }
}

/// Shows the answer as it comes, and gives it.
async fn answer(
    backend: &LocalBackend,
    form: &ConversationTemplate,
    messages: &[Message],
    args: &Args,
) -> Result<String> {
    let asked = form.prompt(backend.tokenizer(), messages, &Rendering::default(), usize::MAX)?;
    let mut sampling = args.sampling.sampling();
    sampling.stop.extend_from_slice(form.stop());
    let mut events = backend.stream(asked.unwrap_or_default(), sampling)?;
    let mut stdout = ewe::streams::stdout();
    let mut answer = String::new();
    while let Some(event) = events.next().await {
        let Event::Text(text) = event? else { break };
        // A template that ends in "Response:" makes many models begin with a line break.
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
