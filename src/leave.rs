//! Ending the process at once.

use std::io::Write;

use crate::{replace::scratch, streams};

/// Ends the process, and leaves nothing unfinished behind, without the destructors that `exit` runs: those of libtorch take down what other threads still compute with.
#[allow(unsafe_code)]
pub fn at_once(code: i32) -> ! {
    let _nobody_begins_another = scratch::remove_all();
    let _ = streams::stdout().flush();
    // SAFETY: nothing of this process runs after it.
    unsafe { libc::_exit(code) }
}
