//! Rejects answers that end too early.

use super::text::{is_code, lends_voice, pattern, tail, tokens};
use super::{Check, EWE, Rule, Settings, shown};
use crate::filter::words::is_unspaced;
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "truncated_output",
    reason: Reason::TruncatedOutput,
    about: "an answer that ends in an article or preposition, a comma, an open bracket or fence, or in mid-sentence",
    source: EWE,
    check: Check::Instance(truncated_output),
}];

/// Words that must be followed by something. The first 22 count at the end of 4 words or more, the
/// others at the end of 6 or more: "in which state it is" ends well.
const OPEN_WORDS: &[&str] = &[
    "the", "a", "an", "of", "and", "or", "but", "with", "from", "into", "because", "their", "its", "my",
    "your", "our", "whose", "than", "nor", "if", "although", "whereas", "while", "to", "for", "by", "as",
    "such", "which", "very", "every", "is", "are", "was", "were", "will", "would", "has", "have", "had",
    "through", "between", "during",
];

pattern!(
    UNFINISHED_WANTED,
    r"(?i)\b(?:fragments?|unfinished|incomplete|prefix|cloze|blanks?|prepositions?|conjunctions?|articles?|determiners?|function words?|stop ?words?|tokens?|tokeni[sz]e|split|first (?:line|half|part|words?)|punctuation|beginning of|without (?:full stops|periods)|autocomplete|reverse|backwards?|jumble|scramble|shuffle|n-?grams?|truncate)\b"
);

fn truncated_output(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    let output = instance.output.trim();
    if output.is_empty() || UNFINISHED_WANTED.is_match(instruction) {
        return None;
    }
    let fences = output
        .lines()
        .filter(|line| line.trim_start().starts_with("```"))
        .count();
    if fences % 2 == 1 {
        return Some("a code fence is left open".to_string());
    }
    if output.starts_with(['{', '[']) && left_open(output) {
        return Some("a bracket is left open".to_string());
    }
    // An answer that ends like its input may have copied it.
    let end = |text: &str| tokens(tail(text, 60)).last().map(str::to_lowercase);
    if is_code(tail(output, 1200)) || end(output) == end(&instance.input) {
        return None;
    }
    let last = output.lines().next_back()?.trim();
    // "Best wishes," before a name that the reader fills in.
    let farewell = last.ends_with(',')
        && lends_voice(instruction)
        && tokens(last).take(7).count() < 7
        && output.lines().count() > 2;
    if farewell {
        return None;
    }
    ends_open(last)
        .or_else(|| mid_sentence(output, last))
        .map(|why| format!("{why}: {}", shown(tail(last, 50))))
}

/// Whether JSON has more opening than closing brackets.
fn left_open(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0i64, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}

/// Finds a last line that ends with an opening sign, or with a word that must be followed by
/// something.
fn ends_open(last: &str) -> Option<&'static str> {
    let words: Vec<&str> = tokens(tail(last, 400)).collect();
    if words.len() >= 3 {
        if last.ends_with([',', '，', '、', '(', '[', '{', '“', '‘', '«', '„', '&']) {
            return Some("ends with a sign that opens or joins");
        }
        let joined = last.chars().rev().nth(1).is_some_and(char::is_alphabetic);
        if last.ends_with(['-', '–', '—']) && (joined || last.ends_with(" -")) {
            return Some("ends with a dash");
        }
    }
    let opened = last
        .rfind('(')
        .filter(|&at| !last[at..].contains(')') && !last[..at].ends_with([':', ';', '=']));
    if opened.is_some() && words.len() >= 3 {
        return Some("a bracket is left open");
    }
    // "the, a, an" is a list of words.
    let in_a_list = last
        .trim_end_matches(char::is_alphabetic)
        .trim_end()
        .ends_with([',', '/', '"', '\'', ':']);
    let open = words.last().is_some_and(|word| {
        OPEN_WORDS.contains(&word.to_lowercase().as_str()) && !word.chars().all(char::is_uppercase)
    });
    let always = words
        .last()
        .is_some_and(|word| OPEN_WORDS[..22].contains(&word.to_lowercase().as_str()));
    (open && words.len() >= if always { 4 } else { 6 } && last.ends_with(char::is_alphabetic) && !in_a_list)
        .then_some("ends with a word that opens")
}

pattern!(
    SENTENCE_END,
    r#"(?x)(?:\p{Ll}|\d|[A-Z]{2}|[\p{Ll}\d][)”"’'])(?P<mark>[.!?…])["”’')\]]{0,2}\s+(?P<next>["“‘'(]?[\p{Lu}\p{Lo}\d])|(?P<wide>[。！？][”」』]?)(?P<begin>[^\s”」』])"#
);
pattern!(
    ABBREVIATION,
    r"(?i)\b(?:mr|mrs|ms|dr|st|prof|vs|etc|e\.g|i\.e|jr|sr|inc|ltd|co|corp|dept|fig|vol|approx|ca|cf|al|gen|col|capt|lt|sgt|rev|hon|ave|blvd|rd|mt|op|pp?|ed|eds|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|a\.m|p\.m|u\.s|tel|art|sec|ch|ex|min|max|temp|tbsp?|tsp|oz|lbs?|ft|bzw|z\.b|nr|str|evtl|ca)\.$"
);

/// Whether a line ends with a sign that ends a sentence, a list item or a label.
fn is_terminal(line: &str) -> bool {
    let line = line.trim_end();
    let bare = line.trim_end_matches(|c: char| {
        matches!(
            c,
            '*' | '_' | '"' | '”' | '’' | '\'' | ')' | ']' | '»' | '」' | '』' | '`' | '~'
        ) || c.is_whitespace()
    });
    match bare.chars().next_back() {
        Some(c) => {
            matches!(
                c,
                '.' | '!' | '?' | '…' | '。' | '！' | '？' | ':' | '।' | '؟' | '۔' | ';' | '}' | '>'
            ) || !c.is_alphanumeric() && !matches!(c, ',' | '-')
        }
        None => true,
    }
}

/// Finds a text whose last sentence does not end, although the others do.
fn mid_sentence(output: &str, last: &str) -> Option<&'static str> {
    if is_terminal(last) {
        return None;
    }
    let closing = last.split_whitespace().next_back()?;
    // A tag, an address, an amount or a reference may end a text.
    if closing.starts_with(['#', '@', '$', '€', '£'])
        || closing.contains("://")
        || closing.contains('@')
        || last.ends_with([')', ']', '"', '”', '%', '°'])
    {
        return None;
    }
    let line = tail(last, 1500);
    let before = SENTENCE_END
        .captures_iter(line)
        .filter_map(|found| {
            if let Some(begin) = found.name("begin") {
                return Some(begin.start());
            }
            let mark = found.name("mark")?;
            // "7. Uno 8. Story" is a list in one line.
            let number = last.starts_with(|c: char| c.is_ascii_digit())
                && tokens(&line[..mark.start()])
                    .last()
                    .is_some_and(|word| word.len() < 3 && word.chars().all(|c| c.is_ascii_digit()));
            // "No. Salt does …" is a sentence, "Positive. 80 %" has a label.
            let sentence = tokens(&line[..mark.start()]).take(2).count() == 2
                || tokens(&line[mark.end()..]).take(5).count() == 5;
            let ends = sentence && !number && !ABBREVIATION.is_match(&line[..mark.end()]);
            ends.then(|| found.name("next").map(|next| next.start()))
                .flatten()
        })
        .last();
    if let Some(start) = before {
        let fragment = &line[start..];
        // "Confidence: high" and "No. 5" are labels.
        let few = |text: &str, most: usize| tokens(text).take(most + 1).count() <= most;
        let field = fragment
            .split_once([':', '='])
            .is_some_and(|(name, value)| few(name, 3) && few(value, 2));
        let figure = fragment.ends_with(|c: char| c.is_ascii_digit()) && few(fragment, 2);
        let label = field
            || figure
            || fragment.starts_with(|c: char| c.is_ascii_digit())
                && line[..start].trim_end().ends_with("No.");
        // The name of an author may follow a quotation.
        let name = tokens(fragment).all(|word| word.starts_with(char::is_uppercase))
            && (2..=4).contains(&tokens(fragment).take(5).count());
        // A cheerful note, such as "Great food! Will come again", has no full stop.
        let cheer = line[..start].trim_end().ends_with('!') && few(fragment, 4) && !few(fragment, 1);
        return (!label && !name && !cheer).then_some("ends in mid-sentence");
    }
    // The last line is a paragraph or list item, and all others like it end with a sign.
    let words = if last.chars().any(is_unspaced) {
        tokens(last).take(40).count() / 2
    } else {
        tokens(last).take(40).count()
    };
    if last.starts_with(['―', '—', '–', '~']) || last.starts_with("- ") && !output.starts_with("- ") {
        return None;
    }
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let others = &lines[..lines.len() - 1];
    let is_item =
        |line: &str| line.starts_with(['-', '*', '•']) || line.starts_with(|c: char| c.is_ascii_digit());
    let alike: Vec<&&str> = others
        .iter()
        .filter(|line| is_item(line) == is_item(last) && tokens(line).take(5).count() >= 4)
        .collect();
    let least = if is_item(last) { (2, 3) } else { (1, 7) };
    (words >= least.1
        && alike.len() >= least.0
        && alike.iter().all(|line| is_terminal(line) && !line.ends_with(':')))
    .then_some("ends in mid-sentence")
}
