//! Finds marks of reasoning. Each model family has its own, but all have the same shape: a word for
//! thinking in brackets, perhaps with bars, a slash, or other words: `<think>`,
//! `</thinking_process>`, `<|begin_of_thought|>`, `[REASONING]`, `◁/think▷`.

use regex::{Captures, Regex};
use std::ops::Range;
use std::sync::LazyLock;

/// A mark in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub range: Range<usize>,
    /// Whether it opens reasoning; otherwise it closes it.
    pub opens: bool,
    pub kind: MarkKind,
    /// The name of the tag, which pairs opening and closing marks; empty if the kind is sure.
    pub name: String,
}

/// How certain it is that a mark is one of reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// Only reasoning is marked like this.
    Sure,
    /// A word that other XML may also use. It counts at the beginning of an answer, also after a
    /// label, if it is closed.
    Word,
    /// An ordinary word. It counts at the beginning of the text, if it is closed.
    Ordinary,
}

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| {
    let name = r"[\p{L}_][\p{L}\p{N}_:▁-]{0,40}";
    let attributes = r#"(?:\s+[\w:-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s<>"']+))*"#;
    Regex::new(&format!(
        r"(?x)
          (?P<opens> <unused94>(?:thought)? | <\|channel>thought )
        | (?P<closes> <unused95> | <channel\|> )
        | (?P<left> [<‹＜] | &lt;) \s* (?P<bar>[|｜]?) (?P<slash>[/\\]?) (?P<second_bar>[|｜]?) \s*
            (?P<name>{name}) {attributes} \s* (?P<last_bar>[|｜]?) \s* (?: [>›＞] | &gt; )
        | \[ \s* (?P<square_slash>/?) (?P<square>{name}) \s* \]
        | ◁ (?P<triangle_slash>/?) (?P<triangle>{name}) ▷"
    ))
    .expect("a fixed pattern")
});

/// Patterns of names without `_`, `-` and the like.
struct MarkNames {
    /// Words that begin or end a block in place of a slash.
    begin: Regex,
    end: Regex,
    sure: Regex,
    word: Regex,
    ordinary: Regex,
}

static NAMES: LazyLock<MarkNames> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("a fixed pattern");
    let behind = "(?:process(?:es)?|mode|steps?|content|block|chain|trace|section|text|log|phase|part|area|scratchpad|summary)?";
    let before = "(?:inner|internal|hidden|private|my|model|ai|self|deep|logical|stepbystep|chainof)?";
    MarkNames {
        begin: pattern("^(?:start|begin)(?:of)?"),
        end: pattern("^end(?:of)?"),
        sure: pattern(&format!(
            r"^(?:[\p{{L}}\p{{N}}]*?(?:think(?:ing)?|thoughts?){behind}|思考(?:过程|過程|内容)?|思维(?:链|过程)?|推理(?:过程)?)$"
        )),
        word: pattern(&format!(
            "^(?:{before}(?:reasonings?|scratchpad|rationale|cot|introspection){behind}|(?:inner|internal)monologue)$"
        )),
        ordinary: pattern(&format!(
            "^{before}(?:reason|reflections?|reflect|reflecting|analysis|analyze|monologue|plan|planning|deliberations?|deliberate|brainstorm(?:ing)?){behind}$"
        )),
    }
});

/// The marks of a text, in order.
pub(super) fn marks(text: &str) -> impl Iterator<Item = Mark> {
    BRACKETS.captures_iter(text).filter_map(|found| mark(&found))
}

fn mark(found: &Captures<'_>) -> Option<Mark> {
    let range = found.get(0)?.range();
    let sure = |opens| Mark {
        range: range.clone(),
        opens,
        kind: MarkKind::Sure,
        name: String::new(),
    };
    if found.name("opens").is_some() {
        return Some(sure(true));
    }
    if found.name("closes").is_some() {
        return Some(sure(false));
    }
    let part = |name: &str| found.name(name).map_or("", |part| part.as_str());
    let (name, slash) = [
        ("name", "slash"),
        ("square", "square_slash"),
        ("triangle", "triangle_slash"),
    ]
    .map(|(name, slash)| (part(name), part(slash)))
    .into_iter()
    .find(|(name, _)| !name.is_empty())?;
    let (bare, said) = bare(name);
    let kind = kind(&bare)?;
    let bars = (
        !part("bar").is_empty() || !part("second_bar").is_empty(),
        !part("last_bar").is_empty(),
    );
    let kind = match bars {
        // Half of a special token.
        (false, true) | (true, false) => return None,
        (true, true) => MarkKind::Sure,
        _ if !part("triangle").is_empty() => MarkKind::Sure,
        // Text about marks may escape them like this.
        _ if part("left") == "&lt;" => MarkKind::Ordinary,
        // `[reasoning]` is a placeholder.
        _ if !part("square").is_empty() => match (bare.as_str(), name.chars().any(char::is_lowercase)) {
            ("think" | "thinking", _) => MarkKind::Sure,
            (_, true) => return None,
            (_, false) => MarkKind::Ordinary,
        },
        _ => kind,
    };
    Some(Mark {
        range,
        opens: slash.is_empty() && said != Some(false),
        kind,
        name: if kind == MarkKind::Sure {
            String::new()
        } else {
            bare
        },
    })
}

/// A name in lower case, without separators and without a word that begins or ends a block. Also
/// returns whether that word, if there is one, begins the block.
fn bare(name: &str) -> (String, Option<bool>) {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ':' | '▁'));
    let whole: String = letters.flat_map(char::to_lowercase).collect();
    for (pattern, opens) in [(&NAMES.begin, true), (&NAMES.end, false)] {
        let rest = pattern.replace(&whole, "");
        if rest.len() < whole.len() && kind(&rest).is_some() {
            return (rest.into_owned(), Some(opens));
        }
    }
    (whole, None)
}

/// The kind of a bare name; `None` if it is not a word for reasoning.
fn kind(bare: &str) -> Option<MarkKind> {
    [
        (&NAMES.sure, MarkKind::Sure),
        (&NAMES.word, MarkKind::Word),
        (&NAMES.ordinary, MarkKind::Ordinary),
    ]
    .into_iter()
    .find(|(names, _)| names.is_match(bare))
    .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> (bool, MarkKind) {
        let marks: Vec<Mark> = marks(text).collect();
        assert_eq!(marks.len(), 1, "{text}: {marks:?}");
        assert_eq!(marks[0].range, 0..text.len(), "{text}");
        (marks[0].opens, marks[0].kind)
    }

    #[test]
    fn marks_are_made_alike() {
        for (open, close) in [
            ("<think>", "</think>"),
            ("<Think >", "</Think >"),
            ("< think >", "</ think >"),
            ("<think time=\"3s\" id='a'>", "<\\think>"),
            ("<thinking mode=deep>", "</thinking>"),
            ("<seed:think>", "</seed:think>"),
            ("<ernie_think>", "</ernie_think>"),
            ("<antThinking>", "</antThinking>"),
            ("<deepthink>", "</deepthink>"),
            ("<thought_process>", "</thought_process>"),
            ("<thinking-process>", "</thinking-process>"),
            ("<internal_thoughts>", "</internal_thoughts>"),
            ("<chain_of_thought>", "</chain_of_thought>"),
            ("<思考>", "</思考>"),
            ("‹思考>", "‹/思考>"),
            ("＜思维链＞", "＜/思维链＞"),
            ("<|think|>", "<|/think|>"),
            ("<|think|>", "</|think|>"),
            ("<｜think｜>", "<｜/think｜>"),
            ("‹｜think｜>", "‹｜/think｜>"),
            ("<|thought|>", "<|/thought|>"),
            ("<|reasoning|>", "<|/reasoning|>"),
            ("<|begin_of_reasoning|>", "<|end_of_reasoning|>"),
            ("<|start_of_thinking|>", "<|end_of_thinking|>"),
            ("<|startofthink|>", "<|endofthink|>"),
            ("<|START_THINKING|>", "<|END_THINKING|>"),
            ("<｜begin▁of▁thinking｜>", "<｜end▁of▁thinking｜>"),
            ("[THINK]", "[/THINK]"),
            ("[think]", "[/think]"),
            ("[BEGIN_THINK]", "[END_THINK]"),
            ("◁think▷", "◁/think▷"),
            ("<unused94>thought", "<unused95>"),
            ("<|channel>thought", "<channel|>"),
        ] {
            assert_eq!(only(open), (true, MarkKind::Sure), "{open}");
            assert_eq!(only(close), (false, MarkKind::Sure), "{close}");
        }
        for (name, kind) in [
            ("<reasoning>", MarkKind::Word),
            ("<reasoning_process>", MarkKind::Word),
            ("<reasoning_content>", MarkKind::Word),
            ("<REASONING_SCRATCHPAD>", MarkKind::Word),
            ("<scratchpad>", MarkKind::Word),
            ("<inner_monologue>", MarkKind::Word),
            ("<monologue>", MarkKind::Ordinary),
            ("<plan>", MarkKind::Ordinary),
            ("<analysis>", MarkKind::Ordinary),
            ("<self-reflection>", MarkKind::Ordinary),
            ("[REASONING]", MarkKind::Ordinary),
            ("&lt;think&gt;", MarkKind::Ordinary),
        ] {
            assert_eq!(only(name), (true, kind), "{name}");
        }
    }

    #[test]
    fn other_brackets_are_no_marks() {
        for text in [
            "<b>",
            "<html lang=\"en\">",
            "a < think and b > c",
            "<think about it>",
            "[reasoning]",
            "[1]",
            "[thought]",
            "<|user|>",
            "<|think>",
            "<think|>",
            "<thought_bubble>",
            "<planet>",
            "<unused93>",
            "<reasonable>",
        ] {
            assert_eq!(marks(text).next(), None, "{text}");
        }
    }
}
