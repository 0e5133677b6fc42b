//! Standard output and standard error as a program must take them: a disk may be full behind them, a terminal gone, a
//! descriptor closed before we began.
//!
//! Output is data: what cannot be written is an error of the command ([`stdout`], [`finish`]). What goes to standard error
//! is told to whoever listens: where nobody does, the work goes on. The standard library's macros panic in both cases, so
//! `clippy.toml` forbids them, and macros of this file with the same names take their place in both binaries.
//!
//! A terminal is sent nothing that it would obey, whoever writes: names of files, rows, and what servers say are texts of
//! others. Where a command line gives standard output to a file that is written (`--out -`), what is said about the work goes to
//! standard error ([`keep_for_data`]).

mod visible;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use visible::Visible;

use crate::text::clean;
use visible::Cleaner;

/// Tells a line on standard error, as the standard library's does; where nobody listens nothing happens.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::streams::tell(::std::format_args!("\n")) };
    ($($what:tt)*) => { $crate::streams::tell(::std::format_args!("{}\n", ::std::format_args!($($what)*))) };
}

/// Tells something on standard error, as the standard library's does; where nobody listens nothing happens.
#[macro_export]
macro_rules! eprint {
    ($($what:tt)*) => { $crate::streams::tell(::std::format_args!($($what)*)) };
}

/// Writes a line to standard output, as the standard library's does. Where it cannot be written the command goes on to its
/// end, and fails there ([`finish`]).
#[macro_export]
macro_rules! println {
    () => { $crate::streams::say(::std::format_args!("\n")) };
    ($($what:tt)*) => { $crate::streams::say(::std::format_args!("{}\n", ::std::format_args!($($what)*))) };
}

/// Writes to standard output, as the standard library's does. Where it cannot be written the command goes on to its end,
/// and fails there ([`finish`]).
#[macro_export]
macro_rules! print {
    ($($what:tt)*) => { $crate::streams::say(::std::format_args!($($what)*)) };
}

/// The first thing that could not be said.
static UNSAID: Mutex<Option<io::Error>> = Mutex::new(None);

fn unsaid() -> MutexGuard<'static, Option<io::Error>> {
    UNSAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the macros do.
#[doc(hidden)]
pub fn say(what: fmt::Arguments<'_>) {
    if let Err(error) = stdout().write_fmt(what) {
        unsaid().get_or_insert(error);
    }
}

/// Writes what is still in a buffer of standard output.
///
/// # Errors
///
/// When it cannot be written, or something before it could not.
pub fn finish() -> io::Result<()> {
    let rest = cleaner().end();
    let flushed = stdout()
        .write_all(rest.as_bytes())
        .and_then(|()| stdout().flush());
    unsaid().take().map_or(flushed, Err)
}

/// What the macros do.
#[doc(hidden)]
pub fn tell(what: fmt::Arguments<'_>) {
    // It may quote rows, names of files, and what servers say.
    let _ = stderr().write_all(clean(&what.to_string()).as_bytes());
}

/// Standard error, which takes everything and never fails.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

/// Standard error for those who need a writer.
pub fn stderr() -> Stderr {
    Stderr
}

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Stderr {
    /// Whether somebody looks at it.
    pub fn is_terminal(self) -> bool {
        io::stderr().is_terminal()
    }

    /// How many columns the terminal has, if it is one.
    pub fn columns(self) -> Option<u16> {
        terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| width.0)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What nobody can read is as good as written.
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// A line is written at once, so that those of other processes do not come in between.
    fn write_fmt(&mut self, what: fmt::Arguments<'_>) -> io::Result<()> {
        let _ = io::stderr().write_all(what.to_string().as_bytes());
        Ok(())
    }
}

/// Standard output, the place of results; its errors say so.
#[derive(Debug, Clone, Copy)]
pub struct Stdout;

/// Standard output. Whoever writes much takes a buffer around it, and flushes that. Where it is kept for data, what is written
/// here goes to standard error.
pub fn stdout() -> Stdout {
    Stdout
}

/// Whether standard output has data that no message may come between.
static KEPT: AtomicBool = AtomicBool::new(false);

/// Keeps standard output for what is written by [`data`].
pub fn keep_for_data() {
    KEPT.store(true, Ordering::Relaxed);
}

/// What was written last may end within a character.
static CLEANER: Mutex<Cleaner> = Mutex::new(Cleaner::new());

fn cleaner() -> MutexGuard<'static, Cleaner> {
    CLEANER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "this is where it is made safe")]
impl Stdout {
    /// Whether somebody looks at it.
    pub fn is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Fails where the process began without one.
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

/// Standard output for data, which a terminal shows and does not obey. Errors do not say what they are of.
pub fn data() -> Visible<Plain> {
    Visible::new(Plain, stdout().is_terminal())
}

/// Standard output for lines whose texts were cleaned and which have escape sequences of ours around them.
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

/// Standard output as it is, below all that has a word in what it is sent.
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

/// The error of standard output, which says what it is of.
pub(crate) fn refused(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}

fn still_there() -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it is closed")),
        false => Ok(()),
    }
}

/// Whether the process began without a standard output. Before `main` the standard library opens `/dev/null` in the
/// place of a descriptor that is closed, and data would be lost without a word.
static CLOSED: AtomicBool = AtomicBool::new(false);

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[allow(unsafe_code)]
mod before_main {
    use super::{CLOSED, Ordering};
    use std::os::fd::BorrowedFd;

    // Called by the loader. Nothing of the standard library is set up yet, and nothing of it is used.
    #[used]
    #[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // Safety: the descriptor is borrowed for a question that a closed one answers with an error.
        let stdout = unsafe { BorrowedFd::borrow_raw(libc::STDOUT_FILENO) };
        let open = rustix::io::fcntl_getfd(stdout).is_ok();
        CLOSED.store(!open, Ordering::Relaxed);
    }
}

/// Before this process becomes another program: what was closed is closed again, so that the other one sees it.
#[allow(unsafe_code)]
pub fn hand_over() {
    if CLOSED.load(Ordering::Relaxed) {
        // Safety: the descriptor is the standard library's stand-in, and nobody writes to it any more.
        unsafe { libc::close(libc::STDOUT_FILENO) };
    }
}
