//! Starting `ewe-torch`, the half of the program that computes with tensors.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::libtorch::{self, Libtorch, Surroundings};
use crate::ranks::launch::{self, Ranks};
use crate::streams;

/// The name of the program.
const PROGRAM: &str = "ewe-torch";

/// The program beside this one; none if only `PATH` may have it.
pub fn beside() -> Option<PathBuf> {
    let ewe = std::env::current_exe().ok()?;
    Some(ewe.with_file_name(PROGRAM)).filter(|path| path.is_file())
}

/// Returns a command that starts `ewe-torch`, the one beside this program, else the one on `PATH`,
/// so that it finds `libtorch`.
pub fn command(libtorch: &Libtorch) -> Command {
    let mut command = Command::new(beside().unwrap_or_else(|| PROGRAM.into()));
    command.env(libtorch::VARIABLE, &libtorch.folder);
    if let Some(path) = libtorch.loader_path(std::env::var_os(libtorch::LOADER_PATH)) {
        command.env(libtorch::LOADER_PATH, path);
    }
    // libtorch's threads wait for each other by spinning, by default for so long that two of them
    // on cores shared with other work lose most of their time to it. A short spin costs nothing on
    // an idle machine (Gemma 270M trains at 330 tokens/s either way) and is five times faster on a
    // busy one (150 tokens/s in place of 30, 2026-11-23).
    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"]
        .iter()
        .all(|name| std::env::var_os(name).is_none())
    {
        command.env("GOMP_SPINCOUNT", "10000");
    }
    command
}

/// Returns the program, and what it needs.
fn found() -> anyhow::Result<(PathBuf, Libtorch)> {
    if !cfg!(target_os = "linux") {
        return Err(unsupported());
    }
    let Some(program) = beside().or_else(on_path) else {
        anyhow::bail!(
            "this command computes with a model, and `{PROGRAM}`, which does that, is neither beside this `ewe` nor on \
             the PATH\nhint: `pip install 'ewe[train]'` has both; from a checkout, `make build`"
        );
    };
    Ok((program, libtorch::search(&Surroundings::of_process())?))
}

/// Runs `ewe-torch` with the same arguments in several processes. Returns the exit code.
///
/// # Errors
///
/// That of the process that failed first.
pub fn launch(ranks: &Ranks) -> anyhow::Result<u8> {
    let (_, libtorch) = found()?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    launch::run(ranks, || command(&libtorch), &arguments)
}

/// Becomes `ewe-torch` with the same arguments. Returns only if that is not possible.
pub fn hand_over() -> anyhow::Error {
    let (program, libtorch) = match found() {
        Ok(found) => found,
        Err(error) => return error,
    };
    let mut process = command(&libtorch);
    process.args(std::env::args_os().skip(1));
    streams::hand_over();
    let error = process.exec();
    anyhow::anyhow!(
        "this command needs `{}`, which does not start: {error}\nhint: `ewe doctor` says what is there",
        program.display()
    )
}

/// The error of every command that needs `ewe-torch`, on a system for which there is none.
fn unsupported() -> anyhow::Error {
    anyhow::anyhow!(
        "computing with a model is supported on Linux only, and this is {}\nhint: commands for data work here, and \
         `ewe generate`, `judge`, `eval` and `compare` with an endpoint; for local models use Linux, or a container",
        std::env::consts::OS
    )
}

/// The program on `PATH`.
pub fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|file| file.is_file())
}
