//! Ending the process at once, in the middle of whatever it does.
//!
//! What is unfinished is removed, locks are let go of. A dataset that is open cannot be closed by
//! who does not hold its connections; left as it is, SQLite's log and index stay beside it, and its
//! run seems to go on. So the process begins anew under another name ([`TIDY`], `cli/tidy.rs`): the
//! system has closed all that was open by then, and what is left to do is to open the dataset and
//! to close it. That works whatever the process was at: waiting for a pipe, computing, or in the
//! middle of a transaction, which is as good as never begun.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::atomic_file::scratch;
use crate::{lock, signals};

/// The exit code of what was interrupted.
pub const INTERRUPTED: u8 = 130;

/// The name under which the process begins anew. Its arguments are pairs: a dataset, and the
/// numbers of its runs that had not ended, with commas between them.
pub const TIDY: &str = "ewe-tidy";

/// A dataset that is open to be written.
struct Dataset {
    path: PathBuf,
    /// Those of this process that have not ended.
    runs: BTreeSet<i64>,
}

static OPEN: Mutex<Vec<Dataset>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<Dataset>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The dataset at `path` is about to be opened to be written.
pub(crate) fn opened(path: &Path) {
    signals::watch();
    open().push(Dataset {
        path: path.to_path_buf(),
        runs: BTreeSet::new(),
    });
}

/// It is closed.
pub(crate) fn closed(path: &Path) {
    let mut open = open();
    if let Some(at) = open.iter().position(|dataset| dataset.path == path) {
        open.swap_remove(at);
    }
}

/// This run of the dataset has begun.
pub(crate) fn begun(path: &Path, run: i64) {
    if let Some(dataset) = open().iter_mut().find(|dataset| dataset.path == path) {
        dataset.runs.insert(run);
    }
}

/// How this run of the dataset ended is noted.
pub(crate) fn ended(path: &Path, run: i64) {
    for dataset in open().iter_mut().filter(|dataset| dataset.path == path) {
        dataset.runs.remove(&run);
    }
}

/// Ends the process with [`INTERRUPTED`], and leaves nothing unfinished behind, without the
/// destructors that `exit` runs: those of libtorch take down what other threads still compute with.
#[allow(unsafe_code)]
pub fn at_once() -> ! {
    // Whoever would begin, or end, something else waits from here on.
    let _nothing_is_begun = scratch::remove_all();
    let _nothing_is_locked = lock::remove_all();
    begin_anew(&open());
    // SAFETY: nothing of this process runs after it.
    unsafe { libc::_exit(INTERRUPTED.into()) }
}

/// Becomes [`TIDY`] where a dataset is open. Returns where none is, or where the system does not
/// let it.
#[allow(unsafe_code)]
fn begin_anew(datasets: &[Dataset]) {
    if datasets.is_empty() {
        return;
    }
    // It takes no longer than who is impatient takes to press Ctrl-C once more.
    for signal in signals::ASKING {
        // SAFETY: this sets no handler, and no memory is involved.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut tidy = Command::new("/proc/self/exe");
    tidy.arg0(TIDY);
    for Dataset { path, runs } in datasets {
        let runs: Vec<String> = runs.iter().map(i64::to_string).collect();
        tidy.args([path.as_os_str().to_owned(), OsString::from(runs.join(","))]);
    }
    // Only a failure comes back, and nobody is left to be told.
    let _failure = tidy.exec();
}
