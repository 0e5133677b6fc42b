//! Sets of rules: which rules they contain, and how they check a task.

use super::{Check, Rule, Settings, Together, all, published};
use crate::filter::words::words;
use crate::task::{Instance, Reason, Task, Verdict};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::collections::HashMap;

/// Rules with their parameters, in the order in which they are applied.
#[derive(Debug, Clone)]
pub struct RuleSet {
    name: String,
    rules: Vec<&'static Rule>,
    settings: Settings,
}

impl RuleSet {
    /// The names of the built-in sets.
    pub const NAMES: [&str; 4] = ["self-instruct", "alpaca", "default", "none"];

    /// The built-in set of this name; `None` if it is not in [`RuleSet::NAMES`].
    pub fn named(name: &str) -> Option<RuleSet> {
        let (wanted, instances, decontaminate): (fn(&Rule) -> bool, _, _) = match name {
            "self-instruct" => (published::in_self_instruct, Together::SelfInstruct, None),
            "alpaca" => (published::in_alpaca, Together::Any, None),
            "default" => (in_default, Together::Default, Settings::default().decontaminate),
            "none" => (|_| false, Together::Any, None),
            _ => return None,
        };
        Some(RuleSet {
            name: name.to_string(),
            rules: all().filter(|rule| wanted(rule)).collect(),
            settings: Settings {
                instances,
                decontaminate,
                ..Settings::default()
            },
        })
    }

    /// A set of these rules. `name` is the path of the TOML file.
    pub(super) fn new(name: &str, rules: Vec<&'static Rule>, settings: Settings) -> RuleSet {
        RuleSet {
            name: name.to_string(),
            rules,
            settings,
        }
    }

    /// The argument of `--rules`: a built-in name, or a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules, in the order in which they are applied.
    pub fn rules(&self) -> &[&'static Rule] {
        &self.rules
    }

    /// The parameters of the rules.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The reasons for which this set may reject, each once, in the order of the rules.
    pub fn reasons(&self) -> Vec<Reason> {
        let together: &[Reason] = match self.settings.instances {
            Together::Any => &[],
            Together::Default | Together::SelfInstruct => {
                &[Reason::RepeatedInstance, Reason::ConflictingInstances]
            }
        };
        let mut reasons = Vec::new();
        for reason in self
            .rules
            .iter()
            .map(|rule| rule.reason)
            .chain(together.iter().copied())
        {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// The length in words of the n-grams that rows are compared by with evaluation files, besides
    /// their similarity; `None` to compare the similarity of instructions only.
    pub fn decontaminate(&self) -> Option<usize> {
        self.settings.decontaminate
    }

    /// Checks an instruction.
    pub fn check_instruction(&self, instruction: &str) -> Verdict {
        self.first(|check| match check {
            Check::Instruction(look) => look(instruction, &self.settings),
            Check::Instance(_) => None,
        })
    }

    /// Checks an instance by itself.
    pub fn check_instance(&self, instruction: &str, instance: &Instance) -> Verdict {
        self.first(|check| match check {
            Check::Instruction(_) => None,
            Check::Instance(look) => look(instruction, instance, &self.settings),
        })
    }

    /// The verdict of the first rule that objects.
    fn first(&self, look: impl Fn(&Check) -> Option<String>) -> Verdict {
        let mut objections = self
            .rules
            .iter()
            .filter_map(|rule| Some(Verdict::rejected(rule.reason, look(&rule.check)?)));
        objections.next().unwrap_or_default()
    }

    /// Checks the instances of a task: each by itself, then the accepted ones against each other,
    /// as [`Settings::instances`] says. Returns a verdict per instance, in order.
    pub fn check_instances(&self, instruction: &str, instances: &[Instance]) -> Vec<Verdict> {
        let mut verdicts: Vec<_> = instances
            .iter()
            .map(|instance| self.check_instance(instruction, instance))
            .collect();
        let passed: Vec<usize> = (0..instances.len())
            .filter(|&i| verdicts[i].is_accepted())
            .collect();
        let found = match self.settings.instances {
            Together::Any => Vec::new(),
            Together::Default => compare(instances, &passed, |text| same_text(text), false),
            Together::SelfInstruct => compare(instances, &passed, |text| text.trim().to_string(), true),
        };
        for (i, verdict) in found {
            verdicts[i] = verdict;
        }
        verdicts
    }

    /// Checks a task: the instruction first, then the instances. Rejects it if one of them is
    /// rejected.
    pub fn check_task(&self, task: &Task) -> Verdict {
        self.check_instruction(&task.instruction).or_else(|| {
            let of_instances = self.check_instances(&task.instruction, &task.instances);
            let later = task.later.iter().map(|later| self.check_later(later));
            of_instances
                .into_iter()
                .chain(later)
                .find(Verdict::is_rejected)
                .unwrap_or_default()
        })
    }

    /// Checks a later question of a conversation, by the rules that are about any text. It may be
    /// short, begin in the middle of a thought, and be about what was said.
    pub fn check_follow_up(&self, question: &str) -> Verdict {
        const OF_ANY_TEXT: [Reason; 7] = [
            Reason::TooLong,
            Reason::UnsuitableAct,
            Reason::ControlCharacters,
            Reason::Mojibake,
            Reason::MergedTask,
            Reason::Reasoning,
            Reason::Repetition,
        ];
        let mut objections = self.rules.iter().filter_map(|rule| match &rule.check {
            Check::Instruction(look) if OF_ANY_TEXT.contains(&rule.reason) => {
                Some(Verdict::rejected(rule.reason, look(question, &self.settings)?))
            }
            _ => None,
        });
        objections.next().unwrap_or_default()
    }

    /// Checks a later answer of a conversation, with its question as the instruction. What it is
    /// about was said before, so nothing is missing.
    pub fn check_later(&self, later: &Instance) -> Verdict {
        let answer = Instance {
            input: String::new(),
            output: later.output.clone(),
        };
        let is_said = |reason| matches!(reason, Reason::MissingContext | Reason::LinkOnly);
        let mut objections = self.rules.iter().filter_map(|rule| match &rule.check {
            Check::Instance(look) if !is_said(rule.reason) => Some(Verdict::rejected(
                rule.reason,
                look(&later.input, &answer, &self.settings)?,
            )),
            _ => None,
        });
        objections.next().unwrap_or_default()
    }
}

/// The form by which inputs and outputs are compared: case and punctuation make no difference.
/// Texts of signs alone, such as operators, have no words and are compared as they are.
pub fn same_text(text: &str) -> String {
    match words(text) {
        words if words.is_empty() => text.trim().to_string(),
        words => words.join(" "),
    }
}

/// Whether the set `default` has the rule: all but the published filters and personal data.
fn in_default(rule: &Rule) -> bool {
    !published::in_self_instruct(rule) && !published::in_alpaca(rule) && !super::pii::is_pii(rule)
}

/// Rejects instances that repeat or contradict each other, compared by `key`. With `together`, one
/// contradiction rejects all instances, and instances without input cannot contradict each other.
fn compare(
    instances: &[Instance],
    passed: &[usize],
    key: impl Fn(&String) -> String,
    together: bool,
) -> Vec<(usize, Verdict)> {
    // The distinct outputs of each input.
    let mut outputs: HashMap<String, Vec<String>> = HashMap::new();
    let mut repeated = Vec::new();
    let mut inputs = Vec::new();
    for &i in passed {
        let (input, output) = (key(&instances[i].input), key(&instances[i].output));
        let known = outputs.entry(input.clone()).or_default();
        if known.contains(&output) {
            repeated.push(i);
        } else {
            known.push(output);
        }
        inputs.push((i, input));
    }
    let conflicts = |input: &String| outputs[input].len() > 1 && !(together && input.is_empty());
    let any = inputs.iter().any(|(_, input)| conflicts(input));
    let repeated = repeated
        .into_iter()
        .map(|i| (i, Verdict::rejected(Reason::RepeatedInstance, "")));
    let conflict = || Verdict::rejected(Reason::ConflictingInstances, "the same input has several outputs");
    let conflicting = inputs
        .iter()
        .filter(|(_, input)| if together { any } else { conflicts(input) })
        .map(|&(i, _)| (i, conflict()));
    // Later entries win: of contradicting instances none can be trusted, repeated or not.
    repeated.chain(conflicting).collect()
}

impl Default for RuleSet {
    fn default() -> Self {
        RuleSet::named("default").expect("one of the names")
    }
}

impl Serialize for RuleSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.name).collect();
        map.serialize_entry("rules", &rules)?;
        map.serialize_entry("settings", &self.settings)?;
        map.end()
    }
}
