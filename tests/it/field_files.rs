//! Fields of one's own in files: columns become fields, and fields become columns again.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::formats::one_seed;
use crate::shell::{Dir, Ran, command};
use crate::support::{ewe, json as parsed, number};

const ROWS: &str = concat!(
    r#"{"instruction":"Count the sheep.","input":"","output":"Three.","difficulty":"hard","minutes":3,"ok":true,"tags":["b","a"],"meta":{"x":1}}"#,
    "\n",
    r#"{"instruction":"Name a sheep.","input":"","output":"Ewe.","difficulty":"easy","minutes":0.30,"ok":false,"tags":[]}"#,
    "\n",
    r#"{"instruction":"Shear it.","input":"","output":"Done.","id":7}"#,
    "\n",
);

/// A dataset without tasks in a directory with `rows.jsonl`.
fn empty(rows: &str) -> Dir {
    let dir = Dir::new();
    one_seed(&dir);
    ewe(&dir, &["reject", "--db", "d.db", "--origin", "seed", "--yes"]).success();
    dir.write("rows.jsonl", rows);
    dir
}

fn import(dir: &Dir, arguments: &[&str]) -> Ran {
    ewe(dir, &[&["import", "--db", "d.db"], arguments].concat())
}

fn export(dir: &Dir, format: &str, out: &str) -> String {
    ewe(dir, &["export", "--db", "d.db", "--format", format, "--out", out]).success();
    dir.read(out)
}

/// Name, type and values of each field.
fn fields(dir: &Dir) -> Vec<(String, String, Value)> {
    let list = parsed(ewe(dir, &["field", "--db", "d.db", "list", "--json"]).success());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let field = |one: &Value| (text(&one["name"]), text(&one["type"]), one["values"].clone());
    list.as_array().unwrap().iter().map(field).collect()
}

#[test]
fn columns_become_fields_by_what_they_hold_and_go_out_as_they_came() {
    let dir = empty(ROWS);
    let said = import(&dir, &["rows.jsonl", "--fields", "all"]).success();
    assert!(
        said.stdout().contains("new field `difficulty` of type text\n"),
        "{}",
        said.stdout()
    );
    assert!(
        said.stdout()
            .contains("no fields, but kept beside the texts: `meta`"),
        "{}",
        said.stdout()
    );
    let types: Vec<(String, String)> = fields(&dir)
        .into_iter()
        .map(|(name, kind, _)| (name, kind))
        .collect();
    let types: Vec<(&str, &str)> = types
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str()))
        .collect();
    assert_eq!(
        types,
        [
            ("difficulty", "text"),
            ("id", "number"),
            ("minutes", "number"),
            ("ok", "flag"),
            ("tags", "tags")
        ]
    );
    // Nothing was edited, so that the rows are the same, byte for byte.
    ewe(
        &dir,
        &[
            "export",
            "--db",
            "d.db",
            "--format",
            "alpaca",
            "--out",
            "same.jsonl",
        ],
    )
    .success();
    assert_eq!(dir.read("same.jsonl"), ROWS);
    let id = number(&dir, "select min(id) from task where origin = 'import'").to_string();
    for (name, new) in [("difficulty", "level"), ("minutes", "time")] {
        ewe(&dir, &["field", "--db", "d.db", "rename", name, new]).success();
    }
    ewe(
        &dir,
        &["label", "--db", "d.db", &id, "level=harder", "tags=", "ok=no"],
    )
    .success();
    assert_eq!(
        export(&dir, "alpaca", "edited.jsonl").lines().next().unwrap(),
        r#"{"instruction":"Count the sheep.","input":"","output":"Three.","level":"harder","time":3,"ok":false,"meta":{"x":1}}"#
    );
    ewe(&dir, &["field", "--db", "d.db", "remove", "level"]).success();
    let hidden = export(&dir, "alpaca", "hidden.jsonl");
    assert!(hidden.contains(r#""difficulty":"hard","time":3"#), "{hidden}");
    let plain = [
        "export",
        "--db",
        "d.db",
        "--format",
        "alpaca",
        "--plain",
        "--out",
        "plain.jsonl",
    ];
    ewe(&dir, &plain).success();
    assert!(!dir.read("plain.jsonl").contains("time"));
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn fields_survive_every_format() {
    let first = empty(ROWS);
    import(&first, &["rows.jsonl", "--fields", "difficulty,minutes,ok,tags"]).success();
    let id = number(&first, "select max(id) from task").to_string();
    ewe(
        &first,
        &[
            "label",
            "--db",
            "d.db",
            &id,
            "difficulty=new",
            "tags=z,y",
            "minutes=4",
        ],
    )
    .success();
    let before = fields(&first);
    for (format, out) in [
        ("alpaca", "x.json"),
        ("chat", "x.jsonl"),
        ("sharegpt", "y.jsonl"),
        ("completion", "z.jsonl"),
        ("dolly", "d.jsonl"),
        ("self-instruct", "s.jsonl"),
        ("parquet", "t.parquet"),
        ("alpaca", "a.parquet"),
        ("chat", "c.parquet"),
    ] {
        ewe(
            &first,
            &["export", "--db", "d.db", "--format", format, "--out", out],
        )
        .success();
        let again = empty("");
        let file = first.path(out);
        import(
            &again,
            &[file.to_str().unwrap(), "--fields", "difficulty,minutes,ok,tags"],
        )
        .success();
        assert_eq!(fields(&again), before, "{format} {out}");
    }
}

#[test]
fn dolly_keeps_its_category_and_sharegpt_its_source() {
    let row = |category: &str, text: &str| {
        format!(r#"{{"instruction":"{text}","context":"","response":"x","category":"{category}"}}"#) + "\n"
    };
    let rows = row("brainstorming", "One.") + &row("my own", "Two.") + &row("open_qa", "Three.");
    let dir = empty(&rows);
    import(&dir, &["rows.jsonl", "--fields", "category"]).success();
    assert_eq!(
        export(&dir, "dolly", "same.jsonl").replace(r#""my own""#, ""),
        rows.replace(r#""my own""#, "")
    );
    // What is no category of Dolly's is one, since somebody said so.
    assert!(dir.read("same.jsonl").contains(r#""category":"my own""#));
    let list = parsed(
        ewe(
            &dir,
            &["list", "--db", "d.db", "--json", "--field", "category=open_qa"],
        )
        .success(),
    );
    let id = list[0]["id"].to_string();
    ewe(&dir, &["label", "--db", "d.db", &id, "category=closed_qa"]).success();
    let changed = export(&dir, "dolly", "changed.jsonl");
    assert!(changed.ends_with("\"category\":\"closed_qa\"}\n"), "{changed}");
    assert!(export(&dir, "chat", "chat.jsonl").contains(r#""category":"my own""#));

    let rows = concat!(
        r#"{"conversations":[{"from":"human","value":"Hi."},{"from":"gpt","value":"Ho."}],"source":"airoboros"}"#,
        "\n"
    );
    let dir = empty(rows);
    import(&dir, &["rows.jsonl", "--fields", "source"]).success();
    assert_eq!(export(&dir, "sharegpt", "same.jsonl"), rows);
    assert_eq!(fields(&dir)[0].2, json!([{"value": "airoboros", "tasks": 1}]));
}

#[test]
fn known_fields_take_their_columns_and_refuse_other_values() {
    let dir = empty(ROWS);
    ewe(
        &dir,
        &[
            "field",
            "--db",
            "d.db",
            "add",
            "difficulty",
            "--values",
            "easy,medium",
        ],
    )
    .success();
    ewe(
        &dir,
        &["field", "--db", "d.db", "add", "minutes", "--type", "number"],
    )
    .success();
    let refused = import(&dir, &["rows.jsonl"]);
    assert!(refused.stderr().contains("rows.jsonl:1"), "{}", refused.stderr());
    refused.refused("`hard` is no value of field `difficulty`: want one of easy, medium");
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
    let kept = import(&dir, &["rows.jsonl", "--keep-going"]).success();
    assert!(
        kept.stderr().contains("left out: 1 of 3 rows"),
        "{}",
        kept.stderr()
    );
    assert_eq!(
        fields(&dir)[0].2,
        json!([{"value": "easy", "tasks": 1}, {"value": "medium", "tasks": 0}])
    );
    assert_eq!(fields(&dir)[1].2, json!([{"value": 0.3, "tasks": 1}]));
    import(&dir, &["rows.jsonl", "--fields", "none"]).success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        3
    );
    ewe(
        &dir,
        &[
            "field",
            "--db",
            "d.db",
            "change",
            "difficulty",
            "--values",
            "easy,medium,hard",
        ],
    )
    .success();
    // Tasks that are there get the values that they have none of.
    let labelled = import(&dir, &["rows.jsonl"]).success();
    assert!(
        labelled.stdout().contains("1 task already here labelled (action"),
        "{}",
        labelled.stdout()
    );
    assert_eq!(fields(&dir)[0].2[2], json!({"value": "hard", "tasks": 1}));
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(fields(&dir)[0].2[2], json!({"value": "hard", "tasks": 0}));
    // What somebody took away stays away.
    let again = import(&dir, &["rows.jsonl"]).success();
    assert!(!again.stdout().contains("labelled"), "{}", again.stdout());
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn columns_of_mixed_types_become_texts_or_are_refused() {
    let rows = [
        r#""a":1,"b":"x","c":[1],"d":"x,y""#,
        r#""a":"two","b":["x","y"],"c":2,"d":"z""#,
        r#""a":true,"d":"","e f":"1e999","g":123456789012345678901234567890"#,
    ];
    let row = |(at, fields): (usize, &&str)| {
        format!("{{\"instruction\":\"Do {at}.\",\"input\":\"\",\"output\":\"x\",{fields}}}\n")
    };
    let rows: String = rows.iter().enumerate().map(row).collect();
    let dir = empty(&rows);
    import(&dir, &["rows.jsonl", "--fields", "c"])
        .refused("column `c` has a list of something else than short texts");
    import(&dir, &["rows.jsonl", "--fields", "a,nothing"])
        .refused("no row has a value in a column `nothing`");
    import(&dir, &["rows.jsonl", "--fields", ","]).refused("want names of columns");
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
    assert_eq!(number(&dir, "select count(*) from field"), 0);
    import(&dir, &["rows.jsonl", "--fields", "all"]).success();
    let found = fields(&dir);
    let of = |name: &str| found.iter().find(|field| field.0 == name).unwrap();
    assert_eq!(of("a").1, "text");
    assert_eq!(of("a").2.as_array().unwrap().len(), 3);
    assert_eq!((of("b").1.as_str(), of("d").1.as_str()), ("tags", "text"));
    assert_eq!(of("e f").1, "text");
    assert!(found.iter().all(|field| field.0 != "c"));
    assert_eq!(export(&dir, "alpaca", "same.jsonl"), rows);
}

#[test]
fn numbers_of_csv_are_numbers_and_codes_are_not() {
    let dir = empty("");
    dir.write(
        "rows.csv",
        "instruction,output,minutes,code,note\nCount.,x,3,007,\nName.,y,0.5,012,so\n",
    );
    import(&dir, &["rows.csv", "--fields", "all"]).success();
    let types: Vec<(String, String)> = fields(&dir)
        .into_iter()
        .map(|(name, kind, _)| (name, kind))
        .collect();
    let kind = |name: &str| &types.iter().find(|one| one.0 == name).unwrap().1;
    assert_eq!(
        (
            kind("minutes").as_str(),
            kind("code").as_str(),
            kind("note").as_str()
        ),
        ("number", "text", "text")
    );
    let sorted = parsed(
        ewe(
            &dir,
            &[
                "list",
                "--db",
                "d.db",
                "--json",
                "--where",
                "field.minutes < 1 and field.code = '012'",
            ],
        )
        .success(),
    );
    assert_eq!(sorted[0]["instruction"], "Name.");
}

#[test]
fn parquet_has_a_column_for_each_field() {
    let dir = empty(ROWS);
    import(&dir, &["rows.jsonl", "--fields", "all"]).success();
    ewe(&dir, &["field", "--db", "d.db", "add", "name"]).success();
    let id = number(&dir, "select max(id) from task").to_string();
    ewe(&dir, &["label", "--db", "d.db", &id, "name=mine"]).success();
    ewe(
        &dir,
        &[
            "export",
            "--db",
            "d.db",
            "--format",
            "parquet",
            "--out",
            "t.parquet",
        ],
    )
    .success();
    let shown = command(
        &dir,
        &[
            "import",
            "--db",
            "d.db",
            "t.parquet",
            "--fields",
            "none",
            "--json",
        ],
    )
    .stdout(Stdio::piped())
    .output()
    .unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["already_here"], 3, "{shown}");
    let bytes = std::fs::read(dir.path("t.parquet")).unwrap();
    let has = |name: &str| bytes.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(["difficulty", "minutes", "ewe_name"].into_iter().all(has));
}

/// Rows with these fields beside the texts.
fn rows(fields: impl IntoIterator<Item = String>) -> String {
    let row = |(at, fields): (usize, String)| {
        format!("{{\"instruction\":\"Do{at} this{at}.\",\"input\":\"\",\"output\":\"x\",{fields}}}\n")
    };
    fields.into_iter().enumerate().map(row).collect()
}

#[test]
fn a_value_that_no_field_can_have_ends_the_import_before_it_writes() {
    let many = (0..3_000).map(|at| match at {
        2_900 => r#""s":"nul\u0000x""#.to_owned(),
        _ => format!(r#""s":"{at}""#),
    });
    let dir = empty(&rows(many));
    let refused = import(&dir, &["rows.jsonl", "--fields", "s"]).failure(1).stderr();
    assert!(
        refused.contains("rows.jsonl:2901:1: column `s` has a text with a null character")
            && refused.contains("hint: --keep-going")
            && !refused.contains("the same command"),
        "{refused}"
    );
    let imported = "select count(*) from task where origin = 'import'";
    assert_eq!(number(&dir, imported), 0);
    assert_eq!(number(&dir, "select count(*) from field"), 0);
    let kept = import(&dir, &["rows.jsonl", "--fields", "s", "--keep-going"]).success();
    assert!(
        kept.stderr().contains("left out: 1 of 3000 rows"),
        "{}",
        kept.stderr()
    );
    assert_eq!(number(&dir, imported), 2_999);
    assert_eq!(number(&dir, "select count(*) from field_value"), 2_999);
    // With `all`, the column is one that becomes no field.
    let dir = empty(&dir.read("rows.jsonl"));
    let all = import(&dir, &["rows.jsonl", "--fields", "all"])
        .success()
        .stdout();
    assert!(all.contains("no fields, but kept beside the texts: `s`"), "{all}");
    assert_eq!(number(&dir, imported), 3_000);
}

#[test]
fn lists_that_are_no_tags_are_left_out_by_row() {
    let fields = [
        r#""t":["ok"]"#,
        r#""t":[5]"#,
        r#""t":["a\u0000"]"#,
        r#""t":7,"n":1"#,
    ];
    let dir = empty(&rows(fields.map(str::to_owned)));
    import(&dir, &["rows.jsonl", "--fields", "t"])
        .refused("rows.jsonl:2:1: column `t` has a list of something else than short texts");
    let kept = import(&dir, &["rows.jsonl", "--fields", "t", "--keep-going"]).success();
    assert!(
        kept.stderr().contains("left out: 3 of 4 rows"),
        "{}",
        kept.stderr()
    );
    assert_eq!(
        self::fields(&dir),
        [(
            "t".to_owned(),
            "tags".to_owned(),
            json!([{"value": "ok", "tasks": 1}])
        )]
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}
