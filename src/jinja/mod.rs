//! Jinja as `transformers` has it: chat templates, and templates of rows.
//!
//! Jinja2's sandbox with `trim_blocks`, `lstrip_blocks`, loop controls and what chat templates add, over Python's values:
//! what is printed, compared, sliced and sorted is what Python prints, compares, slices and sorts. A template comes from a
//! stranger: it takes a bounded number of steps, makes a bounded number of bytes and nests to a bounded depth.
//! What the reference makes of each thing that it
//! offers is in `tests/golden/jinja/table.json`.
//!
//! - [`lexer`], [`parser`], [`ast`]: text to statements.
//! - [`machine`], [`eval`], [`ops`], [`scope`]: statements and expressions are run.
//! - [`value`], [`attributes`], [`methods`], [`filters`], [`tests`], [`functions`]: what there is to run on.
//! - [`text`], [`format`], [`json`], [`wrap`], [`time`]: how Python writes it.

mod ast;
mod attributes;
mod error;
mod eval;
mod filters;
mod format;
mod functions;
mod json;
mod lexer;
mod machine;
mod methods;
mod ops;
mod parser;
mod scope;
mod tests;
mod text;
mod time;
mod value;
mod wrap;

use std::ops::Range;

use chrono::NaiveDateTime;
use serde_json::Map;

pub use error::{Error, Kind};
use machine::Machine;
use parser::Parsed;
use value::Value;

/// Bytes of stack for a template: what nests takes some each time.
const STACK: usize = 64 << 20;

/// What happens to white space around tags that have no sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blanks {
    /// Blanks before a tag that begins a line, and the end of line behind a tag, go: `lstrip_blocks`, `trim_blocks`.
    Trimmed,
    /// All stays.
    Kept,
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    parsed: Parsed,
}

/// How a template is rendered.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// What is undefined is an error where it is printed, compared or asked whether it is true.
    pub strict: bool,
    /// What `strftime_now` writes.
    pub now: NaiveDateTime,
    /// The variables.
    pub variables: &'a Map<String, serde_json::Value>,
}

/// What a template made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes of it that stand in `{% generation %}`.
    pub generated: Vec<Range<usize>>,
}

impl Template {
    /// Reads a chat template, with [`Blanks::Trimmed`]. Fails on what is malformed, with its line.
    pub fn parse(source: &str) -> Result<Template, Error> {
        Template::parse_with(source, Blanks::Trimmed)
    }

    /// As [`Template::parse`], with another rule for white space.
    pub fn parse_with(source: &str, blanks: Blanks) -> Result<Template, Error> {
        aside(|| {
            let parsed = parser::parse(source, blanks)?;
            Ok(Template { parsed })
        })
    }

    /// Renders the template. Fails as its `raise_exception` says, on what is an error in Python, and on what takes too long.
    pub fn render(&self, options: &Options) -> Result<Rendered, Error> {
        aside(|| {
            let (text, generated) = self.machine(options)?.render()?;
            Ok(Rendered { text, generated })
        })
    }

    /// Renders one block, after the whole template was. None if there is no such block.
    pub fn render_block(&self, name: &str, options: &Options) -> Result<Option<String>, Error> {
        aside(|| self.machine(options)?.render_block(name))
    }

    /// Whether it marks what the model says with `{% generation %}`.
    pub fn is_marked(&self) -> bool {
        self.parsed.marked
    }

    /// The names that it reads and has not set before, its helpers among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parsed.names.iter().map(|name| &**name)
    }

    fn machine<'a>(&'a self, options: &'a Options<'a>) -> Result<Machine<'a>, Error> {
        let bytes = options.variables.values().map(size).sum();
        let mut machine = Machine::new(&self.parsed, options, bytes);
        for (name, value) in options.variables {
            machine.set(name, Value::from_json(value)?);
        }
        Ok(machine)
    }
}

/// Bytes of the texts in a value, about.
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

/// Does `work` on a thread with a stack for it.
fn aside<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let broken = |_| Error::new(Kind::Budget, "the template could not be run");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Error::new(Kind::Fault, "the template broke down"))),
            Err(error) => Err(broken(error)),
        }
    })
}

#[cfg(test)]
mod checks {
    use super::*;
    use serde_json::{Value, json};

    fn now() -> NaiveDateTime {
        NaiveDateTime::parse_from_str("2026-03-07 09:05:00", "%Y-%m-%d %H:%M:%S").unwrap()
    }

    fn render(source: &str, variables: &Map<String, Value>) -> Result<Rendered, Error> {
        let options = Options {
            strict: false,
            now: now(),
            variables,
        };
        Template::parse(source)?.render(&options)
    }

    /// Every entry of `scripts/make_jinja_goldens.py`, against what the real `transformers` made of it.
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
                    got.kind != Kind::Budget
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

    /// Python's words for it; the table compares refusals only.
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

    /// Whatever a stranger's template does, it ends soon, in memory that is bounded, with an error.
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
                took.as_secs() < 20,
                "{took:?}: {}",
                &source[..source.len().min(90)]
            );
        }
        // What only looks so is rendered.
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
        let render = |blanks| {
            let options = Options {
                strict: false,
                now: now(),
                variables: &Map::new(),
            };
            Template::parse_with(source, blanks)
                .unwrap()
                .render(&options)
                .unwrap()
                .text
        };
        assert_eq!(render(Blanks::Trimmed), "a\nb\nc");
        assert_eq!(render(Blanks::Kept), "a\n  \nb\n  \nc");
    }
}
