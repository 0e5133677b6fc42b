//! What a message says: a text, or a list of parts, some of which may be what a model thought before it answered.

use super::fields::{Fields, Json};

/// What a message says.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) text: String,
    /// What was thought before it.
    pub(super) reasoning: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
}

struct Part {
    kind: Kind,
    text: String,
    /// Whether it says anything else.
    says_more: bool,
}

/// Takes what a message says: a string, null, or a list of parts, which are put together as chat templates do. A list whose parts
/// say more stays with what else the row says.
pub(super) fn content(fields: &mut Fields<'_>, name: &str) -> Result<Content, String> {
    joined(fields, name, "")
}

/// Takes a system message, which is a column of its own; none where the column is something else. Parts of a list are paragraphs.
pub(super) fn system(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name).map(Json::kind) {
        Some("a string" | "an array") => Ok(Some(joined(fields, name, "\n")?.text)),
        _ => Ok(None),
    }
}

fn joined(fields: &mut Fields<'_>, name: &str, between: &str) -> Result<Content, String> {
    let Some(value) = fields.get(name) else {
        return Ok(Content::default());
    };
    let parts = match value.kind() {
        "null" => Vec::new(),
        "an array" => {
            let parts = value
                .elements()
                .ok_or_else(|| format!("`{name}` cannot be read"))?;
            let parts: Result<Vec<Part>, String> = parts.into_iter().map(part).collect();
            parts.map_err(|what| format!("`{name}` {what}"))?
        }
        _ => {
            return fields.text(name).map(|text| Content {
                text,
                reasoning: None,
            });
        }
    };
    if !parts.iter().any(|part| part.says_more) {
        fields.take(name);
    }
    let of = |kind: Kind| {
        let texts = parts.iter().filter(|part| part.kind == kind);
        texts.map(|part| part.text.as_str()).collect::<Vec<_>>()
    };
    Ok(Content {
        text: of(Kind::Text).join(between),
        reasoning: Some(of(Kind::Reasoning).join("\n")).filter(|text| !text.is_empty()),
    })
}

fn part(value: Json<'_>) -> Result<Part, String> {
    if value.kind() == "a string" {
        return Ok(Part {
            kind: Kind::Text,
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
            Ok(Part {
                kind: Kind::Text,
                text,
                says_more: !fields.rest().is_empty(),
            })
        }
        "thinking" | "reasoning" | "reasoning_text" | "redacted_thinking" => reasoning(fields),
        _ => Err(format!(
            "has a part of type `{kind}`, and ewe works with text only"
        )),
    }
}

/// What a model thought, in the form of Anthropic, of OpenAI, or of Bedrock, which has it within two objects.
fn reasoning(fields: Fields<'_>) -> Result<Part, String> {
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
    Ok(Part {
        kind: Kind::Reasoning,
        text,
        says_more: name.is_none() || !fields.rest().is_empty(),
    })
}
