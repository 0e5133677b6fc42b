//! Commands of ewe that one command runs one after another. Each is shown as a user can type it,
//! and runs as a process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::atomic_file::{self, AtomicFile};
use crate::next::IS_STEP;
use crate::progress::clock;
use crate::signals::ShutdownSignals;
use crate::streams;
use crate::text::shell_word;

/// A command of ewe.
#[derive(Debug, Clone, Default)]
pub struct Step {
    arguments: Vec<OsString>,
    input: Option<PathBuf>,
    output: Option<PathBuf>,
}

impl Step {
    /// A command with these arguments, the first of which is its name.
    pub fn new<Argument: Into<OsString>>(arguments: impl IntoIterator<Item = Argument>) -> Step {
        Step {
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..Step::default()
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<Argument: Into<OsString>>(mut self, more: impl IntoIterator<Item = Argument>) -> Step {
        self.arguments.extend(more.into_iter().map(Into::into));
        self
    }

    /// Gives it a file as standard input, which is empty otherwise.
    #[must_use]
    pub fn reading(mut self, file: &Path) -> Step {
        self.input = Some(file.to_owned());
        self
    }

    /// Keeps its standard output in a file, too.
    #[must_use]
    pub fn keeping(mut self, file: &Path) -> Step {
        self.output = Some(file.to_owned());
        self
    }

    /// The command as a user can type it.
    pub fn line(&self) -> String {
        let mut line = "ewe".to_owned();
        for argument in &self.arguments {
            line += " ";
            line += &shell_word(Path::new(argument));
        }
        if let Some(file) = &self.input {
            line += " < ";
            line += &shell_word(file);
        }
        if let Some(file) = &self.output {
            line += " | tee ";
            line += &shell_word(file);
        }
        line
    }
}

/// Steps in progress.
#[derive(Debug)]
pub struct Steps {
    program: PathBuf,
    signals: ShutdownSignals,
    began: Instant,
    quiet: bool,
}

impl Steps {
    /// Begins: from now on, signals are passed on to the step that runs. With `quiet`, only what
    /// the steps print is shown. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the system does not tell the name of this program, or does not let it hear signals.
    pub fn begin(quiet: bool) -> Result<Steps> {
        Ok(Steps {
            program: std::env::current_exe().context("cannot find out where this program is")?,
            signals: ShutdownSignals::listen()?,
            began: Instant::now(),
            quiet,
        })
    }

    /// Prints a heading, with the time since the beginning.
    pub fn announce(&self, title: &str) {
        if self.quiet {
            return;
        }
        let time = clock(self.began.elapsed());
        println!("\n== {title}  ({time})");
    }

    /// Runs a step and returns its exit code: 128 and the number of the signal if one ended it. The
    /// step prints its own errors. A signal to this process reaches the step as an interruption,
    /// and the step ends as it does on Ctrl-C.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or its output neither shown nor kept.
    pub async fn run(&mut self, step: &Step) -> Result<u8> {
        if !self.quiet {
            println!("$ {}", step.line());
        }
        streams::finish()?;
        let child = self.start(step)?;
        let process = Pid::from_child(&child);
        let output = step.output.clone();
        let mut ended = tokio::task::spawn_blocking(move || end(child, output.as_deref()));
        loop {
            tokio::select! {
                ended = &mut ended => return ended?,
                () = self.signals.next() => {
                    // It may have ended by itself meanwhile.
                    let _ = kill_process(process, Signal::INT);
                }
            }
        }
    }

    fn start(&self, step: &Step) -> Result<Child> {
        let input = match &step.input {
            Some(file) => {
                let opened = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
                Stdio::from(opened)
            }
            None => Stdio::null(),
        };
        let output = match step.output {
            Some(_) => Stdio::piped(),
            None => Stdio::inherit(),
        };
        Command::new(&self.program)
            .env(IS_STEP, "1")
            .args(self.quiet.then_some("--quiet"))
            .args(&step.arguments)
            .stdin(input)
            .stdout(output)
            // Ctrl-C at a terminal then reaches this process only, which passes it on, once.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run `{}`", step.line()))
    }
}

/// Waits for the end of a step, and shows and keeps its output until then if it goes to a file.
fn end(mut child: Child, output: Option<&Path>) -> Result<u8> {
    let shown = match (child.stdout.take(), output) {
        (Some(stdout), Some(file)) => keep(stdout, file),
        _ => Ok(()),
    };
    let status = child.wait().context("cannot wait for the command")?;
    shown?;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Passes `stdout` on as it comes, and writes the whole to `file`.
fn keep(mut stdout: ChildStdout, file: &Path) -> Result<()> {
    let (mut whole, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = match stdout.read(&mut part) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("cannot read the output of the command"),
        };
        whole.extend_from_slice(&part[..length]);
        let mut shown = streams::stdout();
        shown.write_all(&part[..length])?;
        shown.flush()?;
    }
    let mut kept = AtomicFile::begin(file)?;
    kept.write_all(&whole)
        .with_context(|| atomic_file::cannot_write(file))?;
    kept.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_as_it_is_typed() {
        let step = Step::new(["chat", "--model", "my models/gemma"])
            .with(["--max-tokens", "60"])
            .reading(Path::new("demo/questions.txt"))
            .keeping(Path::new("demo/it's.txt"));
        assert_eq!(
            step.line(),
            r"ewe chat --model 'my models/gemma' --max-tokens 60 < demo/questions.txt | tee 'demo/it'\''s.txt'"
        );
    }
}
