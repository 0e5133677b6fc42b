//! A PDF read in a process of its own, which a hostile file may end without ending this one.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

use super::Document;
use super::fault::{Fault, FaultKind};
use crate::text::{counted, format_size};

/// Private memory of the process that reads a file, in bytes.
const MEMORY: u64 = 2 << 30;

/// Processor time of it, in seconds.
const SECONDS: u64 = 120;

/// How much longer it has to end by itself, in seconds of processor time.
const GRACE: u64 = 5;

/// How long it is waited for.
const LONGEST: Duration = Duration::from_secs(300);

/// The variable of the environment with which it is started.
const VARIABLE: &str = "EWE_READS_APART";

/// What a process says of a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its text.
    Document(Document),
    /// Why it has none.
    Fault(Fault),
}

/// Reads the file at `path` in a process of its own.
///
/// # Errors
///
/// As [`super::pdf::read`], and [`FaultKind::OverLimit`] if the process ended early.
pub fn read(path: &Path, largest: u64) -> Result<Document, Fault> {
    let mut child = start(path, largest).map_err(no_process)?;
    let most = largest.saturating_mul(4);
    let (said, is_late) = listen(&mut child, most, LONGEST);
    let status = child.wait().map_err(no_process)?;
    match serde_json::from_slice(&said) {
        Ok(Outcome::Document(document)) => Ok(document),
        Ok(Outcome::Fault(fault)) => Err(fault),
        Err(_) if is_late => {
            let minutes = counted(LONGEST.as_secs() / 60, "minute");
            Err(over_limit(format!("reading it took more than {minutes}")))
        }
        Err(_) if said.len() as u64 >= most => {
            let most = format_size(most);
            Err(Fault::new(
                FaultKind::TooLarge,
                format!("its text has more than {most}"),
            ))
        }
        Err(_) => Err(early_end(status)),
    }
}

/// Whether this is the process that reads a file for another one.
pub fn is_reader() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Limits the memory and the time of this process, and lets panics of the parser pass in silence.
pub fn limit_this_process() {
    let limit = |resource: Resource, current: u64, maximum: u64| {
        let limits = Rlimit {
            current: Some(current),
            maximum: Some(maximum),
        };
        // A limit that cannot be set is as before.
        let _ = setrlimit(resource, limits);
    };
    limit(Resource::As, MEMORY, MEMORY);
    // The signal of the lower limit says that it was the time.
    limit(Resource::Cpu, SECONDS, SECONDS + GRACE);
    std::panic::set_hook(Box::new(|_| {}));
}

fn start(path: &Path, largest: u64) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["add-documents", "--no-config", "--text", "--json", "--largest"])
        .arg((largest >> 20).max(1).to_string())
        .arg("--")
        .arg(path)
        .env(VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

fn no_process(error: io::Error) -> Fault {
    Fault::new(FaultKind::Unreadable, format!("no process to read it: {error}"))
}

/// What a process says, at most `most` bytes. Kills one that takes longer than `longest`, and says
/// whether it did.
fn listen(child: &mut Child, most: u64, longest: Duration) -> (Vec<u8>, bool) {
    let pid = Pid::from_child(child);
    let output = child.stdout.take();
    let mut said = Vec::new();
    let is_late = thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        let watch = scope.spawn(move || {
            let is_late = ended.recv_timeout(longest) == Err(RecvTimeoutError::Timeout);
            if is_late {
                // Its exit is not collected yet, so that no other process has its number.
                let _ = kill_process(pid, Signal::KILL);
            }
            is_late
        });
        let read = output.map(|output| output.take(most).read_to_end(&mut said));
        if !matches!(read, Some(Ok(_))) {
            // It has ended, or would write on without a reader.
            let _ = child.kill();
        }
        drop(done);
        watch.join().unwrap_or(false)
    });
    (said, is_late)
}

fn over_limit(detail: impl Into<String>) -> Fault {
    Fault::new(FaultKind::OverLimit, detail)
}

/// What is likely wrong with a file whose reader ended without a word.
fn early_end(status: ExitStatus) -> Fault {
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::XCPU) {
        over_limit(format!(
            "reading it took more than {} of processor time",
            counted(SECONDS / 60, "minute")
        ))
    } else if is(Signal::ABORT) || is(Signal::SEGV) || is(Signal::BUS) {
        over_limit(format!(
            "reading it took more than {} of memory, or its parts contain one another without end",
            format_size(MEMORY)
        ))
    } else if is(Signal::KILL) {
        over_limit("the process that read it was killed, most likely because memory ran out")
    } else {
        Fault::damaged(format!("the process that read it ended with {status}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_end_of_a_reader_is_put_into_words() {
        for (signal, wanted) in [
            (
                Signal::XCPU,
                "over limit: reading it took more than 2 minutes of processor time",
            ),
            (Signal::ABORT, "of memory, or its parts contain one another"),
            (Signal::SEGV, "of memory, or its parts contain one another"),
            (Signal::KILL, "most likely because memory ran out"),
        ] {
            let fault = early_end(ExitStatus::from_raw(signal.as_raw()));
            assert_eq!(fault.kind, FaultKind::OverLimit);
            assert!(fault.to_string().contains(wanted), "{fault}");
        }
        assert_eq!(early_end(ExitStatus::from_raw(256)).kind, FaultKind::Damaged);
    }

    #[test]
    fn a_reader_that_takes_too_long_is_killed() {
        let started = Instant::now();
        let mut child = Command::new("sleep")
            .arg("600")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, is_late) = listen(&mut child, 10, Duration::from_millis(50));
        assert!(said.is_empty() && is_late);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
        assert!(started.elapsed() < Duration::from_secs(300));
        let mut child = Command::new("echo")
            .arg("sheep")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(listen(&mut child, 3, LONGEST), (b"she".to_vec(), false));
        child.wait().unwrap();
    }
}
