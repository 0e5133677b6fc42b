//! Parses responses with injected damage.

use super::*;
use crate::backend::FinishReason::{self, Length, Stop};
use proptest::prelude::*;

mod written;

/// Instruction, input and output of each task, or the reason why an item is none.
fn read(items: Vec<ListItem>) -> Vec<Result<[String; 3], &'static str>> {
    let read = |item: ListItem| match item.task {
        Ok(task) => Ok([task.instruction, task.instance.input, task.instance.output]),
        Err(flaw) => Err(flaw.fault.reason().code()),
    };
    items.into_iter().map(read).collect()
}

/// A change to the layout of a list. Only a cut changes texts.
#[derive(Debug, Clone, Copy)]
enum Damage {
    DropSeparator,
    DoubleSeparator,
    DropTask,
    RepeatTask,
    Renumber(usize),
    /// Drops the numbers of all labels of a task.
    DropNumbers,
    /// Changes the style of the numbers of all labels of a task.
    Restyle(usize),
    /// Drops a label with its number.
    DropLabel(usize),
    DropWord,
    SeparatorWithin(usize),
    JoinLines(usize),
    /// Inserts an empty label of another task.
    Insert(usize),
    Cut(f64),
}

const STYLES: [&str; 6] = ["{}) ", "{}.", "#{}. ", "{} - ", "Task {}: ", "**{}.** "];

/// A task as lines: a separator, then labels with their texts.
#[derive(Debug, Clone)]
struct Written {
    lines: Vec<String>,
    texts: [String; 3],
    /// Whether it can still be recognized as a task.
    intact: bool,
}

fn write(n: usize, texts: &[String; 3]) -> Written {
    let [instruction, input, output] = texts;
    let shown = if input.is_empty() { "<noinput>" } else { input };
    Written {
        lines: vec![
            "###".into(),
            format!("{n}. Instruction: {instruction}"),
            format!("{n}. Input: {shown}"),
            format!("{n}. Output: {output}"),
        ],
        texts: texts.clone(),
        intact: true,
    }
}

/// How many tasks of a response were intact, and how many of these were found.
#[derive(Default, Debug)]
struct Tally {
    intact: usize,
    found: usize,
}

/// Writes a list, damages it and parses it. Fails if a task is returned that is not of the list.
fn damaged(texts: &[[String; 3]], damages: &[(Damage, usize)]) -> Result<Tally, TestCaseError> {
    let mut tasks: Vec<Written> = texts
        .iter()
        .enumerate()
        .map(|(i, texts)| write(i + 4, texts))
        .collect();
    let mut cut = None;
    for &(damage, place) in damages {
        // The first label is part of the prompt.
        let at = 1 + place % (tasks.len() - 1);
        let number = |task: &Written, from: &str, to: &str| -> Vec<String> {
            let lines = task.lines.iter();
            lines
                .map(|line| {
                    if line.starts_with(from) {
                        line.replacen(from, to, 1)
                    } else {
                        line.clone()
                    }
                })
                .collect()
        };
        let own = format!("{}. ", at + 4);
        match damage {
            Damage::DropSeparator => tasks[at].lines[0].clear(),
            Damage::DoubleSeparator => tasks[at].lines[0] = "###\n\n###".into(),
            Damage::DropTask => tasks[at].lines.iter_mut().for_each(String::clear),
            Damage::RepeatTask => {
                let again = tasks[at].lines.clone();
                if again.iter().any(|line| !line.is_empty()) {
                    tasks[at].lines.extend(again);
                }
            }
            Damage::Renumber(n) => tasks[at].lines = number(&tasks[at], &own, &format!("{n}. ")),
            Damage::DropNumbers => tasks[at].lines = number(&tasks[at], &own, ""),
            Damage::Restyle(style) => {
                let style = STYLES[style % STYLES.len()].replace("{}", &(at + 4).to_string());
                tasks[at].lines = number(&tasks[at], &own, &style);
            }
            Damage::DropLabel(label) => {
                let label = 1 + label % 3;
                let line = &mut tasks[at].lines[label];
                if let Some(colon) = line.find(": ").filter(|&colon| colon < 18) {
                    line.replace_range(..colon + 2, "");
                }
                tasks[at].intact = false;
            }
            Damage::DropWord => {
                let line = &mut tasks[at].lines[1];
                *line = line.replacen("Instruction: ", "", 1);
            }
            Damage::SeparatorWithin(line) => {
                let line = &mut tasks[at].lines[1 + line % 3];
                if !line.is_empty() {
                    line.push_str("\n###");
                }
            }
            Damage::JoinLines(line) => {
                let line = 1 + line % 2;
                let next = tasks[at].lines[line + 1].clone();
                if !next.contains("put: ") {
                    // Without a label, nothing shows that it was a separate line.
                    continue;
                }
                tasks[at].lines[line].push_str(&next);
                tasks[at].lines[line + 1].clear();
                tasks[at].intact = false;
            }
            Damage::Insert(what) => {
                let label = ["9. Instruction:", "13. Input:", "3. Output:"][what % 3];
                let line = &mut tasks[at].lines[1 + what / 3 % 3];
                if !line.is_empty() {
                    line.push_str(&format!("\n{label}"));
                }
                tasks[at].intact = false;
            }
            Damage::Cut(part) => cut = Some(part),
        }
    }
    let mut answer = String::new();
    let mut ends = Vec::new();
    for task in &tasks {
        for line in task.lines.iter().filter(|line| !line.is_empty()) {
            answer.push_str(line);
            answer.push('\n');
        }
        ends.push(answer.len());
    }
    let start = answer.find("Instruction:").unwrap() + "Instruction:".len();
    let end = match cut {
        None => answer.len(),
        Some(part) => answer.floor_char_boundary(start + ((answer.len() - start) as f64 * part) as usize),
    };
    let finish = if cut.is_some() { Length } else { Stop };
    let answer = &answer[start..end];
    let items = numbered(answer, finish, 4);
    covers(answer, &items)?;
    let mut tally = Tally::default();
    let got: Vec<[String; 3]> = read(items).into_iter().flatten().collect();
    for task in &got {
        prop_assert!(texts.contains(task), "nobody wrote {task:?}\n{answer}");
    }
    for (i, task) in tasks.iter().enumerate() {
        // Complete, not dropped, and with a visible end: the next label is there, or nothing was
        // cut off.
        let seen = cut.is_none() || ends.get(i + 1).is_some_and(|&next| ends[i] < end && next <= end);
        if task.intact && task.lines.iter().any(|line| !line.is_empty()) && seen {
            tally.intact += 1;
            tally.found += usize::from(got.contains(&task.texts));
        }
    }
    Ok(tally)
}

/// Items are in order, and only separators, labels and numbers are between them.
fn covers(answer: &str, items: &[ListItem]) -> Result<(), TestCaseError> {
    let mut rest = answer;
    let mut between = String::new();
    for item in items {
        let at = rest.find(item.text).expect("items are in order");
        between.push_str(&rest[..at]);
        between.push('\n');
        rest = &rest[at + item.text.len()..];
    }
    between.push_str(rest);
    for line in between.lines() {
        let line = line.replace("Task", "");
        let line = line.trim_matches(|c: char| !c.is_alphabetic());
        prop_assert!(
            ["", "Instruction", "Input", "Output"].contains(&line),
            "lost {line:?} of {answer:?}"
        );
    }
    Ok(())
}

/// Texts as models write them. Some of them look like the list.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[A-Z][a-z]{2,6}( [a-z]{2,6}){2,6}[.?]",
        1 => "[A-Z][a-z]{2,6} [a-z]{2,6} in 20[12][0-9]\\.",
        1 => Just("First\n1. wash\n2. cut\n3. eat".to_string()),
        1 => Just("Say:\nOutput: 42\nInput: none".to_string()),
        1 => Just("### A heading\n\nand [text](url)\n###\nmore".to_string()),
        1 => Just("Instruction: is a word, Example 1 too".to_string()),
        1 => Just("{\"instruction\": \"a\"}".to_string()),
    ]
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::DropSeparator),
        Just(Damage::DoubleSeparator),
        Just(Damage::DropTask),
        Just(Damage::RepeatTask),
        (1usize..30).prop_map(Damage::Renumber),
        Just(Damage::DropNumbers),
        (0usize..6).prop_map(Damage::Restyle),
        (0usize..3).prop_map(Damage::DropLabel),
        Just(Damage::DropWord),
        (0usize..3).prop_map(Damage::SeparatorWithin),
        (0usize..2).prop_map(Damage::JoinLines),
        (0usize..9).prop_map(Damage::Insert),
        (0.0..1.0f64).prop_map(Damage::Cut),
    ]
}

fn any_case() -> impl Strategy<Value = (Vec<[String; 3]>, Vec<(Damage, usize)>)> {
    // An input or an instruction takes one line.
    let line = "[A-Z][a-z]{2,6}( [a-z]{2,6}){2,6}[.?]";
    let task = (line, prop_oneof![Just(String::new()), line], any_text());
    let tasks = prop::collection::vec(task.prop_map(|(a, b, c)| [a, b, c]), 4..17);
    (tasks, prop::collection::vec((any_damage(), 0usize..16), 0..4))
}

#[test]
fn intact_tasks_are_recovered_and_no_other_is_taken() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut tally = Tally::default();
    for _ in 0..4000 {
        let (texts, damages) = any_case().new_tree(&mut runner).unwrap().current();
        let one = damaged(&texts, &damages).unwrap_or_else(|error| panic!("{damages:?}: {error}"));
        tally.intact += one.intact;
        tally.found += one.found;
    }
    let rate = tally.found as f64 / tally.intact as f64;
    println!(
        "{} of {} intact tasks recovered: {:.2} %",
        tally.found,
        tally.intact,
        100.0 * rate
    );
    assert!(rate >= 0.95, "{tally:?}");
}

proptest! {
    #[test]
    fn no_text_is_lost_and_none_panics(
        lines in prop::collection::vec(
            "(#{0,4} ?)?(Task )?([0-9]{1,5})?[.):]? ?(Instruction:|Input:|Output:|<noinput>)?[ a-c#é{},\"]{0,6}",
            0..20,
        ),
        cut: bool,
    ) {
        let answer = lines.join("\n");
        let finish = if cut { Length } else { Stop };
        covers(&answer, &numbered(&answer, finish, 4))?;
        let kept: String = objects(&answer, finish).iter().map(|item| item.text).collect();
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
        prop_assert_eq!(letters(&kept), letters(&answer));
    }

    #[test]
    fn any_text_is_read(answer in "(\\PC|\\n){0,200}", finish in prop_oneof![Just(Stop), Just(Length)]) {
        let finish: FinishReason = finish;
        numbered(&answer, finish, 4);
        objects(&answer, finish);
    }

    /// Complete objects are found wherever the response ends.
    #[test]
    fn json_is_recovered_from_a_cut(
        texts in prop::collection::vec((any_text(), any_text(), any_text()), 1..8),
        part in 0.0..1.0f64,
    ) {
        let objects_of: Vec<String> = texts.iter().map(|(instruction, input, output)| {
            serde_json::json!({"instruction": instruction, "input": input, "output": output}).to_string()
        }).collect();
        let answer = format!("{{\"tasks\": [{}]}}", objects_of.join(", "));
        let end = answer.floor_char_boundary((answer.len() as f64 * part) as usize);
        let got: Vec<_> = read(objects(&answer[..end], Length)).into_iter().flatten().collect();
        let mut length = "{\"tasks\": [".len();
        let whole = objects_of.iter().take_while(|object| {
            length += object.len() + 2;
            length - 2 <= end
        }).count();
        prop_assert_eq!(got.len(), whole);
        for ((instruction, input, output), got) in texts.iter().zip(got) {
            prop_assert_eq!(&got, &[instruction.clone(), input.clone(), output.clone()]);
        }
    }
}
