//! Rejects answers that claim a deed, by a model that can only write.

use super::text::{head, lends_voice, pattern};
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Rule] = &[Rule {
    name: "pretended_action",
    reason: Reason::PretendedAction,
    about: "an answer that begins by claiming a deed: `I have set your alarm`",
    source: EWE,
    check: Check::Instance(pretended_action),
}];

pattern!(
    CLAIM,
    r"(?ix)^[\W_]*
    (?:(?:done|ok|okay|sure|certainly|of\ course|absolutely|all\ right|alright|great|yes|no\ problem|got\ it|will\ do|right\ away|consider\ it\ done|perfect|there\ you\ go|all\ set|all\ done)(?:\ thing)?[\s,.!:;–—-]+){0,3}
    (?:
      (?:i(?:'ve|\ have|'ll|\ will|'m|\ am)?|we(?:'ve|\ have)|let\ me)\ +(?:(?:just|now|already|successfully|also|gone\ ahead\ and|going\ to|go\ ahead\ and)\ +){0,3}
      (?:set(?:ting)?|sen[dt](?:ing)?|book(?:ed|ing)?|order(?:ed|ing)?|call(?:ed|ing)?|phon(?:ed|ing)|e-?mail(?:ed|ing)|bought|purchas(?:ed|ing)|schedul(?:ed?|ing)|turn(?:ed|ing)?|switch(?:ed|ing)?|play(?:ed|ing)?|open(?:ed|ing)?|clos(?:ed?|ing)|upload(?:ed|ing)?|download(?:ed|ing)?|attach(?:ed|ing)?|remind(?:ed)?|messag(?:ed|ing)|text(?:ed|ing)|post(?:ed|ing)|print(?:ed|ing)?|reserv(?:ed?|ing)|sav(?:ed?|ing)|delet(?:ed?|ing)|install(?:ed|ing)?|transferr?(?:ed|ing)?|paid|add(?:ed|ing)?|record(?:ed|ing)?|creat(?:ed)|drawn|paint(?:ed)|mail(?:ed|ing)|submitt?(?:ed|ing)|start(?:ed|ing)|placed|cancel(?:led|ed|ing)?|updated)\b[^.!?\n]{0,80}?
      \b(?:your?|yours|alarm|timer|reminder|e-?mail|message|flight|table|hotel|tickets?|appointment|meeting|order|lights?|song|music|file|calendar|reservation|taxi|call|photo|picture|video|payment|attachment|volume|heating|door)\b
    | (?:(?:your|the|an?)\ )?(?:\w+\ ){0,2}(?:alarm|timer|reminder|e-?mail|message|flight|table|tickets?|appointment|order|reservation|taxi|payment|song|file|meeting|lights?|volume|heating|door|invitation|document)s?\ +(?:for\ [^.!?\n]{1,40}\ )?(?:(?:has|have|is|are|was|were)\ +)?(?:(?:now|just|already|been|being|successfully)\ +){0,3}(?:set|sent|booked|ordered|scheduled|placed|confirmed|playing|saved|uploaded|attached|turned|switched|deleted|printed|added|cancelled|transferred|on\ (?:its|the)\ way)\b
    | (?:now\ )?playing\b
    )"
);

/// In a message or a story, somebody else says the same words.
fn pretended_action(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    if lends_voice(instruction) {
        return None;
    }
    let start = head(&instance.output, 400).replace('’', "'");
    CLAIM.find(&start).map(|found| shown(found.as_str()))
}
