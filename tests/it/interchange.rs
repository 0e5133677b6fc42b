//! Files in and out: round trips byte for byte, formats told by looking, bad rows.

use crate::{
    shell::Dir,
    support::{ewe, filled, json, number},
};

const FORMATS: [&str; 5] = ["alpaca", "dolly", "chat", "completion", "self-instruct"];

/// A dataset with nothing in it that is not rejected.
fn empty(name: &str, dir: &Dir) {
    let _ = std::fs::remove_file(dir.path(name));
    dir.write(
        "one.jsonl",
        r#"{"instruction": "Say hi.", "instances": [{"input": "", "output": "hi"}]}"#,
    );
    ewe(dir, &["init", "--db", name, "--seeds", "one.jsonl"]).success();
    ewe(dir, &["reject", "--db", name, "1"]).success();
}

#[test]
fn every_format_comes_back_byte_for_byte() {
    let dir = filled();
    dir.write("odd.jsonl", concat!(
        r#"{"instruction": "Quote \"this\" \\ and\nthat \u0001 ☂ 𝄞.", "context": " ", "response": "", "category": "summarization"}"#, "\n"));
    ewe(&dir, &["import", "--db", "d.db", "odd.jsonl"]).success();
    for format in FORMATS {
        ewe(
            &dir,
            &["export", "--db", "d.db", "--format", format, "--out", "first"],
        )
        .success();
        let again = ewe(
            &dir,
            &["export", "--db", "d.db", "--format", format, "--out", "-"],
        )
        .success();
        assert_eq!(again.stdout(), dir.read("first"), "{format}: repeated");
        empty("other.db", &dir);
        let imported = json(ewe(&dir, &["import", "--db", "other.db", "first", "--json"]));
        assert_eq!(imported["format"], *format);
        assert_eq!(imported["unused_fields"], serde_json::json!([]));
        ewe(
            &dir,
            &[
                "export", "--db", "other.db", "--format", format, "--out", "second",
            ],
        )
        .success();
        assert_eq!(dir.read("second"), dir.read("first"), "{format}: there and back");
    }
}

#[test]
fn arrays_and_lines_are_told_apart_in_any_format() {
    let dir = Dir::new();
    for (name, text) in [
        (
            "a.json",
            "[{\"instruction\": \"x\", \"input\": null, \"output\": \"y\"},\n {\"instruction\": \"x2\", \"output\": \"y\"}]",
        ),
        (
            "a.jsonl",
            "\u{feff}{\"instruction\": \"x\", \"input\": \"\", \"output\": \"y\"}\r\n\r\n{\"instruction\": \"x2\", \"output\": \"y\"}",
        ),
        (
            "d.json",
            "[{\"instruction\": \"x\", \"context\": \"\", \"response\": \"y\", \"category\": \"open_qa\"}, {\"instruction\": \"x2\", \"response\": \"y\"}]",
        ),
        (
            "p.jsonl",
            "{\"prompt\": \"x\", \"completion\": \"y\"}\n{\"prompt\": \"x2\", \"completion\": \"y\"}\n",
        ),
        (
            "m.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\", \"content\": \"y\"}]}\n{\"messages\": [{\"role\": \"user\", \"content\": \"x2\"}, {\"role\": \"assistant\", \"content\": \"y\"}]}\n",
        ),
        (
            "s.json",
            "[{\"instruction\": \"x\", \"instances\": [{\"input\": \"\", \"output\": \"y\"}]}, {\"instruction\": \"x2\", \"instances\": [{\"output\": \"y\"}]}]",
        ),
    ] {
        empty("d.db", &dir);
        dir.write(name, text);
        ewe(&dir, &["import", "--db", "d.db", name]).success();
        let rows = dir.sql("select instruction, input, output, origin, review from dataset order by task_id");
        assert_eq!(
            rows,
            [
                ["x", "", "y", "import", "pending"],
                ["x2", "", "y", "import", "pending"]
            ],
            "{name}"
        );
    }
}

#[test]
fn a_bad_row_is_pointed_at_and_nothing_is_imported() {
    let dir = Dir::with_dataset();
    let good = "{\"instruction\": \"x\", \"output\": \"y\"}\n";
    for (text, what) in [
        (
            format!("{good}{{\"instruction\": \"x\"}}\n"),
            "bad:2:1: the field `output` is missing",
        ),
        (
            format!("{good}\n  {{\"instruction\": \"x\", \"output\": [1]}}"),
            "bad:3:3: `output` is an array, not a string",
        ),
        (
            format!("{good}{{\"instruction\": \"x\", \"outp\n{good}"),
            "bad:2:26: not a JSON object: EOF while parsing a string",
        ),
        (
            format!("{good}oops"),
            "bad:2:1: not a JSON object: expected value",
        ),
        (
            format!("{good}{{\"instruction\": \"x\", \"outp"),
            "bad:2:26: not a JSON object: EOF while parsing a string",
        ),
        (
            "[{\"instruction\": \"x\", \"output\": \"y\"},\n{\"instruction\": \"x\"".into(),
            "bad:2:1: the file ends within this object",
        ),
        (
            "[{\"instruction\": \"x\", \"output\": \"y\"}\n{}]".into(),
            "bad:2:1: expected `,` or `]`",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}".into(),
            "bad:1:1: a conversation of user: only one",
        ),
        (
            "{\"question\": \"x\", \"answer\": \"y\"}".into(),
            "its first row has the fields `question`, `answer`\nhint: ",
        ),
        (
            "{\"instruction\": \"\", \"output\": \"y\"}".into(),
            "bad:1:1: the instruction is empty",
        ),
        ("{\"instruction\": \"\u{0}".into(), "bad:1:"),
    ] {
        dir.write("bad", &text);
        let out = ewe(&dir, &["import", "--db", "d.db", "bad"]).failure(1);
        assert!(out.stderr().contains(what), "{text}\n{}", out.stderr());
    }
    std::fs::write(dir.path("bad"), b"{\"instruction\": \"\xff\", \"output\": \"y\"}").unwrap();
    ewe(&dir, &["import", "--db", "d.db", "bad"]).failure(1);
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
    assert_eq!(number(&dir, "select count(*) from run"), 1);
    let out = ewe(&dir, &["import", "--db", "d.db", "none"]).failure(1);
    assert_eq!(
        out.stderr(),
        "error: cannot read `none`: No such file or directory (os error 2)\n"
    );
}

#[test]
fn what_a_task_has_no_place_for_is_said() {
    let dir = Dir::with_dataset();
    dir.write(
        "more.jsonl",
        "{\"instruction\": \"x\", \"output\": \"y\", \"text\": \"z\", \"lang\": \"en\"}\n",
    );
    let out = ewe(&dir, &["import", "--db", "d.db", "more.jsonl"]).success();
    assert!(
        out.stderr().contains("the fields `lang`, `text`"),
        "{}",
        out.stderr()
    );
    assert_eq!(
        out.stdout(),
        "d.db: 1 tasks from `more.jsonl` (alpaca), pending\n"
    );
}

#[test]
fn export_writes_what_was_asked_for() {
    let dir = filled();
    let examples = |review: &str| {
        let out = ewe(
            &dir,
            &[
                "export", "--db", "d.db", "--format", "alpaca", "--out", "-", "--review", review,
            ],
        );
        json(out).as_array().unwrap().len() as i64
    };
    assert_eq!(examples("any"), number(&dir, "select count(*) from dataset"));
    assert_eq!(
        examples("accepted"),
        number(&dir, "select count(*) from dataset where review = 'accepted'")
    );
    assert!(examples("accepted") < examples("any"));
    empty("none.db", &dir);
    for format in FORMATS {
        let out = ewe(
            &dir,
            &["export", "--db", "none.db", "--format", format, "--out", "-"],
        )
        .success();
        assert_eq!(out.stdout(), if format == "alpaca" { "[]\n" } else { "" });
    }
    let out = ewe(
        &dir,
        &["export", "--db", "d.db", "--format", "parquet", "--out", "x"],
    )
    .failure(2);
    assert!(
        out.stderr().contains("Parquet is not offered yet\nhint: "),
        "{}",
        out.stderr()
    );
    let out = ewe(&dir, &["export", "--db", "d.db", "--format", "csv", "--out", "x"]).failure(2);
    assert!(
        out.stderr().contains("hint: one of alpaca, dolly"),
        "{}",
        out.stderr()
    );
    // What was there stays when the new file cannot be written.
    let out = ewe(
        &dir,
        &[
            "export",
            "--db",
            "d.db",
            "--format",
            "dolly",
            "--out",
            "nowhere/x",
        ],
    )
    .failure(1);
    assert!(
        out.stderr().contains("cannot write `nowhere/x`"),
        "{}",
        out.stderr()
    );
    // A reader that has had enough is no error.
    let binary = env!("CARGO_BIN_EXE_ewe");
    let script = format!(
        "'{binary}' export -q --db d.db --format alpaca --out - | head -c 10; echo \"${{PIPESTATUS[0]}}\""
    );
    let out = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(dir.path("."))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).ends_with("0\n"), "{out:?}");
    assert!(out.stderr.is_empty(), "{out:?}");
}
