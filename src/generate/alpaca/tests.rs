//! Answers as models write them, and answers with injected damage.

use super::*;
use crate::backend::FinishReason::{self, Length, Stop};
use proptest::prelude::*;

/// Instruction, input and output of each task, or the reason why a piece is none.
fn read(pieces: Vec<Piece>) -> Vec<Result<[String; 3], &'static str>> {
    let read = |piece: Piece| match piece.task {
        Ok(task) => Ok([task.instruction, task.instance.input, task.instance.output]),
        Err(flaw) => Err(flaw.fault.reason()),
    };
    pieces.into_iter().map(read).collect()
}

fn list(answer: &str) -> Vec<Result<[String; 3], &'static str>> {
    read(numbered(answer, Stop, 4))
}

fn task(instruction: &str, input: &str, output: &str) -> Result<[String; 3], &'static str> {
    Ok([instruction, input, output].map(String::from))
}

const WELL: &str = " Name a river.\n4. Input: <noinput>\n4. Output: Loire\n###\n5. Instruction: Translate.\n5. Input: sea\n\
                    5. Output: mer\n###\n";

#[test]
fn a_list_is_read_up_to_where_it_stops() {
    let two = [
        task("Name a river.", "", "Loire"),
        task("Translate.", "sea", "mer"),
    ];
    assert_eq!(list(WELL), two);
    assert_eq!(list(&format!("{WELL}6. Instruction:")), two);
    assert_eq!(list(&format!("{WELL}6.")), two);
    assert_eq!(list(&WELL.replace('\n', "\r\n")), two);
    assert_eq!(
        list(&format!("4. Instruction:{WELL}")),
        two,
        "a chat model repeats the label"
    );
    assert_eq!(list(&format!("###\n4. Instruction:{WELL}")), two);
    let said = list(&format!("Sure, here you are:\n\n###\n4. Instruction:{WELL}"));
    assert_eq!(said[0], Err("unparsed"));
    assert_eq!(said[1..], two);
    assert_eq!(read(numbered("", Stop, 4)), []);
    assert_eq!(read(numbered("\n\n###\n", Length, 4)), []);
}

#[test]
fn numbers_are_written_in_many_ways() {
    let two = [
        task("Name a river.", "", "Loire"),
        task("Translate.", "sea", "mer"),
    ];
    for (from, to) in [
        ("5. ", "5) "),
        ("5. ", "5."),
        ("5. ", "#5. "),
        ("5. ", "5 - "),
        ("5. ", "Task 5: "),
        ("5. ", "**5.** "),
        ("5. ", "(5) "),
        ("5. ", "[5] "),
        ("5. ", "15. "),
        ("5. ", "4. "),
        ("5. ", "1. "),
        ("5. ", ""),
        ("###\n5. Instruction:", "### 5. Instruction:"),
        ("###\n5. Instruction:", "### Task 5\nInstruction:"),
        ("###\n5. Instruction:", "###\n5.\nInstruction:"),
        ("###\n5. Instruction: ", "###\n5. "),
        ("###\n5. Instruction: ", "###\n5."),
        ("###\n5. Instruction: ", "5) "),
        ("###\n5. Instruction: ", "###\n"),
        ("###\n5.", "5."),
        ("###\n5.", "###\n\n###\n5."),
        ("5. Input:", "Input:"),
        ("4. Input: <noinput>\n", ""),
        ("<noinput>", "None"),
        ("4. Output: ", "4. Output:\n"),
    ] {
        let answer = WELL.replace(from, to);
        assert_ne!(answer, WELL, "{from}");
        assert_eq!(list(&answer), two, "{answer}");
    }
}

#[test]
fn an_instruction_may_begin_with_its_number() {
    let answer = WELL.replace("Translate.", "5 apples cost 10 euros. And one?");
    assert_eq!(
        list(&answer)[1],
        task("5 apples cost 10 euros. And one?", "sea", "mer")
    );
}

#[test]
fn answers_may_look_like_the_list() {
    for output in [
        "It ended in 2020.",
        "16. is a number",
        "Steps:\n1. wash\n2. cut\n20. eat",
        "A title\n###\nand a text",
        "### A title\n\ntext\n#### below",
        "Input: 3\nOutput: 9",
        "Instruction: none",
        "Example 1\nOutput: 4\nExample 2\nOutput: 5",
        "5. The fifth\n6. The sixth",
        "#5",
        "say 'Output:'",
    ] {
        let answer = WELL.replace("Loire", output);
        let two = [
            task("Name a river.", "", output),
            task("Translate.", "sea", "mer"),
        ];
        assert_eq!(list(&answer), two, "{answer}");
        let answer = WELL.replace("mer", output);
        let two = [
            task("Name a river.", "", "Loire"),
            task("Translate.", "sea", output),
        ];
        assert_eq!(list(&answer), two, "{answer}");
    }
}

/// Each answer can be read in two ways. The neighbours are good.
#[test]
fn what_is_not_clear_is_not_taken() {
    for (from, to) in [
        // The rest of a task, without a separator.
        ("5. Instruction: Translate.\n", ""),
        ("5. Output: mer", "6. Output: mer"),
        ("5. Input: sea", "5. Output: sea"),
        ("5. Output: mer", "5. Output: mer\n5. Output: meer"),
        ("5. Output: mer", "5. Output:"),
        ("5. Output: ", ""),
        ("5. Input: sea", "sea"),
        ("5. Output: mer", "Say:\nOutput: mer"),
        ("5. Input: sea", "<noinput>"),
        ("\n5. Output:", "5. Output:"),
        ("\n5. Input:", " 5. Input:"),
        ("5. Instruction: Translate.", "5. Instruction:"),
        ("5. Input: sea\n5. Output: mer", "5. Output: mer\n5. Input: sea"),
        ("mer\n", "mer###\n"),
        (
            "5. Input: sea\n5. Output: mer",
            "Input: sea\nOutput: mer\nOutput: meer",
        ),
    ] {
        let answer =
            format!("{WELL}6. Instruction: Add.\n6. Input: 1, 2\n6. Output: 3\n").replacen(from, to, 1);
        let got = list(&answer);
        assert_eq!(got[0], task("Name a river.", "", "Loire"), "{answer}");
        assert_eq!(*got.last().unwrap(), task("Add.", "1, 2", "3"), "{answer}");
        assert!(
            got.len() > 2 && got[1..got.len() - 1].iter().all(Result::is_err),
            "{answer}: {got:?}"
        );
    }
    // Neither separator nor a number in turn: the task before may go on.
    let answer = WELL.replace("###\n5.", "5.").replace("5.", "9.");
    assert_eq!(list(&answer), [Err("unparsed"), Err("unparsed")]);
    // Labels with nothing behind them may be all there is to an answer.
    let labels = WELL.replace("mer", "The parts are:\n1. Input:\n2. Output:");
    assert_eq!(
        list(&labels),
        [task("Name a river.", "", "Loire"), Err("unparsed")]
    );
    // A prompt that an answer quotes is no task.
    let quoted = WELL.replace("Loire", "as in\n### Instruction:\nwrite it\n\n### Response:");
    assert_eq!(list(&quoted)[..2], [Err("unparsed"), Err("unparsed")]);
    assert_eq!(list(&quoted)[2], task("Translate.", "sea", "mer"));
}

#[test]
fn the_last_task_of_a_cut_answer_is_truncated() {
    assert_eq!(read(numbered(WELL, Length, 4))[1], Err("truncated"));
    let cut = &WELL[..WELL.len() - 9];
    assert_eq!(
        read(numbered(cut, Length, 4)),
        [task("Name a river.", "", "Loire"), Err("truncated")]
    );
}

#[test]
fn json_is_read_whole_or_cut() {
    let one = r#"{"instruction": "Translate.", "input": "sea", "output": "mer"}"#;
    let two = r#"{"instruction": "Say {\"a\": 1}.", "input": "", "output": "{\"instruction\": 3}, ["}"#;
    let wanted = [
        task("Translate.", "sea", "mer"),
        task("Say {\"a\": 1}.", "", "{\"instruction\": 3}, ["),
    ];
    for answer in [
        format!("{{\"tasks\": [{one}, {two}]}}"),
        format!("[{one},\n{two}]"),
        format!("{one}\n{two}\n"),
        format!("```json\n{{ \"tasks\" : [\n{one},\n{two}\n]}}\n```"),
    ] {
        assert_eq!(read(objects(&answer, Stop)), wanted, "{answer}");
        let cut = answer.rfind("instruction").unwrap() + 20;
        let got = read(objects(&answer[..cut], Length));
        assert_eq!(got, [wanted[0].clone(), Err("truncated")], "{answer}");
    }
    let broken = format!("{{\"tasks\": [{{\"instruction\": \"a\"b\", \"output\": \"c\"}}, {one}]}}");
    assert_eq!(read(objects(&broken, Stop)), [Err("unparsed"), wanted[0].clone()]);
    let other = format!(
        "Sure:\n{{\"tasks\": [{{\"task\": \"a\"}}, {one}, {{\"instruction\": \"a\", \"output\": \" \"}}]}}"
    );
    assert_eq!(
        read(objects(&other, Stop)),
        [
            Err("unparsed"),
            Err("unparsed"),
            wanted[0].clone(),
            Err("unparsed")
        ]
    );
    assert_eq!(read(objects("I cannot", Length)), [Err("truncated")]);
    assert_eq!(read(objects("{\"tasks\": []}", Stop)), []);
}

/// A change to the frame of a list. Texts stay as they are, but for a cut.
#[derive(Debug, Clone, Copy)]
enum Damage {
    DropSeparator,
    DoubleSeparator,
    DropTask,
    RepeatTask,
    Renumber(usize),
    /// The numbers of all labels of a task.
    DropNumbers,
    /// The way in which the numbers of all labels of a task are written.
    Restyle(usize),
    /// A label with its number.
    DropLabel(usize),
    DropWord,
    SeparatorWithin(usize),
    JoinLines(usize),
    /// A label of another task, with nothing behind it.
    Insert(usize),
    Cut(f64),
}

const STYLES: [&str; 6] = ["{}) ", "{}.", "#{}. ", "{} - ", "Task {}: ", "**{}.** "];

/// A task as lines: a separator, then labels with their texts.
#[derive(Debug, Clone)]
struct Written {
    lines: Vec<String>,
    texts: [String; 3],
    /// Whether nothing that makes it a task is damaged.
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

/// What one answer brought: intact tasks, those of them that were found, all tasks that were returned.
#[derive(Default, Debug)]
struct Tally {
    intact: usize,
    found: usize,
}

/// Writes a list, damages it, reads it; fails where a task is returned that nobody wrote.
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
                    // Without its label nothing shows that it was a line of its own.
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
    let pieces = numbered(answer, finish, 4);
    covers(answer, &pieces)?;
    let mut tally = Tally::default();
    let got: Vec<[String; 3]> = read(pieces).into_iter().flatten().collect();
    for task in &got {
        prop_assert!(texts.contains(task), "nobody wrote {task:?}\n{answer}");
    }
    for (i, task) in tasks.iter().enumerate() {
        // Whole, not dropped, and its end is seen: the next label is there too, or the answer was not cut.
        let seen = cut.is_none() || ends.get(i + 1).is_some_and(|&next| ends[i] < end && next <= end);
        if task.intact && task.lines.iter().any(|line| !line.is_empty()) && seen {
            tally.intact += 1;
            tally.found += usize::from(got.contains(&task.texts));
        }
    }
    Ok(tally)
}

/// Pieces are in order, and only separators, labels and numbers lie between them.
fn covers(answer: &str, pieces: &[Piece]) -> Result<(), TestCaseError> {
    let mut rest = answer;
    let mut between = String::new();
    for piece in pieces {
        let at = rest.find(piece.text).expect("pieces are in order");
        between.push_str(&rest[..at]);
        between.push('\n');
        rest = &rest[at + piece.text.len()..];
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

/// Texts as models write them, some of which look like the list.
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
        let kept: String = objects(&answer, finish).iter().map(|piece| piece.text).collect();
        let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
        prop_assert_eq!(letters(&kept), letters(&answer));
    }

    #[test]
    fn any_text_is_read(answer in "(\\PC|\\n){0,200}", finish in prop_oneof![Just(Stop), Just(Length)]) {
        let finish: FinishReason = finish;
        numbered(&answer, finish, 4);
        objects(&answer, finish);
    }

    /// Whole objects are found wherever the answer ends.
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
