//! Conversations: one question, one answer, and a system message before them. Of `messages` in OpenAI's form, and of ShareGPT's
//! `conversations`.

use super::{
    extra::Extra,
    fields::{Fields, Json},
};

/// What a conversation says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) system: Option<String>,
    pub(super) user: String,
    /// None where nobody answers yet.
    pub(super) assistant: Option<String>,
    /// Of each message what else it says.
    pub(super) rest: Vec<Extra>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

struct Message {
    role: String,
    speaker: Speaker,
    content: String,
    calls_tools: bool,
    rest: Extra,
}

/// More than so many speakers are not named in a message.
const NAMED: usize = 6;

/// The exchange that a list of messages is.
pub(super) fn exchange<'a>(messages: impl IntoIterator<Item = Json<'a>>) -> Result<Exchange, String> {
    let messages: Vec<Message> = messages.into_iter().map(message).collect::<Result<_, _>>()?;
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

fn unusable(messages: &[Message]) -> String {
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
        "a conversation of {}: only one user message and one assistant message after it make a task",
        roles.join(", ")
    )
}

fn message(value: Json<'_>) -> Result<Message, String> {
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
        Some(name) => content(&mut fields, name)?,
        None if calls_tools => String::new(),
        None => return Err("the field `content` is missing".into()),
    };
    Ok(Message {
        role,
        speaker,
        content,
        calls_tools,
        rest: fields.rest(),
    })
}

/// The words in use for who speaks.
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

/// The text of a message: a string, null, or a list of parts, which are put together as chat templates do.
fn content(fields: &mut Fields<'_>, name: &str) -> Result<String, String> {
    let Some(value) = fields.get(name) else {
        return Ok(String::new());
    };
    let content = match value.kind() {
        "null" => String::new(),
        "an array" => {
            let parts = value
                .elements()
                .ok_or_else(|| format!("`{name}` cannot be read"))?;
            let texts: Result<Vec<(String, bool)>, String> = parts.into_iter().map(part).collect();
            let texts = texts.map_err(|what| format!("`{name}` {what}"))?;
            let says_more = texts.iter().any(|(_, says_more)| *says_more);
            let joined = texts.into_iter().map(|(text, _)| text).collect();
            if says_more {
                // Then the parts as they are stay with what else the row says.
                return Ok(joined);
            }
            joined
        }
        _ => return fields.text(name),
    };
    fields.take(name);
    Ok(content)
}

/// The text of a part, and whether the part says anything else.
fn part(value: Json<'_>) -> Result<(String, bool), String> {
    if value.kind() == "a string" {
        return value.text().map(|text| (text, false));
    }
    let mut fields = Fields::of(value.get())
        .ok_or_else(|| format!("has a part that is {}, not an object", value.kind()))?;
    let kind = fields.text_or_null("type")?.unwrap_or_else(|| "text".into());
    if !matches!(kind.as_str(), "text" | "input_text" | "output_text") {
        return Err(format!(
            "has a part of type `{kind}`, and ewe works with text only"
        ));
    }
    let text = fields
        .text("text")
        .map_err(|what| format!("has a part in which {what}"))?;
    Ok((text, !fields.rest().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Exchange, String> {
        exchange(Json::of(json).unwrap().elements().unwrap())
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
            (r#"["q", "a"]"#, "a message is a string"),
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
