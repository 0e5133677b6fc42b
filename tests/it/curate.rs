//! Curation in the terminal: list, show, search, accept, reject, edit, undo, log.

use crate::{
    shell::{self, Dir, Ran},
    support::{add_influence, command, ewe, filled, json, number},
};

fn run(dir: &Dir, command: &str, rest: &[&str]) -> Ran {
    let mut arguments = vec![command, "--db", "d.db"];
    arguments.extend(rest);
    ewe(dir, &arguments)
}

fn review(dir: &Dir, id: i64) -> String {
    dir.sql(&format!("select review from task where id = {id}"))[0][0].clone()
}

#[test]
fn list_filters_sorts_and_pages() {
    let dir = filled();
    let ids = |rest: &[&str]| -> Vec<i64> {
        let out = json(run(&dir, "list", &[rest, &["--json"]].concat()));
        out.as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_i64().unwrap())
            .collect()
    };
    let last = number(&dir, "select max(id) from task");
    assert_eq!(ids(&["--limit", "2"]), [1, 2]);
    assert_eq!(ids(&["--limit", "2", "--after", "1"]), [2, 3]);
    assert_eq!(ids(&["--sort", "newest", "--limit", "2"]), [last, last - 1]);
    assert_eq!(ids(&["--sort", "similar", "--limit", "2"]), [last - 1, last]);
    assert_eq!(ids(&["--origin", "machine"]), [last - 1, last]);
    assert_eq!(ids(&["--origin", "machine", "--review", "pending"]), [last - 1]);
    assert_eq!(ids(&["--review", "rejected"]), [3]);
    assert_eq!(ids(&["--run", "2"]), [last - 1, last]);
    assert_eq!(ids(&["--text", "late invoic*", "--origin", "machine"]), [last]);
    assert_eq!(ids(&["--label", "NONE", "--min-length", "20"]), [last]);
    assert_eq!(
        ids(&["--origin", "machine", "--classification", "no"]),
        [last - 1]
    );
    assert_eq!(
        ids(&["--min-similarity", "0.45", "--max-similarity", "0.5"]),
        [last - 1]
    );
    assert_eq!(ids(&["--rule", "empty_output"]), [last - 1]);
    assert_eq!(ids(&["--rule", "too easy", "--max-score", "5"]), [] as [i64; 0]);
    assert_eq!(ids(&["--rule", "too easy"]), [3]);
    assert_eq!(
        ids(&[
            "--sort",
            "similar",
            "--limit",
            "1",
            "--after",
            &(last - 1).to_string()
        ]),
        [last]
    );
    run(&dir, "list", &["--label", &"x".repeat(65)]).failure(2);
    let longest = ids(&["--sort", "longest", "--limit", "1"])[0];
    let query = "select task_id from dataset group by task_id
        order by length(instruction) + sum(length(input) + length(output)) desc limit 1";
    assert_eq!(longest, number(&dir, query));
    let out = run(&dir, "list", &["--limit", "3"]).success();
    assert_eq!(out.stdout().lines().count(), 4);
    assert!(out.stderr().contains("more: --after 3"), "{}", out.stderr());
    let out = run(&dir, "list", &["--review", "maybe"]).failure(2);
    assert!(
        out.stderr()
            .contains("unknown review `maybe`: one of pending, accepted, rejected"),
        "{}",
        out.stderr()
    );
}

/// Time of the processor, which does not depend on what else it does, as time on the clock would.
#[test]
fn list_takes_little_longer_than_starting() {
    let dir = Dir::with_dataset();
    // Milliseconds of the fastest of ten runs.
    let fastest = |line: &str| {
        let times = (0..10).map(|_| {
            let mut shell = std::process::Command::new("bash");
            let script = format!("TIMEFORMAT='%U %S'; time \"$0\" {line} > out 2> said");
            shell
                .args(["-c", &script, env!("CARGO_BIN_EXE_ewe")])
                .env("LC_ALL", "C")
                .current_dir(dir.path("."));
            let said = shell::ran(shell).success().stderr();
            let seconds = said.split_whitespace().map(|part| part.parse::<f64>().unwrap());
            (1000.0 * seconds.sum::<f64>()).round() as u64
        });
        times.min().unwrap()
    };
    let (starting, listing) = (fastest("--version"), fastest("list --db d.db"));
    // 4 and 10 ms where the program is optimized, 10 and 26 ms in tests. A list that reads all
    // tasks, or starts a thread pool, takes longer.
    let most = 4 * starting + 20;
    assert!(listing < most, "{listing} ms, and {starting} ms to start");
}

#[test]
fn show_prints_texts_neighbors_and_provenance() {
    let dir = filled();
    let id = (number(&dir, "select max(id) from task") - 1).to_string();
    let text = run(&dir, "show", &[&id]).success().stdout();
    for part in [
        "machine · pending",
        "<script>alert(1)</script>",
        "a ewe",
        "0.50",
        "Come up with tasks:",
        "3. Hm.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = json(run(&dir, "show", &[&id, "--json"]));
    assert_eq!(json["neighbors"][0]["id"], 1);
    assert_eq!(json["provenance"][0]["prompt"], "Come up with tasks:");
    assert_eq!(json["instances"][0]["output"], "a ewe");
    let out = run(&dir, "show", &["999"]).failure(1);
    assert_eq!(
        out.stderr(),
        "error: `d.db`: no task 999\nhint: `ewe list` shows the ids\n"
    );
}

#[test]
fn show_says_what_a_task_did_to_held_out_ones() {
    let dir = Dir::with_dataset();
    add_influence(&dir);
    let shown = run(&dir, "show", &["1"]).success().stdout();
    let figures = shown
        .lines()
        .skip_while(|line| !line.contains("influence"))
        .take(3);
    let figures: Vec<&str> = figures.collect();
    assert_eq!(figures[0], "instance 0 · influence +0.250 · IFD 0.25", "{shown}");
    assert!(figures[1].starts_with("  helped  +0.750       5  "), "{shown}");
    assert!(figures[2].starts_with("  hurt    -0.250       6  "), "{shown}");
    let shown = run(&dir, "show", &["6"]).success().stdout();
    assert!(
        shown.contains("influenced by\n  hurt    -0.250       1  "),
        "{shown}"
    );
    let shown = run(&dir, "show", &["3"]).success().stdout();
    assert!(!shown.contains("influence"), "{shown}");
}

#[test]
fn control_characters_in_texts_are_escaped() {
    let dir = Dir::with_dataset();
    run(
        &dir,
        "edit",
        &[
            "1",
            "--instruction",
            "A\x1b[2J\x1b]0;title\x07 b",
            "--output",
            "x\ry\u{202e}",
        ],
    )
    .success();
    for out in [
        run(&dir, "list", &["--limit", "1"]),
        run(&dir, "show", &["1"]),
        run(&dir, "search", &["title"]),
    ] {
        let text = out.success().stdout();
        assert!(text.contains("A␛[2J"), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn search_finds_words_phrases_and_endings() {
    let dir = filled();
    let last = number(&dir, "select max(id) from task");
    let found = |words: &str| -> Vec<i64> {
        let out = json(run(&dir, "search", &[words, "--json"]));
        out.as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_i64().unwrap())
            .collect()
    };
    assert!(found("\"late invoices\"").contains(&last));
    assert!(!found("\"invoices late\"").contains(&last));
    assert!(found("INVOICES late").contains(&last));
    let seeds = json(run(&dir, "search", &["name", "--origin", "seed", "--json"]));
    assert!(!seeds.as_array().unwrap().is_empty());
    let machine = json(run(
        &dir,
        "search",
        &["late", "--origin", "machine", "--label", "1", "--json"],
    ));
    assert_eq!(machine[0]["id"], last);
    for strange in ["(", "\"", "AND OR NOT", "a:b", "*", "{x", "^"] {
        found(strange);
    }
    let out = run(&dir, "search", &["nosuchword"]).success();
    assert_eq!(
        (out.stdout().as_str(), out.stderr().as_str()),
        (
            "",
            "no such task has this word\nhint: `nosuchword*` for every ending\n"
        )
    );
    let two = run(&dir, "search", &["\"nosuch\"", "word"]).success().stderr();
    assert_eq!(two, "no such task has all of these words\nhint: fewer of them\n");
    // Of more than are shown, it says how many there are.
    let all = json(run(&dir, "search", &["the", "--json", "--limit", "1000"]));
    let count = all.as_array().unwrap().len();
    assert!(count > 20, "{count}");
    let said = run(&dir, "search", &["the"]).success().stderr();
    assert_eq!(
        said,
        format!("20 of {count} tasks, the best first; more: --limit N\n")
    );
}

#[test]
fn undo_reverts_one_review_action_at_a_time() {
    let dir = Dir::with_dataset();
    run(&dir, "reject", &["3-5", "9", "--reason", "too easy"]).success();
    run(&dir, "accept", &["4"]).success();
    let reviews = || [3, 4, 5, 9].map(|id| review(&dir, id));
    let (bulk, both) = (["rejected"; 4], ["rejected", "accepted", "rejected", "rejected"]);
    assert_eq!(reviews(), both);
    assert_eq!(
        number(&dir, "select count(*) from dataset where task_id in (3, 5, 9)"),
        0
    );
    run(&dir, "undo", &[]).success();
    assert_eq!(reviews(), bulk);
    run(&dir, "undo", &[]).success();
    assert_eq!(reviews(), ["accepted"; 4]);
    let out = run(&dir, "undo", &[]).failure(1);
    assert!(
        out.stderr().contains("`d.db`: nothing to undo\nhint: "),
        "{}",
        out.stderr()
    );
    // Redo goes forward in the same steps.
    run(&dir, "undo", &["--redo"]).success();
    assert_eq!(reviews(), bulk);
    run(&dir, "undo", &["--redo"]).success();
    assert_eq!(reviews(), both);
    run(&dir, "undo", &["--redo"]).failure(1);
    // Undo and redo may alternate any number of times.
    run(&dir, "undo", &[]).success();
    run(&dir, "undo", &[]).success();
    assert_eq!(reviews(), ["accepted"; 4]);
    run(&dir, "undo", &["--redo"]).success();
    assert_eq!(reviews(), bulk);
    // After another action there is nothing to redo.
    run(&dir, "reject", &["1"]).success();
    run(&dir, "undo", &["--redo"]).failure(1);
    assert_eq!(dir.sql("pragma foreign_key_check"), Vec::<Vec<String>>::new());
}

#[test]
fn any_action_can_be_undone_by_its_number() {
    let dir = Dir::with_dataset();
    let group = |out: Ran| json(out)["change"]["group"].as_i64().unwrap().to_string();
    let first = group(run(&dir, "reject", &["1", "2", "--json"]));
    let second = group(run(&dir, "reject", &["3", "--json"]));
    let undo = group(run(&dir, "undo", &[&first, "--json"]));
    assert_eq!(
        [1, 2, 3].map(|id| review(&dir, id)),
        ["accepted", "accepted", "rejected"]
    );
    let out = run(&dir, "undo", &[&first]).failure(1);
    assert!(
        out.stderr()
            .contains(&format!("taken back already, by {undo}\nhint: `ewe undo {undo}`")),
        "{}",
        out.stderr()
    );
    // Undoing an undo is a redo; undoing the redo is an undo.
    let redo = group(run(&dir, "undo", &[&undo, "--json"]));
    assert_eq!([1, 2, 3].map(|id| review(&dir, id)), ["rejected"; 3]);
    run(&dir, "undo", &[&redo]).success();
    assert_eq!(
        [1, 2, 3].map(|id| review(&dir, id)),
        ["accepted", "accepted", "rejected"]
    );
    let out = run(&dir, "undo", &["777"]).failure(1);
    assert!(out.stderr().contains("no action 777"), "{}", out.stderr());
    // A later change is not overwritten.
    dir.sql("update task set review = 'pending' where id = 3");
    let out = run(&dir, "undo", &[&second]).failure(1);
    assert!(
        out.stderr().contains("task 3 was changed since"),
        "{}",
        out.stderr()
    );
    assert_eq!(review(&dir, 3), "pending");
}

#[test]
fn a_review_of_several_tasks_is_all_or_nothing() {
    let dir = Dir::with_dataset();
    let out = run(&dir, "reject", &["1", "2", "9999"]).failure(1);
    assert!(out.stderr().contains("no task 9999"), "{}", out.stderr());
    assert_eq!(number(&dir, "select count(*) from revision"), 0);
    let out = run(&dir, "accept", &["1"]).success();
    assert_eq!(out.stdout(), "nothing to do: accepted already\n");
    assert_eq!(number(&dir, "select count(*) from revision"), 0);
    run(&dir, "accept", &["x"]).failure(2);
    let out = run(&dir, "accept", &[]).failure(2);
    assert!(
        out.stderr().contains("say which tasks: ids, or options"),
        "{}",
        out.stderr()
    );
    let out = run(&dir, "accept", &["1", "--origin", "seed"]).failure(2);
    assert!(out.stderr().contains("not by both"), "{}", out.stderr());
    run(&dir, "accept", &["9-3"]).failure(2);
}

#[test]
fn a_bulk_review_by_filter_needs_yes() {
    let dir = filled();
    let pending = "select count(*) from task where origin = 'seed' and review = 'accepted'";
    let count = number(&dir, pending);
    let out = run(&dir, "reject", &["--origin", "seed"]).failure(1);
    let what = format!("{count} tasks would become rejected; nothing was changed\nhint: --yes");
    assert!(out.stderr().contains(&what), "{}", out.stderr());
    assert_eq!(number(&dir, pending), count);
    let out = run(&dir, "reject", &["--origin", "seed", "--reason", "old", "--yes"]).success();
    assert!(
        out.stdout()
            .starts_with(&format!("{count} tasks rejected (action ")),
        "{}",
        out.stdout()
    );
    assert_eq!(number(&dir, pending), 0);
    let out = run(&dir, "reject", &["--origin", "seed", "--yes"]).success();
    assert_eq!(out.stdout(), "nothing to do: rejected already\n");
    run(&dir, "undo", &[]).success();
    assert_eq!(number(&dir, pending), count);
    // An export contains what the filter selects.
    run(
        &dir,
        "export",
        &[
            "--format",
            "alpaca",
            "--out",
            "o.json",
            "--text",
            "late invoices",
            "--origin",
            "machine",
        ],
    )
    .success();
    let exported: serde_json::Value = serde_json::from_str(&dir.read("o.json")).unwrap();
    assert_eq!(exported.as_array().unwrap().len(), 2);
}

#[test]
fn edits_are_recorded_and_can_be_undone() {
    let dir = Dir::with_dataset();
    let texts =
        || dir.sql("select instruction, input, output from dataset where task_id = 1 order by instance_id");
    let before = texts();
    run(
        &dir,
        "edit",
        &[
            "1",
            "--instruction",
            "New.",
            "--instance",
            "1",
            "--output",
            "",
            "--reason",
            "typo",
        ],
    )
    .success();
    let after = texts();
    assert_eq!(after[1], ["New.", &before[1][1], ""]);
    assert_eq!(after[0], ["New.", &before[0][1], &before[0][2]]);
    run(&dir, "undo", &[]).success();
    assert_eq!(texts(), before);
    run(&dir, "undo", &["--redo"]).success();
    assert_eq!(texts(), after);
    assert_eq!(
        run(&dir, "edit", &["1", "--instruction", "New."])
            .success()
            .stdout(),
        "nothing to do: the texts are the same\n"
    );
    let out = run(&dir, "edit", &["1", "--instance", "7", "--input", "x"]).failure(1);
    assert!(
        out.stderr().contains("task 1 has no instance 7\nhint: "),
        "{}",
        out.stderr()
    );
    let log = json(run(&dir, "log", &["--json"]));
    assert_eq!(
        (&log[2]["action"], &log[2]["who"], &log[2]["note"]),
        (&"edit".into(), &"ann".into(), &"typo".into())
    );
    assert_eq!(log[1]["undoes"], log[2]["group"]);
    assert_eq!(
        (&log[2]["undone"], &log[1]["undone"]),
        (&false.into(), &true.into())
    );
    assert!(
        run(&dir, "log", &["1"])
            .success()
            .stdout()
            .contains("to   {\"instruction\":\"New.\"}")
    );
}

#[test]
fn edit_opens_the_editor() {
    let dir = Dir::with_dataset();
    let edit = |editor: &str| {
        let mut command = command(&dir, &["edit", "--db", "d.db", "1"]);
        command.env("EDITOR", editor);
        shell::ran(command)
    };
    let out = run(&dir, "edit", &["1"]).failure(1);
    assert!(
        out.stderr().contains("no editor is set\nhint: "),
        "{}",
        out.stderr()
    );
    let before = dir.sql("select instruction, input, output from dataset where task_id = 1");
    assert_eq!(
        edit("true").success().stdout(),
        "nothing to do: the texts are the same\n"
    );
    let out = edit("false").failure(1);
    assert!(
        out.stderr().contains("the editor `false` ended with"),
        "{}",
        out.stderr()
    );
    edit("sed -i -e 's/^Decide/%% Decide/' -e 's/^%% Decide/\\\\%% Decide/'").success();
    let text = &dir.sql("select instruction from task where id = 1")[0][0];
    assert!(text.starts_with("%% Decide"), "{text}");
    // A text that looks like a heading survives the way into the editor and back.
    assert_eq!(
        edit("true").success().stdout(),
        "nothing to do: the texts are the same\n"
    );
    run(&dir, "undo", &[]).success();
    assert_eq!(
        dir.sql("select instruction, input, output from dataset where task_id = 1"),
        before
    );
    let out = edit("sed -i 's/^%% input 0/%% inptu 0/'").failure(1);
    assert!(
        out.stderr().contains("`%% inptu 0` is not a text of this task"),
        "{}",
        out.stderr()
    );
    let kept = out.stderr().split('`').rev().nth(1).unwrap().to_owned();
    assert!(
        std::fs::read_to_string(&kept).unwrap().contains("%% inptu 0"),
        "{kept}"
    );
    std::fs::remove_file(kept).unwrap();
}
