//! Ends the process at once, in the middle of whatever it does.
//!
//! Unfinished files are removed and locks released ([`registry`]). An open dataset cannot be closed
//! by a thread that does not hold its connections; left alone, SQLite's log and index would stay
//! beside it, and its run would seem to go on. So the process starts again under another name
//! ([`TIDY`], `cli/tidy.rs`): by then the system has closed everything that was open, and it
//! remains to open the dataset and close it. That works whatever the process was doing: waiting for
//! a pipe, computing, or in the middle of a transaction, which then never happened.

pub(crate) mod registry;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use signal_hook::iterator::Signals;

use crate::signals;
use registry::OpenDataset;

/// The exit code of an interrupted command.
pub const INTERRUPTED: u8 = 130;

/// The name under which the process starts again. Its arguments are pairs: a dataset, and the
/// numbers of its unfinished runs, separated by commas.
pub const TIDY: &str = "ewe-tidy";

/// Ends the process at once on every signal from now on, unless the command listens itself
/// ([`signals::ShutdownSignals`]).
pub(crate) fn on_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Everything else works without them.
        let Ok(mut signals) = Signals::new(signals::heard()) else {
            return;
        };
        let wait = move || {
            for signal in signals.forever() {
                if !signals::is_taken(signal) {
                    at_once();
                }
            }
        };
        let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
    });
}

/// Enters a dataset that is about to be opened for writing.
pub(crate) fn opened(path: &Path) {
    on_signals();
    registry::datasets().push(OpenDataset {
        path: path.to_path_buf(),
        runs: BTreeSet::new(),
    });
}

/// Strikes out a dataset that is closed.
pub(crate) fn closed(path: &Path) {
    let mut open = registry::datasets();
    if let Some(at) = open.iter().position(|dataset| dataset.path == path) {
        open.swap_remove(at);
    }
}

/// Enters a run of the dataset that has begun.
pub(crate) fn begun(path: &Path, run: i64) {
    let mut open = registry::datasets();
    if let Some(dataset) = open.iter_mut().find(|dataset| dataset.path == path) {
        dataset.runs.insert(run);
    }
}

/// Strikes out a run of the dataset whose end is recorded.
pub(crate) fn ended(path: &Path, run: i64) {
    for dataset in registry::datasets().iter_mut() {
        if dataset.path == path {
            dataset.runs.remove(&run);
        }
    }
}

/// Ends the process with [`INTERRUPTED`] and leaves nothing unfinished behind. Runs no destructors,
/// as `exit` would: those of libtorch destroy what other threads still compute with.
pub fn at_once() -> ! {
    at_once_with(INTERRUPTED)
}

/// Ends the process as [`at_once`] does, with another exit code unless a dataset is open.
#[allow(unsafe_code)]
pub fn at_once_with(code: u8) -> ! {
    // From here on, threads that would make or remove another file wait.
    let _no_new_folder = registry::remove_scratch_folders();
    let _no_new_lock = registry::remove_lock_files();
    start_again(&registry::datasets());
    // SAFETY: nothing of this process runs after it.
    unsafe { libc::_exit(code.into()) }
}

/// Becomes [`TIDY`] if a dataset is open. Returns if none is, or if the system refuses.
#[allow(unsafe_code)]
fn start_again(datasets: &[OpenDataset]) {
    if datasets.is_empty() {
        return;
    }
    // A second Ctrl-C of somebody impatient must not interrupt it; it takes no longer than that.
    for signal in signals::ASKING {
        // SAFETY: this sets no handler, and no memory is involved.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let Some(program) = this_program() else {
        return;
    };
    let mut tidy = Command::new(program);
    tidy.arg0(TIDY);
    for OpenDataset { path, runs } in datasets {
        let runs: Vec<String> = runs.iter().map(i64::to_string).collect();
        tidy.args([path.as_os_str().to_owned(), OsString::from(runs.join(","))]);
    }
    // Only a failure returns, and nobody is left to hear of it.
    let _failure = tidy.exec();
}

/// The file of this program. Linux names it even after it was replaced or removed.
fn this_program() -> Option<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Some(PathBuf::from("/proc/self/exe")),
        false => std::env::current_exe().ok(),
    }
}
