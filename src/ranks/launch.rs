//! Starts the ranks of a command on this machine, and watches over them.
//!
//! A rank that fails ends all others: by themselves, as they miss it, else by signals. The error
//! that is printed is the one that came first, of a rank that missed no other. A signal to this
//! process goes on to every rank. If this process dies, the system kills the ranks.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::place::{LAUNCHER, LISTENING, REPORTS, RESTARTS};
use super::report::Report;
use crate::leave::INTERRUPTED;
use crate::signals::{PauseSignals, ShutdownSignals};
use crate::text::counted;

/// The time in which ranks may end by themselves once one has failed.
const GRACE: Duration = Duration::from_secs(2);
/// The time between the signals that ask a rank to end, and before the one that kills it.
const BETWEEN: Duration = Duration::from_millis(300);
/// The time that a rank has to close its dataset.
const CLOSING: Duration = Duration::from_secs(3);

/// What is started.
#[derive(Debug, Clone)]
pub struct Ranks {
    /// How many.
    pub count: usize,
    /// How often they are started again after a failure.
    pub restarts: u32,
    /// Whether nothing but errors is said.
    pub quiet: bool,
}

/// A rank that has ended.
#[derive(Debug)]
struct Ended {
    rank: usize,
    status: ExitStatus,
    report: Option<Report>,
    /// Whether a signal of ours may have ended it.
    asked: bool,
}

impl Ended {
    fn is_interrupted(&self) -> bool {
        self.status.code() == Some(i32::from(INTERRUPTED))
    }

    fn has_failed(&self) -> bool {
        !self.status.success() && !self.is_interrupted()
    }

    /// Whether it failed by itself.
    fn is_cause(&self) -> bool {
        let is_lost = self.report.as_ref().is_some_and(|report| report.lost);
        self.has_failed() && !self.asked && !is_lost
    }

    fn why(&self) -> String {
        let rank = self.rank;
        match (&self.report, self.status.signal(), self.status.code()) {
            // It names the rank that it misses.
            (Some(report), ..) if report.lost => report.message.clone(),
            (Some(report), ..) => format!("rank {rank}: {}", report.message),
            (None, Some(9), _) => format!(
                "rank {rank} was killed by signal 9\nhint: where nobody did that, the system had no memory left; `ewe plan` says what takes \
                 less"
            ),
            (None, Some(signal), _) => format!("rank {rank} was ended by signal {signal}"),
            (None, None, code) => format!("rank {rank} ended with code {}", code.unwrap_or(1)),
        }
    }
}

/// Runs the command in several ranks, each `command` with these arguments. Returns the exit code.
///
/// # Errors
///
/// That of the rank that failed first.
pub fn run(ranks: &Ranks, command: impl Fn() -> Command, arguments: &[OsString]) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut watch = Watch {
            shutdown: ShutdownSignals::listen()?,
            pauses: PauseSignals::listen()?,
            is_stopping: false,
        };
        let mut restart = 0;
        loop {
            let ended = watch.once(ranks, restart, &command, arguments).await?;
            let Some(cause) = cause(&ended) else {
                let is_interrupted = ended.iter().any(Ended::is_interrupted);
                return Ok(if is_interrupted { INTERRUPTED } else { 0 });
            };
            if restart >= ranks.restarts || watch.is_stopping {
                anyhow::bail!("{}", cause.why());
            }
            restart += 1;
            if !ranks.quiet {
                eprintln!("{}", cause.why());
                let of = counted(ranks.restarts, "restart");
                eprintln!("starting again from the last checkpoint: {restart} of {of}");
            }
        }
    })
}

/// Returns the rank whose failure made the others fail; none if none failed.
fn cause(ended: &[Ended]) -> Option<&Ended> {
    let mut failed = ended.iter().filter(|of| of.has_failed());
    ended.iter().find(|of| of.is_cause()).or_else(|| failed.next())
}

/// What this process hears while ranks run.
struct Watch {
    shutdown: ShutdownSignals,
    pauses: PauseSignals,
    is_stopping: bool,
}

impl Watch {
    /// Starts the ranks and waits for their end. Returns them in the order in which they ended.
    async fn once(
        &mut self,
        ranks: &Ranks,
        restart: u32,
        command: &impl Fn() -> Command,
        arguments: &[OsString],
    ) -> Result<Vec<Ended>> {
        let mut started = Started::begin(ranks.count, restart, command, arguments)?;
        let mut ended = Vec::new();
        // What to do next against ranks that go on although one has failed.
        let mut steps = [Signal::TERM, Signal::TERM, Signal::KILL].into_iter();
        let mut deadline: Option<Instant> = None;
        while ended.len() < ranks.count {
            let patience = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                one = started.next() => {
                    let one = one?;
                    // A rank that is done has waited for the others before.
                    let is_early = one.has_failed() || (one.is_interrupted() && !self.is_stopping);
                    if is_early && deadline.is_none() {
                        deadline = Some(Instant::now() + GRACE);
                    }
                    ended.push(one);
                }
                () = patience => {
                    let signal = steps.next().unwrap_or(Signal::KILL);
                    started.send(signal, true);
                    let pause = if steps.len() == 1 { CLOSING } else { BETWEEN };
                    deadline = Some(Instant::now() + pause);
                }
                () = self.shutdown.next() => {
                    self.is_stopping = true;
                    started.send(Signal::TERM, false);
                }
                () = self.pauses.next() => {
                    started.send(Signal::STOP, false);
                    // Goes on here once somebody continues us.
                    let _ = kill_process(getpid(), Signal::STOP);
                    started.send(Signal::CONT, false);
                }
            }
        }
        Ok(ended)
    }
}

/// Ranks that run.
struct Started {
    /// Those that have not ended: number, process, and whether it was asked to end.
    running: Vec<(usize, Pid, bool)>,
    ends: UnboundedReceiver<io::Result<(usize, ExitStatus, String)>>,
}

impl Started {
    fn begin(
        count: usize,
        restart: u32,
        command: &impl Fn() -> Command,
        arguments: &[OsString],
    ) -> Result<Started> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for the ranks to meet")?;
        let port = listener.local_addr()?.port();
        let mut listener = Some(listener);
        let (sender, ends) = unbounded_channel();
        let mut started = Started {
            running: Vec::new(),
            ends,
        };
        for rank in 0..count {
            let mut one = command();
            one.args(arguments);
            set_place(&mut one, rank, count, port, restart);
            let spawned = spawn(one, listener.take());
            let (child, reports) = match spawned {
                Ok(spawned) => spawned,
                Err(error) => {
                    started.send(Signal::KILL, true);
                    return Err(error).with_context(|| format!("cannot start rank {rank}"));
                }
            };
            started.running.push((rank, Pid::from_child(&child), false));
            let sender = sender.clone();
            std::thread::spawn(move || {
                // Nobody listens any more if this process ends.
                let _ = sender.send(end(child, reports).map(|(status, text)| (rank, status, text)));
            });
        }
        Ok(started)
    }

    /// Waits for the next rank that ends.
    async fn next(&mut self) -> Result<Ended> {
        let (rank, status, text) = self.ends.recv().await.context("no rank is left")??;
        let at = self.running.iter().position(|(other, ..)| *other == rank);
        let asked = at.is_some_and(|at| self.running.swap_remove(at).2);
        Ok(Ended {
            rank,
            status,
            report: serde_json::from_str(&text).ok(),
            asked,
        })
    }

    fn send(&mut self, signal: Signal, asks: bool) {
        for (_, process, asked) in &mut self.running {
            // It may have ended at this moment, so errors say nothing.
            let _ = kill_process(*process, signal);
            *asked |= asks;
        }
    }
}

/// Tells a rank its place.
fn set_place(command: &mut Command, rank: usize, count: usize, port: u16, restart: u32) {
    let numbers = [
        ("RANK", rank.to_string()),
        ("WORLD_SIZE", count.to_string()),
        ("LOCAL_RANK", rank.to_string()),
        ("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string()),
        ("MASTER_PORT", port.to_string()),
        (RESTARTS, restart.to_string()),
        (LAUNCHER, std::process::id().to_string()),
    ];
    command.envs(numbers).env_remove("TORCHELASTIC_USE_AGENT_STORE");
    if std::env::var_os("OMP_NUM_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        command.env("OMP_NUM_THREADS", (cores / count).max(1).to_string());
    }
    // Signals of the terminal reach this process, which passes on one of each.
    command.stdin(Stdio::null()).process_group(0);
    if rank > 0 {
        command.stdout(Stdio::null());
    }
}

/// Starts a rank, which inherits the socket and one end of a pipe.
fn spawn(mut command: Command, listener: Option<TcpListener>) -> Result<(Child, PipeReader)> {
    let (reports, writer) = io::pipe()?;
    inherited(&mut command, REPORTS, &writer)?;
    match &listener {
        Some(listener) => inherited(&mut command, LISTENING, listener)?,
        None => drop(command.env_remove(LISTENING)),
    }
    // Both are closed here on return, so that the other ends hear when the rank's are.
    Ok((command.spawn()?, reports))
}

fn inherited(command: &mut Command, name: &str, file: &(impl AsFd + AsRawFd)) -> Result<()> {
    fcntl_setfd(file, FdFlags::empty())?;
    command.env(name, file.as_raw_fd().to_string());
    Ok(())
}

/// Waits for the end of a rank. Returns what it reported.
fn end(mut child: Child, mut reports: PipeReader) -> io::Result<(ExitStatus, String)> {
    let status = child.wait()?;
    let mut text = String::new();
    // A program that it became, to close its dataset, may hold the other end for a moment.
    reports.read_to_string(&mut text)?;
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &'static str) -> impl Fn() -> Command {
        move || {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        }
    }

    fn ranks(count: usize, restarts: u32) -> Ranks {
        Ranks {
            count,
            restarts,
            quiet: true,
        }
    }

    #[test]
    fn the_error_is_that_of_the_rank_that_failed_by_itself() {
        let script = r#"
            lost='{"lost":true,"message":"missed"}'
            if [ $RANK = 0 ]; then eval "printf '%s' '$lost' > /dev/fd/$EWE_REPORTS"; exit 1; fi
            if [ $RANK = 1 ]; then kill -9 $$; fi
            while :; do sleep 0.1; done"#;
        let error = run(&ranks(3, 0), shell(script), &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("rank 1 was killed by signal 9\nhint: "),
            "{error}"
        );
    }

    #[test]
    fn ranks_know_their_place_and_are_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"
            echo "$RANK $WORLD_SIZE $LOCAL_RANK $TORCHELASTIC_RESTART_COUNT" >> "$0/seen"
            [ "$MASTER_ADDR" = 127.0.0.1 ] && [ "$MASTER_PORT" -gt 0 ] || exit 3
            [ $RANK != 0 ] || [ -n "$EWE_LISTENING" ] || exit 4
            [ $RANK != 1 ] || [ $TORCHELASTIC_RESTART_COUNT = 1 ] || exit 5"#;
        let path = [folder.path().as_os_str().to_owned()];
        assert_eq!(run(&ranks(2, 1), shell(script), &path).unwrap(), 0);
        let seen = std::fs::read_to_string(folder.path().join("seen")).unwrap();
        let mut seen: Vec<&str> = seen.lines().collect();
        seen.sort_unstable();
        assert_eq!(seen, ["0 2 0 0", "0 2 0 1", "1 2 1 0", "1 2 1 1"]);
        let error = run(&ranks(2, 0), shell(script), &path).unwrap_err().to_string();
        assert_eq!(error, "rank 1 ended with code 5");
    }
}
