//! `ewe eval --punkt`: sentences of answers to IFEval, counted by given parameters.

use serde_json::json;

use crate::eval::{close, eval, result};
use crate::mock::Mock;
use crate::shell::Dir;

/// Writes a row that wants two sentences, and a directory of Punkt's parameters by which `Ld.` is an
/// abbreviation.
fn with_punkt() -> Dir {
    let dir = Dir::new();
    let row = json!({"prompt": "Say two sentences.", "instruction_id_list": ["length_constraints:number_sentences"],
        "kwargs": [{"num_sentences": 2, "relation": "at least"}]});
    dir.write("rows.jsonl", row.to_string());
    std::fs::create_dir(dir.path("punkt")).unwrap();
    dir.write("punkt/abbrev_types.txt", "ld");
    dir.write("punkt/collocations.tab", "b\tlamb");
    dir.write("punkt/sent_starters.txt", "the");
    dir.write("punkt/ortho_context.tab", "grass\t42\nwool\t32");
    dir
}

#[test]
fn sentences_are_counted_by_the_parameters_of_punkt() {
    let (dir, mock) = (with_punkt(), Mock::start());
    mock.say("two sentences", "The Ld. Ram bleats.", "stop");
    for (option, share) in [("", 100.0), ("--punkt punkt", 0.0)] {
        eval(
            &dir,
            &mock,
            &format!("--suite ifeval=rows.jsonl {option} --out r.json"),
        )
        .success();
        close(&result(&dir)["suites"]["ifeval"]["strict_prompt"], share);
    }
    assert_eq!(result(&dir)["computed_from"]["punkt"], "punkt");
    assert_eq!(mock.received(), 1);
}

#[test]
fn parameters_of_punkt_that_are_broken_or_idle_are_refused_at_once() {
    let (dir, mock) = (with_punkt(), Mock::start());
    let fails = |line: &str, words: &[&str]| {
        let ran = eval(&dir, &mock, &format!("{line} --out r.json")).failure(1);
        let said = ran.stderr();
        assert!(words.iter().all(|word| said.contains(word)), "{line}: {said}");
    };
    fails(
        "--suite instructions=SUITES/user_oriented.jsonl --punkt punkt",
        &["--punkt is for answers to the suite ifeval", "hint: "],
    );
    let with = "--suite ifeval=rows.jsonl --punkt";
    fails(
        &format!("{with} nowhere"),
        &[
            "nowhere/abbrev_types.txt",
            "hint: `python -m nltk.downloader punkt_tab`",
        ],
    );
    dir.write("punkt/ortho_context.tab", "grass\t42\nwool\tsoft\n");
    fails(
        &format!("{with} punkt"),
        &[
            "`punkt/ortho_context.tab:2` is not a word, a tab, and how it was seen",
            "but `wool soft`",
            "hint: ",
        ],
    );
    assert_eq!(mock.received(), 0);
}
