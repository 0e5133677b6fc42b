//! Changes by plain SQL: they enter the history, can be undone, and derived columns follow them.

use std::process::Command;

use crate::{
    shell::{self, Dir, ran},
    support::{ewe, filled, json, number, sql_error},
};

/// Runs statements on `d.db` in one connection.
fn change(dir: &Dir, statements: &[&str]) {
    for statement in statements {
        dir.sql(statement);
    }
}

fn undo(dir: &Dir) {
    ewe(dir, &["undo", "--db", "d.db"]).success();
}

#[test]
fn an_empty_environment_does_not_make_an_action_anonymous() {
    let dir = Dir::with_dataset();
    let mut command = shell::command(&dir, &["reject", "--db", "d.db", "3"]);
    for variable in ["EWE_USER", "USER", "LOGNAME"] {
        command.env_remove(variable);
    }
    ran(command).success();
    let known = Command::new("id").arg("-un").output().unwrap();
    let name = String::from_utf8(known.stdout).unwrap();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut listed = users.lines().filter_map(|line| line.split(':').next());
    let expected = match listed.any(|user| user == name.trim()) {
        true => name.trim(),
        // The user of this test has no name, or one that another machine keeps.
        false => "somebody",
    };
    assert_eq!(dir.sql("select who from revision"), [[expected]]);
}

#[test]
fn changes_by_sql_become_revisions() {
    let dir = Dir::with_dataset();
    let before = dir.sql("select * from task where id in (1, 2) order by id");
    change(
        &dir,
        &[
            "update task set review = 'rejected', instruction = 'New \"one\".', name = null, is_classification = 1 where id = 1",
        ],
    );
    let revision = dir.sql("select who, action, before, after from revision");
    let expected = format!(
        r#"{{"review":"accepted","instruction":{},"name":"{}"}}"#,
        serde_json::to_string(&before[0][3]).unwrap(),
        before[0][2]
    );
    assert_eq!(revision[0][..2], ["sql", "reject"]);
    let (was, is): (serde_json::Value, serde_json::Value) = (
        serde_json::from_str(&revision[0][2]).unwrap(),
        serde_json::from_str(&revision[0][3]).unwrap(),
    );
    assert_eq!(was["instruction"], before[0][3].as_str(), "{expected}");
    assert_eq!(is["name"], serde_json::Value::Null);
    assert_eq!(is["instruction"], "New \"one\".");
    // A revision contains only what differs, and an update that changes nothing makes none.
    assert!(is.get("output").is_none());
    change(&dir, &["update task set review = 'rejected' where id = 1"]);
    assert_eq!(number(&dir, "select count(*) from revision"), 1);
    undo(&dir);
    let stable = "select id, name, instruction, is_classification, review, length from task where id = 1";
    let after = dir.sql(stable);
    assert_eq!(after[0][1], before[0][2]);
    assert_eq!(after[0][2], before[0][3]);
    assert_eq!(after[0][4], "accepted");
    ewe(&dir, &["undo", "--db", "d.db", "--redo"]).success();
    assert_eq!(dir.sql(stable)[0][1..3], ["", "New \"one\"."]);
    // ewe's own actions are recorded once, under the user's name.
    ewe(
        &dir,
        &["edit", "--db", "d.db", "2", "--output", "x", "--instruction", "y"],
    )
    .success();
    ewe(&dir, &["reject", "--db", "d.db", "4-9"]).success();
    undo(&dir);
    assert_eq!(number(&dir, "select count(*) from revision where who = 'sql'"), 1);
    assert_eq!(number(&dir, "select count(*) from acting"), 0);
    assert_eq!(dir.sql("pragma foreign_key_check"), Vec::<Vec<String>>::new());
}

#[test]
fn an_sql_statement_is_one_action() {
    let dir = filled();
    let reviews = || dir.sql("select id, review from task order by id");
    let texts = || dir.sql("select id, input, output from instance order by id");
    let (reviews_before, texts_before) = (reviews(), texts());
    let groups = number(&dir, "select count(distinct group_id) from revision");
    change(
        &dir,
        &[
            "update task set review = iif(id % 2, 'rejected', 'pending')",
            "update instance set output = output || '!', input = 'i' where task_id < 50",
            "update task set review = 'accepted' where id = 7",
        ],
    );
    assert_eq!(
        number(&dir, "select count(distinct group_id) from revision"),
        groups + 3
    );
    let log = json(ewe(&dir, &["log", "--db", "d.db", "--json"]));
    assert_eq!(
        (&log[0]["who"], &log[0]["action"]),
        (&"sql".into(), &"accept".into())
    );
    assert_eq!(log[1]["tasks"], 49);
    undo(&dir);
    undo(&dir);
    assert_eq!(texts(), texts_before);
    undo(&dir);
    assert_eq!(reviews(), reviews_before);
    // Two statements in quick succession change the same rows: each can be undone.
    dir.sql(
        "update task set review = 'rejected' where id < 9; update task set review = 'pending' where id < 9",
    );
    undo(&dir);
    assert_eq!(
        number(
            &dir,
            "select count(*) from task where id < 9 and review = 'rejected'"
        ),
        8
    );
    undo(&dir);
    assert_eq!(reviews(), reviews_before);
}

#[test]
fn derived_columns_follow_changes_by_sql() {
    let dir = filled();
    let lengths = "select count(*) from task where length <> length(instruction)
        + (select coalesce(sum(length(input) + length(output)), 0) from instance where task_id = task.id)";
    let nearest = "select count(*) from task where nearest_rouge_l is not
        (select rouge_l from neighbor where task_id = task.id and rank = 1)";
    let scores = "select count(*) from task where score is not (
        select min(s) from (select avg(score) as s from judged where judged.task_id = task.id group by instance_id)
    )";
    let judged = number(&dir, "select task_id from judged");
    let score = |expected: &str| {
        assert_eq!(
            dir.sql(&format!(
                "select coalesce(cast(score as text), 'none') from task where id = {judged}"
            )),
            [[expected]]
        );
    };
    score("2.0");
    for statement in [
        "select 1",
        "update task set instruction = 'Longer than before, and by SQL.' where id in (1, 2)",
        "update instance set output = 'ö' where task_id in (1, 3)",
        "insert into task (instruction, origin) values ('By hand.', 'import')",
        "insert into instance (task_id, ordinal, input, output) select max(id), 0, 'in', 'out' from task",
        "update instance set task_id = 2, ordinal = 9 where task_id = (select max(id) from task)",
        "delete from instance where task_id = 2 and ordinal = 9",
        "update neighbor set rouge_l = 0.625 where rank = 1",
        "delete from neighbor where task_id = (select max(task_id) from neighbor)",
        "update neighbor set rank = rank + 10",
    ] {
        dir.sql(statement);
        for query in [lengths, nearest, scores] {
            assert_eq!(number(&dir, query), 0, "{statement}\n{query}");
        }
    }
    // A judgment applies to the texts that were judged.
    dir.sql(&format!(
        "update instance set output = 'another' where task_id = {judged}"
    ));
    score("none");
    undo(&dir);
    score("2.0");
    dir.sql(&format!(
        "update task set instruction = 'Another.' where id = {judged}"
    ));
    score("none");
    undo(&dir);
    score("2.0");
}

#[test]
fn an_edit_by_sql_conflicts_with_an_edit_meanwhile() {
    let dir = Dir::with_dataset();
    let seen = json(ewe(&dir, &["show", "--db", "d.db", "1", "--json"]))["version"].clone();
    dir.sql("update instance set output = 'by sql' where task_id = 1");
    assert_ne!(
        json(ewe(&dir, &["show", "--db", "d.db", "1", "--json"]))["version"],
        seen
    );
    assert!(sql_error(&dir, "update task set review = 'maybe' where id = 1").contains("CHECK"));
    assert!(sql_error(&dir, "insert into acting values (2, 'x')").contains("CHECK"));
}

#[test]
fn every_column_of_every_table_has_a_type() {
    let dir = filled();
    let untyped = dir.sql(
        "select t.name || '.' || c.name
        from pragma_table_list as t, pragma_table_xinfo(t.name) as c
        where t.type = 'table' and t.name not like 'sqlite%' and t.name not like '\\_sqlx%' escape '\\' and c.type = ''",
    );
    assert_eq!(untyped, Vec::<Vec<String>>::new());
}
