//! The chat template that comes with a tokenizer: [Jinja](ewe::jinja), as `transformers` reads it.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, anyhow};
use chrono::NaiveDateTime;
use ewe::jinja::{Error, Kind, Options, Template};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use ewe::jinja::Rendered;

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

    /// What a row says before it is answered: its system message, where it has one, and its question.
    pub fn of_row(system: &str, instruction: &str, input: &str) -> Vec<Message> {
        let says = |text: &&str| !text.trim().is_empty();
        let system = Some(system).filter(says);
        let question = Message::new("user", instruction).about(Some(input).filter(says));
        let system = system.map(|system| Message::new("system", system));
        system.into_iter().chain([question]).collect()
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
    template: Template,
    /// Texts by names like `bos_token`.
    special: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Parses `source`; `special` has texts by names like `bos_token`. Fails if it is malformed.
    pub fn new(source: &str, special: &BTreeMap<String, String>) -> Result<ChatTemplate> {
        Ok(ChatTemplate {
            source: source.to_owned(),
            template: Template::parse(source).map_err(|error| said(&error))?,
            special: special.clone(),
        })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it marks what the model says with `{% generation %}`.
    pub fn is_marked(&self) -> bool {
        self.template.is_marked()
    }

    /// The names of what it reads, those that it is always given and its own helpers among them.
    pub fn variables(&self) -> HashSet<String> {
        self.template.names().map(str::to_owned).collect()
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
        let special = self.special.iter();
        let mut variables: Map<String, Value> = special
            .map(|(name, text)| (name.clone(), text.as_str().into()))
            .collect();
        for absent in ["tools", "documents"] {
            variables.insert(absent.to_owned(), Value::Null);
        }
        variables.extend(rendering.variables.clone());
        variables.insert(
            "messages".to_owned(),
            messages.iter().map(with_reasoning).collect(),
        );
        let opens = rendering.ending == Ending::Opening;
        variables.insert("add_generation_prompt".to_owned(), opens.into());
        let options = Options {
            strict: false,
            now,
            variables: &variables,
        };
        self.template.render(&options).map_err(|error| said(&error))
    }
}

/// A message with its reasoning under every name that templates know it by, as `transformers` passes it.
fn with_reasoning(message: &Message) -> Value {
    let mut message = json!(message);
    let names = ["reasoning_content", "thinking", "reasoning"];
    let found = names
        .iter()
        .find_map(|name| message.get(name).filter(|text| !text.is_null()));
    if let (Some(reasoning), Some(fields)) = (found.cloned(), message.as_object_mut()) {
        fields.entry("thinking").or_insert_with(|| reasoning.clone());
        fields.insert("reasoning_content".to_owned(), reasoning);
    }
    message
}

/// An error of a template, with what to do.
fn said(error: &Error) -> anyhow::Error {
    const MEND: &str = "mend the template that is beside the tokenizer";
    let (what, hint) = match error.kind {
        Kind::Syntax => ("is malformed", MEND),
        Kind::Refusal => (
            "refuses the exchange",
            "it takes other roles, or another order of them",
        ),
        Kind::Budget => ("takes too long or too much memory", MEND),
        Kind::Fault | Kind::Unsupported => ("cannot be rendered", MEND),
    };
    anyhow!("{error}\nhint: {hint}").context(format!("the chat template {what}"))
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
    fn reasoning_has_all_its_names() {
        let source =
            "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}{{ bos_token is defined }}";
        let mut message = Message::new("assistant", "x");
        message.more.insert("reasoning".to_owned(), json!("why"));
        let (now, special) = (NaiveDateTime::default(), BTreeMap::new());
        let text = render_at(now, source, &special, &[message], &Rendering::default()).unwrap();
        assert_eq!(text, "whywhyFalse");
    }

    #[test]
    fn what_a_template_does_wrong_is_said_with_a_way_out() {
        let fails = |source: &str, words: &[&str]| {
            let (now, special) = (NaiveDateTime::default(), BTreeMap::new());
            let error = render_at(now, source, &special, &[], &Rendering::default()).unwrap_err();
            let message = format!("{error:#}");
            for word in words.iter().chain(&["the chat template", "hint:"]) {
                assert!(message.contains(word), "{message:?} does not say {word:?}");
            }
        };
        fails("a\n{% if %}", &["is malformed", "line 2"]);
        fails(
            "{{ raise_exception('roles must alternate') }}",
            &["refuses the exchange: roles must alternate"],
        );
        fails("{{ nobody + 1 }}", &["cannot be rendered", "is undefined"]);
        let loops = "{% for a in range(9999) %}".repeat(3) + &"{% endfor %}".repeat(3);
        fails(&loops, &["takes too long"]);
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
