//! Marks of reasoning: each family of models has its own, and all are made alike. A word for
//! thinking stands in brackets, perhaps with bars, a slash, or words around it: `<think>`,
//! `</thinking_process>`, `<|begin_of_thought|>`, `[REASONING]`, `◁/think▷`.

use regex::{Captures, Regex};
use std::ops::Range;
use std::sync::LazyLock;

/// A mark in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub range: Range<usize>,
    /// Whether it opens reasoning, or else closes it.
    pub opens: bool,
    pub kind: Kind,
    /// By which an element that may be of another kind is told from others; empty where the kind is
    /// sure.
    pub name: String,
}

/// How sure it is that a mark is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing else is written so.
    Sure,
    /// A word that XML of another kind may use as well: it counts where an answer begins, behind
    /// its label too, and is closed.
    Word,
    /// An ordinary word: it counts where the whole text begins, and is closed.
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

/// Names, without what divides their words.
struct Names {
    /// What begins and ends a block, where no slash does.
    begin: Regex,
    end: Regex,
    sure: Regex,
    word: Regex,
    ordinary: Regex,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("a fixed pattern");
    let behind = "(?:process(?:es)?|mode|steps?|content|block|chain|trace|section|text|log|phase|part|area|scratchpad|summary)?";
    let before = "(?:inner|internal|hidden|private|my|model|ai|self|deep|logical|stepbystep|chainof)?";
    Names {
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
        kind: Kind::Sure,
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
        // Half of what only a tokenizer writes.
        (false, true) | (true, false) => return None,
        (true, true) => Kind::Sure,
        _ if !part("triangle").is_empty() => Kind::Sure,
        // Text about marks has them so, too.
        _ if part("left") == "&lt;" => Kind::Ordinary,
        // `[reasoning]` is a place to be filled in.
        _ if !part("square").is_empty() => match (bare.as_str(), name.chars().any(char::is_lowercase)) {
            ("think" | "thinking", _) => Kind::Sure,
            (_, true) => return None,
            (_, false) => Kind::Ordinary,
        },
        _ => kind,
    };
    Some(Mark {
        range,
        opens: slash.is_empty() && said != Some(false),
        kind,
        name: if kind == Kind::Sure { String::new() } else { bare },
    })
}

/// A name in small letters, without what divides its words and without a word for the beginning or
/// the end of a block; whether that word, if any, is for the beginning.
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

fn kind(bare: &str) -> Option<Kind> {
    [
        (&NAMES.sure, Kind::Sure),
        (&NAMES.word, Kind::Word),
        (&NAMES.ordinary, Kind::Ordinary),
    ]
    .into_iter()
    .find(|(names, _)| names.is_match(bare))
    .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> (bool, Kind) {
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
            assert_eq!(only(open), (true, Kind::Sure), "{open}");
            assert_eq!(only(close), (false, Kind::Sure), "{close}");
        }
        for (name, kind) in [
            ("<reasoning>", Kind::Word),
            ("<reasoning_process>", Kind::Word),
            ("<reasoning_content>", Kind::Word),
            ("<REASONING_SCRATCHPAD>", Kind::Word),
            ("<scratchpad>", Kind::Word),
            ("<inner_monologue>", Kind::Word),
            ("<monologue>", Kind::Ordinary),
            ("<plan>", Kind::Ordinary),
            ("<analysis>", Kind::Ordinary),
            ("<self-reflection>", Kind::Ordinary),
            ("[REASONING]", Kind::Ordinary),
            ("&lt;think&gt;", Kind::Ordinary),
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
