//! Programs as checks: started in the folder of the file, with a time limit, a memory limit, and an
//! environment of a few variables.
//!
//! The program reads one line of JSON, `{"prompt", "answer", "references"}`, and accepts the answer
//! with exit code 0. The first line that it writes is the reason. At the end its whole process
//! group is killed, and so is it when it takes too long or writes too much.
//!
//! [`crate::limited`] sets the limits, and says what they protect from.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;

use crate::limited::{Limited, end};

/// The most bytes that a program may write to standard output or standard error.
const MOST_OUTPUT: u64 = 1 << 20;

/// How much of it is kept.
const KEPT: usize = 1 << 16;

/// How long the output of a killed program is waited for, in case another process holds its pipe.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// The exit codes with which a shell says that it cannot start a program.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Whether programs may run, and their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramPolicy {
    /// Whether they may run at all.
    pub allowed: bool,
    /// The longest time for one answer.
    pub timeout: Duration,
    /// The most private memory of each of its processes, in bytes. macOS does not enforce it.
    pub memory: u64,
}

impl Default for ProgramPolicy {
    fn default() -> Self {
        ProgramPolicy {
            allowed: false,
            timeout: Duration::from_secs(10),
            memory: 1 << 30,
        }
    }
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name or path, as the file has it.
    name: String,
    arguments: Vec<String>,
    /// Where it runs.
    folder: PathBuf,
}

/// What a program says of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It accepts it, and says this.
    Yes(String),
    /// It does not, for this reason.
    No(String),
    /// It could not decide.
    Fault(String),
}

/// How a program ended.
enum Ending {
    Exited(ExitStatus),
    TimedOut,
    WroteTooMuch,
}

impl Program {
    /// Reads name and arguments, a list of texts.
    pub(super) fn parse(value: &Value, folder: &Path) -> Result<Program, String> {
        let words: Option<Vec<String>> = value.as_array().and_then(|words| {
            words
                .iter()
                .map(|word| word.as_str().map(str::to_string))
                .collect()
        });
        let mut words = words.unwrap_or_default().into_iter();
        let name = words.next().filter(|name| !name.is_empty());
        Ok(Program {
            name: name.ok_or_else(|| {
                format!("`program` needs a list such as [\"python3\", \"check.py\"], not {value}")
            })?,
            arguments: words.collect(),
            folder: folder.to_path_buf(),
        })
    }

    /// A command line of the user's, for the shell.
    pub fn of_shell(command: &str, folder: &Path) -> Program {
        Program {
            name: "/bin/sh".into(),
            arguments: vec!["-c".into(), command.into()],
            folder: folder.to_path_buf(),
        }
    }

    /// Checks, before any model is asked, that it may run and that it exists.
    pub(super) fn usable(&self, policy: ProgramPolicy) -> Result<(), String> {
        if !policy.allowed {
            return Err(format!(
                "`{}` would run as a program\nhint: --allow-programs lets the programs of the file run",
                self.name
            ));
        }
        let path = self.path().filter(|path| path.is_file());
        match path {
            Some(_) => Ok(()),
            None => Err(format!(
                "the program `{}` is not found\nhint: a name without `/` is looked for in PATH, another path in `{}`",
                self.name,
                self.folder.display()
            )),
        }
    }

    /// Where the program is; nothing if no folder of PATH has the name.
    fn path(&self) -> Option<PathBuf> {
        if self.name.contains('/') {
            return Some(self.folder.join(&self.name));
        }
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(&self.name))
            .find(|file| file.is_file())
    }

    /// Runs the program with `input` as its standard input.
    pub fn accepts(&self, input: &str, policy: ProgramPolicy) -> Accepted {
        if !policy.allowed {
            return Accepted::Fault("programs are not allowed to run".into());
        }
        match self.run(input, policy) {
            Ok(accepted) => accepted,
            Err(error) => Accepted::Fault(format!("cannot run `{}`: {error}", self.name)),
        }
    }

    fn run(&self, input: &str, policy: ProgramPolicy) -> io::Result<Accepted> {
        let (mut child, pid) = self.start(policy)?;
        let (sender, flood) = channel();
        let said = gather(child.stdout.take(), sender.clone());
        let errors = gather(child.stderr.take(), sender);
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_string();
            // A program need not read it.
            thread::spawn(move || stdin.write_all(input.as_bytes()));
        }
        let ending = ending(&mut child, pid, &flood, policy.timeout)?;
        let deadline = Instant::now() + LAST_OUTPUT;
        let text = |output: Receiver<Vec<u8>>| {
            let bytes = output.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        };
        let (said, errors) = (text(said), text(errors));
        let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default().to_string();
        let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty());
        Ok(match ending {
            Ending::TimedOut => Accepted::Fault(format!("took more than {:?}", policy.timeout)),
            Ending::WroteTooMuch => Accepted::Fault(format!("wrote more than {} MiB", MOST_OUTPUT >> 20)),
            Ending::Exited(status) => match (status.code(), status.signal()) {
                (Some(0), _) => Accepted::Yes(first),
                (Some(code), _) if NOT_STARTED.contains(&code) => {
                    Accepted::Fault(last.map_or_else(|| format!("exit code {code}"), str::to_string))
                }
                (Some(_), _) if !first.is_empty() => Accepted::No(first),
                (Some(code), _) => {
                    Accepted::No(last.map_or_else(|| format!("exit code {code}"), str::to_string))
                }
                (None, signal) => Accepted::Fault(format!("was ended by signal {}", signal.unwrap_or(0))),
            },
        })
    }

    /// Starts the program in a process group of its own, with its limits.
    fn start(&self, policy: ProgramPolicy) -> io::Result<(Child, Pid)> {
        let path = self
            .path()
            .filter(|path| path.is_file())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not found"))?;
        let cores = thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let limited = Limited {
            path: &path,
            arguments: &self.arguments,
            folder: &self.folder,
            memory: policy.memory,
            seconds: policy.timeout.as_secs().saturating_add(1).saturating_mul(cores),
            variables: &[],
        };
        limited.start()
    }
}

/// Waits until the program ends, or ends it, and kills what it left behind.
fn ending(child: &mut Child, pid: Pid, flood: &Receiver<()>, timeout: Duration) -> io::Result<Ending> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    // Its exit is not collected yet, so that no other process group gets the number.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let stopped = loop {
        if waitid(WaitId::Pid(pid), look)?.is_some() {
            break None;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Some(Ending::TimedOut);
        }
        match flood.recv_timeout(pause.min(left)) {
            Ok(()) => break Some(Ending::WroteTooMuch),
            // Both outputs are closed: nothing would wake this up.
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => thread::sleep(pause.min(left)),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let status = end(child, pid)?;
    // A program that wrote too much may have ended before that was seen.
    let flooded = flood.try_recv().is_ok();
    Ok(match stopped {
        Some(ending) => ending,
        None if flooded => Ending::WroteTooMuch,
        None => Ending::Exited(status),
    })
}

/// Reads an output in the background, and sends its beginning at its end. What is more than
/// [`MOST_OUTPUT`] is told to `flood`.
fn gather(output: Option<impl Read + Send + 'static>, flood: Sender<()>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 1 << 13];
        let mut total = 0;
        let Some(mut output) = output else { return };
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            total += count as u64;
            kept.extend_from_slice(&buffer[..count.min(KEPT - kept.len())]);
            if total > MOST_OUTPUT {
                let _ = flood.send(());
                break;
            }
        }
        let _ = sender.send(kept);
    });
    receiver
}

#[cfg(test)]
mod tests;
