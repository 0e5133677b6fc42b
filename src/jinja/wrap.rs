//! Wraps lines like Python's `textwrap`.

use super::error::{Error, Result};
use super::text::is_space;

pub struct WrapOptions {
    /// Maximum number of characters of a line.
    pub width: usize,
    pub break_long_words: bool,
    pub break_on_hyphens: bool,
}

/// Breaks `text` into lines.
pub fn wrap(text: &str, options: &WrapOptions) -> Result<Vec<String>> {
    if options.width == 0 {
        return Err(Error::fault("invalid width 0 (must be > 0)"));
    }
    let mut chunks: Vec<String> = chunks(text, options.break_on_hyphens);
    chunks.reverse();
    let blank = |chunk: &String| chunk.chars().all(is_space);
    let length = |chunk: &String| chunk.chars().count();
    let mut lines = Vec::new();
    while !chunks.is_empty() {
        let mut line: Vec<String> = Vec::new();
        let mut used = 0;
        if !lines.is_empty() && chunks.last().is_some_and(blank) {
            chunks.pop();
        }
        while let Some(chunk) = chunks.pop_if(|chunk| used + length(chunk) <= options.width) {
            used += length(&chunk);
            line.push(chunk);
        }
        if let Some(chunk) = chunks.pop_if(|chunk| length(chunk) > options.width) {
            let room = options.width - used;
            match options.break_long_words {
                true => {
                    let mut end = room.max(1);
                    let letters: Vec<char> = chunk.chars().collect();
                    if options.break_on_hyphens
                        && let Some(hyphen) = letters[..end].iter().rposition(|c| *c == '-')
                        && hyphen > 0
                        && letters[..hyphen].iter().any(|c| *c != '-')
                    {
                        end = hyphen + 1;
                    }
                    line.push(letters[..end].iter().collect());
                    chunks.push(letters[end..].iter().collect());
                }
                false if line.is_empty() => line.push(chunk),
                false => chunks.push(chunk),
            }
        }
        if line.last().is_some_and(blank) {
            line.pop();
        }
        if !line.is_empty() {
            lines.push(line.concat());
        }
    }
    Ok(lines)
}

/// Splits a text into runs of white space and words, and words after their hyphens if `hyphens`.
fn chunks(text: &str, hyphens: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars() {
        let blank = is_space(c);
        match found.last_mut() {
            Some(chunk) if last == Some(blank) => chunk.push(c),
            _ => found.push(c.to_string()),
        }
        last = Some(blank);
    }
    if !hyphens {
        return found;
    }
    found.iter().flat_map(|chunk| hyphenated(chunk)).collect()
}

/// Splits a word after its hyphens.
fn hyphenated(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let is_letter = |at: usize| letters.get(at).is_some_and(|c| c.is_alphabetic() || *c == '_');
    let mut parts = Vec::new();
    let mut start = 0;
    for at in 0..letters.len() {
        if letters[at] != '-' || at == 0 {
            continue;
        }
        // `textwrap` breaks after a hyphen if two letters precede it, or a letter, a hyphen and a
        // letter, and if a letter follows it and then another, perhaps after a hyphen.
        let before = is_letter(at - 1)
            && (at >= 2 && is_letter(at - 2) || at >= 3 && letters[at - 2] == '-' && is_letter(at - 3));
        let after = is_letter(at + 1)
            && (is_letter(at + 2) || letters.get(at + 2) == Some(&'-') && is_letter(at + 3));
        if before && after {
            parts.push(letters[start..=at].iter().collect());
            start = at + 1;
        }
    }
    parts.push(letters[start..].iter().collect());
    parts
}
