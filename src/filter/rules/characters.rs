//! Characters that no text should have.

use super::{Check, EWE, Rule, Settings};
use crate::task::Instance;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[Rule {
    name: "instruction_characters",
    reason: "control_characters",
    about: "control characters, U+FFFD, bidi overrides or noncharacters in an instruction",
    source: EWE,
    check: Check::Instruction(|instruction, _| unfit(instruction)),
}];

pub(super) const INSTANCE_RULES: &[Rule] = &[Rule {
    name: "instance_characters",
    reason: "control_characters",
    about: "the same in an input or output",
    source: EWE,
    check: Check::Instance(instance_characters),
}];

fn instance_characters(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    unfit(&instance.input).or_else(|| unfit(&instance.output))
}

/// Line breaks, tabs and the joiners that emoji and Indic scripts are made with are fit.
fn unfit(text: &str) -> Option<String> {
    text.chars()
        .find(|&c| match c {
            '\n' | '\t' | '\r' => false,
            // What a broken encoding leaves; what turns the order of a whole text around.
            '\u{fffd}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
            '\u{fdd0}'..='\u{fdef}' => true,
            c if (c as u32) & 0xfffe == 0xfffe => true,
            c => c.is_control(),
        })
        .map(|c| format!("U+{:04X}", c as u32))
}
