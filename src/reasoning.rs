//! Separates a model's reasoning from its answer.
//!
//! Servers with a reasoning parser return it in a field of its own. Others leave it in the text,
//! between marks that differ by model family. If the chat template writes the opening mark, only
//! the closing one is in the text.

mod ends;
mod forms;
mod mark;

pub use ends::end;
use mark::{Mark, MarkKind};
use regex::Regex;
use std::sync::LazyLock;

/// Names that fields of messages with reasoning have.
pub const FIELDS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// What becomes of the reasoning of answers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningChoice {
    /// It stays: a field of its message, or between marks in its text
    #[default]
    Keep,
    /// It is left out
    Drop,
}

/// A response split into its two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitResponse {
    /// The text between the marks.
    pub reasoning: String,
    /// All other text.
    pub answer: String,
}

/// The header of a message in OpenAI's Harmony format, with its channel.
static CHANNEL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:<\|start\|>\s*assistant\s*)?(?:<\|channel\|>)?(analysis|commentary|final)\b[^<\n]{0,80}(?:<\|constrain\|>\w*)?<\|message\|>",
    )
    .expect("a fixed pattern")
});

/// The end of a message in that format.
static MESSAGE_END: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<\|(?:end|return|call)\|>|<\|start\|>\s*assistant\s*$").expect("a fixed pattern")
});

/// Splits a text into reasoning and answer; `None` if it has no reasoning.
///
/// A closing mark without an opening one makes everything before it reasoning; an opening mark
/// without a closing one, everything after it. A mark in quotation marks does not count. A tag that
/// could also be ordinary XML counts at the beginning of an answer, if it is closed and text
/// follows. Without an opening tag, its closing tag counts at the edge of a line.
pub fn split(text: &str) -> Option<SplitResponse> {
    let split = channels(text)
        .or_else(|| forms::split(text))
        .or_else(|| marks(text))?;
    let end = end(&split.answer).unwrap_or(split.answer.len());
    let answer = forms::unwrapped(&split.answer[..end]).to_string();
    Some(SplitResponse { answer, ..split })
}

/// Returns the text of an answer without what is between marks of reasoning; as it is, if there is
/// nothing else.
pub fn without(text: String) -> String {
    match split(&text) {
        Some(split) if !split.answer.trim().is_empty() => split.answer,
        _ => text,
    }
}

/// Whether a text contains a mark. A text without reasoning has none.
pub fn has_marks(text: &str) -> bool {
    mark::marks(text).any(|mark| mark.kind == MarkKind::Sure && !is_quoted(text, &mark))
        || CHANNEL.is_match(text)
}

/// Splits a text in OpenAI's Harmony format.
fn channels(text: &str) -> Option<SplitResponse> {
    let heads: Vec<_> = CHANNEL.captures_iter(text).collect();
    let first = heads.first()?.get(0)?;
    // Text before the first header is part of the answer, if there is any.
    let (mut reasoning, mut answer) = (String::new(), text[..first.start()].trim().to_string());
    for (i, head) in heads.iter().enumerate() {
        let begin = head.get(0)?.end();
        let end = heads
            .get(i + 1)
            .and_then(|next| next.get(0))
            .map_or(text.len(), |next| next.start());
        let message = &text[begin..end];
        let message = MESSAGE_END
            .find(message)
            .map_or(message, |end| &message[..end.start()]);
        let part = if head[1].eq_ignore_ascii_case("final") {
            &mut answer
        } else {
            &mut reasoning
        };
        part.push_str(message.trim_start());
    }
    Some(SplitResponse { reasoning, answer })
}

/// Splits a text by marks of reasoning.
fn marks(text: &str) -> Option<SplitResponse> {
    let marks: Vec<Mark> = mark::marks(text).filter(|mark| !is_quoted(text, mark)).collect();
    let (mut reasoning, mut answer) = (String::new(), String::new());
    // The byte at which the text goes on; the name of the block that it is in; the depth of nested
    // blocks of that name.
    let (mut at, mut block, mut depth) = (0, None::<&str>, 0);
    let mut found_any = false;
    for (i, mark) in marks.iter().enumerate() {
        let (opens, rest) = (mark.opens, &marks[i + 1..]);
        // The mark is in code that was skipped.
        if mark.range.start < at {
            continue;
        }
        match block {
            Some(inside) if inside != mark.name => {}
            Some(_) if opens && !closes_itself(text, mark, rest) => depth += 1,
            Some(_) if depth > 0 && !opens => depth -= 1,
            Some(_) => {
                push(&mut reasoning, text[at..mark.range.start].trim());
                (at, block) = (after(text, mark, &answer), None);
            }
            None if opens && is_code(text, mark, rest) => {
                let end = code_end(text, mark).unwrap_or(text.len());
                answer.push_str(&text[at..end]);
                at = end;
            }
            None if opens && begins_a_block(text, mark, rest) => {
                answer.push_str(&text[at..mark.range.start]);
                (at, block, depth, found_any) = (mark.range.end, Some(mark.name.as_str()), 0, true);
            }
            None if !opens && ends_a_block(text, mark, &marks[..i]) => {
                answer.push_str(&text[at..mark.range.start]);
                push(&mut reasoning, std::mem::take(&mut answer).trim());
                (at, found_any) = (after(text, mark, ""), true);
            }
            None => {}
        }
    }
    match block {
        Some(_) => push(&mut reasoning, text[at..].trim()),
        None => answer.push_str(&text[at..]),
    }
    found_any.then_some(SplitResponse { reasoning, answer })
}

/// The byte at which the text goes on after a block. White space between reasoning and answer
/// belongs to neither.
fn after(text: &str, mark: &Mark, before: &str) -> usize {
    let rest = &text[mark.range.end..];
    let space = rest.len() - rest.trim_start().len();
    // After a word, one white space character is kept.
    let keeps = before
        .chars()
        .next_back()
        .is_some_and(|last| !last.is_whitespace());
    mark.range.end
        + match keeps.then(|| rest.chars().next()).flatten() {
            Some(first) if first.is_whitespace() => space - 1.min(space),
            _ => space,
        }
}

/// Appends text to the reasoning, on a new line.
fn push(reasoning: &mut String, more: &str) {
    if !reasoning.is_empty() && !more.is_empty() {
        reasoning.push('\n');
    }
    reasoning.push_str(more);
}

/// Whether a mark is quoted: in quotation marks, or in inline code.
fn is_quoted(text: &str, mark: &Mark) -> bool {
    let (before, after) = (&text[..mark.range.start], &text[mark.range.end..]);
    let is_quote = |c: char| matches!(c, '`' | '"' | '\'' | '“' | '”' | '‘' | '’' | '«' | '»');
    let in_quotes = before.ends_with(is_quote) && after.starts_with(is_quote);
    let line = (before.rsplit('\n').next(), after.split('\n').next());
    let ticks = |part: Option<&str>| part.unwrap_or_default().matches('`').count();
    in_quotes || (ticks(line.0) % 2 == 1 && ticks(line.1) > 0)
}

/// Whether a second opening mark closes the block, since some models write the same mark at both
/// ends. It does if no other mark closes the block, and text follows.
fn closes_itself(text: &str, mark: &Mark, rest: &[Mark]) -> bool {
    mark.kind == MarkKind::Sure
        && !rest.iter().any(|mark| mark.kind == MarkKind::Sure)
        && !text[mark.range.end..].trim().is_empty()
}

/// The end of the fenced code that a mark is in; `None` if it is in none, or if the text begins
/// with it.
fn code_end(text: &str, mark: &Mark) -> Option<usize> {
    let (before, after) = (&text[..mark.range.start], &text[mark.range.end..]);
    let is_inside = before.matches("```").count() % 2 == 1;
    let fence = before.rfind("```").filter(|_| is_inside)?;
    let is_first = before[..fence].trim().is_empty();
    let end = after.find("```").filter(|_| !is_first)?;
    Some(mark.range.end + end)
}

/// Whether a complete block is in fenced code. Then it is part of the answer.
fn is_code(text: &str, mark: &Mark, rest: &[Mark]) -> bool {
    let close = rest.iter().find(|other| !other.opens && other.name == mark.name);
    let end = code_end(text, mark);
    end.zip(close).is_some_and(|(end, close)| close.range.end <= end)
}

/// Whether a mark opens reasoning. One that could be something else must be at the beginning of an
/// answer, after a label at most, or at the beginning of the text. It must be closed, and text must
/// follow.
fn begins_a_block(text: &str, mark: &Mark, rest: &[Mark]) -> bool {
    let before = text[..mark.range.start].trim();
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    let is_label =
        line.len() <= 30 && line.ends_with([':', '.', ')']) && line.split_whitespace().count() <= 3;
    let is_there = match mark.kind {
        MarkKind::Sure => return true,
        MarkKind::Word => before.is_empty() || is_label,
        MarkKind::Ordinary => before.is_empty(),
    };
    let end = rest.iter().find(|other| !other.opens && other.name == mark.name);
    is_there && end.is_some_and(|end| !text[end.range.end..].trim().is_empty())
}

/// Whether a mark closes reasoning that the chat template opened. One that could be something else
/// must be the first of its name, be at the edge of a line, and not follow other XML.
fn ends_a_block(text: &str, mark: &Mark, earlier: &[Mark]) -> bool {
    if mark.kind == MarkKind::Sure {
        return true;
    }
    let (before, after) = (&text[..mark.range.start], &text[mark.range.end..]);
    let is_word = |c: char| c.is_alphanumeric();
    let at_an_edge = before.trim_end_matches([' ', '\t']).ends_with('\n')
        || after.trim_start_matches([' ', '\t']).starts_with(['\n', '\r'])
        || (!before.ends_with(char::is_whitespace) && after.starts_with(is_word));
    at_an_edge
        && !before.trim().is_empty()
        && !before.contains("</")
        && !after.trim().is_empty()
        && !earlier.iter().any(|other| other.name == mark.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> (String, String) {
        let split = split(text).unwrap_or_else(|| panic!("no reasoning: {text}"));
        (split.reasoning, split.answer)
    }

    #[test]
    fn every_dialect_is_taken_out() {
        for text in [
            "<think>hm</think>\n\nRome",
            "<THINK>\nhm\n</THINK> Rome",
            "hm\n</think>\n\nRome",
            "hm</thinking>Rome",
            "<thinking>hm</thinking>\nRome",
            "<thought>hm</thought>Rome",
            "<thoughts>hm</thoughts>Rome",
            "<seed:think>hm</seed:think>Rome",
            "<longcat_think>hm</longcat_think>Rome",
            "<reasoning>hm</reasoning>\nRome",
            "<analysis>hm</analysis>\nRome",
            "<scratchpad>\nhm\n</scratchpad>\n\nRome",
            "[THINK]hm[/THINK]Rome",
            "◁think▷hm◁/think▷Rome",
            "<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nRome<|end_of_solution|>",
            "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>Rome<|END_RESPONSE|>",
            "<think>hm</think><answer>Rome</answer>",
            "<unused94>thought\nhm<unused95>Rome",
            "<|channel>thought\nhm<channel|>Rome",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Rome<|return|>",
            "analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Rome",
            "analysishmassistantfinalRome",
            "Here is my thought process:\nhm\n\nHere is my response:\nRome",
            "<think></think>hm</think>Rome",
            "<think>hm",
            "<think>hm<think>Rome",
            "<think>hm<\\think>Rome",
            "<think >hm</think >\nRome",
            "<reasoning_process>hm</reasoning_process>\nRome",
            "<self-reflection>hm</self-reflection>\nRome",
            "<monologue>hm</monologue>\nRome",
            "<plan>hm</plan>\n\nRome",
            "<REASONING_SCRATCHPAD>hm</REASONING_SCRATCHPAD>\nRome",
            "<|reasoning|>hm<|/reasoning|>Rome",
            "<|think|>hm</|think|>Rome",
            "<|startofthink|>hm<|endofthink|>Rome",
            "[REASONING]hm[/REASONING]\nRome",
            "[BEGIN_THINK]hm[END_THINK]Rome",
            "&lt;think&gt;hm&lt;/think&gt;\nRome",
            "hm\n</reasoning>\n\nRome",
            "hm</analysis>\nRome",
            "hm\n</reflection>Rome",
            "hm</scratchpad>Rome",
            "hm\n</reasoning_process>\nRome",
            "<details type=\"reasoning\" done=\"true\" duration=\"3\">\n<summary>Thought for 3 seconds</summary>\nhm\n</details>\nRome",
            "<details><summary>Thinking</summary>\nhm</details>\nRome",
            "```thinking\nhm\n```\nRome",
            "Thinking...\nhm\n...done thinking.\n\nRome",
            "Thinking:\nhm\n\nAnswer:\nRome",
            "**Thinking:**\nhm\n\n**Answer:**\nRome",
            "### Thought process\nhm\n### Response\nRome",
            "Here are my reasoning steps:\nhm\n\n[BEGIN FINAL RESPONSE]\nRome\n[END FINAL RESPONSE]\n<|end|>",
            "hm\n[BEGIN FINAL RESPONSE]\nRome",
            "<|im_start|>think\nhm<|im_end|>\n<|im_start|>answer\nRome",
            "<think>hm</think>\n\n**Final Answer**\nRome",
            "<think>hm</think>\n\n<|begin_of_box|>Rome<|end_of_box|>",
            "<think>hm</think><answer>Rome</answer></s>",
            "<think>hm</think>\n<response>\n**Answer:**\nRome\n</response>",
        ] {
            let (reasoning, answer) = parts(text);
            assert_eq!(reasoning, "hm", "{text}");
            let wanted = if text.contains("Rome") { "Rome" } else { "" };
            assert_eq!(answer.trim_end(), wanted, "{text}");
        }
    }

    #[test]
    fn blocks_between_words_leave_the_words() {
        assert_eq!(parts("Output: <think>hm</think> Rome").1, "Output: Rome");
        assert_eq!(parts("Output:<think>hm</think>\n\nRome").1, "Output:\nRome");
        assert_eq!(
            parts("a\n<think>x</think>\nb <think>y</think> c"),
            ("x\ny".into(), "a\nb c".into())
        );
        assert_eq!(parts("9. <reasoning>hm</reasoning> Rome").1, "9. Rome");
        assert_eq!(parts("<think>a <think>b</think> c</think>Rome").1, "Rome");
        assert_eq!(parts("Rome <think>cut").1, "Rome ");
        let cut = "<|channel|>analysis<|message|>hm, the user";
        assert_eq!(parts(cut), ("hm, the user".into(), String::new()));
    }

    #[test]
    fn texts_about_marks_are_left_alone() {
        for text in [
            "",
            "Rome",
            "Explain what the `<think>` tag is for",
            "a < b and c > d",
            "<analysis>all of the output</analysis>",
            "An element <reasoning>x</reasoning> within a line of text goes on",
            "analysis of the final quarter",
            "Here is my thought process: it is simple.",
            "[1] thinking",
            "Write it as XML:\n<plan>\n<step>one</step>\n</plan>\nThat is all.",
            "<report>\n<analysis>good</analysis>\n<result>5</result>\n</report>",
            "<order><id>5</id><reason>late</reason></order> was the order",
            "<plan>Buy milk</plan>",
            "Reasoning: 2 + 2 is 4.\nAnswer: 4",
            "Thought: it is late.\nAnswer: go",
            "Thinking: a way to pass the time.",
            "The closing tag </reasoning> is missing here.",
            "Score: [reasoning] behind it",
            "In HTML it is &lt;think&gt; and &lt;/think&gt;",
            "Use `<think>hm</think>` for it.",
            "SplitResponse at the mark:\n```python\ntext = \"<think>hm</think> Rome\"\n```\nThat is all.",
            "**Final Answer**\nRome",
            "```python\nprint(5)\n```\nprints 5",
            "<details><summary>More</summary>Thinking hard</details> Rome",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    proptest! {
        /// No text is lost or added.
        #[test]
        fn every_letter_is_in_one_part(pieces in prop::collection::vec("(<think>|</think>|<reasoning>|</reasoning>|\\[THINK\\]|[x-z]{1,3}|\n| )", 0..16)) {
            let text = pieces.concat();
            let letters = |text: &str| {
                let marks: Vec<Mark> = mark::marks(text).collect();
                let text = marks.iter().rev().fold(text.to_string(), |mut text, mark| {
                    text.replace_range(mark.range.clone(), "");
                    text
                });
                let mut letters: Vec<char> = text.chars().filter(|c| matches!(c, 'x'..='z')).collect();
                letters.sort_unstable();
                letters
            };
            if let Some(split) = split(&text) {
                prop_assert_eq!(letters(&text), letters(&(split.reasoning + &split.answer)));
            }
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,80}(<think>|</think>|◁think▷|<\\|message\\|>)?\\PC{0,80}") {
            split(&text);
        }
    }
}
