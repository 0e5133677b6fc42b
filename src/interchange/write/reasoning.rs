//! Leaves the reasoning out of a row: what a message says of it in a field of its own, and what is
//! between the marks of reasoning in a text of the assistant.

use serde_json::Value;

use crate::interchange::{
    extra::Extra,
    format::{CONVERSATIONS, PREFIX},
    turns,
};
use crate::reasoning::{self, FIELDS};
use crate::task::{ExportRow, Turn};

/// Fields with the content of a message as its file had it: a list of parts, some of which may be
/// reasoning. The text of the others is the message's.
const CONTENTS: [&str; 3] = ["content", "value", "text"];

/// Returns the row without reasoning.
pub(super) fn left_out(mut row: ExportRow) -> ExportRow {
    row.output = reasoning::without(row.output);
    let extra = row.extra.as_deref().and_then(Extra::parse);
    row.extra = extra.map(of_row).and_then(|extra| extra.to_column());
    if row.turns.is_some() {
        let turns: Vec<Turn> = turns::of_column(row.turns.as_deref())
            .into_iter()
            .map(of_turn)
            .collect();
        row.turns = Turn::list_to_column(&turns);
    }
    row
}

fn of_turn(mut turn: Turn) -> Turn {
    turn.fields.retain(|(name, value)| !is_reasoning(name, value));
    if turn.is_answer() {
        turn.content = reasoning::without(turn.content);
    }
    turn
}

/// Removes reasoning from the other fields of a row, and from those of its messages.
fn of_row(mut extra: Extra) -> Extra {
    extra.retain(|name, value| !is_reasoning(name, value));
    for name in CONVERSATIONS {
        for name in [(*name).to_owned(), format!("{PREFIX}{name}")] {
            if let Some(mut list) = extra.take_list(&name) {
                for message in &mut list {
                    message.retain(|name, value| !is_reasoning(name, value));
                }
                extra.push_list(name, &list);
            }
        }
    }
    extra
}

/// Whether a field has the reasoning of an answer.
fn is_reasoning(name: &str, value: &str) -> bool {
    let plain = name.strip_prefix(PREFIX).unwrap_or(name);
    if FIELDS.contains(&plain) {
        return true;
    }
    let parts = CONTENTS
        .contains(&plain)
        .then(|| serde_json::from_str(value).ok());
    let Some(Some(Value::Array(parts))) = parts else {
        return false;
    };
    let thinks = |part: &Value| {
        let kind = part["type"].as_str().unwrap_or_default();
        kind.contains("thinking") || kind.contains("reasoning") || !part["reasoningContent"].is_null()
    };
    parts.iter().any(thinks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_left_out_wherever_it_is() {
        let row = ExportRow {
            task_id: 1,
            source_id: None,
            name: None,
            instruction: "<think>is quoted by the user</think> q".into(),
            input: String::new(),
            output: "<think>hm</think>\n\na".into(),
            is_classification: false,
            system: None,
            extra: Some(
                concat!(
                    r#"{"thinking":"x","id":1,"messages":[{"name":"Ann"},{"reasoning_content":"hm","#,
                    r#""content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"a"}],"n":1}]}"#
                )
                .into(),
            ),
            turns: Some(
                concat!(
                    r#"[{"role":"user","content":"<think>r</think> s"},"#,
                    r#"{"role":"assistant","content":"<think>only thought","reasoning":"hm","weight":1.50}]"#
                )
                .into(),
            ),
            fields: Vec::new(),
        };
        let left = left_out(row.clone());
        assert_eq!(
            (left.instruction.as_str(), left.output.as_str()),
            (row.instruction.as_str(), "a")
        );
        assert_eq!(
            left.extra.as_deref(),
            Some(r#"{"id":1,"messages":[{"name":"Ann"},{"n":1}]}"#)
        );
        assert_eq!(
            left.turns.as_deref(),
            Some(concat!(
                r#"[{"role":"user","content":"<think>r</think> s"},"#,
                r#"{"role":"assistant","content":"<think>only thought","weight":1.50}]"#
            ))
        );
    }
}
