//! What all rows of a file share is not what any of them says: a preamble in front of every prompt, a closing line under
//! it, or the layout of a template that is known.
//!
//! Only whole lines count, and only where every row has them. A preamble that some rows have and others have not is
//! compared like everything else; a system message is a field of its own and never gets here.

use crate::prompt::template;
use crate::task::Task;

/// Of fewer rows nobody can tell what is shared and what is said.
const FEWEST_ROWS: usize = 3;

/// The lines that all rows begin and end with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared {
    beginning: String,
    ending: String,
}

impl Shared {
    /// Of these tasks, laid apart already. Something is left of each.
    pub fn of<'a>(tasks: impl Iterator<Item = &'a Task> + Clone) -> Shared {
        let texts = tasks.map(|task| task.instruction.as_str());
        let Some(first) = texts.clone().next() else {
            return Shared::default();
        };
        if texts.clone().nth(FEWEST_ROWS - 1).is_none() {
            return Shared::default();
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
        // Whole lines, as many as leave something of every row.
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
        Shared {
            beginning: beginning.to_string(),
            ending: ending.to_string(),
        }
    }

    /// Leaves of a task what it says itself. A task that does not begin, or end, as those do that this was made of is
    /// left whole there.
    pub fn leave_out(&self, task: &mut Task) {
        let text = task.instruction.as_str();
        let own = text.strip_prefix(self.beginning.as_str()).unwrap_or(text);
        let own = own.strip_suffix(self.ending.as_str()).unwrap_or(own).trim();
        if own.len() < text.len() && !own.is_empty() {
            task.instruction = own.to_string();
        }
    }

    /// How many lines that are not blank it has; what they say begins like this.
    pub fn lines(&self) -> (usize, &str) {
        let mut lines = self.beginning.lines().chain(self.ending.lines());
        let lines = lines.by_ref().filter(|line| !line.trim().is_empty());
        let lines: Vec<&str> = lines.collect();
        (lines.len(), lines.first().copied().unwrap_or_default())
    }
}

/// Takes a prompt that was laid out by Alpaca's or Dolly's template apart again: the layout says nothing.
pub fn lay_apart(task: &mut Task) {
    let Some((instruction, input)) = template::apart(&task.instruction) else {
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
        // A row without an answer has no instance, and so no other place for the input.
        [] if !input.trim().is_empty() => format!("{instruction}\n\n{input}"),
        [] => instruction.to_string(),
        _ => return,
    };
    task.instruction = instruction;
}

/// Beginnings of the text that end with a line, the longest first.
fn lines_before(text: &str) -> impl Iterator<Item = &str> {
    memchr::memrchr_iter(b'\n', text.as_bytes()).map(|end| &text[..=end])
}

/// Endings of the text that begin with a line break, the longest first.
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
        let shared = Shared::of(tasks.iter());
        tasks.iter_mut().for_each(|task| shared.leave_out(task));
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
        // Nothing of two rows, of half a line, of what one row has not.
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
                tasks.iter_mut().for_each(lay_apart);
                assert_eq!(tasks[0].instruction, "Add up.");
                assert_eq!(tasks[0].instances[0].input, input);
                assert_eq!(tasks[1].instruction, "### Instruction:\nAdd up.");
            }
        }
    }
}
