//! Rejects instructions that refer to a picture, sound or film that cannot be there.

use super::medium::{PLOTTED, SEEN, is_one_of};
use super::text::{ends_phrase, head_noun, is_textual, lends_voice, pattern, requests, sentences};
use super::{Check, EWE_AFTER_SELF_INSTRUCT, Rule, Settings, shown};
use crate::task::Reason;
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "absent_medium",
    reason: Reason::UnsuitableMedium,
    about: "leans on a picture, sound, film or file that cannot be there: `the attached photo`, `watch the video`",
    source: EWE_AFTER_SELF_INSTRUCT,
    check: Check::Instruction(absent_medium),
}];

/// Words before a noun that refer to a thing the reader is supposed to have.
const POINTING: &[&str] = &[
    "this",
    "these",
    "attached",
    "enclosed",
    "uploaded",
    "following",
    "above",
    "below",
    "given",
    "provided",
    "accompanying",
    "linked",
    "shown",
    "displayed",
];

/// Such words after the noun.
const POINTING_BACK: &[&str] = &[
    "below", "above", "attached", "provided", "shown", "here", "uploaded", "linked", "enclosed",
];

/// Verbs of looking and listening.
const PERCEIVING: &[&str] = &[
    "look",
    "watch",
    "listen",
    "view",
    "see",
    "describe",
    "caption",
    "analyze",
    "analyse",
    "examine",
    "study",
    "observe",
    "interpret",
    "inspect",
    "transcribe",
    "open",
    "play",
    "hear",
    "label",
    "annotate",
    "edit",
    "crop",
    "resize",
    "rotate",
    "colour",
    "color",
    "identify",
    "name",
    "count",
    "tag",
    "classify",
    "check",
    "read",
    "given",
    "using",
    "according",
    "based",
];

/// Files of any kind. They may be attached although they contain text.
const ATTACHED: &[&str] = &[
    "file",
    "pdf",
    "spreadsheet",
    "document",
    "attachment",
    "slide",
    "presentation",
    "image",
    "photo",
];

pattern!(
    GRAPH_THEORY,
    r"(?i)\b(?:vert(?:ex|ices)|nodes?|edges?|adjacen\w+|shortest path|spanning tree|bfs|dfs|dijkstra|cycles?|key-?value|keys?)\b"
);

fn absent_medium(instruction: &str, _: &Settings) -> Option<String> {
    let sentences = sentences(instruction);
    // A message may well mention its own attachment.
    let writes = lends_voice(instruction) && requests(&sentences).iter().any(|words| is_writing(words[0]));
    if is_textual(instruction) || writes {
        return None;
    }
    let graph_theory = GRAPH_THEORY.is_match(instruction);
    let is_medium = |noun: &str| is_one_of(noun, SEEN) || (is_one_of(noun, PLOTTED) && !graph_theory);
    for sentence in &sentences {
        let words: Vec<&str> = sentence.iter().map(String::as_str).collect();
        for (i, &word) in words.iter().enumerate() {
            let after = &words[i + 1..];
            if POINTING.contains(&word) {
                let near = |at: &usize| *at <= 2;
                let found = head_noun(after, is_medium).filter(near).or_else(|| {
                    matches!(word, "attached" | "enclosed" | "uploaded")
                        .then(|| head_noun(after, |noun| is_one_of(noun, ATTACHED)).filter(near))
                        .flatten()
                });
                if let Some(at) = found {
                    return Some(shown(&words[i..=i + 1 + at].join(" ")));
                }
            }
            if is_medium(word)
                && after.first().is_some_and(|next| POINTING_BACK.contains(next))
                && !words[..i].iter().any(|word| matches!(*word, "a" | "an"))
            {
                return Some(shown(&words[i.saturating_sub(1)..=i + 1].join(" ")));
            }
        }
        if let Some(found) = looks_at(&words, is_medium) {
            return Some(found);
        }
    }
    None
}

fn is_writing(verb: &str) -> bool {
    matches!(
        verb,
        "write" | "draft" | "compose" | "translate" | "reply" | "respond" | "rewrite" | "paraphrase"
    )
}

/// First words of questions about the content of a picture.
const ASKING: &[&str] = &[
    "what", "who", "where", "which", "is", "are", "does", "do", "identify", "name", "count", "find", "list",
    "many",
];

/// Finds "describe the image" and "what is in the photo?". Only the definite article says that
/// there is a picture, so the phrase must end with the noun, and nothing before may have introduced
/// it.
fn looks_at(words: &[&str], is_medium: impl Fn(&str) -> bool) -> Option<String> {
    // "How many are …" asks about a picture, "how" asks how something is done.
    let words = match words {
        ["how", rest @ ..] if rest.first() == Some(&"many") => rest,
        words => words,
    };
    let is_noun = |at: usize| words.get(at).is_some_and(|noun| is_medium(noun));
    for i in 0..words.len() {
        let described = is_noun(i + 2) && !ends_phrase(words[i + 1]);
        let noun = i + 1 + usize::from(described);
        if !matches!(words[i], "the" | "my") || !is_noun(noun) {
            continue;
        }
        let restricted = words.get(noun + 1).is_some_and(|next| {
            !ends_phrase(next) || ["of", "that", "which", "on", "with", "by", "quotation"].contains(next)
        });
        let introduced = words[..i].iter().any(|word| {
            is_medium(word) || ["how", "why", "when", "if", "camera", "lens", "a", "an"].contains(word)
        });
        let perceived = words[..i].iter().take(3).any(|word| PERCEIVING.contains(word))
            || (i > 0 && ["in", "from", "on"].contains(&words[i - 1]) && ASKING.contains(&words[0]))
            || (i == 1 && ["is", "does", "what's"].contains(&words[0]));
        if !restricted && !introduced && perceived {
            return Some(shown(&words[..=noun].join(" ")));
        }
    }
    None
}
