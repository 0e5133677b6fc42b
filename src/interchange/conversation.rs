//! Conversations of one question and one answer, with a system message before them or without one:
//! OpenAI's `messages`, ShareGPT's `conversations`, LIMA's lists of strings, and hh-rlhf's
//! dialogues, which are one string.

pub(super) mod parts;

use super::{
    Format, Need,
    extra::Extra,
    json::{Fields, Json},
};
use parts::MessageContent;

/// A conversation as question and answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) system: Option<String>,
    pub(super) user: String,
    /// None if the user spoke last.
    pub(super) assistant: Option<String>,
    /// The other fields of each message.
    pub(super) rest: Vec<Extra>,
}

/// The speaker of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

/// A message of any dialect.
struct DialectMessage {
    role: String,
    speaker: Speaker,
    content: String,
    calls_tools: bool,
    rest: Extra,
}

/// How many speakers an error names at most.
const NAMED: usize = 6;

/// The labels of the speakers in a dialogue that is one string.
const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Reads a list of messages, or of strings that user and assistant say in turn.
pub(super) fn exchange(messages: &[Json<'_>]) -> Result<Exchange, String> {
    let is_text = |message: &Json<'_>| message.kind() == "a string";
    let in_turn = messages.iter().all(is_text);
    let speakers = [("user", Speaker::User), ("assistant", Speaker::Assistant)];
    let messages: Result<Vec<DialectMessage>, String> = match in_turn {
        true => speakers
            .into_iter()
            .cycle()
            .zip(messages)
            .map(|((role, speaker), text)| Ok(DialectMessage::new(role, speaker, text.text()?)))
            .collect(),
        false => messages.iter().copied().map(message).collect(),
    };
    exchanged(messages?)
}

/// Reads a dialogue that is one string, as in hh-rlhf. Returns `None` for any other string.
pub(super) fn exchange_in_text(text: &str) -> Option<Result<Exchange, String>> {
    if !is_dialogue(text) {
        return None;
    }
    let text = format!("\n\n{}", text.trim_start());
    let mut places: Vec<(usize, &str)> = [HUMAN, ASSISTANT]
        .into_iter()
        .flat_map(|sign| text.match_indices(sign))
        .collect();
    places.sort_unstable();
    let ends = places.iter().skip(1).map(|(place, _)| *place).chain([text.len()]);
    let message = |((start, sign), end): (&(usize, &str), usize)| {
        let said = text[start + sign.len()..end].trim().to_owned();
        match *sign {
            HUMAN => DialectMessage::new("Human", Speaker::User, said),
            _ => DialectMessage::new("Assistant", Speaker::Assistant, said),
        }
    };
    Some(exchanged(places.iter().zip(ends).map(message).collect()))
}

/// Whether a string is a whole dialogue.
pub(super) fn is_dialogue(text: &str) -> bool {
    text.trim_start().starts_with(HUMAN.trim_start()) && text.contains(ASSISTANT)
}

/// Whether an object is a message of a conversation rather than a row.
pub(super) fn is_message(json: &[u8]) -> bool {
    let Some(fields) = std::str::from_utf8(json).ok().and_then(Fields::of) else {
        return false;
    };
    let role = fields.get("role").or(fields.get("from"));
    let speaks = role
        .and_then(|role| role.text().ok())
        .is_some_and(|role| speaker(&role).is_some());
    let says = ["content", "value", "text", "tool_calls", "function_call"]
        .iter()
        .any(|name| fields.get(name).is_some());
    speaks && says && Format::of(&fields, Need::Prompt).is_none()
}

/// Whether a list of messages has one by the user.
pub(super) fn asks(messages: Json<'_>) -> bool {
    let messages = messages.elements().unwrap_or_default();
    messages
        .into_iter()
        .filter_map(|value| message(value).ok())
        .any(|message| message.speaker == Speaker::User)
}

/// Whether an array is a conversation, of messages or of strings.
pub(super) fn is_list(json: &[u8]) -> bool {
    let elements = std::str::from_utf8(json)
        .ok()
        .and_then(Json::of)
        .and_then(Json::elements);
    elements.is_some_and(|elements| {
        elements.first().is_some_and(|first| match first.kind() {
            "a string" => true,
            _ => is_message(first.get().as_bytes()),
        })
    })
}

impl DialectMessage {
    /// A message without other fields.
    fn new(role: &str, speaker: Speaker, content: String) -> DialectMessage {
        DialectMessage {
            role: role.to_owned(),
            speaker,
            content,
            calls_tools: false,
            rest: Extra::default(),
        }
    }
}

/// Checks that the messages are one question and at most one answer.
fn exchanged(messages: Vec<DialectMessage>) -> Result<Exchange, String> {
    let speakers: Vec<Speaker> = messages.iter().map(|message| message.speaker).collect();
    let (system, rest) = match &speakers[..] {
        [Speaker::System, rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let answered = match rest {
        [Speaker::User, Speaker::Assistant] => true,
        [Speaker::User] => false,
        _ => return Err(unusable(&messages)),
    };
    let mut exchange = Exchange::default();
    for message in messages {
        match message.speaker {
            Speaker::System => exchange.system = Some(message.content),
            Speaker::User => exchange.user = message.content,
            Speaker::Assistant => {
                if message.calls_tools && message.content.trim().is_empty() {
                    return Err(
                        "the answer calls tools and says nothing, and a task's answer is a text".into(),
                    );
                }
                exchange.assistant = Some(message.content);
            }
            Speaker::Tool => {}
        }
        exchange.rest.push(message.rest);
    }
    debug_assert!(system == exchange.system.is_some() && answered == exchange.assistant.is_some());
    exchange.system = exchange.system.filter(|text| !text.trim().is_empty());
    Ok(exchange)
}

/// Says which speakers a conversation has that cannot be a task.
fn unusable(messages: &[DialectMessage]) -> String {
    let mut roles: Vec<&str> = messages
        .iter()
        .take(NAMED)
        .map(|message| message.role.as_str())
        .collect();
    if messages.len() > NAMED {
        roles.push("…");
    }
    if roles.is_empty() {
        return "a conversation without messages".into();
    }
    format!(
        "a conversation of {}: only one user message and one assistant message after it make a task, below one system message at \
         most",
        roles.join(", ")
    )
}

/// Reads a message of any dialect.
fn message(value: Json<'_>) -> Result<DialectMessage, String> {
    let mut fields =
        Fields::of(value.get()).ok_or_else(|| format!("a message is {}, not an object", value.kind()))?;
    let first =
        |fields: &Fields<'_>, names: &[&'static str]| names.iter().copied().find(|name| fields.has(name));
    let role = first(&fields, &["role", "from"]).unwrap_or("role");
    let role = fields.text(role)?;
    let speaker = speaker(&role).ok_or_else(|| {
        format!("a message of `{role}`: speakers are system, user and assistant, or human and gpt")
    })?;
    let calls_tools = fields
        .get("tool_calls")
        .is_some_and(|calls| !matches!(calls.get(), "null" | "[]"))
        || fields.has("function_call");
    let name = ["content", "value", "text"]
        .into_iter()
        .find(|name| fields.get(name).is_some());
    let content = match name {
        Some(name) => parts::content(&mut fields, name)?,
        None if calls_tools => MessageContent::default(),
        None => return Err("the field `content` is missing".into()),
    };
    let mut rest = Extra::rest_of(fields);
    if let Some(reasoning) = &content.reasoning
        && rest.get("reasoning_content").is_none()
    {
        rest.push_text("reasoning_content", reasoning);
    }
    Ok(DialectMessage {
        role,
        speaker,
        content: content.text,
        calls_tools,
        rest,
    })
}

/// Reads a role, by any of the names in use.
fn speaker(role: &str) -> Option<Speaker> {
    Some(match role.to_ascii_lowercase().as_str() {
        "system" | "developer" => Speaker::System,
        "user" | "human" | "prompter" | "instruction" | "question" => Speaker::User,
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" | "chatbot" | "bing" | "bard" | "answer" => {
            Speaker::Assistant
        }
        "tool" | "tools" | "function" | "function_call" | "function_response" | "function_result"
        | "tool_call" | "tool_response" | "tool_result" | "observation" | "ipython" => Speaker::Tool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Exchange, String> {
        exchange(&Json::of(json).unwrap().elements().unwrap())
    }

    #[test]
    fn roles_of_every_dialect() {
        for (json, system) in [
            (
                r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#,
                None,
            ),
            (
                r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#,
                None,
            ),
            (
                r#"[{"from": "system", "value": "s"}, {"from": "Human", "value": "q"}, {"from": "gpt", "value": "a"}]"#,
                Some("s"),
            ),
            (
                r#"[{"role": "developer", "content": "s"}, {"role": "user", "content": "q"}, {"role": "model", "content": "a"}]"#,
                Some("s"),
            ),
            (
                r#"[{"role": "system", "content": " "}, {"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": ["a"]}]"#,
                None,
            ),
        ] {
            let exchange = of(json).unwrap();
            assert_eq!(exchange.system.as_deref(), system, "{json}");
            assert_eq!(
                (exchange.user.as_str(), exchange.assistant.as_deref()),
                ("q", Some("a")),
                "{json}"
            );
            assert!(exchange.rest.iter().all(Extra::is_empty), "{json}");
        }
    }

    #[test]
    fn what_else_a_message_says_is_kept() {
        let exchange = of(
            r#"[{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b", "cache_control": {}}], "name": "Ann"},
               {"role": "assistant", "content": "c", "tool_calls": [{"id": 1}], "weight": 0, "refusal": null}]"#,
        )
        .unwrap();
        assert_eq!(exchange.user, "ab");
        assert_eq!(
            exchange.rest[0].to_json(),
            r#"{"content":[{"type": "text", "text": "a"}, {"text": "b", "cache_control": {}}],"name":"Ann"}"#
        );
        assert_eq!(
            exchange.rest[1].to_json(),
            r#"{"tool_calls":[{"id": 1}],"weight":0}"#
        );
    }

    #[test]
    fn reasoning_is_kept_apart_from_the_answer() {
        for parts in [
            r#"{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}"#,
            r#"{"type": "reasoning", "text": "hm"}, "a""#,
            r#"{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "a"}"#,
        ] {
            let exchange = of(&format!(
                r#"[{{"role": "user", "content": "q"}}, {{"role": "assistant", "content": [{parts}]}}]"#
            ))
            .unwrap();
            assert_eq!(exchange.assistant.as_deref(), Some("a"), "{parts}");
            assert_eq!(
                exchange.rest[1].to_json(),
                r#"{"reasoning_content":"hm"}"#,
                "{parts}"
            );
        }
        // A part with other fields is kept whole.
        let exchange = of(
            r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, "a"]}]"#,
        )
        .unwrap();
        assert_eq!(
            exchange.rest[1].to_json(),
            r#"{"content":[{"type": "thinking", "thinking": "hm", "signature": "x"}, "a"],"reasoning_content":"hm"}"#
        );
    }

    #[test]
    fn texts_are_conversations() {
        let exchange = of(r#"["q", "a"]"#).unwrap();
        assert_eq!(
            (exchange.user.as_str(), exchange.assistant.as_deref()),
            ("q", Some("a"))
        );
        let exchange = exchange_in_text("\n\nHuman: q\n\nq\n\nAssistant: a\n")
            .unwrap()
            .unwrap();
        assert_eq!(
            (exchange.user.as_str(), exchange.assistant.as_deref()),
            ("q\n\nq", Some("a"))
        );
        let turns = "Human: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b";
        let error = exchange_in_text(turns).unwrap().unwrap_err();
        assert!(error.contains("Human, Assistant, Human, Assistant"), "{error}");
        assert!(exchange_in_text("Human: q").is_none());
    }

    #[test]
    fn what_is_no_exchange_is_named() {
        for (json, what) in [
            ("[]", "without messages"),
            (
                r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{}]}]"#,
                "calls tools",
            ),
            (
                r#"[{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{}]}]"#,
                "calls tools",
            ),
            (
                r#"[{"role": "user", "content": "q"}, {"role": "assistant"}]"#,
                "`content` is missing",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]"#,
                "part of type `image_url`",
            ),
            (r#"[{"role": "critic", "content": "q"}]"#, "a message of `critic`"),
            (
                r#"["q", {"role": "user", "content": "q"}]"#,
                "a message is a string",
            ),
            (
                r#"["q", "a", "r", "b"]"#,
                "a conversation of user, assistant, user, assistant: only one",
            ),
            (
                r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]"#,
                "a conversation of human, gpt, human: only one",
            ),
            (r#"[{"from": "gpt", "value": "a"}]"#, "a conversation of gpt"),
        ] {
            let error = of(json).unwrap_err();
            assert!(error.contains(what), "{json}: {error}");
        }
    }
}
