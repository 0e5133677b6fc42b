//! Rejects texts with control characters and traces of broken encodings.

use super::text::pattern;
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[
    Rule {
        name: "instruction_characters",
        reason: Reason::ControlCharacters,
        about: "control characters, U+FFFD, bidi overrides or noncharacters in an instruction",
        source: EWE,
        check: Check::Instruction(|instruction, _| unfit(instruction)),
    },
    Rule {
        name: "mojibake_instruction",
        reason: Reason::Mojibake,
        about: "UTF-8 that was read as Windows-1252 in an instruction: `cafÃ©`, `donâ€™t`",
        source: EWE,
        check: Check::Instruction(|instruction, _| garbled(instruction, instruction)),
    },
];

pub(super) const INSTANCE_RULES: &[Rule] = &[
    Rule {
        name: "instance_characters",
        reason: Reason::ControlCharacters,
        about: "the same in an input or output",
        source: EWE,
        check: Check::Instance(instance_characters),
    },
    Rule {
        name: "mojibake_instance",
        reason: Reason::Mojibake,
        about: "the same in an input or output, unless the instruction is about encodings",
        source: EWE,
        check: Check::Instance(mojibake_instance),
    },
];

pattern!(
    // The bytes of UTF-8 as the characters that they have in Windows-1252. Only what no language
    // writes: "à »", "Ä“" and "CAFÉ™" are texts, too. Sequences with a C1 control are found by
    // `unfit`.
    GARBLED,
    r"(?x)
    # U+2010 to U+203A: dashes, quotation marks, bullet, ellipsis.
      â€[\x{a0}-\x{ba}ž˜™š›œŸ“”•–—’‘]
    # Trade mark, euro, emoji.
    | â„¢ | â‚¬ | ðŸ[˜™š›\x{a0}-\x{ba}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—œžŸ]
    # Latin letters with accents, inside or at the beginning of a word in lower case.
    | \p{Ll}Ã[\x{a0}-\x{bf}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘“”•–—˜™š›œžŸ]
    | Ã[\x{a0}-\x{bf}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘“”•–—˜™š›œžŸ]\p{Ll}
    # No-break space and the signs of Latin-1, behind a word or number, or before a number.
    | [\p{Ll}\d.,;:!?)]Â[\x{a0}¡£©°±²³·¼½¾¿®§] | Â[£¡¿§]\w
    # Three letters of Cyrillic in a row.
    | (?:[ÐÑ][\x{a0}-\x{bf}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]){3}
    # Two characters of Chinese or Japanese in a row.
    | (?:[ã-é][\x{a0}-\x{bf}€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2}){2}"
);
pattern!(
    ABOUT_ENCODINGS,
    r"(?i)\b(?:mojibake|(?:en|de)cod(?:e|ed|ing|ings)|utf-?8|unicode|latin-?1|iso[- ]8859|(?:windows|cp)-?1252|charset|character set|garbled|ftfy)\b"
);

/// What shows that a text was read in the wrong encoding, unless the instruction is about that.
fn garbled(instruction: &str, text: &str) -> Option<String> {
    let found = GARBLED.find(text)?;
    (!ABOUT_ENCODINGS.is_match(instruction)).then(|| shown(found.as_str()))
}

fn mojibake_instance(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    garbled(instruction, &instance.input).or_else(|| garbled(instruction, &instance.output))
}

fn instance_characters(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    unfit(&instance.input).or_else(|| unfit(&instance.output))
}

/// The first character that no text should have. Line breaks, tabs, and the joiners in emoji and
/// Indic scripts are allowed.
fn unfit(text: &str) -> Option<String> {
    text.chars()
        .find(|&c| match c {
            '\n' | '\t' | '\r' => false,
            // The replacement character of a broken encoding; overrides of the text direction.
            '\u{fffd}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
            '\u{fdd0}'..='\u{fdef}' => true,
            c if (c as u32) & 0xfffe == 0xfffe => true,
            c => c.is_control(),
        })
        .map(|c| format!("U+{:04X}", c as u32))
}
