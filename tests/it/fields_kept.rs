//! Values of fields that stay what they are: of numbers with many digits, of fields that were removed
//! and brought back, and of choices that lost a value.

use serde_json::json;

use crate::fields::{checked, field, ids, label, with_fields};
use crate::formats::one_seed;
use crate::shell::Dir;
use crate::support::{ewe, json as parsed, number};

/// A dataset into which a file with this row was imported, each of these columns as a field; and the
/// id of the task.
fn imported(row: &str, columns: &str) -> (Dir, String) {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("rows.jsonl", row);
    ewe(
        &dir,
        &["import", "--db", "d.db", "rows.jsonl", "--fields", columns],
    )
    .success();
    let id = number(&dir, "select max(id) from task").to_string();
    (dir, id)
}

fn exported(dir: &Dir) -> String {
    let to = ["--format", "alpaca", "--out", "-"];
    let text = ewe(
        dir,
        &[&["export", "--db", "d.db", "--origin", "import"], &to[..]].concat(),
    )
    .success()
    .stdout();
    // The one row, on one line.
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !matches!(*line, "[" | "]"));
    lines.collect::<String>().replace("\": ", "\":") + "\n"
}

#[test]
fn edits_of_large_numbers_are_exported() {
    let row = concat!(
        r#"{"instruction":"Count.","input":"","output":"x","id":1764553000123456,"#,
        r#""f":0.12345678901234568,"g":0.30}"#,
        "\n"
    );
    let (dir, id) = imported(row, "id,f,g");
    assert_eq!(exported(&dir), row);
    label(&dir, &[&id, "id=1764553000123460", "f=0.12345678901236"]).success();
    let edited = exported(&dir);
    assert!(
        edited.contains(r#""id":1764553000123460,"f":0.12345678901236,"g":0.30}"#),
        "{edited}"
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(exported(&dir), row);
    checked(&dir);
}

#[test]
fn what_64_bits_cannot_hold_goes_out_as_it_came() {
    let row = concat!(
        r#"{"instruction":"Count.","input":"","output":"x","s":1e400,"t":"\ud800","g":0.30,"#,
        r#""k":1.7976931348623157e308,"a\\b":1.50}"#,
        "\n"
    );
    let (dir, id) = imported(row, "s,t,g,k,a\\b");
    assert_eq!(exported(&dir), row);
    label(&dir, &[&id, "s=short"]).success();
    assert_eq!(exported(&dir), row.replace("1e400", r#""short""#));
}

#[test]
fn a_field_comes_back_as_it_was() {
    let dir = with_fields();
    label(&dir, &["1", "difficulty=hard", "minutes=3"]).success();
    for name in ["difficulty", "minutes"] {
        field(&dir, &["remove", name]).success();
    }
    field(&dir, &["add", "difficulty", "--type", "text"])
        .refused("hint: `ewe field add difficulty` brings it back");
    let back = field(&dir, &["add", "Difficulty"]).success().stdout();
    assert!(
        back.starts_with("field `difficulty` added, choice of easy, medium, hard, key h\n"),
        "{back}"
    );
    assert_eq!(ids(&dir, &["--field", "difficulty=hard"]), [1]);
    let minutes = parsed(field(&dir, &["add", "minutes", "--json"]).success());
    assert_eq!(minutes["type"], "number");
    assert_eq!(ids(&dir, &["--field", "minutes=3"]), [1]);
    // Its type and its own key may be said, too.
    field(&dir, &["remove", "difficulty"]).success();
    field(
        &dir,
        &[
            "add",
            "difficulty",
            "--type",
            "choice",
            "--values",
            "new",
            "--key",
            "h",
        ],
    )
    .success();
    let listed = parsed(field(&dir, &["list", "--json"]).success());
    assert_eq!(listed[0]["choices"], json!(["easy", "medium", "hard", "new"]));
    field(&dir, &["remove", "difficulty"]).success();
    field(&dir, &["add", "difficulty", "--values", "HARD"]).refused("stands twice");
    checked(&dir);
}

#[test]
fn an_import_makes_no_field_beside_one_of_another_type_that_was_removed() {
    let dir = with_fields();
    field(&dir, &["remove", "difficulty"]).success();
    dir.write(
        "rows.jsonl",
        r#"{"instruction":"A.","input":"","output":"x","difficulty":"hard","area":"x"}"#,
    );
    let import = [
        "import",
        "--db",
        "d.db",
        "rows.jsonl",
        "--fields",
        "area,difficulty",
    ];
    ewe(&dir, &import).refused("`ewe field add difficulty` brings it back");
    assert_eq!(number(&dir, "select count(*) from field where name = 'area'"), 0);
    field(&dir, &["add", "difficulty"]).success();
    ewe(&dir, &import).success();
    assert_eq!(ids(&dir, &["--field", "difficulty=hard"]).len(), 1);
}

#[test]
fn undo_gives_no_value_back_that_a_choice_has_no_more() {
    let dir = with_fields();
    for value in ["first", "second", "third thing"] {
        label(&dir, &["4", &format!("note={value}")]).success();
    }
    field(&dir, &["change", "note", "--values", "third thing"]).success();
    let refused = ewe(&dir, &["undo", "--db", "d.db"]).failure(1).stderr();
    let way_out = "`ewe field change note --values 'third thing,second'` brings it back";
    assert!(
        refused.contains("action 3 cannot be taken back: `second` is no value of field `note` any more")
            && refused.contains(way_out),
        "{refused}"
    );
    checked(&dir);
    assert_eq!(ids(&dir, &["--field", "note=third thing"]), [4]);
    field(&dir, &["change", "note", "--values", "third thing,second"]).success();
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(ids(&dir, &["--field", "note=second"]), [4]);
    ewe(&dir, &["undo", "--db", "d.db"]).refused("`first` is no value of field `note`");
    checked(&dir);
    // What got in by SQL is named, and so is the way out.
    dir.sql("update field_value set value = 'other' where field_id = 5");
    let found = ewe(&dir, &["check", "--db", "d.db"]).failure(1).stdout();
    assert!(
        found.contains("`note` has values that are none of its type (choice), such as `other`: ")
            && found.contains("`ewe field change note --values 'third thing,second,other'`"),
        "{found}"
    );
}
