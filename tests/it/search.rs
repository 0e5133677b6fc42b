//! `ewe search` finds words in every form that looks the same, in texts and in queries.

use serde_json::json;
use sqlx::{Connection, SqliteConnection, migrate::Migrator, sqlite::SqliteConnectOptions};

use crate::shell::Dir;
use crate::support::{block_on, ewe, json, number};

/// Instructions, and words that find each of them and no other.
const FOUND: &[(&str, &[&str])] = &[
    (
        "Describe a soft\u{ad}hyphen in one line.",
        &["softhyphen", "SOFTHYPHEN", "soft\u{ad}hyphen", "softhyph*"],
    ),
    (
        "What is zero\u{200b}width or word\u{2060}joined text?",
        &["zerowidth", "zero\u{200b}width", "\"wordjoined text\""],
    ),
    (
        "Count the letters of ＡＢＣ１２.",
        &["abc12", "ABC12", "ＡＢＣ１２", "ａｂｃ*"],
    ),
    (
        "Which Straße is the longest?",
        &["straße", "STRASSE", "STRAẞE", "strass*"],
    ),
    (
        "Who crosses the Flussstraße today?",
        &["flussstrasse", "Flussstraße", "Flußstraße"],
    ),
    ("Name a MASSSTAB of maps.", &["Maßstab", "massstab"]),
    ("Wer war Οδυσσεύς aus Ithaka?", &["ΟΔΥΣΣΕΎΣ", "οδυσσεύσ"]),
    ("Write an o\u{fb03}ce memo.", &["office", "OFFICE", "o\u{fb03}ce"]),
    (
        "Explain the word cafe\u{301} briefly.",
        &["café", "CAFÉ", "cafe", "ｃａｆｅ"],
    ),
    (
        "Translate ภาษา\u{200b}ไทย into English.",
        &["ภาษา", "ไทย", "ภาษา\u{200b}ไทย"],
    ),
    ("Read می\u{200c}خواهم aloud.", &["می\u{200c}خواهم", "خواهم"]),
    // A hyphen is visible and separates words as a space does.
    (
        "Send an e-mail about nothing.",
        &["e-mail", "\"e mail\"", "E\u{2011}MAIL"],
    ),
    (
        "Say what كت\u{640}\u{640}اب means to an ob\u{fffc}jector.",
        &["كتاب", "كت\u{640}اب", "objector"],
    ),
];

/// The ids of the tasks that a command prints.
fn ids(dir: &Dir, arguments: &[&str]) -> Vec<i64> {
    let rows = json(ewe(dir, &[arguments, &["--db", "d.db", "--json"]].concat()));
    let rows = rows.as_array().unwrap().iter();
    let mut ids: Vec<i64> = rows.map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The ids of the tasks that these words find.
fn found(dir: &Dir, words: &str) -> Vec<i64> {
    ids(dir, &["search", words])
}

/// Asserts that every word of [`FOUND`] finds its task and no other.
fn all_are_found(dir: &Dir) {
    for (id, (instruction, words)) in (1..).zip(FOUND) {
        for words in *words {
            assert_eq!(found(dir, words), [id], "{words:?}: {instruction:?}");
        }
    }
    for words in ["email", "hyphen"] {
        assert!(found(dir, words).is_empty(), "{words}");
    }
    ewe(dir, &["check", "--db", "d.db"]).success();
    dir.sql("insert into task_fts (task_fts) values ('integrity-check')");
}

#[test]
fn texts_that_look_the_same_are_found() {
    let dir = Dir::new();
    let rows = FOUND
        .iter()
        .map(|(instruction, _)| format!("{}\n", json!({"instruction": instruction, "output": "done"})));
    dir.write("rows.jsonl", rows.collect::<String>());
    ewe(&dir, &["init", "--db", "d.db", "--seeds", "rows.jsonl"]).success();
    all_are_found(&dir);
    // Lists and bulk actions search in the same way.
    assert_eq!(ids(&dir, &["list", "--text", "strasse"]), found(&dir, "straße"));

    // Snippets show the text as it is, without invisible characters.
    for (word, around) in [
        ("strasse", "Which [Straße] is the longest?"),
        ("softhyphen", "Describe a [softhyphen] in one line."),
    ] {
        let said = ewe(&dir, &["search", "--db", "d.db", word]).success().stdout();
        assert!(said.contains(around), "{said}");
    }
}

#[test]
fn the_index_follows_changes_of_such_texts() {
    let dir = Dir::new();
    dir.write(
        "rows.jsonl",
        json!({"instruction": FOUND[0].0, "output": "done"}).to_string(),
    );
    ewe(&dir, &["init", "--db", "d.db", "--seeds", "rows.jsonl"]).success();
    ewe(
        &dir,
        &["edit", "--db", "d.db", "1", "--output", "an in\u{200b}put"],
    )
    .success();
    assert_eq!(found(&dir, "input"), [1]);
    dir.sql("update instance set output = 'out' || char(173) || 'put'");
    assert_eq!(found(&dir, "output"), [1]);
    assert!(found(&dir, "input").is_empty());
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(found(&dir, "input"), [1]);
    dir.sql("update task set instruction = 'by' || char(8203) || 'hand'");
    assert_eq!(found(&dir, "byhand"), [1]);
    dir.sql("insert into task (instruction, origin, review) values ('by' || char(173) || 'sql', 'seed', 'pending')");
    dir.sql("insert into instance (task_id, ordinal, input, output) values (2, 0, 'to' || char(8288) || 'o', 'x')");
    assert_eq!((found(&dir, "bysql"), found(&dir, "too")), (vec![2], vec![2]));
    dir.sql("delete from instance where task_id = 2");
    assert!(found(&dir, "too").is_empty());
    ewe(&dir, &["check", "--db", "d.db"]).success();
    dir.sql("insert into task_fts (task_fts) values ('integrity-check')");
}

/// A dataset as ewe made it before invisible characters were dropped from the index.
fn older(dir: &Dir) {
    std::fs::create_dir(dir.path("migrations")).unwrap();
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/db/migrations");
    for entry in std::fs::read_dir(all).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.as_str() < "0009" {
            std::fs::copy(entry.path(), dir.path("migrations").join(name)).unwrap();
        }
    }
    block_on(async {
        let migrations = Migrator::new(dir.path("migrations")).await.unwrap();
        let options = SqliteConnectOptions::new()
            .filename(dir.path("d.db"))
            .create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        migrations.run(&mut connection).await.unwrap();
        for (instruction, _) in FOUND {
            sqlx::query("insert into task (instruction, origin, review) values (?, 'seed', 'accepted')")
                .bind(instruction)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
    });
}

#[test]
fn an_older_dataset_is_indexed_again() {
    let dir = Dir::new();
    older(&dir);
    assert_eq!(number(&dir, "pragma user_version"), 8);
    let split = "select count(*) from task_fts where task_fts match 'softhyphen'";
    assert_eq!(number(&dir, split), 0);
    all_are_found(&dir);
    assert_eq!(number(&dir, split), 1);
}
