//! Why the format of a file is unknown: the columns of its first row, and a hint about them.

use crate::interchange::{
    Need, ReadError, Reading, conversation,
    format::{ANSWERS, QUESTIONS},
    json::{Fields, Json},
};
use crate::text::one_line;

/// What is known of a file whose format is unknown so far.
pub(super) struct FormatDiagnosis {
    /// The columns of the first row.
    columns: Vec<FirstColumn>,
    /// Columns of `--map` that no row had so far.
    missing: Vec<String>,
}

/// A column of the first row.
struct FirstColumn {
    name: String,
    value: ValueShape,
}

/// What a value is, as far as the hint depends on it.
#[derive(Debug, PartialEq, Eq)]
enum ValueShape {
    Text(String),
    /// Questions and answers in one string.
    Dialogue,
    /// Messages, and whether the user has one.
    Messages {
        asks: bool,
    },
    Objects,
    Other,
}

/// Words in the names of columns that may be the question, and of those that may be the answer.
const ASKING: &[&str] = &[
    "question", "instruct", "prompt", "query", "problem", "input", "human", "user", "context", "title",
    "task",
];
const ANSWERING: &[&str] = &[
    "answer",
    "response",
    "output",
    "completion",
    "solution",
    "reply",
    "target",
    "assistant",
    "label",
    "summary",
];

/// Columns of error messages that servers send in place of a file.
const FAULTS: &[&str] = &["error", "errors", "detail", "message"];

impl ValueShape {
    fn of(value: Json<'_>) -> ValueShape {
        let text = value.get();
        match value.kind() {
            "a string" => match value.text() {
                Ok(text) if conversation::is_dialogue(&text) => ValueShape::Dialogue,
                text => ValueShape::Text(text.unwrap_or_default()),
            },
            "an array" if value.is_list_of_texts() => ValueShape::Other,
            "an array" if conversation::is_list(text.as_bytes()) => ValueShape::Messages {
                asks: conversation::asks(value),
            },
            "an array" if text[1..].trim_ascii_start().starts_with('{') => ValueShape::Objects,
            _ => ValueShape::Other,
        }
    }
}

impl FormatDiagnosis {
    pub(super) fn new(first: &Fields<'_>, reading: &Reading) -> FormatDiagnosis {
        let column = |name: &str| FirstColumn {
            name: name.to_owned(),
            value: first.get_exact(name).map_or(ValueShape::Other, ValueShape::of),
        };
        FormatDiagnosis {
            columns: first.names().map(column).collect(),
            missing: reading.mapping.columns().map(str::to_owned).collect(),
        }
    }

    /// Notes the columns of `--map` that this row has. Returns whether all were found by now.
    pub(super) fn has_mapped(&mut self, object: &Fields<'_>) -> bool {
        self.missing.retain(|name| object.find(name).is_none());
        self.missing.is_empty()
    }

    /// Returns the error.
    pub(super) fn error(&self, file: &str, reading: &Reading) -> ReadError {
        let file = file.to_owned();
        let fields = quoted(self.columns.iter().map(|column| column.name.as_str()));
        if !self.missing.is_empty() {
            return ReadError::NoColumn {
                file,
                missing: quoted(self.missing.iter().map(String::as_str)),
                fields,
            };
        }
        let hint = self
            .preferences()
            .or_else(|| self.within())
            .or_else(|| self.fault())
            .unwrap_or_else(|| self.mapping(reading.need));
        ReadError::UnknownFormat { file, fields, hint }
    }

    fn column(&self, name: &str) -> Option<&FirstColumn> {
        let is_named = |column: &&FirstColumn| column.name.eq_ignore_ascii_case(name);
        self.columns.iter().find(is_named)
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.column(name).is_some())
    }

    /// The hint for preferences: a chosen answer beside a rejected one.
    fn preferences(&self) -> Option<String> {
        if self.column("preferred_output").is_some() {
            return Some(
                "these are preferences: `jq -c '{messages: (.input.messages + .preferred_output)}' FILE` writes the preferred \
                 conversations one a line"
                    .into(),
            );
        }
        self.column("rejected")?;
        let chosen = self.column("chosen")?;
        let name = &chosen.name;
        let prompt = self.columns.iter().find(|column| {
            QUESTIONS
                .iter()
                .any(|name| column.name.eq_ignore_ascii_case(name))
        });
        Some(match (&chosen.value, prompt) {
            (ValueShape::Dialogue, _) => format!(
                "these are preferences, each a whole dialogue; --map messages={name} takes the chosen one"
            ),
            (ValueShape::Messages { asks: true }, _) => format!(
                "these are preferences, each a whole conversation; --map messages={name} takes the chosen one"
            ),
            (ValueShape::Messages { .. }, Some(prompt)) => {
                let asked = match prompt.value {
                    ValueShape::Messages { .. } => format!(".{}", prompt.name),
                    _ => format!("[{{role: \"user\", content: .{}}}]", prompt.name),
                };
                format!(
                    "these are preferences: `jq -c '{{messages: ({asked} + .{name})}}' FILE` writes the chosen conversations one a \
                     line"
                )
            }
            (_, Some(_)) => format!("these are preferences; --map output={name} takes the chosen answer"),
            (_, None) => format!(
                "these are preferences without a question; --map instruction=COLUMN,output={name} takes the chosen answer"
            ),
        })
    }

    /// The hint for rows, or a conversation, within the only column with a list of objects.
    fn within(&self) -> Option<String> {
        let is_list =
            |column: &&FirstColumn| matches!(column.value, ValueShape::Objects | ValueShape::Messages { .. });
        let mut lists = self.columns.iter().filter(is_list);
        let (list, None) = (lists.next()?, lists.next()) else {
            return None;
        };
        let name = &list.name;
        Some(match list.value {
            ValueShape::Messages { .. } => format!(
                "--map {} takes the conversation in `{name}`",
                shell_word(&format!("messages={name}"))
            ),
            _ => format!("if the rows are in `{name}`: `jq -c '.{name}[]' FILE` writes them one a line"),
        })
    }

    /// The hint for an error message that a server sent in place of a file.
    fn fault(&self) -> Option<String> {
        let says = FAULTS.iter().find_map(|name| self.column(name))?;
        match &says.value {
            ValueShape::Text(text) if self.columns.len() <= 3 => Some(format!(
                "it may be what a server said in place of the file: '{}'",
                one_line(text, 80)
            )),
            _ => None,
        }
    }

    /// The hint for `--map`, with the columns that are most likely meant.
    fn mapping(&self, need: Need) -> String {
        let answer = self.likely(ANSWERING, "a");
        let is_other = |column: &&FirstColumn| answer.is_none_or(|answer| answer.name != column.name);
        let is_text = |column: &&FirstColumn| matches!(column.value, ValueShape::Text(_));
        let question = self.likely(ASKING, "q").filter(is_other);
        let question = question.or_else(|| self.columns.iter().filter(is_text).find(is_other));
        let is_third = |column: &&FirstColumn| question.is_none_or(|question| question.name != column.name);
        let answer = answer.or_else(|| self.columns.iter().filter(is_text).find(is_third));
        let map = |pairs: &[(&str, Option<&FirstColumn>)]| {
            let pair = |(role, column): &(&str, Option<&FirstColumn>)| {
                format!(
                    "{role}={}",
                    column.map_or("COLUMN", |column| column.name.as_str())
                )
            };
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            format!("--map {}", shell_word(&pairs.join(",")))
        };
        match (need.answer(), question, answer) {
            (true, ..) if self.has_any(QUESTIONS) && !self.has_any(ANSWERS) => {
                let answer = answer.filter(|answer| QUESTIONS.iter().all(|name| answer.name != *name));
                format!(
                    "there is no answer; {} says which column is one",
                    map(&[("output", answer)])
                )
            }
            (true, Some(question), Some(answer)) => format!(
                "{} says which columns to take, if it is these",
                map(&[("instruction", Some(question)), ("output", Some(answer))])
            ),
            (true, ..) => format!(
                "a row is a question and its answer; {} says which columns to take",
                map(&[("instruction", None), ("output", None)])
            ),
            (false, question, _) => {
                format!("{} says which column to take", map(&[("instruction", question)]))
            }
        }
    }

    /// Returns the first column whose name has one of these words in it, or is this letter.
    fn likely(&self, words: &[&str], letter: &str) -> Option<&FirstColumn> {
        self.columns.iter().find(|column| {
            let name = column.name.to_lowercase();
            name == letter || words.iter().any(|word| name.contains(word))
        })
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Quotes a word for a shell, if that is necessary.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "=,._-/:@".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(row: &str, need: Need) -> String {
        let reading = Reading {
            need,
            ..Reading::default()
        };
        let fields = Fields::of(row).unwrap();
        match FormatDiagnosis::new(&fields, &reading).error("f", &reading) {
            ReadError::UnknownFormat { hint, .. } => hint,
            other => other.to_string(),
        }
    }

    #[test]
    fn hints_have_the_columns_that_are_there() {
        for (row, words) in [
            (
                r#"{"q": "x", "answers": {}, "about": ""}"#,
                "--map instruction=q,output=answers says",
            ),
            (
                r#"{"My Question": "x", "Best reply": "y"}"#,
                "--map 'instruction=My Question,output=Best reply' says",
            ),
            (
                r#"{"id": 1, "frage": "x", "antwort": "y"}"#,
                "--map instruction=frage,output=antwort says",
            ),
            (
                r#"{"question": "x", "best_answer": "y"}"#,
                "there is no answer; --map output=best_answer says",
            ),
            (
                r#"{"question": "x"}"#,
                "there is no answer; --map output=COLUMN says",
            ),
            (r#"{"text": "x"}"#, "--map instruction=COLUMN,output=COLUMN says"),
            (
                r#"{"prompt": "x", "chosen": "y", "rejected": "z"}"#,
                "preferences; --map output=chosen takes",
            ),
            (
                r#"{"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "z"}"#,
                "--map messages=chosen takes",
            ),
            (
                r#"{"prompt": "x", "chosen": [{"role": "assistant", "content": "y"}], "rejected": []}"#,
                r#"`jq -c '{messages: ([{role: "user", content: .prompt}] + .chosen)}' FILE`"#,
            ),
            (
                r#"{"items": [{"from": "human", "value": "x"}]}"#,
                "--map messages=items takes",
            ),
            (r#"{"data": [{"question": "x"}]}"#, "`jq -c '.data[]' FILE`"),
            (
                r#"{"error": "Repository not found"}"#,
                "in place of the file: 'Repository not found'",
            ),
        ] {
            let hint = hint(row, Need::Task);
            assert!(hint.contains(words), "{row}: {hint}");
        }
        assert!(
            hint(r#"{"id": 1, "frage": "x"}"#, Need::Instruction).contains("--map instruction=frage says")
        );
        // A dialogue of several turns is read as well as one of a single turn.
        let dialogue = r#"{"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "z"}"#;
        assert!(hint(dialogue, Need::Task).ends_with("takes the chosen one"));
    }
}
