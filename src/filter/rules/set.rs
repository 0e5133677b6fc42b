//! Sets of rules, and how they are applied.

use super::{CONFLICTING, Check, Objection, REPEATED, Rule, Settings, Together, all, published};
use crate::filter::words::words;
use crate::task::{Instance, Task};
use anyhow::Result;
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
    /// The names of the sets that need no file.
    pub const NAMES: [&str; 4] = ["self-instruct", "alpaca", "default", "none"];

    /// The set of this name, one of [`RuleSet::NAMES`].
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

    /// The set that the argument of `--rules` means: one of [`RuleSet::NAMES`], else the path of a TOML file.
    /// docs/rules.md has the layout of the file; errors name the file, the line and the key.
    pub fn read(argument: &str) -> Result<RuleSet> {
        match RuleSet::named(argument) {
            Some(set) => Ok(set),
            None => super::read::file(argument),
        }
    }

    /// A set under the name of the file that describes it.
    pub(super) fn new(name: &str, rules: Vec<&'static Rule>, settings: Settings) -> RuleSet {
        RuleSet {
            name: name.to_string(),
            rules,
            settings,
        }
    }

    /// The argument it was read from.
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

    /// The reason codes that this set can give, each once.
    pub fn reasons(&self) -> Vec<&'static str> {
        let together: &[&str] = match self.settings.instances {
            Together::Any => &[],
            Together::Default | Together::SelfInstruct => &[REPEATED, CONFLICTING],
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

    /// The length of the n-grams, in words, by which rows are matched with the files they must not contain, beside
    /// their exact text; `None` when they are not.
    pub fn decontaminate(&self) -> Option<usize> {
        self.settings.decontaminate
    }

    /// The first objection to an instruction.
    pub fn judge_instruction(&self, instruction: &str) -> Option<Objection> {
        self.first(|check| match check {
            Check::Instruction(look) => look(instruction, &self.settings),
            Check::Instance(_) => None,
        })
    }

    /// The first objection to an instance taken alone.
    pub fn judge_instance(&self, instruction: &str, instance: &Instance) -> Option<Objection> {
        self.first(|check| match check {
            Check::Instruction(_) => None,
            Check::Instance(look) => look(instruction, instance, &self.settings),
        })
    }

    fn first(&self, look: impl Fn(&Check) -> Option<String>) -> Option<Objection> {
        self.rules.iter().find_map(|rule| {
            look(&rule.check).map(|detail| Objection {
                reason: rule.reason,
                detail,
            })
        })
    }

    /// Judges the instances of one task: each alone, then those that passed against each other, as
    /// [`Settings::instances`] says. One entry an instance, in order.
    pub fn judge_instances(&self, instruction: &str, instances: &[Instance]) -> Vec<Option<Objection>> {
        let mut objections: Vec<_> = instances
            .iter()
            .map(|instance| self.judge_instance(instruction, instance))
            .collect();
        let passed: Vec<usize> = (0..instances.len())
            .filter(|&i| objections[i].is_none())
            .collect();
        let found = match self.settings.instances {
            Together::Any => Vec::new(),
            Together::Default => compare(instances, &passed, |text| same_text(text), false),
            Together::SelfInstruct => compare(instances, &passed, |text| text.trim().to_string(), true),
        };
        for (i, objection) in found {
            objections[i] = Some(objection);
        }
        objections
    }

    /// The first objection to the instruction, else to any instance.
    pub fn judge_task(&self, task: &Task) -> Option<Objection> {
        self.judge_instruction(&task.instruction).or_else(|| {
            self.judge_instances(&task.instruction, &task.instances)
                .into_iter()
                .flatten()
                .next()
        })
    }
}

/// The same for texts that are the same input or output: case and punctuation make no difference. Signs alone, such as an
/// operator, have no words and are told apart as they stand.
pub fn same_text(text: &str) -> String {
    match words(text) {
        words if words.is_empty() => text.trim().to_string(),
        words => words.join(" "),
    }
}

/// Everything that is neither a published filter nor about personal data.
fn in_default(rule: &Rule) -> bool {
    !published::in_self_instruct(rule) && !published::in_alpaca(rule) && !super::pii::is_pii(rule)
}

/// Objections to instances that repeat or contradict each other under `key`. `together`: one contradiction condemns
/// all instances, and instances without input cannot contradict each other.
fn compare(
    instances: &[Instance],
    passed: &[usize],
    key: impl Fn(&String) -> String,
    together: bool,
) -> Vec<(usize, Objection)> {
    // Of each input, the distinct outputs and the number of instances seen.
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
    let mut found: Vec<_> = repeated
        .into_iter()
        .map(|i| {
            (
                i,
                Objection {
                    reason: REPEATED,
                    detail: String::new(),
                },
            )
        })
        .collect();
    // Later entries win: of contradicting instances none can be trusted, repeated or not.
    found.extend(
        inputs
            .iter()
            .filter(|(_, input)| if together { any } else { conflicts(input) })
            .map(|&(i, _)| {
                (
                    i,
                    Objection {
                        reason: CONFLICTING,
                        detail: "the same input has several outputs".to_string(),
                    },
                )
            }),
    );
    found
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
