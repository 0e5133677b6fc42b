//! Rejects instructions that refer to a text which the input does not have.

use super::medium::is_one_of;
use super::text::{ends_phrase, has_quote, head, head_noun, is_textual, requests, sentences, tokens};
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::{Instance, Reason};

pub(super) const RULES: &[Rule] = &[Rule {
    name: "missing_context",
    reason: Reason::MissingContext,
    about: "an instruction that leans on a text it does not have, with an empty input: `the passage below`",
    source: EWE,
    check: Check::Instance(missing_context),
}];

/// Texts that instructions apply to, in the singular.
const TEXTS: &[&str] = &[
    "sentence",
    "paragraph",
    "passage",
    "text",
    "article",
    "story",
    "poem",
    "email",
    "e-mail",
    "letter",
    "review",
    "tweet",
    "post",
    "comment",
    "essay",
    "document",
    "report",
    "conversation",
    "dialogue",
    "dialog",
    "transcript",
    "speech",
    "quote",
    "quotation",
    "excerpt",
    "extract",
    "snippet",
    "list",
    "table",
    "dataset",
    "data",
    "word",
    "phrase",
    "number",
    "statement",
    "claim",
    "headline",
    "recipe",
    "resume",
    "abstract",
    "question",
    "lyrics",
    "input",
    "information",
    "fact",
    "equation",
    "expression",
    "sequence",
    "message",
    "code",
    "event",
    "item",
    "option",
    "answer",
    "premise",
    "clue",
    "symptom",
    "summary",
    "blurb",
    "caption",
    "song",
    "news",
    "product",
    "description",
    "prompt",
    "scenario",
    "situation",
    "problem",
    "riddle",
    "puzzle",
    "array",
    "string",
    "function",
    "query",
    "log",
    "note",
    "verse",
    "stanza",
    "line",
    "pair",
    "ingredient",
    "name",
    "title",
    "term",
    "topic",
    "task",
    "contract",
    "clause",
];

fn is_text(word: &str) -> bool {
    TEXTS.contains(&word)
        || word.strip_suffix('s').is_some_and(|one| TEXTS.contains(&one))
        || word
            .strip_suffix("ies")
            .is_some_and(|stem| matches!(stem, "stor" | "quer" | "summar"))
}

/// Verbs that change or assess a text, which must be there.
const TRANSFORMING: &[&str] = &[
    "rewrite",
    "summarize",
    "summarise",
    "translate",
    "classify",
    "correct",
    "edit",
    "paraphrase",
    "proofread",
    "rephrase",
    "reword",
    "shorten",
    "simplify",
    "categorize",
    "categorise",
    "label",
    "read",
    "punctuate",
    "condense",
    "convert",
    "reorder",
    "fix",
    "reply",
];

/// First words of sentences that only describe the form of the answer.
const MANNER: &str = "answer use give write reply respond return choose make be do don't keep include explain only your the \
    please output provide list state say then label pick select rate rank format ensure avoid mention and \
    note if one just summarize summarise identify classify rewrite translate correct try what is how which \
    who why does it there each a you describe limit add remember also determine tell find name highlight \
    read separate sort put replace decide";

fn missing_context(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    if !instance.input.trim().is_empty() || brings_material(instruction) {
        return None;
    }
    let sentences = sentences(instruction);
    for (n, sentence) in sentences.iter().enumerate() {
        let words: Vec<&str> = sentence.iter().map(String::as_str).collect();
        let told_before = sentences[..n]
            .iter()
            .any(|sentence| sentence.len() >= 4 && !is_request(sentence));
        let told_after = sentences[n + 1..].iter().any(|sentence| tells(sentence, &words));
        for (i, &word) in words.iter().enumerate() {
            let after = &words[i + 1..];
            let near = |most: usize| head_noun(after, is_text).filter(|at| *at <= most);
            let found = match word {
                "following" | "given" | "provided"
                    if i > 0 && matches!(words[i - 1], "the" | "these" | "this" | "each" | "of")
                        || i == 0 =>
                {
                    near(2).filter(|_| !told_after)
                }
                "above" if i > 0 && words[i - 1] == "the" => near(2).filter(|_| !told_before),
                "this" | "these" => near(2).filter(|_| {
                    !told_before
                        && !told_after
                        && !introduced(&words[..i])
                        && !sentences[..n].iter().any(|sentence| introduces(sentence))
                }),
                _ if is_text(word)
                    && after
                        .first()
                        .is_some_and(|next| matches!(*next, "below" | "above" | "provided" | "attached"))
                    // "The numbers below ten" are all there.
                    && after.get(1).is_none_or(|next| ends_phrase(next))
                    && i > 0 =>
                {
                    Some(0).filter(|_| !told_after && !told_before && !matches!(words[i - 1], "a" | "an"))
                }
                _ => None,
            };
            if let Some(at) = found {
                return Some(shown(
                    &words[i.saturating_sub(1)..(i + 2 + at).min(words.len())].join(" "),
                ));
            }
        }
        if !told_before
            && !told_after
            && let Some(found) = transforms_nothing(&words)
        {
            return Some(found);
        }
    }
    None
}

fn says_manner(sentence: &[String]) -> bool {
    MANNER.split(' ').any(|word| word == sentence[0])
}

/// Whether the sentence is the text that an earlier one refers to: it does more than describe the
/// form of the answer, or is the question after "the following question".
fn tells(sentence: &[String], earlier: &[&str]) -> bool {
    let announced = |word: &&str| {
        ["question", "problem", "riddle"]
            .iter()
            .any(|kind| word.starts_with(kind))
    };
    let asks = || {
        [
            "what", "who", "why", "how", "which", "is", "does", "if", "the", "a", "there", "where", "when",
        ]
        .contains(&sentence[0].as_str())
    };
    sentence.len() >= 3 && (!says_manner(sentence) || asks() && earlier.iter().any(announced))
}

/// Whether the instruction contains its own text: a quotation, words after a colon, a second line,
/// figures.
fn brings_material(instruction: &str) -> bool {
    let text = head(instruction, 8000).trim();
    let after_colon = text
        .split_once([':', '：'])
        .is_some_and(|(_, rest)| tokens(rest).next().is_some());
    let second_line = text
        .split_once('\n')
        .is_some_and(|(_, rest)| tokens(rest).take(3).count() == 3);
    let dash = [" - ", " – ", " — ", "— "].iter().any(|dash| text.contains(dash));
    let bracketed = text.contains('(') || text.contains('[') || text.contains('{');
    let figures = text
        .split_whitespace()
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    let listed = text.matches(',').count() >= 3;
    has_quote(text)
        || after_colon
        || second_line
        || dash
        || bracketed
        || figures >= 3
        || listed
        || is_textual(text)
}

fn is_request(sentence: &[String]) -> bool {
    says_manner(sentence) || TRANSFORMING.contains(&sentence[0].as_str())
}

/// Whether the words before "this" introduce it, as in "given a word, use this word".
fn introduced(before: &[&str]) -> bool {
    before.iter().any(|word| {
        matches!(
            *word,
            "a" | "an"
                | "some"
                | "any"
                | "each"
                | "every"
                | "your"
                | "two"
                | "three"
                | "about"
                | "that"
                | "quotation"
        )
    })
}

/// Whether a sentence introduces something that a later "this" may mean, as in "Write a question.
/// Why did you choose this question?"
fn introduces(sentence: &[String]) -> bool {
    sentence.iter().any(|word| matches!(word.as_str(), "a" | "an"))
}

/// Texts that are hardly ever meant in general.
const WORKED_ON: &[&str] = &[
    "sentence",
    "paragraph",
    "passage",
    "text",
    "article",
    "story",
    "poem",
    "email",
    "letter",
    "review",
    "tweet",
    "dialogue",
    "conversation",
    "excerpt",
    "essay",
];

/// Verbs and question words that ask about the content of a text.
const ASKING_OF: &[&str] = &[
    "what",
    "who",
    "correct",
    "identify",
    "find",
    "extract",
    "count",
    "underline",
    "highlight",
    "replace",
    "remove",
    "list",
    "spot",
    "which",
];

/// Finds "summarise the article" and "what is the tone of the passage": a definite article, and no
/// word that says which text is meant.
fn transforms_nothing(words: &[&str]) -> Option<String> {
    let whole = vec![words.iter().map(|word| word.to_string()).collect::<Vec<_>>()];
    let request = requests(&whole).into_iter().next()?;
    let (verb, object) = (request[0], &request[1..]);
    if let [.., "of" | "in" | "from", "the", noun] = request[..]
        && (ASKING_OF.contains(&verb) || TRANSFORMING.contains(&verb))
        && is_one_of(noun, WORKED_ON)
        && !request.iter().any(|word| matches!(*word, "a" | "an" | "your"))
    {
        return Some(shown(&request[request.len() - 3..].join(" ")));
    }
    if !TRANSFORMING.contains(&verb) || object.first() != Some(&"the") {
        return None;
    }
    let at = head_noun(object, |noun| is_one_of(noun, WORKED_ON))?;
    let free = object.get(at + 1).is_none_or(|next| {
        matches!(
            *next,
            "in" | "into"
                | "to"
                | "and"
                | "as"
                | ","
                | "using"
                | "so"
                | "by"
                | "carefully"
                | "given"
                | "below"
        )
    });
    (at <= 2 && free).then(|| shown(&request[..=at + 1].join(" ")))
}
