//! `ewe gain` from the command line, on the tiny checkpoints of `scripts/make_goldens.py`.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::eval::close;
use crate::golden::{golden, read_json};
use crate::shell::{Dir, Ran, command, ewe, ran, signal};
use crate::support::number;
use crate::waiting::until;

/// Seeds, of which some are held out.
const SEEDS: usize = 60;
/// Imported tasks with answers of letters in place of numbers. They are trained on, and make the
/// model worse at what is held out.
const BAD: usize = 15;
/// How the tiny model is trained.
const QUICK: &str = "-- --lora-rank 4 --lr 1e-2 --steps 16 --precision fp32";

/// A directory with a dataset `d.db` of seeds and bad tasks.
fn dataset() -> Dir {
    let dir = Dir::new();
    let rows = |of: std::ops::Range<usize>, outputs: [&str; 3]| {
        let row = |n: usize| {
            let row = json!({"instruction": format!("from {n}:"), "input": "", "output": outputs[n % 3]});
            format!("{row}\n")
        };
        of.map(row).collect::<String>()
    };
    dir.write("seeds.jsonl", rows(0..SEEDS, ["4 5 6", "4 5 6 7", "3 4 5 6"]));
    dir.write("bad.jsonl", rows(SEEDS..SEEDS + BAD, ["xq zv", "vzz q x", "qxv"]));
    ewe(&dir, &["init", "--db", "d.db", "--seeds", "seeds.jsonl"]).success();
    ewe(&dir, &["import", "--db", "d.db", "bad.jsonl"]).success();
    dir
}

fn process(dir: &Dir, more: &str) -> Command {
    let model = golden("gemma3");
    let line = format!(
        "gain --db d.db --model {} --out tuned --template completion --max-tokens 4 {more}",
        model.display()
    );
    let mut process = command(dir, &line.split_whitespace().collect::<Vec<_>>());
    process.env("OMP_NUM_THREADS", "1");
    process
}

fn gain(dir: &Dir, more: &str) -> Ran {
    ran(process(dir, more))
}

/// The names of the steps that were run, as they were shown.
fn steps(ran: &Ran) -> Vec<String> {
    let said = ran.stderr();
    let lines = said.lines().filter_map(|line| line.strip_prefix("$ ewe "));
    lines
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

fn runs(dir: &Dir, command: &str) -> i64 {
    number(
        dir,
        &format!("select count(*) from run where command = '{command}'"),
    )
}

#[test]
fn one_command_goes_from_a_dataset_to_what_it_did() {
    let dir = dataset();
    let first = gain(&dir, &format!("--result r.json {QUICK}")).success();
    assert_eq!(steps(&first), ["split", "eval", "train", "eval", "influence"]);
    let said = first.stderr();
    for words in [
        "$ ewe split --db d.db --eval 20% --origin seed\n",
        " --out tuned --template completion --keep-checkpoints 2 --lora-rank 4 --lr 1e-2",
        " --adapter tuned --template completion --max-tokens 4\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let concluded = first.stdout();
    for words in [
        "gemma3 on 12 held-out tasks of d.db, before and after training:\n  NLL  ",
        "\n\nyour data made gemma3 better: ",
        " nats a token on 12 held-out tasks\n",
        " made it worse:\n  -0.",
        "\nnext:\n  ewe list --db d.db --sort influence\n  ewe show --db d.db ",
        "  ewe train --db d.db --where 'influence > 0' ",
    ] {
        assert!(concluded.contains(words), "{words}: {concluded}");
    }
    // The figures are those of `ewe eval`.
    let result = read_json(&dir.path("r.json"));
    assert_eq!(
        (
            &result["verdict"],
            &result["held_out_tasks"],
            &result["compared_tasks"]
        ),
        (&json!("better"), &json!(12), &json!(12))
    );
    let stored = dir.sql("select result from evaluation order by id");
    let figure = |at: usize, name: &str| {
        let result: Value = serde_json::from_str(&stored[at][0]).unwrap();
        result[name].as_f64().unwrap()
    };
    for name in ["nll", "rougeL", "stop_rate"] {
        let ours = &result["figures"][name];
        close(&ours["before"], figure(0, name));
        close(&ours["after"], figure(1, name));
        close(&ours["difference"]["mean"], figure(1, name) - figure(0, name));
    }
    let worst = result["worst_rows"].as_array().unwrap();
    assert!((1..=20).contains(&worst.len()), "{worst:?}");
    assert!(worst.iter().all(|row| row["influence"].as_f64() < Some(0.0)));
    let noise = &result["projection_noise"];
    let bound = noise["bound"].as_f64().unwrap();
    assert!(
        noise["dimensions"] == 4096 && bound > 0.0 && bound < 0.06,
        "{noise}"
    );
    let is_within = |row: &&Value| row["influence"].as_f64().unwrap() >= -bound;
    let within = worst.iter().filter(is_within).count();
    assert_eq!(noise["worst_rows_within"], json!(within));
    assert_eq!(
        concluded.contains("which this projection cannot tell from zero: `ewe influence` with more"),
        within > 0,
        "{concluded}"
    );
    let lowest = "select instance.task_id from influence join instance on instance.id = instance_id
        order by value limit 1";
    assert_eq!(worst[0]["task"], json!(number(&dir, lowest)));
    let held_out = "select count(*) from held_out where task_id = ";
    assert_eq!(
        number(&dir, &format!("{held_out}{}", worst[0]["hurts"]["task"])),
        1
    );
    // Once more: nothing is done again, and it says the same.
    let all = number(&dir, "select count(*) from run");
    let again = gain(&dir, QUICK).success();
    assert_eq!(steps(&again), Vec::<String>::new());
    assert_eq!(
        (again.stdout(), number(&dir, "select count(*) from run")),
        (concluded, all)
    );
    // What else there is to do is done alone.
    let checked = gain(&dir, &format!("--check-worst --rows 5 {QUICK}")).success();
    assert_eq!(steps(&checked), ["train", "eval"]);
    let said = checked.stdout();
    assert!(
        said.contains("these 5 rows made it worse:") && said.contains("\nleaving them out: "),
        "{said}"
    );
    let record = read_json(&dir.path("tuned-without-worst/run.json"));
    let condition = record["select"]["where"].as_str().unwrap();
    assert!(condition.starts_with("id not in ("), "{condition}");
    // Another run has no place there.
    let other = gain(&dir, "-- --lora-rank 4 --lr 1e-2 --steps 17 --precision fp32").failure(1);
    let said = other.stderr();
    assert!(
        said.contains("it has other options of `ewe train`\nhint: another folder"),
        "{said}"
    );
    let quiet = gain(&dir, &format!("-q --result - {QUICK}")).success();
    let printed: Value = serde_json::from_str(&quiet.stdout()).unwrap();
    assert_eq!(printed["figures"], result["figures"]);
}

#[test]
fn what_was_done_is_not_done_again() {
    let dir = dataset();
    let first = gain(&dir, QUICK).success().stdout();
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut record = read_json(&dir.path("tuned.gain.json"));
        change(&mut record);
        dir.write("tuned.gain.json", record.to_string());
    };
    // As if it had been killed while the tuned model was asked.
    edit(&|record| {
        record["after"] = Value::Null;
        record["influence"] = Value::Null;
        record["choice_since"] = Value::Null;
    });
    let asked = number(&dir, "select count(*) from request");
    let second = gain(&dir, QUICK).success();
    assert_eq!(steps(&second), ["eval", "influence"]);
    assert_eq!(second.stdout(), first);
    assert_eq!(number(&dir, "select count(*) from request"), asked);
    // As if it had been killed when training had just ended.
    edit(&|record| {
        record["is_trained"] = json!(false);
        record["after"] = Value::Null;
    });
    let third = gain(&dir, QUICK).success();
    assert_eq!(steps(&third), ["train", "eval"]);
    assert!(third.stderr().contains(" --resume\n"), "{}", third.stderr());
    assert!(
        third.stderr().contains("nothing is left to resume"),
        "{}",
        third.stderr()
    );
    assert_eq!((third.stdout(), runs(&dir, "train")), (first, 1));
    // Rows that have changed since are others.
    ewe(&dir, &["reject", "--db", "d.db", "3"]).success();
    let said = gain(&dir, QUICK).failure(1).stderr();
    assert!(said.contains("another `ewe gain`: it has other "), "{said}");
}

#[test]
fn a_dataset_s_own_split_is_used_as_it_is() {
    let dir = dataset();
    ewe(&dir, &["split", "--db", "d.db", "--eval", "3"]).success();
    let ran = gain(&dir, QUICK).success();
    assert_eq!(steps(&ran), ["eval", "train", "eval", "influence"]);
    assert!(
        ran.stderr()
            .contains("d.db: 3 tasks are held out by its split, which is used as it is"),
        "{}",
        ran.stderr()
    );
    let said = ran.stdout();
    assert!(
        said.contains("warning: 3 held-out tasks are few") && said.contains("hint: `ewe split --db d.db"),
        "{said}"
    );
    assert_eq!(number(&dir, "select count(*) from held_out"), 3);
}

#[test]
fn of_a_model_with_every_weight_trained_no_rows_are_named() {
    let dir = dataset();
    let ran = gain(&dir, "-- --method full --lr 1e-2 --steps 8 --precision fp32").success();
    assert_eq!(steps(&ran), ["split", "eval", "train", "eval"]);
    assert!(!ran.stderr().contains("--keep-checkpoints"), "{}", ran.stderr());
    let said = ran.stdout();
    assert!(
        said.contains("which rows made it worse is not known: every weight was trained"),
        "{said}"
    );
    assert!(said.contains("your data made gemma3 "), "{said}");
    assert!(dir.path("tuned/model.safetensors").is_file());
}

/// Starts a run that takes long, and waits until it trains.
fn training(dir: &Dir) -> Child {
    let long = "-- --lora-rank 4 --steps 1000000 --precision fp32 --eval-fraction 0";
    let mut process = process(dir, long);
    process.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = process.spawn().unwrap();
    let metrics = dir.path("tuned/metrics.jsonl");
    until("a step of training", || {
        metrics.metadata().is_ok_and(|file| file.len() > 0)
    });
    child
}

fn status_of_training(dir: &Dir) -> String {
    dir.sql("select status from run where command = 'train'")[0][0].clone()
}

#[test]
fn whoever_stops_it_stops_the_step() {
    for name in ["INT", "TERM"] {
        let dir = dataset();
        let child = training(&dir);
        signal(child.id(), name);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(
            said.contains("stopped; the same `ewe gain` goes on from here"),
            "{said}"
        );
        assert_eq!(output.stdout, b"");
        assert_eq!(status_of_training(&dir), "interrupted");
    }
    // Killed, it cannot pass anything on, and the system does.
    let dir = dataset();
    let mut child = training(&dir);
    child.kill().unwrap();
    child.wait().unwrap();
    until("the end of the step", || status_of_training(&dir) != "running");
    assert_eq!(status_of_training(&dir), "interrupted");
}

#[test]
fn a_step_that_fails_ends_it_with_a_way_on() {
    let dir = dataset();
    let said = gain(&dir, "-- --lora-targets nosuch --precision fp32")
        .failure(1)
        .stderr();
    for words in [
        "\"nosuch\"",
        "error: a step failed, with exit code 1: `ewe train --db d.db",
        "hint: once it is mended, the same `ewe gain` goes on from here",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Nothing was trained, so other options are no other run, and the base model is not asked again.
    let ran = gain(&dir, QUICK).success();
    assert_eq!(steps(&ran), ["train", "eval", "influence"]);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_done() {
    let dir = dataset();
    let refused = |line: &str, code: i32, words: &[&str]| {
        let said = ewe(&dir, &line.split_whitespace().collect::<Vec<_>>())
            .failure(code)
            .stderr();
        for word in words.iter().chain(&["hint: "]) {
            assert!(said.contains(word), "{line}: {word}: {said}");
        }
    };
    let model = golden("gemma3");
    let usual = format!("gain --db d.db --model {} --out tuned", model.display());
    refused(
        "gain --db d.db --model ./nowhere --out tuned",
        1,
        &["no model is at `./nowhere`"],
    );
    refused(
        &format!("{usual} -- --model other"),
        2,
        &["`--model` cannot be given to `ewe train` here"],
    );
    refused(
        &format!("{usual} -- --epochs 2 --keep-checkpoints=4"),
        2,
        &["`--keep-checkpoints`", "two are kept"],
    );
    refused(
        &format!("{usual} --check-worst -- --method full"),
        2,
        &["`--check-worst`"],
    );
    refused(
        &format!("{usual} -- --method full --lora-rank 4"),
        2,
        &["--lora-rank", "--method full"],
    );
    let unknown = format!("{usual} -- --epoch 2");
    let said = ewe(&dir, &unknown.split_whitespace().collect::<Vec<_>>()).failure(2);
    assert!(said.stderr().contains("--epoch"), "{}", said.stderr());
    std::fs::create_dir(dir.path("tuned")).unwrap();
    dir.write("tuned/x", "");
    refused(&usual, 1, &["`tuned` is not empty, and not of `ewe gain`"]);
    refused(
        &usual.replace("--out tuned", "--out -"),
        1,
        &["--out of `ewe gain` is a folder"],
    );
    std::fs::remove_dir_all(dir.path("tuned")).unwrap();
    ewe(&dir, &["reject", "--db", "d.db", "1-75"]).success();
    refused(&usual, 1, &["d.db: there is no task to train on"]);
    assert_eq!(number(&dir, "select count(*) from held_out"), 0);
    assert!(!dir.path("tuned.gain.json").exists() && !dir.path("tuned").exists());
}
