//! What is special to single model families, from the command line: transposed weights, a mixture of
//! experts, the text half of a model of text and images.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::golden::{golden, read_json, read_lines, text, write_lines};
use crate::shell::Dir;

fn ewe_torch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.args(arguments);
    command
}

/// Rows for a few steps of training.
fn rows(dir: &Dir) -> String {
    let path = dir.path("rows.jsonl");
    let row = |n: usize| json!({ "prompt": "the ", "completion": "inner thing".repeat(1 + n % 2) });
    write_lines(&path, &(0..4).map(row).collect::<Vec<Value>>());
    text(&path).to_owned()
}

/// Trains two steps in fp32 on the rows.
fn train(dir: &Dir, model: &str, out: &Path, more: &[&str]) -> Command {
    let (data, model) = (rows(dir), golden(model));
    let mut command = ewe_torch(&[
        "train",
        "--model",
        text(&model),
        "--data",
        &data,
        "--out",
        text(out),
    ]);
    command
        .args([
            "--template",
            "completion",
            "--steps",
            "2",
            "--lr",
            "0.01",
            "--precision",
            "fp32",
        ])
        .args(["--eval-fraction", "0"])
        .args(more);
    command
}

/// Returns the likelihoods of the rows.
fn scores(dir: &Dir, model: &Path, adapter: Option<&Path>) -> Vec<f64> {
    let (data, out) = (rows(dir), dir.path("scores.jsonl"));
    let mut command = ewe_torch(&[
        "score",
        "--model",
        text(model),
        "--data",
        &data,
        "--out",
        text(&out),
    ]);
    if let Some(adapter) = adapter {
        command.args(["--adapter", text(adapter)]);
    }
    command.assert().success();
    let rows = read_lines(&out);
    rows.iter().map(|row| row["nll"].as_f64().unwrap()).collect()
}

fn near(name: &str, ours: &[f64], want: &[f64], limit: f64) {
    for (a, b) in ours.iter().zip(want) {
        assert!((a - b).abs() <= limit * b.abs().max(1.0), "{name}: {a}, {b}");
    }
}

#[test]
fn an_adapter_of_gpt_2_says_that_weights_are_transposed_and_merges() {
    let dir = Dir::new();
    let (adapter, merged, base) = (dir.path("adapter"), dir.path("merged"), golden("gpt2"));
    train(
        &dir,
        "gpt2",
        &adapter,
        &["--method", "lora", "--lora-targets", "c_attn,c_fc"],
    )
    .assert()
    .success();
    let config = read_json(&adapter.join("adapter_config.json"));
    assert_eq!(config["fan_in_fan_out"], true);
    assert_eq!(config["target_modules"], json!(["c_attn", "c_fc"]));
    let adapted = scores(&dir, &base, Some(&adapter));
    let before = scores(&dir, &base, None);
    assert!((adapted[0] - before[0]).abs() > 1e-3, "training changed nothing");
    ewe_torch(&[
        "merge",
        "--model",
        text(&base),
        "--adapter",
        text(&adapter),
        "--out",
        text(&merged),
    ])
    .args(["--dtype", "fp32"])
    .assert()
    .success();
    near("merged", &scores(&dir, &merged, None), &adapted, 1e-5);
}

#[test]
fn experts_are_trained_whole_and_take_no_adapter() {
    let dir = Dir::new();
    let (whole, adapter, base) = (dir.path("whole"), dir.path("adapter"), golden("qwen3_moe"));
    train(&dir, "qwen3_moe", &whole, &["--method", "full"])
        .assert()
        .success();
    let before = scores(&dir, &base, None);
    assert!(scores(&dir, &whole, None)[0] < before[0]);
    for more in [
        &["--method", "lora"] as &[&str],
        &["--method", "lora", "--quantize", "nf4"],
    ] {
        let _ = std::fs::remove_dir_all(&adapter);
        train(&dir, "qwen3_moe", &adapter, more).assert().success();
        let config = read_json(&adapter.join("adapter_config.json"));
        let targets = json!(["k_proj", "o_proj", "q_proj", "v_proj"]);
        assert_eq!(config["target_modules"], targets, "{more:?}");
    }
    let refused = train(
        &dir,
        "qwen3_moe",
        &dir.path("refused"),
        &["--method", "lora", "--lora-targets", "gate_proj"],
    )
    .assert()
    .failure();
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        message.contains("gate_proj") && message.contains("it has k_proj"),
        "{message}"
    );
}

/// Experts count in full as memory, but only the chosen ones as work.
#[test]
fn a_plan_counts_all_experts_and_the_capped_scores() {
    for model in ["qwen3_moe", "gemma2", "phi3"] {
        let model = golden(model);
        ewe_torch(&["plan", "--model", text(&model)]).assert().success();
    }
    let assert = ewe_torch(&["plan", "--model", text(&golden("qwen3_moe"))]).assert();
    let table = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    // Two blocks of 4 experts of 3 matrices of 24 by 32, and of attention.
    let linear = 2 * (4 * 3 * 24 * 32 + 2 * 64 * 32 + 2 * 32 * 32);
    let digits: String = table
        .chars()
        .filter(|letter| *letter != ',' && *letter != '\u{a0}')
        .collect();
    assert!(digits.contains(&linear.to_string()), "{linear}: {table}");
}

#[test]
fn the_text_half_of_a_model_with_images_is_saved_as_a_model_of_text() {
    let dir = Dir::new();
    let (whole, adapter, base) = (dir.path("whole"), dir.path("adapter"), golden("gemma3_vision"));
    train(&dir, "gemma3_vision", &whole, &["--method", "full"])
        .assert()
        .success();
    let config = read_json(&whole.join("config.json"));
    assert_eq!(config["model_type"], "gemma3_text");
    assert_eq!(config["hidden_size"], 32);
    assert!(config.get("text_config").is_none() && config.get("vision_config").is_none());
    let before = scores(&dir, &base, None);
    assert!(scores(&dir, &whole, None)[0] < before[0]);
    train(&dir, "gemma3_vision", &adapter, &["--method", "lora"])
        .assert()
        .success();
    let bytes = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    let names = String::from_utf8_lossy(&bytes).into_owned();
    assert!(names.contains("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"));
    assert!(scores(&dir, &base, Some(&adapter))[0] < before[0]);
}
