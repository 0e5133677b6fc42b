//! `ewe chat`: a conversation on the terminal. If standard input is no terminal, each of its lines
//! is a question.
//!
//! - [`input`]: what is typed, with line editing and messages of several lines.
//! - [`command`]: what begins with a slash.
//! - [`conversation`]: what was said.
//! - [`markdown`]: how answers look on a terminal.

mod command;
mod conversation;
mod input;
mod markdown;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ewe::atomic_file::{self, AtomicFile};
use ewe::backend::{FinishReason, Sampling};
use ewe::job::chat::ChatJob;
use ewe::signals::InterruptSignals;
use ewe::text::{counted, format_error, shell_word};
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};

use crate::engine::event::Event;
use crate::engine::handle::LocalBackend;
use crate::engine::open;
use crate::model::files::fingerprint::called;
use crate::model::text::chat_template::{ChatMessage, Rendering};
use crate::model::text::conversation_template::ConversationTemplate;
use command::{Command, HELP, Typed, params, set};
use conversation::Conversation;
use input::{Entry, Input};
use markdown::Markdown;

/// Runs the command until the end of the input.
///
/// On a terminal, a model with a chat template sees the whole conversation; a model without one
/// sees the last message only. Elsewhere, each line is a conversation of its own, and the first
/// error ends the command.
pub fn run(job: &ChatJob, quiet: bool) -> Result<()> {
    let mut backend = open::single(&job.model)?;
    let template = ConversationTemplate::for_inference(job.template.as_ref(), backend.tokenizer())?;
    backend.also_end_at(template.end_token());
    let input = Input::open()?;
    let has_template = job.template.is_some() || backend.tokenizer().chat_template().is_some();
    if !quiet {
        introduce(job, template.name(), input.is_terminal(), has_template);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let interrupts = match input.is_terminal() {
        true => {
            let _runtime = runtime.enter();
            Some(InterruptSignals::listen().context("cannot listen to Ctrl-C")?)
        }
        false => None,
    };
    let mut session = ChatSession {
        backend,
        template,
        sampling: job.sampling.clone(),
        conversation: Conversation::new(input.is_terminal() && has_template),
        runtime,
        interrupts,
        quiet,
    };
    session.talk(input)
}

/// Says who answers, and what it can remember.
fn introduce(job: &ChatJob, template: &str, is_terminal: bool, has_template: bool) {
    let adapter = job.model.adapter.as_deref();
    let adapter = adapter.map_or(String::new(), |dir| format!(" + {}", called(dir)));
    let keys = match is_terminal {
        true => "; /help lists what else there is, Ctrl-D leaves",
        false => "",
    };
    let model = called(&job.model.path);
    eprintln!("{model}{adapter}, asked by the template {template}{keys}");
    if is_terminal && !has_template {
        eprintln!(
            "no memory: this model came without a chat template, so it is shown each message alone\n\
             hint: --template alpaca, or a template of yours, lays out the whole conversation"
        );
    }
}

struct ChatSession {
    backend: LocalBackend,
    template: ConversationTemplate,
    sampling: Sampling,
    conversation: Conversation,
    runtime: Runtime,
    /// On a terminal, where Ctrl-C stops the answer only.
    interrupts: Option<InterruptSignals>,
    quiet: bool,
}

impl ChatSession {
    fn is_terminal(&self) -> bool {
        self.interrupts.is_some()
    }

    /// Answers until the end of the input.
    fn talk(&mut self, mut input: Input) -> Result<()> {
        loop {
            let entry = match input.next()? {
                Entry::End => return Ok(()),
                Entry::Nothing => {
                    eprintln!("Ctrl-D leaves");
                    continue;
                }
                Entry::Message(entry) => entry,
            };
            let done = match Typed::read(&entry, self.is_terminal()) {
                Ok(Typed::Command(Command::Quit)) => return Ok(()),
                Ok(Typed::Command(command)) => self.obey(command),
                Ok(Typed::Message(message)) => {
                    self.conversation.ask(message);
                    self.answer()
                }
                Err(wrong) => Err(anyhow::Error::msg(wrong)),
            };
            match done {
                // The conversation can go on.
                Err(error) if self.is_terminal() => eprintln!("error: {}", format_error(&error)),
                done => done?,
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Help => eprintln!("{HELP}"),
            Command::System(None) => match self.conversation.system() {
                Some(system) => eprintln!("{system}"),
                None => eprintln!("there is no system message; /system TEXT sets one"),
            },
            Command::System(Some(text)) => self.take_system(text)?,
            Command::Reset => {
                self.conversation.reset();
                eprintln!("everything said is forgotten");
            }
            Command::Save(file) => self.save(&file)?,
            Command::Regenerate => {
                let Some(before) = self.conversation.take_back_answer() else {
                    bail!("there is no answer to generate again");
                };
                if self.sampling.temperature == 0.0 {
                    eprintln!("at temperature 0 the answer is the same; `/params temperature 0.7` varies it");
                }
                self.sampling.seed = self.sampling.seed.wrapping_add(1);
                match self.stream() {
                    Ok(answer) => self.conversation.answered(answer),
                    Err(error) => {
                        self.conversation.put_back_answer(before);
                        return Err(error);
                    }
                }
            }
            Command::Params(changes) => {
                let mut changed = self.sampling.clone();
                for (name, value) in &changes {
                    set(&mut changed, name, value).map_err(anyhow::Error::msg)?;
                }
                self.sampling = changed;
                eprintln!("{}", params(&self.sampling));
            }
            Command::Quit => {}
        }
        Ok(())
    }

    /// Sets the system message, unless the template cannot show it to the model.
    fn take_system(&mut self, text: String) -> Result<()> {
        let asked = [ChatMessage::new("system", &text), ChatMessage::new("user", "q")];
        self.prompt(&asked)?;
        self.conversation.instruct(text);
        eprintln!("the system message is set; /reset forgets what was said before");
        Ok(())
    }

    /// Writes the conversation as rows of messages, which `ewe import` and `ewe train` read.
    fn save(&self, path: &Path) -> Result<()> {
        if path.exists() {
            bail!("`{}` exists already\nhint: choose another name", path.display());
        }
        let rows = self.conversation.rows();
        if rows.is_empty() {
            bail!("nothing was answered yet");
        }
        let mut file = AtomicFile::begin(path)?;
        for row in &rows {
            writeln!(file, "{row}").with_context(|| atomic_file::cannot_write(path))?;
        }
        file.commit()?;
        let word = shell_word(path);
        eprintln!(
            "{word}: {}; `ewe import --db FILE {word}` adds what it says to a dataset",
            counted(rows.len() as u64, "conversation")
        );
        Ok(())
    }

    fn prompt(&self, messages: &[ChatMessage]) -> Result<Vec<i64>> {
        let tokenizer = self.backend.tokenizer();
        let rendering = Rendering::default();
        let prompt = self
            .template
            .prompt(tokenizer, messages, &rendering, usize::MAX)?;
        Ok(prompt.unwrap_or_default())
    }

    /// Answers what was asked last, or takes the question back if that fails.
    fn answer(&mut self) -> Result<()> {
        let answered = self.stream();
        match answered {
            Ok(answer) => {
                self.conversation.answered(answer);
                Ok(())
            }
            Err(error) => {
                self.conversation.take_back_question();
                Err(error)
            }
        }
    }

    /// Prints the answer as it comes, and returns it. Ctrl-C ends it early.
    fn stream(&mut self) -> Result<String> {
        let prompt = self.prompt(&self.conversation.shown())?;
        let mut sampling = self.sampling.clone();
        sampling.stop.extend_from_slice(self.template.stop());
        let mut events = self.backend.stream(prompt, sampling)?;
        let interrupts = &mut self.interrupts;
        let mut stdout = ewe::streams::stdout();
        // Elsewhere than on a terminal with colors, an answer is what the model wrote.
        let mut markdown =
            (interrupts.is_some() && stdout.is_terminal() && stdout.is_colored()).then(Markdown::default);
        let mut answer = String::new();
        let mut note = None;
        self.runtime.block_on(async {
            // Those that came before there was anything to stop.
            interrupts.iter_mut().for_each(InterruptSignals::forget);
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = interrupted(interrupts) => {
                        note = Some("stopped");
                        break;
                    }
                };
                let text = match event {
                    Some(event) => match event? {
                        Event::Text(text) => text,
                        Event::Done { finish_reason, .. } => {
                            let is_cut = finish_reason == FinishReason::Length;
                            note = is_cut.then_some("cut off: /params max_tokens N allows more");
                            break;
                        }
                        _ => continue,
                    },
                    None => break,
                };
                // After a template that ends in "Response:", many models begin with a line break.
                let text = if answer.is_empty() {
                    text.trim_start()
                } else {
                    &text
                };
                match &mut markdown {
                    Some(markdown) => write!(ewe::streams::styled(), "{}", markdown.push(text))?,
                    None => stdout.write_all(text.as_bytes())?,
                }
                stdout.flush()?;
                answer.push_str(text);
            }
            anyhow::Ok(())
        })?;
        if let Some(mut markdown) = markdown {
            write!(ewe::streams::styled(), "{}", markdown.finish())?;
        }
        writeln!(stdout)?;
        if let (Some(note), true, false) = (note, self.is_terminal(), self.quiet) {
            eprintln!("({note})");
        }
        Ok(answer)
    }
}

/// Waits for Ctrl-C; forever where it ends the process.
async fn interrupted(interrupts: &mut Option<InterruptSignals>) {
    match interrupts {
        Some(interrupts) => interrupts.next().await,
        None => std::future::pending().await,
    }
}
