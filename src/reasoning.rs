//! What a model thinks aloud, apart from what it answers.
//!
//! Servers with a parser for it hand reasoning over in a field of its own. Others leave it in the text, between marks that
//! each family of models has its own of; where a chat template writes the opening one, only the closing one arrives.

use regex::{Match, Regex};
use std::sync::LazyLock;

/// A text in its two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What stood between marks of reasoning.
    pub reasoning: String,
    /// The rest.
    pub answer: String,
}

/// Marks. `o` opens reasoning and `c` closes it, whatever stands around them; `wo` and `wc` are words that XML of another
/// kind may use as well.
static MARK: LazyLock<Regex> = LazyLock::new(|| {
    let names = r"(?:\w+[:_])?think|thinking|(?:\w+[:_])?thoughts?|ant_?thinking";
    let words =
        r"reasoning|reason|reflection|analysis|scratchpad|rationale|cot|(?:inner|internal)_?monologue";
    Regex::new(&format!(
        r"(?i)(?P<o><(?:{names})>|\[think(?:ing)?\]|◁think▷|<\|(?:begin_of_thought|start_thinking|thinking|think)\|>|<\|channel>thought|<unused94>(?:thought)?)|(?P<c></(?:{names})>|\[/think(?:ing)?\]|◁/think▷|<\|(?:end_of_thought|end_thinking|/thinking|/think)\|>|<channel\|>|<unused95>)|<(?P<wo>{words})>|</(?P<wc>{words})>"
    ))
    .expect("a fixed pattern")
});

/// A message's head in OpenAI's Harmony format, with the channel that it goes to.
static CHANNEL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:<\|start\|>\s*assistant\s*)?(?:<\|channel\|>)?(analysis|commentary|final)\b[^<\n]{0,80}(?:<\|constrain\|>\w*)?<\|message\|>",
    )
    .expect("a fixed pattern")
});

/// What ends a message there.
static MESSAGE_END: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<\|(?:end|return|call)\|>|<\|start\|>\s*assistant\s*$").expect("a fixed pattern")
});

/// The same where the server took the marks out and left the words.
static BARE_CHANNELS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)^\s*analysis(\S.*?)assistantfinal(.*)$").expect("a fixed pattern"));

/// The two headings of IBM's Granite.
static HEADINGS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?is)^\s*here(?: i|')s my thought process:(.*?)\n\s*here(?: i|')s my response:(.*)$")
        .expect("a fixed pattern")
});

/// What some models wrap the answer behind their reasoning in.
static WRAPPED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?is)^\s*(?:<(?:answer|response|final|final_answer|solution|output)>|<\|(?:begin_of_solution|start_response)\|>)(.*?)(?:</(?:answer|response|final|final_answer|solution|output)>|<\|(?:end_of_solution|end_response)\|>)?\s*$",
    )
    .expect("a fixed pattern")
});

/// Takes reasoning out of a text; none where there is none.
///
/// A closing mark without an opening one makes everything before it reasoning, an opening mark without a closing one
/// everything behind it. A mark in quotation marks is talked about and marks nothing. A word that may be an element of any
/// XML counts at the beginning of a line, if it is closed and something follows.
pub fn split(text: &str) -> Option<Split> {
    let split = channels(text)
        .or_else(|| pair(&BARE_CHANNELS, text))
        .or_else(|| pair(&HEADINGS, text))
        .or_else(|| marks(text))?;
    let answer = match WRAPPED.captures(&split.answer) {
        Some(wrapped) => wrapped[1].trim().to_string(),
        None => split.answer,
    };
    Some(Split { answer, ..split })
}

/// Whether a mark is in a text that should have none left.
pub fn has_marks(text: &str) -> bool {
    MARK.captures_iter(text).any(|found| {
        let sure = found.name("o").or(found.name("c"));
        sure.is_some_and(|mark| !is_quoted(text, &mark))
    }) || CHANNEL.is_match(text)
}

fn pair(pattern: &Regex, text: &str) -> Option<Split> {
    let found = pattern.captures(text)?;
    Some(Split {
        reasoning: found[1].trim().to_string(),
        answer: found[2].trim_start().to_string(),
    })
}

fn channels(text: &str) -> Option<Split> {
    let heads: Vec<_> = CHANNEL.captures_iter(text).collect();
    let first = heads.first()?.get(0)?;
    // Words before the first head: an answer, if anything.
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
    Some(Split { reasoning, answer })
}

fn marks(text: &str) -> Option<Split> {
    let (mut reasoning, mut answer) = (String::new(), String::new());
    // Where the text goes on, and within which block; a block of a word is known by it.
    let (mut at, mut block, mut depth) = (0, None::<String>, 0);
    let mut found_any = false;
    for found in MARK.captures_iter(text) {
        let mark = found.get(0).expect("the whole");
        if is_quoted(text, &mark) {
            continue;
        }
        let word = found
            .name("wo")
            .or(found.name("wc"))
            .map_or(String::new(), |word| word.as_str().to_lowercase());
        let opens = found.name("o").is_some() || found.name("wo").is_some();
        match &block {
            Some(inside) if *inside != word => {}
            Some(_) if opens => depth += 1,
            Some(_) if depth > 0 => depth -= 1,
            Some(_) => {
                push(&mut reasoning, text[at..mark.start()].trim());
                (at, block) = (after(text, &mark, &answer), None);
            }
            None if opens && (word.is_empty() || begins_a_block(text, &mark, &word)) => {
                answer.push_str(&text[at..mark.start()]);
                (at, block, depth, found_any) = (mark.end(), Some(word), 0, true);
            }
            None if !opens && word.is_empty() => {
                answer.push_str(&text[at..mark.start()]);
                push(&mut reasoning, std::mem::take(&mut answer).trim());
                (at, found_any) = (after(text, &mark, ""), true);
            }
            None => {}
        }
    }
    match block {
        Some(_) => push(&mut reasoning, text[at..].trim()),
        None => answer.push_str(&text[at..]),
    }
    found_any.then_some(Split { reasoning, answer })
}

/// Where a text goes on behind a block. What the model put between its thoughts and its answer is neither's.
fn after(text: &str, mark: &Match<'_>, before: &str) -> usize {
    let rest = &text[mark.end()..];
    let space = rest.len() - rest.trim_start().len();
    // Behind a word, one sign of what divides it from the next is kept.
    let keeps = before
        .chars()
        .next_back()
        .is_some_and(|last| !last.is_whitespace());
    mark.end()
        + match keeps.then(|| rest.chars().next()).flatten() {
            Some(first) if first.is_whitespace() => space - 1.min(space),
            _ => space,
        }
}

fn push(reasoning: &mut String, more: &str) {
    if !reasoning.is_empty() && !more.is_empty() {
        reasoning.push('\n');
    }
    reasoning.push_str(more);
}

fn is_quoted(text: &str, mark: &Match<'_>) -> bool {
    let before = text[..mark.start()].chars().next_back();
    let after = text[mark.end()..].chars().next();
    let is_quote = |c: char| matches!(c, '`' | '"' | '\'' | '“' | '”' | '‘' | '’' | '«' | '»');
    before.is_some_and(is_quote) && after.is_some_and(is_quote)
}

/// Whether an element of this word stands at the beginning of a line, behind a label at most, and has an end and something
/// behind it.
fn begins_a_block(text: &str, mark: &Match<'_>, word: &str) -> bool {
    let line = text[..mark.start()]
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .trim();
    let is_label =
        line.len() <= 30 && line.ends_with([':', '.', ')']) && line.split_whitespace().count() <= 3;
    let rest = &text[mark.end()..];
    let end = rest.to_ascii_lowercase().find(&format!("</{word}>"));
    (line.is_empty() || is_label) && end.is_some_and(|end| !rest[end + word.len() + 3..].trim().is_empty())
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
        ] {
            let (reasoning, answer) = parts(text);
            assert_eq!(reasoning, "hm", "{text}");
            let wanted = if text.contains("Rome") { "Rome" } else { "" };
            assert_eq!(answer, wanted, "{text}");
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
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    proptest! {
        /// Nothing is lost and nothing is invented.
        #[test]
        fn every_letter_is_in_one_part(pieces in prop::collection::vec("(<think>|</think>|<reasoning>|</reasoning>|\\[THINK\\]|[x-z]{1,3}|\n| )", 0..16)) {
            let text = pieces.concat();
            let letters = |text: &str| {
                let text = MARK.replace_all(text, "");
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
