//! Messages of stored conversations, as chat templates read them.

use ewe::task::Turn;
use serde_json::{Map, Value, json};

use super::chat_template::ChatMessage;

/// The fields of a message that templates read. Reasoning is not among them: it is kept with the
/// row, and not trained on.
const READ: [&str; 3] = ["tool_calls", "tool_call_id", "name"];

/// Returns the messages of a conversation from its first answer on; none if it has a single turn.
pub fn from_answer(answer: Turn, later: &[Turn]) -> Vec<ChatMessage> {
    match later.is_empty() {
        true => Vec::new(),
        false => std::iter::once(&answer).chain(later).map(message).collect(),
    }
}

/// Returns one message. Whoever is neither user nor assistant is a tool.
fn message(turn: &Turn) -> ChatMessage {
    let role = match turn.role.as_str() {
        role @ (Turn::USER | Turn::ASSISTANT) => role,
        _ => "tool",
    };
    let mut message = ChatMessage::new(role, &turn.content);
    for name in READ {
        let value = turn
            .field(name)
            .and_then(|value| serde_json::from_str(value).ok());
        if let Some(value) = value {
            message.more.insert(name.to_owned(), with_objects(value));
        }
    }
    message
}

/// Returns calls of tools with arguments as objects, as templates want them, unless they are no
/// JSON objects.
fn with_objects(mut value: Value) -> Value {
    for call in value.as_array_mut().into_iter().flatten() {
        let arguments = call.pointer_mut("/function/arguments");
        if let Some(arguments) = arguments
            && let Some(object) = arguments
                .as_str()
                .and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok())
        {
            *arguments = json!(object);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use ewe::interchange::turns::parse;

    #[test]
    fn templates_get_roles_and_calls() {
        let later = parse(concat!(
            r#"[{"role":"observation","content":"3","tool_call_id":"1","weight":0},"#,
            r#"{"role":"assistant","content":"a","reasoning_content":"hm","#,
            r#""tool_calls":[{"function":{"name":"f","arguments":"{\"x\": 1}"}}]}]"#
        ))
        .unwrap();
        assert!(from_answer(Turn::new(Turn::ASSISTANT, "x"), &[]).is_empty());
        let messages = from_answer(Turn::new(Turn::ASSISTANT, "x"), &later);
        let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["assistant", "tool", "assistant"]);
        assert_eq!(
            messages[1].more,
            *json!({"tool_call_id": "1"}).as_object().unwrap()
        );
        assert_eq!(messages[2].more["tool_calls"][0]["function"]["arguments"]["x"], 1);
        assert_eq!(messages[2].more.get("reasoning_content"), None);
    }
}
