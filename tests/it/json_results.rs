//! Results for programs: `--json` of the commands that train, merge and answer.

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::{Value, json};

use crate::golden::{golden, read_lines, text, write_lines};
use crate::shell::Dir;
use crate::train::{EWE_TORCH, metrics, rows, train};

/// Standard output of a success, which is one JSON value.
#[track_caller]
fn printed(done: Assert) -> Value {
    let done = done.success();
    serde_json::from_slice(&done.get_output().stdout).expect("JSON on stdout")
}

fn near(a: &Value, b: &Value) -> bool {
    let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
    (a - b).abs() < 1e-9
}

#[test]
fn a_run_and_its_merge_say_what_they_did() {
    let scratch = Dir::new();
    let (data, out, merged) = (rows(&scratch), scratch.path("out"), scratch.path("merged"));
    let options = "--steps 3 --lora-rank 2 --eval-fraction 0.1 --json";
    let dry = format!("{options} --dry-run");
    let tried = printed(train("gptj", &data, &scratch.path("tried"), &dry));
    assert_eq!(
        (&tried["dry_run"], &tried["steps"], &tried["examples"]),
        (&json!(true), &json!(3), &json!(36))
    );

    let done = printed(train("gptj", &data, &out, options));
    let lines = metrics(&out);
    assert_eq!(done["out"], text(&out));
    assert_eq!(
        (&done["method"], &done["steps"], &done["examples"]),
        (&json!("lora"), &json!(3), &json!(36))
    );
    assert!(near(&done["loss"], &lines[2]["loss"]), "{done}");
    let held_out = &done["held_out"];
    assert!(near(&held_out["before"], &lines[0]["eval_loss_before"]), "{done}");
    assert!(near(&held_out["after"], &lines[2]["eval_loss"]), "{done}");
    // A finished run says it again.
    let resumed = format!("{options} --resume");
    assert_eq!(printed(train("gptj", &data, &out, &resumed)), done);

    let mut merge = Command::new(EWE_TORCH);
    merge.args(["merge", "--json", "--model"]).arg(golden("gptj"));
    merge.arg("--adapter").arg(&out).arg("--out").arg(&merged);
    let done = printed(merge.assert());
    assert_eq!(
        (&done["out"], &done["gguf"]),
        (&json!(text(&merged)), &Value::Null)
    );
    let mut sum = 0;
    for file in done["files"].as_array().unwrap() {
        let size = Path::new(file["path"].as_str().unwrap())
            .metadata()
            .unwrap()
            .len();
        assert_eq!(file["bytes"], size, "{file}");
        sum += size;
    }
    assert_eq!(done["bytes"], sum);
    let weights = json!(text(&merged.join("model.safetensors")));
    let files = done["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == weights), "{done}");
}

#[test]
fn answers_are_rows_or_counted() {
    let scratch = Dir::new();
    let (prompts, out) = (scratch.path("prompts.jsonl"), scratch.path("out.jsonl"));
    let ask = |more: &[&str]| {
        let mut command = Command::new(EWE_TORCH);
        command.args(["complete", "--max-tokens", "4", "--temperature", "0", "--model"]);
        command.arg(golden("gptj")).args(more).assert()
    };
    let streamed = ask(&["--prompt", "count 1: "]).success();
    let streamed = String::from_utf8(streamed.get_output().stdout.clone()).unwrap();
    let one = printed(ask(&["--prompt", "count 1: ", "--json"]));
    assert_eq!(format!("{}\n", one["completion"].as_str().unwrap()), streamed);

    write_lines(
        &prompts,
        &[json!({"prompt": "count 1: "}), json!({"prompt": "a"})],
    );
    let line = ["--prompts", text(&prompts), "--out", text(&out), "--json"];
    let done = printed(ask(&line));
    let answers = read_lines(&out);
    assert_eq!(answers[0], one);
    assert_eq!((&done["out"], &done["rows"]), (&json!(text(&out)), &json!(2)));
    for name in ["prompt_tokens", "completion_tokens"] {
        let counts = answers.iter().map(|answer| answer[name].as_u64().unwrap());
        assert_eq!(done[name], counts.sum::<u64>(), "{name}");
    }
}
