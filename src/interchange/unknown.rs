//! Why the format of a file cannot be told: which columns its first row has, and what can be done with such.

use super::{
    conversation,
    fields::{Fields, Json},
    format::{ANSWERS, QUESTIONS},
    names::find,
    parse::{Need, Reading},
    read::ReadError,
};
use crate::text::one_line;

/// What the rows have that tell no format.
pub(super) struct Seen {
    /// The columns of the first row.
    columns: Vec<Column>,
    /// Columns that were asked for and in no row yet.
    missing: Vec<String>,
}

struct Column {
    name: String,
    shape: Shape,
}

/// What the first row has in a column, as far as it decides what can be done.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Text(String),
    /// Questions and answers in one text.
    Dialogue,
    /// Messages, and whether a user's are among them.
    Messages {
        asks: bool,
    },
    Objects,
    Other,
}

/// What names of columns with a question have in them, and those with an answer.
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

/// Columns in which servers say what went wrong.
const FAULTS: &[&str] = &["error", "errors", "detail", "message"];

impl Shape {
    fn of(value: Json<'_>) -> Shape {
        let text = value.get();
        match value.kind() {
            "a string" => match value.text() {
                Ok(text) if conversation::is_dialogue(&text) => Shape::Dialogue,
                text => Shape::Text(text.unwrap_or_default()),
            },
            "an array" if value.is_list_of_texts() => Shape::Other,
            "an array" if conversation::is_list(text.as_bytes()) => Shape::Messages {
                asks: conversation::asks(value),
            },
            "an array" if text[1..].trim_ascii_start().starts_with('{') => Shape::Objects,
            _ => Shape::Other,
        }
    }
}

impl Seen {
    pub(super) fn new(first: &Fields<'_>, reading: &Reading) -> Seen {
        let column = |name: &str| Column {
            name: name.to_owned(),
            shape: first.get_exact(name).map_or(Shape::Other, Shape::of),
        };
        Seen {
            columns: first.names().map(column).collect(),
            missing: reading.mapping.columns().map(str::to_owned).collect(),
        }
    }

    /// Notes what this row has; whether all that was asked for was found.
    pub(super) fn sees(&mut self, object: &Fields<'_>) -> bool {
        self.missing.retain(|name| find(object, name).is_none());
        self.missing.is_empty()
    }

    /// Why the format cannot be told.
    pub(super) fn unknown(&self, file: &str, reading: &Reading) -> ReadError {
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

    fn column(&self, name: &str) -> Option<&Column> {
        let is_named = |column: &&Column| column.name.eq_ignore_ascii_case(name);
        self.columns.iter().find(is_named)
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.column(name).is_some())
    }

    /// The way out of a chosen answer beside a rejected one.
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
        Some(match (&chosen.shape, prompt) {
            (Shape::Dialogue, _) => format!(
                "these are preferences, each a whole dialogue; --map messages={name} takes the chosen one, where it has one question \
                 and one answer"
            ),
            (Shape::Messages { asks: true }, _) => format!(
                "these are preferences, each a whole conversation; --map messages={name} takes the chosen one"
            ),
            (Shape::Messages { .. }, Some(prompt)) => {
                let asked = match prompt.shape {
                    Shape::Messages { .. } => format!(".{}", prompt.name),
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

    /// The way out of rows, or a conversation, within the only column that has such.
    fn within(&self) -> Option<String> {
        let is_list = |column: &&Column| matches!(column.shape, Shape::Objects | Shape::Messages { .. });
        let mut lists = self.columns.iter().filter(is_list);
        let (list, None) = (lists.next()?, lists.next()) else {
            return None;
        };
        let name = &list.name;
        Some(match list.shape {
            Shape::Messages { .. } => format!(
                "--map {} takes the conversation in `{name}`",
                shell_word(&format!("messages={name}"))
            ),
            _ => format!("if the rows are in `{name}`: `jq -c '.{name}[]' FILE` writes them one a line"),
        })
    }

    /// What a server says in place of a file.
    fn fault(&self) -> Option<String> {
        let says = FAULTS.iter().find_map(|name| self.column(name))?;
        match &says.shape {
            Shape::Text(text) if self.columns.len() <= 3 => Some(format!(
                "it may be what a server said in place of the file: '{}'",
                one_line(text, 80)
            )),
            _ => None,
        }
    }

    /// How the columns that are there can be said to be what is needed.
    fn mapping(&self, need: Need) -> String {
        let answer = self.likely(ANSWERING, "a");
        let is_other = |column: &&Column| answer.is_none_or(|answer| answer.name != column.name);
        let is_text = |column: &&Column| matches!(column.shape, Shape::Text(_));
        let question = self.likely(ASKING, "q").filter(is_other);
        let question = question.or_else(|| self.columns.iter().filter(is_text).find(is_other));
        let is_third = |column: &&Column| question.is_none_or(|question| question.name != column.name);
        let answer = answer.or_else(|| self.columns.iter().filter(is_text).find(is_third));
        let map = |pairs: &[(&str, Option<&Column>)]| {
            let pair = |(role, column): &(&str, Option<&Column>)| {
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

    /// The first column whose name has one of these words in it, or is this letter.
    fn likely(&self, words: &[&str], letter: &str) -> Option<&Column> {
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

/// In quotes where a shell would take it for several words, or for something else.
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
        match Seen::new(&fields, &reading).unknown("f", &reading) {
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
    }
}
