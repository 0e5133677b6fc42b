//! The later messages of a conversation: those after the first question and its answer.

/// One message after the first answer of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Turn {
    /// `user`, `assistant`, or the role of a tool's result, such as `tool`.
    pub role: String,
    /// Its text; empty if it only calls tools.
    pub content: String,
    /// Its other fields, such as `tool_calls` and `reasoning_content`, as names and JSON values, in
    /// the order of the file.
    pub fields: Vec<(String, String)>,
}

impl Turn {
    /// The role of the person who asks.
    pub const USER: &'static str = "user";
    /// The role of the model that answers.
    pub const ASSISTANT: &'static str = "assistant";

    /// Makes a message without other fields.
    pub fn new(role: &str, content: impl Into<String>) -> Turn {
        Turn {
            role: role.to_owned(),
            content: content.into(),
            fields: Vec::new(),
        }
    }

    /// Whether the model says it.
    pub fn is_answer(&self) -> bool {
        self.role == Turn::ASSISTANT
    }

    /// Returns the value of another field as JSON text.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(value)
    }

    /// Whether it calls tools.
    pub fn calls_tools(&self) -> bool {
        self.field("tool_calls").is_some_and(|calls| calls != "[]") || self.field("function_call").is_some()
    }

    /// Returns it as a JSON object: role, content, other fields. The content of a message that only
    /// calls tools is null, as in OpenAI's format.
    pub fn to_json(&self) -> String {
        let content = match self.content.is_empty() && self.calls_tools() {
            true => "null".to_owned(),
            false => quoted(&self.content),
        };
        let mut json = format!(r#"{{"role":{},"content":{content}"#, quoted(&self.role));
        for (name, value) in &self.fields {
            json.push(',');
            json.push_str(&quoted(name));
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }

    /// Returns messages as a JSON list for column `turns`; `None` without any.
    pub fn list_to_column(turns: &[Turn]) -> Option<String> {
        let list: Vec<String> = turns.iter().map(Turn::to_json).collect();
        (!list.is_empty()).then(|| format!("[{}]", list.join(",")))
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}
