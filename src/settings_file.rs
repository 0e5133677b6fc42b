//! Reads settings files whole, but bounded: a path may lead to a device or an endless pipe.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::anyhow;

/// The most bytes of a JSON or Jinja file. Configs of models have some thousand, chat templates
/// some ten thousand.
pub const LONGEST: u64 = 16 << 20;

/// The most bytes of a TOML file, which takes fifty times its size while it is parsed.
pub const LONGEST_TOML: u64 = 1 << 20;

/// How many characters of a line an error shows.
const SHOWN: usize = 80;

/// Reads the file, which may have up to `longest` bytes.
///
/// # Errors
///
/// As [`File::open`], and when it is longer. The caller names the file.
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

/// Reads a text file of up to `longest` bytes.
///
/// # Errors
///
/// As [`read`], and when it is not UTF-8.
pub fn read_text(path: &Path, longest: u64) -> io::Result<String> {
    String::from_utf8(read(path, longest)?).map_err(|error| {
        let error = format!(
            "it is not UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        );
        io::Error::new(io::ErrorKind::InvalidData, error)
    })
}

/// Describes an error in the TOML `text` of the file `name`: the line, and what is there.
pub fn toml_error(name: &str, text: &str, error: &toml::de::Error, hint: &str) -> anyhow::Error {
    let place = error
        .span()
        .map_or(0, |span| text.floor_char_boundary(span.start));
    let line = text[..place].matches('\n').count();
    let near = crate::text::one_line(text.lines().nth(line).unwrap_or_default(), SHOWN);
    let message = error.message().replace('\n', "; ");
    anyhow!("{name}:{}: {message}, in `{near}`\nhint: {hint}", line + 1)
}
