//! Templates in two blocks, `prompt` and `completion`, over a row's `instruction`, `input` and
//! `output`. They become chat templates, which render messages to the same text and can be saved
//! with a model.
//!
//! The text of the blocks becomes string literals. Chat templates have other white space rules than
//! plain Jinja, and find nothing to trim in literals.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use ewe::jinja::{self, RenderOptions, Whitespace};
use serde_json::{Map, Value};

/// A token of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplateToken {
    /// Text outside of tags.
    Text(String),
    /// `{{ … }}`.
    Expression(String),
    /// `{% … %}`.
    Statement(String),
}

/// A row's instruction, input and output.
type Texts<'a> = [&'a str; 3];

/// Returns whether a template is in blocks rather than over `messages`.
pub fn is_in_blocks(source: &str) -> bool {
    let tags = tokens(source).unwrap_or_default();
    tags.iter()
        .any(|token| matches!(token, TemplateToken::Statement(tag) if words(tag)[0] == "block"))
}

/// Returns the chat template that renders messages as `source` renders rows. `begin` and `end` are
/// as in [`ewe::prompt::template::Template::source`].
///
/// # Errors
///
/// If the template is malformed, lacks a block, shows the answer in the prompt, does not show it in
/// the completion, or has more than definitions outside of its blocks.
pub fn as_chat_template(source: &str, begin: &str, end: &str) -> Result<String> {
    let rendered = |texts: Texts| blocks(source, texts);
    let (a, b) = (rendered(["q", "i", "a"])?, rendered(["q", "i", "b"])?);
    if a[1] == b[1] {
        bail!(
            "the block `completion` does not depend on the row\nhint: write {{{{ output }}}} where the answer goes"
        );
    }
    if a[0] != b[0] {
        bail!(
            "the block `prompt` shows the answer\nhint: {{{{ output }}}} belongs to the block `completion`"
        );
    }
    let parts = BlockTemplate::of(&tokens(source)?)?;
    let (prompt, completion) = (parts.block("prompt")?, parts.block("completion")?);
    Ok(format!(
        "{{%- set begin = {begin} -%}}\n{{%- set end = {end} -%}}\n\
         {{%- set state = namespace(system='', instruction='', input='') -%}}\n{top}{{{{- begin -}}}}\n\
         {{%- for message in messages -%}}\n\
         {{%- if message['role'] in ['system', 'developer'] -%}}\n\
         {{%- set state.system = state.system + message['content'] + '\\n\\n' -%}}\n\
         {{%- elif message['role'] == 'user' -%}}\n\
         {{%- set state.instruction = state.system + message['content'] -%}}\n\
         {{%- set state.input = message['input'] | default('', true) -%}}\n\
         {{%- set state.system = '' -%}}\n\
         {{%- set instruction = state.instruction -%}}\n{{%- set input = state.input -%}}\n{prompt}\
         {{%- elif message['role'] == 'assistant' -%}}\n\
         {{%- set instruction = state.instruction -%}}\n{{%- set input = state.input -%}}\n\
         {{%- set output = message['content'] -%}}\n\
         {{% generation %}}{completion}{{{{- end -}}}}{{% endgeneration %}}\n\
         {{%- else -%}}\n\
         {{{{- raise_exception('a message of the role ' + message['role'] + ' has no place in this template') -}}}}\n\
         {{%- endif -%}}\n{{%- endfor -%}}\n",
        top = parts.top,
    ))
}

/// Renders both blocks of a row, by the rules of plain Jinja.
pub fn blocks(source: &str, [instruction, input, output]: Texts) -> Result<[String; 2]> {
    let template = jinja::Template::parse_with(source, Whitespace::Kept).context("it is not a template")?;
    let texts = [("instruction", instruction), ("input", input), ("output", output)];
    let variables: Map<String, Value> = texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect();
    let options = RenderOptions {
        strict: true,
        now: chrono::Local::now().naive_local(),
        variables: &variables,
    };
    let block = |name: &str| -> Result<String> {
        let rendered = template.render_block(name, &options)?;
        rendered.context("there is no such block")
    };
    let within = |name: &str| {
        block(name).with_context(|| {
            format!(
                "cannot render the block `{name}`\nhint: {{% block {name} %}}…{{% endblock %}} over instruction, input and output"
            )
        })
    };
    Ok([within("prompt")?, within("completion")?])
}

/// Splits a tag into words; returns at least one.
fn words(tag: &str) -> Vec<&str> {
    let mut words: Vec<&str> = tag.split_whitespace().collect();
    if words.is_empty() {
        words.push("");
    }
    words
}

/// A template taken apart: its blocks, and the macros and assignments outside of them.
struct BlockTemplate {
    top: String,
    blocks: Vec<(String, String)>,
}

impl BlockTemplate {
    fn of(tokens: &[TemplateToken]) -> Result<BlockTemplate> {
        let mut parts = BlockTemplate {
            top: String::new(),
            blocks: Vec::new(),
        };
        let mut rest = tokens;
        while let Some((token, more)) = rest.split_first() {
            rest = more;
            // Text and expressions outside of the blocks belong to neither.
            let TemplateToken::Statement(tag) = token else {
                continue;
            };
            let (kind, name) = (words(tag)[0], words(tag).get(1).copied().unwrap_or_default());
            let closing = match kind {
                "block" => "endblock",
                "macro" => "endmacro",
                "set" if !tag.contains('=') => "endset",
                "set" => {
                    parts.top += &written(std::slice::from_ref(token));
                    parts.top.push('\n');
                    continue;
                }
                other => bail!(
                    "`{{% {other} %}}` outside of the blocks cannot be saved with a model\nhint: move it into the block that needs it"
                ),
            };
            let (inside, behind) = until(rest, kind, closing)?;
            if kind == "block" {
                let nested = |token: &&TemplateToken| !matches!(token, TemplateToken::Statement(tag) if ["block", "endblock"].contains(&words(tag)[0]));
                let inside: Vec<TemplateToken> = inside.iter().filter(nested).cloned().collect();
                parts.blocks.push((name.to_owned(), written(&inside)));
            } else {
                let whole = &tokens[tokens.len() - rest.len() - 1..tokens.len() - behind.len()];
                parts.top += &written(whole);
                parts.top.push('\n');
            }
            rest = behind;
        }
        Ok(parts)
    }

    fn block(&self, name: &str) -> Result<&str> {
        let block = self.blocks.iter().find(|(known, _)| known == name);
        let block = block.with_context(|| {
            format!("the block `{name}` is inside of something else\nhint: it belongs to the top of the file")
        })?;
        Ok(&block.1)
    }
}

/// Returns the tokens before the tag that closes a tag of `kind`, and those after it.
fn until<'t>(
    tokens: &'t [TemplateToken],
    kind: &str,
    closing: &str,
) -> Result<(&'t [TemplateToken], &'t [TemplateToken])> {
    let mut depth = 1;
    for (at, token) in tokens.iter().enumerate() {
        let TemplateToken::Statement(tag) = token else {
            continue;
        };
        if words(tag)[0] == kind && (kind != "set" || !tag.contains('=')) {
            depth += 1;
        }
        if words(tag)[0] == closing {
            depth -= 1;
        }
        if depth == 0 {
            return Ok((&tokens[..at], &tokens[at + 1..]));
        }
    }
    bail!("`{{% {kind} %}}` has no `{{% {closing} %}}`")
}

/// Writes tokens as a source without any white space that could be trimmed.
fn written(tokens: &[TemplateToken]) -> String {
    let mut source = String::new();
    for token in tokens {
        let _ = match token {
            TemplateToken::Text(text) => write!(source, "{{{{ {} }}}}", literal(text)),
            TemplateToken::Expression(shown) => write!(source, "{{{{ {shown} }}}}"),
            TemplateToken::Statement(tag) => write!(source, "{{% {tag} %}}"),
        };
    }
    source
}

/// Returns a string literal of Jinja.
pub fn literal(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('\'', "\\'")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    format!("'{escaped}'")
}

/// Splits a template into tokens. Comments are dropped, `{% raw %}` becomes text, and white space
/// is trimmed where dashes ask for it.
fn tokens(source: &str) -> Result<Vec<TemplateToken>> {
    let mut tokens = Vec::new();
    let mut text = String::new();
    let (mut rest, mut trims) = (source, false);
    loop {
        let openings = ["{{", "{%", "{#"].map(|opening| rest.find(opening));
        let Some(at) = openings.into_iter().flatten().min() else {
            keep(&mut text, rest, trims, false);
            break;
        };
        let (before, tag) = rest.split_at(at);
        let (opening, body) = tag.split_at(2);
        let body_end = match opening {
            "{#" => body.find("#}"),
            "{%" => end_of(body, "%}"),
            _ => end_of(body, "}}"),
        };
        let body_end = body_end.with_context(|| format!("`{opening}` is not closed"))?;
        let (inner, behind) = (&body[..body_end], &body[body_end + 2..]);
        keep(&mut text, before, trims, inner.starts_with('-'));
        trims = inner.ends_with('-') && inner.len() > 1;
        let edge = ['-', '+'];
        let inner = inner.strip_prefix(edge).unwrap_or(inner);
        let inner = inner.strip_suffix(edge).unwrap_or(inner).trim();
        rest = behind;
        match opening {
            "{#" => continue,
            "{%" if inner == "raw" => {
                let (raw, after, closes_with_dash) = raw(behind)?;
                keep(&mut text, raw, trims, closes_with_dash.0);
                (rest, trims) = (after, closes_with_dash.1);
                continue;
            }
            _ => {}
        }
        if !text.is_empty() {
            tokens.push(TemplateToken::Text(std::mem::take(&mut text)));
        }
        tokens.push(match opening {
            "{%" => TemplateToken::Statement(inner.to_owned()),
            _ => TemplateToken::Expression(inner.to_owned()),
        });
    }
    if !text.is_empty() {
        tokens.push(TemplateToken::Text(text));
    }
    Ok(tokens)
}

fn keep(text: &mut String, new: &str, trim_start: bool, trim_end: bool) {
    let new = if trim_start { new.trim_start() } else { new };
    text.push_str(if trim_end { new.trim_end() } else { new });
}

/// Returns the text up to `{% endraw %}`, the rest behind it, and whether that tag has a dash
/// before and behind.
fn raw(rest: &str) -> Result<(&str, &str, (bool, bool))> {
    let mut from = 0;
    while let Some(at) = rest[from..].find("{%") {
        let at = from + at;
        let body = &rest[at + 2..];
        let end = body.find("%}").context("`{%` is not closed")?;
        let inner = &body[..end];
        if inner.trim_matches(['-', '+', ' ']) == "endraw" {
            let dashes = (inner.starts_with('-'), inner.ends_with('-'));
            return Ok((&rest[..at], &body[end + 2..], dashes));
        }
        from = at + 2;
    }
    bail!("`{{% raw %}}` has no `{{% endraw %}}`")
}

/// Returns where the tag ends whose contents `body` begins with, skipping strings and braces.
fn end_of(body: &str, closing: &str) -> Option<usize> {
    let (mut quote, mut escaped, mut braces) = (None, false, 0_usize);
    for (at, letter) in body.char_indices() {
        if let Some(mark) = quote {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if letter == mark => quote = None,
                _ => {}
            }
            continue;
        }
        if braces == 0 && body[at..].starts_with(closing) {
            return Some(at);
        }
        match letter {
            '"' | '\'' => quote = Some(letter),
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::chat_template::{ChatMessage, ChatTemplate, Rendering};
    use std::collections::BTreeMap;

    /// Checks that the chat template renders a row as the blocks do.
    #[track_caller]
    fn same(source: &str) {
        let template = as_chat_template(source, "'<s>'", "'</s>'").unwrap();
        let template = ChatTemplate::new(&template, &BTreeMap::new()).unwrap();
        for (instruction, input) in [
            ("a < b & \"c\" 'd'\\n", ""),
            ("q", " x\n"),
            ("{{ q }}", "{% raw %}"),
        ] {
            let [prompt, completion] = blocks(source, [instruction, input, "yes\n"]).unwrap();
            let input = Some(input).filter(|input| !input.is_empty());
            let question = ChatMessage::new("user", instruction).about(input);
            let said = [question, ChatMessage::new("assistant", "yes\n")];
            let now = chrono::NaiveDateTime::default();
            let opened = template.render(now, &said[..1], &Rendering::default()).unwrap();
            assert_eq!(opened.text, format!("<s>{prompt}"), "{source}");
            let whole = template.render(now, &said, &Rendering::closed()).unwrap();
            assert_eq!(whole.text, format!("<s>{prompt}{completion}</s>"), "{source}");
            assert_eq!(whole.generated, [opened.text.len()..whole.text.len()]);
        }
    }

    #[test]
    fn a_chat_template_says_what_the_blocks_say() {
        for source in [
            "{% block prompt %}<q>{{ instruction }}{% if input %} [{{ input }}]{% endif %}\n{% endblock %}\n\
             {% block completion %} {{ output }} </q>{% endblock %}",
            // White space that a chat template's own rules would trim.
            "{% block prompt %}\n  {% if input %}\n  {{ input }}\n  {% endif %}\nQ: {{ instruction }}\n\n{% endblock %}\n\
             {%- block completion -%}\n  {{- output }}\n  {# nothing -#}\n  .\n{% endblock %}",
            "{% macro loud(text) %}{{ text | upper }}!{% endmacro %}{% set mark = '%}' %}{% set long %}a {{ mark }}{% endset %}\n\
             {% block prompt %}{{ loud(instruction) }}{{ mark }}{{ long }}{{ {'}}': 1} | length }}{% endblock %}\
             {% block completion %}{{ output | trim }}{% raw %}{{ no }}{%- if %}{% endraw %}{% endblock %}",
            "{% block completion %}{% block inner %}{{ instruction }}{% endblock %}:{{ output.strip() }}{% endblock %}\
             {% block prompt %}{% for word in instruction.split() %}{{ loop.index }} {{ word }}\n{% endfor %}{% endblock %}",
        ] {
            same(source);
        }
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for (text, word) in [
            ("{% block prompt %}", "not a template"),
            ("{{ instruction }} {{ output }}", "block `prompt`"),
            (
                "{% block prompt %}{{ instruction }}{% endblock %}",
                "block `completion`",
            ),
            (
                "{% block prompt %}{{ question }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
                "block `prompt`",
            ),
            (
                "{% block prompt %}{{ instruction }}{% endblock %}{% block completion %}yes{% endblock %}",
                "does not depend on the row",
            ),
            (
                "{% block prompt %}{{ output }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
                "shows the answer",
            ),
            (
                "{% block prompt %}{{ input }}{% endblock %}{% if true %}{% block completion %}{{ output }}{% endblock %}{% endif %}",
                "outside of the blocks",
            ),
        ] {
            let error = format!("{:#}", as_chat_template(text, "''", "''").unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(is_in_blocks("{%- block prompt %}{% endblock %}"));
        assert!(!is_in_blocks(
            "{% for m in messages %}{{ m.content }}{% endfor %}"
        ));
    }
}
