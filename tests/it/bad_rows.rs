//! Unreadable rows: skipped with `--keep-going`, counted, and saved, whatever follows them.

use serde_json::{Value, json};

use crate::{
    formats::one_seed,
    shell::Dir,
    support::{ewe, import_file, number},
};

/// Imports a file with `--keep-going`. Returns the imported instructions, and the rows of the
/// `--left-out` file.
fn kept(dir: &Dir, name: &str) -> (Vec<String>, Vec<Value>) {
    one_seed(dir);
    ewe(
        dir,
        &[
            "import",
            "--db",
            "d.db",
            name,
            "--keep-going",
            "--left-out",
            "left.jsonl",
        ],
    )
    .success();
    let rows = dir.sql("select instruction from task where origin = 'import' order by id");
    let left = dir.read("left.jsonl");
    (
        rows.into_iter().map(|row| row[0].clone()).collect(),
        left.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn row(instruction: &str) -> String {
    json!({"instruction": instruction, "output": "yes"}).to_string()
}

#[test]
fn keep_going_skips_bad_rows_and_saves_them() {
    let dir = Dir::new();
    one_seed(&dir);
    // Without common words, so that nothing is compared.
    let good = |number: usize| {
        format!("{{\"instruction\": \"count{number} sheep{number} farm{number}\", \"output\": \"yes\"}}\n")
    };
    let bad = "{\"instruction\": \"x\", \"output\": NaN}\n";
    let rows: Vec<String> = (0..8_000)
        .map(|number| if number == 7_000 { bad.into() } else { good(number) })
        .collect();
    dir.write("rows.jsonl", rows.concat());
    let keep = ["--keep-going", "--left-out", "left.jsonl"];
    for arguments in [
        &["import", "--db", "d.db", "rows.jsonl"][..],
        &["filter", "rows.jsonl", "--rules", "none"],
        &["init", "--db", "new.db", "--seeds", "rows.jsonl"],
    ] {
        let said = ewe(&dir, arguments).failure(1).stderr();
        assert!(
            said.contains("rows.jsonl:7001:32: `NaN` is not JSON") && said.contains("hint: --keep-going"),
            "{said}"
        );
        let out = ewe(&dir, &[arguments, &keep[..]].concat()).success();
        assert!(
            out.stderr().contains("left out: rows.jsonl:7001:32: `NaN`"),
            "{}",
            out.stderr()
        );
        assert!(
            out.stderr()
                .contains("left out: 1 of 8000 rows; it is in `left.jsonl`"),
            "{}",
            out.stderr()
        );
        let left: Value = serde_json::from_str(&dir.read("left.jsonl")).unwrap();
        assert_eq!(left["place"], "7001:32");
        assert_eq!(left["row"], bad.trim());
        std::fs::remove_file(dir.path("left.jsonl")).unwrap();
    }
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        7_999
    );
    // A file without any readable row is still an error.
    dir.write(
        "bad.jsonl",
        "{\"instruction\": \"\", \"output\": \"a\"}\n{\"instruction\": 1}\n",
    );
    let said = ewe(&dir, &["import", "--db", "d.db", "bad.jsonl", "--keep-going"])
        .failure(1)
        .stderr();
    assert!(said.contains("none of 2 rows can be read"), "{said}");
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--left-out", "x"]).failure(2);
}

#[test]
fn concatenated_arrays_and_objects_are_read() {
    let dir = Dir::new();
    let (a, b, c, d, e) = (row("A"), row("B"), row("C"), row("D"), row("E"));
    for (name, text) in [
        ("arrays.json", format!("[{a}]\n[{b},{c},\n{d}]\n[{e}]")),
        (
            "all.json",
            format!("{a}\n[{b}, {c}]{d}\n[]\n{{\n\"instruction\": \"E\",\n\"output\": \"yes\"}}"),
        ),
        ("lines.json", format!("[{a},{b}]\n{c}{d}\n{e}\n")),
    ] {
        dir.write(name, text);
        one_seed(&dir);
        import_file(&dir, name).success();
        let rows = dir.sql("select instruction from task where origin = 'import' order by id");
        assert_eq!(rows.concat().concat(), "ABCDE", "{name}");
    }
    // An unreadable part between two values costs nothing else.
    dir.write("bad.json", format!("[{a}]\noops\n[{b},3,{c}]\n[1, 2\n{d}\n[{e}"));
    let (rows, left) = kept(&dir, "bad.json");
    assert_eq!(rows.concat(), "ABCDE");
    let left: Vec<_> = left.iter().map(|left| (&left["place"], &left["row"])).collect();
    let at = |place: &str, row: &str| (json!(place), json!(row));
    let three = format!("3:{}", b.len() + 3);
    let wanted = [at("2:1", "oops"), at(&three, "3"), at("4:1", "[1, 2")];
    assert_eq!(
        left[..3],
        wanted.each_ref().map(|(place, row)| (place, row)),
        "{left:?}"
    );
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn a_row_nested_too_deeply_is_left_out() {
    let dir = Dir::new();
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let with =
        |name: &str, z: &str| format!("{{\"instruction\": \"{name}\", \"output\": \"x\", \"z\": {z}}}\n");
    dir.write(
        "rows.jsonl",
        [
            with("A", &deep(999)),
            with("B", &deep(1001)),
            with("C", &deep(100_000)),
            with("D", "1"),
        ]
        .concat(),
    );
    let (rows, left) = kept(&dir, "rows.jsonl");
    assert_eq!(rows, ["A", "D"]);
    assert_eq!(left.len(), 2);
    for left in left {
        assert!(
            left["reason"].as_str().unwrap().starts_with("`z` has more than"),
            "{left}"
        );
    }
    let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
    assert!(
        said.contains("rows.jsonl:2:1: `z` has more than 999 lists and objects"),
        "{said}"
    );
    // `filter` stores no rows, so the nesting does no harm there.
    ewe(&dir, &["filter", "rows.jsonl", "--rules", "none"]).success();
}

#[test]
fn left_out_rows_are_saved_as_they_were() {
    let dir = Dir::new();
    dir.write(
        "rows.csv",
        "instruction,output\nA,x\nB,y,\"z, z\"\nC\n\"D,x\nE,y\n",
    );
    let (rows, left) = kept(&dir, "rows.csv");
    assert_eq!(rows, ["A", "E"]);
    let left: Vec<_> = left.iter().map(|left| (&left["place"], &left["row"])).collect();
    assert_eq!(
        left,
        [
            (&json!("3:1"), &json!(["B", "y", "z, z"])),
            (&json!("4:1"), &json!(["C"])),
            (&json!("5:1"), &json!("\"D,x")),
        ]
    );
    dir.write(
        "rows.json",
        format!("[{}, null, [1], \"text\", {{\"instruction\": 7", row("A")),
    );
    let (rows, left) = kept(&dir, "rows.json");
    assert_eq!(rows, ["A"]);
    let left: Vec<_> = left.iter().map(|left| left["row"].as_str().unwrap()).collect();
    assert_eq!(left, ["null", "[1]", "\"text\"", "{\"instruction\": 7"]);
    dir.write(
        "bytes.jsonl",
        [row("A").as_bytes(), b"\n{\"instruction\": \"\xff\"}\n"].concat(),
    );
    let (_, left) = kept(&dir, "bytes.jsonl");
    assert_eq!(left[0]["row"], "{\"instruction\": \"\u{fffd}\"}");
}

#[test]
fn an_import_that_adds_nothing_reports_no_extra_fields() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"A\", \"output\": \"x\", \"lang\": \"en\"}\n",
    );
    let import = || import_file(&dir, "rows.jsonl").success().stderr();
    assert!(import().contains("kept beside the texts: the field `lang`"));
    assert!(!import().contains("kept"));
}

#[test]
fn instructions_of_invisible_characters_are_empty() {
    let dir = Dir::new();
    dir.write(
        "rows.jsonl",
        ["\u{200b}", "\u{200c}", "\u{feff} \u{2060}", "\u{2800}", "A"]
            .map(|text| row(text) + "\n")
            .concat(),
    );
    let (rows, left) = kept(&dir, "rows.jsonl");
    assert_eq!(rows, ["A"]);
    assert_eq!(left.len(), 4);
    for left in left {
        assert_eq!(
            left["reason"],
            "the instruction is empty: nothing in it can be seen"
        );
    }
    let said = ewe(&dir, &["filter", "rows.jsonl", "--rules", "none"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("rows.jsonl:1:1: the instruction is empty"),
        "{said}"
    );
}
