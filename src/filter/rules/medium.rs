//! Rejects instructions to make a picture, sound or film, of a model that can only write. The
//! position of the word in the sentence decides: "a video game" and "the map of an argument" are
//! about text.

use super::text::{ends_phrase, head_noun, is_textual, requests, sentences};
use super::{Check, EWE_AFTER_SELF_INSTRUCT, Rule, Settings, shown};
use crate::task::Reason;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "makes_medium",
    reason: Reason::UnsuitableMedium,
    about: "asks to make something other than text: a verb of making with a picture, sound or film as its object",
    source: EWE_AFTER_SELF_INSTRUCT,
    check: Check::Instruction(makes_medium),
}];

/// Things that are seen or heard, in the singular. The plural adds an s.
pub(super) const SEEN: &[&str] = &[
    "image",
    "picture",
    "photo",
    "photograph",
    "snapshot",
    "selfie",
    "screenshot",
    "drawing",
    "illustration",
    "diagram",
    "flowchart",
    "infographic",
    "animation",
    "gif",
    "video",
    "audio",
    "recording",
    "soundtrack",
    "clip",
    "footage",
];

/// Graphic forms of data. A text may describe one that is given, but a model of text cannot make
/// one.
pub(super) const PLOTTED: &[&str] = &[
    "graph",
    "chart",
    "map",
    "histogram",
    "scatterplot",
    "heatmap",
    "flowchart",
];

/// Other things that are made and are not text.
const MADE: &[&str] = &[
    "sketch",
    "doodle",
    "painting",
    "collage",
    "logo",
    "sculpture",
    "cartoon",
    "music",
    "melody",
    "wallpaper",
    "blueprint",
    "mindmap",
    "powerpoint",
];

pub(super) fn is_one_of(word: &str, nouns: &[&str]) -> bool {
    nouns.contains(&word) || word.strip_suffix('s').is_some_and(|one| nouns.contains(&one))
}

fn is_made(word: &str) -> bool {
    is_one_of(word, SEEN) || is_one_of(word, PLOTTED) || is_one_of(word, MADE)
}

/// Verbs that ask for a picture or sound if their object is one.
const MAKING: &[&str] = &[
    "create",
    "make",
    "generate",
    "produce",
    "design",
    "draw",
    "sketch",
    "paint",
    "plot",
    "build",
    "render",
    "take",
    "record",
    "compose",
    "develop",
    "provide",
    "give",
    "show",
    "send",
    "add",
    "insert",
    "include",
    "display",
    "prepare",
    "construct",
    "edit",
    "crop",
    "resize",
    "upload",
    "attach",
    "print",
    "shoot",
    "film",
    "animate",
    "colour",
    "color",
    "find",
    "get",
    "download",
    "share",
    "publish",
];

/// Words before a noun with which it is a picture in words, or a map in mathematics.
const FIGURATIVE: &[&str] = &[
    "mental",
    "vivid",
    "clear",
    "brief",
    "big",
    "bigger",
    "complete",
    "fuller",
    "overall",
    "general",
    "accurate",
    "verbal",
    "word",
    "character",
    "comedy",
    "biographical",
    "hash",
    "linear",
    "bijective",
    "complete",
    "bipartite",
    "directed",
    "undirected",
    "connected",
    "planar",
    "road",
    "site",
    "sheet",
    "concise",
    "natal",
    "birth",
    "org",
    "comparison",
    "table",
    "seating",
    "chore",
    "reward",
    "conversion",
    "gantt",
];

fn makes_medium(instruction: &str, _: &Settings) -> Option<String> {
    let sentences = sentences(instruction);
    for request in requests(&sentences) {
        let (verb, object) = (request[0], &request[1..]);
        let found = match verb {
            "draw" if draws(object) => Some(object.len().min(5)),
            "sketch" | "paint" | "doodle" if outlines(object) => Some(object.len().min(5)),
            "plot" if plots(object) => Some(object.len().min(5)),
            "photograph" | "videotape" | "animate" if !object.is_empty() && !ends_phrase(object[0]) => {
                Some(object.len().min(5))
            }
            verb if MAKING.contains(&verb) => head_noun(object, is_made)
                .filter(|&at| !object[..at].iter().any(|word| FIGURATIVE.contains(word)))
                .map(|at| at + 1),
            _ => None,
        };
        if let Some(length) = found
            && !is_textual(instruction)
        {
            return Some(shown(&request[..=length].join(" ")));
        }
    }
    None
}

/// Objects of "draw" that need no pen.
const DRAWN_IN_WORDS: &[&str] = &[
    "conclusion",
    "conclusions",
    "inference",
    "inferences",
    "comparison",
    "comparisons",
    "parallel",
    "parallels",
    "distinction",
    "distinctions",
    "attention",
    "lesson",
    "lessons",
    "analogy",
    "analogies",
    "connection",
    "connections",
    "inspiration",
    "contrast",
    "contrasts",
    "link",
    "links",
    "insight",
    "insights",
    "implications",
    "card",
    "cards",
    "lots",
    "straws",
    "breath",
    "moral",
    "outline",
    "contract",
    "plan",
    "line",
    "table",
    "tree",
    "timeline",
    "similarities",
    "differences",
    "correlation",
    "correlations",
];

fn draws(object: &[&str]) -> bool {
    let idiom = matches!(
        object.first(),
        None | Some(&"on" | &"upon" | &"up" | &"from" | &"out" | &"near" | &"," | &"is")
    );
    let abstract_ = |noun: &str| DRAWN_IN_WORDS.contains(&noun) && !matches!(noun, "tree" | "line");
    let straight_line =
        head_noun(object, |noun| noun == "line").is_some_and(|at| object.get(at + 1) == Some(&"between"));
    // "Draw a card", but "draw three cats playing cards".
    let in_words = head_noun(object, abstract_).is_some_and(|at| at <= 1 || !object[at].starts_with("card"));
    !idiom && !straight_line && !in_words
}

/// Objects of "sketch", "paint" and "plot" that are texts.
const OUTLINED: &[&str] = &[
    "plan",
    "plans",
    "outline",
    "argument",
    "proof",
    "idea",
    "ideas",
    "scenario",
    "story",
    "plot",
    "character",
    "characters",
    "dialogue",
    "scene",
    "schedule",
    "profile",
    "biography",
    "strategy",
    "proposal",
    "agenda",
    "lesson",
    "solution",
    "design",
    "approach",
    "architecture",
    "algorithm",
    "timeline",
    "structure",
    "response",
    "answer",
    "itinerary",
    "history",
    "life",
    "essay",
    "speech",
    "budget",
    "experiment",
    "course",
    "programme",
    "curriculum",
    "workflow",
    "process",
];

fn outlines(object: &[&str]) -> bool {
    let idiom = matches!(object.first(), None | Some(&"out" | &","));
    let in_words = object
        .windows(2)
        .any(|pair| matches!(pair, ["with" | "in", "words"]));
    !idiom
        && !in_words
        && head_noun(object, |noun| OUTLINED.contains(&noun)).is_none()
        && !object.iter().take(4).any(|word| FIGURATIVE.contains(word))
}

fn plots(object: &[&str]) -> bool {
    let narrative = |noun: &str| {
        OUTLINED.contains(&noun)
            || matches!(
                noun,
                "mystery"
                    | "novel"
                    | "thriller"
                    | "book"
                    | "revenge"
                    | "film"
                    | "movie"
                    | "twist"
                    | "twists"
                    | "points"
                    | "heist"
            )
    };
    !matches!(object.first(), None | Some(&"out" | &"," | &"of" | &"is"))
        && head_noun(object, narrative).is_none()
}
