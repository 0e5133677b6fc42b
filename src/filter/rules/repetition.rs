//! Rejects texts that repeat themselves in a loop.

use super::text::{distinct_trigrams, head, pattern, tokens, word_hashes};
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::Reason;
use crate::text::counted;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[Rule {
    name: "repetitive_instruction",
    reason: Reason::Repetition,
    about: "an instruction that runs in circles: the same line, sentence, words or character over and over",
    source: EWE,
    check: Check::Instruction(|text, settings| repetition(text, settings, false)),
}];

pub(super) const INSTANCE_RULES: &[Rule] = &[Rule {
    name: "repetitive_instance",
    reason: Reason::Repetition,
    about: "the same for inputs and outputs, unless the instruction asks for a song or for repetition",
    source: EWE,
    check: Check::Instance(|instruction, instance, settings| {
        let wanted = WANTED.is_match(head(instruction, 4000));
        [&instance.input, &instance.output]
            .into_iter()
            .find_map(|text| repetition(text, settings, wanted))
    }),
}];

pattern!(
    WANTED,
    r"(?i)\b(?:repeat\w*|repetiti\w*|refrain|chorus|song|lyrics|chant|mantra|rhyme|lullaby|carol|hymn|villanelle|pattern|ascii|matrix|grid|binary|sequence|(?:\d+|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|fifty|hundred|many|several|n|k) times)\b"
);

/// Bytes of a text whose words are compared. No real answer is longer, and the words of a longer
/// text would take many times its memory.
const LONGEST: usize = 1 << 20;

/// Finds a loop. If the instruction asks for repetition (`wanted`), only an extreme one counts.
fn repetition(text: &str, settings: &Settings, wanted: bool) -> Option<String> {
    character_run(text, if wanted { 200 } else { 1 })
        .or_else(|| repeated_part(text, if wanted { 12 } else { 3 }))
        .or_else(|| word_run(text, if wanted { 16 } else { 1 }))
        .or_else(|| few_trigrams(text, settings).filter(|_| !wanted))
}

/// Finds a run of one character, `least` times longer than its kind allows. Rules of dashes and
/// numbers with many zeros are normal.
fn character_run(text: &str, least: usize) -> Option<String> {
    let mut last = ('\0', 0usize);
    for c in text.chars() {
        last = if c == last.0 { (c, last.1 + 1) } else { (c, 1) };
        let allowed = match c {
            c if c.is_whitespace() => usize::MAX,
            c if c.is_alphabetic() => 9,
            c if c.is_numeric() => 24,
            '!' | '?' | ',' | ';' => 9,
            _ => 100,
        };
        if last.1 > allowed.saturating_mul(least) {
            return Some(format!("'{c}' again and again"));
        }
    }
    None
}

/// Finds a line or sentence of four words or more that repeats: `least` times in a row, or so often
/// that it is a large part of the text. Forms and lists of exercises repeat some lines.
fn repeated_part(text: &str, least: usize) -> Option<String> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let (mut parts, mut last, mut run) = (0, "", 0);
    for line in text.lines() {
        // Program text and tables repeat lines.
        if line.contains(['{', '}', ';', '=', '|', '<', '(']) {
            continue;
        }
        for part in line.split_inclusive(['.', '!', '?', '。', '！', '？']) {
            let part = part
                .trim()
                .trim_start_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation() || c == ' ');
            if tokens(part).take(4).count() < 4 || !part.contains(char::is_alphabetic) {
                continue;
            }
            parts += 1;
            run = if part == last { run + 1 } else { 1 };
            last = part;
            // "Hold for ten seconds." may well be in every step.
            if tokens(part).take(6).count() == 6 {
                *seen.entry(part).or_default() += 1;
            }
            if run >= least {
                return Some(format!("{} stands {} on end", shown(part), counted(run, "time")));
            }
        }
    }
    let (part, count) = seen.into_iter().max_by_key(|(part, count)| (*count, *part))?;
    let share = if count > least { 4 } else { 2 };
    (count >= least && count * share >= parts)
        .then(|| format!("{} stands {}", shown(part), counted(count, "time")))
}

/// Finds one to twelve words that repeat without a break.
fn word_run(text: &str, least: usize) -> Option<String> {
    let text = head(text, LONGEST);
    let (words, shown_words) = (word_hashes(text), tokens(text).collect::<Vec<_>>());
    for length in 1..=12 {
        let mut run = 0;
        for i in length..words.len() {
            run = if words[i] == words[i - length] { run + 1 } else { 0 };
            // Four times in all; a single word, six times.
            let allowed = if length == 1 { 5 } else { 3 * length };
            if run >= allowed * least {
                let said = &shown_words[i + 1 - length..=i];
                let data = said
                    .iter()
                    .all(|word| word.chars().count() < 2 || word.chars().all(char::is_numeric));
                if !data || run >= 30 * least {
                    return Some(format!("{} again and again", shown(&said.join(" "))));
                }
            }
        }
    }
    None
}

/// Finds a long text with few distinct word trigrams. Parts of 80 words are checked too, since a
/// good beginning hides a loop.
fn few_trigrams(text: &str, settings: &Settings) -> Option<String> {
    const PART: usize = 80;
    let text = head(text, LONGEST);
    let words = word_hashes(text);
    if words.len() < 60 || !text.contains(char::is_alphabetic) {
        return None;
    }
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters * 2 < text.chars().count() {
        return None;
    }
    words
        .chunks(PART)
        .filter(|part| part.len() >= 60)
        .map(distinct_trigrams)
        .chain([distinct_trigrams(&words[..words.len().min(PART * 4)])])
        .find(|share| *share < settings.distinct_trigrams)
        .map(|share| format!("{:.0} % of its trigrams are different ones", share * 100.0))
}
