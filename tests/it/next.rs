//! Commands end with the commands that go on from their result, as they are typed.

use crate::mock::Mock;
use crate::shell::Dir;
use crate::support::{ewe, generate, judging};

/// The lines to type that a command printed, without their reasons.
pub fn next(stderr: &str) -> Vec<String> {
    let Some((_, lines)) = stderr.split_once("next:\n") else {
        return Vec::new();
    };
    let typed = |line: &str| line.split("  #").next().unwrap().trim().to_owned();
    lines.lines().map(typed).collect()
}

#[test]
fn a_dataset_is_led_from_seeds_to_training() {
    let dir = Dir::new();
    let of = |arguments: &[&str]| next(&ewe(&dir, arguments).success().stderr());
    let begun = of(&["init", "--db", "my farm.db"]);
    assert_eq!(
        begun,
        [
            "ewe generate --db 'my farm.db' --target 100 --model DIR",
            "ewe curate --db 'my farm.db'"
        ]
    );
    dir.write(
        "rows.jsonl",
        "{\"instruction\":\"Name the capital of France\",\"input\":\"\",\"output\":\"Paris\"}\n",
    );
    let import = ["import", "--db", "my farm.db", "rows.jsonl"];
    assert_eq!(
        of(&import),
        [
            "ewe filter --db 'my farm.db' --dry-run",
            "ewe curate --db 'my farm.db'"
        ]
    );
    // Nothing was added.
    assert!(of(&import).is_empty());
    let export = ["export", "--db", "my farm.db", "--format", "alpaca", "--out"];
    assert_eq!(
        of(&[&export[..], &["x.json"]].concat()),
        ["ewe train --data x.json --model DIR --out tuned"]
    );
    assert!(of(&[&export[..], &["-"]].concat()).is_empty());
    assert!(of(&[&export[..], &["none.json", "--origin", "machine"]].concat()).is_empty());
    // Whoever wants results only, or JSON, types what they like.
    for quiet in ["-q", "--json"] {
        assert!(
            of(&[&export[..], &["y.json", quiet]].concat()).is_empty(),
            "{quiet}"
        );
    }
    assert!(of(&["-q", "init", "--db", "b.db"]).is_empty());
}

#[test]
fn what_was_generated_is_led_to_review() {
    let dir = Dir::with_dataset();
    let mock = Mock::start();
    let said = generate(&dir, "6", &mock.url, &[]).success().stderr();
    let commands = next(&said);
    assert_eq!(commands[0], "ewe curate --db d.db", "{said}");
    let judge = format!(
        "ewe judge --db d.db --endpoint {} --endpoint-model mock",
        mock.url
    );
    assert_eq!(commands.last(), Some(&judge), "{said}");
    // How many read alike is what the list says.
    dir.sql(
        "update neighbor set rouge_l = 0.6 where rank = 1 and task_id =
            (select max(task_id) from neighbor join task on task.id = task_id where origin = 'machine')",
    );
    let said = generate(&dir, "6", &mock.url, &[]).success().stderr();
    let list = next(&said)[1].clone();
    assert!(
        said.lines().any(|line| line
            .trim_start()
            .strip_prefix(&list)
            .is_some_and(|rest| rest.trim_start().starts_with('#'))),
        "{said}"
    );
    assert!(
        list.starts_with("ewe list --db d.db --review pending --min-similarity 0.5"),
        "{list}"
    );
    let words: Vec<&str> = list.split(' ').skip(1).collect();
    let shown = ewe(&dir, &words).success().stdout();
    let count = shown.lines().count() - 1;
    let expected = match count {
        1 => "1 reads like another task".to_owned(),
        count => format!("{count} read like another task"),
    };
    assert!(said.contains(&expected), "{said}\n{shown}");
    assert!(next(&generate(&dir, "6", &mock.url, &["-q"]).success().stderr()).is_empty());
    assert!(next(&generate(&dir, "6", &mock.url, &["--json"]).success().stderr()).is_empty());
}

#[test]
fn scores_lead_to_the_worst() {
    let dir = Dir::with_dataset();
    let mock = Mock::start();
    generate(&dir, "6", &mock.url, &[]).success();
    let said = ewe(&dir, &judging(&mock.url, "mock", &[])).success().stderr();
    assert_eq!(
        next(&said),
        [
            "ewe list --db d.db --max-score 2 --sort score",
            "ewe curate --db d.db"
        ],
        "{said}"
    );
}

/// A step of another command goes on by itself.
#[test]
fn a_step_leaves_it_to_the_command_that_runs_it() {
    let dir = Dir::new();
    let mut command = crate::shell::command(&dir, &["init", "--db", "d.db"]);
    command.env("EWE_IS_STEP", "1");
    assert_eq!(crate::shell::ran(command).success().stderr(), "");
}

#[test]
fn what_was_reviewed_is_led_to_training() {
    let dir = Dir::with_dataset();
    let mock = Mock::start();
    generate(&dir, "6", &mock.url, &[]).success();
    let of = |arguments: &[&str]| next(&ewe(&dir, arguments).success().stderr());
    // Some are pending.
    assert!(of(&["accept", "--db", "d.db", "216"]).is_empty());
    let all = ["reject", "--db", "d.db", "--review", "pending", "--yes"];
    let train = "ewe train --db d.db --review accepted --model DIR --out tuned";
    let report = "ewe report --db d.db --out report.html";
    assert_eq!(of(&all), [train, report]);
    assert!(of(&[&all[..], &["-q"]].concat()).is_empty());
    assert!(of(&[&all[..], &["--json"]].concat()).is_empty());
    // The model that was trained last is known, unless its path is one of another folder.
    dir.sql("insert into run (command, config, seed, status) values ('train', '{\"model\":\"my models/m\"}', 0, 'done')");
    assert_eq!(of(&all)[0], train);
    std::fs::create_dir_all(dir.path("my models/m")).unwrap();
    assert_eq!(of(&all)[0], train.replace("DIR", "'my models/m'"));
    of(&["undo", "--db", "d.db"]);
    assert!(of(&["accept", "--db", "d.db", "216"]).is_empty());
}
