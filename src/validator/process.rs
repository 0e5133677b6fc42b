//! One running validator: a line to it, a line from it.

use super::{Said, ValidatorConfig, verdict};
use crate::limited::{self, Limited};
use crate::suite::checks::ProgramPolicy;
use crate::suite::checks::program::{Accepted, Program};
use rustix::process::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The longest line of an answer, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// How much of the end of its standard error is kept, in bytes.
const KEPT: usize = 1 << 12;
/// Lines that may wait to be read. A program that writes more is stopped by its pipe.
const WAITING: usize = 4;
/// How often the wait for an answer checks whether the run is ending.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the last words of a program that ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Processor time, in seconds, after which a program ends that nobody is left to kill.
const PROCESSOR_TIME: u64 = 7 * 24 * 3600;

/// A validator, running or to be started.
pub struct Process {
    config: ValidatorConfig,
    running: Option<Running>,
    /// Set when the answers are not wanted any more.
    closing: Arc<AtomicBool>,
}

struct Running {
    child: Child,
    pid: Pid,
    rows: Sender<String>,
    lines: Receiver<Line>,
    errors: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
    /// Whether it has answered a row.
    has_answered: bool,
}

/// Why there is no verdict.
enum Failure {
    /// The program ended.
    Ended(String),
    /// Anything else.
    Other(String),
}

enum Line {
    Text(String),
    TooLong,
}

impl Process {
    pub fn new(config: ValidatorConfig, closing: Arc<AtomicBool>) -> Process {
        Process {
            config,
            running: None,
            closing,
        }
    }

    /// Asks about a row, a line of JSON without its end.
    pub fn ask(&mut self, row: &str) -> Said {
        if self.config.per_row {
            return self.ask_once(row);
        }
        match self.exchange(row) {
            Ok(said) => said,
            Err(what) => {
                // Whatever it writes now is no answer to the next row.
                self.running = None;
                Said::Failed(what)
            }
        }
    }

    /// Asks the running program. One that ended after an answer, as it may, is started again.
    fn exchange(&mut self, row: &str) -> Result<Said, String> {
        let has_answered = self.running.as_ref().is_some_and(|running| running.has_answered);
        match self.attempt(row) {
            Err(Failure::Ended(_)) if has_answered => {
                self.running = None;
                self.attempt(row)
            }
            done => done,
        }
        .map_err(|failure| match failure {
            Failure::Ended(what) | Failure::Other(what) => what,
        })
    }

    fn attempt(&mut self, row: &str) -> Result<Said, Failure> {
        let running = match self.running.take() {
            Some(running) => self.running.insert(running),
            None => {
                let started = Running::start(&self.config).map_err(Failure::Other)?;
                self.running.insert(started)
            }
        };
        // One that speaks before it is asked has answered its first row.
        if running.has_answered && running.lines.try_recv().is_ok() {
            let what = "wrote more than one line for the row before";
            return Err(Failure::Other(what.into()));
        }
        // A program that has ended is found below.
        let _ = running.rows.send(format!("{row}\n"));
        let deadline = Instant::now() + self.config.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("took more than {:?}", self.config.timeout);
                return Err(Failure::Other(what));
            }
            match running.lines.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(Line::Text(line)) if line.trim().is_empty() => {}
                Ok(Line::Text(line)) => {
                    running.has_answered = true;
                    return verdict(line.trim()).map_err(Failure::Other);
                }
                Ok(Line::TooLong) => {
                    let what = format!("wrote a line of more than {} MiB", LONGEST_LINE >> 20);
                    return Err(Failure::Other(what));
                }
                Err(RecvTimeoutError::Timeout) if self.closing.load(Ordering::Relaxed) => {
                    return Err(Failure::Other("was not done when the run ended".into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Ended(running.last_words()));
                }
            }
        }
    }

    /// Starts the program for this row only.
    fn ask_once(&self, row: &str) -> Said {
        let policy = ProgramPolicy {
            allowed: true,
            timeout: self.config.timeout,
            memory: self.config.memory,
        };
        let program = Program::of_shell(&self.config.command, Path::new("."));
        let (said, by_code) = match program.accepts(&format!("{row}\n"), policy) {
            Accepted::Fault(what) => return Said::Failed(what),
            Accepted::Yes(said) => (said.clone(), Said::Accepts(said)),
            Accepted::No(why) => (why.clone(), Said::Rejects(why)),
        };
        match said.starts_with('{') {
            true => verdict(&said).unwrap_or_else(Said::Failed),
            false => by_code,
        }
    }
}

impl Running {
    fn start(config: &ValidatorConfig) -> Result<Running, String> {
        let arguments = ["-c".to_string(), config.command.clone()];
        let limited = Limited {
            path: Path::new("/bin/sh"),
            arguments: &arguments,
            folder: Path::new("."),
            memory: config.memory,
            seconds: PROCESSOR_TIME,
            // Python keeps what it prints to a pipe until it ends.
            variables: &[("PYTHONUNBUFFERED", "1")],
        };
        let (mut child, pid) = limited
            .start()
            .map_err(|error| format!("does not start: {error}"))?;
        let (rows, to_write) = channel::<String>();
        let mut stdin = child.stdin.take().expect("it is a pipe");
        // Its own thread, since a program may not read while it writes, or at all.
        thread::spawn(move || {
            for row in to_write {
                if stdin
                    .write_all(row.as_bytes())
                    .and_then(|()| stdin.flush())
                    .is_err()
                {
                    break;
                }
            }
        });
        let (said, lines) = sync_channel(WAITING);
        let stdout = child.stdout.take().expect("it is a pipe");
        thread::spawn(move || read_lines(stdout, &said));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (done, ended) = channel();
        let (stderr, kept) = (child.stderr.take().expect("it is a pipe"), errors.clone());
        thread::spawn(move || {
            keep_end(stderr, &kept);
            let _ = done.send(());
        });
        Ok(Running {
            child,
            pid,
            rows,
            lines,
            errors,
            ended,
            has_answered: false,
        })
    }

    /// Says how a program ended that answers no more.
    fn last_words(&mut self) -> String {
        let _ = self.ended.recv_timeout(LAST_WORDS);
        let kept = self.errors.lock().map(|kept| kept.clone()).unwrap_or_default();
        let kept = String::from_utf8_lossy(&kept).into_owned();
        let last = kept.lines().map(str::trim).rfind(|line| !line.is_empty());
        let how = match limited_exit(&mut self.child) {
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, signal) => format!("was ended by signal {}", signal.unwrap_or(0)),
            },
            None => "closed its output".to_string(),
        };
        match last {
            Some(last) => format!("{how}: {}", crate::text::one_line(last, 200)),
            None => format!("{how} without an answer"),
        }
    }
}

/// The exit of a program that closed its output, if it comes soon.
fn limited_exit(child: &mut Child) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + LAST_WORDS;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            _ => return None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = limited::end(&mut self.child, self.pid);
    }
}

fn read_lines(stdout: impl Read, said: &SyncSender<Line>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match stdout
            .by_ref()
            .take(LONGEST_LINE + 1)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) if line.len() as u64 > LONGEST_LINE => {
                let _ = said.send(Line::TooLong);
                return;
            }
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).into_owned();
                if said.send(Line::Text(text)).is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads to the end, and keeps the last bytes.
fn keep_end(mut stderr: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1 << 12];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let Ok(mut kept) = kept.lock() else { return };
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }
}
