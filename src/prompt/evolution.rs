//! The prompts of Evol-Instruct's rounds (Xu et al. 2023, arXiv 2304.12244): one rewrites a task,
//! one compares the result with its parent. The operators are the paper's, wording and examples
//! ewe's own.
//!
//! All prompts of an operator start with the same text, so that a backend can cache it. The input
//! of the task is not shown: a rewritten task gets instances of its own.

mod examples;

use super::self_instruct::{TASK, one_line};

/// Starts a task rewritten in depth.
pub const HARDER: &str = "Harder task:";
/// Starts a task rewritten in breadth.
pub const RARER: &str = "Rarer task:";
/// Starts the rewritten task in a comparison with its parent.
const OTHER: &str = "Other task:";
/// Asks whether two tasks are the same.
const SAME: &str = "Is it the same task?";

/// Words of these prompts that do not belong in a task. The last three are those of the published
/// prompts, which models have seen.
pub const MARKERS: [&str; 9] = [
    "harder task",
    "harder version",
    "rarer task",
    "other task:",
    "the same task?",
    "task below is followed",
    "given prompt",
    "rewritten prompt",
    "created prompt",
];

/// A way to rewrite a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// In depth: adds one or two requirements.
    AddConstraints,
    /// In depth: asks for more about the subject.
    Deepen,
    /// In depth: replaces general things by particular ones.
    Concretise,
    /// In depth: needs more steps of reasoning.
    IncreaseReasoning,
    /// In depth: has an input that is harder to read.
    ComplicateInput,
    /// In breadth: a new task from the same field.
    InBreadth,
}

impl Operator {
    /// The five operators in depth, in the order of the paper.
    pub const IN_DEPTH: [Operator; 5] = [
        Operator::AddConstraints,
        Operator::Deepen,
        Operator::Concretise,
        Operator::IncreaseReasoning,
        Operator::ComplicateInput,
    ];

    /// The word in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::AddConstraints => "add_constraints",
            Operator::Deepen => "deepen",
            Operator::Concretise => "concretise",
            Operator::IncreaseReasoning => "increase_reasoning",
            Operator::ComplicateInput => "complicate_input",
            Operator::InBreadth => "in_breadth",
        }
    }

    /// The label before the rewritten task.
    pub fn label(self) -> &'static str {
        match self {
            Operator::InBreadth => RARER,
            _ => HARDER,
        }
    }

    /// A sentence that says what makes the rewritten task harder.
    fn what(self) -> &'static str {
        match self {
            Operator::AddConstraints => {
                "It adds one or two requirements to the answer: a length, a form, a reader, something to use or to avoid."
            }
            Operator::Deepen => {
                "It goes further into the matter, and asks for causes, limits, exceptions or consequences."
            }
            Operator::Concretise => {
                "It speaks of particular things where the first speaks of things in general: a place, a person in a \
                 certain position, an amount."
            }
            Operator::IncreaseReasoning => "It takes several steps of thought where the first takes one.",
            Operator::ComplicateInput => {
                "It is done on an input that is harder to read: a table, JSON, a program, a log or a thread of messages."
            }
            Operator::InBreadth => "",
        }
    }
}

/// The example tasks in the prompt of an operator. A model may copy one.
pub fn shown(operator: Operator) -> impl Iterator<Item = &'static str> {
    examples::of(operator).iter().flat_map(|(from, to)| [*from, *to])
}

/// Asks for a rewritten task. In breadth, it has to do with the topic, if there is one. In depth, a
/// task keeps its subject.
pub fn rewrite(operator: Operator, task: &str, topic: Option<&str>) -> String {
    let mut prompt = match operator {
        Operator::InBreadth => String::from(
            "Each task below is followed by a new task from the same field, one that comes up more rarely. It is about \
             as long and as difficult, takes one line, and can be done by reading and writing alone.",
        ),
        _ => format!(
            "Each task below is followed by a harder version of it. {} It keeps the subject, takes one line of at most \
             50 words, and can be done by reading and writing alone.",
            operator.what()
        ),
    };
    let label = operator.label();
    if let (Operator::InBreadth, Some(topic)) = (operator, topic) {
        prompt.push_str(&format!(" The last one has to do with this: {topic}"));
    }
    prompt.push_str("\n\n");
    for (from, to) in examples::of(operator) {
        prompt.push_str(&format!("{TASK} {from}\n{label} {to}\n\n"));
    }
    prompt.push_str(&format!("{TASK} {}\n{label}", one_line(task)));
    prompt
}

/// Asks whether a rewritten task is the same as its parent. The model answers `Yes` or `No`.
pub fn equality(task: &str, other: &str) -> String {
    let question = |task: &str, other: &str| format!("{TASK} {task}\n{OTHER} {other}\n{SAME}");
    let mut prompt = String::from(
        "Two tasks are the same if they ask for the same thing, with the same requirements and equally far into the \
         matter, in whatever words.\n\n",
    );
    for (task, other, answer) in examples::EQUALITY {
        prompt.push_str(&format!("{} {answer}\n\n", question(task, other)));
    }
    prompt.push_str(&question(&one_line(task), &one_line(other)));
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Operator> {
        Operator::IN_DEPTH.into_iter().chain([Operator::InBreadth])
    }

    #[test]
    fn a_task_is_to_be_continued_by_a_harder_one() {
        let prompt = rewrite(Operator::Deepen, "Name a\nriver.", Some("bees"));
        assert!(prompt.starts_with("Each task below is followed by a harder version of it. It goes further"));
        assert!(prompt.ends_with("\n\nTask: Name a river.\nHarder task:"));
        assert!(!prompt.contains("bees"), "in depth a task keeps its subject");
        let prompt = rewrite(Operator::InBreadth, "Name a river.", Some("bees"));
        assert!(prompt.contains("The last one has to do with this: bees\n\n"));
        assert!(prompt.ends_with("\n\nTask: Name a river.\nRarer task:"));
        let prompt = equality("Name a river.", "Name\na stream.");
        assert!(
            prompt.ends_with("\n\nTask: Name a river.\nOther task: Name a stream.\nIs it the same task?")
        );
    }

    #[test]
    fn examples_are_one_line_and_say_nothing_of_the_prompt() {
        let mut words = std::collections::HashSet::new();
        for operator in all() {
            assert!(words.insert(operator.as_str()));
            assert!(examples::of(operator).len() >= 3);
            for text in shown(operator) {
                let lower = text.to_lowercase();
                assert!(!text.contains('\n') && text.trim() == text, "{text}");
                assert!(MARKERS.iter().all(|marker| !lower.contains(marker)), "{text}");
            }
            // Text copied from the prompt is found by its markers.
            let prompt = rewrite(operator, "x", None).to_lowercase();
            assert!(MARKERS.iter().any(|marker| prompt.contains(marker)));
        }
    }

    #[test]
    fn both_answers_are_shown() {
        let count = |answer| {
            let shown = examples::EQUALITY.iter().filter(|example| example.2 == answer);
            shown.count()
        };
        assert!(count("Yes") >= 2 && count("No") >= 2);
        assert_eq!(count("Yes") + count("No"), examples::EQUALITY.len());
    }
}
