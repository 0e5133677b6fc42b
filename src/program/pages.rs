//! Completions of shells and manual pages, made from the command line that clap knows.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::atomic_file::{self, AtomicFile};

/// Returns the script with which `shell` completes the commands and options of `command`.
pub fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

/// Writes a manual page for the program and for each of its commands into the folder `out`, which
/// is made if it is missing. Returns how many there are.
///
/// # Errors
///
/// If the folder cannot be made, or a page not written.
pub fn manual(command: Command, out: &Path) -> Result<usize> {
    atomic_file::make_folder(out)?;
    // The page of `ewe help` would say nothing.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    let pages: Vec<Man> = std::iter::once(command.clone())
        .chain(commands.cloned())
        .map(Man::new)
        .collect();
    for page in &pages {
        let path = out.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)
            .with_context(|| atomic_file::cannot_write(&path))?;
        let mut file = AtomicFile::begin(&path)?;
        file.write_all(&text)
            .with_context(|| atomic_file::cannot_write(&path))?;
        file.commit()?;
    }
    Ok(pages.len())
}
