//! Files that settings are read from, whole but never without bound: a path may lead to a device, or to a pipe that has no end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::anyhow;

/// Bytes of a file in JSON or Jinja. A model's config has some thousand, a chat template some ten thousand.
pub const LONGEST: u64 = 16 << 20;

/// Bytes of a file in TOML, which takes fifty times as much while it is parsed.
pub const LONGEST_TOML: u64 = 1 << 20;

/// How much of a line an error shows.
const SHOWN: usize = 80;

/// The bytes of the file, of which there may be `longest`.
///
/// # Errors
///
/// As of [`File::open`], and where there are more. The caller names the file.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        let error = format!(
            "it has more than {} MiB, the most that is read of it\nhint: is it the file that was meant?",
            longest >> 20
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(bytes)
}

/// The same of a text.
///
/// # Errors
///
/// As of [`read`], and where it is not UTF-8.
pub fn read_text(path: &Path, longest: u64) -> io::Result<String> {
    String::from_utf8(read(path, longest)?).map_err(|error| {
        let error = format!(
            "it is not UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        );
        io::Error::new(io::ErrorKind::InvalidData, error)
    })
}

/// What is wrong with the TOML `text` of the file `name`: the line, and as much of it as one can read.
pub fn toml_error(name: &str, text: &str, error: &toml::de::Error, hint: &str) -> anyhow::Error {
    let place = error
        .span()
        .map_or(0, |span| text.floor_char_boundary(span.start));
    let line = text[..place].matches('\n').count();
    let near = crate::text::one_line(text.lines().nth(line).unwrap_or_default(), SHOWN);
    let message = error.message().replace('\n', "; ");
    anyhow!("{name}:{}: {message}, in `{near}`\nhint: {hint}", line + 1)
}
