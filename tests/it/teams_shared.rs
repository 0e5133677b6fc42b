//! Several reviewers at work at the same time, on several machines, in a terminal and on the page.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fields::{checked, ids};
use crate::page::Page;
use crate::review::Screen;
use crate::shell::Dir;
use crate::support::{command, ewe, json as parsed, number, spawn};
use crate::teams::{run, says, with_team};
use crate::waiting::pause;

#[test]
fn reviewers_at_the_same_moment_decide_every_task_once() {
    let (dir, first) = with_team();
    let each: Vec<_> = (0..12)
        .flat_map(|at| [("anna", at), ("ben", at)])
        .map(|(who, at)| {
            let task = (first + at).to_string();
            spawn(&dir, &["accept", "--db", "d.db", &task, "--as", who])
        })
        .collect();
    for child in each {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    assert_eq!(
        number(
            &dir,
            "select count(*) from task where review = 'accepted' and origin = 'import'"
        ),
        12
    );
    assert_eq!(number(&dir, "select count(*) from opinion_now"), 24);
    assert_eq!(
        number(
            &dir,
            "select count(*) from revision where about = 'opinion' and action = 'accept'"
        ),
        12
    );
    checked(&dir);
}

#[test]
fn who_is_killed_has_given_all_opinions_of_a_command_or_none() {
    let (dir, _) = with_team();
    for wait in [0, 1, 2, 4, 8, 16, 32] {
        let line = [
            "accept", "--db", "d.db", "--as", "anna", "--origin", "import", "--yes",
        ];
        let mut child = command(&dir, &line).spawn().unwrap();
        pause(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        let given = number(&dir, "select count(*) from opinion_now");
        assert!([0, 12].contains(&given), "{given}");
        checked(&dir);
    }
}

#[test]
fn merged_datasets_have_what_reviewers_of_both_said() {
    let (one, first) = with_team();
    let two = Dir::with_copy(&one.dataset());
    let out = Dir::new();
    says(&one, "anna", "accept", first).success();
    says(&two, "ben", "accept", first).success();
    says(&one, "anna", "accept", first + 1).success();
    says(&two, "ben", "reject", first + 1).success();
    for who in ["anna", "ben"] {
        says(&two, who, "accept", first + 2).success();
    }
    says(&one, "anna", "reject", first + 3).success();
    says(&two, "ben", "reject", first + 3).success();
    let task = first.to_string();
    ewe(&one, &["comment", "--db", "d.db", &task, "from one"]).success();
    ewe(&two, &["comment", "--db", "d.db", &task, "from two"]).success();
    ewe(&two, &["comment", "--db", "d.db", &task, "taken back"]).success();
    ewe(&two, &["undo", "--db", "d.db"]).success();
    // Both assign it to the same person.
    for dir in [&one, &two] {
        run(dir, &format!("assign {first} --to carol --each 3")).success();
    }
    let (a, b) = (one.path("d.db"), two.path("d.db"));
    let inputs = [a.to_str().unwrap(), b.to_str().unwrap()];
    ewe(&out, &["merge-db", inputs[0], inputs[1], "--out", "d.db"]).success();
    checked(&out);
    assert_eq!(ids(&out, &["--disagreement"]), [first + 1]);
    assert_eq!(ids(&out, &["--assigned-to", "carol"]), [first]);
    let shown = parsed(run(&out, &format!("show {first} --json")).success());
    assert_eq!(shown["comments"].as_array().unwrap().len(), 2);
    assert_eq!(shown["assigned"].as_array().unwrap().len(), 3);
    // Carol has not spoken of the first one yet; of the third, both agree.
    for (task, review) in [
        (first, "pending"),
        (first + 2, "accepted"),
        (first + 3, "rejected"),
    ] {
        let one = parsed(run(&out, &format!("show {task} --json")).success());
        assert_eq!(one["review"], review, "{task}");
    }
    // Nothing comes twice, and an opinion of a merged dataset is taken back like any other.
    let again = Dir::new();
    let merged = out.path("d.db");
    let inputs = [merged.to_str().unwrap(), b.to_str().unwrap()];
    ewe(&again, &["merge-db", inputs[0], inputs[1], "--out", "d.db"]).success();
    for table in ["assignment", "opinion", "comment", "revision"] {
        let count = format!("select count(*) from {table}");
        assert_eq!(number(&again, &count), number(&out, &count), "{table}");
    }
    checked(&again);
}

#[test]
fn a_reviewers_queue_is_worked_through_in_the_terminal() {
    let (dir, first) = with_team();
    run(&dir, &format!("reject {first} --as ben --reason wrong")).success();
    let arguments = ["review", "--db", "d.db", "--as", "ANNA"];
    let mut screen = Screen::run(&dir, &arguments, "true", (24, 100));
    let screen_text = screen.shows(&[
        "ewe review · anna · pending · 12 in the queue",
        "ben: has an opinion",
    ]);
    assert!(!screen_text.contains("wrong"), "{screen_text}");
    screen.press("a");
    screen.shows(&[
        &format!("task {first}: accepted; the reviewers do not agree on it"),
        "11 in the queue",
    ]);
    screen.press("t");
    screen.shows(&["why you are unsure (may be empty): ▏"]);
    screen.press("ask a vet\r");
    screen.shows(&[&format!("task {}: unsure", first + 1), "10 in the queue"]);
    screen.press("m");
    screen.shows(&["comment: ▏"]);
    screen.press("see the manual\r");
    screen.shows(&["comment by anna: see the manual"]);
    screen.press("u");
    screen.shows(&["taken back"]);
    screen.scrolls_away("comment by anna");
    screen.press("u");
    screen.shows(&["11 in the queue", "anna: no opinion yet"]);
    // What others said is shown once one has spoken.
    screen.press("kk");
    screen.shows(&["ben: rejected (wrong)", "anna: accepted"]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    assert_eq!(
        number(&dir, "select count(*) from opinion_now where reviewer = 'anna'"),
        1
    );
    checked(&dir);
}

#[test]
fn who_is_no_reviewer_is_not_unsure_in_the_terminal() {
    let (dir, _) = with_team();
    let mut screen = Screen::run(&dir, &["review", "--db", "d.db"], "true", (24, 100));
    screen.shows(&["anna: no opinion yet"]);
    screen.press("t");
    screen.shows(&["only reviewers are unsure"]);
    screen.press("a");
    screen.shows(&["accepted", "11 in the queue"]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    run(&dir, "review --as carol").refused("nobody called `carol` is assigned; there are: anna, ben");
}

#[test]
fn the_page_takes_opinions_and_comments() {
    let (dir, first) = with_team();
    let page = Page::start(&dir, &["--as", "anna"]);
    let path = |what: &str| format!("/api/tasks/{first}{what}");
    let (_, task) = page.get(&path(""));
    let (_, team) = page.get("/api/team");
    assert_eq!(team["who"], "anna");
    assert_eq!(
        team["reviewers"][0],
        json!({"reviewer": "anna", "assigned": 12, "waiting": 12})
    );
    // What others say and write meanwhile is no conflict.
    run(&dir, &format!("reject {first} --as ben --reason wrong")).success();
    ewe(
        &dir,
        &["comment", "--db", "d.db", &first.to_string(), "look twice"],
    )
    .success();
    let (_, hidden) = page.get(&path(""));
    assert_eq!(hidden["version"], task["version"]);
    assert_eq!(hidden["assigned"][1]["verdict"], Value::Null);
    assert_eq!(hidden["comments"][0]["text"], "look twice");
    let say = |verdict: &str, version: &Value| {
        page.post(
            &path("/opinion"),
            &json!({"verdict": verdict, "version": version}),
        )
    };
    let (status, said) = say("accepted", &task["version"]);
    assert_eq!(
        (status, &said["change"]["disagreements"]),
        (200, &json!(1)),
        "{said}"
    );
    assert_eq!(said["review"], "pending");
    let (_, open) = page.get(&path(""));
    assert_eq!(open["assigned"][1]["note"], "wrong");
    let (status, _) = page.post(&path("/comment"), &json!({"text": "I did"}));
    assert_eq!(status, 200);
    let (status, error) = page.post(&path("/comment"), &json!({"text": " "}));
    assert_eq!((status, &error["error"]), (400, &json!("the comment is empty")));
    // An edit is: the opinion would be about a text that nobody saw.
    run(&dir, &format!("edit {first} --output x")).success();
    let (status, said) = say("rejected", &task["version"]);
    assert_eq!(status, 409);
    assert_eq!(said["current"]["instances"][0]["output"], "x");
    let (status, error) = page.post(
        "/api/tasks/1/opinion",
        &json!({"verdict": "accepted", "version": 0}),
    );
    assert_eq!(status, 400, "{error}");
    let filter = "%7B%22awaiting%22%3A%22anna%22%2C%22review%22%3A%22pending%22%7D";
    let (_, queue) = page.get(&format!("/api/tasks?filter={filter}"));
    assert_eq!(queue["tasks"].as_array().unwrap().len(), 12);
    checked(&dir);
}
