//! Injects defects into clean rows. Each defect is generated anew for its row, with random position
//! and spelling.

mod answers;
mod instructions;
mod secrets;
mod voices;

use crate::rules::Row;

/// A small random number generator (SplitMix64), so that failures are reproducible.
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// `length` random characters of the alphabet.
    pub fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..length)
            .map(|_| alphabet[self.below(alphabet.len())])
            .collect()
    }

    /// Lower case, title case or upper case.
    pub fn cased(&mut self, text: &str) -> String {
        match self.below(4) {
            0 => text.to_lowercase(),
            1 => text.to_uppercase(),
            2 => capitalised(text),
            _ => text.to_string(),
        }
    }
}

pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// Puts a defect into a row; `None` if the row is not suitable.
pub type Inject = fn(&mut Chance, &Row, &[Row]) -> Option<Row>;

/// Each defect: its name, the reason codes that count as found, and the function.
pub const DEFECTS: &[(&str, &[&str], Inject)] = &[
    ("nothing answered", &["empty_output"], answers::nothing_answered),
    ("no input spelled out", &["placeholder"], answers::no_input),
    ("form not filled in", &["placeholder"], answers::not_filled_in),
    ("form of a prompt", &["merged_task"], answers::form_of_prompt),
    (
        "next of a list",
        &["merged_task", "list_item"],
        answers::next_of_list,
    ),
    ("cut off", &["truncated_output", "incomplete"], answers::cut_off),
    ("fence left open", &["truncated_output"], answers::fence_left_open),
    ("echo", &["echo"], answers::echo),
    ("link", &["link_only"], answers::link),
    ("pretence", &["pretended_action"], voices::pretence),
    ("refusal", &["refusal"], voices::refusal),
    ("loop", &["repetition"], answers::looping),
    (
        "control character",
        &["control_characters"],
        answers::control_character,
    ),
    ("mojibake", &["mojibake"], answers::mojibake),
    ("other language", &["wrong_language"], voices::other_language),
    (
        "nothing to work on",
        &["missing_context", "unsuitable_medium"],
        instructions::nothing_to_work_on,
    ),
    (
        "picture wanted",
        &["unsuitable_medium"],
        instructions::picture_wanted,
    ),
    (
        "picture absent",
        &["unsuitable_medium"],
        instructions::picture_absent,
    ),
    ("deed wanted", &["unsuitable_act"], instructions::deed_wanted),
    (
        "ill begun",
        &["leading_punctuation", "list_item", "merged_task"],
        instructions::ill_begun,
    ),
    (
        "too short or long",
        &["too_short", "too_long", "empty", "repetition"],
        instructions::ill_measured,
    ),
    ("colon", &["incomplete"], answers::colon),
    ("no program", &["no_code"], instructions::no_program),
    ("e-mail address", &["pii_email"], secrets::email),
    ("telephone", &["pii_phone"], secrets::phone),
    ("card", &["pii_card"], secrets::card),
    ("key", &["pii_key"], secrets::key),
];

fn with_output(row: &Row, output: impl Into<String>) -> Option<Row> {
    Some(Row {
        output: output.into(),
        ..row.clone()
    })
}

fn with_instruction(row: &Row, instruction: impl Into<String>) -> Option<Row> {
    Some(Row {
        instruction: instruction.into(),
        ..row.clone()
    })
}

/// The row with its instruction, input or output changed.
fn anywhere(chance: &mut Chance, row: &Row, change: impl FnOnce(&mut Chance, &str) -> String) -> Option<Row> {
    let mut row = row.clone();
    match chance.below(3) {
        0 => row.instruction = change(chance, &row.instruction),
        1 if !row.input.is_empty() => row.input = change(chance, &row.input),
        _ => row.output = change(chance, &row.output),
    }
    Some(row)
}

/// The text with `piece` between two of its words.
fn insert(chance: &mut Chance, text: &str, piece: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let at = chance.below(words.len()) + 1;
    [&words[..at], &[piece], &words[at..]].concat().join(" ")
}
