//! The Modelfile of Ollama (<https://github.com/ollama/ollama/blob/main/docs/modelfile.md>): where
//! the model is, how it is prompted, and what ends an answer.

use super::go_template::GoTemplate;
use crate::gguf;
use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;
use crate::train::out::saved_template;
use anyhow::Result;
use regex::Regex;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

/// Settings of generation_config.json, and what Ollama calls them.
const SETTINGS: [(&str, &str); 5] = [
    ("temperature", "temperature"),
    ("top_k", "top_k"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("repetition_penalty", "repeat_penalty"),
];

/// Returns the Modelfile of the GGUF file at `path`, made of the model in `base`.
///
/// # Errors
///
/// If the settings of the model cannot be read.
pub fn text(path: &Path, base: &Path, tokenizer: &Tokenizer) -> Result<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut text = format!("# ollama create {stem} -f {stem}.Modelfile\nFROM ./{name}\n");
    match template(tokenizer) {
        Ok((found, quoted)) => {
            if found.system_is_ours {
                text += "# The model's own template has no place for a system message.\n";
            }
            let _ = writeln!(text, "TEMPLATE {quoted}");
        }
        Err(why) => {
            let _ = writeln!(text, "# There is no TEMPLATE: {why}.");
        }
    }
    for stop in stops(tokenizer) {
        let _ = match quoted(&stop) {
            Ok(quoted) => writeln!(text, "PARAMETER stop {quoted}"),
            Err(why) => {
                let shown = ewe::text::one_line(&stop, 60);
                writeln!(text, "# The stop text {shown:?} cannot stand here: {why}.")
            }
        };
    }
    for (name, value) in settings(base)? {
        let _ = writeln!(text, "PARAMETER {name} {value}");
    }
    Ok(text)
}

/// Returns the template of a model for Ollama, and how it is quoted, or why it has none.
fn template(tokenizer: &Tokenizer) -> Result<(GoTemplate, String), String> {
    let file = tokenizer
        .chat_template()
        .ok_or("the model came without a chat template, so prompts are texts to go on with")?;
    let begin: String = tokenizer
        .begin()
        .iter()
        .filter_map(|id| tokenizer.token(*id))
        .collect();
    let begin = Some(begin.as_str()).filter(|begin| !begin.is_empty());
    let found = GoTemplate::of(&file.source, tokenizer.special_texts(), begin).map_err(|why| {
        format!("{why}, which Ollama's templates cannot; llama.cpp takes the one in the GGUF file")
    })?;
    let quoted = in_three_quotes(&found.source())?;
    Ok((found, quoted))
}

/// Returns a text with quotes around it. There is no escape in a Modelfile: a text ends where a
/// line ends with the quotes that it began with.
fn quoted(text: &str) -> Result<String, String> {
    if text.contains(['"', '\n', '\r']) {
        return in_three_quotes(text);
    }
    kept(text)?;
    Ok(format!("\"{text}\""))
}

/// Returns a text in three quotes, which it may have within a line.
fn in_three_quotes(text: &str) -> Result<String, String> {
    kept(text)?;
    let mut lines: Vec<&str> = text.split(['\n', '\r']).collect();
    lines.pop();
    // White space at the end of a line does not count.
    let ends = |line: &&str| line.trim_end().ends_with("\"\"\"");
    match lines.iter().any(ends) {
        true => Err("a line of it ends with three quotes, which end a text here".to_owned()),
        false => Ok(format!("\"\"\"{text}\"\"\"")),
    }
}

/// Fails on characters that Ollama drops when it reads a Modelfile: all that Go's `IsPrint` denies,
/// but for white space of ASCII.
fn kept(text: &str) -> Result<(), String> {
    static PRINTABLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^[\p{L}\p{M}\p{N}\p{P}\p{S} \t\n\r]*$").expect("the pattern is well-formed")
    });
    if PRINTABLE.is_match(text) {
        return Ok(());
    }
    let mut one = [0; 4];
    let is_dropped = |c: &char| !PRINTABLE.is_match(c.encode_utf8(&mut one));
    let dropped = text.chars().find(is_dropped).unwrap_or_default();
    Err(format!(
        "it has the character U+{:04X}, which Ollama drops from a Modelfile",
        u32::from(dropped)
    ))
}

/// Returns the texts that end an answer: those of the template, and of tokens.
fn stops(tokenizer: &Tokenizer) -> Vec<String> {
    let template = ConversationTemplate::of_model(tokenizer).ok();
    let ends = tokenizer.end_tokens().iter().copied();
    let closing = template.as_ref().and_then(ConversationTemplate::end_token);
    let tokens = closing.into_iter().chain(ends);
    let mut stops: Vec<String> = tokens.filter_map(|id| tokenizer.token(id)).collect();
    stops.extend(tokenizer.stop_strings().iter().cloned());
    stops.extend(template.map(|template| template.saved_stop()).unwrap_or_default());
    let mut seen = Vec::new();
    stops.retain(|stop| {
        let is_new = !stop.is_empty() && !seen.contains(stop);
        seen.push(stop.clone());
        is_new
    });
    stops
}

/// Returns the settings of sampling that come with a model.
fn settings(base: &Path) -> Result<Vec<(&'static str, Value)>> {
    let path = base.join("generation_config.json");
    if gguf::is(base) || !path.is_file() {
        return Ok(Vec::new());
    }
    let config = saved_template::object(&path)?;
    let found = SETTINGS
        .iter()
        .filter_map(|(theirs, ours)| Some((*ours, config.get(*theirs)?.clone())))
        .filter_map(|(name, value)| Some((name, number(name, value)?)));
    Ok(found.collect())
}

/// Returns a setting as Ollama reads it; none if it is no number. One of them is an integer, which
/// Python may have written as 20.0.
fn number(name: &str, value: Value) -> Option<Value> {
    match (name, value.as_f64()?) {
        ("top_k", number) if number.fract() == 0.0 => Some(Value::from(number as i64)),
        ("top_k", _) => None,
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Ollama's parser takes a value from a line on: at each end of a line, the text so far is a
    /// value unless it begins with quotes that it does not end with. Unprintable characters are
    /// left out.
    fn read(value: &str) -> String {
        let unquoted = |text: &str| -> Option<String> {
            let text = text.trim();
            for quotes in ["\"\"\"", "\""] {
                if let Some(rest) = text.strip_prefix(quotes) {
                    return rest.strip_suffix(quotes).map(str::to_owned);
                }
            }
            Some(text.to_owned())
        };
        let mut so_far = String::new();
        for c in format!("{value}\nPARAMETER seed 1\n").chars() {
            if matches!(c, '\n' | '\r')
                && let Some(value) = unquoted(&so_far)
            {
                return value;
            }
            if !c.is_control() || c.is_ascii_whitespace() {
                so_far.push(c);
            }
        }
        panic!("{value} has no end");
    }

    #[test]
    fn texts_come_back_from_their_quotes() {
        for text in [
            "</s>",
            " ",
            "<|im_end|>\n",
            "say \"so\"",
            "\"",
            "\"\"",
            "\"\"\"",
            "a \"\"\" b",
            "ends with \"\"\"",
            "\"\"\"\nx",
            "\n\n### End:\t",
            "\\n is no escape",
            "羊<｜User｜>▁",
            "{{ .Content }}",
            " # no comment",
            "two \"\"\"   \nlines",
            "\r\n",
            "zero\u{200b}width",
            "\u{1b}[0m",
            "\u{a0}",
            "\u{e000}",
        ] {
            match quoted(text) {
                Ok(quoted) => assert_eq!(read(&quoted), text, "{quoted}"),
                Err(why) => {
                    let is_lost = |c: char| !c.is_ascii() && !c.is_alphanumeric() || c == '\u{1b}';
                    let is_closed = why.contains("three quotes") && text.contains("\"\"\"");
                    assert!(is_closed || text.contains(is_lost), "{text:?}: {why}");
                }
            }
        }
        let refused = |text: &str| quoted(text).unwrap_err();
        assert!(refused("two \"\"\"   \nlines").contains("three quotes"));
        assert!(refused("\"\"\"\nx").contains("three quotes"));
        assert!(refused("zero\u{200b}width").contains("U+200B"));
        assert!(refused("\u{a0}").contains("U+00A0"));
        assert!(quoted("羊<｜User｜>▁").is_ok() && quoted("a \"\"\" b").is_ok());
    }

    #[test]
    fn settings_are_numbers_that_ollama_reads() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(number("top_k", json("20.0")), Some(json("20")));
        assert_eq!(number("top_k", json("2.5")), None);
        assert_eq!(number("temperature", json("0.6")), Some(json("0.6")));
        assert_eq!(number("temperature", json("null")), None);
        assert_eq!(number("min_p", json("\"0.1\"")), None);
    }
}
