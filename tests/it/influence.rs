//! `ewe influence` and `ewe score --db` from the command line, on the tiny checkpoints of
//! `scripts/make_goldens.py`.

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::{Value, json};

use crate::golden::golden;
use crate::shell::{Dir, ewe};
use crate::train::{EWE_TORCH, fails, stderr};

/// Tasks of which every fifth has an answer of letters in place of numbers.
const TASKS: usize = 100;

fn is_bad(task: usize) -> bool {
    task % 5 == 3
}

/// A directory with a dataset `d.db` whose good answers are alike, of which ten good tasks are held
/// out. (A model of random weights learns what answers look like before anything else.)
fn dataset() -> Dir {
    let dir = Dir::new();
    let row = |n: usize| {
        let output = match is_bad(n) {
            true => ["xq zv", "vzz q x", "qxv"][n % 3].to_owned(),
            false => ["4 5 6", "4 5 6 7", "3 4 5 6"][n % 3].to_owned(),
        };
        format!(
            "{}\n",
            json!({"instruction": format!("from {n}:"), "input": "", "output": output})
        )
    };
    dir.write("seeds.jsonl", (0..TASKS).map(row).collect::<String>());
    ewe(&dir, &["init", "--db", "d.db", "--seeds", "seeds.jsonl"]).success();
    dir.sql("insert into run (command, config) values ('split', '{}')");
    // Not by `ewe split`, whose choice would have bad tasks among them.
    dir.sql(
        "insert into held_out select id, (select max(id) from run) from task
         where cast(substr(instruction, 6) as integer) % 10 = 6",
    );
    dir
}

fn torch(dir: &Dir, line: &str) -> Assert {
    Command::new(EWE_TORCH)
        .env("OMP_NUM_THREADS", "1")
        .current_dir(dir.path("."))
        .args(line.split_whitespace())
        .assert()
}

/// Trains a tiny model on the dataset into the folder `out`.
fn train(dir: &Dir, out: &str, more: &str) {
    let model = golden("gemma3");
    let line = format!(
        "train --db d.db --model {} --out {out} --template completion --lora-rank 4 --lr 1e-2 --steps 24 \
         --precision fp32 {more}",
        model.display()
    );
    torch(dir, &line).success();
}

fn influence(dir: &Dir, run_dir: &str, more: &str) -> Assert {
    torch(dir, &format!("influence --db d.db --run-dir {run_dir} {more}"))
}

/// The number of each task's instruction with its influence, of the tasks that have one.
fn values(dir: &Dir) -> Vec<(usize, f64)> {
    let rows = dir.sql(
        "select substr(instruction, 6, length(instruction) - 6), influence from task
         where influence is not null order by id",
    );
    let number = |row: &Vec<String>| (row[0].parse().unwrap(), row[1].parse().unwrap());
    rows.iter().map(number).collect()
}

/// The chance that a bad task is below a good one.
fn auroc(values: &[(usize, f64)]) -> f64 {
    let (bad, good): (Vec<_>, Vec<_>) = values.iter().partition(|(task, _)| is_bad(*task));
    assert!(bad.len() > 10 && good.len() > 10);
    let pairs = bad
        .iter()
        .flat_map(|(_, bad)| good.iter().map(move |(_, good)| (bad, good)));
    let below = pairs.clone().filter(|(bad, good)| bad < good).count();
    below as f64 / pairs.count() as f64
}

#[test]
fn planted_rows_rank_low_and_a_killed_run_goes_on() {
    let dir = dataset();
    train(&dir, "tuned", "--keep-checkpoints 2");
    let first = influence(&dir, "tuned", "").success();
    let said = stderr(&first);
    assert!(
        said.contains("at step 12 and 24") && said.contains("10 held-out tasks"),
        "{said}"
    );
    let out = String::from_utf8(first.get_output().stdout.clone()).unwrap();
    for words in ["helped most:", "hurt most:"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    for words in [
        "next:\n  ewe list --db d.db --sort influence ",
        "  ewe reject --db d.db ",
        "  ewe train --db d.db --where \"influence > 0\" --model ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // What the projection cannot tell from zero is said, and noted: at most √(2 ln(90/0.05))/√4096.
    let noise = "select config ->> '$.projection_noise.bound' from run where command = 'influence'";
    let bound: f64 = dir.sql(noise)[0][0].parse().unwrap();
    assert!((0.005..0.0606).contains(&bound), "{bound}");
    let shown = out
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next()?.parse::<f64>().ok());
    let within = shown.filter(|value| value.abs() <= bound).count();
    assert_eq!(out.contains("cannot tell from zero"), within > 0, "{bound} {out}");
    let all = values(&dir);
    assert_eq!(all.len(), TASKS - 10, "of every task that is not held out");
    assert!(all.iter().all(|(_, value)| value.abs() <= 1.0));
    assert!(auroc(&all) > 0.9, "{} {all:?}", auroc(&all));
    let on = dir.sql("select count(*), max(value) > 0, min(value) < 0 from influence_on");
    assert_eq!(&on[0][1..], ["1", "1"]);
    assert!(on[0][0].parse::<usize>().unwrap() <= 10 * all.len());
    // As if it had been killed after the first group: that one is kept, the others come out the same.
    let stored = "select instance_id, value from influence order by instance_id";
    let before = dir.sql(stored);
    dir.sql(
        "update run set status = 'running', ended_at = null, config = json_remove(config, '$.projection_noise')
         where command = 'influence'",
    );
    dir.sql("delete from influence_on where instance_id > 64");
    dir.sql(&format!(
        "delete from influence where instance_id > {}",
        before[63][0]
    ));
    dir.sql(&format!(
        "update influence set value = 0.5 where instance_id = {}",
        before[0][0]
    ));
    dir.sql("update task set influence = null");
    influence(&dir, "tuned", "").success();
    let after = dir.sql(stored);
    assert_eq!(after[0][1], "0.5", "what was stored is not computed again");
    assert_eq!(after[1..], before[1..]);
    assert_eq!(
        dir.sql("select count(*) from run where command = 'influence'"),
        [["1"]]
    );
    assert_eq!(
        dir.sql("select status from run where command = 'influence'"),
        [["done"]]
    );
    assert_eq!(values(&dir).len(), all.len());
    // Another configuration is another run, and the latest is what tasks have. Without a projection
    // the numbers are close to those with one.
    let exact = influence(&dir, "tuned", "--dimensions 0 --seed 3 --json").success();
    let exact: Value = serde_json::from_slice(&exact.get_output().stdout).unwrap();
    assert_eq!(
        (&exact["rows"], &exact["held_out"]),
        (&all.len().into(), &10.into())
    );
    assert!(
        exact["projection_noise"].is_null() && exact["hurt"][0]["value"].as_f64() < Some(0.0),
        "{exact}"
    );
    assert_eq!(
        dir.sql("select count(*) from run where command = 'influence'"),
        [["2"]]
    );
    assert_eq!(
        dir.sql("select count(*) from run where config ->> '$.projection_noise' is not null"),
        [["1"]],
        "without a projection there is no noise"
    );
    let exact = values(&dir);
    for ((task, value), (_, exact)) in all.iter().zip(&exact).skip(1) {
        assert!((value - exact).abs() < 0.1, "{task}: {value} {exact}");
    }
}

#[test]
fn plain_gradients_and_momentum_are_other_directions() {
    let dir = dataset();
    train(&dir, "tuned", "--keep-checkpoints 1");
    let of = |direction: &str| {
        influence(&dir, "tuned", &format!("--checkpoints 1 --direction {direction}")).success();
        values(&dir)
    };
    let (adam, less, sgd) = (of("adam"), of("less"), of("sgd"));
    assert!(adam != less && adam != sgd && less != sgd);
    assert!(auroc(&sgd) > 0.8, "{}", auroc(&sgd));
}

#[test]
fn rows_of_a_file_stand_in_for_held_out_tasks() {
    let dir = dataset();
    dir.sql("delete from held_out");
    train(&dir, "tuned", "--keep-checkpoints 1 --eval-fraction 0");
    let none = influence(&dir, "tuned", "");
    fails(
        none,
        &[
            "no task is held out",
            "hint: `ewe split --db d.db --eval 10%`",
            "--eval-data",
        ],
    );
    let row = |n: usize| {
        format!(
            "{}\n",
            json!({"instruction": format!("up {n}:"), "output": "4 5 6"})
        )
    };
    dir.write("eval.jsonl", (0..5).map(row).collect::<String>());
    influence(&dir, "tuned", "--eval-data eval.jsonl").success();
    assert_eq!(values(&dir).len(), TASKS);
    assert_eq!(dir.sql("select count(*) from influence_on"), [["0"]]);
}

#[test]
fn what_has_no_gradients_is_refused_with_a_way_out() {
    let dir = dataset();
    fails(
        influence(&dir, "nowhere", ""),
        &["nowhere", "not the folder of a training run", "hint: --run-dir"],
    );
    train(&dir, "bare", "--save-every 0");
    fails(
        influence(&dir, "bare", ""),
        &["has no checkpoints", "`ewe train --keep-checkpoints 2`"],
    );
    train(&dir, "factored", "--keep-checkpoints 1 --optimizer adafactor");
    fails(
        influence(&dir, "factored", ""),
        &["Adafactor", "hint: --direction sgd"],
    );
    influence(&dir, "factored", "--direction sgd").success();
    let other = format!("--direction sgd --model {}", golden("gemma3_untied").display());
    fails(
        influence(&dir, "factored", &other),
        &["another base model", "hint: --model DIR"],
    );
    let full = format!(
        "train --db d.db --model {} --out full --template completion --steps 4 --method full --keep-checkpoints 1",
        golden("gemma3").display()
    );
    torch(&dir, &full).success();
    fails(
        influence(&dir, "full", ""),
        &["trained every weight", "hint: ", "`ewe train --method lora`"],
    );
    assert!(dir.sql("select id from run where command = 'influence'").len() == 1);
}

/// Paths of the checkpoints that a run has kept.
fn checkpoints(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn kept_checkpoints_are_spread_over_the_run() {
    let dir = dataset();
    train(&dir, "tuned", "--keep-checkpoints 3 --save-every 5");
    assert_eq!(
        checkpoints(&dir.path("tuned")),
        ["step-00000008", "step-00000016", "step-00000024"]
    );
}

#[test]
fn answers_are_scored_with_and_without_their_instructions() {
    let dir = dataset();
    train(&dir, "tuned", "");
    let model = golden("gemma3");
    let line = format!(
        "score --db d.db --model {} --chat --template completion",
        model.display()
    );
    torch(&dir, &format!("{line} --adapter tuned --out out.jsonl")).success();
    let rows: Vec<serde_json::Value> = dir
        .read("out.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), TASKS);
    for row in &rows {
        assert!(row["nll"].as_f64().unwrap() > 0.0 && row["nll_alone"].as_f64().unwrap() > 0.0);
    }
    let counts = dir.sql("select count(*), count(ifd), min(ifd) > 0 from task");
    assert_eq!(counts, [[TASKS.to_string(), TASKS.to_string(), "1".to_owned()]]);
    let ratio = rows[0]["nll"].as_f64().unwrap() / rows[0]["nll_alone"].as_f64().unwrap();
    let stored = dir.sql("select ifd from task order by id limit 1")[0][0]
        .parse::<f64>()
        .unwrap();
    assert!((ratio - stored).abs() < 1e-12);
    // As if it had been killed: what is stored stays, the rest is the same.
    let stored = "select instance_id, tokens, nll, nll_alone from difficulty order by instance_id";
    let before = dir.sql(stored);
    dir.sql("update run set status = 'running', ended_at = null where command = 'score'");
    dir.sql(&format!(
        "delete from difficulty where instance_id > {}",
        before[63][0]
    ));
    dir.sql(&format!(
        "update difficulty set nll = 0.25 where instance_id = {}",
        before[0][0]
    ));
    torch(&dir, &format!("{line} --adapter tuned")).success();
    let after = dir.sql(stored);
    assert_eq!(after[0][2], "0.25");
    assert_eq!(after[1..], before[1..]);
    // Without --db there must be somewhere to write to.
    assert!(stderr(&torch(&dir, "score --model m --data seeds.jsonl").code(2)).contains("--out"));
}
