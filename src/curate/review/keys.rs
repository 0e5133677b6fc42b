//! The keys of `ewe review`.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::session::{Mode, ReviewSession};
use crate::{
    store::Result,
    task::{Review, Stance},
};

/// All keys of the queue with their descriptions. Where the page has the same, they are the page's.
pub const KEYS: [(&str, &str); 21] = [
    ("a", "accept"),
    ("r", "reject"),
    ("R", "reject, with a reason"),
    ("t", "a reviewer is unsure: somebody else has to decide"),
    ("m", "write a comment"),
    ("e", "edit in $VISUAL or $EDITOR"),
    ("j  space  →", "the next one"),
    ("k  b  ←", "back to the one before"),
    ("↓ ↑  page  wheel", "scroll"),
    ("u", "undo"),
    ("U  ctrl-r", "redo"),
    ("/", "look for words; Esc clears them"),
    ("f", "change the queue: pending, accepted, rejected, any"),
    ("c", "clear the words; pending tasks again"),
    ("s", "change the order"),
    ("l", "give a field a value; a field may have a key of its own"),
    ("n  tab", "the next similar task"),
    ("p", "where it came from: prompt and response"),
    ("g", "begin the queue anew"),
    ("?", "these keys"),
    ("q  ctrl-c", "leave; everything is saved"),
];

/// What stays at the bottom, the most important first.
pub const ALWAYS: [&str; 4] = ["a accept", "r reject", "? shows the keys", "q leave"];

/// What stands between them if there is room.
pub const IF_ROOM: [&str; 6] = [
    "e edit",
    "j next",
    "k back",
    "u undo",
    "R with a reason",
    "/ search",
];

/// What follows a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for another key.
    Stay,
    /// Open this task in an editor.
    Edit(i64),
    /// End the session.
    Leave,
}

/// Handles a key.
pub async fn press(session: &mut ReviewSession<'_>, key: KeyEvent) -> Result<Step> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return Ok(Step::Leave);
    }
    match session.mode.clone() {
        Mode::Queue => return queue(session, key.code, control).await,
        Mode::Help => match key.code {
            KeyCode::Down | KeyCode::PageDown => session.scroll_by(1),
            KeyCode::Up | KeyCode::PageUp => session.scroll_by(-1),
            _ => {
                session.scroll = 0;
                session.mode = Mode::Queue;
            }
        },
        Mode::Conflict => conflict(session, key.code).await?,
        Mode::Reason(text) => match typed(text, key.code, control) {
            Typed::More(text) => session.mode = Mode::Reason(text),
            Typed::Done(text) => {
                let note = text.trim();
                session
                    .decide(Review::Rejected, (!note.is_empty()).then_some(note))
                    .await?;
            }
            Typed::Never => session.mode = Mode::Queue,
        },
        Mode::Unsure(text) => match typed(text, key.code, control) {
            Typed::More(text) => session.mode = Mode::Unsure(text),
            Typed::Done(text) => {
                let note = text.trim();
                session
                    .give(Stance::Unsure, (!note.is_empty()).then_some(note))
                    .await?;
            }
            Typed::Never => session.mode = Mode::Queue,
        },
        Mode::Comment(text) => match typed(text, key.code, control) {
            Typed::More(text) => session.mode = Mode::Comment(text),
            Typed::Done(text) => session.comment(&text).await?,
            Typed::Never => session.mode = Mode::Queue,
        },
        Mode::Fields => match key.code {
            KeyCode::Char(digit @ '1'..='9') => session.begin_label(digit as usize - '1' as usize),
            KeyCode::Char(letter) => match session.field_of_key(letter) {
                Some(place) => session.begin_label(place),
                None => session.mode = Mode::Queue,
            },
            _ => session.mode = Mode::Queue,
        },
        Mode::Value(place, text) => {
            if let (true, KeyCode::Char(digit)) = (text.is_empty(), key.code)
                && let Some(choice) = session.numbered(place, digit)
            {
                session.set_label(place, &choice).await?;
                return Ok(Step::Stay);
            }
            match typed(text, key.code, control) {
                Typed::More(text) => session.mode = Mode::Value(place, text),
                Typed::Done(text) => session.set_label(place, &text).await?,
                Typed::Never => session.mode = Mode::Queue,
            }
        }
        Mode::Search(text) => match typed(text, key.code, control) {
            Typed::More(text) => session.mode = Mode::Search(text),
            Typed::Done(text) => session.search(&text).await?,
            Typed::Never => session.mode = Mode::Queue,
        },
    }
    Ok(Step::Stay)
}

async fn queue(session: &mut ReviewSession<'_>, key: KeyCode, control: bool) -> Result<Step> {
    let id = session.task.as_ref().map(|view| view.task.id);
    const PAGE: i32 = 10;
    if control {
        if key == KeyCode::Char('r') {
            session.redo().await?;
        }
        return Ok(Step::Stay);
    }
    match (key, id) {
        (KeyCode::Char('a'), Some(_)) => session.decide(Review::Accepted, None).await?,
        (KeyCode::Char('r'), Some(_)) => session.decide(Review::Rejected, None).await?,
        (KeyCode::Char('R'), Some(_)) => session.mode = Mode::Reason(String::new()),
        (KeyCode::Char('t'), Some(_)) => session.begin_unsure(),
        (KeyCode::Char('m'), Some(_)) => session.mode = Mode::Comment(String::new()),
        (KeyCode::Char('e'), Some(id)) => return Ok(Step::Edit(id)),
        (KeyCode::Char('j' | ' ') | KeyCode::Right, Some(_)) => {
            session.message.clear();
            session.next().await?;
        }
        (KeyCode::Char('k' | 'b') | KeyCode::Left, _) => {
            session.message.clear();
            session.back().await?;
        }
        (KeyCode::Char('g') | KeyCode::Home, _) => {
            session.message.clear();
            session.first().await?;
        }
        (KeyCode::Char('u'), _) => session.undo().await?,
        (KeyCode::Char('U'), _) => session.redo().await?,
        (KeyCode::Char('/'), _) => {
            session.mode = Mode::Search(session.filter.text.clone().unwrap_or_default())
        }
        (KeyCode::Char('f'), _) => session.next_review().await?,
        (KeyCode::Char('s'), _) => session.next_sort().await?,
        (KeyCode::Char('c'), _) => session.clear().await?,
        (KeyCode::Esc, _) if session.filter.text.is_some() => session.search("").await?,
        (KeyCode::Char('l'), Some(_)) => session.label().await,
        (KeyCode::Char('n') | KeyCode::Tab, _) => session.next_neighbor().await?,
        (KeyCode::Char('p'), _) => session.provenance().await?,
        (KeyCode::Down, _) => session.scroll_by(1),
        (KeyCode::Up, _) => session.scroll_by(-1),
        (KeyCode::PageDown, _) => session.scroll_by(PAGE),
        (KeyCode::PageUp, _) => session.scroll_by(-PAGE),
        (KeyCode::Char('?'), _) => {
            session.scroll = 0;
            session.mode = Mode::Help;
        }
        (KeyCode::Char('q'), _) => return Ok(Step::Leave),
        (KeyCode::Char(letter), Some(_)) => {
            if let Some(place) = session.field_of_key(letter) {
                session.begin_label(place);
            }
        }
        _ => {}
    }
    Ok(Step::Stay)
}

async fn conflict(session: &mut ReviewSession<'_>, key: KeyCode) -> Result<()> {
    match key {
        KeyCode::Enter | KeyCode::Esc => session.settle(false).await,
        KeyCode::Char('o') if session.has_refused() => session.settle(true).await,
        KeyCode::Char('j') | KeyCode::Down => {
            session.scroll_by(1);
            Ok(())
        }
        KeyCode::Char('k') | KeyCode::Up => {
            session.scroll_by(-1);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The state of a line being typed.
enum Typed {
    More(String),
    Done(String),
    Never,
}

fn typed(mut text: String, key: KeyCode, control: bool) -> Typed {
    match key {
        KeyCode::Enter => return Typed::Done(text),
        KeyCode::Esc => return Typed::Never,
        KeyCode::Char('u') if control => text.clear(),
        KeyCode::Backspace => {
            text.pop();
        }
        KeyCode::Char(character) if !control => text.push(character),
        _ => {}
    }
    Typed::More(text)
}
