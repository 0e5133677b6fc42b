//! Signals that end the process, and what must not stay behind when they do.
//!
//! A command that has begun a file ends with code 130, its unfinished files removed ([`watch`]); what needs more than that
//! listens itself ([`taken`]) and comes to its own end. What `kill -9` leaves, the next run removes (`replace::scratch`).

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

pub use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::leave;

/// The exit code of what was interrupted.
const INTERRUPTED: i32 = 130;

/// The signals that the command listens to itself, a bit each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// From now on the command itself answers these signals.
pub fn taken(signals: &[i32]) {
    let bits = signals.iter().fold(0, |bits, signal| bits | 1 << signal);
    TAKEN.fetch_or(bits, Ordering::Relaxed);
}

/// Has unfinished files removed when a signal ends the process. A signal that whoever started us wants ignored, as `nohup`
/// does, stays ignored.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let signals: Vec<i32> = [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|&signal| !is_ignored(signal))
            .collect();
        // Without them everything works but for this.
        let Ok(mut signals) = Signals::new(signals) else {
            return;
        };
        let wait = move || {
            for signal in signals.forever() {
                if TAKEN.load(Ordering::Relaxed) >> signal & 1 == 0 {
                    leave::at_once(INTERRUPTED);
                }
            }
        };
        let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
    });
}

/// Whether the process was started with the signal ignored. Where the system does not say, it is not.
pub fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
