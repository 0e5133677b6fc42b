//! Texts as the rules see them: words, sentences, requests, quotations, code.

use crate::filter::words::is_unspaced;
use crate::fold::without_invisible;
use regex::Regex;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The words of a text as they are written, borrowed, so that a text of ten million letters costs
/// no memory. Splits like `filter::words`.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
        let first = rest.chars().next()?;
        let end = if is_unspaced(first) {
            first.len_utf8()
        } else {
            rest.find(|c: char| !c.is_alphanumeric() || is_unspaced(c))
                .unwrap_or(rest.len())
        };
        let (word, left) = rest.split_at(end);
        rest = left;
        Some(word)
    })
}

/// The number of words between white space that have a letter or digit, and the number of
/// characters in scripts without spaces, which are not in the first number.
pub(super) fn count(text: &str) -> (usize, usize) {
    let (mut spaced, mut unspaced) = (0, 0);
    for word in text.split_whitespace() {
        let characters = word.chars().filter(|&c| is_unspaced(c)).count();
        unspaced += characters;
        spaced += usize::from(characters == 0 && word.chars().any(char::is_alphanumeric));
    }
    (spaced, unspaced)
}

/// The first `bytes` bytes at most, cut between characters.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The last `bytes` bytes at most, cut between characters.
pub(super) fn tail(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

/// Declares a static regular expression. It is part of the source, so it is known to compile.
macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).unwrap());
    };
}
pub(super) use pattern;

pattern!(
    CODE_LINE,
    r"(?m)[;{}]\s*$|^\s*(?:def|class|import|from|fn|func|function|public|private|const|let|var|return|for|while|#include|SELECT|INSERT|UPDATE|CREATE|<\w+[^>]*>|\$ )\b.*[(){}=<>;:]"
);

/// Whether a text is code or markup rather than prose: it has a fence, several lines that look like
/// code, or many signs that prose lacks.
pub(super) fn is_code(text: &str) -> bool {
    let text = head(text, 4000);
    let signs = text
        .chars()
        .filter(|c| {
            matches!(
                c,
                '{' | '}' | '(' | ')' | '[' | ']' | ';' | '=' | '<' | '>' | '/' | '\\' | '|' | '_'
            )
        })
        .count();
    text.contains("```")
        || signs * 14 > text.chars().count()
        || CODE_LINE.find_iter(text).take(3).count() > text.lines().count().min(10) / 5 && signs >= 3
}

pattern!(
    QUOTED,
    "\"[^\"]+\"|“[^”]+”|«[^»]+»|„[^“”]+[“”]|「[^」]+」|`[^`]+`|(?:^|[\\s(])'[^'\\n]+'(?:[\\s.,;:!?)]|$)"
);

/// Replaces everything in quotation marks by one word: a quotation is what a task is about, not
/// what it asks.
pub(super) fn without_quotes(text: &str) -> Cow<'_, str> {
    QUOTED.replace_all(text, " quotation ")
}

/// Whether a text contains a quotation.
pub(super) fn has_quote(text: &str) -> bool {
    QUOTED.is_match(text)
}

/// The sentences of an instruction, each as its words in lower case, with commas as words.
/// Quotations and the text after a colon are left out: they are material, not instruction.
pub(super) fn sentences(instruction: &str) -> Vec<Vec<String>> {
    let seen = without_invisible(head(instruction, 4000));
    let unquoted = without_quotes(&seen);
    let mut sentences = vec![Vec::new()];
    let mut words = 0;
    for raw in unquoted.split_inclusive([' ', '\n', '\t', '\u{a0}', '\u{3000}']) {
        let ends_line = raw.ends_with('\n');
        let raw = raw.trim();
        let word = raw.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let sentence = sentences.last_mut().expect("there is always one");
        if !word.is_empty() {
            words += 1;
            sentence.push(word.replace('’', "'"));
        }
        if raw.ends_with([',', ';', '–', '—']) || raw == "-" {
            sentence.push(",".to_string());
        }
        // After "Task:" follows the instruction; after "Correct this sentence:" the material.
        if raw.ends_with(':') && words > 2 {
            break;
        }
        if ends_line || raw.ends_with(['.', '!', '?', ':', '。', '！', '？']) {
            sentences.push(Vec::new());
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// Words that may precede the verb of a request, longest first.
const LEAD_INS: &[&[&str]] = &[
    &["i", "would", "like", "you", "to"],
    &["i'd", "like", "you", "to"],
    &["i", "want", "you", "to"],
    &["i", "need", "you", "to"],
    &["your", "task", "is", "to"],
    &["your", "job", "is", "to"],
    &["your", "goal", "is", "to"],
    &["you", "are", "to"],
    &["you", "need", "to"],
    &["you", "have", "to"],
    &["go", "ahead", "and"],
    &["help", "me", "to"],
    &["can", "you"],
    &["could", "you"],
    &["would", "you"],
    &["will", "you"],
    &["you", "should"],
    &["you", "must"],
    &["help", "me"],
    &["try", "to"],
    &["let", "us"],
    &["let's"],
    &["please"],
    &["kindly"],
    &["task"],
    &["now"],
    &["first"],
    &["next"],
    &["then"],
    &["finally"],
    &["just"],
    &["also"],
    &["hey"],
    &["hi"],
    &["hello"],
    &["okay"],
    &["ok"],
    &[","],
];

/// The parts of an instruction that may begin with a verb that says what to do, each up to the end
/// of its sentence. They begin with the sentence, after words of courtesy, and after a comma or
/// "and" if the sentence does not ask how something is done.
pub(super) fn requests(sentences: &[Vec<String>]) -> Vec<Vec<&str>> {
    let mut requests = Vec::new();
    for sentence in sentences {
        let words: Vec<&str> = sentence.iter().map(String::as_str).take(120).collect();
        let mut start = 0;
        while let Some(lead) = LEAD_INS.iter().find(|lead| words[start..].starts_with(lead)) {
            start += lead.len();
        }
        requests.push(words[start..].to_vec());
        for i in start + 1..words.len() {
            if matches!(
                words[i - 1],
                "how" | "ways" | "way" | "steps" | "tips" | "why" | "who" | "whether" | "advice" | "rules"
            ) {
                break;
            }
            if matches!(words[i - 1], "," | "and" | "then") {
                let mut at = i;
                while let Some(lead) = LEAD_INS.iter().find(|lead| words[at..].starts_with(lead)) {
                    at += lead.len();
                }
                requests.push(words[at..].to_vec());
            }
        }
    }
    requests.retain(|words| !words.is_empty());
    requests
}

/// English function words: they end a noun phrase, or precede one.
const FUNCTION_WORDS: &[&str] = &[
    "of", "in", "on", "at", "to", "for", "from", "with", "without", "by", "about", "as", "into", "onto",
    "over", "under", "between", "among", "during", "before", "after", "and", "or", "but", "so", "then",
    "that", "which", "who", "whose", "where", "when", "while", "if", "is", "are", "was", "were", "be", "can",
    "could", "should", "would", "will", "may", "might", "do", "does", "did", "has", "have", "had", "it",
    "they", "he", "she", "you", "i", "we", "not", "no", "than", "because", "until", "since", "through",
    "via", "per", "against", "how", "why", "what", "there", ",",
];

/// Words that may follow the head of a noun phrase.
const AFTER_NOUN: &[&str] = &[
    "showing",
    "depicting",
    "representing",
    "illustrating",
    "displaying",
    "comparing",
    "describing",
    "using",
    "containing",
    "explaining",
    "featuring",
    "including",
    "having",
    "made",
    "based",
    "taken",
    "drawn",
    "shown",
    "attached",
    "provided",
    "given",
    "below",
    "above",
    "here",
    "today",
    "please",
    "uploaded",
    "linked",
    "quotation",
    "again",
    "carefully",
    "closely",
    "contains",
    "contain",
    "shows",
    "show",
    "depicts",
    "tells",
    "tell",
    "look",
    "looks",
    "mean",
    "means",
    "say",
    "says",
    "represents",
    "enclosed",
    "together",
    "next",
    "side",
    "just",
    "i've",
    "i'm",
    "we've",
    "you've",
    "myself",
    "itself",
    "online",
    "true",
    "false",
    "correct",
    "up",
    "down",
    "off",
    "back",
];

/// Whether a word is a preposition, conjunction, pronoun, auxiliary or the like.
pub(super) fn is_function_word(word: &str) -> bool {
    FUNCTION_WORDS.contains(&word)
}

/// The position of the first `is_noun` word in the noun phrase that begins `words`. Only the head
/// of the phrase counts: in "video game" and "map function", another noun follows, and the phrase
/// is about something else.
pub(super) fn head_noun(words: &[&str], is_noun: impl Fn(&str) -> bool) -> Option<usize> {
    const GROUPS: &[&str] = &[
        "couple",
        "set",
        "series",
        "number",
        "lot",
        "pair",
        "collection",
        "kind",
        "type",
        "sort",
        "few",
        "piece",
    ];
    for (i, word) in words.iter().enumerate().take(8) {
        if is_noun(word) && words.get(i + 1).is_none_or(|next| ends_phrase(next)) {
            return Some(i);
        }
        let joins = *word == "of" && i > 0 && GROUPS.contains(&words[i - 1])
            // "a simple, colourful picture"
            || *word == "," && i > 0 && words.get(i + 1).is_some_and(|next| !is_function_word(next));
        if is_function_word(word) && !joins {
            return None;
        }
    }
    None
}

/// Whether a noun phrase ends before the word `next`.
pub(super) fn ends_phrase(next: &str) -> bool {
    let participle = next.len() > 4 && next.ends_with("ed") || next == "written";
    participle || is_function_word(next) || AFTER_NOUN.contains(&next)
}

pattern!(
    TEXTUAL,
    r"(?i)\b(?:ascii|unicode|emojis?|svg|tikz|latex|mermaid|graphviz|plantuml|html|css|xml|json|yaml|markdown|python|java|javascript|typescript|rust|ruby|perl|php|kotlin|haskell|golang|matlab|sql|bash|shell|numpy|pandas|matplotlib|seaborn|ggplot2?|gnuplot|opencv|pillow|pytorch|tensorflow|selenium|turtle|react|code|pseudo-?code|program(?:me)?s?|programming|subroutine|algorithms?|regex|command|terminal|script|text-based|in words)\b|\bc\+\+|\bc#|\bin [CRr]\b"
);

/// Whether the instruction mentions a textual form, such as SVG or code, in which even a picture
/// can be an answer.
pub(super) fn is_textual(instruction: &str) -> bool {
    TEXTUAL.is_match(head(instruction, 4000))
}

pattern!(
    SPEECH,
    r"(?i)\b(?:e-?mails?|letters?|messages?|memos?|repl(?:y|ies|ied)|respond|answer (?:the|this) (?:customer|complaint|guest)|dialogues?|conversations?|chat|scripts?|skits?|scenes?|stor(?:y|ies)|sentences?|quotes?|quotations?|translat\w*|paraphras\w*|rewrit\w*|rephras\w*|reword\w*|convert|correct|proofread|fix|punctuat\w*|excuses?|apolog\w*|declin\w*|notes?|diar(?:y|ies)|journal|monologues?|speech|post|tweets?|caption|voicemail|sms|poems?|songs?|lyrics|role-?play|play the role|pretend|act as|imagine|continue|complete|transcri\w*|extract|interview|decode|encode|passive|tense)\b"
);

/// Whether the answer may have another speaker than the assistant: a message, a dialogue, a story,
/// a rewording.
pub(super) fn lends_voice(instruction: &str) -> bool {
    SPEECH.is_match(head(instruction, 4000))
}

/// Hashes of the words of a text in lower case.
pub(super) fn word_hashes(text: &str) -> Vec<u64> {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
    let hashes = BuildHasherDefault::<DefaultHasher>::default();
    tokens(text)
        .map(|word| {
            let mut hasher = hashes.build_hasher();
            for c in word.chars().flat_map(char::to_lowercase) {
                hasher.write_u32(c as u32);
            }
            hasher.finish()
        })
        .collect()
}

/// The share of distinct trigrams among all trigrams of words.
pub(super) fn distinct_trigrams(words: &[u64]) -> f64 {
    let all = words.len().saturating_sub(2).max(1);
    let distinct: HashSet<&[u64]> = words.windows(3).collect();
    distinct.len() as f64 / all as f64
}
