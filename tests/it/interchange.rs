//! Files in and out: round trips byte for byte, formats told by looking, bad rows.

use ewe::interchange::read;

use crate::{
    shell::Dir,
    support::{ewe, filled, json, number, spawn},
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
        assert_eq!(imported["extra_fields"], serde_json::json!([]));
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
            "{\"colour\": \"x\", \"taste\": \"y\"}".into(),
            "its first row has the fields `colour`, `taste`\nhint: ",
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

/// What a file's rows are: of each its instruction, or what is said in its stead.
fn rows(dir: &Dir, name: &str) -> Vec<String> {
    let mut reader = match read::open(&dir.path(name), &read::Reading::default()) {
        Ok(reader) => reader,
        Err(error) => return vec![error.to_string()],
    };
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row() {
        let parsed = row.and_then(|row| reader.parser().unwrap().parse(&row));
        rows.push(match parsed {
            Ok(incoming) => incoming.task.instruction,
            // What a byte may be encoded in is a guess, and said behind it.
            Err(error) => error
                .to_string()
                .replace(&*dir.path(name).to_string_lossy(), name)
                .split("; ")
                .next()
                .unwrap()
                .to_owned(),
        });
    }
    assert_eq!(Some(reader.bytes_read()), reader.size(), "{name}");
    rows
}

#[test]
fn rows_can_be_parsed_on_all_cores() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    moves::<read::RowReader>();
    moves::<read::Row>();
    is_shared::<read::Parser>();
}

#[test]
fn reading_goes_on_after_a_bad_row() {
    let dir = Dir::new();
    let word = format!(
        "{{\"instruction\": \"{}\", \"output\": \"y\"}}",
        "word".repeat(2_500_000)
    );
    let long = "the instruction is 10000000 bytes long, at most 1048576 can be judged";
    let good = |name: &str| format!("{{\"instruction\": \"{name}\", \"output\": \"y\"}}");
    let (first, last) = (good("first"), good("last"));
    // The row that tells the format is not the first one.
    dir.write(
        "bad.jsonl",
        [
            b"oops\n{\"output\": \"y\"}\n".as_slice(),
            first.as_bytes(),
            b"\n{\"instruction\": true, \"output\": \"y\"}\n{\"instruction\": \"trunc\n",
            word.as_bytes(),
            b"\n {\"instruction\": \"\xff\", \"output\": \"y\"}\n[1]\n\n",
            last.as_bytes(),
        ]
        .concat(),
    );
    assert_eq!(
        rows(&dir, "bad.jsonl"),
        [
            "bad.jsonl:1:1: not a JSON object: expected value",
            "bad.jsonl:2:1: the field `instruction` is missing",
            "first",
            "bad.jsonl:4:1: `instruction` is true or false, not a string",
            "bad.jsonl:5:22: not a JSON object: EOF while parsing a string",
            &format!("bad.jsonl:6:1: {long}"),
            "bad.jsonl:7:19: not UTF-8: the byte 0xff",
            "bad.jsonl:8:1: not a JSON object: invalid type: sequence, expected a map",
            "last",
        ]
    );
    dir.write(
        "bad.json",
        format!(
            "[7,\n{{\"output\": \"y\"}},\n{first},\n{word}\n{last},\n{{\"instruction\": nul}},\n{{\"instr"
        ),
    );
    assert_eq!(
        rows(&dir, "bad.json"),
        [
            "bad.json:1:2: expected an object `{`",
            "bad.json:2:1: the field `instruction` is missing",
            "first",
            &format!("bad.json:4:1: {long}"),
            "bad.json:5:1: expected `,` or `]` after an object of the array",
            "last",
            "bad.json:6:20: not a JSON object: expected ident",
            "bad.json:7:1: the file ends within this object",
        ]
    );
}

#[test]
fn a_file_of_something_else_is_told_by_its_first_row() {
    let dir = Dir::new();
    for (text, what) in [
        ("", vec![]),
        ("[]", vec![]),
        (
            "\u{1}ELF\u{2}\n{",
            vec!["x:1:1: not a JSON object: expected value"],
        ),
        ("[1, 2]", vec!["x:1:2: expected an object `{`"]),
    ] {
        dir.write("x", text);
        let rows = rows(&dir, "x");
        let rows: Vec<_> = rows.iter().map(|row| row.rsplit('/').next().unwrap()).collect();
        assert_eq!(rows, what, "{text}");
    }
    dir.write("x", "oops\n{\"question\": \"q\"}\n");
    assert!(rows(&dir, "x")[0].contains("its first row has the fields `question`\nhint: there is no answer"));
    // Many rows of something else are not all looked at for one of ours.
    dir.write("x", "{\"question\": \"q\"}\n".repeat(5000));
    assert!(rows(&dir, "x")[0].contains("`question`"));
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
        "d.db: 1 task from `more.jsonl` (alpaca), pending (action 1; `ewe undo` takes it back)\n"
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
    let out = ewe(&dir, &["export", "--db", "d.db", "--format", "csv", "--out", "x"]).failure(2);
    assert!(
        out.stderr()
            .contains("hint: one of alpaca, dolly, chat, completion, self-instruct, parquet"),
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

/// The most memory that a command had, in KiB.
fn peak(dir: &Dir, arguments: &[&str]) -> u64 {
    let mut child = spawn(dir, arguments);
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // Gone when the process is.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.map_or(peak, |line| {
            line.trim().trim_end_matches("kB").trim().parse().unwrap()
        });
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
fn a_file_larger_than_memory_goes_in_and_out() {
    let dir = Dir::with_dataset();
    let row = |n: usize| {
        format!(
            "{{\"instruction\": \"Count to {n}.\", \"context\": \"\", \"response\": \"{}\", \"category\": \"general_qa\"}}\n",
            "one two three ".repeat(400)
        )
    };
    dir.write("small.jsonl", (0..50).map(row).collect::<String>());
    dir.write("large.jsonl", (0..8_000).map(row).collect::<String>());
    let megabytes = std::fs::metadata(dir.path("large.jsonl")).unwrap().len() >> 20;
    assert!(megabytes >= 40);
    for format in ["dolly", "alpaca", "parquet"] {
        let export = |name: &str| {
            peak(
                &dir,
                &["export", "--db", "d.db", "--format", format, "--out", name],
            )
        };
        let import = |name: &str, db: &str| peak(&dir, &["import", "--db", db, name]);
        if format == "dolly" {
            let small = import("small.jsonl", "d.db");
            let large = import("large.jsonl", "d.db");
            assert!(large < small + 15_000, "import: {large} KiB after {small}");
        }
        let name = &format!("out.{format}");
        let out = export(name);
        assert!(out < 60_000, "{format}: {out} KiB");
        empty("other.db", &dir);
        let back = import(name, "other.db");
        assert!(back < 100_000, "{format}: {back} KiB");
        std::fs::remove_file(dir.path("other.db")).unwrap();
    }
}
