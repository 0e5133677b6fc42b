//! The chat template of a tokenizer: [Jinja](ewe::jinja), rendered as `transformers` does.
//! What an answer ends with is in `conversation_template`.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, anyhow};
use chrono::NaiveDateTime;
use ewe::jinja::{self, ErrorKind, RenderOptions};
use ewe::reasoning;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use ewe::jinja::Rendered;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the message.
    pub content: String,
    /// Other fields that a template may read, such as `name`, `reasoning_content` and, in templates
    /// of rows, `input`.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Rendering {
    /// Returns a rendering that ends with the last message.
    pub fn closed() -> Rendering {
        Rendering {
            ending: Ending::Closed,
            ..Rendering::default()
        }
    }
}

impl ChatMessage {
    /// Makes a message without other fields.
    pub fn new(role: &str, content: &str) -> ChatMessage {
        ChatMessage {
            role: role.to_string(),
            content: content.to_string(),
            more: serde_json::Map::new(),
        }
    }

    /// Returns the messages of a row before its answer: the system message, if there is one, and
    /// the question.
    pub fn of_row(system: &str, instruction: &str, input: &str) -> Vec<ChatMessage> {
        let says = |text: &&str| !text.trim().is_empty();
        let system = Some(system).filter(says);
        let question = ChatMessage::new("user", instruction).about(Some(input).filter(says));
        let system = system.map(|system| ChatMessage::new("system", system));
        system.into_iter().chain([question]).collect()
    }

    /// Sets the input of a user's instruction, which templates of rows keep apart.
    pub fn about(mut self, input: Option<&str>) -> ChatMessage {
        let input = input.map(|input| (INPUT.to_owned(), input.into()));
        self.more.extend(input);
        self
    }

    /// Returns the input of a user's instruction.
    pub fn input(&self) -> Option<&str> {
        self.more.get(INPUT)?.as_str()
    }
}

const INPUT: &str = "input";

/// How a rendered conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// With the generation prompt, which precedes an answer.
    #[default]
    Opening,
    /// With the last message.
    Closed,
    /// Within the last message, which the answer continues.
    Continued,
}

/// How messages are rendered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendering {
    /// How the text ends.
    pub ending: Ending,
    /// Variables for the template, such as `enable_thinking`.
    pub variables: serde_json::Map<String, serde_json::Value>,
}

/// A parsed chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    template: jinja::Template,
    /// Special tokens by names such as `bos_token`.
    special: BTreeMap<String, String>,
    /// Whether it reads contents as lists of parts, as those of models that see do.
    reads_parts: bool,
}

impl ChatTemplate {
    /// Parses `source`; `special` has the texts of special tokens by names such as `bos_token`.
    /// Fails if the template is malformed.
    pub fn new(source: &str, special: &BTreeMap<String, String>) -> Result<ChatTemplate> {
        Ok(ChatTemplate {
            source: source.to_owned(),
            template: jinja::Template::parse(source).map_err(|error| said(&error))?,
            special: special.clone(),
            reads_parts: false,
        })
    }

    /// Has it get each content as a list of one part, a text, from now on if `parts`.
    pub fn give_parts(&mut self, parts: bool) {
        self.reads_parts = parts;
    }

    /// Returns the template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns whether it marks the model's output with `{% generation %}`.
    pub fn is_marked(&self) -> bool {
        self.template.is_marked()
    }

    /// Returns the names of all variables that it reads, including those it is always given and its
    /// own macros.
    pub fn variables(&self) -> HashSet<String> {
        self.template.names().map(str::to_owned).collect()
    }

    /// Renders `messages` at the time `now`, which some templates write into the prompt. Fails if
    /// the template refuses the messages, or the last message cannot be continued.
    pub fn render(
        &self,
        now: NaiveDateTime,
        messages: &[ChatMessage],
        rendering: &Rendering,
    ) -> Result<Rendered> {
        if rendering.ending != Ending::Continued {
            return self.whole(now, messages, rendering);
        }
        // Found as in `transformers`: by a mark behind the last message.
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

    fn whole(&self, now: NaiveDateTime, messages: &[ChatMessage], rendering: &Rendering) -> Result<Rendered> {
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
            messages.iter().map(|message| self.fields(message)).collect(),
        );
        let opens = rendering.ending == Ending::Opening;
        variables.insert("add_generation_prompt".to_owned(), opens.into());
        let options = RenderOptions {
            strict: false,
            now,
            variables: &variables,
        };
        self.template.render(&options).map_err(|error| said(&error))
    }

    /// Returns a message as the template reads it.
    fn fields(&self, message: &ChatMessage) -> Value {
        let mut fields = with_reasoning(message);
        if self.reads_parts {
            let text = fields["content"].take();
            fields["content"] = json!([{ "type": "text", "text": text }]);
        }
        fields
    }
}

/// Returns a message with its reasoning under every name that templates read, as `transformers`
/// passes it.
fn with_reasoning(message: &ChatMessage) -> Value {
    let Value::Object(fields) = json!(message) else {
        unreachable!("a message has fields");
    };
    let found = reasoning::FIELDS
        .iter()
        .find_map(|name| fields.get(*name).filter(|text| !text.is_null()));
    let Some(reasoning) = found.cloned() else {
        return Value::Object(fields);
    };
    // In this order, which a template shows that prints whole messages.
    let mut named = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
    named.extend(fields);
    named.insert("reasoning_content".to_owned(), reasoning);
    Value::Object(named)
}

/// Adds a hint to a template's error.
fn said(error: &jinja::Error) -> anyhow::Error {
    const MEND: &str = "mend the template that is beside the tokenizer";
    let (what, hint) = match error.kind {
        ErrorKind::Syntax => ("is malformed", MEND),
        ErrorKind::Refusal => (
            "refuses the exchange",
            "it takes other roles, or another order of them",
        ),
        ErrorKind::Budget => ("takes too long or too much memory", MEND),
        ErrorKind::Fault | ErrorKind::Unsupported => ("cannot be rendered", MEND),
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
        messages: &[ChatMessage],
        rendering: &Rendering,
    ) -> Result<String> {
        let template = ChatTemplate::new(source, special)?;
        Ok(template.render(now, messages, rendering)?.text)
    }

    #[derive(Deserialize)]
    struct RenderCase {
        template: String,
        messages: Vec<ChatMessage>,
        opening: bool,
        text: Option<String>,
        error: Option<String>,
    }

    /// Templates in the style of Llama 3, Qwen 2.5 and 3, Mistral, Gemma and Zephyr render as in
    /// `transformers` (`scripts/make_goldens.py`).
    #[test]
    fn templates_render_as_in_transformers() {
        let folder = golden("chat");
        let cases = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let cases: Vec<RenderCase> = serde_json::from_str(&cases).unwrap();
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
        let mut message = ChatMessage::new("assistant", "x");
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
            ChatMessage::new("user", "\u{10fffd}<0\u{10fffd}"),
            ChatMessage::new("assistant", "one"),
            ChatMessage::new("user", "q"),
            ChatMessage::new("assistant", "羊"),
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
