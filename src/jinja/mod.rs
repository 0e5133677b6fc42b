//! Chat templates: Jinja as `transformers` configures it.
//!
//! This is Jinja2's sandbox with `trim_blocks`, `lstrip_blocks`, loop controls and the additions of
//! chat templates, over Python's values: values are printed, compared, sliced and sorted as in
//! Python. Templates are untrusted, so steps, output and nesting depth are bounded.
//! `tests/golden/jinja/table.json` has what `transformers` renders for everything offered here.
//!
//! - [`lexer`], [`parser`], [`ast`]: from text to syntax tree.
//! - [`interpreter`], [`runtime`], [`ops`], [`call`]: running it.
//! - [`value`], [`attributes`], [`filters`], [`is_tests`], [`functions`]: values and what can be
//!   done with them.
//! - [`text`], [`format`](mod@format), [`html`], [`json`], [`wrap`], [`time`]: text, as Python
//!   writes it.

mod ast;
mod attributes;
mod call;
mod error;
mod filters;
mod format;
mod functions;
mod html;
mod interpreter;
mod is_tests;
mod json;
mod lexer;
mod ops;
mod parser;
mod runtime;
mod text;
mod time;
mod value;
mod wrap;

use std::ops::Range;

use chrono::NaiveDateTime;
use serde_json::Map;

pub use error::{Error, ErrorKind};
use interpreter::Interpreter;
use parser::ParsedTemplate;
use value::Value;

/// Bytes of stack for a template. Nested statements, expressions and values recurse.
const STACK: usize = 64 << 20;

/// White space around tags without `-` or `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whitespace {
    /// Remove white space before a tag that begins a line, and the newline after a tag:
    /// `lstrip_blocks` and `trim_blocks`.
    Trimmed,
    /// Keep everything.
    Kept,
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    parsed: ParsedTemplate,
}

/// How a template is rendered.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions<'a> {
    /// Whether it is an error to print, compare or test an undefined value.
    pub strict: bool,
    /// The time that `strftime_now` writes.
    pub now: NaiveDateTime,
    /// The variables.
    pub variables: &'a Map<String, serde_json::Value>,
}

/// A rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Parts of the text within `{% generation %}`, in bytes.
    pub generated: Vec<Range<usize>>,
}

impl Template {
    /// Parses a chat template with [`Whitespace::Trimmed`]. Fails if it is malformed, with the
    /// line.
    pub fn parse(source: &str) -> Result<Template, Error> {
        Template::parse_with(source, Whitespace::Trimmed)
    }

    /// [`Template::parse`] with another rule for white space.
    pub fn parse_with(source: &str, whitespace: Whitespace) -> Result<Template, Error> {
        on_own_stack(|| {
            let parsed = parser::parse(source, whitespace)?;
            Ok(Template { parsed })
        })
    }

    /// Renders the template. Fails with the message of `raise_exception`, on errors that Python
    /// raises too, and beyond the limits of time and memory.
    pub fn render(&self, options: &RenderOptions) -> Result<Rendered, Error> {
        on_own_stack(|| {
            let (text, generated) = self.interpreter(options)?.render()?;
            Ok(Rendered { text, generated })
        })
    }

    /// Renders the template, and then one of its blocks, whose text is returned. None if there is
    /// no such block.
    pub fn render_block(&self, name: &str, options: &RenderOptions) -> Result<Option<String>, Error> {
        on_own_stack(|| self.interpreter(options)?.render_block(name))
    }

    /// Returns whether the template marks the assistant's text with `{% generation %}`.
    pub fn is_marked(&self) -> bool {
        self.parsed.marked
    }

    /// Returns the names that the template reads and has not set before, including functions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parsed.names.iter().map(|name| &**name)
    }

    fn interpreter<'a>(&'a self, options: &'a RenderOptions<'a>) -> Result<Interpreter<'a>, Error> {
        let bytes = options.variables.values().map(size).sum();
        let mut interpreter = Interpreter::new(&self.parsed, options, bytes);
        for (name, value) in options.variables {
            interpreter.set(name, Value::from_json(value)?);
        }
        Ok(interpreter)
    }
}

/// Returns the approximate bytes of the strings in a value.
fn size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(size).sum(),
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + size(value)).sum()
        }
        _ => 8,
    }
}

/// Does `work` on a thread with a stack of [`STACK`] bytes.
fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Error::fault("the template broke down"))),
            Err(_) => Err(Error::budget("the template could not be run")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> NaiveDateTime {
        NaiveDateTime::parse_from_str("2026-03-07 09:05:00", "%Y-%m-%d %H:%M:%S").unwrap()
    }

    fn render(source: &str, variables: &Map<String, Value>) -> Result<Rendered, Error> {
        let options = RenderOptions {
            strict: false,
            now: now(),
            variables,
        };
        Template::parse(source)?.render(&options)
    }

    /// Compares every entry of `scripts/make_jinja_goldens.py` with the output of `transformers`.
    #[test]
    fn the_whole_table_is_the_references() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/jinja/table.json");
        let table: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let variables = table["variables"].as_object().unwrap();
        let entries = table["entries"].as_array().unwrap();
        let mut wrong = Vec::new();
        for entry in entries {
            let source = entry["template"].as_str().unwrap();
            let got = render(source, variables);
            let same = match (&got, entry["text"].as_str()) {
                (Ok(got), Some(want)) => got.text == want,
                (Err(got), None) => {
                    got.kind != ErrorKind::Budget
                        && entry["refusal"]
                            .as_str()
                            .is_none_or(|refusal| refusal == got.message)
                }
                _ => false,
            };
            if !same {
                wrong.push(format!("{source}\n  got  {got:?}\n  want {entry}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(entries.len() > 450);
    }

    /// Checks a message of Python. The table compares only those of `raise_exception`.
    #[test]
    fn a_text_without_the_values_that_its_format_wants_is_an_error_of_pythons() {
        let error = render("{{ '{0} {1}'.format('a') }}", &Map::new()).unwrap_err();
        let words = "Replacement index 1 out of range for positional args tuple";
        assert!(error.message.contains(words), "{}", error.message);
    }

    #[test]
    fn what_the_model_says_is_marked() {
        let source = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>\
                      {% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
        let messages = json!([{"role": "user", "content": "ä"}, {"role": "assistant", "content": "羊"}]);
        let variables = Map::from_iter([("messages".to_owned(), messages)]);
        let rendered = render(source, &variables).unwrap();
        assert_eq!(rendered.text, "<user>ä<assistant>羊</s>");
        let said: Vec<&str> = rendered
            .generated
            .iter()
            .map(|range| &rendered.text[range.clone()])
            .collect();
        assert_eq!(said, ["羊</s>"]);
    }

    /// Checks that hostile templates fail soon and within bounded memory.
    #[test]
    fn no_template_takes_what_is_not_its_own() {
        let nested = |open: &str, inner: &str, close: &str, times: usize| {
            open.repeat(times) + inner + &close.repeat(times)
        };
        let loops =
            |inner: &str, times: usize| nested("{% for i in range(99999) %}", inner, "{% endfor %}", times);
        let hostile = [
            loops("", 3),
            loops("x", 2),
            format!(
                "{{% set ns = namespace(x='ab') %}}{}",
                loops("{% set ns.x = ns.x ~ ns.x %}", 1)
            ),
            format!(
                "{{% set ns = namespace(x=[1]) %}}{}",
                loops("{% set ns.x = ns.x + ns.x %}", 1)
            ),
            format!(
                "{{% set ns = namespace(x=[]) %}}{}{{{{ ns.x }}}}",
                loops("{% set ns.x = [ns.x] %}", 1)
            ),
            format!(
                "{{% set ns = namespace(x={{}}) %}}{}{{{{ ns.x }}}}",
                loops("{% set ns.x = {'a': ns.x} %}", 1)
            ),
            format!(
                "{{% set ns = namespace(x='a') %}}{}",
                loops("{% set ns.x = ns.x.replace('a', 'aaaaaaaa') %}", 1)
            ),
            "{{ 'a' * 99999999999 }}".to_owned(),
            "{{ [0] * 99999999999 }}".to_owned(),
            "{{ 'a'.ljust(99999999999) }}{{ '1'.zfill(99999999999) }}".to_owned(),
            "{{ '%999999999d' % 1 }}".to_owned(),
            "{{ '{:>999999999}'.format(1) }}".to_owned(),
            "{{ '%.999999999f' % 1 }}".to_owned(),
            "{{ 2 ** 999999999 }}".to_owned(),
            "{{ 9 ** 9 ** 9 ** 9 }}".to_owned(),
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
            "{% macro m(x) %}{% call m(x) %}{{ x }}{% endcall %}{% endmacro %}{{ m(1) }}".to_owned(),
            "{% for x in t recursive %}{{ loop(t) }}{% endfor %}".replace('t', "[1]"),
            format!("{{{{ {} }}}}", nested("(", "1", ")", 20_000)),
            format!("{{{{ {} }}}}", nested("[", "", "]", 20_000)),
            format!("{{{{ {} }}}}", nested("{1:", "1", "}", 20_000)),
            format!("{{{{ {}1 }}}}", "-".repeat(20_000)),
            format!("{{{{ {}1 }}}}", "not ".repeat(20_000)),
            format!("{{{{ {} }}}}", nested("1 if ", "1", " else 2", 20_000)),
            nested("{% if 1 %}", "", "{% endif %}", 20_000),
            format!("{{{{ {}x{} }}}}", "a[".repeat(20_000), "]".repeat(20_000)),
            "{{ ('a' * 9999)|indent(99999999) }}{{ ('a\n' * 99999)|indent(99999) }}".to_owned(),
            "{{ 'abc'|center(99999999999) }}".to_owned(),
            "{{ range(99999)|batch(1, 2)|map('list')|map('tojson')|join|list|tojson * 9999 }}".to_owned(),
            "{{ [1]|slice(99999999)|list }}".to_owned(),
            "{{ ['a' * 99999] * 9999 |join }}{{ ('x' * 99999).split('x')|join('y' * 99999) }}".to_owned(),
        ];
        for source in &hostile {
            let started = std::time::Instant::now();
            let got = render(source, &Map::new());
            assert!(got.is_err(), "{}", &source[..source.len().min(90)]);
            let took = started.elapsed();
            assert!(
                took.as_secs() < 60,
                "{took:?}: {}",
                &source[..source.len().min(90)]
            );
        }
        // Templates that only look hostile are rendered.
        for source in [
            format!("{{{{ {}1 }}}}", "1 + ".repeat(5_000)),
            format!("{{{{ x{} }}}}", "|default('')".repeat(5_000)),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5_000)),
            "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns.me.me.me is defined }}".to_owned(),
            "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}".to_owned(),
        ] {
            let got = render(&source, &Map::new());
            assert!(got.is_ok(), "{got:?}: {}", &source[..source.len().min(90)]);
        }
    }

    #[test]
    fn white_space_stays_where_it_is_to() {
        let source = "a\n  {% if true %}\nb\n  {% endif %}\nc";
        let render = |whitespace| {
            let options = RenderOptions {
                strict: false,
                now: now(),
                variables: &Map::new(),
            };
            Template::parse_with(source, whitespace)
                .unwrap()
                .render(&options)
                .unwrap()
                .text
        };
        assert_eq!(render(Whitespace::Trimmed), "a\nb\nc");
        assert_eq!(render(Whitespace::Kept), "a\n  \nb\n  \nc");
    }
}
