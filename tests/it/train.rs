//! `ewe train`, `ewe plan` and `ewe selftest` from the command line, on the tiny checkpoints of
//! `scripts/make_goldens.py`.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::{Value, json};

use crate::shell::Dir;

pub const EWE_TORCH: &str = env!("CARGO_BIN_EXE_ewe-torch");

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Forty rows of prompt and completion that fit the tiny models' 64 tokens.
pub fn rows(scratch: &Dir) -> PathBuf {
    let row = |k: usize| {
        let numbers: Vec<String> = (k..k + 3 + k % 4).map(|n| n.to_string()).collect();
        format!(
            "{}\n",
            json!({"prompt": format!("count {k}: "), "completion": numbers.join(" ")})
        )
    };
    let path = scratch.path("rows.jsonl");
    fs::write(&path, (0..40).map(row).collect::<String>()).unwrap();
    path
}

/// The arguments of a training run.
pub fn arguments(model: &str, data: &Path, out: &Path, more: &str) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut arguments: Vec<String> = ["train", "--model", &text(&here("tests/golden").join(model))]
        .map(str::to_owned)
        .into();
    arguments.extend(["--data", &text(data), "--out", &text(out)].map(str::to_owned));
    arguments.extend(more.split_whitespace().map(str::to_owned));
    arguments
}

pub fn train(model: &str, data: &Path, out: &Path, more: &str) -> Assert {
    Command::new(EWE_TORCH)
        .env("OMP_NUM_THREADS", "1")
        .args(arguments(model, data, out, more))
        .assert()
}

pub fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

pub fn fails(assert: Assert, words: &[&str]) {
    let text = stderr(&assert.code(1));
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// Asserts that a command exits with 2 and that its message begins with this error.
#[track_caller]
pub fn misread(assert: Assert, error: &str) {
    let text = stderr(&assert.code(2));
    assert!(
        text.starts_with(&format!("error: {error}\n")),
        "{error:?} does not begin: {text}"
    );
}

pub fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

pub fn losses(out: &Path) -> Vec<f64> {
    metrics(out)
        .iter()
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

/// The tensor names in the header of a safetensors file.
fn tensor_names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "__metadata__")
        .cloned()
        .collect()
}

#[test]
fn lora_lowers_the_loss_and_writes_peft_s_format() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    for model in ["gptj", "gemma3"] {
        let out = scratch.path(model);
        let run = train(
            model,
            &data,
            &out,
            "--epochs 3 --lr 1e-2 --lora-rank 4 --eval-fraction 0.1",
        );
        assert!(stderr(&run.success().stdout("")).contains("saved after 15 steps"));
        let lines = metrics(&out);
        assert_eq!(lines.len(), 15);
        for name in [
            "step",
            "loss",
            "lr",
            "grad_norm",
            "target_tokens",
            "tokens_per_s",
            "mfu",
        ] {
            assert!(lines[0][name].is_number(), "{name} in {}", lines[0]);
        }
        let held_out = |line: &Value, name: &str| line[name].as_f64().unwrap();
        let (before, after) = (
            held_out(&lines[0], "eval_loss_before"),
            held_out(&lines[14], "eval_loss"),
        );
        assert!(after < 0.9 * before, "{model}: {before} to {after}");
        let config: Value =
            serde_json::from_str(&fs::read_to_string(out.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(4), &json!(8)));
        let names = tensor_names(&out.join("adapter_model.safetensors"));
        let linears = if model == "gptj" { 6 } else { 7 };
        let layers = names.len() / 2 / linears;
        assert_eq!(names.len(), 2 * linears * layers);
        let first = if model == "gptj" {
            "transformer.h.0.attn"
        } else {
            "model.layers.0.self_attn"
        };
        assert!(
            names.contains(&format!("base_model.model.{first}.q_proj.lora_A.weight")),
            "{names:?}"
        );
        assert!(out.join("tokenizer.json").is_file());
        let drawn = fs::read_to_string(out.join("loss.svg")).unwrap();
        assert_eq!(drawn.matches("<polyline").count(), 2, "{drawn}");
        assert!(drawn.starts_with("<svg xmlns=") && drawn.contains(&format!("Loss of {model}, in nats")));
    }
}

/// An adapter on some layers: continued, merged, and refused where it changes nothing.
#[test]
fn an_adapter_is_targeted_continued_and_merged() {
    for dora in [false, true] {
        check_an_adapter(dora);
    }
}

fn check_an_adapter(dora: bool) {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (first, second, merged) = (
        scratch.path("first"),
        scratch.path("second"),
        scratch.path("merged"),
    );
    let more = "--precision fp32 --steps 10 --lr 2e-2 --eval-fraction 0";
    let mut chosen = "--lora-targets q_proj,v_proj --lora-rank 4 --lora-rank-stabilized".to_owned();
    if dora {
        chosen += " --dora";
    }
    train("gemma3", &data, &first, &format!("{more} {chosen}")).success();
    let names = tensor_names(&first.join("adapter_model.safetensors"));
    assert!(
        names
            .iter()
            .all(|name| name.contains("q_proj") || name.contains("v_proj")),
        "{names:?}"
    );
    let config: Value =
        serde_json::from_str(&fs::read_to_string(first.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
    assert_eq!(config["use_rslora"], true);
    assert_eq!(config["use_dora"], dora);
    let lengths = names
        .iter()
        .filter(|name| name.ends_with(".lora_magnitude_vector"));
    assert_eq!(lengths.count(), if dora { names.len() / 3 } else { 0 });
    let go_on = format!("{more} --adapter {}", first.display());
    train("gemma3", &data, &second, &go_on).success();
    assert_eq!(tensor_names(&second.join("adapter_model.safetensors")), names);
    assert!(
        losses(&second)[0] < losses(&first)[0] - 0.5,
        "{:?} {:?}",
        losses(&first),
        losses(&second)
    );
    let merge = |adapter: &Path, out: &Path, more: &[&str]| {
        Command::new(EWE_TORCH)
            .args(["merge", "--model"])
            .arg(here("tests/golden/gemma3"))
            .arg("--adapter")
            .arg(adapter)
            .arg("--out")
            .arg(out)
            .args(more)
            .assert()
    };
    let run = merge(&second, &merged, &["--dtype", "fp32"]).success();
    assert!(stderr(&run).contains("layers merged in fp32"), "{}", stderr(&run));
    // The merged model and the adapter on its base give the same scores.
    let score = |model: &Path, adapter: Option<&Path>, out: &str| -> Vec<f64> {
        let out = scratch.path(out);
        let mut command = Command::new(EWE_TORCH);
        command.args(["score", "--dtype", "fp32", "--model"]).arg(model);
        if let Some(adapter) = adapter {
            command.arg("--adapter").arg(adapter);
        }
        command
            .arg("--data")
            .arg(&data)
            .arg("--out")
            .arg(&out)
            .assert()
            .success();
        let text = fs::read_to_string(&out).unwrap();
        let nll = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["nll"]
                .as_f64()
                .unwrap()
        };
        text.lines().map(nll).collect()
    };
    let apart = score(&here("tests/golden/gemma3"), Some(&second), "apart.jsonl");
    let whole = score(&merged, None, "whole.jsonl");
    assert!(
        apart.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-4 * a),
        "{apart:?} {whole:?}"
    );
    fails(merge(&second, &merged, &[]), &["is not empty", "hint:"]);
    // A fresh adapter changes nothing.
    let fresh = scratch.path("fresh");
    train(
        "gemma3",
        &data,
        &fresh,
        "--steps 1 --warmup-steps 1 --eval-fraction 0",
    )
    .success();
    let nowhere = scratch.path("nowhere");
    fails(
        merge(&fresh, &nowhere, &[]),
        &["the merged model is its base", "hint:"],
    );
    assert!(!nowhere.exists());
    let out = scratch.path("out");
    fails(
        train("gemma3", &data, &out, "--lora-targets q_proj,qkv"),
        &["has no layer \"qkv\"", "hint: it has down_proj"],
    );
    misread(
        train("gemma3", &data, &out, &format!("{go_on} --lora-rank 8")),
        "`--lora-rank` cannot be used with `--adapter`: it is what the adapter that is gone on with has already\n\
         hint: leave it away",
    );
    assert!(!out.exists());
}

/// A user's own template: the targets are its completion block and the end-of-text token.
#[test]
fn rows_are_laid_out_by_the_user_s_template() {
    let scratch = Dir::new();
    let (data, template, out) = (
        scratch.path("rows.jsonl"),
        scratch.path("mine.jinja"),
        scratch.path("out"),
    );
    fs::write(
        &data,
        "{\"instruction\":\"add\",\"input\":\"1 2\",\"output\":\"3\"}\n",
    )
    .unwrap();
    fs::write(
        &template,
        "{% block prompt %}{{ instruction }}: {{ input }} ={% endblock %}{% block completion %} {{ output }}.{% endblock %}",
    )
    .unwrap();
    let more = format!(
        "--steps 1 --batch-size 1 --eval-fraction 0 --template-file {}",
        template.display()
    );
    train("gptj", &data, &out, &more).success();
    // The same row as prompt and completion.
    let (written, plain) = (scratch.path("written.jsonl"), scratch.path("plain"));
    fs::write(&written, "{\"prompt\":\"add: 1 2 =\",\"completion\":\" 3.\"}\n").unwrap();
    train(
        "gptj",
        &written,
        &plain,
        "--steps 1 --batch-size 1 --eval-fraction 0",
    )
    .success();
    assert_eq!(losses(&out), losses(&plain));
    assert_eq!(
        metrics(&out)[0]["target_tokens"],
        metrics(&plain)[0]["target_tokens"]
    );
    fs::write(&template, "{% block prompt %}{{ question }}{% endblock %}").unwrap();
    fails(
        train("gptj", &data, &scratch.path("no"), &more),
        &["mine.jinja", "cannot render the block `prompt`", "hint:"],
    );
}

#[test]
fn full_fine_tuning_lowers_the_loss_and_writes_a_usable_model() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    for model in ["gptj", "gemma3"] {
        let out = scratch.path(model);
        train(
            model,
            &data,
            &out,
            "--method full --epochs 3 --lr 1e-2 --eval-fraction 0",
        )
        .success();
        let curve = losses(&out);
        assert!(curve[14] < 0.8 * curve[0], "{model}: {curve:?}");
        let names = |dir: &Path| {
            let mut names = tensor_names(&dir.join("model.safetensors"));
            // Old checkpoints of GPT-J contain the causal mask.
            names.retain(|name| !name.ends_with("attn.bias") && !name.ends_with("attn.masked_bias"));
            names.sort();
            names
        };
        assert_eq!(names(&out), names(&here("tests/golden").join(model)));
        // Training the saved model continues where the first run ended.
        let again = scratch.path(&format!("{model} again"));
        let mut command = arguments(model, &data, &again, "--method full --steps 1 --eval-fraction 0");
        command[2] = out.display().to_string();
        Command::new(EWE_TORCH).args(command).assert().success();
        assert!(losses(&again)[0] < 0.8 * curve[0], "{model}");
    }
}

#[test]
fn the_loss_does_not_depend_on_the_micro_batches() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let run = |name: &str, cut: &str| {
        let out = scratch.path(name);
        let common = "--method full --precision fp32 --steps 8 --lr 1e-3 --eval-fraction 0";
        train("gemma3", &data, &out, &format!("{common} {cut}")).success();
        losses(&out)
    };
    let whole = run("whole", "");
    for (name, cut) in [
        ("one", "--micro-batch 1"),
        ("three", "--micro-batch 3"),
        ("tokens", "--micro-tokens 50"),
    ] {
        for (a, b) in whole.iter().zip(run(name, cut)) {
            assert!((a - b).abs() < 1e-5, "{cut}: {a} {b}");
        }
    }
}

#[test]
fn bad_input_is_refused_before_anything_is_written() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let file = |name: &str, text: &str| {
        fs::write(scratch.path(name), text).unwrap();
        scratch.path(name)
    };
    let instruction = r#"{"instruction":"a","input":"","output":"b"}"#;
    for (data, more, words) in [
        (
            scratch.path("missing.jsonl"),
            "",
            &["cannot read", "missing.jsonl"][..],
        ),
        (
            file("bad.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\nnonsense\n"),
            "",
            &["bad.jsonl:2"],
        ),
        (
            file("fields.jsonl", "{\"text\":\"a\"}\n"),
            "",
            &["fields.jsonl", "`text`", "hint:", "--map"],
        ),
        (file("empty.jsonl", ""), "", &["nothing to train on", "hint:"]),
        (
            data.clone(),
            "--max-length 4",
            &["nothing to train on", "40 rows, 40 left out", "--max-length"],
        ),
        (data.clone(), "--max-length 9999", &["--max-length 9999", "64"]),
        (data.clone(), "--template alpaca", &["finished prompts", "hint:"]),
        (
            file("chat.jsonl", instruction),
            "--template chat --eval-fraction 0",
            &["chat template", "hint:"],
        ),
        (data.clone(), "--device cuda:9", &["cuda:9"]),
        (data.clone(), "--resume", &["nothing to resume", "hint:"]),
    ] {
        fails(train("gptj", &data, &out, more), words);
        assert!(!out.exists(), "{more} left something behind");
    }
    for (more, error) in [
        (
            "--lr 0",
            "invalid value '0' for '--lr <RATE>': want a number above 0, 1000 at most",
        ),
        (
            "--eval-fraction 1",
            "invalid value '1' for '--eval-fraction <F>': want a number of at least 0 and below 1",
        ),
    ] {
        misread(train("gptj", &data, &out, more), error);
        assert!(!out.exists(), "{more} left something behind");
    }
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine.txt"), "x").unwrap();
    fails(train("gptj", &data, &out, ""), &["is not empty", "hint:"]);
    fails(
        train("gptj", &data, &out, "--resume"),
        &["is not the result of a run"],
    );
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn rows_over_max_length_are_listed() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let run = train("gptj", &data, &out, "--max-length 22 --steps 1 --eval-fraction 0").success();
    let listed = fs::read_to_string(out.join("left_out.jsonl")).unwrap();
    assert!(stderr(&run).contains("rows are left out"));
    let first: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert!(
        first["id"].as_str().unwrap().starts_with("line ")
            && first["reason"].as_str().unwrap().contains("more than 22")
    );
}

#[test]
fn a_dry_run_leaves_no_files_and_quiet_prints_nothing() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let run = train("gemma3", &data, &out, "--method full --dry-run")
        .success()
        .stdout("");
    assert!(
        stderr(&run).contains("dry run: 38 examples, 5 steps"),
        "{}",
        stderr(&run)
    );
    assert!(!out.exists());
    let run = train("gemma3", &data, &out, "--steps 1 -q").success().stdout("");
    assert_eq!(stderr(&run), "");
}

/// The same numbers of tokens as a step counts, and nothing is written.
#[test]
fn rows_are_shown_as_the_model_gets_them() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let options = "--eval-fraction 0 --order sequential --batch-size 2";
    let shown = train("gptj", &data, &out, &format!("{options} --show-rows 2")).success();
    let text = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
    assert!(text.contains("count 0: ⟦0 1 2<eos>⟧\n"), "{text}");
    assert!(text.contains("count 1: ⟦1 2 3 4<eos>⟧\n"), "{text}");
    assert!(!text.contains("count 2") && !out.exists(), "{text}");
    let shown = train("gptj", &data, &out, &format!("{options} --show-rows 2 --json")).success();
    let lines = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
    let trained = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let parts = row["parts"].as_array().unwrap().iter();
        let trained = parts.filter(|part| part["trained"] == true);
        trained
            .map(|part| part["tokens"].as_array().unwrap().len())
            .sum::<usize>()
    };
    let trained: usize = lines.lines().map(trained).sum();
    train("gptj", &data, &out, &format!("{options} --steps 1")).success();
    assert_eq!(metrics(&out)[0]["target_tokens"], trained);
}

#[test]
fn a_dataset_can_be_trained_on() {
    let scratch = Dir::new();
    let (db, file, out) = (
        scratch.path("x.db"),
        scratch.path("alpaca.json"),
        scratch.path("out"),
    );
    let tasks: Vec<Value> = (0..12)
        .map(
            |n| json!({"instruction": format!("add {n} and 1"), "input": "", "output": format!("{}", n + 1)}),
        )
        .collect();
    fs::write(&file, serde_json::to_string(&tasks).unwrap()).unwrap();
    let text = |path: &Path| path.display().to_string();
    let ewe = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ewe"))
            .args(arguments)
            .assert()
            .success()
    };
    ewe(&["init", "--db", &text(&db)]);
    ewe(&["import", "--db", &text(&db), &text(&file)]);
    let mut command = arguments("gptj", &file, &out, "--template completion --steps 2");
    (command[3], command[4]) = ("--db".to_owned(), text(&db));
    ewe(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(metrics(&out).len(), 2);
    let run: Value = serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    assert!(run["examples"].as_u64().unwrap() > 0);
}

/// Every storage format of weights and optimizer state: the losses are nearly the same, since the
/// formats lose next to nothing.
#[test]
fn compact_weights_and_optimizer_state_reach_nearly_the_same_loss() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let run = |name: &str, more: &str| -> Vec<f64> {
        let out = scratch.path(name);
        let more = format!(
            "--method full --precision bf16 --steps 12 --batch-size 40 --lr 2e-3 --eval-fraction 0 {more}"
        );
        train("gemma3", &data, &out, &more).success();
        losses(&out)
    };
    let plain = run("plain", "--master fp32");
    assert_eq!(plain, run("split", "--master split"));
    assert_eq!(plain, run("offloaded", "--offload"));
    let near = |losses: Vec<f64>, limit: f64, what: &str| {
        let apart = (losses[11] - plain[11]).abs() / plain[11];
        assert!(
            apart < limit && losses[11] < 0.9 * losses[0],
            "{what}: {losses:?} {plain:?}"
        );
    };
    near(run("lion", "--optimizer lion --master stochastic"), 0.5, "Lion");
    near(run("8bit", "--optimizer adamw8bit"), 0.01, "8 bit");
    near(
        run("chance", "--optimizer adamw8bit --master stochastic"),
        0.02,
        "by chance",
    );
    near(run("backward", "--update-in-backward"), 1e-3, "in backward");
    near(
        run(
            "least",
            "--optimizer adafactor --master stochastic --update-in-backward --clip 0",
        ),
        0.5,
        "Adafactor",
    );
}

/// A base in 4 bits: the loss begins near that of full precision and falls, and the adapter works
/// with the unquantized base.
#[test]
fn an_adapter_lowers_the_loss_on_an_nf4_base() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let more = "--precision fp32 --steps 12 --batch-size 40 --lr 1e-2 --eval-fraction 0";
    for (name, dora) in [("gptj", ""), ("gemma3", "--dora")] {
        let run = |out: &str, quantize: &str| -> Vec<f64> {
            let out = scratch.path(&format!("{name} {out}"));
            train(name, &data, &out, &format!("{more} {dora} {quantize}")).success();
            losses(&out)
        };
        let (plain, quantised) = (run("plain", ""), run("quantised", "--quantize nf4"));
        let apart = |step: usize| (quantised[step] - plain[step]).abs() / plain[step];
        assert!(
            quantised[0] != plain[0] && apart(0) < 0.05 && quantised[11] < 0.9 * quantised[0],
            "{name}: {plain:?} {quantised:?}"
        );
        let scores = Command::new(EWE_TORCH)
            .args(["score", "--model"])
            .arg(here("tests/golden").join(name))
            .arg("--adapter")
            .arg(scratch.path(&format!("{name} quantised")))
            .arg("--data")
            .arg(&data)
            .arg("--out")
            .arg(scratch.path(&format!("{name}.jsonl")))
            .assert();
        scores.success();
    }
    let out = scratch.path("out");
    misread(
        train("gptj", &data, &out, "--method full --quantize nf4"),
        "`--quantize` cannot be used with `--method full`: it is of an adapter\n\
         hint: --method lora, or leave it away",
    );
}

#[test]
fn plan_estimates_gpt_j_from_its_config_alone() {
    let config = here("tests/fixtures/gpt-j-6b/config.json");
    let plan = |more: &[&str]| {
        Command::new(EWE_TORCH)
            .args(["plan", "--model"])
            .arg(&config)
            .args(more)
            .assert()
    };
    let table = String::from_utf8(plan(&[]).success().get_output().stdout.clone()).unwrap();
    assert!(
        table.contains("6,050,882,784")
            && table.contains("moments          48.4 GB")
            && table.contains("--optimizer adafactor --master stochastic --update-in-backward\n")
            && table.contains("         2.1   12.5 GB")
            && table.contains("--offload takes 72.6 GB of the machine's own memory"),
        "{table}"
    );
    let lines: Vec<&str> = table.lines().collect();
    let tables = lines
        .iter()
        .filter(|line| line.contains(" GB") || line.contains("checkpoints"));
    let wide: Vec<_> = tables
        .filter(|line| line.chars().count() > 80 && line.contains("   "))
        .collect();
    // Its way out may be longer than the room for it.
    let wide: Vec<_> = wide.into_iter().filter(|line| !line.starts_with("cpu")).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    // This machine comes first.
    assert!(
        lines[2].starts_with("this machine") && lines[3].contains("  full      "),
        "{table}"
    );
    let only = plan(&["--method", "lora", "--json"]).success();
    let json: Value = serde_json::from_slice(&only.get_output().stdout).unwrap();
    let cpu = json["machine"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&cpu["device"], &cpu["method"]),
        (&json!("cpu"), &json!("lora")),
        "{json}"
    );
    let formats = json["formats"].as_array().unwrap();
    assert!(
        formats.iter().all(|of| of["choice"]["method"] == "lora"),
        "{json}"
    );
    let refused = plan(&["--memory", "24GB", "--method", "full"]).code(1);
    let text = String::from_utf8(refused.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("does not fit into 24.0 GB; `ewe train --optimizer adafactor --master stochastic --update-in-backward --clip 0` does")
            && text.contains(
                "By itself, `ewe train` takes --offload --update-in-backward there, with 14.9 GB and 72.6 GB of the machine's own memory.\n"
            ),
        "{text}"
    );
    // Every weight of a model of 6B parameters, on a GPU of 80 GB, takes no option.
    let most = plan(&["--memory", "80GB", "--method", "full"]).code(1);
    let text = String::from_utf8(most.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("By itself, `ewe train` takes --update-in-backward there, with 75.4 GB.\n"),
        "{text}"
    );
    let fits = ["--memory", "24GB", "--json"];
    let times = ["--tokens", "6200000", "--optimizer", "adamw8bit"];
    let planned = plan(&[&fits[..], &times].concat()).success();
    let json: Value = serde_json::from_slice(&planned.get_output().stdout).unwrap();
    assert_eq!(json["model"]["parameters"], 6_050_882_784u64);
    assert_eq!(json["methods"][1]["fits"], 24);
    let h100 = json["methods"][0]["times"]
        .as_array()
        .unwrap()
        .iter()
        .find(|time| time["gpu"] == "H100 80 GB");
    assert!(
        (h100.unwrap()["minutes"].as_f64().unwrap() - 9.8).abs() < 0.5,
        "{h100:?}"
    );
    let missing = Command::new(EWE_TORCH)
        .args(["plan", "--model", "./nowhere"])
        .assert();
    fails(missing, &["no model at ./nowhere", "hint:"]);
}

#[test]
fn selftest_passes() {
    let run = Command::new(EWE_TORCH)
        .args(["selftest", "--device", "cpu"])
        .env("OMP_NUM_THREADS", "1")
        .assert();
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(
        text.contains("all checks passed") && text.contains("no GPU was tested"),
        "{text}"
    );
    run.success();
}
