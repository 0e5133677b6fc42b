//! The chat template that comes with a tokenizer: Jinja, as `transformers` reads it.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::ops::Range;

use anyhow::{Context, Result};
use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDateTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, context};
use regex::Regex;
use serde::{Deserialize, Serialize};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Other fields that a template may read, such as `name`, `reasoning_content` and, in templates of rows, `input`.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Rendering {
    /// Ends with the last message.
    pub fn closed() -> Rendering {
        Rendering {
            ending: Ending::Closed,
            ..Rendering::default()
        }
    }
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

    /// The same, with what a user's instruction is about, where that is kept apart.
    pub fn about(mut self, input: Option<&str>) -> Message {
        let input = input.map(|input| (INPUT.to_owned(), input.into()));
        self.more.extend(input);
        self
    }

    /// What a user's instruction is about.
    pub fn input(&self) -> Option<&str> {
        self.more.get(INPUT)?.as_str()
    }
}

const INPUT: &str = "input";

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

/// A chat template that was parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    /// Texts by names like `bos_token`.
    special: BTreeMap<String, String>,
    marked: bool,
}

/// What a template makes of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// It has its special tokens written out, so it is encoded without adding more.
    pub text: String,
    /// What `{% generation %}` marks, in bytes, in order.
    pub generated: Vec<Range<usize>>,
}

const NAME: &str = "chat template";
/// Variables that a template has beside its own: what is written where a mark begins and ends, and the time.
const MARK: &str = "ewe_generation";
const END_MARK: &str = "ewe_endgeneration";
const NOW: &str = "ewe_now";

impl ChatTemplate {
    /// Parses `source`; `special` has texts by names like `bos_token`. Fails if it is malformed.
    pub fn new(source: &str, special: &BTreeMap<String, String>) -> Result<ChatTemplate> {
        let marks = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a fixed pattern");
        let mut environment = environment()?;
        environment
            .add_template_owned(NAME, marks.replace_all(source, written_out).into_owned())
            .context("the chat template is malformed")?;
        Ok(ChatTemplate {
            source: source.to_owned(),
            environment,
            special: special.clone(),
            marked: marks.is_match(source),
        })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it marks what the model says with `{% generation %}`.
    pub fn is_marked(&self) -> bool {
        self.marked
    }

    /// The names of what it reads, those that it is always given and its own helpers among them.
    pub fn variables(&self) -> HashSet<String> {
        let Ok(template) = self.environment.get_template(NAME) else {
            return HashSet::new();
        };
        let mut names = template.undeclared_variables(false);
        names.retain(|name| ![MARK, END_MARK].contains(&name.as_str()));
        names
    }

    /// Renders `messages` at the time `now`, which some templates write into the prompt. Fails if it refuses the messages, and where
    /// the last of them cannot be gone on with.
    pub fn render(
        &self,
        now: NaiveDateTime,
        messages: &[Message],
        rendering: &Rendering,
    ) -> Result<Rendered> {
        if rendering.ending != Ending::Continued {
            return self.whole(now, messages, rendering);
        }
        // As `transformers` finds the place: by a mark behind the last message.
        const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
        let mut messages = messages.to_vec();
        let last = messages.last_mut().context("there is no message to go on with")?;
        last.content.push_str(MARK);
        let mut rendered = self.whole(now, &messages, rendering)?;
        let text = &mut rendered.text;
        let at = text.rfind(MARK.trim_end()).context(
            "the model's chat template leaves the last message away, so it cannot be gone on with",
        )?;
        let keeps_spaces = text[at..].starts_with(MARK);
        text.truncate(at);
        if !keeps_spaces {
            text.truncate(text.trim_end().len());
        }
        rendered.generated.clear();
        Ok(rendered)
    }

    fn whole(&self, now: NaiveDateTime, messages: &[Message], rendering: &Rendering) -> Result<Rendered> {
        let (begin, end) = marks_beside(messages);
        let turn = |m: &Message| {
            context! { role => m.role.as_str(), content => m.content.as_str(), ..Value::from(Serde(&m.more)) }
        };
        let turns: Vec<Value> = messages.iter().map(turn).collect();
        let mut texts = self.special.clone();
        for name in ["bos_token", "eos_token"] {
            texts.entry(name.to_owned()).or_default();
        }
        texts.insert(MARK.to_owned(), begin.clone());
        texts.insert(END_MARK.to_owned(), end.clone());
        let variables = context! {
            ..context! {
                messages => turns, add_generation_prompt => rendering.ending == Ending::Opening,
                ewe_now => now.and_utc().timestamp()
            },
            ..Value::from(Serde(&rendering.variables)),
            ..context! { tools => Value::from(()), documents => Value::from(()) },
            ..Value::from(texts)
        };
        let template = self.environment.get_template(NAME)?;
        let text = template
            .render(variables)
            .context("the chat template refuses the exchange")?;
        Ok(take_marks(&text, &begin, &end))
    }
}

/// A mark of what the model says adds nothing to the text but a place. An `if` that holds keeps the rules of white space around the
/// tag, which has to be the first and the last of what stands for it.
fn written_out(tag: &regex::Captures) -> String {
    let (before, after) = (&tag[1], &tag[3]);
    match tag.get(2) {
        None => format!("{{%{before} if true %}}{{{{ {MARK} }}}}{{% if true {after}%}}"),
        Some(_) => format!("{{%{before} endif %}}{{{{ {END_MARK} }}}}{{% endif {after}%}}"),
    }
}

/// Two texts that no message has.
fn marks_beside(messages: &[Message]) -> (String, String) {
    let taken = |mark: &str| {
        let has =
            |m: &Message| m.content.contains(mark) || m.more.values().any(|v| v.to_string().contains(mark));
        messages.iter().any(has)
    };
    let free = |sign: char| {
        let mark = |number: usize| format!("\u{10fffd}{sign}{number}\u{10fffd}");
        (0..).map(mark).find(|mark| !taken(mark)).expect("messages end")
    };
    (free('<'), free('>'))
}

/// Takes the marks out of `text`. One within another says nothing new.
fn take_marks(text: &str, begin: &str, end: &str) -> Rendered {
    let mut rendered = Rendered {
        text: String::with_capacity(text.len()),
        generated: Vec::new(),
    };
    let (mut rest, mut depth, mut from) = (text, 0_usize, 0);
    loop {
        let next = [(rest.find(begin), true), (rest.find(end), false)];
        let next = next.into_iter().filter_map(|(at, begins)| Some((at?, begins)));
        let Some((at, begins)) = next.min() else {
            rendered.text.push_str(rest);
            return rendered;
        };
        rendered.text.push_str(&rest[..at]);
        rest = &rest[at + if begins { begin.len() } else { end.len() }..];
        let here = rendered.text.len();
        if begins {
            if depth == 0 {
                from = here;
            }
            depth += 1;
        } else {
            depth = depth.saturating_sub(1);
            if depth == 0 && here > from {
                rendered.generated.push(from..here);
            }
        }
    }
}

/// What templates find, as `transformers` has it.
fn environment() -> Result<Environment<'static>> {
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
    environment.add_function("strftime_now", |state: &State, format: &str| {
        let now = state.lookup(NOW).and_then(|now| i64::try_from(now).ok());
        let now = now.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        strftime(now.unwrap_or_default().naive_utc(), format)
    });
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

    fn render_at(
        now: NaiveDateTime,
        source: &str,
        special: &BTreeMap<String, String>,
        messages: &[Message],
        rendering: &Rendering,
    ) -> Result<String> {
        let template = ChatTemplate::new(source, special)?;
        Ok(template.render(now, messages, rendering)?.text)
    }

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

    #[test]
    fn marks_are_places_in_the_text_and_keep_its_white_space() {
        let source = "{% for m in messages %}\n  {%- if m.role == 'assistant' %}\n\
            <a>{% generation %}\n{{ m.content }}!{%- endgeneration +%}\n  {%- else %}\n{{ m.content }}\n  {%- endif %}\n{% endfor %}";
        let plain = source
            .replace("{% generation %}", "{% if true %}")
            .replace("{%- endgeneration +%}", "{%- endif +%}");
        let said = [
            Message::new("user", "\u{10fffd}<0\u{10fffd}"),
            Message::new("assistant", "one"),
            Message::new("user", "q"),
            Message::new("assistant", "羊"),
        ];
        let now = NaiveDateTime::default();
        let of = |source: &str| {
            let template = ChatTemplate::new(source, &BTreeMap::new()).unwrap();
            template.render(now, &said, &Rendering::closed()).unwrap()
        };
        let (marked, plain) = (of(source), of(&plain));
        assert_eq!(marked.text, plain.text);
        let parts: Vec<&str> = marked
            .generated
            .iter()
            .map(|range| &marked.text[range.clone()])
            .collect();
        assert_eq!(parts, ["one!", "羊!"]);
        assert!(plain.generated.is_empty());
    }
}
