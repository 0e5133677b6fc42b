//! `scripts/gpu_day.py`, the measurements for a day with a GPU: on the CPU with a tiny model, and
//! with an `ewe` that fails or hangs.

use crate::shell::Dir;
use crate::waiting::until;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A program that answers `selftest`, fails at `selftest --kernels` with words, and hangs at
/// `complete` with a child of its own, whose id it writes to the file `child`.
const FAKE: &str = r#"#!/bin/sh
case "$*" in
    --version) echo "ewe 0.0.0" ;;
    *--kernels*) echo "no kernel for this card" >&2; exit 3 ;;
    selftest*) echo '{"checks": [], "kernels": [], "failed": 0, "gflops_bf16": 1.0, "gflops_fp32": 1.0}' ;;
    complete*) sleep 600 & echo $! > "$CHILD"; wait ;;
    *) exit 9 ;;
esac
"#;

fn script(dir: &Dir, ewe: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/gpu_day.py"))
        .args([
            "--device",
            "cpu",
            "--model-shape",
            "tiny",
            "--python",
            "/nowhere/python",
            "--out",
        ])
        .arg(dir.path("day"))
        .arg("--ewe")
        .arg(ewe)
        .args(more)
        .env("OMP_NUM_THREADS", "1")
        .env("CHILD", dir.path("child"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn fake(dir: &Dir) -> std::path::PathBuf {
    dir.write("ewe", FAKE);
    let path = dir.path("ewe");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn ended(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn day(dir: &Dir) -> Value {
    serde_json::from_str(&dir.read("day/gpu-day.json")).unwrap()
}

/// The entry of a part.
fn part<'a>(day: &'a Value, name: &str) -> &'a Value {
    let parts = day["parts"].as_array().unwrap();
    let found = parts.iter().find(|entry| entry["part"] == name);
    found.unwrap_or_else(|| panic!("no part {name} in {day}"))
}

/// Waits until a process has ended. One that was killed may take a moment, and stays as a zombie
/// until somebody waits for it.
fn assert_ended(process: &str) {
    let stat = format!("/proc/{}/stat", process.trim());
    until("the end of a child of a part", || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn a_day_on_the_cpu_with_a_tiny_model_measures_every_part() {
    let dir = Dir::new();
    let ewe = Path::new(env!("CARGO_BIN_EXE_ewe"));
    // No limit of a part is to bite on a busy machine.
    let output = script(&dir, ewe, &["--seconds", "1200"]).output().unwrap();
    ended(&output);
    let day = day(&dir);
    for key in [
        "version", "date", "ewe", "device", "shape", "machine", "limit_s", "seconds",
    ] {
        assert!(!day[key].is_null(), "{key}: {day}");
    }
    assert_eq!(day["complete"], true);
    for entry in day["parts"].as_array().unwrap() {
        // Without a Python there are no peers.
        let is_peer = entry["part"].as_str().unwrap().starts_with("peer: ");
        let status = if is_peer { "skipped" } else { "done" };
        assert_eq!(entry["status"], status, "{entry:#}");
        assert!(
            entry["seconds"].is_number() && entry["limit_s"].is_number(),
            "{entry:#}"
        );
    }
    let result = |name: &str| &part(&day, name)["result"];
    assert_eq!(result("selftest")["failed"], 0);
    assert_eq!(result("kernels")["kernels"].as_array().unwrap().len(), 20);
    for row in [
        "--method full --optimizer adamw8bit",
        "--method lora --quantize nf4",
    ] {
        let memory = result(&format!("memory: {row}"));
        for key in ["planned", "memory", "planned_apart", "tokens_per_s"] {
            assert!(memory[key].is_number(), "{row} {key}: {memory}");
        }
    }
    let training = result("training: --method lora, 16k tokens");
    assert_eq!(
        (&training["tokens"], &training["micro_batches"]),
        (&512.into(), &2.into())
    );
    assert!(training["mfu"].as_f64().unwrap() > 0.0, "{training}");
    let decode = result("decode: 16 at once");
    assert_eq!(
        (&decode["sequences"], &decode["tokens"]),
        (&16.into(), &512.into())
    );
    assert!(decode["decode_tokens_per_s"].as_f64().unwrap() > 0.0, "{decode}");
    let ranks = result("ranks: --method full --shard all");
    assert_eq!((&ranks["ranks"], &ranks["tokens"]), (&2.into(), &256.into()));
    assert!(ranks["tokens_per_s"].as_f64().unwrap() > 0.0, "{ranks}");
    let trace = result("decode trace");
    assert!(trace["trace"]["operators"].as_i64().unwrap() > 0, "{trace}");
    assert_eq!(trace["trace"]["cudnn"], Value::Array(Vec::new()));
    let table = dir.read("day/gpu-day.md");
    for title in [
        "Parts",
        "Self-test",
        "Kernels",
        "Memory",
        "Training",
        "Several GPUs",
        "Generation",
        "Decode trace",
    ] {
        assert!(table.contains(&format!("\n## {title}")), "{title}: {table}");
    }
    // The checkpoint is gone.
    assert_eq!(std::fs::read_dir(dir.path("day")).unwrap().count(), 2);
}

#[test]
fn a_part_that_fails_or_exceeds_its_limit_costs_no_other() {
    let dir = Dir::new();
    let parts = [
        "--only",
        "selftest",
        "--only",
        "kernels",
        "--only",
        "decode: 1 at",
        "--only",
        "decode: 16",
    ];
    let limits = ["--limit", "decode=3"];
    let started = Instant::now();
    let output = script(&dir, &fake(&dir), &[&parts[..], &limits[..]].concat())
        .output()
        .unwrap();
    ended(&output);
    assert!(started.elapsed() < Duration::from_secs(300));
    let day = day(&dir);
    assert_eq!(day["complete"], true);
    assert_eq!(part(&day, "selftest")["status"], "done");
    let kernels = part(&day, "kernels");
    assert_eq!(kernels["status"], "failed");
    assert_eq!(kernels["reason"], "exit status 3: no kernel for this card");
    for name in ["decode: 1 at once", "decode: 16 at once"] {
        let decode = part(&day, name);
        assert_eq!(decode["status"], "timed out", "{decode}");
        assert_eq!(decode["reason"], "killed after 3 s.");
    }
    assert_ended(&dir.read("child"));
    let table = dir.read("day/gpu-day.md");
    assert!(
        table.contains("| kernels | failed | ") && table.contains("no kernel for this card"),
        "{table}"
    );
}

#[test]
fn what_does_not_fit_into_the_day_is_listed_as_not_run() {
    let dir = Dir::new();
    let output = script(
        &dir,
        &fake(&dir),
        &["--only", "decode: ", "--seconds", "5", "--limit", "decode=3"],
    )
    .output()
    .unwrap();
    ended(&output);
    let day = day(&dir);
    // Without a limit, a part takes ten minutes.
    assert!(day["seconds"].as_f64().unwrap() < 120.0, "{day}");
    let last = part(&day, "decode: 256 at once");
    assert_eq!(last["status"], "not run");
    assert_eq!(last["reason"], "no time was left of 5 s");
}

#[test]
fn an_interrupted_day_keeps_its_results_and_ends_what_it_started() {
    let dir = Dir::new();
    let parts = [
        "--only",
        "selftest",
        "--only",
        "decode: 1 at",
        "--only",
        "decode: 16",
    ];
    let mut child = script(&dir, &fake(&dir), &parts).spawn().unwrap();
    // The id is there at once or not yet: the file is written after it was made.
    until("a part that began", || {
        std::fs::read_to_string(dir.path("child")).is_ok_and(|text| text.ends_with('\n'))
    });
    let kill = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_ended(&dir.read("child"));
    let day = day(&dir);
    assert_eq!(day["complete"], false);
    assert_eq!(part(&day, "selftest")["status"], "done");
    assert_eq!(part(&day, "decode: 1 at once")["reason"], "interrupted");
    assert_eq!(part(&day, "decode: 16 at once")["status"], "not run");
}

#[test]
fn without_a_program_to_measure_nothing_is_written() {
    let dir = Dir::new();
    let output = script(&dir, Path::new("/nowhere/ewe"), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no `ewe` to measure"));
    assert!(!dir.path("day").exists());
}
