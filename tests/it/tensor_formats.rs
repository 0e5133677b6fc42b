//! Tensor commands read every kind of file as they read its texts as prompts and completions.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::{
    formats::{ROWS, kinds, lines, one_seed, question},
    shell::Dir,
    support::ewe,
};

fn ewe_torch(dir: &Dir, arguments: &[&str]) -> String {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gptj");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.current_dir(dir.path(".")).env("OMP_NUM_THREADS", "1");
    command.args(arguments).arg("--model").arg(model);
    let ended = command.assert().success();
    String::from_utf8(ended.get_output().stderr.clone()).unwrap()
}

#[test]
fn score_reads_every_kind_of_file() {
    let dir = Dir::new();
    let texts = lines(|number| json!({"prompt": question(number), "completion": ROWS[number][2]}));
    dir.write("texts.jsonl", texts);
    ewe_torch(&dir, &["score", "--data", "texts.jsonl", "--out", "wanted.jsonl"]);
    for (name, bytes, _) in kinds() {
        dir.write(name, bytes);
        ewe_torch(&dir, &["score", "--data", name, "--out", "out.jsonl"]);
        assert_eq!(dir.read("out.jsonl"), dir.read("wanted.jsonl"), "{name}");
    }
}

#[test]
fn complete_reads_every_kind_of_file() {
    let dir = Dir::new();
    let greedy = ["--out", "out.jsonl", "--max-tokens", "4", "--temperature", "0"];
    let texts = lines(|number| json!({"prompt": question(number)}));
    dir.write("texts.jsonl", texts);
    ewe_torch(
        &dir,
        &[&["complete", "--prompts", "texts.jsonl"], &greedy[..]].concat(),
    );
    let wanted = dir.read("out.jsonl");
    for (name, bytes, _) in kinds() {
        dir.write(name, bytes);
        ewe_torch(&dir, &[&["complete", "--prompts", name], &greedy[..]].concat());
        assert_eq!(dir.read("out.jsonl"), wanted, "{name}");
    }
}

#[test]
fn train_reads_every_kind_of_file() {
    let dir = Dir::new();
    dir.write(
        "rows.jinja",
        "{% block prompt %}{{ instruction }}{{ input }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
    );
    let options = ["--out", "out", "--dry-run", "--eval-fraction", "0"];
    for (name, bytes, _) in kinds() {
        dir.write(name, bytes);
        let template = match name {
            "completion.jsonl" => &["--template", "completion"],
            _ => &["--template-file", "rows.jinja"],
        };
        let said = ewe_torch(
            &dir,
            &[&["train", "--data", name], &options[..], &template[..]].concat(),
        );
        assert!(!said.contains("left out"), "{name}: {said}");
    }
}

/// Every format in one shape, and every shape of file. Each format in each shape is imported again
/// in `interchange` and `parquet`.
#[test]
fn train_reads_what_export_writes() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jinja",
        "{% block prompt %}{{ instruction }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
    );
    for (format, name) in [
        ("alpaca", "x.json"),
        ("dolly", "x.jsonl"),
        ("chat", "x.jsonl.gz"),
        ("completion", "x.jsonl.zst"),
        ("self-instruct", "x.jsonl"),
        ("self-instruct", "x.parquet"),
        ("parquet", "x.parquet"),
    ] {
        ewe(
            &dir,
            &["export", "--db", "d.db", "--format", format, "--out", name],
        )
        .success();
        let template = match format {
            "completion" => &["--template", "completion"],
            _ => &["--template-file", "rows.jinja"],
        };
        let options = ["--out", "out", "--dry-run", "--eval-fraction", "0"];
        ewe_torch(
            &dir,
            &[&["train", "--data", name], &options[..], &template[..]].concat(),
        );
    }
}

#[test]
fn row_numbers_count_rows_that_are_left_out() {
    let dir = Dir::new();
    dir.write(
        "rows.jsonl",
        "{\"q\": \"a\", \"r\": \"b\"}\nnonsense\n{\"q\": \"c\", \"r\": \"d\", \"id\": 1}\n",
    );
    let options = [
        "--map",
        "prompt=q,completion=r",
        "--keep-going",
        "--left-out",
        "left.jsonl",
        "--out",
        "out.jsonl",
    ];
    let said = ewe_torch(&dir, &[&["score", "--data", "rows.jsonl"], &options[..]].concat());
    assert!(
        said.contains("left out: rows.jsonl:2:2: not a JSON object") && said.contains("1 of 3 rows"),
        "{said}"
    );
    assert!(said.contains("not used: the field `id`"), "{said}");
    let rows: Vec<u64> = dir
        .read("out.jsonl")
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["row"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(rows, [0, 2]);
    assert!(dir.read("left.jsonl").contains("\"place\":\"2:2\""));
}

#[test]
fn an_input_of_null_is_no_input() {
    let dir = Dir::new();
    let template = "{% block prompt %}{{ instruction }}{% if input %} [{{ input }}]{% endif %}{% endblock %}\
                    {% block completion %}{{ output }}{% endblock %}";
    dir.write("rows.jinja", template);
    let said = |name: &str, input: Value| {
        let mut row = json!({"instruction": "Count the sheep.", "input": input, "output": "seven"});
        if row["input"] == "missing" {
            row.as_object_mut().unwrap().remove("input");
        }
        let rows = lines(|number| {
            let mut row = row.clone();
            row["instruction"] = format!("Count the sheep of farm {number}.").into();
            row
        });
        dir.write(name, rows);
        let options = [
            "--out",
            "out",
            "--dry-run",
            "--eval-fraction",
            "0",
            "--template-file",
            "rows.jinja",
        ];
        let said = ewe_torch(&dir, &[&["train", "--data", name], &options[..]].concat());
        let (_, piece) = said.split_once("the largest micro-batch (").expect(&said);
        piece.split(')').next().unwrap().to_owned()
    };
    let none = said("missing.jsonl", "missing".into());
    assert!(none.starts_with("2 examples, "), "{none}");
    assert_eq!(said("null.jsonl", Value::Null), none);
    assert_eq!(said("empty.jsonl", "".into()), none);
    assert_ne!(said("given.jsonl", "of all farms".into()), none);
}
