//! Who may speak when. A conversation that breaks a rule is refused by name: templates would refuse
//! it as well, or lay it out as another one.

use super::{DialectMessage, Speaker};
use crate::fold::is_blank;
use crate::text::counted;

/// The most messages of a conversation.
pub(super) const MOST_MESSAGES: usize = 4096;

/// How many speakers an error names at most.
const NAMED: usize = 6;

/// Checks that user and assistant take turns below one system message at most, the user first; that
/// tools speak after the assistant only; and that nobody says nothing.
pub(super) fn check(messages: &[DialectMessage]) -> Result<(), String> {
    if messages.is_empty() {
        return Err("a conversation without messages".into());
    }
    if messages.len() > MOST_MESSAGES {
        return Err(format!(
            "a conversation of {}: at most {MOST_MESSAGES} are read",
            counted(messages.len() as u64, "message")
        ));
    }
    let mut before = None;
    for (number, message) in (1..).zip(messages) {
        let wrong = match (before, message.speaker) {
            (None, Speaker::System | Speaker::User) | (Some(Speaker::System), Speaker::User) => None,
            (None | Some(Speaker::System), Speaker::Assistant) => {
                Some("it begins with the assistant, and a task begins with the user".to_owned())
            }
            (Some(_), Speaker::System) => Some(format!(
                "message {number} is a system message, and only the first may be one"
            )),
            (Some(Speaker::User), Speaker::User) => Some(format!(
                "the user speaks in message {} and again in message {number}",
                number - 1
            )),
            (Some(Speaker::Assistant), Speaker::Assistant) => Some(format!(
                "the assistant speaks in message {} and again in message {number}",
                number - 1
            )),
            (None | Some(Speaker::System | Speaker::User), Speaker::Tool) => Some(format!(
                "message {number} is a tool's, and no assistant called one"
            )),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(unusable(messages, &wrong));
        }
        before = Some(message.speaker);
    }
    // What the first question or a single answer lacks is said of the row.
    let turns = messages
        .iter()
        .zip(1..)
        .filter(|(message, _)| matches!(message.speaker, Speaker::User | Speaker::Assistant));
    let is_one = turns.clone().count() <= 2;
    let mut said = turns.filter(|(message, _)| is_blank(&message.content) && !message.calls_tools);
    match said.next() {
        Some((message, number)) if !is_one => Err(unusable(
            messages,
            &format!("message {number}, of `{}`, is empty", message.role),
        )),
        _ => Ok(()),
    }
}

/// Says that the last message has no answer.
pub(super) fn unanswered(messages: &[DialectMessage]) -> String {
    let last = messages.last().map_or("", |message| message.role.as_str());
    unusable(
        messages,
        &format!("it ends with `{last}`, and its last message needs an answer"),
    )
}

/// Names the speakers of a conversation that cannot be a task, and what is wrong.
fn unusable(messages: &[DialectMessage], what: &str) -> String {
    let mut roles: Vec<&str> = messages
        .iter()
        .take(NAMED)
        .map(|message| message.role.as_str())
        .collect();
    if messages.len() > NAMED {
        roles.push("…");
    }
    format!("a conversation of {}: {what}", roles.join(", "))
}
