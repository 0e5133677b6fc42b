//! The chat template that comes with a tokenizer: Jinja, as `transformers` reads it.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use chrono::NaiveDateTime;
use chrono::format::{Item, StrftimeItems};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, context};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::tokenizer::Tokenizer;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Other fields that a template may read, such as `name` and `reasoning_content`.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A turn.
    pub fn new(role: &str, content: &str) -> Message {
        Message {
            role: role.to_string(),
            content: content.to_string(),
            more: serde_json::Map::new(),
        }
    }
}

/// How a rendered conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// With what precedes an answer.
    #[default]
    Opening,
    /// With its last message.
    Closed,
    /// Within its last message, which the answer goes on with.
    Continued,
}

/// What is rendered besides messages.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendering {
    /// How it ends.
    pub ending: Ending,
    /// Variables for the template, such as `enable_thinking`.
    pub variables: serde_json::Map<String, serde_json::Value>,
}

/// Renders `messages`; `opening` adds what precedes an answer. The text has its special tokens written out, so it is
/// encoded without adding more. None if the model has no template; fails if it is malformed or refuses the messages.
pub fn render(tokenizer: &Tokenizer, messages: &[Message], opening: bool) -> Result<Option<String>> {
    let ending = if opening { Ending::Opening } else { Ending::Closed };
    render_as(
        tokenizer,
        messages,
        &Rendering {
            ending,
            ..Rendering::default()
        },
    )
}

/// The same with all that can be asked for. Fails as well where the last message cannot be gone on with.
pub fn render_as(
    tokenizer: &Tokenizer,
    messages: &[Message],
    rendering: &Rendering,
) -> Result<Option<String>> {
    let Some(source) = tokenizer.chat_template() else {
        return Ok(None);
    };
    let now = chrono::Local::now().naive_local();
    let special = tokenizer.special_texts();
    if rendering.ending != Ending::Continued {
        return render_at(now, source, special, messages, rendering).map(Some);
    }
    // As `transformers` finds the place: by a mark behind the last message.
    const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
    let mut messages = messages.to_vec();
    let last = messages.last_mut().context("there is no message to go on with")?;
    last.content.push_str(MARK);
    let mut text = render_at(now, source, special, &messages, rendering)?;
    let at = text
        .rfind(MARK.trim_end())
        .context("the model's chat template leaves the last message away, so it cannot be gone on with")?;
    let keeps_spaces = text[at..].starts_with(MARK);
    text.truncate(at);
    if !keeps_spaces {
        text.truncate(text.trim_end().len());
    }
    Ok(Some(text))
}

/// The names of what the model's template reads, those that it is always given and its own helpers among them. None if the model has
/// no template, or a malformed one.
pub fn variables(tokenizer: &Tokenizer) -> Option<std::collections::HashSet<String>> {
    let source = without_marks(tokenizer.chat_template()?);
    let environment = environment(NaiveDateTime::default()).ok()?;
    let template = environment.template_from_str(&source).ok()?;
    Some(template.undeclared_variables(false))
}

/// The same at a given time, which some templates write into the prompt. `special` has texts by names like `bos_token`.
fn render_at(
    now: NaiveDateTime,
    source: &str,
    special: &BTreeMap<String, String>,
    messages: &[Message],
    rendering: &Rendering,
) -> Result<String> {
    let source = without_marks(source);
    let environment = environment(now)?;
    let template = environment
        .template_from_str(&source)
        .context("the model's chat template is malformed")?;
    let turn = |m: &Message| {
        context! { role => m.role.as_str(), content => m.content.as_str(), ..Value::from(Serde(&m.more)) }
    };
    let messages: Vec<Value> = messages.iter().map(turn).collect();
    let mut texts = special.clone();
    for name in ["bos_token", "eos_token"] {
        texts.entry(name.to_owned()).or_default();
    }
    let variables = context! {
        ..context! { messages => messages, add_generation_prompt => rendering.ending == Ending::Opening },
        ..Value::from(Serde(&rendering.variables)),
        ..context! { tools => Value::from(()), documents => Value::from(()) },
        ..Value::from(texts)
    };
    template
        .render(variables)
        .context("the model's chat template refuses the exchange")
}

/// A template without the marks around what the model says, which are there for masks: to the text they add nothing.
fn without_marks(source: &str) -> std::borrow::Cow<'_, str> {
    let marks = Regex::new(r"\{%-?\s*(end)?generation\s*-?%\}").expect("a fixed pattern");
    marks.replace_all(source, |found: &regex::Captures| {
        let tag = &found[0];
        let edge = |dash: bool| if dash { "-" } else { "" };
        // An `if` that holds keeps the rules of white space around it.
        format!(
            "{{%{} {} {}%}}",
            edge(tag.starts_with("{%-")),
            if found.get(1).is_some() {
                "endif"
            } else {
                "if true"
            },
            edge(tag.ends_with("-%}"))
        )
    })
}

/// What `transformers` has templates rendered by.
fn environment(now: NaiveDateTime) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.context("cannot set up the template language")?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(as_python_prints);
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    // A template comes from a stranger. What renders a long conversation takes a hundredth of this.
    environment.set_fuel(Some(20_000_000));
    Ok(environment)
}

/// Truth and nothingness have capital letters in Python.
fn as_python_prints(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        ValueKind::None => "None",
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(text).map_err(Error::from)
}

fn strftime(now: NaiveDateTime, format: &str) -> Result<String, Error> {
    let unusable = || {
        let text = format!("strftime_now cannot write {format:?}");
        Error::new(ErrorKind::InvalidOperation, text)
    };
    let mut text = String::new();
    let items: Vec<Item> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        return Err(unusable());
    }
    write!(text, "{}", now.format_with_items(items.iter())).map_err(|_| unusable())?;
    Ok(text)
}

/// As `json.dumps` writes: a space behind commas and colons, no escapes for HTML.
fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Other letters than ASCII stay themselves in either case; `transformers` does so, too, unless asked.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut text = String::new();
    write_json(&mut text, &value, indent, 0)?;
    Ok(Value::from_safe_string(text))
}

fn write_json(text: &mut String, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), Error> {
    if depth > 100 {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "tojson of something too deep",
        ));
    }
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        let json = serde_json::to_string(value)
            .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
        text.push_str(&json);
        return Ok(());
    }
    let break_line = |text: &mut String, depth: usize| {
        if let Some(indent) = indent {
            text.push('\n');
            text.push_str(&" ".repeat(indent * depth));
        }
    };
    let (open, close) = if is_map { ('{', '}') } else { ('[', ']') };
    text.push(open);
    let mut empty = true;
    for item in value.try_iter()? {
        if !empty {
            text.push_str(if indent.is_some() { "," } else { ", " });
        }
        empty = false;
        break_line(text, depth + 1);
        if is_map {
            // A key is a string in JSON, whatever it was.
            let key = item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            text.push_str(&serde_json::Value::from(key).to_string());
            text.push_str(": ");
            write_json(text, &value.get_item(&item)?, indent, depth + 1)?;
        } else {
            write_json(text, &item, indent, depth + 1)?;
        }
    }
    if !empty {
        break_line(text, depth);
    }
    text.push(close);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::golden;

    #[derive(Deserialize)]
    struct Case {
        template: String,
        messages: Vec<Message>,
        opening: bool,
        text: Option<String>,
        error: Option<String>,
    }

    /// Templates in the manner of Llama 3, Qwen 2.5 and 3, Mistral, Gemma and Zephyr, and what `transformers` makes of
    /// them (`scripts/make_goldens.py`).
    #[test]
    fn templates_render_as_in_transformers() {
        let folder = golden("chat");
        let cases = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
        let now = NaiveDateTime::parse_from_str("2026-03-07 09:05:00", "%Y-%m-%d %H:%M:%S").unwrap();
        let special = [
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
        ];
        let special = special
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
        for case in &cases {
            let source = std::fs::read_to_string(folder.join(&case.template)).unwrap();
            let rendering = Rendering {
                ending: if case.opening {
                    Ending::Opening
                } else {
                    Ending::Closed
                },
                ..Rendering::default()
            };
            let got = render_at(now, &source, &special, &case.messages, &rendering);
            match (got, &case.text, &case.error) {
                (Ok(got), Some(want), None) => assert_eq!(&got, want, "{}", case.template),
                (Err(got), None, Some(want)) => {
                    let got = format!("{got:#}");
                    assert!(got.contains(want), "{}: {got}, want {want}", case.template);
                }
                (got, ..) => panic!(
                    "{}: {got:?}, want {:?} {:?}",
                    case.template, case.text, case.error
                ),
            }
        }
        assert!(cases.len() > 40);
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let forever = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
        let now = NaiveDateTime::default();
        let error = render_at(now, forever, &BTreeMap::new(), &[], &Rendering::default()).unwrap_err();
        assert!(format!("{error:#}").contains("refuses the exchange"), "{error:#}");
        let unknown = "{{ strftime_now('%Q') }}";
        let error = render_at(now, unknown, &BTreeMap::new(), &[], &Rendering::default()).unwrap_err();
        assert!(format!("{error:#}").contains("%Q"), "{error:#}");
    }
}
