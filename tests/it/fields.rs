//! Fields of one's own: made, given values, filtered and sorted by, undone, merged.

use serde_json::json;

use crate::shell::Dir;
use crate::support::{ewe, json as parsed, number};

/// A dataset of seeds with fields of all types.
pub fn with_fields() -> Dir {
    let dir = Dir::with_dataset();
    for arguments in [
        &["add", "difficulty", "--values", "easy,medium,hard", "--key", "h"][..],
        &["add", "topics", "--type", "tags"],
        &["add", "minutes", "--type", "number"],
        &["add", "checked", "--type", "flag"],
        &["add", "note"],
    ] {
        field(&dir, arguments).success();
    }
    dir
}

pub fn field(dir: &Dir, arguments: &[&str]) -> crate::shell::Ran {
    ewe(dir, &[&["field", "--db", "d.db"], arguments].concat())
}

pub fn label(dir: &Dir, arguments: &[&str]) -> crate::shell::Ran {
    ewe(dir, &[&["label", "--db", "d.db"], arguments].concat())
}

/// The ids that `ewe list` prints.
pub fn ids(dir: &Dir, arguments: &[&str]) -> Vec<i64> {
    let list = parsed(ewe(dir, &[&["list", "--db", "d.db", "--json"], arguments].concat()).success());
    list.as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect()
}

pub fn checked(dir: &Dir) {
    ewe(dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn a_field_is_made_listed_renamed_and_removed_with_its_values_kept() {
    let dir = with_fields();
    label(&dir, &["1", "difficulty=hard", "checked=yes"]).success();
    let listed = parsed(field(&dir, &["list", "--json"]).success());
    assert_eq!(listed[0]["name"], "difficulty");
    assert_eq!(listed[0]["type"], "choice");
    assert_eq!(listed[0]["key"], "h");
    assert_eq!(
        listed[0]["values"],
        json!([{"value": "easy", "tasks": 0}, {"value": "medium", "tasks": 0}, {"value": "hard", "tasks": 1}])
    );
    assert_eq!(listed[3]["values"], json!([{"value": true, "tasks": 1}]));
    let said = field(&dir, &["list"]).success().stdout();
    assert!(
        said.starts_with("difficulty  (choice of easy, medium, hard, key h)  1 task\n"),
        "{said}"
    );
    field(&dir, &["rename", "DIFFICULTY", "Schwierigkeit"]).success();
    assert_eq!(ids(&dir, &["--field", "schwierigkeit=hard"]), [1]);
    let removed = field(&dir, &["remove", "Schwierigkeit"]).success().stdout();
    assert_eq!(
        removed,
        "field `Schwierigkeit` removed; 1 value kept, and `ewe field add` brings it back\n"
    );
    let gone = ewe(&dir, &["list", "--db", "d.db", "--field", "Schwierigkeit=hard"]).failure(1);
    assert!(
        gone.stderr().contains("no field `Schwierigkeit`"),
        "{}",
        gone.stderr()
    );
    assert_eq!(number(&dir, "select count(*) from field_value"), 2);
    let other = field(&dir, &["add", "schwierigkeit", "--type", "number"]).failure(1);
    assert!(
        other.stderr().contains("of type choice was removed"),
        "{}",
        other.stderr()
    );
    field(&dir, &["add", "schwierigkeit", "--values", "hard,brutal"]).success();
    let back = parsed(ewe(&dir, &["show", "--db", "d.db", "--json", "1"]).success());
    assert_eq!(back["fields"][0]["value"], "hard");
    assert_eq!(
        back["fields"][0]["choices"],
        json!(["easy", "medium", "hard", "brutal"])
    );
    checked(&dir);
}

#[test]
fn what_cannot_be_a_field_is_refused() {
    let dir = with_fields();
    for (arguments, said) in [
        (
            &["add", "Difficulty"][..],
            "there is a field `difficulty` already",
        ),
        (&["add", "messages"], "cannot be the name of a field"),
        (&["add", "a=b"], "cannot be the name of a field"),
        (&["add", " "], "cannot be the name of a field"),
        (&["add", "-x", "--type", "text"], "unexpected argument"),
        (
            &["add", "x", "--key", "a"],
            "`ewe review` need it for something else",
        ),
        (&["add", "x", "--key", "h"], "field `difficulty` has it"),
        (&["add", "x", "--key", "hh"], "it is not one letter"),
        (&["add", "x", "--values", "a,A"], "stands twice"),
        (&["add", "x", "--values", "a,"], "cannot be a choice"),
        (&["add", "x", "--type", "choice"], "needs values"),
        (
            &["add", "x", "--type", "tags", "--values", "a"],
            "no list of them",
        ),
        (
            &["add", "x", "--type", "date"],
            "one of text, number, flag, choice, tags",
        ),
        (&["rename", "note", "TOPICS"], "there is a field `topics` already"),
        (&["rename", "note"], "rename takes two names"),
        (&["change", "topics", "--values", "a"], "is of type tags"),
        (&["change", "note"], "say what to change"),
        (&["remove", "dificulty"], "did you mean `difficulty`?"),
    ] {
        field(&dir, arguments).refused(said);
    }
    // The name of a column is one of a field, too: the two are never confused.
    field(&dir, &["add", "review", "--type", "text"]).success();
    field(&dir, &["add", "難易度 (文字)"]).success();
    label(&dir, &["2", "review=by Ann", "難易度 (文字)=高い"]).success();
    assert_eq!(
        ids(
            &dir,
            &["--where", "field.review = 'by Ann' and review = 'accepted'"]
        ),
        [2]
    );
    assert_eq!(ids(&dir, &["--where", "field.\"難易度 (文字)\" = '高い'"]), [2]);
    assert_eq!(
        number(&dir, "select count(*) from field where hidden_at is null"),
        7
    );
}

#[test]
fn values_are_set_undone_and_redone() {
    let dir = with_fields();
    let set = label(
        &dir,
        &[
            "1",
            "2-4",
            "difficulty=Hard",
            "topics=math, logic",
            "--reason",
            "read",
        ],
    )
    .success();
    assert_eq!(
        set.stdout(),
        "4 tasks labelled: difficulty hard, topics logic, math (action 1; `ewe undo` takes it back)\n"
    );
    let again = label(&dir, &["1", "difficulty=hard"]).success();
    assert_eq!(again.stdout(), "nothing to do: difficulty hard already\n");
    label(&dir, &["1-2", "topics+=art", "difficulty=easy"]).success();
    label(&dir, &["2", "topics-=math,nothing"]).success();
    let of = |task: &str| {
        let task = parsed(ewe(&dir, &["show", "--db", "d.db", "--json", task]).success());
        (
            task["fields"][0]["value"].clone(),
            task["fields"][1]["value"].clone(),
        )
    };
    assert_eq!(of("1"), (json!("easy"), json!(["art", "logic", "math"])));
    assert_eq!(of("2"), (json!("easy"), json!(["art", "logic"])));
    assert_eq!(of("3"), (json!("hard"), json!(["logic", "math"])));
    checked(&dir);
    let log = ewe(&dir, &["log", "--db", "d.db", "1"]).success().stdout();
    assert!(
        log.contains("from difficulty: none\n        to   difficulty: hard"),
        "{log}"
    );
    assert!(
        log.contains("from topics: logic, math\n        to   topics: art, logic, math"),
        "{log}"
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(of("2"), (json!("hard"), json!(["logic", "math"])));
    ewe(&dir, &["undo", "--db", "d.db", "--redo"]).success();
    assert_eq!(of("2"), (json!("easy"), json!(["art", "logic", "math"])));
    // An action is taken back field by field: another one of the same task does not stand in the way.
    label(&dir, &["3", "minutes=5"]).success();
    label(&dir, &["3", "note=later"]).success();
    let minutes = number(&dir, "select max(group_id) from revision where field_id = 3");
    ewe(&dir, &["undo", "--db", "d.db", &minutes.to_string()]).success();
    label(&dir, &["3", "note=later still"]).success();
    let later = number(&dir, "select min(group_id) from revision where field_id = 5").to_string();
    let since = ewe(&dir, &["undo", "--db", "d.db", &later]).failure(1);
    assert!(
        since.stderr().contains("task 3 was changed since"),
        "{}",
        since.stderr()
    );
    label(&dir, &["3", "note="]).success();
    assert_eq!(
        number(&dir, "select count(*) from field_value where field_id in (3, 5)"),
        0
    );
    checked(&dir);
}

#[test]
fn no_other_value_gets_in() {
    let dir = with_fields();
    let many: Vec<String> = (0..10_000).map(|tag| format!("t{tag}")).collect();
    let many = format!("topics={}", many.join(","));
    let long = format!("note={}", "x".repeat(10_001));
    for (word, said) in [
        (
            "difficulty=brutal",
            "`brutal` is no value of field `difficulty`: want one of easy, medium, hard",
        ),
        ("minutes=NaN", "want a number"),
        ("minutes=1e999", "want a number"),
        ("minutes=five", "want a number"),
        ("checked=maybe", "want yes or no"),
        (
            &many,
            "10000 tags for field `topics`, more than 1000 that a task may have",
        ),
        (&long, "more than 10000 characters"),
        ("nothing=1", "no field `nothing`"),
        ("difficulty+=easy", "+= and -= are for tags"),
        ("7x", "an id is a number above 0"),
    ] {
        label(&dir, &["1", word]).refused(said);
    }
    label(&dir, &["1", "difficulty=easy", "difficulty=hard"]).failure(1);
    label(&dir, &["1", "999999", "difficulty=easy"]).failure(1);
    label(&dir, &["difficulty=easy"]).failure(2);
    label(&dir, &["1"]).failure(2);
    assert_eq!(number(&dir, "select count(*) from field_value"), 0);
    assert_eq!(number(&dir, "select count(*) from revision"), 0);
    field(
        &dir,
        &["change", "difficulty", "--values", "easy,medium,hard,brutal"],
    )
    .success();
    label(&dir, &["1", "difficulty=brutal"]).success();
    let used = field(&dir, &["change", "difficulty", "--values", "easy,hard"]).failure(1);
    assert!(
        used.stderr().contains("1 task has a value of `difficulty`"),
        "{}",
        used.stderr()
    );
}

#[test]
fn tasks_are_found_counted_and_ordered_by_fields() {
    let dir = with_fields();
    label(
        &dir,
        &["1", "3", "difficulty=hard", "minutes=3", "topics=math,art"],
    )
    .success();
    label(&dir, &["2", "difficulty=easy", "minutes=-0.5", "checked=yes"]).success();
    label(
        &dir,
        &[
            "4",
            "difficulty=medium",
            "minutes=20",
            "topics=art",
            "note=it's \"so\"",
        ],
    )
    .success();
    let found = |expression: &str| ids(&dir, &["--where", expression]);
    assert_eq!(found("field.difficulty = 'hard'"), [1, 3]);
    assert_eq!(found("field.difficulty != 'hard'"), [2, 4]);
    assert_eq!(found("not field.difficulty = 'hard'"), [2, 4]);
    assert_eq!(found("field.difficulty in ('hard', 'easy') and id > 1"), [2, 3]);
    assert_eq!(found("field.minutes between 0 and 19.5"), [1, 3]);
    assert_eq!(found("field.minutes < 0 or field.minutes >= 20"), [2, 4]);
    assert_eq!(found("field.topics = 'art' and field.topics != 'math'"), [4]);
    assert_eq!(found("FIELD.Checked = yes"), [2]);
    assert_eq!(found("field.note = 'it''s \"so\"'"), [4]);
    assert_eq!(found("field.minutes is not null and field.topics is null"), [2]);
    assert_eq!(
        ids(&dir, &["--field", "difficulty=hard", "--field", "topics=art"]),
        [1, 3]
    );
    assert_eq!(ids(&dir, &["--field", "checked=yes"]), [2]);
    assert_eq!(ids(&dir, &["--field", "minutes=3.0"]), [1, 3]);
    let all = ids(&dir, &["--limit", "1000"]).len();
    assert_eq!(
        ids(&dir, &["--field", "difficulty=", "--limit", "1000"]).len(),
        all - 4
    );
    let first = |sort: &str| ids(&dir, &["--sort", sort, "--limit", "5"]);
    assert_eq!(first("field.difficulty"), [2, 4, 1, 3, 5]);
    assert_eq!(first("field.difficulty:desc")[..4], [3, 1, 4, 2]);
    assert_eq!(first("field.minutes"), [2, 1, 3, 4, 5]);
    assert_eq!(
        ids(&dir, &["--sort", "field.minutes", "--after", "1", "--limit", "3"]),
        [3, 4, 5]
    );
    assert_eq!(
        ids(
            &dir,
            &["--sort", "field.difficulty:desc", "--after", "1", "--limit", "2"]
        ),
        [4, 2]
    );
    for (arguments, said) in [
        (
            &["--where", "field.dificulty = 'x'"][..],
            "did you mean `difficulty`?",
        ),
        (
            &["--where", "field.difficulty = 'x'"],
            "want one of 'easy', 'medium', 'hard'",
        ),
        (
            &["--where", "field.minutes = 'x'"],
            "want a number for `field.minutes`",
        ),
        (&["--where", "field.difficulty > 'easy'"], "has no order"),
        (&["--where", "field. = 1"], "want the name of a field"),
        (&["--field", "difficulty=HARD"], "did you mean hard?"),
        (&["--field", "difficulty"], "want a field, `=` and a value"),
        (&["--sort", "field.nothing"], "no field `nothing`"),
    ] {
        ewe(&dir, &[&["list", "--db", "d.db"], arguments].concat()).refused(said);
    }
    let table = ewe(&dir, &["list", "--db", "d.db", "--limit", "2"])
        .success()
        .stdout();
    assert!(
        table
            .lines()
            .next()
            .unwrap()
            .contains("difficulty  topics     minutes  checked"),
        "{table}"
    );
    let csv = ewe(&dir, &["list", "--db", "d.db", "--limit", "1", "--csv"])
        .success()
        .stdout();
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .ends_with(",field.minutes,field.checked,field.note"),
        "{csv}"
    );
    assert!(csv.ends_with(",hard,\"art, math\",3,,\n"), "{csv}");
    let row = parsed(ewe(&dir, &["list", "--db", "d.db", "--limit", "1", "--json"]).success());
    assert_eq!(
        row[0]["fields"],
        json!({"difficulty": "hard", "topics": ["art", "math"], "minutes": 3})
    );
    let stats = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    assert!(stats.contains("field difficulty: 4 tasks\n  easy"), "{stats}");
    ewe(&dir, &["report", "--db", "d.db", "--out", "r.html"]).success();
    let report = dir.read("r.html");
    assert!(report.contains("Tasks by difficulty") && report.contains("4 tasks have a value"));
}

#[test]
fn many_numbers_are_counted_in_ranges() {
    let dir = with_fields();
    let ids = ids(&dir, &["--limit", "60"]);
    for (at, id) in (0..).zip(&ids) {
        label(
            &dir,
            &[&id.to_string(), &format!("minutes={}", f64::from(at) / 4.0)],
        )
        .success();
    }
    let listed = field(&dir, &["list"]).success().stdout();
    assert!(listed.contains("\n         8  0 to 2\n"), "{listed}");
    assert!(listed.contains("\n         4  14 to 16\n"), "{listed}");
    assert!(!listed.contains("other value"), "{listed}");
    let stats = ewe(&dir, &["stats", "--db", "d.db", "--json"]).success();
    let minutes = parsed(stats)["fields"][2].clone();
    assert_eq!(minutes["ranges"].as_array().unwrap().len(), 8);
    assert_eq!(
        minutes["ranges"][7],
        json!({"from": 14.0, "until": 16.0, "tasks": 4})
    );
    ewe(&dir, &["report", "--db", "d.db", "--out", "report.html"]).success();
    assert!(dir.read("report.html").contains("14 to 16"));
}

#[test]
fn all_tasks_of_a_filter_are_labelled_as_one_action() {
    let dir = with_fields();
    label(&dir, &["1-6", "difficulty=easy"]).success();
    let all = label(
        &dir,
        &[
            "difficulty=hard",
            "checked=no",
            "--where",
            "field.difficulty = 'easy' and id < 4",
        ],
    );
    assert!(
        all.stderr().contains("3 tasks would be labelled"),
        "{}",
        all.stderr()
    );
    all.failure(1);
    let all = label(
        &dir,
        &[
            "difficulty=hard",
            "checked=no",
            "--where",
            "field.difficulty = 'easy' and id < 4",
            "--yes",
            "--json",
        ],
    );
    assert_eq!(parsed(all.success())["change"]["tasks"], 3);
    assert_eq!(ids(&dir, &["--field", "difficulty=hard"]), [1, 2, 3]);
    assert_eq!(ids(&dir, &["--field", "checked=no"]), [1, 2, 3]);
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(ids(&dir, &["--field", "difficulty=easy"]), [1, 2, 3, 4, 5, 6]);
    ewe(
        &dir,
        &["reject", "--db", "d.db", "--field", "difficulty=easy", "--yes"],
    )
    .success();
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'rejected'"),
        6
    );
    checked(&dir);
}

#[test]
fn changes_of_values_by_sql_enter_the_history() {
    let dir = with_fields();
    dir.sql(
        "insert into field_value (field_id, value, task_id) values (1, 'hard', 1), (2, 'a', 1), (2, 'b', 1)",
    );
    dir.sql("update field_value set value = 'easy' where field_id = 1");
    dir.sql("delete from field_value where value = 'a'");
    checked(&dir);
    let rows = dir.sql("select field_id, before, after from revision order by id");
    assert_eq!(rows[0], ["1", r#"{"values":[]}"#, r#"{"values":["hard"]}"#]);
    assert_eq!(rows[2], ["2", r#"{"values":["a"]}"#, r#"{"values":["a","b"]}"#]);
    assert_eq!(rows[3], ["1", r#"{"values":["hard"]}"#, r#"{"values":["easy"]}"#]);
    assert_eq!(rows[4], ["2", r#"{"values":["a","b"]}"#, r#"{"values":["b"]}"#]);
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(
        ids(
            &dir,
            &["--where", "field.difficulty = 'hard' and field.topics = 'a'"]
        ),
        [1]
    );
    dir.sql("insert into acting (id, who) values (1, 'x')");
    dir.sql("update field_value set value = 'brutal' where field_id = 1");
    dir.sql("delete from acting");
    let found = ewe(&dir, &["check", "--db", "d.db"]).failure(1);
    let said = format!("{}{}", found.stdout(), found.stderr());
    assert!(
        said.contains("field 1") && said.contains("none of its type"),
        "{said}"
    );
    assert!(said.contains("not those of its last revision"), "{said}");
}
