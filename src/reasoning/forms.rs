//! Reasoning under headings instead of marks, and wrappings around an answer after reasoning. A
//! form of ordinary words counts only if the text begins with it and has its second heading, since
//! an answer may have a heading, too.

use super::SplitResponse;
use regex::Regex;
use std::sync::LazyLock;

fn patterns(patterns: &[&str]) -> Vec<Regex> {
    patterns
        .iter()
        .map(|pattern| Regex::new(pattern).expect("a fixed pattern"))
        .collect()
}

/// The forms. The first group is the reasoning, the second one the answer.
static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let thinking = "(?:my )?(?:thinking(?: process)?|thought process|chain of thought|reasoning process)";
    let answer = "(?:(?:my )?(?:final )?(?:answer|response))";
    patterns(&[
        // OpenAI's Harmony format, if the server removed the marks and left the words.
        r"(?s)^\s*analysis(\S.*?)assistantfinal(.*)$",
        // IBM's Granite.
        r"(?is)^\s*here(?: i|')s my thought process:(.*?)\n\s*here(?: i|')s my response:(.*)$",
        // ServiceNow's Apriel; its template writes the first heading.
        r"(?s)^(?:\s*Here are my reasoning steps:)?(.*?)\[BEGIN FINAL RESPONSE\](.*?)(?:\[END FINAL RESPONSE\].*)?$",
        // Ollama's command line.
        r"(?is)^\s*thinking\s*(?:\.\.\.|…)[ \t]*\n(.*?)\n\s*(?:\.\.\.|…)\s*done thinking\.?(.*)$",
        // s1.
        r"(?is)^\s*<\|im_start\|>\s*think(?:ing)?\s*\n(.*?)(?:<\|im_end\|>\s*(?:<\|im_start\|>\s*(?:answer|assistant)\b)?|<\|im_start\|>\s*(?:answer|assistant)\b)(.*)$",
        // Open WebUI, and pages that copy it.
        r#"(?is)^\s*<details\b[^>]*\btype\s*=\s*["']?reasoning\b[^>]*>(?:\s*<summary>[^<]*</summary>)?(.*?)</details>(.*)$"#,
        r"(?is)^\s*<details\b[^>]*>\s*<summary>[^<]*(?:think|thought|reasoning)[^<]*</summary>(.*?)</details>(.*\S.*)$",
        r"(?is)^\s*```[ \t]*(?:think(?:ing)?|thoughts?|reasoning)[ \t]*\n(.*?)\n[ \t]*```[ \t]*\n(.*\S.*)$",
        // Two headings of the same kind.
        &format!(r"(?is)^\s*{thinking}:(.*?)\n\s*{answer}:(.*\S.*)$"),
        &format!(r"(?is)^\s*\*\*{thinking}:?\*\*:?[ \t]*\n(.*?)\n\s*\*\*{answer}:?\*\*:?(.*\S.*)$"),
        &format!(r"(?is)^\s*#+[ \t]*{thinking}:?[ \t]*\n(.*?)\n#+[ \t]*{answer}:?[ \t]*\n(.*\S.*)$"),
    ])
});

/// Wrappings that some models put around the answer after their reasoning. The group is the answer.
static WRAPPINGS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    patterns(&[
        r"(?is)^\s*<(?:answer|response|final|final_answer|final_response|solution|output)>(.*?)(?:</(?:answer|response|final|final_answer|final_response|solution|output)>)?\s*$",
        r"(?is)^\s*<\|(?:begin|start)_(?:of_)?(?:solution|response|answer|final|box)\|>(.*?)(?:<\|end_(?:of_)?(?:solution|response|answer|final|box)\|>)?\s*$",
        r"(?is)^\s*\[BEGIN FINAL RESPONSE\](.*?)(?:\[END FINAL RESPONSE\]\s*)?$",
        r"(?is)^\s*\*\*\s*(?:the )?(?:final )?(?:answer|response)\s*:?\s*\*\*:?[ \t]*\n(.*)$",
        r"(?is)^\s*#+[ \t]*(?:the )?(?:final )?(?:answer|response)\s*:?[ \t]*\n(.*)$",
        r"(?is)^\s*final (?:answer|response)\s*:[ \t]*\n(.*)$",
    ])
});

/// Splits a text that has one of the forms.
pub(super) fn split(text: &str) -> Option<SplitResponse> {
    let found = FORMS.iter().find_map(|form| form.captures(text))?;
    Some(SplitResponse {
        reasoning: found[1].trim().to_string(),
        answer: found[2].trim_start().to_string(),
    })
}

/// An answer without its wrappings.
pub(super) fn unwrapped(answer: &str) -> &str {
    let mut answer = answer;
    while let Some(found) = WRAPPINGS.iter().find_map(|wrapping| wrapping.captures(answer)) {
        answer = found.get(1).map_or("", |inner| inner.as_str()).trim();
    }
    answer
}
