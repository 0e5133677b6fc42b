//! The prompts of the Alpaca recipe: a list of complete tasks that the model continues. They ask
//! for the same as Stanford Alpaca's `prompt.txt`, in other words.
//!
//! Every label has the number of its task (`4. Output:`), so that no heading, numbered list or word
//! "Output:" in an answer looks like a label.

use crate::task::Instance;
use serde_json::json;

/// A line between two tasks.
pub const SEPARATOR: &str = "###";
/// Stands for the input of a task that needs none.
pub const NO_INPUT: &str = "<noinput>";
/// The labels of a task's parts.
pub const LABELS: [&str; 3] = ["Instruction", "Input", "Output"];
/// Bytes of instruction, input and output together that a shown task may have. The published seeds
/// are shorter, and one long example would leave little room for the response.
const SHOWN: usize = 1500;

/// A task that a prompt shows.
#[derive(Debug, Clone, Copy)]
pub struct PromptTask<'a> {
    /// Its instruction.
    pub instruction: &'a str,
    /// Its first instance.
    pub instance: &'a Instance,
}

/// Whether a prompt can show a task: it is short, and no part of it looks like the list around it.
pub fn can_be_shown(instruction: &str, instance: &Instance) -> bool {
    let texts = [instruction, &instance.input, &instance.output];
    texts.iter().map(|text| text.len()).sum::<usize>() <= SHOWN
        && !instance.output.trim().is_empty()
        && texts
            .iter()
            .all(|text| !text.contains(SEPARATOR) && !text.contains(NO_INPUT))
        && texts
            .iter()
            .all(|text| LABELS.iter().all(|label| !text.contains(&format!(". {label}:"))))
}

/// A list that begins with `tasks`. The model continues with the next instruction, up to task
/// number `last`.
pub fn numbered(tasks: &[PromptTask], last: usize, topic: Option<&str>) -> String {
    let mut prompt = request(tasks.len(), last, topic, NO_INPUT);
    for (i, task) in tasks.iter().enumerate() {
        let input = task.instance.input.trim();
        let texts = [
            one_line(task.instruction),
            if input.is_empty() { NO_INPUT } else { input }.to_string(),
            task.instance.output.trim().to_string(),
        ];
        prompt.push_str(&format!("{SEPARATOR}\n"));
        for (label, text) in LABELS.iter().zip(texts) {
            prompt.push_str(&format!("{}. {label}: {text}\n", i + 1));
        }
    }
    prompt.push_str(&format!("{SEPARATOR}\n{}. {}:", tasks.len() + 1, LABELS[0]));
    prompt
}

/// The same list as JSON. The response is an object with a list of tasks.
pub fn structured(tasks: &[PromptTask], last: usize, topic: Option<&str>) -> String {
    let mut prompt = request(tasks.len(), last, topic, "an empty text");
    let first = tasks.len() + 1;
    prompt.push_str(&format!("Tasks 1 to {}:\n", tasks.len()));
    for task in tasks {
        let object = json!({
            "instruction": one_line(task.instruction),
            "input": task.instance.input.trim(),
            "output": task.instance.output.trim(),
        });
        prompt.push_str(&format!("{object}\n"));
    }
    prompt.push_str(&format!(
        "\nTasks {first} to {last}, as one JSON object of the form \
         {{\"tasks\": [{{\"instruction\": \"…\", \"input\": \"…\", \"output\": \"…\"}}, …]}}:\n"
    ));
    prompt
}

/// The request above the list.
fn request(shown: usize, last: usize, topic: Option<&str>, no_input: &str) -> String {
    let mut text = format!(
        "This is a numbered list of {last} tasks for an assistant that reads and writes text. Each comes with a correct \
         answer.\n\n\
         - No two tasks are of a kind: questions stand beside requests, and there is sorting, rewriting, explaining, \
         planning, calculating, inventing and more. Hardly any verb comes twice.\n\
         - Text is all it takes. Nothing has to be seen, heard, drawn, looked up or done in the world.\n\
         - An instruction is one sentence or two, in the language of the first tasks.\n\
         - An input is what the instruction is applied to: a real example, rich in detail, of 100 words at most. Where a \
         task needs none, the input is {no_input}.\n\
         - An output does what the instruction says, in less than 100 words.\n"
    );
    if let Some(topic) = topic {
        text.push_str(&format!(
            "- The tasks from number {} on have to do with this: {topic}\n",
            shown + 1
        ));
    }
    text.push('\n');
    text
}

/// Puts an instruction on one line: a line break would look like the beginning of another part.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(input: &str, output: &str) -> Instance {
        Instance {
            input: input.into(),
            output: output.into(),
        }
    }

    #[test]
    fn a_list_is_shown_up_to_the_next_instruction() {
        let (river, sea) = (instance("", "Loire"), instance("sea", "mer"));
        let tasks = [
            PromptTask {
                instruction: "Name a\nriver.",
                instance: &river,
            },
            PromptTask {
                instruction: "Translate to French.",
                instance: &sea,
            },
        ];
        let prompt = numbered(&tasks, 20, Some("the coast"));
        assert!(prompt.ends_with(
            "\n\n###\n1. Instruction: Name a river.\n1. Input: <noinput>\n1. Output: Loire\n\
             ###\n2. Instruction: Translate to French.\n2. Input: sea\n2. Output: mer\n###\n3. Instruction:"
        ));
        assert!(prompt.contains("from number 3 on have to do with this: the coast\n"));
        let prompt = structured(&tasks, 20, None);
        assert!(prompt.contains("{\"instruction\":\"Name a river.\",\"input\":\"\",\"output\":\"Loire\"}\n"));
        assert!(prompt.contains("Tasks 3 to 20, as one JSON object") && !prompt.contains(NO_INPUT));
    }

    #[test]
    fn what_looks_like_the_list_is_not_shown() {
        assert!(can_be_shown("Name a river.", &instance("", "Output: the Loire")));
        for text in [
            "a\n###\nb",
            "see 3. Output: x",
            "write <noinput>",
            &"long ".repeat(400),
            "",
        ] {
            assert!(!can_be_shown("Name a river.", &instance("", text)), "{text}");
        }
    }
}
