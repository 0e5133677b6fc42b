//! `ewe backup`, `ewe check`, and bulk actions that are interrupted.

use std::time::{Duration, Instant};

use ewe::store::Store;

use crate::{
    shell::{Dir, ewe_limited},
    support::{block_on, ewe, filled, json, number, spawn},
    waiting::pause,
};

/// Files in the directory other than those that the test made.
fn other_files(dir: &Dir) -> Vec<String> {
    let mut names = dir.entries();
    names.retain(|name| name != "d.db" && !name.starts_with("d.db-"));
    names
}

#[test]
fn a_backup_is_a_snapshot() {
    let dir = filled();
    let rows = "select task_id, input, output, review from dataset order by instance_id";
    let before = dir.sql(rows);
    block_on(async {
        let store = Store::open(&dir.path("d.db")).await.unwrap();
        // Another writer has an open transaction.
        let mut held = store.begin_batch("import", &serde_json::json!({})).await.unwrap();
        let task = ewe::task::Task {
            instruction: "Half-written.".into(),
            ..Default::default()
        };
        held.add(ewe::store::NewTask::new(task, ewe::task::Origin::Import))
            .await
            .unwrap();
        ewe(&dir, &["backup", "--db", "d.db", "--out", "copy.db"]).success();
        held.commit().await.unwrap();
        store.close().await;
    });
    assert_eq!(
        number(
            &dir,
            "select count(*) from task where instruction = 'Half-written.'"
        ),
        1
    );
    assert_eq!(other_files(&dir), ["copy.db"]);
    let copy = Dir::new();
    std::fs::copy(dir.path("copy.db"), copy.path("d.db")).unwrap();
    assert_eq!(copy.sql(rows), before);
    assert_eq!(copy.sql("pragma journal_mode"), [["wal"]]);
    assert_eq!(copy.sql("pragma integrity_check"), [["ok"]]);
    ewe(&copy, &["check", "--db", "d.db"]).success();
    ewe(&copy, &["undo", "--db", "d.db"]).success();
    let out = ewe(&dir, &["backup", "--db", "d.db", "--out", "copy.db"]).failure(1);
    assert!(
        out.stderr().contains("`copy.db` exists already\nhint: "),
        "{}",
        out.stderr()
    );
    let out = ewe(&dir, &["backup", "--db", "d.db", "--out", "nowhere/copy.db"]).failure(1);
    assert!(
        out.stderr().contains("cannot create `nowhere/copy.db`"),
        "{}",
        out.stderr()
    );
    let out = ewe_limited(&dir, 100, &["backup", "--db", "d.db", "--out", "small.db"]).failure(1);
    assert!(out.stderr().contains("disk full"), "{}", out.stderr());
    assert_eq!(other_files(&dir), ["copy.db"]);
}

#[test]
fn check_passes_on_a_healthy_dataset() {
    let dir = filled();
    for _ in 0..2 {
        let out = ewe(&dir, &["check", "--db", "d.db"]).success();
        assert_eq!(
            (out.stdout().as_str(), out.stderr().as_str()),
            ("", "d.db: all is in order\n")
        );
        ewe(&dir, &["undo", "--db", "d.db"]).success();
        dir.sql("update task set instruction = 'By SQL.' where id = 3");
        dir.sql("insert into task (instruction, origin) values ('Without any instance.', 'import')");
    }
    assert_eq!(
        json(ewe(&dir, &["check", "--db", "d.db", "--json"])),
        serde_json::json!([])
    );
}

#[test]
fn check_names_every_kind_of_damage() {
    for (damage, problem) in [
        ("delete from task_fts where rowid = 3", "task 3: its texts are not those in task_fts"),
        ("update task_fts set output = 'x' where rowid = 3", "task 3: its texts are not those in task_fts"),
        ("insert into task_fts (rowid, instruction) values (9999, 'x')", "task_fts 9999: there is no such task"),
        (
            "pragma foreign_keys = off; delete from task where id = 4",
            "refers to a row of task that is not there",
        ),
        (
            "pragma foreign_keys = off; update candidate set request_id = 77 where id = 2",
            "candidate 2: refers to a row of request that is not there",
        ),
        (
            "update round set parsed = parsed + 1",
            "round 0: has another number of candidates than were parsed",
        ),
        ("delete from candidate where id = 7", "round 0: has another number of candidates than were parsed"),
        (
            "update round set accepted = 9",
            "round 0: has another number of tasks than were accepted",
        ),
        (
            "update candidate set task_id = null where id = 2",
            "candidate 2: was accepted, and is part of no task",
        ),
        (
            "update candidate set task_id = 1 where verdict = 'rejected'",
            "was rejected, and is part of a task",
        ),
        (
            "update candidate set round = 5 where id = 6",
            "candidate 6: is of a round that was not admitted",
        ),
        (
            "update candidate set task_id = 1 where kind = 'instruction' and task_id is not null",
            "is of a round, and no candidate became it",
        ),
        (
            "update task set request_id = null where origin = 'machine'",
            "was made by a model, and its request is not known",
        ),
        ("update task set length = 0 where id = 1", "task 1: length is not that of its texts"),
        (
            "update task set nearest_rouge_l = 0.9 where id = 1",
            "task 1: nearest_rouge_l is not that of its first neighbor",
        ),
        ("update task set score = 5 where id = 1", "task 1: score is not that of its judgments"),
        ("insert into acting values (1, 'x')", "acting 1: was left behind"),
        (
            "insert into acting values (1, 'x'); update task set review = 'pending' where id = 3; delete from acting",
            "task 3: has a review that no revision gave it",
        ),
        (
            "insert into revision (id, group_id, task_id, who, action, before, after)
            select 100, 2, 1, 'x', 'edit', '{}', '{}';
            insert into revision (id, group_id, task_id, who, action, before, after)
            values (101, 100, 1, 'x', 'edit', '{}', '{}')",
            "revision 101: is in a group that does not begin with itself",
        ),
        (
            "pragma writable_schema = on;
            update sqlite_schema set sql = replace(sql, 'task (origin)', 'task (source_id)') where name = 'task_by_origin'",
            "file: row 1 missing from index task_by_origin",
        ),
    ] {
        let dir = filled();
        dir.sql(damage);
        let out = ewe(&dir, &["check", "--db", "d.db"]).failure(1);
        assert!(out.stdout().contains(problem), "{damage}\n{}", out.stdout());
        assert!(out.stderr().contains("problem") && out.stderr().contains("hint: "), "{}", out.stderr());
        let found = json_of_failure(&dir);
        assert!(
            found.as_array().unwrap().iter().all(|found| found["problem"].is_string()),
            "{found}"
        );
    }
}

/// The output of `check --json` on a damaged dataset.
fn json_of_failure(dir: &Dir) -> serde_json::Value {
    let out = ewe(dir, &["check", "--db", "d.db", "--json"]).failure(1);
    serde_json::from_str(&out.stdout()).unwrap()
}

#[test]
fn check_survives_damaged_pages() {
    let dir = filled();
    // A backup has no unused pages.
    ewe(&dir, &["backup", "--db", "d.db", "--out", "copy.db"]).success();
    std::fs::rename(dir.path("copy.db"), dir.path("d.db")).unwrap();
    let pages = std::fs::metadata(dir.path("d.db")).unwrap().len() / 4096;
    let whole = std::fs::read(dir.path("d.db")).unwrap();
    let mut noticed = 0;
    for page in (1..pages).step_by(7) {
        let mut damaged = whole.clone();
        let at = page as usize * 4096;
        damaged[at..at + 4096].fill(0xa5);
        for wal in ["d.db-wal", "d.db-shm"] {
            let _ = std::fs::remove_file(dir.path(wal));
        }
        dir.write("d.db", damaged);
        let out = ewe(&dir, &["check", "--db", "d.db"]);
        if out.stdout().is_empty() {
            // Damage to the first pages of the schema is found when the file is opened.
            assert!(
                out.stderr().contains("damaged") || out.stderr().contains("malformed"),
                "{}",
                out.stderr()
            );
        }
        out.failure(1);
        noticed += 1;
    }
    assert!(noticed > 10, "{noticed}");
}

/// A dataset with `tasks` pending tasks besides the seeds.
fn pending_tasks(tasks: i64) -> Dir {
    let dir = Dir::with_dataset();
    dir.sql(&format!(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < {tasks})
        insert into task (instruction, origin) select 'Count to ' || i || '.', 'import' from n"
    ));
    dir
}

#[test]
fn a_killed_bulk_action_is_all_or_nothing() {
    let tasks = 30_000;
    let dir = pending_tasks(tasks);
    let rejected = || number(&dir, "select count(*) from task where review = 'rejected'");
    let reject = ["reject", "--db", "d.db", "--origin", "import", "--yes"];
    let begin = Instant::now();
    ewe(&dir, &reject).success();
    let mut whole = begin.elapsed();
    assert_eq!(rejected(), tasks);
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(rejected(), 0);
    let mut kills = 0;
    for part in (1..10).cycle().take(40) {
        if kills == 9 {
            break;
        }
        let mut child = spawn(&dir, &reject);
        pause(whole * part / 10);
        match child.try_wait().unwrap() {
            None => kills += 1,
            // The machine has less to do than it had.
            Some(_) => whole = whole * 2 / 3,
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
        assert_eq!(number(&dir, "select count(*) from acting"), 0);
        match rejected() {
            0 => {}
            all => {
                assert_eq!(all, tasks);
                ewe(&dir, &["undo", "--db", "d.db"]).success();
            }
        }
        let unlike = "select count(*) from revision where group_id not in (select id from revision)";
        assert_eq!(number(&dir, unlike), 0);
    }
    assert!(kills >= 3, "over before it could be killed: {kills}");
}

#[test]
fn a_bulk_action_on_a_full_disk_changes_nothing() {
    let dir = pending_tasks(20_000);
    let blocks = std::fs::metadata(dir.path("d.db")).unwrap().len() / 512 + 40;
    for arguments in [
        vec!["reject", "--db", "d.db", "--origin", "import", "--yes"],
        vec!["accept", "--db", "d.db", "1000-9000"],
    ] {
        let out = ewe_limited(&dir, blocks.min(2_000), &arguments).failure(1);
        assert!(
            out.stderr().contains("`d.db`: disk full") && out.stderr().contains("nothing was lost"),
            "{}",
            out.stderr()
        );
    }
    assert_eq!(number(&dir, "select count(*) from revision"), 0);
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'pending'"),
        20_000
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
    ewe(&dir, &["reject", "--db", "d.db", "--origin", "import", "--yes"]).success();
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'rejected'"),
        20_000
    );
}

#[test]
fn a_bulk_action_waits_for_the_write_lock() {
    let dir = pending_tasks(100);
    block_on(async {
        let store = Store::open(&dir.path("d.db")).await.unwrap();
        let held = store.begin_batch("import", &serde_json::json!({})).await.unwrap();
        let reject = std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| ewe(&dir, &["reject", "--db", "d.db", "--origin", "import", "--yes"]));
            pause(Duration::from_millis(500));
            assert!(!waiting.is_finished());
            drop(held);
            waiting.join().unwrap()
        });
        reject.success();
    });
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'rejected'"),
        100
    );
}
