//! `ewe merge-db`: datasets of several machines become one. `ewe generate --part`: machines do not
//! repeat each other.

use std::collections::BTreeSet;

use ewe::store::Store;

use crate::evolve::first_release;
use crate::generate::rouge_l;
use crate::mock::Mock;
use crate::recipes::all_accounted_for;
use crate::shell::{Dir, Ran};
use crate::support::{add_influence, block_on, ewe, export, filled, generate, json, number};

/// Tables whose rows are data, not indexes or counts of it.
const TABLES: [&str; 16] = [
    "task",
    "instance",
    "candidate",
    "neighbor",
    "request",
    "round",
    "revision",
    "judgment",
    "validation",
    "assignment",
    "opinion",
    "comment",
    "held_out",
    "influence",
    "influence_on",
    "difficulty",
];

/// A dataset that a machine grew from its part of the seed.
fn machine(mock: &Mock, part: &str) -> Dir {
    let dir = Dir::with_dataset();
    generate(&dir, "15", &mock.url, &["--part", part]).success();
    dir
}

/// Merges datasets to the `d.db` of a new directory.
fn merge(of: &[&Dir], more: &[&str]) -> (Dir, Ran) {
    let out = Dir::new();
    let inputs: Vec<String> = of
        .iter()
        .map(|dir| dir.path("d.db").display().to_string())
        .collect();
    let mut arguments = vec!["merge-db"];
    arguments.extend(inputs.iter().map(String::as_str));
    arguments.extend(["--out", "d.db"]);
    arguments.extend(more);
    let ran = ewe(&out, &arguments);
    (out, ran)
}

fn counts(dir: &Dir) -> Vec<i64> {
    let count = |table: &&str| number(dir, &format!("select count(*) from {table}"));
    TABLES.iter().map(count).collect()
}

fn checked(dir: &Dir) {
    ewe(dir, &["check", "--db", "d.db"]).success();
}

fn set(dir: &Dir, query: &str) -> BTreeSet<Vec<String>> {
    dir.sql(query).into_iter().collect()
}

#[test]
fn parts_of_a_seed_ask_for_other_things_and_repeat() {
    let mock = Mock::start();
    let (one, two, again) = (
        machine(&mock, "1/2"),
        machine(&mock, "2/2"),
        machine(&mock, "1/2"),
    );
    assert_eq!(export(&one), export(&again));
    let first = "select json_extract(parameters, '$.seed'), prompt from request where stage = \
                 (select stage from request order by id limit 1)";
    let (of_one, of_two) = (set(&one, first), set(&two, first));
    assert!(!of_one.is_empty() && of_one.is_disjoint(&of_two));
    let part = "select distinct json_extract(config, '$.part'), seed from run where command = 'generate'";
    assert_eq!(
        (one.sql(part), two.sql(part)),
        (
            vec![vec!["1/2".into(), "0".into()]],
            vec![vec!["2/2".into(), "0".into()]]
        )
    );
    // All of the seed is what it was before there were parts.
    let whole = Dir::with_dataset();
    generate(&whole, "15", &mock.url, &["--part", "1/1"]).success();
    let plain = Dir::with_dataset();
    generate(&plain, "15", &mock.url, &[]).success();
    assert_eq!(export(&whole), export(&plain));
    assert_eq!(plain.sql(part), [["", "0"]]);
    for wrong in ["0/2", "3/2", "2", "1/0", "x/y", "-1/2"] {
        let line = [
            "generate",
            "--db",
            "d.db",
            "--target",
            "1",
            "--endpoint",
            &mock.url,
        ];
        let said = ewe(&plain, &[&line[..], &[&format!("--part={wrong}")]].concat()).failure(2);
        assert!(said.stderr().contains("like 3/16"), "{wrong}: {}", said.stderr());
    }
}

#[test]
fn datasets_of_two_machines_become_one() {
    let mock = Mock::start();
    let (one, two) = (machine(&mock, "1/2"), machine(&mock, "2/2"));
    let (dir, ran) = merge(&[&one, &two], &["--json"]);
    let merged = json(ran.success());
    checked(&dir);
    let (seeds, before) = (
        "select count(*) from task where origin = 'seed'",
        number(&one, "select max(id) from task"),
    );
    assert_eq!(number(&dir, seeds), number(&one, seeds), "the seeds are the same");
    assert_eq!(merged["inputs"][1]["tasks"], 15);
    assert_eq!(merged["inputs"][1]["same_tasks"], number(&two, seeds));
    for table in ["candidate", "round"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(
            number(&dir, &count),
            number(&one, &count) + number(&two, &count),
            "{table}"
        );
    }
    let answers = "select content_key, response from request";
    let both: BTreeSet<_> = set(&one, answers).union(&set(&two, answers)).cloned().collect();
    assert_eq!(number(&dir, "select count(*) from request"), both.len() as i64);
    all_accounted_for(&dir, 30);
    // What was asked for a task is still known.
    let asked = "select task.instruction, request.prompt, request.response, run.config
                 from task join request on request.id = request_id join run on run.id = request.run_id
                 where task.round is not null";
    let asked_before: BTreeSet<_> = set(&one, asked).union(&set(&two, asked)).cloned().collect();
    assert_eq!(set(&dir, asked), asked_before);
    // The first dataset has the ids that it had.
    let tasks = "select id, instruction, review, round from task where id <= ";
    assert_eq!(
        dir.sql(&format!("{tasks}{before}")),
        one.sql(&format!("{tasks}{before}"))
    );
    let (earlier, later): (Vec<_>, Vec<_>) = dir
        .sql("select id, instruction, review from task order by id")
        .into_iter()
        .partition(|task| task[0].parse::<i64>().unwrap() <= before);
    let mut alike = 0;
    for task in &later {
        let most = earlier
            .iter()
            .map(|other| rouge_l(&task[1], &other[1]))
            .fold(0.0, f64::max);
        assert_eq!(task[2] == "rejected", most > 0.7, "{task:?}: {most}");
        alike += usize::from(most > 0.7);
    }
    assert!(alike > 0 && alike < later.len(), "{alike}");
    assert_eq!(merged["inputs"][1]["near_duplicates"], alike);
    for note in dir.sql("select note from revision") {
        assert!(note[0].starts_with("near_duplicate of task "), "{note:?}");
    }
    assert_eq!(
        dir.sql("select id from task where id not in (select task_id from neighbor)"),
        [["1"]],
        "every other task has neighbors among those before it"
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'rejected'"),
        0
    );
    checked(&dir);
    // It grows on, with rounds of its own.
    generate(&dir, "32", &mock.url, &["--part", "1/2"]).success();
    all_accounted_for(&dir, 32);
}

/// Copies of one dataset that people went on with in both.
#[test]
fn a_common_ancestor_is_there_once() {
    let one = filled();
    add_influence(&one);
    one.sql("update run set status = 'running' where id = 93");
    let two = Dir::with_copy(&one.dataset());
    let (same, ran) = merge(&[&one, &two, &one], &[]);
    let said = ran.failure(1).stderr();
    assert!(said.contains("is given twice\nhint: "), "{said}");
    assert!(same.entries().is_empty());

    let (dir, ran) = merge(&[&one, &two], &[]);
    ran.success();
    checked(&dir);
    let mut expected = counts(&one);
    // Neighbors are completed where they were missing.
    expected[3] = number(&dir, "select count(*) from neighbor");
    assert_eq!(counts(&dir), expected);
    let runs = "select count(*) from run where command <> 'merge-db'";
    assert_eq!(number(&dir, runs), number(&one, runs));
    assert_eq!(
        number(&dir, "select count(*) from run where status = 'running'"),
        0
    );
}

#[test]
fn what_only_the_other_dataset_knows_is_kept() {
    let (one, two) = (Dir::with_dataset(), filled());
    add_influence(&two);
    for statement in [
        "insert into run (id, command, config) values (94, 'eval', '{}'), (95, 'compare', '{}')",
        "insert into evaluation (id, run_id, suite, source, model, result) values (7, 94, 'held-out', '', 'm', '{}')",
        "insert into evaluation_answer (evaluation_id, item, task_id, prompt, answer, finish_reason, \"references\", scores)
         values (7, 'i', 5, 'p', 'a', 'stop', '[]', '{}')",
        "insert into comparison (id, run_id, model_a, model_b, source, result) values (3, 95, 'x', 'y', 's', '{}')",
        "insert into comparison_pair (id, comparison_id, item, prompt, answer_a, answer_b) values (4, 3, 'i', 'p', 'a', 'b')",
        "insert into comparison_vote (pair_id, who, choice) values (4, 'me', 'a')",
    ] {
        two.sql(statement);
    }
    let (dir, ran) = merge(&[&one, &two], &[]);
    ran.success();
    checked(&dir);
    for query in [
        "select command, instruction, value from influence join run on run.id = influence.run_id
         join instance on instance.id = instance_id join task on task.id = instance.task_id order by 1, 2, 3",
        "select instruction, value from influence_on join task on task.id = task_id order by 1, 2",
        "select model, tokens, nll, instruction from difficulty join instance on instance.id = instance_id
         join task on task.id = instance.task_id",
        "select instruction, influence, ifd from task where influence is not null order by 1",
        "select instruction from held_out join task on task.id = task_id order by 1",
        "select suite, item, instruction from evaluation_answer join evaluation on evaluation.id = evaluation_id
         join task on task.id = task_id",
        "select model_a, item, who, choice from comparison join comparison_pair on comparison.id = comparison_id
         join comparison_vote on comparison_pair.id = pair_id",
        "select instruction, reason, detail, rouge_l from rejection order by candidate_id",
        // The output of task 5 was edited, so that it is another task than the seed.
        "select instruction, input, output from dataset
         where instruction <> (select instruction from task where id = 5) order by 1, 2, 3",
        "select review, instruction from task
         where instruction <> (select instruction from task where id = 5) order by 1, 2",
    ] {
        assert_eq!(dir.sql(query), two.sql(query), "{query}");
    }
    // The edit is in the history of the task that has the edited text.
    assert_eq!(
        dir.sql(
            "select output from revision join instance on instance.id = instance_id where action = 'edit'"
        ),
        [["edited"]]
    );
}

#[test]
fn reviews_of_both_are_kept_and_can_be_undone() {
    let base = Dir::with_dataset();
    base.write(
        "rows.jsonl",
        "{\"instruction\":\"Name the capital of France\",\"output\":\"Paris\"}\n\
         {\"instruction\":\"Explain how rain forms\",\"output\":\"Vapour cools\"}\n\
         {\"instruction\":\"List three fruits of a garden\",\"output\":\"Pear, plum, fig\"}\n",
    );
    ewe(&base, &["import", "--db", "d.db", "rows.jsonl"]).success();
    std::fs::remove_file(base.path("rows.jsonl")).unwrap();
    let last = number(&base, "select max(id) from task");
    let [paris, rain, fruits] = [last - 2, last - 1, last].map(|id| id.to_string());
    let (one, two, three) = (
        Dir::with_copy(&base.dataset()),
        Dir::with_copy(&base.dataset()),
        Dir::with_copy(&base.dataset()),
    );
    let review = |dir: &Dir, what: &str, id: &str| {
        ewe(dir, &[what, "--db", "d.db", id]).success();
    };
    review(&one, "accept", &paris);
    review(&two, "reject", &paris);
    review(&one, "reject", &rain);
    review(&two, "accept", &rain);
    review(&two, "accept", &fruits);
    ewe(&three, &["undo", "--db", "d.db"]).success();
    let (dir, ran) = merge(&[&one, &two, &three], &[]);
    let said = ran.success().stdout();
    assert!(
        said.contains("2 of them accepted in one dataset and rejected in another: rejected"),
        "{said}"
    );
    checked(&dir);
    let reviews = "select review from task where origin = 'import' order by id";
    assert_eq!(dir.sql(reviews), [["rejected"], ["rejected"], ["accepted"]]);
    assert_eq!(
        number(&dir, "select count(*) from revision where action = 'import'"),
        3
    );
    // The history leads back to where all began.
    let actions = number(&dir, "select count(distinct group_id) from revision");
    for _ in 0..actions {
        ewe(&dir, &["undo", "--db", "d.db"]).success();
        checked(&dir);
    }
    ewe(&dir, &["undo", "--db", "d.db"]).failure(1);
    assert_eq!(number(&dir, "select count(*) from withdrawn"), 3);
    // The other way round, what the first one's undo withdrew is there again.
    let (dir, ran) = merge(&[&three, &one], &[]);
    ran.success();
    checked(&dir);
    assert_eq!(dir.sql(reviews), [["accepted"], ["rejected"], ["pending"]]);
    let (dir, ran) = merge(&[&one, &three], &["--quiet"]);
    ran.success();
    checked(&dir);
    assert_eq!(dir.sql(reviews), [["accepted"], ["rejected"], ["pending"]]);
}

#[test]
fn what_somebody_accepted_stays_and_the_threshold_is_that_of_the_runs() {
    let (one, two) = (Dir::with_dataset(), Dir::with_dataset());
    one.write(
        "rows.jsonl",
        "{\"instruction\":\"Name the old capital of France\",\"output\":\"Paris\"}\n",
    );
    two.write(
        "rows.jsonl",
        "{\"instruction\":\"Name the new capital of France\",\"output\":\"Paris\"}\n\
         {\"instruction\":\"Name the big capital of France\",\"output\":\"Paris\"}\n",
    );
    for dir in [&one, &two] {
        ewe(dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    }
    let last = number(&two, "select max(id) from task").to_string();
    ewe(&two, &["accept", "--db", "d.db", &last]).success();
    let reviews = "select review from task where origin = 'import' order by id";
    let (dir, ran) = merge(&[&one, &two], &[]);
    let said = ran.success().stdout();
    assert!(said.contains("1 kept because they are accepted"), "{said}");
    assert_eq!(dir.sql(reviews), [["pending"], ["rejected"], ["accepted"]]);
    checked(&dir);
    // A dry run rejects nothing that could be taken back.
    let (_, ran) = merge(&[&one, &two], &["--dry-run"]);
    let would = ran.success().stdout();
    assert!(
        would.contains("1 rejected as a near-duplicate") && !would.contains("ewe undo"),
        "{would}"
    );
    let (dir, _) = merge(&[&one, &two], &["--threshold", "0.9"]);
    assert_eq!(dir.sql(reviews), [["pending"], ["pending"], ["accepted"]]);
    // Five of six words are shared: 0.833.
    for (dir, threshold) in [(&one, "0.95"), (&two, "0.9")] {
        dir.sql(&format!(
            "insert into run (command, config, status) values ('generate', '{{\"threshold\":\"{threshold}\"}}', 'done')"
        ));
    }
    let (dir, ran) = merge(&[&one, &two], &[]);
    let said = ran.success().stderr();
    assert!(
        said.contains("runs had the thresholds 0.9, 0.95: the lowest was applied"),
        "{said}"
    );
    assert_eq!(dir.sql(reviews), [["pending"], ["pending"], ["accepted"]]);
}

#[test]
fn inputs_are_read_at_one_moment_and_never_changed() {
    let (one, two) = (filled(), Dir::with_dataset());
    let before = [one.dataset(), two.dataset()];
    // A dry run counts what a merge makes, and makes nothing.
    let (dry, ran) = merge(&[&one, &two], &["--dry-run"]);
    let would = ran.success().stdout();
    assert!(
        dry.entries().is_empty() && would.contains(" (dry run, nothing was made)"),
        "{would}"
    );
    let (dir, ran) = merge(&[&one, &two], &[]);
    assert_eq!(
        ran.success().stdout(),
        would.replace(" (dry run, nothing was made)", "")
    );
    assert_eq!([one.dataset(), two.dataset()], before);
    assert_eq!(dir.entries(), ["d.db"]);
    // Another program has an open transaction on an input.
    let during = block_on(async {
        let store = Store::open(&two.path("d.db")).await.unwrap();
        let mut held = store.begin_batch("import", &serde_json::json!({})).await.unwrap();
        let task = ewe::task::Task {
            instruction: "Half-written.".into(),
            ..Default::default()
        };
        held.add(ewe::store::NewTask::new(task, ewe::task::Origin::Import))
            .await
            .unwrap();
        let (dir, ran) = merge(&[&one, &two], &[]);
        ran.success();
        held.commit().await.unwrap();
        store.close().await;
        dir
    });
    checked(&during);
    let half = "select count(*) from task where instruction = 'Half-written.'";
    assert_eq!((number(&during, half), number(&two, half)), (0, 1));
    // What cannot be read or written is said, and nothing is left.
    let there = two.path("d.db").display().to_string();
    two.write("rows.jsonl", "{}");
    for (line, what) in [
        (
            ["d.db", "none.db", "--out", "c.db"],
            "no dataset at `none.db`\nhint: ",
        ),
        (
            ["d.db", "rows.jsonl", "--out", "c.db"],
            "`rows.jsonl` is not a database\nhint: ",
        ),
        (["d.db", &there, "--out", "c.db"], "is given twice\nhint: "),
        (
            ["d.db", "x.db", "--out", "rows.jsonl"],
            "`rows.jsonl` exists already\nhint: ",
        ),
    ] {
        let arguments: Vec<&str> = std::iter::once("merge-db").chain(line).collect();
        let said = ewe(&two, &arguments).failure(1).stderr();
        assert!(said.contains(what), "{said}");
    }
    let mut entries = two.entries();
    entries.retain(|name| !name.starts_with("d.db-"));
    assert_eq!(entries, ["d.db", "rows.jsonl"]);
}

#[test]
fn a_dataset_of_the_first_release_is_merged_and_left_as_it_is() {
    let (old, new) = (Dir::new(), Dir::with_dataset());
    std::fs::create_dir(old.path("migrations")).unwrap();
    first_release(&old);
    let tasks = "select count(*) from task";
    for inputs in [[&old, &new], [&new, &old]] {
        let (dir, ran) = merge(&inputs, &[]);
        ran.success();
        checked(&dir);
        assert_eq!(number(&dir, tasks), number(&new, tasks) + 1);
        assert_eq!(number(&old, "pragma user_version"), 1);
    }
}

/// A column that a migration adds must be copied, or said to be none of the other dataset's business.
#[test]
fn every_column_of_every_table_is_copied() {
    // Triggers keep the figures of a task; what has a uid is known by that.
    const LEFT_OUT: &[(&str, &str)] = &[
        ("assignment", "id"),
        ("opinion", "id"),
        ("comment", "id"),
        ("judgment", "id"),
        ("validation", "id"),
        ("evaluation_answer", "id"),
        ("comparison_vote", "id"),
        ("task", "nearest_rouge_l"),
        ("task", "score"),
    ];
    let dir = filled();
    let statements = include_str!("../../src/store/merged/rows.rs");
    let insert = regex::Regex::new(r"INSERT (?:OR IGNORE )?INTO main\.(\w+) \(([^)]*)\)").unwrap();
    let (mut tables, mut missing) = (Vec::new(), Vec::new());
    for found in insert.captures_iter(statements) {
        let (table, columns) = (&found[1], &found[2]);
        let copied: Vec<&str> = columns
            .split(',')
            .map(|column| column.trim().trim_matches('"'))
            .collect();
        for row in dir.sql(&format!("select name from pragma_table_info('{table}')")) {
            let column = row[0].as_str();
            if !copied.contains(&column) && !LEFT_OUT.contains(&(table, column)) {
                missing.push(format!("{table}.{column}"));
            }
        }
        tables.push(table.to_owned());
    }
    assert_eq!(missing, [""; 0]);
    assert!(tables.len() > 15, "{tables:?}");
}
