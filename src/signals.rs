//! Signals that ask a command to end, and what must not stay behind when they do.
//!
//! A command that has something open or unfinished ends at once with code 130, and nothing of it
//! stays ([`watch`], [`crate::leave`]). One that can come to an end of its own listens itself
//! ([`Requests`]). What `kill -9` leaves, the next run removes (`atomic_file::scratch`, `store::file::lock`).

use std::future::poll_fn;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::leave;

/// Ctrl-C, what `kill` sends, and what the system sends when a terminal is closed.
pub(crate) const ASKING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether the command listens itself.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Those of [`ASKING`] that are heard. What whoever started us wants ignored stays ignored: `nohup`
/// does so, and shells do with Ctrl-C for what a script runs in the background.
fn heard() -> impl Iterator<Item = i32> {
    ASKING.into_iter().filter(|&signal| !is_ignored(signal))
}

/// From now on a signal ends the process at once and leaves nothing behind, unless the command
/// listens itself.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without them everything works but for this.
        let Ok(mut signals) = Signals::new(heard()) else {
            return;
        };
        let wait = move || {
            for _ in signals.forever() {
                if !TAKEN.load(Ordering::SeqCst) {
                    leave::at_once();
                }
            }
        };
        let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
    });
}

/// Requests to end, for a command that comes to an end of its own.
#[derive(Debug)]
pub struct Requests(Vec<Signal>);

impl Requests {
    /// From now on no signal ends the process, but is a request. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// When the system lets nobody listen.
    pub fn listen() -> io::Result<Requests> {
        let signals = heard().map(|number| signal(SignalKind::from_raw(number)));
        let requests = Requests(signals.collect::<io::Result<_>>()?);
        // Last: whoever does not listen yet would miss it.
        TAKEN.store(true, Ordering::SeqCst);
        Ok(requests)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        poll_fn(|context| {
            let came = |signal: &mut Signal| signal.poll_recv(context).is_ready();
            // All are asked, so that each wakes us.
            match self.0.iter_mut().map(came).filter(|&came| came).count() {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await
    }
}

/// Whether the process was started with the signal ignored. Where the system does not say, it is
/// not.
fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
