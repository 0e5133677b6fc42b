//! Several reviewers: tasks dealt out, opinions, what they decide, disagreements, comments, undo.

use serde_json::{Value, json};

use crate::fields::{checked, ids};
use crate::shell::{Dir, Ran};
use crate::support::{ewe, json as parsed, number, sql_error};

/// A dataset with 12 pending tasks; the first one's id comes with it.
pub fn with_pending() -> (Dir, i64) {
    let dir = Dir::with_dataset();
    let rows: String = (1..=12)
        .map(|at| {
            format!("{{\"instruction\": \"Count the sheep of farm {at}.\", \"input\": \"\", \"output\": \"{at}\"}}\n")
        })
        .collect();
    dir.write("rows.jsonl", rows);
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    std::fs::remove_file(dir.path("rows.jsonl")).unwrap();
    let first = number(&dir, "select min(id) from task where origin = 'import'");
    (dir, first)
}

/// The same, each assigned to anna and ben.
pub fn with_team() -> (Dir, i64) {
    let (dir, first) = with_pending();
    run(&dir, "assign --to anna,ben --each 2").success();
    (dir, first)
}

/// Runs a command on the dataset; the line has no quotes.
pub fn run(dir: &Dir, line: &str) -> Ran {
    let mut words: Vec<&str> = line.split(' ').collect();
    words.splice(1..1, ["--db", "d.db"]);
    ewe(dir, &words)
}

/// A reviewer's opinion of a task.
pub fn says(dir: &Dir, who: &str, what: &str, task: i64) -> Ran {
    run(dir, &format!("{what} {task} --as {who}"))
}

fn shown(dir: &Dir, task: i64) -> Value {
    parsed(run(dir, &format!("show {task} --json")).success())
}

fn review(dir: &Dir, task: i64) -> String {
    shown(dir, task)["review"].as_str().unwrap().to_owned()
}

#[test]
fn tasks_are_dealt_evenly_and_only_once() {
    let (dir, first) = with_pending();
    let said = run(&dir, "assign --to anna,ben,carol --each 2").success();
    let text = said.stdout();
    assert!(text.starts_with("12 tasks assigned (action "), "{text}");
    for name in ["anna", "ben", "carol"] {
        assert!(text.contains(&format!("\n        8  {name}\n")), "{text}");
    }
    assert!(
        said.stderr().contains("ewe review --db d.db --as anna"),
        "{}",
        said.stderr()
    );
    // The same again changes nothing, and one more reviewer each takes all of them.
    let again = run(&dir, "assign --to anna,ben,carol --each 2").success();
    assert!(
        again
            .stdout()
            .starts_with("nothing to do: 12 tasks, each with 2 reviewers or more"),
        "{}",
        again.stdout()
    );
    run(&dir, "assign --to dora --each 4").refused("4 reviewers for each task, and 1 is named");
    let more = parsed(run(&dir, "assign --to anna,ben,carol --each 3 --json").success());
    assert_eq!(more["chosen"], 12);
    assert_eq!(more["reviewers"][2], json!({"reviewer": "carol", "tasks": 4}));
    assert_eq!(ids(&dir, &["--assigned-to", "Carol"]).len(), 12);
    assert_eq!(ids(&dir, &["--where", "reviewers = 3"])[0], first);
    checked(&dir);
}

#[test]
fn a_task_is_decided_once_all_its_reviewers_agree() {
    let (dir, first) = with_team();
    let said = says(&dir, "anna", "accept", first).success().stdout();
    assert!(said.starts_with("1 task accepted by anna (action "), "{said}");
    assert_eq!(review(&dir, first), "pending");
    let said = says(&dir, "BEN", "accept", first).success().stdout();
    assert!(
        said.starts_with("1 task accepted by ben; 1 is accepted now"),
        "{said}"
    );
    assert_eq!(review(&dir, first), "accepted");
    // The history has the last reviewer as its author.
    let history = shown(&dir, first)["history"].clone();
    let last = history.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["who"], &last["action"]), (&json!("ben"), &json!("accept")));
    assert_eq!(last["after"], r#"{"review":"accepted"}"#);
    for who in ["anna", "ben"] {
        run(
            &dir,
            &format!("reject {} --as {who} --reason nonsense", first + 1),
        )
        .success();
    }
    assert_eq!(review(&dir, first + 1), "rejected");
    // Whoever said it already, says nothing new.
    let again = says(&dir, "ben", "accept", first).success().stdout();
    assert_eq!(again, "nothing to do: ben said so already\n");
    // The decision and the opinion are one action.
    run(&dir, "undo").success();
    assert_eq!(review(&dir, first + 1), "pending");
    assert_eq!(ids(&dir, &["--awaiting", "ben"]).len(), 11);
    run(&dir, "undo --redo").success();
    assert_eq!(review(&dir, first + 1), "rejected");
    assert_eq!(ids(&dir, &["--awaiting", "ben", "--review", "pending"]).len(), 10);
    checked(&dir);
}

#[test]
fn disagreements_wait_for_somebody_to_decide() {
    let (dir, first) = with_team();
    says(&dir, "anna", "accept", first).success();
    let said = says(&dir, "ben", "reject", first).success();
    assert!(
        said.stdout().contains("; 1 is for somebody to settle"),
        "{}",
        said.stdout()
    );
    says(&dir, "anna", "unsure", first + 1).success();
    says(&dir, "ben", "unsure", first + 1).success();
    says(&dir, "anna", "unsure", first + 2).success();
    assert_eq!(ids(&dir, &["--disagreement"]), [first, first + 1]);
    assert_eq!(ids(&dir, &["--where", "disagreement = yes"]), [first, first + 1]);
    assert_eq!(ids(&dir, &["--opinion", "unsure"]), [first + 1, first + 2]);
    assert_eq!(ids(&dir, &["--where", "opinions = 1"]), [first + 2]);
    let agreement = run(&dir, "agreement").success();
    assert!(
        agreement.stderr().contains("ewe review --db d.db --disagreement"),
        "{}",
        agreement.stderr()
    );
    // Whoever decides without a name of the team has the last word, as always.
    run(&dir, &format!("accept {first}")).success();
    assert_eq!(ids(&dir, &["--disagreement"]), [first + 1]);
    says(&dir, "anna", "unsure", first).success();
    assert_eq!(review(&dir, first), "accepted");
    // Somebody who changes his mind settles it, too, and reopens what reviewers had decided.
    says(&dir, "ben", "accept", first + 1).success();
    says(&dir, "anna", "accept", first + 1).success();
    assert_eq!(review(&dir, first + 1), "accepted");
    says(&dir, "anna", "reject", first + 1).success();
    assert_eq!(review(&dir, first + 1), "pending");
    assert_eq!(ids(&dir, &["--disagreement"]), [first + 1]);
    checked(&dir);
}

#[test]
fn opinions_of_others_are_hidden_until_one_has_given_ones_own() {
    let (dir, first) = with_pending();
    // The tests' user is ann.
    run(&dir, "assign --to ann,ben --each 2").success();
    run(&dir, &format!("reject {first} --as ben --reason wrong")).success();
    let text = |line: &str| run(&dir, line).success().stdout();
    let before = text(&format!("show {first}"));
    assert!(
        before.contains("ben: has an opinion, which you see once you have given yours"),
        "{before}"
    );
    assert!(before.contains("ann: no opinion yet"), "{before}");
    assert!(!before.contains("wrong"), "{before}");
    assert!(!text(&format!("log {first}")).contains("wrong"));
    assert_eq!(
        shown(&dir, first)["assigned"][1],
        json!({"reviewer": "ben", "verdict": null, "note": null, "has_spoken": true})
    );
    says(&dir, "ann", "accept", first).success();
    let after = text(&format!("show {first}"));
    assert!(after.contains("ben: rejected (wrong)"), "{after}");
    // Who has no part in it sees everything.
    run(&dir, &format!("unsure {} --as ben", first + 1)).success();
    run(&dir, "assign --withdraw --to ann").success();
    assert!(text(&format!("show {}", first + 1)).contains("ben: unsure"));
}

#[test]
fn an_opinion_holds_for_the_texts_that_it_is_about() {
    let (dir, first) = with_team();
    says(&dir, "anna", "accept", first).success();
    let edit = format!("edit {first} --output thirteen");
    run(&dir, &edit).success();
    assert!(ids(&dir, &["--awaiting", "anna"]).contains(&first));
    says(&dir, "ben", "accept", first).success();
    assert_eq!(review(&dir, first), "pending");
    says(&dir, "anna", "accept", first).success();
    assert_eq!(review(&dir, first), "accepted");
    // If a text comes back, what was said of it holds again.
    run(&dir, &format!("edit {} --output x", first + 1)).success();
    says(&dir, "anna", "reject", first + 1).success();
    let edited = number(
        &dir,
        "select max(group_id) from revision where action = 'edit' and about is null",
    );
    assert!(!ids(&dir, &["--awaiting", "anna"]).contains(&(first + 1)));
    run(&dir, &format!("undo {edited}")).success();
    assert!(ids(&dir, &["--awaiting", "anna"]).contains(&(first + 1)));
    run(&dir, "undo --redo").success();
    assert!(!ids(&dir, &["--awaiting", "anna"]).contains(&(first + 1)));
    checked(&dir);
}

#[test]
fn comments_and_assignments_are_taken_back_like_any_action() {
    let (dir, first) = with_team();
    let task = first.to_string();
    let said = ewe(
        &dir,
        &[
            "comment",
            "--db",
            "d.db",
            &task,
            &format!("{}-{}", first + 1, first + 2),
            " is this true? ",
        ],
    )
    .success();
    assert!(
        said.stdout().starts_with("comment on 3 tasks (action "),
        "{}",
        said.stdout()
    );
    assert_eq!(ids(&dir, &["--commented"]), [first, first + 1, first + 2]);
    let comments = shown(&dir, first)["comments"].clone();
    assert_eq!(
        (&comments[0]["author"], &comments[0]["text"]),
        (&json!("ann"), &json!("is this true?"))
    );
    let log = run(&dir, &format!("log {first}")).success().stdout();
    assert!(
        log.contains("ann  comment\n") && !log.contains("is this true"),
        "{log}"
    );
    run(&dir, "undo").success();
    assert_eq!(ids(&dir, &["--commented"]), [0_i64; 0]);
    run(&dir, "undo").success();
    assert_eq!(ids(&dir, &["--assigned-to", "anna"]), [0_i64; 0]);
    run(&dir, "assign --to anna").success();
    // Anna has them by another action now.
    let old = number(
        &dir,
        "select min(group_id) from revision where about = 'assignment'",
    );
    let undo = number(
        &dir,
        &format!("select group_id from revision where undoes = {old} limit 1"),
    );
    run(&dir, &format!("undo {undo}")).refused("was changed since");
    let withdrawn = run(&dir, "assign --withdraw --to anna").success().stdout();
    assert!(withdrawn.starts_with("12 tasks withdrawn"), "{withdrawn}");
    assert_eq!(ids(&dir, &["--assigned-to", "anna"]), [0_i64; 0]);
    run(&dir, "undo").success();
    assert_eq!(ids(&dir, &["--assigned-to", "anna"]).len(), 12);
    says(&dir, "anna", "accept", first).success();
    for statement in [
        "delete from comment",
        "update opinion set note = 'x'",
        "delete from assignment",
    ] {
        let error = sql_error(&dir, statement);
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    checked(&dir);
}

#[test]
fn an_opinion_that_a_decision_rests_on_is_not_taken_back_before_it() {
    let (dir, first) = with_team();
    says(&dir, "anna", "accept", first).success();
    let of_anna = number(&dir, "select max(group_id) from revision");
    says(&dir, "ben", "accept", first).success();
    run(&dir, &format!("undo {of_anna}")).refused("was changed since");
    run(&dir, "undo").success();
    run(&dir, &format!("undo {of_anna}")).success();
    assert_eq!(number(&dir, "select count(*) from opinion_now"), 0);
    assert_eq!(number(&dir, "select count(*) from opinion"), 2);
    checked(&dir);
}

/// What was taken back is as if it had not been, so actions before it can be taken back in turn.
#[test]
fn after_a_change_of_mind_all_is_taken_back_step_by_step() {
    let (dir, first) = with_team();
    let settled = |what: &str| assert_eq!(review(&dir, first), what);
    for (who, what) in [
        ("anna", "accept"),
        ("ben", "accept"),
        ("ben", "reject"),
        ("anna", "reject"),
    ] {
        says(&dir, who, what, first).success();
    }
    settled("rejected");
    for then in ["pending", "accepted", "pending", "pending"] {
        run(&dir, "undo").success();
        settled(then);
    }
    // The assignment is next, and all comes back.
    run(&dir, "undo").success();
    assert_eq!(
        number(&dir, "select count(*) from assignment where withdrawn_at is null"),
        0
    );
    for then in ["pending", "pending", "accepted", "pending", "rejected"] {
        run(&dir, "undo --redo").success();
        settled(then);
    }
    // A decision that came back counts again.
    let of_anna = number(&dir, "select min(group_id) from revision where about = 'opinion'");
    run(&dir, "undo").success();
    run(&dir, "undo").success();
    settled("accepted");
    run(&dir, &format!("undo {of_anna}")).refused("was changed since");
    checked(&dir);
}

#[test]
fn withdrawing_the_last_who_has_not_spoken_decides() {
    let (dir, first) = with_team();
    says(&dir, "anna", "reject", first).success();
    run(&dir, &format!("assign {first} --withdraw --to ben")).success();
    assert_eq!(review(&dir, first), "rejected");
    run(&dir, "undo").success();
    assert_eq!(review(&dir, first), "pending");
    checked(&dir);
}

#[test]
fn agreement_is_that_of_first_opinions() {
    let (dir, first) = with_team();
    let verdicts = [
        ("accept", "accept"),
        ("accept", "accept"),
        ("accept", "reject"),
        ("reject", "reject"),
        ("reject", "reject"),
        ("reject", "accept"),
        ("unsure", "unsure"),
        ("accept", "accept"),
    ];
    for (at, (anna, ben)) in verdicts.into_iter().enumerate() {
        says(&dir, "anna", anna, first + at as i64).success();
        says(&dir, "ben", ben, first + at as i64).success();
    }
    let before = parsed(run(&dir, "agreement --json").success());
    let pair = &before["pairs"][0];
    assert_eq!(
        (&pair["a"], &pair["b"], &pair["tasks"]),
        (&json!("anna"), &json!("ben"), &json!(8))
    );
    assert_eq!(pair["same"], 0.75);
    // Of scikit-learn: cohen_kappa_score.
    assert!(
        (pair["kappa"].as_f64().unwrap() - 0.578_947_368_421_052_7).abs() < 1e-9,
        "{pair}"
    );
    assert_eq!(
        before["reviewers"][0],
        json!({"reviewer": "anna", "assigned": 12, "waiting": 4})
    );
    assert_eq!(
        (
            &before["assigned"],
            &before["reviewed_twice"],
            &before["disagreements"]
        ),
        (&json!(12), &json!(8), &json!(3))
    );
    // Who gives in once the others are known does not agree more than before.
    says(&dir, "ben", "accept", first + 2).success();
    let after = parsed(run(&dir, "agreement --json").success());
    assert_eq!(after["pairs"], before["pairs"]);
    assert_eq!(after["disagreements"], 2);
    let text = run(&dir, "agreement").success().stdout();
    assert!(
        text.contains("anna and ben") && text.contains("Krippendorff's alpha"),
        "{text}"
    );
    let stats = parsed(run(&dir, "stats --json").success());
    assert_eq!(stats["team"]["pairs"], before["pairs"]);
    let some = parsed(run(&dir, &format!("agreement --json --where id<{}", first + 2)).success());
    assert_eq!(some["pairs"][0]["tasks"], 2);
    assert_eq!(some["pairs"][0]["kappa"], Value::Null);
}

#[test]
fn what_cannot_be_is_refused() {
    let (dir, first) = with_team();
    let long = "x".repeat(10_001);
    let task = first.to_string();
    for (arguments, said) in [
        (&["assign", "--to", "a\u{1b}b"][..], "it has a control character"),
        (&["assign", "--to", " "], "it is empty"),
        (&["assign", "--to", &long], "more than 64 characters"),
        (&["assign", "--to", "anna", "--each", "0"], "0 is not in 1..=100"),
        (&["assign"], "say to whom"),
        (&["assign", "--withdraw"], "say whose assignments"),
        (
            &["assign", "--withdraw", "--to", "anne"],
            "nobody called `anne` is assigned; there are: anna, ben",
        ),
        (&["assign", "--to", "anna", "999999"], "no task 999999"),
        (
            &["accept", &task, "--as", "carol"],
            "nobody called `carol` is assigned; there are: anna, ben",
        ),
        (&["accept", "1", "--as", "anna"], "task 1 is not assigned to anna"),
        (&["unsure", &task], "nobody called `ann` is assigned"),
        (&["list", "--assigned-to", "carol"], "nobody called `carol`"),
        (&["list", "--awaiting", "carol"], "nobody called `carol`"),
        (
            &["list", "--opinion", "maybe"],
            "one of accepted, rejected, unsure",
        ),
        (
            &["comment", &task, &long],
            "has 10001 characters, more than 10000",
        ),
        (&["comment", &task, " "], "the comment is empty"),
        (&["comment", "999999", "x"], "no task 999999"),
        (&["comment", "two", "words"], "stands in quotes"),
        (&["comment", &task, "x", "--as", ""], "it is empty"),
        (
            &["reject", &task, "--as", "anna", "--reason", &long],
            "the note has 10001 characters",
        ),
        (
            &["assign", "--to", "anna", &task, "--origin", "seed"],
            "not by both",
        ),
    ] {
        let line = [&[arguments[0], "--db", "d.db"], &arguments[1..]].concat();
        ewe(&dir, &line).refused(said);
    }
    let empty = Dir::with_dataset();
    run(&empty, "list --assigned-to anna").refused("nobody called `anna` is assigned\nhint: `ewe assign");
    assert_eq!(
        run(&empty, "agreement").success().stdout(),
        "no two reviewers have spoken of the same task\n"
    );
    assert_eq!(number(&dir, "select count(*) from opinion"), 0);
    assert_eq!(number(&dir, "select count(*) from comment"), 0);
}

#[test]
fn opinions_of_a_filter_are_of_the_reviewers_own_tasks() {
    let (dir, first) = with_pending();
    run(&dir, &format!("assign {first}-{} --to anna", first + 3)).success();
    run(&dir, "accept --as anna --origin import").refused("4 tasks would become accepted by anna");
    let said = run(&dir, "accept --as anna --origin import --yes").success();
    assert!(
        said.stdout()
            .starts_with("4 tasks accepted by anna; 4 are accepted now"),
        "{}",
        said.stdout()
    );
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'pending'"),
        8
    );
    checked(&dir);
}

/// The file shows what each reviewer said.
#[test]
fn views_answer_for_other_programs() {
    let (dir, first) = with_team();
    says(&dir, "anna", "accept", first).success();
    says(&dir, "ben", "reject", first).success();
    assert_eq!(
        dir.sql("select task_id, reviewers, opinions from disagreement"),
        [[
            first.to_string(),
            "2".into(),
            "anna: accepted, ben: rejected".into()
        ]]
    );
    assert_eq!(
        dir.sql(&format!(
            "select reviewer, verdict from assigned where task_id = {first} order by 1"
        )),
        [["anna", "accepted"], ["ben", "rejected"]]
    );
}
