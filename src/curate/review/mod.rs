//! `ewe review`: one task after another in a terminal, a key for each decision.
//!
//! - [`session`]: the present task, the queue and the actions; talks to the store.
//! - [`undo`]: undo and redo.
//! - [`keys`]: the meaning of each key; [`label`]: those of fields; [`team`]: those of reviewers.
//! - [`draw`]: the screen.
//!
//! Every decision is committed when its key is pressed, so nothing is lost however the session
//! ends.

mod draw;
mod keys;
mod label;
mod session;
mod team;
mod undo;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::bail;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::editor;
use crate::leave;
use crate::signals::ShutdownSignals;
use crate::store::{Filter, Sort, Store};
use keys::Step;
use session::ReviewSession;

/// How long to wait for a key before looking at signals.
const BEAT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The wheel of a mouse sends arrow keys, which scroll (xterm's alternate scroll mode). Unlike with
/// reports of the mouse, text can still be selected and copied.
const WHEEL_AS_ARROWS: &str = "\x1b[?1007h";
const WHEEL_AS_BEFORE: &str = "\x1b[?1007l";

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Shows tasks until the user leaves. With `is_reviewer`, decisions on tasks that are assigned to
/// `who` are opinions. Returns true if a signal ended it.
///
/// # Errors
///
/// When there is no terminal, or the dataset cannot be read.
pub async fn run(
    store: &Store,
    filter: Filter,
    sort: Sort,
    who: &str,
    is_reviewer: bool,
) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !crate::streams::stdout().is_terminal() {
        bail!(
            "`ewe review` needs a terminal\nhint: `ewe list --json` is for programs, `ewe curate` for browsers"
        );
    }
    let mut session = ReviewSession::open(store, filter, sort, who, is_reviewer).await?;
    let mut signals = ShutdownSignals::listen()?;
    // Also restores the terminal after a panic.
    let mut terminal = ratatui::try_init()?;
    set_wheel(WHEEL_AS_ARROWS)?;
    let ended = run_session(&mut session, &mut terminal, &mut signals).await;
    if is_gone(AT_ONCE)? {
        // Nobody can be told any more; everything is in the dataset.
        leave::at_once();
    }
    set_wheel(WHEEL_AS_BEFORE)?;
    ratatui::restore();
    if let Some(summary) = session.summary() {
        writeln!(crate::streams::stdout(), "{summary}")?;
    }
    ended
}

/// Sends a sequence that the terminal shall obey: standard output would make it visible instead.
fn set_wheel(sequence: &str) -> std::io::Result<()> {
    let mut out = crate::streams::styled();
    out.write_all(sequence.as_bytes())?;
    out.flush()
}

async fn run_session(
    session: &mut ReviewSession<'_>,
    terminal: &mut DefaultTerminal,
    signals: &mut ShutdownSignals,
) -> anyhow::Result<bool> {
    loop {
        terminal.draw(|frame| draw::draw(frame, session))?;
        while !event::poll(Duration::ZERO)? {
            if is_gone(BEAT)? || has_arrived(signals).await {
                return Ok(true);
            }
        }
        // Other events, such as a new size of the terminal, only cause a redraw.
        let Event::Key(key) = event::read()? else {
            continue;
        };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match keys::press(session, key).await? {
            Step::Stay => {}
            Step::Edit(id) => {
                ratatui::restore();
                let edited = editor::edit(session.store(), id).await;
                *terminal = ratatui::try_init()?;
                session.edited(edited).await?;
            }
            Step::Leave => return Ok(false),
        }
    }
}

/// Waits up to `patience` for input. Returns true if the terminal is gone, which must not be left
/// to crossterm: it would read the end of input forever.
fn is_gone(patience: Timespec) -> std::io::Result<bool> {
    let input = std::io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut polled, Some(&patience)) {
        // A signal, which is checked next.
        Err(Errno::INTR) => return Ok(false),
        other => other?,
    };
    Ok(polled[0]
        .revents()
        .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

/// Whether a signal has arrived.
async fn has_arrived(signals: &mut ShutdownSignals) -> bool {
    tokio::select! {
        () = signals.next() => true,
        // Long enough for the runtime to notice signals that came meanwhile.
        () = tokio::time::sleep(Duration::from_millis(1)) => false,
    }
}
