//! What is left to do for a command that was ended at once ([`crate::leave`]): its datasets are
//! closed, and its runs noted as interrupted.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use crate::leave::{INTERRUPTED, TIDY};
use crate::store::Store;

/// Does it, if that is what the process was begun for; the exit code is that of the command.
pub(super) fn if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next()? != TIDY {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        runtime.block_on(all(arguments));
    }
    Some(ExitCode::from(INTERRUPTED))
}

async fn all(mut arguments: impl Iterator<Item = OsString>) {
    while let (Some(path), Some(runs)) = (arguments.next(), arguments.next()) {
        // What cannot be done now is done by the next command that opens it, and there is nobody to
        // be told.
        let _ = Store::put_in_order(Path::new(&path), &numbers(&runs)).await;
    }
}

fn numbers(runs: &OsStr) -> Vec<i64> {
    let runs = runs.to_string_lossy();
    runs.split(',').filter_map(|run| run.parse().ok()).collect()
}
