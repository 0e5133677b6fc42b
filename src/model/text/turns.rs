//! Messages of stored conversations, as chat templates read them.

use ewe::reasoning;
use ewe::task::Turn;
use serde_json::{Map, Value, json};

use super::chat_template::ChatMessage;

/// The fields of a message that templates read, besides its reasoning.
const READ: [&str; 3] = ["tool_calls", "tool_call_id", "name"];

/// Returns the messages of a conversation from its first answer on, without their reasoning; none
/// if it has a single turn.
pub fn from_answer(answer: Turn, later: &[Turn]) -> Vec<ChatMessage> {
    match later.is_empty() {
        true => Vec::new(),
        false => std::iter::once(&answer)
            .chain(later)
            .map(|turn| message(turn, &READ))
            .collect(),
    }
}

/// Returns the messages of a conversation from its first answer on, with their reasoning, of which
/// a template decides what it writes; none if it has a single turn and no reasoning.
pub fn with_reasoning(answer: Turn, later: &[Turn]) -> Vec<ChatMessage> {
    let read = [&READ[..], &reasoning::FIELDS].concat();
    let messages = std::iter::once(&answer).chain(later);
    let messages: Vec<ChatMessage> = messages.map(|turn| message(turn, &read)).collect();
    match later.is_empty() && messages[0].more.is_empty() {
        true => Vec::new(),
        false => messages,
    }
}

/// Returns one message, with these of its fields. Whoever is neither user nor assistant is a tool.
fn message(turn: &Turn, read: &[&str]) -> ChatMessage {
    let role = match turn.role.as_str() {
        role @ (Turn::USER | Turn::ASSISTANT) => role,
        _ => "tool",
    };
    let mut message = ChatMessage::new(role, &turn.content);
    for name in read {
        let value = turn
            .field(name)
            .and_then(|value| serde_json::from_str(value).ok());
        if let Some(value) = value {
            message.more.insert((*name).to_owned(), with_objects(value));
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
        let messages = with_reasoning(Turn::new(Turn::ASSISTANT, "x"), &later);
        assert_eq!(messages[2].more["reasoning_content"], "hm");
    }

    #[test]
    fn a_single_answer_comes_with_its_reasoning() {
        let mut answer = Turn::new(Turn::ASSISTANT, "x");
        assert!(with_reasoning(answer.clone(), &[]).is_empty());
        answer.fields.push(("thinking".to_owned(), "\"hm\"".to_owned()));
        let messages = with_reasoning(answer.clone(), &[]);
        assert_eq!((messages.len(), &messages[0].more["thinking"]), (1, &json!("hm")));
        assert!(from_answer(answer, &[]).is_empty());
    }
}
