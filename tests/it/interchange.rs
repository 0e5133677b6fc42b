//! Import and export: round trips byte for byte, format detection, bad rows.

use std::sync::LazyLock;

use ewe::interchange::{Reading, Row, parse::RowParser, read};

use crate::{
    formats::one_seed,
    shell::{self, Dir},
    support::{ewe, filled, import_file, json, number},
};

const FORMATS: [&str; 7] = [
    "alpaca",
    "dolly",
    "chat",
    "sharegpt",
    "completion",
    "self-instruct",
    "oasst",
];

/// A dataset whose only task is rejected; it is made once for all tests.
fn empty(name: &str, dir: &Dir) {
    static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let dir = Dir::new();
        one_seed(&dir);
        ewe(&dir, &["reject", "--db", "d.db", "1"]).success();
        dir.dataset()
    });
    let _ = std::fs::remove_file(dir.path(name));
    dir.write(name, &*MADE);
}

#[test]
fn every_format_round_trips_byte_for_byte() {
    let dir = filled();
    dir.write("odd.jsonl", concat!(
        r#"{"instruction": "Quote \"this\" \\ and\nthat \u0001 ☂ 𝄞.", "context": " ", "response": "", "category": "summarization"}"#, "\n"));
    import_file(&dir, "odd.jsonl").success();
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
fn arrays_and_lines_are_detected_in_every_format() {
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
        import_file(&dir, name).success();
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
fn a_bad_row_is_located_and_nothing_is_imported() {
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
            "bad:1:1: a conversation of user: it ends with `user`",
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
        let out = import_file(&dir, "bad").failure(1);
        assert!(out.stderr().contains(what), "{text}\n{}", out.stderr());
    }
    std::fs::write(dir.path("bad"), b"{\"instruction\": \"\xff\", \"output\": \"y\"}").unwrap();
    import_file(&dir, "bad").failure(1);
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
    assert_eq!(number(&dir, "select count(*) from run"), 1);
    let out = import_file(&dir, "none").failure(1);
    assert_eq!(
        out.stderr(),
        "error: cannot read `none`: No such file or directory (os error 2)\n"
    );
}

/// The rows of a file: each one's instruction or error.
fn rows(dir: &Dir, name: &str) -> Vec<String> {
    let mut reader = match read::open(&dir.path(name), &Reading::default()) {
        Ok(reader) => reader,
        Err(error) => return vec![error.to_string()],
    };
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row() {
        let parsed = row.and_then(|row| reader.parser().unwrap().parse(&row));
        rows.push(match parsed {
            Ok(incoming) => incoming.task.instruction,
            // The encoding of an invalid byte is a guess, printed after the error.
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
    moves::<Row>();
    is_shared::<RowParser>();
}

#[test]
fn reading_continues_after_a_bad_row() {
    let dir = Dir::new();
    let word = format!(
        "{{\"instruction\": \"{}\", \"output\": \"y\"}}",
        "word".repeat(2_500_000)
    );
    let long = "the instruction is 10000000 bytes long, at most 1048576 can be judged";
    let good = |name: &str| format!("{{\"instruction\": \"{name}\", \"output\": \"y\"}}");
    let (first, last) = (good("first"), good("last"));
    // The row that decides the format is not the first one.
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
fn a_file_of_another_format_is_refused_by_its_first_row() {
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
    // Many rows of an unknown format are not all searched for a known one.
    dir.write("x", "{\"question\": \"q\"}\n".repeat(5000));
    assert!(rows(&dir, "x")[0].contains("`question`"));
}

#[test]
fn extra_fields_are_reported() {
    let dir = Dir::with_dataset();
    dir.write(
        "more.jsonl",
        "{\"instruction\": \"x\", \"output\": \"y\", \"text\": \"z\", \"lang\": \"en\"}\n",
    );
    let out = import_file(&dir, "more.jsonl").success();
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
fn export_writes_the_selected_tasks_and_refuses_unknown_formats() {
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
        out.stderr().contains(
            "hint: one of alpaca, dolly, chat, sharegpt, completion, self-instruct, oasst, parquet"
        ),
        "{}",
        out.stderr()
    );
    // The existing file stays when the new one cannot be written.
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
    // A reader that closes the pipe is not an error.
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

/// The peak resident memory of a command, in KiB, as the system reports it at its end. Whoever looks
/// at it meanwhile may miss the peak on a busy machine.
fn peak(dir: &Dir, arguments: &[&str]) -> u64 {
    const RUN: &str = "import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)";
    let mut python = std::process::Command::new("python3");
    python
        .args(["-c", RUN, env!("CARGO_BIN_EXE_ewe")])
        .args(arguments)
        .current_dir(dir.path("."))
        .stdin(std::process::Stdio::null());
    let told = shell::ran(python).success().stdout();
    told.trim().parse().unwrap()
}

/// A file of 21 MB takes little more memory than one of 250 kB; whoever holds its rows takes more.
#[test]
fn import_and_export_use_bounded_memory() {
    let dir = Dir::with_dataset();
    // Rows without common words and with one long word each: what takes memory is their size, and
    // neighbors and words to index would only take time.
    let row = |n: usize| {
        format!(
            "{{\"instruction\": \"farm{n} sheep{n}\", \"context\": \"\", \"response\": \"{n}{}\", \"category\": \"general_qa\"}}\n",
            "x".repeat(5_000)
        )
    };
    dir.write("small.jsonl", (0..50).map(row).collect::<String>());
    dir.write("large.jsonl", (0..4_200).map(row).collect::<String>());
    let megabytes = std::fs::metadata(dir.path("large.jsonl")).unwrap().len() / 1_000_000;
    assert!(megabytes >= 21);
    let export = |format: &str| {
        let name = format!("out.{format}");
        peak(
            &dir,
            &["export", "--db", "d.db", "--format", format, "--out", &name],
        )
    };
    let import = |name: &str, db: &str| peak(&dir, &["import", "--db", db, name]);
    // A table is written and read in batches of up to 16 MiB.
    let formats = [
        ("dolly", 12_000, 15_000),
        ("alpaca", 12_000, 15_000),
        ("parquet", 33_000, 45_000),
    ];
    let small = import("small.jsonl", "d.db");
    let few = formats.map(|(format, ..)| export(format));
    let large = import("large.jsonl", "d.db");
    assert!(large < small + 15_000, "import: {large} KiB after {small}");
    for ((format, more_out, more_in), few) in formats.into_iter().zip(few) {
        let out = export(format);
        assert!(out < few + more_out, "{format}: {out} KiB after {few}");
        // The first import read lines of `dolly`.
        if format != "dolly" {
            empty("other.db", &dir);
            let back = import(&format!("out.{format}"), "other.db");
            assert!(back < small + more_in, "{format}: {back} KiB after {small}");
            std::fs::remove_file(dir.path("other.db")).unwrap();
        }
    }
}
