//! What a single instruction, or one instance of it, must satisfy.
//!
//! Each rule is a value with a reason code, its source and a function that says what is wrong. The sets below are
//! applied in order; the first rule that objects names the reason.

use super::words::words;
use crate::task::Instance;

/// A rule over an instruction.
pub struct InstructionRule {
    /// The reason code that the store keeps.
    pub reason: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// What is wrong with the instruction, if anything.
    pub objection: fn(&str) -> Option<String>,
}

/// A rule over an instance of an instruction.
pub struct InstanceRule {
    /// The reason code that the store keeps.
    pub reason: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// What is wrong with the instance, if anything; the first argument is the instruction.
    pub objection: fn(&str, &Instance) -> Option<String>,
}

/// Why something was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Reason code, one word.
    pub reason: &'static str,
    /// What exactly was found.
    pub detail: String,
}

const SELF_INSTRUCT: &str = "Self-Instruct (Wang et al. 2023), released code";
const EWE: &str = "ewe: what small base models do wrong";

/// The default rules over instructions, in order.
pub const INSTRUCTION_RULES: &[InstructionRule] = &[
    InstructionRule {
        reason: "empty",
        source: SELF_INSTRUCT,
        objection: empty,
    },
    InstructionRule {
        reason: "too_short",
        source: SELF_INSTRUCT,
        objection: too_short,
    },
    InstructionRule {
        reason: "too_long",
        source: SELF_INSTRUCT,
        objection: too_long,
    },
    InstructionRule {
        reason: "leading_punctuation",
        source: SELF_INSTRUCT,
        objection: leading_punctuation,
    },
    InstructionRule {
        reason: "list_item",
        source: EWE,
        objection: list_item,
    },
    InstructionRule {
        reason: "unsuitable_medium",
        source: SELF_INSTRUCT,
        objection: unsuitable_medium,
    },
    InstructionRule {
        reason: "write_a_program",
        source: SELF_INSTRUCT,
        objection: write_a_program,
    },
    InstructionRule {
        reason: "prompt_marker",
        source: EWE,
        objection: |text| prompt_marker(text),
    },
    InstructionRule {
        reason: "repetition",
        source: EWE,
        objection: |text| repetition(text),
    },
];

/// The default rules over instances, in order.
pub const INSTANCE_RULES: &[InstanceRule] = &[
    InstanceRule {
        reason: "empty_output",
        source: SELF_INSTRUCT,
        objection: empty_output,
    },
    InstanceRule {
        reason: "placeholder",
        source: EWE,
        objection: placeholder,
    },
    InstanceRule {
        reason: "incomplete",
        source: SELF_INSTRUCT,
        objection: incomplete,
    },
    InstanceRule {
        reason: "echo",
        source: SELF_INSTRUCT,
        objection: echo,
    },
    InstanceRule {
        reason: "prompt_marker",
        source: EWE,
        objection: |_, i| prompt_marker(&i.input).or_else(|| prompt_marker(&i.output)),
    },
    InstanceRule {
        reason: "repetition",
        source: EWE,
        objection: |_, i| repetition(&i.input).or_else(|| repetition(&i.output)),
    },
];

/// The first objection to an instruction.
pub fn judge_instruction(instruction: &str) -> Option<Objection> {
    INSTRUCTION_RULES.iter().find_map(|rule| {
        (rule.objection)(instruction).map(|detail| Objection {
            reason: rule.reason,
            detail,
        })
    })
}

/// The first objection to an instance taken alone.
pub fn judge_instance(instruction: &str, instance: &Instance) -> Option<Objection> {
    INSTANCE_RULES.iter().find_map(|rule| {
        (rule.objection)(instruction, instance).map(|detail| Objection {
            reason: rule.reason,
            detail,
        })
    })
}

/// Judges the instances of one task together: each alone, then against each other. An instance that repeats an
/// earlier one is dropped; instances that give different outputs to the same input all are, since none can be
/// trusted (Self-Instruct). One entry an instance, in order.
pub fn judge_instances(instruction: &str, instances: &[Instance]) -> Vec<Option<Objection>> {
    let mut objections: Vec<_> = instances.iter().map(|i| judge_instance(instruction, i)).collect();
    let passed: Vec<usize> = (0..instances.len())
        .filter(|&i| objections[i].is_none())
        .collect();
    let key = |text: &str| words(text).join(" ");
    for (n, &i) in passed.iter().enumerate() {
        let input = key(&instances[i].input);
        let twins = passed
            .iter()
            .filter(|&&j| j != i && key(&instances[j].input) == input);
        let differs = twins
            .clone()
            .any(|&j| key(&instances[j].output) != key(&instances[i].output));
        let repeats = passed[..n].iter().any(|&j| instances[j] == instances[i])
            || (!differs && twins.clone().any(|&j| j < i));
        if repeats && !differs {
            objections[i] = Some(Objection {
                reason: "repeated_instance",
                detail: String::new(),
            });
        } else if differs {
            let detail = "the same input has several outputs".to_string();
            objections[i] = Some(Objection {
                reason: "conflicting_instances",
                detail,
            });
        }
    }
    objections
}

fn empty(instruction: &str) -> Option<String> {
    words(instruction).is_empty().then(String::new)
}

fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

fn too_short(instruction: &str) -> Option<String> {
    let count = count_words(instruction);
    (count <= 3).then(|| format!("{count} words, at least 4 wanted"))
}

fn too_long(instruction: &str) -> Option<String> {
    let count = count_words(instruction);
    (count > 150).then(|| format!("{count} words, at most 150 wanted"))
}

fn leading_punctuation(instruction: &str) -> Option<String> {
    let first = instruction.chars().next()?;
    (!first.is_alphanumeric()).then(|| format!("starts with '{first}'"))
}

/// `B. It is snowing`: an option of a list that the model made up, not a task.
fn list_item(instruction: &str) -> Option<String> {
    let mut chars = instruction.chars();
    let (letter, mark) = (chars.next()?, chars.next()?);
    (letter.is_alphanumeric() && matches!(mark, '.' | ')') && chars.next() == Some(' '))
        .then(|| format!("starts with '{letter}{mark}'"))
}

/// Words for what a language model can neither see nor make; whole words, so that "mapping" passes.
const MEDIA: &[&str] = &[
    "image",
    "images",
    "graph",
    "graphs",
    "picture",
    "pictures",
    "photo",
    "photos",
    "file",
    "files",
    "map",
    "maps",
    "draw",
    "plot",
    "diagram",
    "flowchart",
    "video",
    "videos",
    "audio",
    "music",
    "go to",
];

fn unsuitable_medium(instruction: &str) -> Option<String> {
    let text = format!(" {} ", words(instruction).join(" "));
    MEDIA
        .iter()
        .find(|medium| text.contains(&format!(" {medium} ")))
        .map(|medium| format!("'{medium}'"))
}

/// The original found that models confuse writing a program with writing what it prints.
fn write_a_program(instruction: &str) -> Option<String> {
    let start = words(instruction);
    start
        .starts_with(&["write", "a", "program"].map(String::from))
        .then(|| "'write a program'".to_string())
}

/// Lines that only prompts have: the model ran on into a next task.
fn prompt_marker(text: &str) -> Option<String> {
    const MARKERS: &[&str] = &[
        "Task:",
        "Input:",
        "Output:",
        "Class label:",
        "Is it classification?",
        "###",
    ];
    let starts = |line: &str, marker: &str| {
        line.trim_start()
            .get(..marker.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(marker))
    };
    let line = text
        .lines()
        .find(|line| MARKERS.iter().any(|marker| starts(line, marker)))?;
    Some(format!("'{}'", line.trim()))
}

/// Degenerate loops: a line that stands three times, or a run of words said four times on end.
fn repetition(text: &str) -> Option<String> {
    let mut lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| count_words(line) > 2)
        .collect();
    lines.sort_unstable();
    if let Some(same) = lines.windows(3).find(|w| w[0] == w[2]) {
        return Some(format!("the line '{}' stands three times", same[0]));
    }
    let words = words(text);
    for length in 1..=12 {
        let mut run = 0;
        for i in length..words.len() {
            run = if words[i] == words[i - length] { run + 1 } else { 0 };
            if run >= 3 * length {
                return Some(format!(
                    "'{}' again and again",
                    words[i + 1 - length..=i].join(" ")
                ));
            }
        }
    }
    None
}

fn empty_output(_: &str, instance: &Instance) -> Option<String> {
    words(&instance.output)
        .is_empty()
        .then(|| format!("'{}'", instance.output.trim()))
}

/// What a form shows before it is filled in: `N/A`, `<your answer>`, `[insert name]`.
fn placeholder(_: &str, instance: &Instance) -> Option<String> {
    let is_placeholder = |text: &str| {
        let text = text.trim().trim_end_matches('.').to_lowercase();
        let inside = |open, close| {
            text.strip_prefix(open)
                .and_then(|rest: &str| rest.strip_suffix(close))
        };
        let only_words = |text: &str| text.chars().all(|c| c.is_alphabetic() || c == ' ' || c == '_');
        matches!(
            text.as_str(),
            "n/a" | "noinput" | "no input" | "your answer" | "your answer here" | "todo"
        ) || inside('<', '>').is_some_and(|text| only_words(text) && count_words(text) <= 6)
            || inside('[', ']').is_some_and(|text| text.starts_with("your ") || text.starts_with("insert "))
    };
    [&instance.input, &instance.output]
        .into_iter()
        .find(|text| !text.trim().is_empty() && is_placeholder(text))
        .map(|text| format!("'{}'", text.trim()))
}

fn incomplete(_: &str, instance: &Instance) -> Option<String> {
    [("input", &instance.input), ("output", &instance.output)]
        .into_iter()
        .find(|(_, text)| text.trim().ends_with(':'))
        .map(|(name, _)| format!("the {name} ends with a colon"))
}

/// Compares texts but for case and what surrounds them; what is inside, line breaks too, may be all that a task of
/// reformatting changes.
fn echo(instruction: &str, instance: &Instance) -> Option<String> {
    let bare = |text: &str| text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let (instruction, input, output) = (bare(instruction), bare(&instance.input), bare(&instance.output));
    if output == input {
        return Some("the output is the input".to_string());
    }
    if output == instruction {
        return Some("the output is the instruction".to_string());
    }
    (input == instruction).then(|| "the input is the instruction".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(input: &str, output: &str) -> Instance {
        Instance {
            input: input.to_string(),
            output: output.to_string(),
        }
    }

    fn reason(instruction: &str) -> Option<&'static str> {
        judge_instruction(instruction).map(|o| o.reason)
    }

    #[test]
    fn each_instruction_rule_fires_and_spares() {
        let fires = [
            (" . ", "empty"),
            ("Write a poem", "too_short"),
            ("- write a poem about rain", "leading_punctuation"),
            ("B. It is snowing in the winter", "list_item"),
            ("Draw a cat on a mat", "unsuitable_medium"),
            ("Please go to the shop for me", "unsuitable_medium"),
            ("Write a program that adds two numbers", "write_a_program"),
            ("List the rivers of France\nOutput: Loire", "prompt_marker"),
            ("Say it very very very very very very loudly", "repetition"),
        ];
        for (text, expected) in fires {
            assert_eq!(reason(text), Some(expected), "{text}");
        }
        assert_eq!(reason(&"word and ".repeat(80)), Some("too_long"));
        for text in [
            "Explain the mapping of cells to organs",
            "Write a programme for a concert evening",
            "¿Cuál es la capital de Francia?".trim_start_matches('¿'),
        ] {
            assert_eq!(reason(text), None, "{text}");
        }
        let fired: Vec<_> = fires.iter().map(|f| f.1).chain(["too_long"]).collect();
        assert!(INSTRUCTION_RULES.iter().all(|rule| fired.contains(&rule.reason)));
    }

    #[test]
    fn each_instance_rule_fires_and_spares() {
        let task = "Name the capital of the country";
        let fires = [
            (instance("France", " - "), "empty_output"),
            (instance("N/A", "Paris"), "placeholder"),
            (instance("France", "<your answer>"), "placeholder"),
            (instance("France", "The capital is:"), "incomplete"),
            (instance("France", "France."), "echo"),
            (instance("France", "Name the capital of the country!"), "echo"),
            (instance("France", "Paris\nTask: say more"), "prompt_marker"),
            (instance("France", "it is it is it is it is it is"), "repetition"),
        ];
        for (given, expected) in &fires {
            assert_eq!(
                judge_instance(task, given).map(|o| o.reason),
                Some(*expected),
                "{given:?}"
            );
        }
        assert_eq!(judge_instance(task, &instance("", "Paris")), None);
        assert_eq!(
            judge_instance(task, &instance("France", "Paris, on the Seine")),
            None
        );
        assert_eq!(
            judge_instance("Put the words in a list", &instance("a, b", "a\nb")),
            None
        );
        assert!(
            INSTANCE_RULES
                .iter()
                .all(|rule| fires.iter().any(|f| f.1 == rule.reason))
        );
    }

    #[test]
    fn instances_are_judged_together() {
        let reasons = |instances: &[Instance]| -> Vec<_> {
            judge_instances("Name the capital", instances)
                .into_iter()
                .map(|o| o.map(|o| o.reason))
                .collect()
        };
        let (a, b, c) = (
            instance("France", "Paris"),
            instance("Italy", "Rome"),
            instance("France", "Lyon"),
        );
        assert_eq!(reasons(&[a.clone(), b.clone()]), [None, None]);
        assert_eq!(
            reasons(&[a.clone(), b.clone(), a.clone()]),
            [None, None, Some("repeated_instance")]
        );
        assert_eq!(
            reasons(&[a, b, c]),
            [Some("conflicting_instances"), None, Some("conflicting_instances")]
        );
    }
}
