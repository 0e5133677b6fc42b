//! `ewe review`: one task after another at a terminal, a key for each decision.
//!
//! - [`desk`]: which task is looked at, and what was done; talks to the store.
//! - [`undo`]: backwards and forwards again.
//! - [`keys`]: what each key means.
//! - [`draw`]: how it looks.
//!
//! Everything is committed when its key was pressed, so nothing is lost however this ends.

mod desk;
mod draw;
mod keys;
mod undo;

use std::io::IsTerminal;
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
use crate::signals::Requests;
use crate::store::{Filter, Sort, Store};
use desk::Desk;
use keys::Step;

/// How long a key is waited for before signals are looked at.
const BEAT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Shows tasks until somebody has had enough; true where a signal ended it.
///
/// # Errors
///
/// When there is no terminal, or the dataset cannot be read.
pub async fn run(store: &Store, filter: Filter, sort: Sort, who: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !crate::streams::stdout().is_terminal() {
        bail!(
            "`ewe review` needs a terminal\nhint: `ewe list --json` is for programs, `ewe curate` for browsers"
        );
    }
    let mut desk = Desk::open(store, filter, sort, who).await?;
    let mut requests = Requests::listen()?;
    // Also restores the terminal when something panics.
    let mut terminal = ratatui::try_init()?;
    let ended = sit(&mut desk, &mut terminal, &mut requests).await;
    if is_gone(AT_ONCE)? {
        // Nothing can be told any more, not even that; everything is in the dataset.
        leave::at_once();
    }
    ratatui::restore();
    ended
}

async fn sit(
    desk: &mut Desk<'_>,
    terminal: &mut DefaultTerminal,
    requests: &mut Requests,
) -> anyhow::Result<bool> {
    loop {
        terminal.draw(|frame| draw::draw(frame, desk))?;
        while !event::poll(Duration::ZERO)? {
            if is_gone(BEAT)? || came(requests).await {
                return Ok(true);
            }
        }
        // Whatever else came, another size of the terminal say, is drawn.
        let Event::Key(key) = event::read()? else {
            continue;
        };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match keys::press(desk, key).await? {
            Step::Stay => {}
            Step::Edit(id) => {
                ratatui::restore();
                let edited = editor::edit(desk.store(), id).await;
                *terminal = ratatui::try_init()?;
                desk.edited(edited).await?;
            }
            Step::Leave => return Ok(false),
        }
    }
}

/// Waits so long for something to read; true where the terminal is gone. Its end must not be left to crossterm, which would read it for
/// ever.
fn is_gone(patience: Timespec) -> std::io::Result<bool> {
    let input = std::io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    match poll(&mut polled, Some(&patience)) {
        // A signal, which is looked at next.
        Err(Errno::INTR) => return Ok(false),
        other => other?,
    };
    Ok(polled[0]
        .revents()
        .intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

/// Whether somebody has asked it to end.
async fn came(requests: &mut Requests) -> bool {
    tokio::select! {
        () = requests.next() => true,
        // Long enough for the runtime to hear of what came meanwhile.
        () = tokio::time::sleep(Duration::from_millis(1)) => false,
    }
}
