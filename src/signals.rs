//! Signals that ask a command to end.
//!
//! A command that has something open or unfinished ends at once with code 130 and leaves nothing
//! behind ([`crate::leave`]). A command that can end cleanly by itself listens to the signals
//! ([`ShutdownSignals`]). The next run removes what `kill -9` leaves (`atomic_file::scratch`,
//! `store::file::lock`).

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures::FutureExt;
use rustix::process::{Signal as SystemSignal, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, the signal of `kill`, and the signal of a closing terminal.
pub(crate) const ASKING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether the command listens itself.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the command listens to Ctrl-C itself.
static INTERRUPTS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the command listens to the signal itself.
pub(crate) fn is_taken(signal: i32) -> bool {
    TAKEN.load(Ordering::SeqCst) || (signal == SIGINT && INTERRUPTS_TAKEN.load(Ordering::SeqCst))
}

/// The signals of [`ASKING`] that are not ignored. A signal that our parent wants ignored stays
/// ignored: `nohup` does that, and shells do it with Ctrl-C for background commands of a script.
pub(crate) fn heard() -> impl Iterator<Item = i32> {
    let ignored = ignored();
    ASKING.into_iter().filter(move |&signal| !is_in(ignored, signal))
}

/// Requests to end, for a command that ends cleanly by itself.
#[derive(Debug)]
pub struct ShutdownSignals(Vec<Signal>);

impl ShutdownSignals {
    /// Listens from now on: a signal no longer ends the process. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// When the system does not allow it.
    pub fn listen() -> io::Result<ShutdownSignals> {
        let signals = heard().map(|number| signal(SignalKind::from_raw(number)));
        let signals = ShutdownSignals(signals.collect::<io::Result<_>>()?);
        // Last, since a signal before that would be missed.
        TAKEN.store(true, Ordering::SeqCst);
        Ok(signals)
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        poll_fn(|context| {
            let came = |signal: &mut Signal| signal.poll_recv(context).is_ready();
            // All are polled, so that each wakes us.
            match self.0.iter_mut().map(came).filter(|&came| came).count() {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await
    }
}

/// Ctrl-C alone, for a command that stops what it is doing and goes on with something else. The
/// other signals end it as before.
#[derive(Debug)]
pub struct InterruptSignals(Option<Signal>);

impl InterruptSignals {
    /// Listens from now on: Ctrl-C no longer ends the process. Where our parent wants it ignored,
    /// it stays so. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the system does not allow it.
    pub fn listen() -> io::Result<InterruptSignals> {
        let listen = || signal(SignalKind::interrupt());
        let signals = InterruptSignals((!is_ignored(SIGINT)).then(listen).transpose()?);
        INTERRUPTS_TAKEN.store(true, Ordering::SeqCst);
        Ok(signals)
    }

    /// Waits for the next Ctrl-C.
    pub async fn next(&mut self) {
        if let Some(signals) = &mut self.0
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }

    /// Forgets those that have arrived.
    pub fn forget(&mut self) {
        while self.next().now_or_never().is_some() {}
    }
}

/// Requests to pause (Ctrl-Z), for a command whose work is done by another process.
#[derive(Debug)]
pub struct PauseSignals(Option<Signal>);

impl PauseSignals {
    /// Listens from now on: a request no longer stops the process. One that our parent wants
    /// ignored stays ignored. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the system does not allow it.
    pub fn listen() -> io::Result<PauseSignals> {
        let listen = || signal(SignalKind::from_raw(SIGTSTP));
        Ok(PauseSignals((!is_ignored(SIGTSTP)).then(listen).transpose()?))
    }

    /// Waits for the next request.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(requests) => {
                requests.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The environment variable with which a process is started that is to end with its parent.
pub const ENDS_WITH_PARENT: &str = "EWE_ENDS_WITH_PARENT";

/// If the process was started so, has the system ask it to end as soon as its parent has, even if
/// that was killed. It stays so when the process becomes another program.
pub fn end_with_parent() {
    if std::env::var_os(ENDS_WITH_PARENT).is_some() {
        // Without it, the process goes on to its end.
        let _ = set_parent_process_death_signal(Some(SystemSignal::TERM));
    }
}

/// Whether the process was started with the signal ignored; false if the system does not tell.
fn is_ignored(signal: i32) -> bool {
    is_in(ignored(), signal)
}

/// The signals that the process was started to ignore, a bit for each; none if the system does not
/// tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}
