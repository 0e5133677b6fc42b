//! Results for people at a terminal: a pager shows what does not fit on the screen.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

use crate::signals::ShutdownSignals;
use crate::streams;
use crate::text::clean;

/// The pager where `$PAGER` names none, and its options where `$LESS` has none: leave at once what
/// fits on the screen, obey colors, and leave the text on the screen at the end.
const PAGER: &str = "less";
const LESS: &str = "FRX";

/// Writes `text` to standard output: through `$PAGER` if that is a terminal with fewer lines.
/// `is_styled` if its parts are cleaned already and have ewe's own escape sequences around them.
/// Must be called within a tokio runtime, with no dataset open.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn show(text: &[u8], is_styled: bool) -> anyhow::Result<()> {
    let size = streams::stdout().size();
    let is_long = size.is_some_and(|(columns, rows)| {
        lines(&String::from_utf8_lossy(text), columns.into()) >= usize::from(rows)
    });
    if is_long && io::stdin().is_terminal() && is_paged(text, is_styled)? {
        return Ok(());
    }
    if is_styled {
        streams::styled().write_all(text)?;
    } else {
        streams::stdout().write_all(text)?;
    }
    streams::stdout().flush()?;
    Ok(())
}

/// How many lines of a terminal the text takes.
fn lines(text: &str, columns: usize) -> usize {
    let wrapped = |line: &str| line.chars().count().max(1).div_ceil(columns.max(1));
    text.lines().map(wrapped).sum()
}

/// Returns false if there is no pager.
fn is_paged(text: &[u8], is_styled: bool) -> io::Result<bool> {
    // Ctrl-C is for the pager alone: it would be left behind on the terminal.
    let _signals = ShutdownSignals::listen()?;
    let Some(mut pager) = start() else {
        return Ok(false);
    };
    let text = String::from_utf8_lossy(text);
    let text = if is_styled { text } else { clean(&text).into() };
    if let Some(mut input) = pager.stdin.take() {
        // Whoever has seen enough leaves before the end.
        match input.write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    // 127: the shell has found no such program.
    Ok(pager.wait()?.code() != Some(127))
}

/// Starts the pager; none if there is none, or if `$PAGER` is empty or `cat`.
fn start() -> Option<Child> {
    let named = std::env::var("PAGER").ok();
    let mut command = match named.as_deref().map(str::trim) {
        Some("" | "cat") => return None,
        Some(line) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]);
            shell
        }
        None => Command::new(PAGER),
    };
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    command.stdin(Stdio::piped()).spawn().ok()
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn long_lines_take_several() {
        assert_eq!(lines("", 10), 0);
        assert_eq!(lines("a\n\nb\n", 10), 3);
        assert_eq!(lines("0123456789\n0123456789a", 10), 3);
    }
}
