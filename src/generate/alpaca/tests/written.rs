//! Parses responses as models write them.

use super::*;

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

/// Each response is ambiguous in the middle. The tasks around it are fine.
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
    // Without a separator or the next number, the task before may go on.
    let answer = WELL.replace("###\n5.", "5.").replace("5.", "9.");
    assert_eq!(list(&answer), [Err("unparsed"), Err("unparsed")]);
    // An output may consist of empty labels.
    let labels = WELL.replace("mer", "The parts are:\n1. Input:\n2. Output:");
    assert_eq!(
        list(&labels),
        [task("Name a river.", "", "Loire"), Err("unparsed")]
    );
    // A prompt that an output quotes is not a task.
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
