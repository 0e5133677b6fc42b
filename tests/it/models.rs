//! `ewe complete` and `ewe score` against the numbers of `transformers`, on the tiny checkpoints of
//! `scripts/make_goldens.py` and, where it has been fetched, on the real Gemma.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::golden::{golden, read_json, read_lines, text, write_lines};
use crate::shell::Dir;

fn ewe_torch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.args(arguments);
    command
}

/// Models, with adapter and expected results.
fn cases() -> Vec<(PathBuf, Option<PathBuf>, Value)> {
    let models = [
        ("gptj", None),
        ("neox", None),
        ("neox_serial", None),
        ("llama3", None),
        ("mistral", None),
        ("qwen2", None),
        ("qwen3_biased", None),
        ("gemma3", None),
        ("gemma3_untied", None),
        ("olmo2", None),
        ("smollm3", None),
        ("phi3", None),
        ("gemma2", None),
        ("gemma3_vision", None),
        ("granite", None),
        ("stablelm", None),
        ("stablelm_parallel", None),
        ("ministral", None),
        ("gpt2", None),
        ("qwen3_moe", None),
        ("gemma3", Some("gemma3_lora")),
    ];
    let expected = |model: &str, adapter: Option<&str>| {
        read_json(&golden(adapter.unwrap_or(model)).join("expected.json"))
    };
    models
        .map(|(model, adapter)| (golden(model), adapter.map(golden), expected(model, adapter)))
        .into()
}

fn with_adapter(command: &mut Command, adapter: &Option<PathBuf>) {
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
}

#[test]
fn complete_writes_the_greedy_text_of_transformers() {
    let scratch = Dir::new();
    let (prompts, out) = (scratch.path("prompts.jsonl"), scratch.path("out.jsonl"));
    for (model, adapter, expected) in cases() {
        let greedy = expected["greedy"].as_array().unwrap();
        let rows: Vec<Value> = greedy
            .iter()
            .map(|case| json!({ "prompt": case["prompt"], "id": 7 }))
            .collect();
        write_lines(&prompts, &rows);
        let mut command = ewe_torch(&["complete", "--model", text(&model), "--prompts", text(&prompts)]);
        command.args(["--out", text(&out), "--max-tokens", "32", "--temperature", "0"]);
        with_adapter(&mut command, &adapter);
        command.assert().success().stdout("");
        for (row, (got, case)) in read_lines(&out).iter().zip(greedy).enumerate() {
            let new = case["new"].as_array().unwrap();
            let ended = new.last().unwrap() == 0;
            let want = json!({
                "row": row,
                "completion": case["text"],
                "finish_reason": if ended { "stop" } else { "length" },
                "prompt_tokens": case["ids"].as_array().unwrap().len(),
                "completion_tokens": new.len(),
            });
            assert_eq!(got, &want, "{}", model.display());
        }
    }
}

#[test]
fn score_computes_the_likelihood_of_transformers() {
    let scratch = Dir::new();
    let (data, out) = (scratch.path("data.jsonl"), scratch.path("out.jsonl"));
    for (model, adapter, expected) in cases() {
        let score = expected["score"].as_array().unwrap();
        write_lines(&data, score);
        let mut command = ewe_torch(&[
            "score",
            "--model",
            text(&model),
            "--data",
            text(&data),
            "--out",
            text(&out),
        ]);
        with_adapter(&mut command, &adapter);
        command.assert().success();
        let got = read_lines(&out);
        assert_eq!(got.len(), score.len());
        for (row, (got, want)) in got.iter().zip(score).enumerate() {
            assert_eq!((&got["row"], &got["tokens"]), (&json!(row), &want["tokens"]));
            let off = (got["nll"].as_f64().unwrap() - want["nll"].as_f64().unwrap()).abs();
            assert!(off < 1e-4, "{}: row {row} is off by {off}", model.display());
        }
    }
}

#[test]
fn one_prompt_is_answered_on_stdout_up_to_the_stop_string() {
    let model = golden("gemma3");
    let expected = read_json(&model.join("expected.json"));
    let case = &expected["greedy"][1];
    let whole = case["text"].as_str().unwrap();
    let prompt = case["prompt"].as_str().unwrap();
    let ask = |more: &[&str]| {
        let mut command = ewe_torch(&["complete", "--model", text(&model), "--prompt", prompt]);
        let output = command
            .args(["--max-tokens", "32", "--temperature", "0"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask(&[]), format!("{whole}\n"));
    let middle = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
    let stop = whole[middle..].chars().take(2).collect::<String>();
    assert_eq!(
        ask(&["--stop", &stop]),
        format!("{}\n", &whole[..whole.find(&stop).unwrap()])
    );
}

#[test]
fn chat_answers_each_line() {
    let model = golden("gemma3_untied");
    let mut command = ewe_torch(&[
        "chat",
        "--model",
        text(&model),
        "--max-tokens",
        "3",
        "--temperature",
        "0",
    ]);
    // The Alpaca prompt is longer than this model's context.
    let assert = command.write_stdin("hi\n").assert().failure().code(1);
    let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(error.contains("context is 64"), "{error}");

    let scratch = Dir::new();
    for entry in std::fs::read_dir(&model).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), scratch.path(&entry.file_name().to_string_lossy())).unwrap();
    }
    let template = "{{ bos_token }}{% for m in messages %}{{ m['content'].strip() }}\n{% endfor %}";
    std::fs::write(scratch.path("chat_template.jinja"), template).unwrap();
    let dir = scratch.path("");
    let mut command = ewe_torch(&[
        "chat",
        "--model",
        text(&dir),
        "--max-tokens",
        "3",
        "--temperature",
        "0",
    ]);
    let assert = command.write_stdin("the \n\nin\n").assert().success();
    let answers = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let mut wanted = String::new();
    for prompt in ["the\n", "in\n"] {
        let mut command = ewe_torch(&[
            "complete",
            "--model",
            text(&model),
            "--prompt",
            prompt,
            "--temperature",
            "0",
        ]);
        let output = command.args(["--max-tokens", "3"]).output().unwrap();
        wanted += String::from_utf8(output.stdout).unwrap().trim_start();
    }
    assert_eq!(answers, wanted);
}

#[test]
fn wrong_input_is_named_and_leaves_no_file() {
    let scratch = Dir::new();
    let (rows, out) = (scratch.path("rows.jsonl"), scratch.path("out.jsonl"));
    let model = golden("gemma3");
    let fails = |arguments: &[&str], words: &[&str]| {
        let assert = ewe_torch(arguments).assert().failure().code(1);
        let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        for word in words {
            assert!(
                error.contains(word),
                "{arguments:?}: {error:?} does not say {word:?}"
            );
        }
        assert!(
            error.starts_with("error: ") && !error.contains("panicked"),
            "{error}"
        );
        assert!(!out.exists());
    };
    let complete = |model: &Path| {
        vec![
            "complete",
            "--model",
            text(model),
            "--prompts",
            text(&rows),
            "--out",
            text(&out),
        ]
        .into_iter()
        .map(str::to_string)
        .collect::<Vec<_>>()
    };
    let complete_fails = |model: &Path, more: &[&str], words: &[&str]| {
        let arguments = complete(model);
        let arguments: Vec<&str> = arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        fails(&arguments, words);
    };
    complete_fails(&model, &[], &["rows.jsonl"]);
    std::fs::write(&rows, "{\"prompt\": \"a\"}\n{\"prompt\": true}\n").unwrap();
    complete_fails(
        &model,
        &[],
        &["rows.jsonl:2", "`prompt` is true or false, not a string"],
    );
    write_lines(
        &rows,
        &[json!({ "prompt": "a" }), json!({ "prompt": "a".repeat(70) })],
    );
    complete_fails(&model, &[], &["row 1", "71 tokens", "context is 64"]);
    complete_fails(Path::new("/no/such/model"), &[], &["/no/such/model", "hint:"]);
    complete_fails(&model, &["--device", "tpu"], &["`tpu`", "hint:"]);
    complete_fails(&model, &["--dtype", "int3"], &["`int3`", "hint:"]);
    complete_fails(
        &model,
        &["--adapter", "/no/such/adapter"],
        &["/no/such/adapter/adapter_config.json"],
    );
    complete_fails(
        &golden("gptj"),
        &["--adapter", text(&golden("gemma3_lora"))],
        &[
            "has no place for",
            "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight",
        ],
    );
    complete_fails(
        &golden("gemma3_untied"),
        &["--adapter", text(&golden("gemma3_lora"))],
        &["layers.2."],
    );
    write_lines(&rows, &[json!({ "prompt": "", "completion": "a" })]);
    fails(
        &[
            "score",
            "--model",
            text(&golden("gptj")),
            "--data",
            text(&rows),
            "--out",
            text(&out),
        ],
        &["row 0", "empty prompt"],
    );
    let nowhere = scratch.path("no/such/dir/out.jsonl");
    fails(
        &[
            "score",
            "--model",
            text(&model),
            "--data",
            text(&rows),
            "--out",
            text(&nowhere),
        ],
        &["no/such/dir"],
    );
    fails(
        &["serve", "--model", text(&model), "--bind", "0.0.0.0:0"],
        &["0.0.0.0:0", "--token"],
    );
    assert_eq!(
        std::fs::read_dir(scratch.path("")).unwrap().count(),
        1,
        "only the rows are left"
    );
}

/// `--model OWNER/NAME` means the snapshot in the shared Hugging Face cache, for every option that
/// takes a model.
#[test]
fn a_hub_model_is_read_from_the_cache() {
    let scratch = Dir::new();
    let folder = scratch.path("home/hub/models--some-one--tiny");
    let snapshot = folder
        .join("snapshots")
        .join("0123456789abcdef0123456789abcdef01234567");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    std::fs::write(
        folder.join("refs/main"),
        snapshot.file_name().unwrap().to_str().unwrap(),
    )
    .unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(golden("neox").join(file), snapshot.join(file)).unwrap();
    }
    let at_home = |arguments: &[&str]| {
        let mut command = ewe_torch(arguments);
        command
            .env("HF_HOME", scratch.path("home"))
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("HF_HUB_CACHE");
        command.assert()
    };
    let (data, out) = (scratch.path("data.jsonl"), scratch.path("out.jsonl"));
    write_lines(&data, &[json!({ "prompt": "the ", "completion": "inner thing" })]);
    let (data, out) = (text(&data), text(&out));
    at_home(&["score", "--model", "some-one/tiny", "--data", data, "--out", out]).success();
    let want = &read_json(&golden("neox").join("expected.json"))["score"][0]["nll"];
    let off = read_lines(Path::new(out))[0]["nll"].as_f64().unwrap() - want.as_f64().unwrap();
    assert!(off.abs() < 1e-4, "{off}");
    at_home(&["plan", "--model", "some-one/tiny"]).success();
    let trained = scratch.path("trained");
    at_home(&[
        "train",
        "--model",
        "some-one/tiny",
        "--data",
        data,
        "--template",
        "completion",
        "--steps",
        "1",
        "--out",
        text(&trained),
        "--precision",
        "fp32",
        "--eval-fraction",
        "0",
        "--method",
        "lora",
    ])
    .success();
    let adapter = read_json(&trained.join("adapter_config.json"));
    assert_eq!(adapter["base_model_name_or_path"], "some-one/tiny");
    let refused = at_home(&["complete", "--model", "some-one/other", "--prompt", "x"])
        .failure()
        .code(1);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    for words in ["`some-one/other`", "HF_HUB_OFFLINE", "hint:"] {
        assert!(message.contains(words), "{message}");
    }
}

/// Ten prompts, 128 tokens each, as `scripts/make_goldens.py --gemma` wrote them.
#[test]
fn the_real_gemma_writes_the_greedy_text_of_transformers() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/gemma-3-270m");
    if !model.join("model.safetensors").is_file() {
        eprintln!(
            "skipped: {} is not there; `make setup` fetches it",
            model.display()
        );
        return;
    }
    let scratch = Dir::new();
    let (prompts, out) = (scratch.path("prompts.jsonl"), scratch.path("out.jsonl"));
    let expected = read_json(&golden("gemma_greedy.json"));
    let expected = expected.as_array().unwrap();
    let rows: Vec<Value> = expected
        .iter()
        .map(|case| json!({ "prompt": case["prompt"] }))
        .collect();
    write_lines(&prompts, &rows);
    // In bf16, the order of additions breaks near-ties, and no two programs share it.
    ewe_torch(&[
        "complete",
        "--model",
        text(&model),
        "--prompts",
        text(&prompts),
        "--out",
        text(&out),
        "--dtype",
        "fp32",
    ])
    .args(["--max-tokens", "128", "--temperature", "0"])
    .assert()
    .success();
    for (got, want) in read_lines(&out).iter().zip(expected) {
        assert_eq!(got["completion"], want["text"], "after {}", want["prompt"]);
    }
}
