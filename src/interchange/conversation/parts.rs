//! The content of a message: a string, or a list of content parts, some of which may be reasoning.

use crate::interchange::{
    extra::Extra,
    json::{Fields, Json},
};

/// The content of a message.
#[derive(Debug, Default)]
pub(super) struct MessageContent {
    pub(super) text: String,
    /// The reasoning parts.
    pub(super) reasoning: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    Text,
    Reasoning,
}

/// One element of a list of content parts.
struct ContentPart {
    kind: PartKind,
    text: String,
    /// Whether it has other fields.
    says_more: bool,
}

/// Removes the content of a message: a string, null, or a list of parts, which are joined as chat
/// templates join them. A list whose parts have other fields is kept with the other fields of the
/// row.
pub(super) fn content(fields: &mut Fields<'_>, name: &str) -> Result<MessageContent, String> {
    joined(fields, name, "")
}

/// Removes a system message that is a column of its own, if the column is a string or a list of
/// parts. Each part becomes a paragraph.
pub(in crate::interchange) fn system(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name).map(Json::kind) {
        Some("a string" | "an array") => Ok(Some(joined(fields, name, "\n")?.text)),
        _ => Ok(None),
    }
}

/// Removes a content and joins its text parts with `between`.
fn joined(fields: &mut Fields<'_>, name: &str, between: &str) -> Result<MessageContent, String> {
    let Some(value) = fields.get(name) else {
        return Ok(MessageContent::default());
    };
    let parts = match value.kind() {
        "null" => Vec::new(),
        "an array" => {
            let parts = value
                .elements()
                .ok_or_else(|| format!("`{name}` cannot be read"))?;
            let parts: Result<Vec<ContentPart>, String> = parts.into_iter().map(part).collect();
            parts.map_err(|what| format!("`{name}` {what}"))?
        }
        _ => {
            return fields.text(name).map(|text| MessageContent {
                text,
                reasoning: None,
            });
        }
    };
    if !parts.iter().any(|part| part.says_more) {
        fields.take(name);
    }
    let of = |kind: PartKind| {
        let texts = parts.iter().filter(|part| part.kind == kind);
        texts.map(|part| part.text.as_str()).collect::<Vec<_>>()
    };
    Ok(MessageContent {
        text: of(PartKind::Text).join(between),
        reasoning: Some(of(PartKind::Reasoning).join("\n")).filter(|text| !text.is_empty()),
    })
}

/// Reads one element of a list of content parts.
fn part(value: Json<'_>) -> Result<ContentPart, String> {
    if value.kind() == "a string" {
        return Ok(ContentPart {
            kind: PartKind::Text,
            text: value.text()?,
            says_more: false,
        });
    }
    let mut fields = Fields::of(value.get())
        .ok_or_else(|| format!("has a part that is {}, not an object", value.kind()))?;
    let kind = match fields.text_or_null("type")? {
        Some(kind) => kind,
        None if fields.has("reasoningContent") => "reasoning".into(),
        None => "text".into(),
    };
    match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            let text = fields
                .text("text")
                .map_err(|what| format!("has a part in which {what}"))?;
            Ok(ContentPart {
                kind: PartKind::Text,
                text,
                says_more: !Extra::rest_of(fields).is_empty(),
            })
        }
        "thinking" | "reasoning" | "reasoning_text" | "redacted_thinking" => reasoning(fields),
        _ => Err(format!(
            "has a part of type `{kind}`, and ewe works with text only"
        )),
    }
}

/// Reads a reasoning part in the form of Anthropic, OpenAI or Bedrock. Bedrock nests the text in
/// two objects.
fn reasoning(fields: Fields<'_>) -> Result<ContentPart, String> {
    fn within<'a>(fields: &Fields<'a>) -> Option<Fields<'a>> {
        let outer = fields.get("reasoningContent")?;
        Fields::of(Fields::of(outer.get())?.get("reasoningText")?.get())
    }
    let mut fields = within(&fields).unwrap_or(fields);
    let name = ["thinking", "reasoning", "text"]
        .into_iter()
        .find(|name| fields.get(name).is_some_and(|value| value.kind() == "a string"));
    let text = match name {
        Some(name) => fields.text(name)?,
        None => String::new(),
    };
    Ok(ContentPart {
        kind: PartKind::Reasoning,
        text,
        says_more: name.is_none() || !Extra::rest_of(fields).is_empty(),
    })
}
