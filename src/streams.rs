//! Standard output and standard error, made safe: the disk behind them may be full, the terminal
//! gone, the descriptor closed before the process began.
//!
//! Output is data: what cannot be written is an error of the command ([`stdout`], [`finish`]).
//! Standard error is for whoever listens; if nobody does, the work goes on. The standard library's
//! macros panic in both cases, so `clippy.toml` forbids them, and macros of the same names in this
//! file replace them in both binaries.
//!
//! A line on standard error stays while a progress bar is drawn there: the bar makes room
//! ([`drawn`]).
//!
//! A terminal never receives characters that it would obey, such as escape sequences: file names,
//! rows and answers of servers are other people's texts. If a command line gives standard output to
//! a file being written (`--out -`), messages about the work go to standard error
//! ([`keep_for_data`]).

mod above;
pub mod csv;
pub mod json;
pub mod pager;
mod visible;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use above::drawn;
pub use visible::Visible;

use crate::text::clean;
use visible::Cleaner;

/// Prints a line to standard error, like the standard library's macro. Ignores errors.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::streams::tell(::std::format_args!("\n")) };
    ($($what:tt)*) => { $crate::streams::tell(::std::format_args!("{}\n", ::std::format_args!($($what)*))) };
}

/// Prints to standard error, like the standard library's macro. Ignores errors.
#[macro_export]
macro_rules! eprint {
    ($($what:tt)*) => { $crate::streams::tell(::std::format_args!($($what)*)) };
}

/// Prints a line to standard output, like the standard library's macro. If it cannot be written,
/// the command goes on and fails at its end ([`finish`]).
#[macro_export]
macro_rules! println {
    () => { $crate::streams::say(::std::format_args!("\n")) };
    ($($what:tt)*) => { $crate::streams::say(::std::format_args!("{}\n", ::std::format_args!($($what)*))) };
}

/// Prints to standard output, like the standard library's macro. If it cannot be written, the
/// command goes on and fails at its end ([`finish`]).
#[macro_export]
macro_rules! print {
    ($($what:tt)*) => { $crate::streams::say(::std::format_args!($($what)*)) };
}

/// The first error of [`say`].
static UNSAID: Mutex<Option<io::Error>> = Mutex::new(None);

fn unsaid() -> MutexGuard<'static, Option<io::Error>> {
    UNSAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Implements `print!` and `println!`.
#[doc(hidden)]
pub fn say(what: fmt::Arguments<'_>) {
    if let Err(error) = stdout().write_fmt(what) {
        unsaid().get_or_insert(error);
    }
}

/// Flushes standard output.
///
/// # Errors
///
/// When it cannot be written, or an earlier print could not.
pub fn finish() -> io::Result<()> {
    let rest = cleaner().end();
    let flushed = stdout()
        .write_all(rest.as_bytes())
        .and_then(|()| stdout().flush());
    unsaid().take().map_or(flushed, Err)
}

/// Implements `eprint!` and `eprintln!`.
#[doc(hidden)]
pub fn tell(what: fmt::Arguments<'_>) {
    // The text may quote rows, file names and answers of servers.
    let _ = stderr().write_all(clean(&what.to_string()).as_bytes());
}

/// Standard error, which accepts everything and never fails.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

/// Returns standard error as a writer.
pub fn stderr() -> Stderr {
    Stderr
}

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Stderr {
    /// Whether it is a terminal.
    pub fn is_terminal(self) -> bool {
        io::stderr().is_terminal()
    }

    /// Returns it as the standard output of a process that is started.
    pub fn for_child(self) -> Stdio {
        Stdio::from(io::stderr())
    }

    /// Whether it may have colors, as [`Stdout::is_colored`].
    pub fn is_colored(self) -> bool {
        has_colors(self.is_terminal())
    }

    /// The width of the terminal in columns, if it is one.
    pub fn columns(self) -> Option<u16> {
        terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| width.0)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Nobody could read it anyway.
        let _ = above::write(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Writes a line at once, so that lines of other processes do not come in between.
    fn write_fmt(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        let text = what.to_string();
        let _ = above::write(|| io::stderr().write_all(text.as_bytes()));
        Ok(())
    }
}

/// Standard output for results. Its errors name it.
#[derive(Debug, Clone, Copy)]
pub struct Stdout;

/// Returns standard output. Wrap it in a buffer, and flush that, to write a lot. While it is kept
/// for data, what is written here goes to standard error.
pub fn stdout() -> Stdout {
    Stdout
}

/// Whether a stream may have colors, by the environment.
fn has_colors(is_terminal: bool) -> bool {
    let is = |name: &str, holds: fn(&str) -> bool| std::env::var(name).is_ok_and(|value| holds(&value));
    if is("NO_COLOR", |value| !value.is_empty()) {
        return false;
    }
    if is("CLICOLOR_FORCE", |value| !value.is_empty() && value != "0") {
        return true;
    }
    let is_off = is("CLICOLOR", |value| value == "0") || is("TERM", |value| value == "dumb");
    is_terminal && !is_off
}

/// Whether standard output is kept for data, which messages must not interrupt.
static KEPT: AtomicBool = AtomicBool::new(false);

/// Keeps standard output for the writer of [`data`].
pub fn keep_for_data() {
    KEPT.store(true, Ordering::Relaxed);
}

/// Holds the bytes of a character that the last write did not complete.
static CLEANER: Mutex<Cleaner> = Mutex::new(Cleaner::new());

fn cleaner() -> MutexGuard<'static, Cleaner> {
    CLEANER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Stdout {
    /// Whether it is a terminal.
    pub fn is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// The columns and rows of the terminal, if it is one.
    pub fn size(self) -> Option<(u16, u16)> {
        let (columns, rows) = terminal_size::terminal_size_of(io::stdout())?;
        Some((columns.0, rows.0))
    }

    /// Whether it may have colors and bold text: on a terminal, unless `NO_COLOR` is set
    /// (no-color.org) or `CLICOLOR` is 0, and elsewhere if `CLICOLOR_FORCE` wants them
    /// (bixense.com/clicolors).
    pub fn is_colored(self) -> bool {
        has_colors(self.is_terminal())
    }

    /// Fails if the process began without standard output.
    pub fn is_open(self) -> io::Result<()> {
        still_there()
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if KEPT.load(Ordering::Relaxed) {
            let text = cleaner().take(bytes);
            stderr().write_all(text.as_bytes())?;
            return Ok(bytes.len());
        }
        if !self.is_terminal() {
            return Plain.write(bytes).map_err(refused);
        }
        let text = cleaner().take(bytes);
        Plain.write_all(text.as_bytes()).map_err(refused)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Plain.flush().map_err(refused)
    }

    fn write_fmt(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(what.to_string().as_bytes())
    }
}

/// Returns standard output for data. A terminal shows it and does not obey it. Errors do not name
/// the stream.
pub fn data() -> Visible<Plain> {
    Visible::new(Plain, stdout().is_terminal())
}

/// Returns standard output for lines that are cleaned already and have ewe's own escape sequences
/// around them.
pub fn styled() -> Styled {
    Styled
}

/// See [`styled`].
#[derive(Debug, Clone, Copy)]
pub struct Styled;

impl Write for Styled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Plain.write(bytes).map_err(refused)
    }

    fn flush(&mut self) -> io::Result<()> {
        Plain.flush().map_err(refused)
    }
}

/// Standard output as it is, without cleaning.
#[derive(Debug)]
pub struct Plain;

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        still_there().and_then(|()| io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Adds the name of the stream to an error of standard output.
pub(crate) fn refused(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}

fn still_there() -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it is closed")),
        false => Ok(()),
    }
}

/// Whether the process began without standard output. Before `main`, the standard library opens
/// `/dev/null` in place of a closed descriptor, and data would be lost silently.
static CLOSED: AtomicBool = AtomicBool::new(false);

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[allow(unsafe_code)]
mod before_main {
    use super::{CLOSED, Ordering};
    use std::os::fd::BorrowedFd;

    // Called by the loader, before the standard library is set up; uses nothing of it.
    #[used]
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // Safety: the descriptor is borrowed for a query that fails harmlessly if it is closed.
        let stdout = unsafe { BorrowedFd::borrow_raw(libc::STDOUT_FILENO) };
        let open = rustix::io::fcntl_getfd(stdout).is_ok();
        CLOSED.store(!open, Ordering::Relaxed);
    }
}

/// Prepares to become another program: closes standard output again if it was closed at the start,
/// so that the other program notices.
#[allow(unsafe_code)]
pub fn hand_over() {
    if CLOSED.load(Ordering::Relaxed) {
        // Safety: the descriptor is the standard library's stand-in, and nobody writes to it any
        // more.
        unsafe { libc::close(libc::STDOUT_FILENO) };
    }
}
