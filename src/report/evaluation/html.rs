//! Pieces of HTML: texts that may be long, and the settings of a run.

use std::fmt::Write;

use serde_json::Value;

use crate::report::chart::svg::{counted, escape, short};
use crate::store::query::evaluation::CutText;

/// The most characters of a text that are shown, so that a page of many stays readable.
pub const MOST_CHARACTERS: i64 = 4_000;
/// Longer texts are folded.
const FOLDED_FROM: i64 = 600;
/// How much of a folded text is its heading.
const HEADING: usize = 120;
/// The most settings of a run that are shown.
const MOST_SETTINGS: usize = 16;

/// Appends a text under its name, with its length. A long one is folded, a very long one cut.
pub fn write_text(body: &mut String, name: &str, of: &CutText) {
    let CutText { text, length } = of;
    let cut = if *length > text.chars().count() as i64 {
        let most = counted(MOST_CHARACTERS, "character");
        format!("<p class=\"cut\">Cut after {most}.</p>")
    } else {
        String::new()
    };
    let (name, characters) = (escape(name), counted(*length, "character"));
    let block = format!("<pre>{}</pre>{cut}", escape(text));
    let _ = if text.is_empty() {
        writeln!(
            body,
            "<div class=\"text\"><h5>{name}</h5><p class=\"cut\">empty</p></div>"
        )
    } else if *length <= FOLDED_FROM {
        writeln!(
            body,
            "<div class=\"text\"><h5>{name} <span>{characters}</span></h5>{block}</div>"
        )
    } else {
        writeln!(
            body,
            "<div class=\"text\"><h5>{name} <span>{characters}</span></h5><details><summary>{}</summary>{block}</details></div>",
            escape(&short(text, HEADING))
        )
    };
}

/// Appends a paragraph about what figures were computed from. `text` is HTML.
pub fn write_source(body: &mut String, text: &str) {
    let _ = writeln!(body, "<p class=\"source\">Computed from {text}</p>");
}

/// Returns the settings of a run, as far as they are single values, as HTML.
pub fn settings(config: &str) -> String {
    let Ok(Value::Object(config)) = serde_json::from_str(config) else {
        return String::new();
    };
    let shown = config.iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(format!(
            "{} {}",
            escape(&short(name, 40)),
            escape(&short(&value, 120))
        ))
    });
    shown.take(MOST_SETTINGS).collect::<Vec<_>>().join(", ")
}

/// `2026-01-31 12:00`
pub fn moment(at: &str) -> String {
    at.chars()
        .take(16)
        .map(|c| if c == 'T' { ' ' } else { c })
        .collect()
}
