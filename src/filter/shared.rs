//! Removes text that all rows of a file share: a preamble before every prompt, a closing line after
//! it, or the layout of a known template. It says nothing about any of the rows.
//!
//! Only whole lines count, and only if every row has them. A preamble that only some rows have is
//! compared like all other text. A system message is a field of its own and never gets here.

use crate::prompt::template;
use crate::task::Task;

/// With fewer rows, shared text cannot be told from what the rows say.
const FEWEST_ROWS: usize = 3;

/// The lines that all rows begin with, and those that all end with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedLines {
    beginning: String,
    ending: String,
}

impl SharedLines {
    /// Finds the lines that the instructions of all `tasks` share, after [`split_layout`]. Some
    /// text is left of each instruction.
    pub fn of<'a>(tasks: impl Iterator<Item = &'a Task> + Clone) -> SharedLines {
        let texts = tasks.map(|task| task.instruction.as_str());
        let Some(first) = texts.clone().next() else {
            return SharedLines::default();
        };
        if texts.clone().nth(FEWEST_ROWS - 1).is_none() {
            return SharedLines::default();
        }
        let common = |longest: &'a str, other: &str| {
            let equal = longest.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
            &longest[..longest.floor_char_boundary(equal.count())]
        };
        let is_left = |beginning: &str, ending: &str| {
            texts.clone().all(|text| {
                let rest = text
                    .get(beginning.len()..)
                    .and_then(|rest| rest.strip_suffix(ending));
                rest.is_some_and(|rest| !rest.trim().is_empty())
            })
        };
        // As many whole lines as leave some text of every row.
        let beginning = lines_before(texts.clone().fold(first, common))
            .find(|beginning| is_left(beginning, ""))
            .unwrap_or_default();
        let common = |longest: &'a str, other: &str| {
            let pairs = longest.bytes().rev().zip(other.bytes().rev());
            let equal = pairs.take_while(|(a, b)| a == b).count();
            &longest[longest.ceil_char_boundary(longest.len() - equal)..]
        };
        let ending = lines_behind(texts.clone().fold(first, common))
            .find(|ending| is_left(beginning, ending))
            .unwrap_or_default();
        SharedLines {
            beginning: beginning.to_string(),
            ending: ending.to_string(),
        }
    }

    /// Removes the shared lines from an instruction. One that does not begin with them keeps its
    /// beginning, and one that does not end with them its end.
    pub fn remove_from(&self, task: &mut Task) {
        let text = task.instruction.as_str();
        let own = text.strip_prefix(self.beginning.as_str()).unwrap_or(text);
        let own = own.strip_suffix(self.ending.as_str()).unwrap_or(own).trim();
        if own.len() < text.len() && !own.is_empty() {
            task.instruction = own.to_string();
        }
    }

    /// The number of shared lines that are not blank, and the first of them.
    pub fn lines(&self) -> (usize, &str) {
        let mut lines = self.beginning.lines().chain(self.ending.lines());
        let lines = lines.by_ref().filter(|line| !line.trim().is_empty());
        let lines: Vec<&str> = lines.collect();
        (lines.len(), lines.first().copied().unwrap_or_default())
    }
}

/// Splits an instruction in the layout of Alpaca's or Dolly's prompts into instruction and input.
pub fn split_layout(task: &mut Task) {
    let Some((instruction, input)) = template::split(&task.instruction) else {
        return;
    };
    if instruction.trim().is_empty() {
        return;
    }
    let instruction = match task.instances.as_mut_slice() {
        [instance] if instance.input.trim().is_empty() => {
            instance.input = input.to_string();
            instruction.to_string()
        }
        // A row without an answer has no instance, and so no field for the input.
        [] if !input.trim().is_empty() => format!("{instruction}\n\n{input}"),
        [] => instruction.to_string(),
        _ => return,
    };
    task.instruction = instruction;
}

/// Prefixes of the text that consist of whole lines, the longest first.
fn lines_before(text: &str) -> impl Iterator<Item = &str> {
    memchr::memrchr_iter(b'\n', text.as_bytes()).map(|end| &text[..=end])
}

/// Suffixes of the text that begin with a line break, the longest first.
fn lines_behind(text: &str) -> impl Iterator<Item = &str> {
    memchr::memchr_iter(b'\n', text.as_bytes()).map(|start| &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Instance;

    fn tasks(texts: &[&str]) -> Vec<Task> {
        let task = |text: &&str| Task {
            instruction: text.to_string(),
            instances: vec![Instance::default()],
            ..Task::default()
        };
        texts.iter().map(task).collect()
    }

    fn own(texts: &[&str]) -> Vec<String> {
        let mut tasks = tasks(texts);
        let shared = SharedLines::of(tasks.iter());
        tasks.iter_mut().for_each(|task| shared.remove_from(task));
        tasks.into_iter().map(|task| task.instruction).collect()
    }

    #[test]
    fn whole_lines_that_every_row_has_go() {
        let texts = [
            "Be kind.\n\nName é\n\nAnswer:",
            "Be kind.\n\nName è\n\nAnswer:",
            "Be kind.\n\nList\n\nAnswer:",
        ];
        assert_eq!(own(&texts), ["Name é", "Name è", "List"]);
        // Nothing goes of only two rows, of half a line, or of what one row lacks.
        for texts in [
            &texts[..2],
            &["Name one", "Name two", "Name six"],
            &["Be kind.\nA", "Be kind.\nB", "Be kind.\nC", "D"],
            &["", "", ""],
        ] {
            assert_eq!(own(texts), texts);
        }
    }

    #[test]
    fn something_is_left_of_every_row() {
        let texts = ["P\n\nsame\n", "P\n\nsame\n", "P\n\nsame\n"];
        assert_eq!(own(&texts), ["same", "same", "same"]);
        assert_eq!(own(&["P\nQ\n", "P\nQ\nA", "P\nQ\nB"]), ["Q", "Q\nA", "Q\nB"]);
    }

    #[test]
    fn known_layouts_are_laid_apart() {
        let alpaca = "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
                      response that appropriately completes the request.";
        let plain = "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
        for (preamble, layout, input) in [
            (alpaca, "\n\n### Input:\n3 + 4\n\nand 5", "3 + 4\n\nand 5"),
            (plain, "\n\nInput:\n3 + 4", "3 + 4"),
            (plain, "", ""),
        ] {
            for end in ["", "\n"] {
                let prompt = format!("{preamble}\n\n### Instruction:\nAdd up.{layout}\n\n### Response:{end}");
                let mut tasks = tasks(&[&prompt, "### Instruction:\nAdd up."]);
                tasks.iter_mut().for_each(split_layout);
                assert_eq!(tasks[0].instruction, "Add up.");
                assert_eq!(tasks[0].instances[0].input, input);
                assert_eq!(tasks[1].instruction, "### Instruction:\nAdd up.");
            }
        }
    }
}
