//! Sentences as NLTK's Punkt splitter finds them (Kiss and Strunk 2006), with given parameters and
//! the rules of NLTK 3.9.1: `nltk.sent_tokenize`.
//!
//! A period, question mark or exclamation mark may end a sentence if punctuation or white space
//! follows. The word before it and the word after it decide: abbreviations, initials and numbers
//! with a period, and how the next word is written.

use std::ops::Range;

use super::punkt::{PunktParameters, Seen};
use super::python::{is_decimal, is_space, is_word};

/// Splits a text into sentences. Linear in its length.
pub fn sentences(text: &str, punkt: &PunktParameters) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let spans = realigned(&chars, &spans(&chars, punkt));
    spans
        .into_iter()
        .map(|span| chars[span].iter().collect())
        .collect()
}

/// A character that may end a sentence.
struct Candidate {
    /// Where it is.
    at: usize,
    /// Where the next word begins, if white space is between.
    next: Option<usize>,
    /// Where the next word ends, or the punctuation that follows.
    end: usize,
}

fn ends_sentence(c: char) -> bool {
    matches!(c, '.' | '?' | '!')
}

/// Punctuation that is in no word.
fn is_no_word(c: char) -> bool {
    matches!(
        c,
        ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '?' | '!'
    )
}

fn candidates(chars: &[char]) -> impl Iterator<Item = Candidate> + '_ {
    let found = chars.iter().enumerate().filter(|&(_, &c)| ends_sentence(c));
    found.filter_map(|(at, _)| {
        let after = *chars.get(at + 1)?;
        if is_no_word(after) {
            return Some(Candidate {
                at,
                next: None,
                end: at + 2,
            });
        }
        if !is_space(after) {
            return None;
        }
        let next = at + 1 + chars[at + 1..].iter().position(|&c| !is_space(c))?;
        let length = chars[next..].iter().position(|&c| is_space(c));
        Some(Candidate {
            at,
            next: Some(next),
            end: length.map_or(chars.len(), |length| next + length),
        })
    })
}

/// Candidates, each with the beginning of the word before it. Of several in one word, the last.
fn words_with_candidates(chars: &[char]) -> Vec<(usize, Candidate)> {
    let mut out = Vec::new();
    let mut word = 0..0;
    let mut last: Option<(usize, Candidate)> = None;
    for candidate in candidates(chars) {
        let is_ascii_space = |c: &char| matches!(c, ' ' | '\t'..='\r');
        let space = chars[word.end..candidate.at].iter().rposition(is_ascii_space);
        let start = match space {
            None | Some(0) => word.start,
            Some(index) => word.end + index + 1,
        };
        if word.end <= start {
            out.extend(last.take());
        }
        word = start..candidate.at;
        last = Some((start, candidate));
    }
    out.extend(last);
    out
}

/// The sentences, before punctuation after their end is given to them.
fn spans(chars: &[char], punkt: &PunktParameters) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for (word, candidate) in words_with_candidates(chars) {
        if has_break(&chars[word..candidate.end], punkt) {
            spans.push(start..candidate.at + 1);
            start = candidate.next.unwrap_or(candidate.at + 1);
        }
    }
    let end = chars
        .iter()
        .rposition(|&c| !is_space(c))
        .map_or(0, |last| last + 1);
    spans.push(start..end.max(start));
    spans
}

/// Gives each sentence the closing quotes and brackets with which the next one begins, and leaves
/// out empty ones.
fn realigned(chars: &[char], spans: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut skipped = 0;
    for (index, span) in spans.iter().enumerate() {
        let start = (span.start + skipped).min(span.end);
        let next = spans.get(index + 1);
        match next.and_then(|next| closers(&chars[next.clone()]).map(|found| (next.start, found))) {
            Some((next, (closers, length))) => {
                out.push(start..next + closers);
                skipped = length;
            }
            None => {
                skipped = 0;
                if start < span.end {
                    out.push(start..span.end);
                }
            }
        }
    }
    out
}

/// How many closing quotes and brackets a sentence begins with, and how many characters these are
/// with the white space after them; nothing if a word follows at once.
fn closers(chars: &[char]) -> Option<(usize, usize)> {
    let is_closer = |&c: &char| matches!(c, '"' | '\'' | ')' | ']' | '}');
    let closers = chars.iter().take_while(|c| is_closer(c)).count();
    let spaces = chars[closers..].iter().take_while(|&&c| is_space(c)).count();
    let rest = &chars[closers + spaces..];
    let ends = spaces > 0 || rest.is_empty() || rest.starts_with(&['-', '-']);
    (closers > 0 && ends).then_some((closers, closers + spaces))
}

/// A word or punctuation mark.
struct Token {
    text: String,
    /// In lower case; `##number##` for a number.
    kind: String,
    /// Whether a sentence ends with it.
    is_break: bool,
    is_abbreviation: bool,
    is_ellipsis: bool,
}

/// Whether a sentence ends within these characters: the word before a candidate, the candidate, and
/// what follows.
fn has_break(chars: &[char], punkt: &PunktParameters) -> bool {
    let mut tokens: Vec<Token> = Vec::new();
    for line in chars.split(|&c| c == '\n') {
        tokens.extend(tokenize(line).map(|word| Token::new(word, punkt)));
    }
    let breaks = |pair: &[Token]| ends_before(&pair[0], &pair[1], punkt);
    tokens.windows(2).any(breaks)
}

/// Splits a line into words and punctuation marks.
fn tokenize(line: &[char]) -> impl Iterator<Item = &[char]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += line[at..].iter().position(|&c| !is_space(c))?;
        let rest = &line[at..];
        let length = match marks(rest) {
            0 if begins_word(rest[0]) => (1..rest.len())
                .find(|&end| ends_word(&rest[end..]))
                .unwrap_or(rest.len()),
            length => length.max(1),
        };
        at += length;
        Some(&rest[..length])
    })
}

/// The length of the dashes, periods, or periods with white space between them at the start; 0 for
/// fewer than two dashes or periods, or fewer than three with white space.
fn marks(chars: &[char]) -> usize {
    let run = |mark: char| chars.iter().take_while(|&&c| c == mark).count();
    if run('-').max(run('.')) >= 2 {
        return run('-').max(run('.'));
    }
    let spaced = chars
        .chunks(2)
        .take_while(|pair| pair[0] == '.' && pair.get(1).is_some_and(|&c| is_space(c)))
        .count();
    // The last period has no white space after it, or gives its own back.
    match chars.get(2 * spaced) {
        Some('.') if spaced >= 2 => 2 * spaced + 1,
        _ if spaced >= 3 => 2 * spaced - 1,
        _ => 0,
    }
}

/// Whether there are such marks at the start, found without counting them.
fn has_marks(chars: &[char]) -> bool {
    match chars {
        ['-', '-', ..] | ['.', '.', ..] => true,
        ['.', one, '.', other, '.', ..] => is_space(*one) && is_space(*other),
        _ => false,
    }
}

fn begins_word(c: char) -> bool {
    !matches!(
        c,
        '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ','
    )
}

/// Whether a word ends before these characters.
fn ends_word(chars: &[char]) -> bool {
    let ends = |chars: &[char]| match chars.first() {
        None => true,
        Some(&c) => is_space(c) || is_no_word(c) || has_marks(chars),
    };
    ends(chars) || chars[0] == ',' && ends(&chars[1..])
}

impl Token {
    fn new(chars: &[char], punkt: &PunktParameters) -> Token {
        let text: String = chars.iter().collect();
        let lower = text.to_lowercase();
        let is_abbreviation = |word: &str| {
            let last = word.rsplit('-').next().unwrap_or_default();
            punkt.is_abbreviation(word) || punkt.is_abbreviation(last)
        };
        let is_ellipsis = text.len() > 1 && text.bytes().all(|byte| byte == b'.');
        let mut token = Token {
            kind: match is_number(chars) {
                true => "##number##".into(),
                false => lower.clone(),
            },
            is_break: matches!(text.as_str(), "." | "?" | "!"),
            is_abbreviation: false,
            is_ellipsis,
            text,
        };
        if !token.is_break && !is_ellipsis && token.text.ends_with('.') && !token.text.ends_with("..") {
            let word = token.text[..token.text.len() - 1].to_lowercase();
            token.is_abbreviation = is_abbreviation(&word);
            token.is_break = !token.is_abbreviation;
        }
        token
    }

    fn kind_without_period(&self) -> &str {
        match self.kind.len() {
            1 => &self.kind,
            _ => self.kind.strip_suffix('.').unwrap_or(&self.kind),
        }
    }

    /// The kind to look up: without a period that ends a sentence.
    fn word(&self) -> &str {
        match self.is_break {
            true => self.kind_without_period(),
            false => &self.kind,
        }
    }

    fn first(&self) -> char {
        self.text.chars().next().unwrap_or_default()
    }

    /// Whether it is a letter with a period.
    fn is_initial(&self) -> bool {
        let mut chars = self.text.chars();
        let is_letter = |c: char| is_word(c) && !is_decimal(c);
        matches!((chars.next(), chars.next(), chars.next()), (Some(c), Some('.'), None) if is_letter(c))
    }

    /// Whether a sentence begins with it, as far as its case says.
    fn begins_sentence(&self, punkt: &PunktParameters) -> Option<bool> {
        let seen = punkt.seen(self.word());
        if matches!(self.text.as_str(), ";" | ":" | "," | "." | "!" | "?") {
            return Some(false);
        }
        if self.first().is_uppercase() && matches!(seen, Some(Seen::Lower | Seen::LowerFirst)) {
            return Some(true);
        }
        (self.first().is_lowercase() && seen != Some(Seen::LowerFirst)).then_some(false)
    }
}

/// Whether a sentence ends between two tokens.
fn ends_before(token: &Token, next: &Token, punkt: &PunktParameters) -> bool {
    if !token.text.ends_with('.') {
        return token.is_break;
    }
    let is_initial = token.is_initial();
    let word = token.kind_without_period();
    if punkt.is_collocation(word, next.word()) {
        return false;
    }
    let mut is_break = token.is_break;
    if (token.is_abbreviation || token.is_ellipsis) && !is_initial {
        let is_starter = next.first().is_uppercase() && punkt.is_starter(next.word());
        if next.begins_sentence(punkt) == Some(true) || is_starter {
            return true;
        }
    }
    if is_initial || word == "##number##" {
        let begins = next.begins_sentence(punkt);
        let is_name = next.first().is_uppercase() && punkt.seen(next.word()).is_none();
        if begins == Some(false) || begins.is_none() && is_initial && is_name {
            is_break = false;
        }
    }
    is_break
}

/// Whether the characters are a number: digits, with commas, periods and hyphens between them.
fn is_number(chars: &[char]) -> bool {
    let chars = chars.strip_prefix(&['-']).unwrap_or(chars);
    let chars = match chars {
        ['.' | ',', rest @ ..] => rest,
        _ => chars,
    };
    let is_part = |&c: &char| is_decimal(c) || matches!(c, ',' | '.' | '-');
    chars.first().is_some_and(|&c| is_decimal(c)) && chars.iter().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::sentences;
    use crate::suite::ifeval::punkt::{PunktParameters, Seen};

    #[test]
    fn sentences_are_split_as_nltk_does() {
        let english = PunktParameters::english();
        let cases: &[(&str, &[&str])] = &[
            ("One. Two? Three!", &["One.", "Two?", "Three!"]),
            ("No end", &["No end"]),
            (
                "Dr. Smith met Mr. Jones. They spoke.",
                &["Dr. Smith met Mr. Jones.", "They spoke."],
            ),
            (
                "He lives in the U.S. The end.",
                &["He lives in the U.S.", "The end."],
            ),
            (
                "He lives in the U.S. with her.",
                &["He lives in the U.S. with her."],
            ),
            ("J. S. Bach wrote it.", &["J. S. Bach wrote it."]),
            ("1. First\n2. Second", &["1.", "First\n2.", "Second"]),
            ("It cost 3.50. Cheap.", &["It cost 3.50.", "Cheap."]),
            (
                "Wait... what? Really!!! Yes.",
                &["Wait... what?", "Really!!!", "Yes."],
            ),
            ("(One.) Two.", &["(One.)", "Two."]),
            (
                "He said \"Go.\" Then he left.",
                &["He said \"Go.\"", "Then he left."],
            ),
            ("a.b.c", &["a.b.c"]),
            ("  Lead. Trail.  ", &["  Lead.", "Trail."]),
            ("", &[]),
        ];
        for (text, wanted) in cases {
            assert_eq!(sentences(text, &english), *wanted, "{text}");
        }
    }

    /// Each list decides on some sentence, as in NLTK with these lists.
    #[test]
    fn all_parameters_are_heeded() {
        let mut punkt = PunktParameters::default();
        let split = |punkt: &PunktParameters, text: &str| sentences(text, punkt).len();
        assert_eq!(split(&punkt, "The Ld. Ram bleats."), 2);
        punkt.abbreviations.insert("ld".into());
        assert_eq!(split(&punkt, "The Ld. Ram bleats."), 1);
        punkt.starters.insert("ram".into());
        assert_eq!(split(&punkt, "The Ld. Ram bleats."), 2);
        assert_eq!(split(&punkt, "The Ld. Ewe bleats. B. Ewe too."), 2);
        punkt.words.insert("ewe".into(), Seen::Both);
        assert_eq!(split(&punkt, "The Ld. Ewe bleats. B. Ewe too."), 3);
        punkt.words.insert("ewe".into(), Seen::Lower);
        assert_eq!(split(&punkt, "The Ld. Ewe bleats. B. Ewe too."), 4);
        let followers = punkt.collocations.entry("b".into()).or_default();
        followers.insert("ewe".into());
        assert_eq!(split(&punkt, "The Ld. Ewe bleats. B. Ewe too."), 3);
        assert_eq!(split(&punkt, "It has 7. ewes bleat."), 1);
        punkt.words.insert("ewes".into(), Seen::LowerFirst);
        assert_eq!(split(&punkt, "It has 7. ewes bleat."), 2);
    }

    #[test]
    fn hostile_texts_take_linear_time() {
        let english = PunktParameters::english();
        for text in [
            "a.", ".", "! ", "?!", ". ", "a. B", "-", ".)", "\"", " .", "e.g. ",
        ] {
            sentences(&text.repeat(50_000), &english);
        }
    }
}
