//! `ewe train` in several processes (ranks), over Gloo on this machine.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::Value;

use crate::shell::{Dir, signal};
use crate::train::{EWE_TORCH, arguments, fails, losses, metrics, misread, rows, train};
use crate::waiting::{ended, until};

const EWE: &str = env!("CARGO_BIN_EXE_ewe");

/// Options of all runs here: fp32, in which the order of sums is all that differs.
const PLAIN: &str = "--device cpu --precision fp32 --batch-size 5 --eval-fraction 0.1";

pub fn line(data: &Path, out: &Path, more: &str) -> Vec<String> {
    arguments("gemma3", data, out, &format!("{PLAIN} {more}"))
}

pub fn ewe(arguments: Vec<String>) -> Command {
    let mut ewe = Command::new(EWE);
    ewe.env("OMP_NUM_THREADS", "1").args(arguments);
    ewe
}

/// Starts `ewe` in the background, with its standard error in a file.
pub fn start(arguments: Vec<String>, errors: &Path) -> Child {
    Process::new(EWE)
        .env("OMP_NUM_THREADS", "1")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(errors).unwrap())
        .spawn()
        .unwrap()
}

/// The fp32 tensors of a safetensors file, by name.
pub fn tensors(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut all = Vec::new();
    for (name, of) in header.as_object().unwrap() {
        if of["dtype"] != "F32" {
            continue;
        }
        let at = |end: usize| 8 + length + of["data_offsets"][end].as_u64().unwrap() as usize;
        let numbers = bytes[at(0)..at(1)].chunks_exact(4);
        let numbers = numbers.map(|four| f32::from_le_bytes(four.try_into().unwrap()));
        all.push((name.clone(), numbers.collect()));
    }
    all.sort_by(|a: &(String, _), b| a.0.cmp(&b.0));
    assert!(!all.is_empty());
    all
}

/// Asserts that two runs lost as much in each step, and that their weights are equal, but for
/// rounding.
#[track_caller]
pub fn alike(one: &Path, other: &Path, file: &str) {
    let (a, b) = (losses(one), losses(other));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
    let held_out = |out: &Path| metrics(out).last().unwrap()["eval_loss"].as_f64().unwrap();
    assert!((held_out(one) - held_out(other)).abs() < 1e-6);
    for ((name, a), (of, b)) in tensors(&one.join(file)).iter().zip(&tensors(&other.join(file))) {
        assert_eq!((name, a.len()), (of, b.len()));
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{name}: {apart}");
    }
}

/// The processes of ranks that `launcher` started, by rank.
fn ranks_of(launcher: u32) -> Vec<(usize, i32)> {
    let wanted = format!("EWE_LAUNCHER={launcher}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = |variable: &str| {
            environment
                .split(|byte| *byte == 0)
                .any(|of| of == variable.as_bytes())
        };
        if has(&wanted) {
            let rank = (0..8).find(|rank| has(&format!("RANK={rank}")));
            found.push((rank.unwrap(), process));
        }
    }
    found
}

pub fn process_of(launcher: &Child, rank: usize) -> i32 {
    let all = ranks_of(launcher.id());
    all.iter().find(|(of, _)| *of == rank).expect("it runs").1
}

/// Asserts that no rank is left.
#[track_caller]
pub fn none_left(launcher: u32) {
    until("the end of all ranks", || ranks_of(launcher).is_empty());
}

#[test]
fn ranks_train_the_adapter_that_one_process_trains() {
    is_as_one(
        "--method lora --lora-rank 4 --lora-dropout 0.2",
        "adapter_model.safetensors",
    );
}

#[test]
fn ranks_train_the_weights_that_one_process_trains() {
    is_as_one("--method full", "model.safetensors");
}

fn is_as_one(options: &str, file: &str) {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let options = format!("{options} --steps 6 --eval-every 3 --neftune 5");
    let out = |name: &str| scratch.path(name);
    ewe(line(&data, &out("one"), &options)).assert().success();
    for (name, ranks) in [("two", 2), ("again", 2), ("three", 3)] {
        let more = format!("{options} --ranks {ranks}");
        let run = ewe(line(&data, &out(name), &more)).assert().success();
        let text = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        assert_eq!(text.matches("saved after 6 steps").count(), 1, "{text}");
        alike(&out("one"), &out(name), file);
    }
    let bytes = |name: &str| fs::read(out(name).join(file)).unwrap();
    assert!(
        bytes("two") == bytes("again"),
        "runs of as many ranks have the same bits"
    );
    assert_eq!(losses(&out("two")), losses(&out("again")));
}

/// As `torchrun` does, and without `ewe` in between.
#[test]
fn ranks_that_another_program_starts_meet() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    let options = format!("{PLAIN} --steps 4");
    train("gemma3", &data, &one, &options).success();
    // Somebody else may take it, though not likely: the next free one is another.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let rank = |rank: usize| {
        Process::new(EWE_TORCH)
            .env("OMP_NUM_THREADS", "1")
            .envs([("RANK", rank.to_string()), ("LOCAL_RANK", rank.to_string())])
            .envs([("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost")])
            .env("MASTER_PORT", port.to_string())
            .args(arguments("gemma3", &data, &two, &options))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [rank(1), rank(0)];
    for child in &mut both {
        assert!(ended(child).success());
    }
    alike(&one, &two, "adapter_model.safetensors");
}

#[test]
fn a_rank_whose_others_do_not_come_says_so() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let alone = |rank: &str| {
        Command::new(EWE)
            .env("OMP_NUM_THREADS", "1")
            .envs([("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")])
            .env("MASTER_PORT", port.to_string())
            .args(line(&data, &scratch.path("out"), "--rank-timeout 1s"))
            .assert()
    };
    fails(
        alone("0"),
        &["error: rank 0: 1 rank has come, of 2, within 1 s\nhint: start all of them"],
    );
    fails(
        alone("1"),
        &[
            "error: rank 1: cannot reach the other ranks at 127.0.0.1:",
            "hint: MASTER_ADDR",
        ],
    );
}

/// Many steps, so that something can happen meanwhile.
const LONG: &str = "--steps 4000 --save-every 5 --ranks 2";

#[test]
fn a_killed_rank_ends_all_with_its_number() {
    let scratch = Dir::new();
    let (data, out, errors) = (rows(&scratch), scratch.path("out"), scratch.path("errors"));
    let mut run = start(line(&data, &out, LONG), &errors);
    until("steps", || metrics(&out).len() >= 3);
    signal(process_of(&run, 1) as u32, "KILL");
    assert_eq!(ended(&mut run).code(), Some(1));
    let text = fs::read_to_string(&errors).unwrap();
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(
        text.contains("error: rank 1 was killed by signal 9\nhint: "),
        "{text}"
    );
    none_left(run.id());
}

#[test]
fn a_rank_that_hangs_ends_all_with_its_number() {
    let scratch = Dir::new();
    let (data, out, errors) = (rows(&scratch), scratch.path("out"), scratch.path("errors"));
    let mut run = start(line(&data, &out, &format!("{LONG} --rank-timeout 2s")), &errors);
    until("steps", || metrics(&out).len() >= 3);
    signal(process_of(&run, 1) as u32, "STOP");
    assert_eq!(ended(&mut run).code(), Some(1));
    let text = fs::read_to_string(&errors).unwrap();
    assert!(
        text.contains("error: rank 1 has given no sign of life for 2 s\nhint: "),
        "{text}"
    );
    none_left(run.id());
}

#[test]
fn ranks_end_with_the_process_that_started_them() {
    let scratch = Dir::new();
    let (data, out, errors) = (rows(&scratch), scratch.path("out"), scratch.path("errors"));
    let mut run = start(line(&data, &out, LONG), &errors);
    until("steps", || !metrics(&out).is_empty());
    signal(run.id(), "KILL");
    ended(&mut run);
    none_left(run.id());
}

#[test]
fn after_a_restart_the_result_is_that_of_an_undisturbed_run() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (whole, disturbed, errors) = (
        scratch.path("whole"),
        scratch.path("disturbed"),
        scratch.path("errors"),
    );
    let options = "--steps 80 --save-every 5 --ranks 2 --max-restarts 2";
    ewe(line(&data, &whole, options)).assert().success();
    let mut run = start(line(&data, &disturbed, options), &errors);
    for (rank, steps) in [(1, 7), (0, 20)] {
        until("steps", || metrics(&disturbed).len() >= steps);
        signal(process_of(&run, rank) as u32, "KILL");
        let said = || fs::read_to_string(&errors).unwrap_or_default();
        until("a restart", || {
            said().contains(&format!("{} of 2 restarts", if rank == 1 { 1 } else { 2 }))
        });
        // Metrics of the steps that are done again are taken out first.
        until("both ranks", || ranks_of(run.id()).len() == 2);
    }
    assert!(
        ended(&mut run).success(),
        "{}",
        fs::read_to_string(&errors).unwrap()
    );
    let file = "adapter_model.safetensors";
    assert!(fs::read(whole.join(file)).unwrap() == fs::read(disturbed.join(file)).unwrap());
    assert_eq!(losses(&whole), losses(&disturbed));
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (whole, parts, errors) = (
        scratch.path("whole"),
        scratch.path("parts"),
        scratch.path("errors"),
    );
    let options = "--steps 150 --save-every 1000";
    ewe(line(&data, &whole, options)).assert().success();
    let mut run = start(line(&data, &parts, &format!("{options} --ranks 2")), &errors);
    until("steps", || metrics(&parts).len() >= 3);
    signal(run.id(), "TERM");
    assert_eq!(
        ended(&mut run).code(),
        Some(130),
        "{}",
        fs::read_to_string(&errors).unwrap()
    );
    let done = metrics(&parts).len();
    assert!((3..150).contains(&done), "{done}");
    let said = fs::read_to_string(&errors).unwrap();
    assert!(
        said.contains(&format!("stopped after step {done}; continue")),
        "{said}"
    );
    none_left(run.id());
    ewe(line(&data, &parts, &format!("{options} --ranks 3 --resume")))
        .assert()
        .success();
    alike(&whole, &parts, "adapter_model.safetensors");
}

#[test]
fn plan_says_what_ranks_exchange() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemma3");
    let plan = |more: &[&str]| {
        let run = Command::new(EWE_TORCH)
            .arg("plan")
            .arg("--model")
            .arg(&model)
            .args(more)
            .assert();
        String::from_utf8(run.success().get_output().stdout.clone()).unwrap()
    };
    let planned: Value = serde_json::from_str(&plan(&["--gpus", "8", "--json"])).unwrap();
    for method in planned["methods"].as_array().unwrap() {
        let trained = method["trained"].as_u64().unwrap();
        assert_eq!(method["wire_bytes"], 8 * trained * 7 / 8);
    }
    let text = plan(&["--gpus", "8"]);
    assert!(
        text.contains("8 GPUs train data-parallel (`ewe train --gpus 8`)"),
        "{text}"
    );
    assert!(text.contains("1 MB sent by each, and as much received"), "{text}");
    assert!(!plan(&[]).contains("data-parallel"));
}

#[test]
fn what_ranks_cannot_do_is_refused() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let run = |more: &str| ewe(line(&data, &out, more)).assert();
    fails(
        run("--ranks 2 --method full --update-in-backward"),
        &[
            "error: rank ",
            "--update-in-backward updates a block",
            "hint: --recompute",
        ],
    );
    fails(
        Command::new(EWE)
            .envs([
                ("RANK", "0"),
                ("WORLD_SIZE", "4"),
                ("MASTER_ADDR", "localhost"),
                ("MASTER_PORT", "1"),
            ])
            .args(line(&data, &out, "--ranks 2"))
            .assert(),
        &["this is rank 0 of 4", "hint: leave --ranks and --gpus away"],
    );
    let missing = line(&scratch.path("missing.jsonl"), &out, "--ranks 2");
    let begun = std::time::Instant::now();
    fails(ewe(missing).assert(), &["missing.jsonl"]);
    assert!(begun.elapsed() < Duration::from_secs(60));
    misread(
        run("--ranks 0"),
        "invalid value '0' for '--ranks <N>': 0 is not in 1..=1024",
    );
    assert!(!out.join("run.json").exists());
}
