//! Conversations as ewe stores them: the first question and its answer as texts, all other messages
//! as a JSON list.

use super::{
    extra::Extra,
    format::CONVERSATIONS,
    json::{Fields, Json},
};
use crate::reasoning;
use crate::task::{Instance, Turn};

/// Reads a list of messages as [`Turn::list_to_column`] writes it; `None` if the text is none.
/// Fields that are null are not kept.
pub fn parse(json: &str) -> Option<Vec<Turn>> {
    Json::of(json)?.elements()?.into_iter().map(turn).collect()
}

/// Reads column `turns`. A value that is no list of messages, as somebody may have written by SQL,
/// has none.
pub fn of_column(column: Option<&str>) -> Vec<Turn> {
    column.and_then(parse).unwrap_or_default()
}

fn turn(value: Json<'_>) -> Option<Turn> {
    let mut fields = Fields::of(value.get())?;
    let role = fields.text("role").ok()?;
    let content = fields.text_or_null("content").ok()?.unwrap_or_default();
    Some(Turn {
        role,
        content,
        fields: owned(&Extra::rest_of(fields)),
    })
}

/// Returns other fields as names and JSON values.
pub(super) fn owned(extra: &Extra) -> Vec<(String, String)> {
    let fields = extra.fields();
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Returns the other fields of the first answer, such as calls of tools, from the other fields of
/// its row.
pub fn fields_of_answer(extra: Option<&str>) -> Vec<(String, String)> {
    let Some(extra) = extra.and_then(Extra::parse) else {
        return Vec::new();
    };
    // In formats that would take them for their own, they are written with a prefix.
    let lists = CONVERSATIONS
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("ewe_{name}")]);
    let list = lists.filter_map(|name| extra.list(&name)).next();
    list.and_then(|list| list.last().map(owned)).unwrap_or_default()
}

/// Returns the messages of an example from its first answer on; `extra` and `turns` are the columns
/// of its instance.
pub fn from_answer(output: &str, extra: Option<&str>, turns: Option<&str>) -> Vec<Turn> {
    std::iter::once(first_answer(output, extra))
        .chain(of_column(turns))
        .collect()
}

/// Returns the first answer of an example, with its other fields from those of its row.
pub fn first_answer(output: &str, extra: Option<&str>) -> Turn {
    let mut first = Turn::new(Turn::ASSISTANT, output);
    first.fields = fields_of_answer(extra);
    first
}

/// Whether a field of a message has its reasoning as a text.
pub fn is_reasoning(name: &str, value: &str) -> bool {
    reasoning::FIELDS.contains(&name) && value.starts_with('"')
}

/// Returns the reasoning of a message, from fields of its own and from between marks in its text,
/// and the text without it. The text of the user has no marks but those that it is about.
pub fn parted(turn: &Turn) -> (Option<String>, String) {
    let fields = turn
        .fields
        .iter()
        .filter(|(name, value)| is_reasoning(name, value));
    let texts = fields.filter_map(|(_, value)| Json::of(value)?.text().ok());
    let mut thoughts: Vec<String> = texts.collect();
    let mut said = turn.content.clone();
    if let Some(split) = reasoning::split(&said).filter(|_| turn.is_answer()) {
        thoughts.push(split.reasoning);
        said = split.answer;
    }
    ((!thoughts.is_empty()).then(|| thoughts.join("\n\n")), said)
}

/// Returns the exchanges of a conversation whose answers are texts, as inputs and outputs: the
/// first answer, with no input, then the later ones, each with the question before it. Calls of
/// tools and what tools say are not among them.
pub fn exchanges(output: &str, later: &[Turn]) -> Vec<Instance> {
    let mut exchanges = Vec::new();
    let mut asked = String::new();
    let first = Turn::new(Turn::ASSISTANT, output);
    for turn in std::iter::once(&first).chain(later) {
        match turn.role.as_str() {
            Turn::USER => asked.clone_from(&turn.content),
            Turn::ASSISTANT if !turn.content.trim().is_empty() => exchanges.push(Instance {
                input: asked.clone(),
                output: turn.content.clone(),
            }),
            _ => {}
        }
    }
    exchanges
}

/// Returns the messages of an example before its last answer as one text, and that answer; `None`
/// for a single turn. Each message begins with its speaker.
pub fn before_last(question: &str, output: &str, later: &[Turn]) -> Option<(String, String)> {
    let at = later.iter().rposition(Turn::is_answer)?;
    let mut text = format!("user: {question}\n\nassistant: {output}");
    for turn in &later[..at] {
        text.push_str(&format!("\n\n{}: {}", turn.role, turn.content));
        if let Some(calls) = turn.field("tool_calls") {
            text.push_str(calls);
        }
    }
    Some((text, later[at].content.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_they_were_read() {
        let json = concat!(
            r#"[{"role":"user","content":"q \"é\"","n":123456789012345678901234567890},"#,
            r#"{"role":"assistant","content":null,"tool_calls":[{"function":{"arguments":"{\"a\": 1.50}"}}]},"#,
            r#"{"role":"observation","content":"","id":1e400},{"role":"assistant","content":"a"}]"#
        );
        let turns = parse(json).unwrap();
        assert_eq!(Turn::list_to_column(&turns).as_deref(), Some(json));
        let roles: Vec<&str> = turns.iter().map(|turn| turn.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "observation", "assistant"]);
        assert!(turns[1].calls_tools() && turns[1].is_answer() && !turns[3].calls_tools());
    }

    #[test]
    fn what_is_no_list_of_messages_has_none() {
        for json in [
            r#"{"role":"user"}"#,
            r#"[{"content":"q"}]"#,
            "[1]",
            "q",
            r#"[{"role":[]}]"#,
        ] {
            assert_eq!(parse(json), None, "{json}");
            assert!(of_column(Some(json)).is_empty());
        }
        assert_eq!(Turn::list_to_column(&[]), None);
    }

    #[test]
    fn answers_are_looked_at_with_their_questions() {
        let later = parse(concat!(
            r#"[{"role":"tool","content":"3"},{"role":"assistant","content":"a"},"#,
            r#"{"role":"user","content":"r"},{"role":"assistant","content":"b"}]"#
        ))
        .unwrap();
        let pairs = |output| -> Vec<(String, String)> {
            let exchanges = exchanges(output, &later).into_iter();
            exchanges.map(|of| (of.input, of.output)).collect()
        };
        let pair = |input: &str, output: &str| (input.to_owned(), output.to_owned());
        assert_eq!(pairs(""), [pair("", "a"), pair("r", "b")]);
        assert_eq!(pairs("x"), [pair("", "x"), pair("", "a"), pair("r", "b")]);
        let (before, last) = before_last("q", "x", &later).unwrap();
        assert_eq!(
            before,
            "user: q\n\nassistant: x\n\ntool: 3\n\nassistant: a\n\nuser: r"
        );
        assert_eq!(last, "b");
        assert_eq!(before_last("q", "x", &[]), None);
    }

    #[test]
    fn calls_of_the_first_answer_are_among_the_other_fields_of_its_row() {
        let extra = r#"{"id":1,"messages":[{},{"name":"Ann"},{"tool_calls":[1]}]}"#;
        let turns = from_answer("", Some(extra), Some(r#"[{"role":"tool","content":"3"}]"#));
        assert!(turns[0].calls_tools());
        assert_eq!((turns.len(), turns[1].content.as_str()), (2, "3"));
        assert!(from_answer("a", None, None)[0].fields.is_empty());
    }
}
