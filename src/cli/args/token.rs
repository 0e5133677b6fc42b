//! The token of a server: options of `ewe serve` and `ewe curate`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The environment variable that is read where no option is given.
const VARIABLE: &str = "EWE_TOKEN";

/// The shortest token, in bytes.
const LEAST: usize = 8;

/// The longest token, in bytes: servers refuse longer request heads.
const MOST: usize = 4096;

/// The token that clients must send.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Access")]
pub struct Args {
    /// Token that clients must send, of at least 8 characters. Others on this machine can see it in
    /// the list of processes, so prefer --token-file or the variable EWE_TOKEN
    #[arg(long, value_name = "TEXT", conflicts_with = "token_file")]
    pub token: Option<String>,

    /// Read the token from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl Args {
    /// Returns the token of an option, else the one of `EWE_TOKEN` unless that is empty.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and when the token is empty, too short, too long, or no header
    /// can carry it.
    pub fn read(&self) -> Result<Option<String>> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => checked(token, "--token").map(Some),
            (None, Some(path)) => first_line(path).map(Some),
            (None, None) => match std::env::var(VARIABLE) {
                Ok(token) if token.is_empty() => Ok(None),
                Ok(token) => checked(&token, VARIABLE).map(Some),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(error) => bail!("{VARIABLE}: {error}"),
            },
        }
    }
}

/// Reads the token from the first line of a file.
fn first_line(path: &Path) -> Result<String> {
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST as u64 + 2).read_to_end(&mut text))
        .with_context(|| format!("cannot read the token from `{}`", path.display()))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    checked(&String::from_utf8_lossy(line), &format!("`{}`", path.display()))
}

/// Returns the token, if a header can carry it and it is too long to guess. `place` says where it
/// is from.
fn checked(token: &str, place: &str) -> Result<String> {
    if token.is_empty() {
        bail!("{place}: the token is empty\nhint: leave it away to let everybody in who reaches the address");
    }
    if token.len() > MOST {
        bail!("{place}: the token is longer than {MOST} bytes");
    }
    if token.trim() != token || !token.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        bail!(
            "{place}: no header can carry the token\nhint: letters, digits and signs of ASCII, and no spaces around them"
        );
    }
    if token.len() < LEAST {
        bail!("{place}: the token is short enough to guess\nhint: take at least {LEAST} characters");
    }
    Ok(token.to_owned())
}
