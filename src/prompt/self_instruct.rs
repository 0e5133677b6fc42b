//! The prompts of Self-Instruct's three stages, built from the seed tasks (Wang et al. 2023, tables
//! 5–8).
//!
//! The seeds of another domain change every prompt. The examples of stages 2 and 3 are chosen once,
//! so that all prompts of a stage start with the same text, and a backend can cache it.

use crate::task::Task;

/// Starts the output of an instance.
pub const OUTPUT: &str = "Output:";
/// Starts the input of an instance.
pub const INPUT: &str = "Input:";
/// Starts an instance of a classification task, with its label.
pub const LABEL: &str = "Class label:";
/// Starts a task.
pub const TASK: &str = "Task:";

/// Stage 1: a numbered list of instructions that the model continues with number
/// `instructions.len() + 1`. A topic is required only of the `wanted` new ones, since the shown
/// ones have nothing to do with it.
pub fn new_instructions(instructions: &[&str], wanted: usize, topic: Option<&str>) -> String {
    let mut prompt = match topic {
        None => String::from("Come up with a series of tasks:\n\n"),
        Some(topic) => format!(
            "Come up with a series of tasks. Tasks {} to {} have to do with this: {topic}\n\n",
            instructions.len() + 1,
            instructions.len() + wanted
        ),
    };
    for (i, instruction) in instructions.iter().enumerate() {
        prompt.push_str(&format!("{}. {}\n", i + 1, one_line(instruction)));
    }
    prompt.push_str(&format!("{}.", instructions.len() + 1));
    prompt
}

/// Stage 2: asks whether an instruction is a classification task. The model answers `Yes` or `No`.
pub struct Classification {
    examples: String,
}

impl Classification {
    /// Takes `yes` classification tasks and `no` others from the seeds, spreads the former evenly
    /// among the latter, and puts one of the latter last.
    ///
    /// The order decides what a small model answers. Measured 2026-11-23 with Gemma 3 270M on 20
    /// classification and 40 other seeds that were not among the examples, 6 yes and 12 no: in this
    /// order it finds 25 % of the former and errs on none of the latter; shuffled (5 and 12) it
    /// finds 75 % and errs on 70 %. A task wrongly taken for classification gets nonsense labels;
    /// one that is missed only gets its input first.
    pub fn from_seeds(seeds: &[Task], yes: usize, no: usize) -> Self {
        let yes = evenly(seeds.iter().filter(|task| task.is_classification), yes);
        let no = evenly(seeds.iter().filter(|task| !task.is_classification), no);
        let mut chosen = Vec::new();
        for (i, &task) in yes.iter().enumerate() {
            chosen.push(task);
            chosen.extend(&no[i * no.len() / yes.len()..(i + 1) * no.len() / yes.len()]);
        }
        if yes.is_empty() {
            chosen = no;
        }
        let mut examples = String::from(
            "Can the following task be regarded as a classification task with finite output labels?\n\n",
        );
        for task in chosen {
            let answer = if task.is_classification { "Yes" } else { "No" };
            examples.push_str(&format!("{} {answer}\n\n", Self::question(&task.instruction)));
        }
        Classification { examples }
    }

    fn question(instruction: &str) -> String {
        format!("{TASK} {}\nIs it classification?", one_line(instruction))
    }

    /// The prompt for `instruction`.
    pub fn prompt(&self, instruction: &str) -> String {
        format!("{}{}", self.examples, Self::question(instruction))
    }
}

/// Stage 3 for tasks that are not classification: the input first, if there is one, then the
/// output.
pub struct InputFirst {
    examples: String,
}

impl InputFirst {
    /// Takes `count` tasks from the seeds, `with_input` of them with inputs. The last one has
    /// none: small models copy the form of the last example, and most instructions of stage 1 need
    /// no input.
    pub fn from_seeds(seeds: &[Task], count: usize, with_input: usize) -> Self {
        let has_input = |task: &&Task| task.instances.iter().any(|i| !i.input.is_empty());
        let plain = || {
            seeds
                .iter()
                .filter(|task| !task.is_classification && is_compact(task, 1))
        };
        let with = evenly(plain().filter(has_input), with_input);
        let without = evenly(plain().filter(|task| !has_input(task)), count - with.len());
        let mut examples = String::from(
            "Come up with examples for the following tasks. If a task needs an input, write the input and then the \
             output. If it needs none, write the output directly.\n\n",
        );
        for pair in 0..with.len().max(without.len()) {
            for task in [with.get(pair), without.get(pair)].into_iter().flatten() {
                examples.push_str(&format!("{TASK} {}\n", one_line(&task.instruction)));
                let instance = &task.instances[0];
                if !instance.input.is_empty() {
                    examples.push_str(&format!("{INPUT} {}\n", instance.input));
                }
                examples.push_str(&format!("{OUTPUT} {}\n\n", instance.output));
            }
        }
        InputFirst { examples }
    }

    /// The prompt for `instruction`.
    pub fn prompt(&self, instruction: &str) -> String {
        format!("{}{TASK} {}\n", self.examples, one_line(instruction))
    }
}

/// Stage 3 for classification tasks: the label first, so that all labels get inputs (section 2.2 of
/// the paper).
pub struct OutputFirst {
    examples: String,
}

impl OutputFirst {
    /// Takes `count` classification tasks from the seeds, preferably with several instances.
    pub fn from_seeds(seeds: &[Task], count: usize) -> Self {
        let mut chosen: Vec<&Task> = seeds
            .iter()
            .filter(|t| t.is_classification && is_compact(t, 3))
            .collect();
        chosen.retain(|task| task.instances.iter().all(|i| !i.input.is_empty()));
        chosen.sort_by_key(|task| std::cmp::Reverse(task.instances.len().min(2)));
        let several = chosen.iter().take_while(|task| task.instances.len() > 1).count();
        let chosen = evenly(chosen.into_iter().take(several.max(count)), count);
        let mut examples = String::from(
            "Given a classification task, write an input for each of its class labels. If the task lists no labels, \
             choose fitting ones.\n\n",
        );
        for task in chosen {
            examples.push_str(&format!("{TASK} {}\n", one_line(&task.instruction)));
            for instance in &task.instances {
                examples.push_str(&format!(
                    "{LABEL} {}\n{INPUT} {}\n",
                    instance.output, instance.input
                ));
            }
            examples.push('\n');
        }
        OutputFirst { examples }
    }

    /// The prompt for `instruction`.
    pub fn prompt(&self, instruction: &str) -> String {
        format!("{}{TASK} {}\n{LABEL}", self.examples, one_line(instruction))
    }
}

/// Puts an instruction on one line: a line break would end it early.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the first `instances` of a task are short enough for an example, and have no blank line,
/// which would end it.
fn is_compact(task: &Task, instances: usize) -> bool {
    let mut shown = task.instances.iter().take(instances);
    let length: usize = shown.clone().map(|i| i.input.len() + i.output.len()).sum();
    length <= 300 * instances.min(2) && shown.all(|i| !i.input.contains("\n\n") && !i.output.contains("\n\n"))
}

/// Takes `count` items at even distances, in order: seeds are usually sorted by kind.
fn evenly<'a>(items: impl Iterator<Item = &'a Task>, count: usize) -> Vec<&'a Task> {
    let items: Vec<_> = items.collect();
    let count = count.min(items.len());
    (0..count)
        .map(|i| items[(2 * i + 1) * items.len() / (2 * count)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Instance;

    fn task(instruction: &str, is_classification: bool, instances: &[(&str, &str)]) -> Task {
        Task {
            name: None,
            instruction: instruction.to_string(),
            instances: instances
                .iter()
                .map(|(input, output)| Instance {
                    input: input.to_string(),
                    output: output.to_string(),
                })
                .collect(),
            is_classification,
            ..Task::default()
        }
    }

    #[test]
    fn prompts_are_built_from_the_seeds() {
        let seeds = [
            task("Name a\nriver", false, &[("", "Loire")]),
            task("Translate to French", false, &[("sea", "mer")]),
            task(
                "Is it spam? Answer yes or no",
                true,
                &[("win now", "yes"), ("lunch?", "no")],
            ),
        ];
        assert_eq!(
            new_instructions(&["a", "b"], 8, None),
            "Come up with a series of tasks:\n\n1. a\n2. b\n3."
        );
        assert_eq!(
            new_instructions(&["a", "b"], 8, Some("bees")),
            "Come up with a series of tasks. Tasks 3 to 10 have to do with this: bees\n\n1. a\n2. b\n3."
        );
        let prompt = Classification::from_seeds(&seeds, 2, 2).prompt("Sort words");
        assert!(prompt.contains("Task: Is it spam? Answer yes or no\nIs it classification? Yes\n\n"));
        assert!(prompt.contains("Task: Name a river\nIs it classification? No\n\n"));
        assert!(prompt.ends_with("Task: Sort words\nIs it classification?"));
        let prompt = InputFirst::from_seeds(&seeds, 2, 1).prompt("Sort words");
        assert!(prompt.contains(
            "Task: Translate to French\nInput: sea\nOutput: mer\n\nTask: Name a river\nOutput: Loire\n\n"
        ));
        assert!(prompt.ends_with("\n\nTask: Sort words\n"));
        let prompt = OutputFirst::from_seeds(&seeds, 2).prompt("Sort words");
        assert!(prompt.contains("Class label: yes\nInput: win now\nClass label: no\nInput: lunch?\n\n"));
        assert!(prompt.ends_with("Task: Sort words\nClass label:"));
    }
}
