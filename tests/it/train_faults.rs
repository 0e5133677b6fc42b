//! `ewe train` survives kills, changed data, rows that break a step, and a full disk.

use std::fs;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::shell::{Dir, signal};
use crate::train::{EWE_TORCH, arguments, fails, losses, metrics, rows, stderr, train};
use crate::waiting::{pause, until};

/// Starts a run and waits until its metrics have `steps` lines; none if it ended before.
fn start(arguments: &[String], out: &Path, steps: usize) -> Option<Child> {
    let mut child = Process::new(EWE_TORCH)
        .env("OMP_NUM_THREADS", "1")
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("steps", || {
        metrics(out).len() >= steps || child.try_wait().unwrap().is_some()
    });
    child.try_wait().unwrap().is_none().then_some(child)
}

/// Frequent checkpoints, so that kills hit saves, and several micro-batches a step, so that kills
/// hit gradient accumulation.
const LONG: &str = "--save-every 3 --lora-dropout 0.1 --neftune 5 --lr 1e-3 --batch-size 4 --micro-batch 2 \
     --eval-every 40 --keep-best";

/// The lines of the metrics without figures that depend on the machine.
fn log(out: &Path) -> Vec<Value> {
    let mut lines = metrics(out);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.remove("tokens_per_s");
        line.remove("mfu");
        line.remove("memory");
        line.remove("resident");
        line.remove("update_s");
    }
    lines
}

/// The last checkpoint: its name and its tensors.
fn last_state(out: &Path) -> (String, Vec<u8>) {
    let names = fs::read_dir(out.join("checkpoints")).unwrap().flatten();
    let last = names
        .map(|entry| entry.file_name().into_string().unwrap())
        .max()
        .unwrap();
    let bytes = fs::read(out.join("checkpoints").join(&last).join("state.safetensors")).unwrap();
    (last, bytes)
}

#[test]
fn a_run_killed_eight_times_equals_an_uninterrupted_one() {
    is_equal_after(8, 200);
}

/// The long form of the test above: `make soak`.
#[test]
#[ignore = "takes long; run by `make soak`"]
fn soak() {
    is_equal_after(50, 1250);
}

/// Compares a run of so many steps with one that is killed so often, at moments from the first step
/// after a start to 100 ms later.
fn is_equal_after(kills: usize, steps: u64) {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (whole, killed) = (scratch.path("whole"), scratch.path("killed"));
    let options = format!("--steps {steps} {LONG}");
    let resuming = format!("{options} --resume");
    train("gptj", &data, &whole, &options).success();
    let mut wait = 7u64;
    for kill in 0..kills {
        let resumes = killed.join("run.json").is_file();
        let more = if resumes { &resuming } else { &options };
        let before = metrics(&killed).len();
        // Kill only after progress, or the run never ends; then at any moment.
        let child = start(
            &arguments("gptj", &data, &killed, more),
            &killed,
            before.max(kill) + 4,
        );
        if let Some(mut child) = child {
            wait = wait * 37 % 101;
            pause(Duration::from_millis(wait));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if killed.join("adapter_model.safetensors").exists() {
            // The machine is quick, or was busy with others when this run was to be killed.
            assert!(
                steps < 20_000,
                "each run ended before it was killed {kills} times"
            );
            return is_equal_after(kills, 3 * steps);
        }
    }
    let resumed = train("gptj", &data, &killed, &resuming).success();
    assert!(
        stderr(&resumed).contains("continuing after step"),
        "{}",
        stderr(&resumed)
    );
    let bytes = |dir: &Path| fs::read(dir.join("adapter_model.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&killed), "the weights differ");
    assert!(
        last_state(&whole) == last_state(&killed),
        "the optimizer's state differs"
    );
    assert_eq!(log(&whole), log(&killed));
    let told: Vec<u64> = metrics(&killed)
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(told, (1..=steps).collect::<Vec<_>>());
    let again = train("gptj", &data, &killed, &resuming).success();
    assert!(stderr(&again).contains("is finished"));
}

/// What `ewe train` chose by itself must stay what it is, whatever is free when a run goes on.
#[test]
fn a_resumed_run_keeps_its_formats() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let more = "--method full --precision bf16 --steps 3000 --batch-size 4 --save-every 0";
    let formats = "--optimizer adamw8bit --master stochastic --recompute";
    let line = arguments("gptj", &data, &out, &format!("{more} {formats}"));
    let mut child = start(&line, &out, 5).expect("a run that goes on");
    signal(child.id(), "INT");
    child.wait().unwrap();
    let shorter = more.replace("3000", &(metrics(&out).len() + 3).to_string());
    fails(
        train(
            "gptj",
            &data,
            &out,
            &format!("{shorter} --resume --allow-changes --optimizer adamw"),
        ),
        &["--optimizer: \"adamw8bit\" then, \"adamw\" now"],
    );
    train(
        "gptj",
        &data,
        &out,
        &format!("{shorter} --resume --allow-changes"),
    )
    .success();
    let run: Value = serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    let settings = run.get("settings").unwrap_or(&run);
    assert_eq!(
        (
            &settings["optimizer"],
            &settings["master"],
            &settings["recompute"]
        ),
        (&json!("adamw8bit"), &json!("stochastic"), &json!(true)),
        "{run}"
    );
}

#[test]
fn ctrl_c_saves_a_checkpoint_and_exits_130() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let more = "--steps 5000 --save-every 0 --batch-size 4";
    let mut child = start(&arguments("gptj", &data, &out, more), &out, 5).expect("a run that goes on");
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let saved: Vec<_> = fs::read_dir(out.join("checkpoints"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(saved.len(), 1, "{saved:?}");
    let done = metrics(&out).len();
    assert_eq!(saved[0].to_string_lossy(), format!("step-{done:08}"));

    // A resumed run has the same settings and data; others are refused by name.
    let resume = |data: &Path, more: &str| train("gptj", data, &out, &format!("{more} --resume"));
    fails(
        resume(&data, "--steps 5000 --save-every 0 --batch-size 4 --clip 3"),
        &["other settings", "clip", "hint:"],
    );
    fs::write(
        &data,
        fs::read_to_string(&data).unwrap().replace("count 7", "count 8"),
    )
    .unwrap();
    fails(
        resume(&data, more),
        &["cannot resume", "dataset has changed", "--allow-changes"],
    );
    // `--allow-changes` permits them, except for the shape of tensors.
    let changed = "--steps 520 --save-every 0 --batch-size 4 --clip 3 --allow-changes";
    fails(
        resume(&data, &format!("{changed} --lora-rank 4")),
        &["lora", "--allow-changes cannot change these"],
    );
    fs::remove_file(out.join("checkpoints").join(&saved[0]).join("state.json")).unwrap();
    fails(resume(&data, changed), &["state.json", "cannot read"]);
}

/// A limit on file size simulates a full disk: both fail in the middle of a write.
#[test]
fn a_full_disk_leaves_no_half_written_weights() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let script = format!(
        "trap '' XFSZ; ulimit -f 20; exec {EWE_TORCH} {}",
        arguments("gemma3", &data, &out, "--method full --steps 2 --precision fp32").join(" ")
    );
    let run = Command::new("bash").args(["-c", &script]).assert().code(1);
    let text = stderr(&run);
    assert!(
        text.contains("cannot write") && text.contains("model.safetensors"),
        "{text}"
    );
    let left: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name == "model.safetensors" || name.contains("partial")),
        "{left:?}"
    );
}

/// A limit on address space simulates a machine without free memory. A smaller run can continue.
#[test]
fn out_of_memory_ends_with_a_hint_and_the_run_can_continue() {
    let scratch = Dir::new();
    let data = scratch.path("rows.jsonl");
    // Rows without shared prefixes, so that all tokens go through the model.
    let row = |n: u32| {
        let prompt = format!("{:020b}", n.wrapping_mul(2_654_435_761) >> 12);
        json!({"prompt": prompt, "completion": "yes"}).to_string() + "\n"
    };
    fs::write(&data, (0..12_000).map(row).collect::<String>()).unwrap();
    let out = scratch.path("out");
    // A run of 40 rows at once needs half a gigabyte of addresses, this one more than a whole.
    let all = "--method full --precision fp32 --steps 1 --batch-size 12000 --micro-batch 12000 --micro-tokens 2000000";
    let script = format!(
        "ulimit -v 900000; exec {EWE_TORCH} {}",
        arguments("gptj", &data, &out, all).join(" ")
    );
    let run = Command::new("bash")
        .env("OMP_NUM_THREADS", "1")
        .env("RAYON_NUM_THREADS", "2")
        .args(["-c", &script])
        .assert()
        .code(1);
    let text = stderr(&run);
    assert!(text.contains("error: libtorch: "), "{text}");
    assert!(text.contains("can't allocate memory"), "{text}");
    assert!(
        text.contains("hint: --micro-tokens 1000000 or --recompute takes less, and with --resume"),
        "{text}"
    );
    assert!(!text.contains("panicked") && !text.contains("frame #"), "{text}");
    let less = "--method full --precision fp32 --steps 1 --batch-size 40 --resume --allow-changes";
    train("gptj", &data, &out, less).success();
    assert_eq!(metrics(&out).len(), 1);
}

/// Outliers after many similar rows: their steps change no weight, and three in a row end the run.
#[test]
fn the_loss_spike_guard_refuses_outliers() {
    let scratch = Dir::new();
    let data = scratch.path("rows.jsonl");
    let usual = |n: usize| json!({"prompt": "count: ", "completion": format!("1 2 3 4 {}", n % 2)});
    let odd = json!({"prompt": "count: ", "completion": "zq#%&xjw!!kv?"});
    let lines = |odd_rows: std::ops::Range<usize>| -> String {
        let line = |n: usize| {
            if odd_rows.contains(&n) {
                odd.clone()
            } else {
                usual(n)
            }
        };
        (0..180).map(|n| format!("{}\n", line(n))).collect()
    };
    let more = "--method full --order sequential --batch-size 1 --lr 2e-3 --schedule constant --warmup-steps 0 --eval-fraction 0 \
                --save-every 20 --guard 10 --precision fp32";
    fs::write(&data, lines(150..152)).unwrap();
    let out = scratch.path("two");
    let run = train("gptj", &data, &out, more).success();
    let lines_of = metrics(&out);
    let skipped: Vec<u64> = lines_of
        .iter()
        .filter(|line| line.get("skipped").is_some())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(skipped, [151, 152], "{}", stderr(&run));
    assert_eq!(lines_of[150]["rows"], json!(["line 151"]));
    assert!(
        lines_of[150]["skipped"]
            .as_str()
            .unwrap()
            .contains("standard deviations above")
    );
    assert!(
        losses(&out)[153] < 1.5 * losses(&out)[149],
        "the weights did not move"
    );
    fs::write(&data, lines(150..160)).unwrap();
    let out = scratch.path("many");
    fails(
        train("gptj", &data, &out, more),
        &[
            "3 steps in a row were refused, up to step 153",
            "the last checkpoint is the one after step 140",
            "hint:",
        ],
    );
    assert!(!out.join("model.safetensors").exists());
    // Without those rows, the run continues.
    fs::write(&data, lines(0..0)).unwrap();
    train("gptj", &data, &out, &format!("{more} --resume --allow-changes")).success();
    assert_eq!(metrics(&out).len(), 180);
    assert!(out.join("model.safetensors").exists());
}

/// A run that begins to overfit stops, and its result is the best checkpoint.
#[test]
fn the_best_checkpoint_is_the_result() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let more = "--method full --steps 400 --batch-size 8 --lr 2e-2 --schedule constant --eval-fraction 0.3 --eval-every 5 \
                --early-stop 4 --precision fp32 --save-every 7";
    let run = train("gptj", &data, &out, more).success();
    let text = stderr(&run);
    assert!(
        text.contains("stopped early") && text.contains("it is the result"),
        "{text}"
    );
    let evaluations: Vec<(u64, f64)> = metrics(&out)
        .iter()
        .filter_map(|line| Some((line["step"].as_u64()?, line.get("eval_loss")?.as_f64()?)))
        .collect();
    let best = evaluations.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(
        evaluations.last().unwrap().0,
        best.0 + 20,
        "four evaluations later: {evaluations:?}"
    );
    assert!(text.contains(&format!("the best was step {}", best.0)), "{text}");
    let state = out.join(format!("checkpoints/step-{:08}/state.safetensors", best.0));
    let of = |path: &Path| -> Vec<u8> { fs::read(path).unwrap() };
    // A tensor that both files have: the embedding.
    let find = |bytes: &[u8], name: &str| -> Vec<u8> {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let at = |n: usize| header[name]["data_offsets"][n].as_u64().unwrap() as usize + 8 + length;
        bytes[at(0)..at(1)].to_vec()
    };
    let (result, kept) = (of(&out.join("model.safetensors")), of(&state));
    let name = "transformer.wte.weight";
    assert!(
        find(&result, name) == find(&kept, &format!("weight.{name}")),
        "not the best one's weights"
    );
}

/// TensorBoard files are written: complete records, whose tags are those of the metrics.
#[test]
fn curves_are_written_for_tensorboard() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    train("gptj", &data, &out, "--steps 5").success();
    let files: Vec<_> = fs::read_dir(out.join("tensorboard")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1);
    let bytes = fs::read(files[0].path()).unwrap();
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 8 + 4 + length + 4;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), 2 + 5));
    let text = String::from_utf8_lossy(&bytes);
    for tag in [
        "brain.Event:2",
        "train/loss",
        "train/grad_norm",
        "eval/perplexity",
    ] {
        assert!(text.contains(tag), "{tag}");
    }
}

/// Starts the same run several times at once, and tries whatever else writes to its folder
/// meanwhile.
#[test]
fn only_one_process_writes_to_a_folder() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let more = "--steps 100000 --batch-size 4 --save-every 3";
    let begin = |_: usize| {
        Process::new(EWE_TORCH)
            .env("OMP_NUM_THREADS", "1")
            .args(arguments("gptj", &data, &out, more))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let taken = "another process is writing to";
    let mut runs: Vec<Child> = (0..3).map(begin).collect();
    // All but one end at once.
    let mut refused = Vec::new();
    until("two that are refused", || {
        refused.extend(runs.extract_if(.., |run| run.try_wait().unwrap().is_some()));
        refused.len() == 2
    });
    for run in refused {
        let told = run.wait_with_output().unwrap();
        let text = String::from_utf8(told.stderr).unwrap();
        assert_eq!(told.status.code(), Some(1), "{text}");
        assert!(text.contains(taken) && text.contains("hint:"), "{text}");
    }
    let mut run = runs.pop().unwrap();
    until("steps of the other", || {
        assert!(run.try_wait().unwrap().is_none(), "the run ended early");
        metrics(&out).len() >= 4
    });
    for other in ["", "--resume", "--dry-run", "--resume --allow-changes"] {
        fails(train("gptj", &data, &out, other), &[taken, "hint: wait"]);
    }
    let merge = Command::new(EWE_TORCH)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "merge",
            "--model",
            "tests/golden/gemma3",
            "--adapter",
            "tests/golden/gemma3_lora",
        ])
        .arg("--out")
        .arg(&out)
        .assert();
    fails(merge, &[taken, "hint: wait"]);
    assert!(run.try_wait().unwrap().is_none(), "the run was disturbed");
    run.kill().unwrap();
    run.wait().unwrap();
    // After a kill nobody is locked out, and the log is that of one run.
    assert!(out.join(".lock").exists());
    let steps = metrics(&out).len() as u64 + 5;
    let more = format!("--steps {steps} --batch-size 4 --save-every 3 --resume --allow-changes");
    train("gptj", &data, &out, &more).success();
    assert!(!out.join(".lock").exists());
    let told: Vec<u64> = metrics(&out)
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(told, (1..=steps).collect::<Vec<_>>());
}
