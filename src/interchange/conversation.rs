//! Conversations, with a system message before them or without one: OpenAI's `messages`, ShareGPT's
//! `conversations`, LIMA's lists of strings, hh-rlhf's dialogues, which are one string, and
//! OpenAssistant's trees.
//!
//! - `order`: who may speak when; `parts`: what a message says; `oasst`: trees.

pub(super) mod oasst;
mod order;
pub(super) mod parts;

use super::{
    Format, Need,
    extra::Extra,
    json::{Fields, Json},
    turns,
};
use crate::task::Turn;
use parts::MessageContent;

/// A conversation: its first question and answer, and what is said after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) system: Option<String>,
    pub(super) user: String,
    /// None if only the user spoke.
    pub(super) assistant: Option<String>,
    /// The other fields of each message up to the first answer.
    pub(super) rest: Vec<Extra>,
    /// The messages after the first answer.
    pub(super) turns: Vec<Turn>,
    /// Why the conversation has no answer to its last message; none if it has one.
    pub(super) unanswered: Option<String>,
}

/// The speaker of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
    /// The assistant, in ShareGPT's way of calling a tool.
    Call,
    Tool,
}

/// A message of any dialect.
#[derive(Debug, Clone)]
struct DialectMessage {
    role: String,
    speaker: Speaker,
    content: String,
    calls_tools: bool,
    rest: Extra,
}

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

/// Returns the messages up to the first answer.
pub(super) fn first_exchange<'m, 'a>(messages: &'m [Json<'a>]) -> &'m [Json<'a>] {
    let answers =
        |value: &Json<'_>| message(*value).is_ok_and(|message| message.speaker == Speaker::Assistant);
    let end = messages
        .iter()
        .position(answers)
        .map_or(messages.len(), |at| at + 1);
    &messages[..end]
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

/// Makes a conversation of messages, if they are one.
fn exchanged(messages: Vec<DialectMessage>) -> Result<Exchange, String> {
    order::check(&messages)?;
    let is_answered = messages
        .last()
        .is_some_and(|last| last.speaker == Speaker::Assistant);
    let mut exchange = Exchange {
        unanswered: (!is_answered).then(|| order::unanswered(&messages)),
        ..Exchange::default()
    };
    let mut messages = messages.into_iter().peekable();
    if let Some(system) = messages.next_if(|message| message.speaker == Speaker::System) {
        exchange.system = Some(system.content).filter(|text| !text.trim().is_empty());
        exchange.rest.push(system.rest);
    }
    if let Some(user) = messages.next() {
        exchange.user = user.content;
        exchange.rest.push(user.rest);
    }
    if let Some(answer) = messages.next() {
        let says_nothing = answer.calls_tools && answer.content.trim().is_empty();
        if says_nothing && messages.peek().is_none() {
            return Err(
                "the answer calls tools and says nothing, and the answer of a single turn is a text".into(),
            );
        }
        exchange.assistant = Some(answer.content);
        exchange.rest.push(answer.rest);
    }
    exchange.turns = messages.map(turn).collect();
    Ok(exchange)
}

/// Returns a later message as it is stored.
fn turn(message: DialectMessage) -> Turn {
    let role = match message.speaker {
        Speaker::User => Turn::USER.to_owned(),
        Speaker::Assistant | Speaker::Call => Turn::ASSISTANT.to_owned(),
        Speaker::System | Speaker::Tool => message.role,
    };
    // A list of parts with other fields is kept beside the text.
    let taken = |name: &str| ["role", "content"].contains(&name).then(|| format!("ewe_{name}"));
    Turn {
        role,
        content: message.content,
        fields: turns::owned(&message.rest.renamed(taken)),
    }
}

/// Reads the messages that follow a first question and its answer.
pub(super) fn later(first: [&str; 2], messages: &[Json<'_>]) -> Result<Vec<Turn>, String> {
    let [user, assistant] = first;
    let mut all = vec![
        DialectMessage::new(Turn::USER, Speaker::User, user.to_owned()),
        DialectMessage {
            // What it does if it says nothing is among the other fields of the row.
            calls_tools: true,
            ..DialectMessage::new(Turn::ASSISTANT, Speaker::Assistant, assistant.to_owned())
        },
    ];
    for value in messages {
        all.push(message(*value)?);
    }
    order::check(&all)?;
    Ok(all.into_iter().skip(2).map(turn).collect())
}

/// Makes a conversation of earlier questions with their answers, and the last question with its
/// answer, as Alpaca's `history` has them.
pub(super) fn with_history(
    history: &[Json<'_>],
    question: String,
    answer: Option<String>,
) -> Result<Exchange, String> {
    let user = |text| DialectMessage::new(Turn::USER, Speaker::User, text);
    let assistant = |text| DialectMessage::new(Turn::ASSISTANT, Speaker::Assistant, text);
    let mut messages = Vec::new();
    for (at, pair) in history.iter().enumerate() {
        let texts: Option<Vec<String>> = pair
            .elements()
            .and_then(|pair| pair.into_iter().map(|text| text.text().ok()).collect());
        let Some([asked, answered]) = texts.as_deref() else {
            return Err(format!("`history[{at}]` is no list of a question and its answer"));
        };
        messages.push(user(asked.clone()));
        messages.push(assistant(answered.clone()));
    }
    messages.push(user(question));
    messages.extend(answer.map(assistant));
    exchanged(messages)
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
    let calls_tools = calls_tools(&fields);
    let name = ["content", "value", "text"]
        .into_iter()
        .find(|name| fields.get(name).is_some());
    let content = match name {
        Some(name) => parts::content(&mut fields, name)?,
        None if calls_tools => MessageContent::default(),
        None => return Err("the field `content` is missing".into()),
    };
    let mut rest = Extra::rest_of(fields);
    if speaker == Speaker::Call {
        rest.push_calls(&role, &content.text)?;
        return Ok(DialectMessage {
            calls_tools: true,
            rest,
            ..DialectMessage::new(&role, Speaker::Assistant, String::new())
        });
    }
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

/// Whether a message calls tools.
fn calls_tools(fields: &Fields<'_>) -> bool {
    let calls = fields.get("tool_calls");
    calls.is_some_and(|calls| !matches!(calls.get(), "null" | "[]")) || fields.has("function_call")
}

/// Reads a role, by any of the names in use.
fn speaker(role: &str) -> Option<Speaker> {
    Some(match role.to_ascii_lowercase().as_str() {
        "system" | "developer" => Speaker::System,
        "user" | "human" | "prompter" | "instruction" | "question" => Speaker::User,
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" | "chatbot" | "bing" | "bard" | "answer" => {
            Speaker::Assistant
        }
        "function_call" | "tool_call" => Speaker::Call,
        "tool" | "tools" | "function" | "function_response" | "function_result" | "tool_response"
        | "tool_result" | "observation" | "ipython" => Speaker::Tool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
