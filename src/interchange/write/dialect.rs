//! Conversations in the words of a format: OpenAI's messages, ShareGPT's, and Alpaca's history.

use crate::interchange::{
    extra::Extra,
    format::PREFIX,
    json::{Fields, Json},
    parse::INPUT_OF_TURN,
    turns,
};
use crate::task::{ExportRow, Turn};

/// The names of a conversation's parts.
pub(super) struct Dialect {
    /// The column.
    pub(super) list: &'static str,
    /// The fields of a message: speaker and text.
    pub(super) role: &'static str,
    pub(super) content: &'static str,
    user: &'static str,
    assistant: &'static str,
}

/// OpenAI's messages.
pub(super) const CHAT: Dialect = Dialect {
    list: "messages",
    role: "role",
    content: "content",
    user: "user",
    assistant: "assistant",
};

/// ShareGPT's conversations.
pub(super) const SHARE_GPT: Dialect = Dialect {
    list: "conversations",
    role: "from",
    content: "value",
    user: "human",
    assistant: "gpt",
};

/// Returns the messages as JSON, each with its other fields; `rest` has those up to the first
/// answer.
pub(super) fn messages(row: &ExportRow, question: String, rest: Vec<Extra>, dialect: &Dialect) -> String {
    let messages: Vec<String> = said(row, question, rest)
        .iter()
        .map(|turn| message(turn, dialect).to_json())
        .collect();
    format!("[{}]", messages.join(","))
}

/// Returns the messages with their other fields; `rest` has those up to the first answer.
pub(super) fn said(row: &ExportRow, question: String, mut rest: Vec<Extra>) -> Vec<Turn> {
    let system = row.system.as_deref().map(|system| ("system", system.to_owned()));
    let said = [(Turn::USER, question), (Turn::ASSISTANT, row.output.clone())];
    let said: Vec<_> = system.into_iter().chain(said).collect();
    // An empty system message was dropped on import.
    if rest.len() > said.len() {
        rest.drain(..rest.len() - said.len());
    }
    let empty = said.len() - rest.len();
    let rest = std::iter::repeat_n(Extra::default(), empty).chain(rest);
    let first = said.into_iter().zip(rest).map(|((role, content), rest)| {
        let mut turn = Turn::new(role, content);
        turn.fields = turns::owned(&rest);
        turn
    });
    first.chain(turns::of_column(row.turns.as_deref())).collect()
}

/// Returns one message.
fn message(turn: &Turn, dialect: &Dialect) -> Extra {
    let is_share_gpt = dialect.role == SHARE_GPT.role;
    let only_calls = turn.calls_tools() && turn.content.is_empty();
    let calls = turn.field("tool_calls").filter(|_| only_calls && is_share_gpt);
    let call = calls.and_then(call_as_text);
    let role = match turn.role.as_str() {
        _ if call.is_some() => "function_call",
        Turn::USER => dialect.user,
        Turn::ASSISTANT => dialect.assistant,
        "function" | "system" | "tool" => turn.role.as_str(),
        role if is_share_gpt => role,
        _ => "tool",
    };
    let mut message = Extra::default();
    message.push_text(dialect.role, role);
    match &call {
        Some(call) => message.push_text(dialect.content, call),
        None if only_calls && !is_share_gpt => message.push_null(dialect.content),
        None => message.push_text(dialect.content, &turn.content),
    }
    // Where both dialects are in a message, readers take it for one of `messages`.
    let own = |name: &str| [dialect.role, dialect.content, CHAT.role, CHAT.content].contains(&name);
    for (name, value) in &turn.fields {
        let is_said = call.is_some() && name == "tool_calls";
        if let Some(value) = Json::of(value).filter(|_| !is_said) {
            match own(name) {
                true => message.push(format!("{PREFIX}{name}"), value),
                false => message.push(name, value),
            }
        }
    }
    message
}

/// Returns calls of tools as ShareGPT has them, if they say nothing else.
fn call_as_text(calls: &str) -> Option<String> {
    let calls = Json::of(calls)?.elements()?;
    let function = |call: &Json<'_>| {
        let mut call = Fields::of(call.get())?;
        let function = call.take("function")?;
        let kind = call.take("type")?;
        let is_alone = kind.get() == "\"function\"" && call.remaining().is_empty();
        is_alone.then(|| function.get().to_owned())
    };
    let functions: Vec<String> = calls.iter().map(function).collect::<Option<_>>()?;
    match &functions[..] {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

/// Whether a conversation can be written with Alpaca's `history`: questions and answers in turn, in
/// which only the last question has an input.
pub(super) fn has_history(row: &ExportRow) -> bool {
    let turns = turns::of_column(row.turns.as_deref());
    let count = turns.len();
    let is_plain = |(at, turn): (usize, &Turn)| {
        let role = [Turn::USER, Turn::ASSISTANT][at % 2];
        let fields_are_known = match at + 2 == count {
            true => turn.fields.iter().all(|(name, _)| name == INPUT_OF_TURN),
            false => turn.fields.is_empty(),
        };
        turn.role == role && fields_are_known
    };
    count > 0 && count.is_multiple_of(2) && turns.iter().enumerate().all(is_plain)
}

/// The last question of a conversation, with its answer.
pub(super) struct LastTurn {
    pub(super) instruction: String,
    pub(super) input: String,
    pub(super) output: String,
}

/// Returns the earlier questions and answers as JSON, and the last ones.
pub(super) fn history(row: &ExportRow, question: String) -> (String, LastTurn) {
    let turns = turns::of_column(row.turns.as_deref());
    let first = [
        Turn::new(Turn::USER, question),
        Turn::new(Turn::ASSISTANT, row.output.as_str()),
    ];
    let all: Vec<Turn> = first.into_iter().chain(turns).collect();
    let (earlier, last) = all.split_at(all.len() - 2);
    let pairs: Vec<[&str; 2]> = earlier
        .chunks_exact(2)
        .map(|pair| [pair[0].content.as_str(), pair[1].content.as_str()])
        .collect();
    let history = serde_json::to_string(&pairs).expect("texts are JSON");
    let asked = &last[0];
    let input = asked.field(INPUT_OF_TURN).and_then(Json::of);
    let input = input.and_then(|input| input.text().ok()).unwrap_or_default();
    // The text may have been edited since.
    let instruction = match input.is_empty() {
        true => None,
        false => asked.content.strip_suffix(&format!("\n\n{input}")),
    };
    let last = LastTurn {
        instruction: instruction.unwrap_or(&asked.content).to_owned(),
        input: instruction.map_or(String::new(), |_| input.clone()),
        output: last[1].content.clone(),
    };
    (history, last)
}
