//! What `ewe filter` compares: the normalized text of a row, without lines that all rows share.

use serde_json::{Value, json};

use crate::shell::{Dir, ewe};

/// Filters rows without rules; returns the verdict on each.
fn verdicts(dir: &Dir, rows: &[Value], more: &[&str]) -> Vec<Value> {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    dir.write("rows.jsonl", lines.join("\n"));
    let arguments = [
        &["filter", "rows.jsonl", "--rules", "none", "--verdicts", "v.jsonl"],
        more,
    ]
    .concat();
    ewe(dir, &arguments).success();
    let read = |line: &str| serde_json::from_str(line).unwrap();
    dir.read("v.jsonl").lines().map(read).collect()
}

/// The reason for each row; empty for rows that are kept.
fn reasons(rows: &[Value]) -> Vec<String> {
    let verdicts = verdicts(&Dir::new(), rows, &[]);
    let reason = |verdict: &Value| verdict["reason"].as_str().unwrap_or_default().to_string();
    verdicts.iter().map(reason).collect()
}

fn kept(rows: &[Value]) -> usize {
    reasons(rows).iter().filter(|reason| reason.is_empty()).count()
}

fn task(instruction: &str, input: &str) -> Value {
    json!({"instruction": instruction, "input": input, "output": "x"})
}

/// ROUGE-L F1 of two instructions, from the verdict.
fn rouge_l(one: &str, other: &str) -> f64 {
    let rows = [task(one, ""), task(other, "")];
    let verdicts = verdicts(&Dir::new(), &rows, &["--nearest", "--threshold", "1"]);
    verdicts[1]["rouge_l"].as_f64().unwrap_or(0.0)
}

const QUESTIONS: [&str; 15] = [
    "Name the capital of Peru.",
    "How do bees find flowers?",
    "Translate 'good morning' into Dutch.",
    "Why is the sky blue at noon?",
    "List three uses of vinegar.",
    "What does a notary do?",
    "Write a haiku about rain.",
    "Sort these numbers: 4, 1, 3.",
    "Explain recursion to a child.",
    "Give a synonym for quick.",
    "Who painted the Mona Lisa?",
    "Convert 12 miles to kilometres.",
    "Suggest a name for a bakery.",
    "Is a tomato a fruit?",
    "Describe the taste of salt.",
];

const PREAMBLE: &str = "You are a careful assistant of the Harbour Veterinary Practice. Answer in plain words, never \
                        give a dose, and send people to the practice whenever an animal is in pain.";

#[test]
fn a_preamble_shared_by_every_row_is_not_compared() {
    let layouts: [fn(&str) -> Value; 5] = [
        |question| json!({"prompt": format!("{PREAMBLE}\n\n{question}"), "completion": "x"}),
        |question| json!({"prompt": format!("{PREAMBLE}\n\nQ: {question}\nThink first.\nA:"), "completion": "x"}),
        |question| task(&format!("### System\n{PREAMBLE}\n### User\n{question}"), ""),
        |question| {
            json!({"messages": [{"role": "user", "content": format!("{PREAMBLE}\n{question}")},
                                       {"role": "assistant", "content": "x"}]})
        },
        |question| {
            let (input, preamble) = match question.len() % 2 {
                0 => (
                    "",
                    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
                ),
                _ => (
                    "\n\n### Input:\n7",
                    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.",
                ),
            };
            json!({"prompt": format!("{preamble}\n\n### Instruction:\n{question}{input}\n\n### Response:"), "completion": "x"})
        },
    ];
    for layout in layouts {
        let rows: Vec<Value> = QUESTIONS.map(layout).into();
        assert_eq!(kept(&rows), 15, "{}", rows[0]);
        // Rows that are the same after the preamble are duplicates.
        let again: Vec<Value> = [
            QUESTIONS[0],
            QUESTIONS[1],
            QUESTIONS[2],
            "name the capital of Peru!",
        ]
        .map(layout)
        .into();
        assert_eq!(reasons(&again)[3], "near_duplicate", "{}", again[3]);
    }
}

#[test]
fn shared_lines_are_reported_and_hidden_from_the_rules() {
    let dir = Dir::new();
    let long = "Mind the animal. ".repeat(60);
    let rows = QUESTIONS
        .map(|question| json!({"prompt": format!("{long}\n\n{question}"), "completion": "A true answer."}));
    dir.write("rows.jsonl", rows.map(|row| row.to_string()).join("\n"));
    let out = ewe(
        &dir,
        &[
            "filter",
            "rows.jsonl",
            "--verdicts",
            "v.jsonl",
            "--out",
            "kept.jsonl",
        ],
    )
    .success();
    assert!(
        out.stderr().contains("rows.jsonl: all rows share 1 line"),
        "{}",
        out.stderr()
    );
    assert!(
        !dir.read("v.jsonl").contains("too_long"),
        "{}",
        dir.read("v.jsonl")
    );
    // Rows are written unchanged.
    assert!(
        dir.read("kept.jsonl")
            .lines()
            .all(|line| line.contains("Mind the animal."))
    );
    let out = ewe(&dir, &["-q", "filter", "rows.jsonl"]).success();
    assert_eq!(out.stderr(), "");
}

#[test]
fn evaluation_data_is_compared_without_its_preamble() {
    let dir = Dir::new();
    let evaluation = QUESTIONS[..5].iter().map(|question| {
        json!({"prompt": format!("Exam. {PREAMBLE}\n\n{question}"), "completion": "x"}).to_string()
    });
    dir.write("eval.jsonl", evaluation.collect::<Vec<_>>().join("\n"));
    let rows =
        QUESTIONS.map(|question| json!({"prompt": format!("{PREAMBLE}\n\n{question}"), "completion": "x"}));
    let verdicts = verdicts(&dir, &rows, &["--against", "eval.jsonl"]);
    let found: Vec<bool> = verdicts
        .iter()
        .map(|verdict| verdict["nearest"]["source"] == "eval.jsonl")
        .collect();
    assert_eq!(found, std::array::from_fn::<bool, 15, _>(|i| i < 5));
}

#[test]
fn instances_of_one_task_are_not_near_duplicates() {
    let rows = [
        task("Sort the numbers.", "3 1 2"),
        task("Sort the numbers.", "9 8 7"),
        task("sort the numbers!", "5 5 4"),
        task("Sort the numbers.", "3, 1, 2"),
        task("Sort the numbers.", "9 8 7"),
        task("Sort the numbers.", ""),
        task("Sort the numbers.", ""),
        task("Sort these numbers.", "6 1 0"),
        task("Compute.", "3 + 4"),
        task("Compute.", "+"),
        task("Compute.", "-"),
    ];
    let near = "near_duplicate";
    let expected = ["", "", "", near, near, "", near, "", "", "", ""];
    assert_eq!(reasons(&rows), expected);
    let long = [
        "Sort all of the numbers in this list.",
        "Sort all of the numbers in the list.",
    ];
    assert_eq!(reasons(&[task(long[0], "1"), task(long[1], "2")]), ["", near]);
    // A row of evaluation data is not an instance of a row's task.
    let dir = Dir::new();
    dir.write("eval.jsonl", task("Sort the numbers.", "0 1").to_string());
    let against = verdicts(&dir, &rows[..2], &["--against", "eval.jsonl"]);
    assert!(against.iter().all(|verdict| verdict["reason"] == near));
}

#[test]
fn instances_of_an_exported_dataset_are_not_near_duplicates() {
    let dir = Dir::with_dataset();
    ewe(
        &dir,
        &["export", "--db", "d.db", "--format", "alpaca", "--out", "x.json"],
    )
    .success();
    let out = ewe(&dir, &["filter", "x.json", "--rules", "none"]).success();
    let stays = ewe(&dir, &["filter", "--db", "d.db", "--rules", "none", "--dry-run"]).success();
    assert!(
        stays.stdout().contains("0 tasks would be rejected"),
        "{}",
        stays.stdout()
    );
    assert!(!out.stdout().contains("near_duplicate"), "{}", out.stdout());
}

#[test]
fn texts_that_look_the_same_compare_equal() {
    let same = [
        (
            "Describe the invisible man",
            "Describe the in\u{200b}vis\u{ad}ible m\u{2060}an",
        ),
        (
            "Describe the invisible man",
            "\u{feff}Describe\u{200e} the \u{202d}invisible\u{202c} man\u{fe0f}",
        ),
        (
            "Describe the invisible man",
            "Des\u{200d}cribe the in\u{200c}visible ma\u{e0061}n",
        ),
        ("Οδυσσέας ΛΌΓΟΣ", "οδυσσέας λόγος"),
        ("Miß die STRASSE", "miss die Straße"),
        ("İSTANBUL için IŞIK", "istanbul için ışık"),
        ("ＷＲＩＴＥ ａ ｐｏｅｍ １２", "write a poem 12"),
        ("ｶﾞｲﾄﾞを書く", "ガイドを書く"),
        ("cafe\u{301} noir", "café noir"),
        ("cafe\u{200b}\u{301} noir", "CAFÉ NOIR"),
        ("\u{1f600}\u{1f389}", "\u{1f600}\u{fe0f} \u{1f389}"),
        ("?!*", "? ! *"),
        ("कृपया लिखो", "कृपया\u{200b} लिखो"),
        (
            "Describe the invisible man",
            "Desc\0ribe the in\u{7}vis\u{8}ible m\u{7f}an\u{9f}",
        ),
        (
            "Describe the invisible man",
            "Des\u{fffc}cribe the in\u{2800}visible man",
        ),
        ("اكتب قصيدة عن البحر", "اكتـــب قصيـــدة عن البحـــر"),
        ("کارها", "کار\u{200c}ها"),
    ];
    for (one, other) in same {
        assert_eq!(rouge_l(one, other), 1.0, "{one:?} {other:?}");
    }
}

#[test]
fn joiners_that_carry_meaning_make_words_differ() {
    for (one, other) in [
        ("می\u{200c}خواهم", "میخواهم"),
        ("क्\u{200d}ष", "क्ष"),
        ("👩\u{200d}👧", "👩👧"),
    ] {
        assert_eq!(rouge_l(one, other), 0.0, "{one:?} {other:?}");
        assert_eq!(rouge_l(one, one), 1.0);
    }
    // They do not split a word either.
    assert_eq!(rouge_l("من می\u{200c}خواهم بروم", "من می\u{200c}خواهم"), 0.8);
}

#[test]
fn texts_without_words_are_compared_by_their_characters() {
    assert_eq!(rouge_l("😀😀🎉", "😀🎉"), 0.8);
    assert_eq!(rouge_l("😀", "🎉"), 0.0);
    assert_eq!(rouge_l("+-*/", "+-*/"), 1.0);
    assert_eq!(rouge_l("=> ->", "=> <-"), 0.75);
    assert_eq!(rouge_l("???", "what"), 0.0);
    let rows = [
        task("👍👍", ""),
        task("👎👎", ""),
        task("👍 👍", ""),
        task("!?", ""),
        task("()", ""),
    ];
    assert_eq!(reasons(&rows), ["", "", "near_duplicate", "", ""]);
}

#[test]
fn texts_without_spaces_are_compared_by_their_characters() {
    for (one, other, score) in [
        ("写一首关于海的诗", "写一首关于山的诗", 0.875),
        ("海の詩を書いて", "山の詩を書いて", 12.0 / 14.0),
        ("人々の詩", "人々の歌", 0.75),
        ("เขียนกลอน", "เขียนกลอน", 1.0),
        ("ไม้", "ไม่", 0.5),
        ("한국어로 써", "한국어로 말해", 0.5),
        ("ꦱꦫ", "ꦱꦤ", 0.5),
    ] {
        assert!(
            (rouge_l(one, other) - score).abs() < 1e-9,
            "{one} {other}: {}",
            rouge_l(one, other)
        );
    }
}
