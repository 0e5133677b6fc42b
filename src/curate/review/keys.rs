//! What each key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::desk::{Desk, Mode};
use crate::{store::Result, task::Review};

/// Every key of the queue, for people.
pub const KEYS: [(&str, &str); 16] = [
    ("a", "accept"),
    ("r", "reject, with a reason"),
    ("e", "edit in $VISUAL or $EDITOR"),
    ("n  space  →", "skip: look at the next one"),
    ("b  ←", "back to the one before"),
    ("g", "begin the queue anew"),
    ("u", "undo"),
    ("U  ctrl-r", "redo"),
    ("/", "look for words"),
    ("f", "change the queue: pending, accepted, rejected, any"),
    ("s", "change the order"),
    ("tab", "the next similar task"),
    ("p", "where it came from: prompt and response"),
    ("j k  ↓ ↑  page", "scroll"),
    ("?", "these keys"),
    ("q  ctrl-c", "leave; everything is saved"),
];

/// What is to follow a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Another key.
    Stay,
    /// The task goes to an editor.
    Edit(i64),
    /// The end.
    Leave,
}

/// Does what a key asks for.
pub async fn press(desk: &mut Desk<'_>, key: KeyEvent) -> Result<Step> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return Ok(Step::Leave);
    }
    match desk.mode.clone() {
        Mode::Queue => return queue(desk, key.code, control).await,
        Mode::Help => desk.mode = Mode::Queue,
        Mode::Conflict => conflict(desk, key.code).await?,
        Mode::Reason(text) => match typed(text, key.code, control) {
            Typed::More(text) => desk.mode = Mode::Reason(text),
            Typed::Done(text) => {
                let note = text.trim();
                desk.decide(Review::Rejected, (!note.is_empty()).then_some(note))
                    .await?;
            }
            Typed::Never => desk.mode = Mode::Queue,
        },
        Mode::Search(text) => match typed(text, key.code, control) {
            Typed::More(text) => desk.mode = Mode::Search(text),
            Typed::Done(text) => desk.search(&text).await?,
            Typed::Never => desk.mode = Mode::Queue,
        },
    }
    Ok(Step::Stay)
}

async fn queue(desk: &mut Desk<'_>, key: KeyCode, control: bool) -> Result<Step> {
    let id = desk.task.as_ref().map(|view| view.task.id);
    let page = 10;
    if control {
        if key == KeyCode::Char('r') {
            desk.redo().await?;
        }
        return Ok(Step::Stay);
    }
    match (key, id) {
        (KeyCode::Char('a'), Some(_)) => desk.decide(Review::Accepted, None).await?,
        (KeyCode::Char('r'), Some(_)) => desk.mode = Mode::Reason(String::new()),
        (KeyCode::Char('e'), Some(id)) => return Ok(Step::Edit(id)),
        (KeyCode::Char('n' | ' ') | KeyCode::Right, Some(_)) => {
            desk.message.clear();
            desk.next().await?;
        }
        (KeyCode::Char('b') | KeyCode::Left, _) => {
            desk.message.clear();
            desk.back().await?;
        }
        (KeyCode::Char('g') | KeyCode::Home, _) => {
            desk.message.clear();
            desk.first().await?;
        }
        (KeyCode::Char('u'), _) => desk.undo().await?,
        (KeyCode::Char('U'), _) => desk.redo().await?,
        (KeyCode::Char('/'), _) => desk.mode = Mode::Search(desk.filter.text.clone().unwrap_or_default()),
        (KeyCode::Char('f'), _) => desk.next_review().await?,
        (KeyCode::Char('s'), _) => desk.next_sort().await?,
        (KeyCode::Tab, _) => desk.next_neighbor().await?,
        (KeyCode::Char('p'), _) => desk.provenance().await?,
        (KeyCode::Char('j') | KeyCode::Down, _) => desk.scroll = desk.scroll.saturating_add(1),
        (KeyCode::Char('k') | KeyCode::Up, _) => desk.scroll = desk.scroll.saturating_sub(1),
        (KeyCode::PageDown, _) => desk.scroll = desk.scroll.saturating_add(page),
        (KeyCode::PageUp, _) => desk.scroll = desk.scroll.saturating_sub(page),
        (KeyCode::Char('?'), _) => desk.mode = Mode::Help,
        (KeyCode::Char('q'), _) => return Ok(Step::Leave),
        _ => {}
    }
    Ok(Step::Stay)
}

async fn conflict(desk: &mut Desk<'_>, key: KeyCode) -> Result<()> {
    match key {
        KeyCode::Enter | KeyCode::Esc => desk.settle(false).await,
        KeyCode::Char('o') if desk.has_refused() => desk.settle(true).await,
        KeyCode::Char('j') | KeyCode::Down => {
            desk.scroll = desk.scroll.saturating_add(1);
            Ok(())
        }
        KeyCode::Char('k') | KeyCode::Up => {
            desk.scroll = desk.scroll.saturating_sub(1);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A line that somebody types.
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
