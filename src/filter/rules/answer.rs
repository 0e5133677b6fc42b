//! Rejects defective answers: empty ones, placeholders, echoes, refusals, programs without code.

use super::text::{head, is_code, pattern, tokens};
use super::{Check, EWE, EWE_AFTER_SELF_INSTRUCT, Rule, Settings, shown};
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const EMPTY_RULES: &[Rule] = &[
    Rule {
        name: "empty_output",
        reason: Reason::EmptyOutput,
        about: "an output of white space, or of signs that end or rule something",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instance(empty_output),
    },
    Rule {
        name: "placeholder",
        reason: Reason::Placeholder,
        about: "a form not filled in: `<noinput>` in all spellings, `N/A`, `[your answer]`",
        source: EWE,
        check: Check::Instance(placeholder),
    },
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "incomplete",
        reason: Reason::Incomplete,
        about: "an input or output that ends with a colon",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instance(incomplete),
    },
    Rule {
        name: "echo",
        reason: Reason::Echo,
        about: "an answer that is the input or begins with the instruction, or an input that is the instruction",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instance(echo),
    },
    Rule {
        name: "refusal",
        reason: Reason::Refusal,
        about: "an answer that declines, asks for what is missing, or speaks of being a language model",
        source: EWE,
        check: Check::Instance(refusal),
    },
    Rule {
        name: "no_code",
        reason: Reason::NoCode,
        about: "a program is wanted, and the answer has none; stands for Self-Instruct's ban of \"Write a program\"",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instance(no_code),
    },
];

/// Rejects an output of white space, dashes, quotes and the like. Other signs, such as an operator,
/// a punctuation mark or an emoji, may be the answer.
fn empty_output(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    let output = instance.output.trim();
    let nothing = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '-' | '–'
                    | '—'
                    | '_'
                    | '.'
                    | '…'
                    | '*'
                    | '"'
                    | '\''
                    | '`'
                    | '#'
                    | '|'
                    | '\u{200b}'
                    | '\u{feff}'
            )
    };
    (output.chars().all(nothing) || output.is_empty()).then(|| shown(output))
}

pattern!(
    NO_INPUT,
    r"^(?:no ?input|input (?:is )?(?:not |un)(?:required|needed|necessary|applicable)|n a|n ?a n ?a|not (?:applicable|needed|required|necessary|available|provided|specified)|(?:no|none|without|not)(?: any)?(?: additional| further| specific| extra| other| more)?(?: inputs?| output| data| context| text| information| material){0,2}(?: is| are| was)? ?(?:required|needed|necessary|provided|given|applicable|available|supplied|specified|for this (?:task|one|instruction)|at all)+|no(?: additional| further| specific| extra| other| external)? (?:inputs?|context|data|input data)(?: required| needed| necessary| here| is .{0,30})?)(?: for (?:this|the) (?:task|instruction|question|prompt))?$"
);
pattern!(
    TEMPLATE,
    r"(?i)^[<\[({]{1,2}\s*(?:(?:your|insert|enter|add|put|type|write|provide|paste|fill)\b[^<>\[\](){}]{0,60}|[^<>\[\](){}]{0,40}\b(?:goes|here|placeholder)|(?:expected |sample |the |model )?(?:answer|output|response|result|input|text|sentence|name|label|blank)(?: text| here)?)\s*[>\])}]{1,2}$|^(?:your (?:answer|response|output|input|text|code|sentence)(?: goes)?(?: here)?|(?:insert|enter|type) [\w ]{1,40} here|todo|tbd|placeholder|lorem ipsum\b.{0,600})$"
);

/// The words of a text in lower case, without signs: the same for `<No_Input>.`, `[no input]` and
/// `No input`.
fn plain(text: &str) -> String {
    let words: Vec<String> = tokens(text).map(str::to_lowercase).collect();
    words.join(" ")
}

fn placeholder(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    for (text, is_input) in [(&instance.input, true), (&instance.output, false)] {
        let text = text.trim();
        if text.is_empty() || text.len() > 700 {
            continue;
        }
        let plain = plain(text);
        let missing = NO_INPUT.is_match(&plain)
            || is_input
                && (plain.is_empty() && text.chars().all(|c| "-–—_.…*<>[](){} ".contains(c))
                    || plain == "none");
        let bare = text.trim_end_matches(['.', '!']).trim_matches(['"', '*', '`']);
        if missing || TEMPLATE.is_match(bare) {
            // If the instruction names this text, such as a label, it is an answer.
            let named = !is_input
                && instruction.to_lowercase().contains(&bare.to_lowercase())
                && !bare.starts_with(['<', '[', '{', '(']);
            if !named {
                return Some(shown(text));
            }
        }
    }
    None
}

fn incomplete(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    let colon = |text: &str| {
        text.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '_'))
            .ends_with([':', '：'])
    };
    // The last of several lines of an input may be a field of a form. A single line is the model's
    // own.
    let analogy = instance.input.contains(" :") || instance.input.contains("::");
    if !analogy
        && !instance.input.trim().contains('\n')
        && tokens(&instance.input).take(12).count() < 12
        && colon(&instance.input)
    {
        return Some("the input ends with a colon".to_string());
    }
    let smiley = instance.output.trim_end().ends_with("::");
    (colon(&instance.output) && !smiley && !is_code(&instance.output))
        .then(|| "the output ends with a colon".to_string())
}

pattern!(
    CHANGES_FORM,
    r"(?i)\b(?:case|upper-?case|lower-?case|capitali\w*|capital letters?|capitals|caps|punctuat\w*|commas?|apostrophes?|spac(?:e|es|ing)|white-?space|format\w*|quot(?:e|es|ation)|hyphen\w*|accents?|repeat|copy|echo|verbatim|unchanged|as it is|if (?:it is|necessary|needed|any)|otherwise|emphasi[sz]\w*|bold|italics?)\b"
);

/// Compares the texts without case and surrounding signs. Signs and line breaks inside count: they
/// may be all that a reformatting task changes.
fn echo(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    fn bare(text: &str) -> String {
        text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
    }
    let (task, input, output) = (bare(instruction), bare(&instance.input), bare(&instance.output));
    let (input_text, output_text) = (instance.input.trim(), instance.output.trim());
    let same = output_text == input_text
        || !output.is_empty() && output == input && !CHANGES_FORM.is_match(instruction);
    if same && !output_text.is_empty() && !(output_text == input_text && CHANGES_FORM.is_match(instruction)) {
        return Some("the output is the input".to_string());
    }
    if output.is_empty() || task.is_empty() {
        return None;
    }
    if output == task {
        return Some("the output is the instruction".to_string());
    }
    if input == task {
        return Some("the input is the instruction".to_string());
    }
    // An answer may well repeat the words of a short instruction.
    let goes_on = |text: &str| {
        text.strip_prefix(task.as_str())
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    (tokens(&task).take(6).count() == 6 && goes_on(&output))
        .then(|| "the output begins with the instruction".to_string())
}

pattern!(
    MODEL,
    r"(?i)\b(?:as|i(?:'m| am)|being)(?: just| only| merely)? an? (?:\w+ ){0,2}?(?:ai\b|artificial intelligence|(?:large )?language model|chat ?bot|virtual assistant)"
);
pattern!(
    DECLINES,
    r"(?ix)^[\W_]*(?:(?:unfortunately|regrettably|sorry|i(?:'m|\ am)\ (?:very\ |so\ |truly\ |really\ |terribly\ )?(?:sorry|afraid)|i\ apologi[sz]e|my\ apologies|apologies|thank\ you[^.!?\n]{0,60}|i\ understand[^.!?\n]{0,60})[\s,.!;:–—-]*(?:but\ |that\ |for\ [^.!?\n,]{1,40}[,.]\s*(?:but\ )?)?)*
    (?:
      (?:i|we)(?:\ (?:simply|just|really|currently|also|personally))?(?:\ can(?:no|'|\ no)t|\ won't|\ will\ not|\ would\ not|\ could\ not|\ couldn't|(?:'m|\ am|\ are|'re)\ (?:not\ (?:able|allowed|permitted|programmed|designed|in\ a\ position|comfortable|capable|equipped)|unable)|\ must\ decline|\ decline|\ refuse)(?:\ (?:to|of|be\ able\ to))?(?:\ (?:directly|currently|actually|really|possibly|also|physically|fully|properly))?\ (?:assist|help|provid\w*|answer\w*|fulfil\w*|complet\w*|comply\w*|do\ (?:this|that|so)|generat\w*|creat\w*|writ\w*|translat\w*|access\w*|brows\w*|see\w*|view\w*|draw\w*|play\w*|determin\w*|process\w*|perform\w*|respond\w*|continue|support|engag\w*|discuss\w*|offer\w*|giv\w*|show\w*|display\w*|open\w*|read\w*|hear\w*|watch\w*|understand\w*|identify\w*|recogni\w*|summari\w*|classif\w*|make\ (?:a\ )?(?:judg|predict)\w*|express|tell|produce|participate|with\ th)
      | i\ (?:do\ not|don't)\ (?:currently\ )?(?:have\ (?:access|the\ (?:ability|capability|information|capacity)|enough|any\ (?:information|personal|image|context)|personal|sufficient|real-?time|opinions|feelings|a\ (?:body|physical))|see\ (?:any|the|an)\ |understand\ (?:the|what|your)\ |know\ (?:the\ answer|how\ to\ (?:answer|do)|what\ you)|feel\ comfortable)
      | (?:it\ is|it's|it\ would\ be)\ (?:not\ possible|impossible)\ (?:for\ me\ )?to\ (?:answer|determine|provide|complete|give|say|identify|classify|generate)
      | (?:i(?:'m|\ am)\ )?not\ (?:able|programmed|sure\ what\ you)\b
      | (?:there\ is\ )?no\ (?:\w+\ )?(?:text|image|picture|photo|video|audio|input|sentence|passage|article|context|file|attachment|link|information)s?\ (?:\w+\ )?(?:was|were|is|are|has\ been|have\ been)?\ ?(?:provided|given|attached|included|supplied|specified)
      | you\ (?:did\ not|didn't|have\ not|haven't)\ (?:provided?|given?|specif\w+|included?|attach\w*|shared?)\b
      | (?:i\ (?:need|would\ need|require)\ (?:more|additional|further)\ (?:information|context|details))
      | (?:please|could\ you(?:\ please)?|can\ you(?:\ please)?|kindly)\ (?:provide|specify|share|supply|clarify|paste|upload|attach)\b[^.?!\n]{0,60}\b(?:text|sentence|passage|input|article|context|details|information|data|list|image|paragraph|question|document|code|topic|email|review|file|instruction|prompt)s?\b
      | (?:this|the)\ (?:request|question|instruction|task)\ (?:can(?:no|')t|is\ (?:unclear|not\ clear|impossible|inappropriate|incomplete))
    )"
);

pattern!(
    ABOUT_MODELS,
    r"\bAIs?\b|(?i)\b(?:language models?|chat ?bots?|assistants?|artificial intelligence)\b"
);

/// In a message, "I cannot help you on Saturday" declines an invitation, not the task.
fn refusal(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    let start = head(instance.output.trim_start(), 600).replace('’', "'");
    let about_models = ABOUT_MODELS.is_match(instruction);
    if !about_models && let Some(found) = MODEL.find(&start) {
        return Some(shown(found.as_str()));
    }
    let found = DECLINES.find(&start)?;
    (!MESSAGE.is_match(instruction)).then(|| shown(found.as_str()))
}

pattern!(
    MESSAGE,
    r"(?i)\b(?:e-?mails?|letters?|messages?|repl(?:y|ies)|respond|response|dialogues?|conversation|chat|scripts?|skit|scene|stor(?:y|ies)|translat\w*|paraphras\w*|rewrit\w*|rephras\w*|excuses?|apolog\w*|declin\w*|sentences?|role-?play)\b"
);

pattern!(
    WANTS_PROGRAM,
    r"(?i)^\W*(?:please |can you |could you )?(?:write|create|implement|develop|code|build|make)(?: me)? (?:a|an|some|the)(?: \S+){0,3}? (?:program|script|code|function|method|class|sql query|subroutine|macro)\b(?: (?:in|that|to|which|for|using|called|named|with)\b|[.!]?$)"
);
pattern!(
    PROGRAM_PARTS,
    r"(?i)[=;{}<>$|`#\[\]\\]|\w\(|:\s*\n\s|\b(?:select|print|echo|return|import|begin|loop|goto|display|lambda|def|printf?|let|set|for each|repeat)\b|^\s*\w+ -\w|\b\w+\.\w+\b"
);
pattern!(
    SPOKEN,
    r"(?i)\b(?:movie|film|play|tv|radio|video|podcast|comedy|dialogue|speech|sketch|class on|training program|exercise|workout|phone|sales|loyalty|concert|fitness|voice|theat\w+|drama|school|education\w*|scene|conference)\b"
);

fn no_code(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    let wanted = WANTS_PROGRAM.find(head(instruction, 400))?;
    (!PROGRAM_PARTS.is_match(head(&instance.output, 20_000)) && !SPOKEN.is_match(instruction))
        .then(|| format!("{} and no line of code", shown(wanted.as_str())))
}
