//! The Modelfile of Ollama (<https://github.com/ollama/ollama/blob/main/docs/modelfile.md>): where
//! the model is, how it is prompted, and what ends an answer.

use super::go_template::GoTemplate;
use crate::gguf;
use crate::model::text::conversation_template::ConversationTemplate;
use crate::model::text::tokenizer::Tokenizer;
use crate::train::out::saved_template;
use anyhow::Result;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

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
        Ok(found) => {
            if found.system_is_ours {
                text += "# The model's own template has no place for a system message.\n";
            }
            let _ = writeln!(text, "TEMPLATE \"\"\"{}\"\"\"", found.source());
        }
        Err(why) => {
            let _ = writeln!(text, "# There is no TEMPLATE: {why}.");
        }
    }
    for stop in stops(tokenizer) {
        let quotes = match stop.contains(['"', '\n']) {
            false => "\"",
            // Such a text cannot be quoted.
            true if stop.contains("\"\"\"") || stop.ends_with('"') => continue,
            true => "\"\"\"",
        };
        let _ = writeln!(text, "PARAMETER stop {quotes}{stop}{quotes}");
    }
    for (name, value) in settings(base)? {
        let _ = writeln!(text, "PARAMETER {name} {value}");
    }
    Ok(text)
}

/// Returns the template of a model for Ollama, or why it has none.
fn template(tokenizer: &Tokenizer) -> Result<GoTemplate, String> {
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
    match found.source().contains("\"\"\"") {
        true => Err("it has three quotes in a row, which end a text here".to_owned()),
        false => Ok(found),
    }
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
        .filter_map(|(theirs, ours)| Some((*ours, config.get(*theirs)?.clone())));
    Ok(found.filter(|(_, value)| value.is_number()).collect())
}
