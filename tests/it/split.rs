//! `ewe split`: which tasks are held out, and that nothing shows them or reads like them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::mock::Mock;
use crate::recipes::{ALPACA, arguments};
use crate::shell::{Dir, Ran, ewe};
use crate::support::{self, number};

fn split(dir: &Dir, options: &[&str]) -> Ran {
    ewe(dir, &[&["split", "--db", "d.db"][..], options].concat())
}

fn held_out(dir: &Dir) -> BTreeSet<i64> {
    let rows = dir.sql("select task_id from held_out order by task_id");
    rows.iter().map(|row| row[0].parse().unwrap()).collect()
}

/// A dataset of seeds with these instructions, in order, from id 1 on.
pub fn seeds(dir: &Dir, instructions: &[&str]) {
    let row = |text: &&str| format!("{}\n", json!({"instruction": text, "input": "", "output": "7"}));
    dir.write("seeds.jsonl", instructions.iter().map(row).collect::<String>());
    ewe(dir, &["init", "--db", "d.db", "--seeds", "seeds.jsonl"]).success();
}

#[test]
fn a_share_is_held_out_and_only_what_is_missing_is_added() {
    let dir = Dir::with_dataset();
    let all = number(&dir, "select count(*) from task");
    let said = split(&dir, &["--eval", "10%"]).success();
    let tenth = (all as f64 / 10.0).round() as usize;
    assert!(
        said.stdout()
            .contains(&format!("{tenth} of {all} tasks held out")),
        "{}",
        said.stdout()
    );
    assert!(
        said.stderr()
            .contains("next:\n  ewe list --db d.db --split eval\n"),
        "{}",
        said.stderr()
    );
    let first = held_out(&dir);
    assert_eq!(first.len(), tenth);
    let run = "select command || ' ' || status || ' ' || seed, config from run where id = (select run_id from held_out)";
    let run = dir.sql(run);
    assert_eq!(run[0][0], "split done 0");
    let config: Value = serde_json::from_str(&run[0][1]).unwrap();
    assert_eq!(
        (&config["eval"], &config["added"]),
        (&json!("10%"), &json!(tenth))
    );
    // Again, less, and with another seed: nothing moves, and no run is recorded.
    let runs = number(&dir, "select count(*) from run");
    for options in [
        &["--eval", "10%"][..],
        &["--eval", "3"],
        &["--eval", "10%", "--seed", "9"],
    ] {
        let said = split(&dir, options).success().stdout();
        assert!(said.contains("nothing to add"), "{said}");
        assert_eq!(held_out(&dir), first);
    }
    assert_eq!(number(&dir, "select count(*) from run"), runs);
    let more = support::json(split(&dir, &["--eval", "20%", "--json"]));
    let second = held_out(&dir);
    assert!(second.is_superset(&first) && second.len() > first.len());
    assert_eq!(more["added"], json!(second.len() - first.len()));
    assert_eq!(
        more["train"].as_u64().unwrap() + more["near_held_out"].as_u64().unwrap(),
        all as u64 - second.len() as u64
    );
    // The choice is a function of the seed.
    let other = Dir::with_dataset();
    split(&other, &["--eval", "10%", "--quiet"]).success();
    assert_eq!(held_out(&other), first);
    let third = Dir::with_dataset();
    let said = split(&third, &["--eval", "10%", "--seed", "1", "-q"]).success();
    assert_ne!(held_out(&third), first);
    assert_eq!(said.stderr(), "");
    let said = split(&dir, &["--clear"]).success().stdout();
    assert_eq!(
        said,
        format!("{} tasks are not held out any more\n", second.len())
    );
    assert!(held_out(&dir).is_empty());
    split(&dir, &["--clear"]).success();
}

#[test]
fn options_choose_what_may_be_held_out() {
    let dir = Dir::with_dataset();
    let rest = "select count(*) from task where not is_classification";
    let of = number(&dir, "select count(*) from task where is_classification");
    split(&dir, &["--eval", "50%", "--classification", "yes"]).success();
    assert_eq!(held_out(&dir).len() as f64, (of as f64 / 2.0).round());
    let outside = format!("{rest} and id in (select task_id from held_out)");
    assert_eq!(number(&dir, &outside), 0);
    split(&dir, &["--eval", "2", "--where", "id in (1, 2)"]).success();
    assert!(held_out(&dir).is_superset(&[1, 2].into()));
    for (options, said) in [
        (
            &["--eval", "5", "--origin", "machine"][..],
            "there is no such task\nhint: ",
        ),
        (&["--eval", "100%"], "nothing would be left to train on"),
    ] {
        let before = held_out(&dir);
        let error = split(&dir, options).failure(1).stderr();
        assert!(error.contains(said), "{error}");
        assert_eq!(held_out(&dir), before);
    }
    for options in [
        &[][..],
        &["--eval", "5", "--clear"],
        &["--eval", "0"],
        &["--eval", "101%"],
        &["--eval", "0.1"],
        &["--clear", "--seed", "3"],
        &["--clear", "--origin", "seed"],
        &["--eval", "5", "--where", "drop table task"],
    ] {
        split(&dir, options).failure(2);
    }
}

#[test]
fn what_reads_like_a_held_out_task_is_counted() {
    let dir = Dir::new();
    seeds(
        &dir,
        &[
            "name the largest river of the whole country",
            "name the largest lake of the whole country",
            "NAME the largest river  of the whole country",
            "add two numbers and show how",
            "write a poem about rain",
        ],
    );
    let said = split(&dir, &["--eval", "1", "--where", "id = 1"])
        .success()
        .stdout();
    assert_eq!(
        said,
        "1 of 1 task held out\n2 tasks read like held-out ones and are not trained on\n2 tasks are left for training\n"
    );
}

#[test]
fn lists_shows_exports_and_figures_know_the_split() {
    let dir = Dir::with_dataset();
    split(&dir, &["--eval", "12"]).success();
    let held: Vec<i64> = held_out(&dir).into_iter().collect();
    let all = number(&dir, "select count(*) from task");
    let listed = |options: &[&str]| {
        let rows = support::json(ewe(
            &dir,
            &[
                &["list", "--db", "d.db", "--json", "--limit", "1000"][..],
                options,
            ]
            .concat(),
        ));
        rows.as_array().unwrap().clone()
    };
    let ids = |rows: &[Value]| {
        rows.iter()
            .map(|row| row["id"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let eval = listed(&["--split", "eval"]);
    assert_eq!(ids(&eval), held);
    assert!(eval.iter().all(|row| row["is_held_out"] == json!(true)));
    assert_eq!(ids(&listed(&["--where", "split = 'eval' and id > 0"])), held);
    let train = listed(&["--split", "train"]);
    assert_eq!(train.len() as i64, all - 12);
    assert!(ids(&train).iter().all(|id| !held.contains(id)));
    let table = ewe(&dir, &["list", "--db", "d.db", "--limit", "1000"])
        .success()
        .stdout();
    assert_eq!(
        table.lines().filter(|line| line.contains("  eval   ")).count(),
        12
    );
    let id = held[0].to_string();
    let shown = ewe(&dir, &["show", "--db", "d.db", &id]).success().stdout();
    assert!(shown.lines().next().unwrap().contains(" · held out"), "{shown}");
    let other = ids(&train)[0].to_string();
    assert!(
        !ewe(&dir, &["show", "--db", "d.db", &other])
            .success()
            .stdout()
            .contains("held out")
    );
    let export = |split: &str| {
        let line = [
            "export",
            "--db",
            "d.db",
            "--format",
            "completion",
            "--split",
            split,
            "--out",
            "-",
        ];
        ewe(&dir, &line).success().stdout().lines().count() as i64
    };
    let rows = |of: &str| {
        number(
            &dir,
            &format!("select count(*) from dataset where task_id {of} (select task_id from held_out)"),
        )
    };
    assert_eq!((export("eval"), export("train")), (rows("in"), rows("not in")));
    let stats = support::json(ewe(&dir, &["stats", "--db", "d.db", "--json"]));
    assert_eq!(stats["dataset"]["held_out"], json!(12));
    let said = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    assert!(
        said.contains(&format!("{:<14}{:>9} tasks", "held out", 12)),
        "{said}"
    );
    let error = ewe(&dir, &["list", "--db", "d.db", "--split", "test"])
        .failure(2)
        .stderr();
    assert!(error.contains("one of train, eval"), "{error}");
}

#[test]
fn lists_sort_by_influence_and_ifd_and_take_the_best() {
    let dir = Dir::with_dataset();
    dir.sql("update task set influence = (id - 30) / 100.0, ifd = 2.0 / id where id <= 60");
    let list = |options: &[&str]| -> Vec<String> {
        let listed = ewe(&dir, &[&["list", "--db", "d.db"][..], options].concat())
            .success()
            .stdout();
        let lines = listed.lines().skip(1);
        lines
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list(&["--sort", "influence", "--limit", "3"]), ["1", "2", "3"]);
    assert_eq!(
        list(&["--sort", "influence", "--limit", "2", "--after", "3"]),
        ["4", "5"]
    );
    assert_eq!(list(&["--sort", "ifd", "--limit", "2"]), ["1", "2"]);
    assert_eq!(list(&["--where", "influence > 0.29"]), ["60"]);
    assert_eq!(list(&["--top", "3"]), ["58", "59", "60"]);
    // A share of those that have a value.
    assert_eq!(list(&["--top", "5%"]), ["58", "59", "60"]);
    assert_eq!(
        list(&["--top", "50%", "--by", "ifd", "--where", "id between 9 and 12"]),
        ["9", "10"]
    );
    let table = ewe(&dir, &["list", "--db", "d.db", "--limit", "2"])
        .success()
        .stdout();
    assert!(
        table.contains("influence") && table.contains("-0.2900"),
        "{table}"
    );
    ewe(&dir, &["list", "--db", "d.db", "--by", "score"]).failure(2);
    let lines = [
        "export",
        "--db",
        "d.db",
        "--format",
        "self-instruct",
        "--top",
        "10%",
        "--out",
        "-",
    ];
    assert_eq!(ewe(&dir, &lines).success().stdout().lines().count(), 6);
}

/// With every recipe, and tasks that are rewritten.
#[test]
fn no_prompt_shows_a_held_out_task() {
    for recipe in [&[][..], &ALPACA] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        split(&dir, &["--eval", "40%"]).success();
        let more = [recipe, &["--evolve", "0.4"]].concat();
        ewe(&dir, &arguments(&mock, "40", &more)).success();
        // Instructions that are in no other task's, whose appearance would prove nothing.
        let shown = |condition: &str| {
            number(
                &dir,
                &format!(
                    "select count(distinct task.id) from task join request on instr(prompt, instruction)
                    where task.origin = 'seed' and instr(instruction, char(10)) = 0
                        and not exists (
                            select 1 from task as other
                            where other.id <> task.id and instr(other.instruction, task.instruction)
                        )
                        and not exists (
                            select 1 from candidate where instr(candidate.instruction, task.instruction)
                        )
                        and task.id {condition} (select task_id from held_out)"
                ),
            )
        };
        assert_eq!(shown("in"), 0);
        assert!(shown("not in") > 10);
        let evolved = "select count(*) from evolution where parent_task_id in (select task_id from held_out)";
        assert_eq!(number(&dir, evolved), 0);
        assert!(number(&dir, "select count(*) from evolution") > 0);
    }
}

#[test]
fn what_is_generated_is_compared_with_held_out_tasks() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    split(&dir, &["--eval", "10", "--where", "length < 200"]).success();
    let held = dir.sql(
        "select id, instruction from task where id in (select task_id from held_out)
        and instr(instruction, char(10)) = 0 order by length(instruction) desc limit 1",
    );
    mock.say(
        "Come up with a series of tasks",
        &format!(" {}\n", held[0][1]),
        "stop",
    );
    ewe(
        &dir,
        &arguments(&mock, "5", &["--max-requests", "1", "--window", "1"]),
    )
    .success();
    let verdicts =
        dir.sql("select verdict, reason, nearest_task_id from candidate where kind = 'instruction'");
    assert_eq!(verdicts[0], ["rejected", "near_duplicate", &held[0][0]]);
}

#[test]
fn without_seeds_to_show_nothing_is_generated() {
    let (dir, mock) = (Dir::new(), Mock::start());
    seeds(&dir, &["count the sheep in a field", "write a poem about rain"]);
    dir.sql("update task set origin = 'import' where id = 2");
    split(&dir, &["--eval", "100%", "--origin", "seed"]).success();
    let said = ewe(&dir, &arguments(&mock, "5", &[])).failure(1).stderr();
    assert!(
        said.contains("all accepted seed tasks are held out") && said.contains("ewe split --clear"),
        "{said}"
    );
    assert_eq!(mock.received(), 0);
}
