//! Runs a command of this program in a process of its own, and passes on what asks it to end.
//!
//! A step is in a process group of its own: Ctrl-C then reaches it once, from here, and not twice,
//! which would end it at once. Ctrl-Z is passed on the same way. If this process is killed, the
//! system asks the step to end ([`signals::end_with_parent`]).

use std::fmt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use futures::FutureExt;
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

use super::job::GainJob;
use super::steps::Step;
use crate::leave::INTERRUPTED;
use crate::next;
use crate::signals::{self, PauseSignals, ShutdownSignals};
use crate::streams;

/// What the exit code of a shell adds to the number of a signal that ended a process.
const BY_SIGNAL: i32 = 128;

/// Runs steps, one after another.
pub struct Runner {
    shutdown: ShutdownSignals,
    pauses: PauseSignals,
    /// Whether somebody wants no further step.
    is_stopping: bool,
    quiet: bool,
    verbose: u8,
    /// The steps that were run, as they are typed.
    pub lines: Vec<String>,
}

/// A step did not end as it should, or somebody wants no further one.
#[derive(Debug)]
pub struct Stopped {
    /// The exit code: of the step, or of an interrupted command.
    pub code: u8,
    /// The step.
    pub line: String,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {}", self.line, self.code)
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// Says what to do.
    pub fn way_on(&self) -> String {
        match self.code {
            INTERRUPTED => "stopped; the same `ewe gain` goes on from here".to_owned(),
            code => format!(
                "error: a step failed, with exit code {code}: `{}`\nhint: once it is mended, the same `ewe gain` goes on from here",
                self.line
            ),
        }
    }
}

impl Runner {
    /// Listens to signals from now on.
    ///
    /// # Errors
    ///
    /// When the system does not allow it.
    pub fn listen(job: &GainJob) -> Result<Runner> {
        Ok(Runner {
            shutdown: ShutdownSignals::listen().context("cannot listen for signals")?,
            pauses: PauseSignals::listen().context("cannot listen for signals")?,
            is_stopping: false,
            quiet: job.quiet,
            verbose: job.verbose,
            lines: Vec::new(),
        })
    }

    /// Says something about the work.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Runs a step to its end. Its results go to standard error: standard output is for the
    /// conclusion.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if it fails or is interrupted; if this program cannot be started.
    pub async fn run(&mut self, step: &Step) -> Result<()> {
        let line = step.line();
        self.is_stopping |= self.shutdown.next().now_or_never().is_some();
        if self.is_stopping {
            let code = INTERRUPTED;
            return Err(Stopped { code, line }.into());
        }
        self.say(&format!("\n$ {line}"));
        let child = self
            .command(step)?
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let status = self
            .wait_for(child)
            .await
            .with_context(|| format!("cannot wait for `{line}`"))?;
        let code = match (status.code(), status.signal()) {
            (Some(code), _) => code,
            (None, signal) => BY_SIGNAL + signal.unwrap_or(0),
        };
        if code != 0 {
            let code = u8::try_from(code).unwrap_or(1);
            return Err(Stopped { code, line }.into());
        }
        self.lines.push(line);
        Ok(())
    }

    /// Returns the process of a step.
    fn command(&self, step: &Step) -> Result<Command> {
        let program = std::env::current_exe().context("cannot find the program that runs")?;
        let mut command = Command::new(program);
        command
            .args(&step.arguments)
            .env(signals::ENDS_WITH_PARENT, "1")
            .env(next::IS_STEP, "1")
            .stdin(Stdio::null())
            .process_group(0);
        // Global options may stand anywhere, but not behind a `--`, of which steps have none.
        match self.quiet {
            true => command.arg("-q").stdout(Stdio::null()),
            false => command
                .args((0..self.verbose).map(|_| "-v"))
                .stdout(streams::stderr().for_child()),
        };
        Ok(command)
    }

    /// Waits for the end of a process, and passes signals on to it.
    async fn wait_for(&mut self, mut child: Child) -> Result<ExitStatus> {
        let group = Pid::from_child(&child);
        // It may have ended at this moment, so errors say nothing.
        let send = |signal: Signal| {
            let _ = kill_process_group(group, signal);
        };
        let mut ended = tokio::task::spawn_blocking(move || child.wait());
        loop {
            tokio::select! {
                status = &mut ended => return Ok(status??),
                () = self.shutdown.next() => {
                    self.is_stopping = true;
                    send(Signal::TERM);
                }
                () = self.pauses.next() => {
                    send(Signal::STOP);
                    // Goes on here once somebody continues us.
                    let _ = kill_process(getpid(), Signal::STOP);
                    send(Signal::CONT);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_is_said() {
        let stopped = |code| Stopped {
            code,
            line: "ewe eval --db d.db".into(),
        };
        let failed = stopped(1).way_on();
        assert!(
            failed.starts_with("error: a step failed, with exit code 1: `ewe eval --db d.db`\nhint: "),
            "{failed}"
        );
        assert!(stopped(INTERRUPTED).way_on().starts_with("stopped; the same"));
    }
}
