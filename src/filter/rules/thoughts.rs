//! Rejects reasoning in place of a task or an answer. Marked reasoning is removed before a response
//! is parsed; these rules find reasoning without marks, or with half of a pair.

use super::text::{head, pattern};
use super::{Check, EWE, Rule, Settings, shown};
use crate::reasoning::has_marks;
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[Rule {
    name: "thoughts_instruction",
    reason: Reason::Reasoning,
    about: "an instruction that is a model thinking: `Okay, the user wants …`, or a mark of reasoning such as `</think>`",
    source: EWE,
    check: Check::Instruction(instruction),
}];

pub(super) const INSTANCE_RULES: &[Rule] = &[Rule {
    name: "thoughts_instance",
    reason: Reason::Reasoning,
    about: "the same in an input or output",
    source: EWE,
    check: Check::Instance(instance),
}];

pattern!(
    // Sentences about the prompt, addressed to nobody.
    THINKING,
    r"(?ix)^[\s*_>\#]*
    (?:
      (?:ok(?:ay)?|alright|all\ right|hmm+|hm|wait|right|well|so|now|good|got\ it|let\ me\ see)\b[\s,.!:…–—-]+
        (?:so[\s,]+|now[\s,]+|first[\s,]+)?
        (?:the\ (?:user|list|prompt|instructions?|task|question|query)\b[^.\n]{0,40}\b(?:wants?|asks?|asked|needs?|says?|said|gave|provided|is\ asking|is\ to|continues?|goes\ on|ends)\b
          |(?:i|we)(?:'ll)?\ +(?:(?:need|have)\ to|should|must|will)\ +(?:continue|generate|come\ up\ with|produce|figure\ out|create\ (?:a|the)\ (?:new\ )?(?:list|task)|list|output)\b
          |let(?:\ me|'s|\ us)\ +(?:see|think|figure|try|start|break|look|come\ up|consider|go\ through|tackle)\b)
    | the\ user\ (?:wants|asks|asked|is\ asking|needs|provided|gave|says|said|has\ asked|would\ like)\b
    | (?:i|we)\ need\ to\ (?:continue|generate|produce|output|come\ up\ with|create\ (?:a|the)\ (?:new\ )?(?:list|task)|write\ (?:the\ )?(?:next|more|new)\ tasks?|figure\ out\ what\ the)\b
    | let\ me\ (?:think|see|figure\ out)\b[^?\n]{0,60}(?:$|[.,:…\n])
    )"
);

fn found(text: &str) -> Option<String> {
    let begin = head(text, 400).replace('’', "'");
    if let Some(found) = THINKING.find(&begin) {
        return Some(shown(found.as_str()));
    }
    has_marks(text).then(|| "a mark of reasoning".to_string())
}

fn instruction(instruction: &str, _: &Settings) -> Option<String> {
    found(instruction)
}

fn instance(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    // An input may be any text that somebody wrote, so only marks count.
    let input = has_marks(&instance.input).then(|| "a mark of reasoning".to_string());
    input.or_else(|| found(&instance.output))
}
