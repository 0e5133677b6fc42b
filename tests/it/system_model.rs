//! System messages of rows on their way into a model: training, `score` and `complete` put them where the template has its
//! place for them, token for token as `transformers` does (`scripts/make_goldens.py`, `scripts/check_templates.py`).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::server::golden;
use crate::shell::{self, Dir};
use crate::templates::{ewe, expected, model, read_json, text, train, write_lines};
use crate::train::{fails, metrics};

/// One that shows no system message, without a word.
const DEAF: &str = "{% for m in messages if m.role != 'system' %}{{ m.content }}|{% endfor %}";

const BLOCKS: &str = "{% block prompt %}Q: {{ instruction }}{% if input %}\n({{ input }}){% endif %}\nA:{% endblock %}\n\
                      {% block completion %} {{ output }} </q>{% endblock %}\n";

/// A row of one question under `be it`, and the same with that in front of the question.
fn row_and_folded() -> [Value; 2] {
    [
        json!({ "system": "be it", "instruction": "Name it.", "input": "a 1", "output": "the 1" }),
        json!({ "instruction": "be it\n\nName it.", "input": "a 1", "output": "the 1" }),
    ]
}

fn written(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs `score` or `complete` over rows, and gives what it wrote.
fn asked(scratch: &Dir, command: &str, model: &Path, rows: &[Value], more: &[&str]) -> Vec<Value> {
    let (data, out) = (scratch.path("asked.jsonl"), scratch.path("answers.jsonl"));
    write_lines(&data, rows);
    let file = if command == "score" { "--data" } else { "--prompts" };
    let mut arguments = vec![command, "--model", text(model), "--dtype", "fp32"];
    arguments.extend([file, text(&data), "--out", text(&out)]);
    if command == "complete" {
        arguments.extend(["--max-tokens", "1", "--temperature", "0"]);
    }
    arguments.extend(more);
    ewe(&arguments).assert().success();
    written(&out)
}

/// How far two scores are from each other, in nats.
fn apart(a: &Value, b: &Value) -> f64 {
    (a["nll"].as_f64().unwrap() - b["nll"].as_f64().unwrap()).abs()
}

#[test]
fn a_chat_template_gets_it_as_the_reference_does() {
    let scratch = Dir::new();
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    for name in ["qwen", "llama2", "gemma"] {
        let base = model(name);
        let below_a_system = |case: &&Value| {
            let messages = case["messages"].as_array().unwrap();
            messages.len() == 3 && messages[0]["role"] == "system"
        };
        let cases = expected(name, "chats");
        let cases: Vec<&Value> = cases.iter().filter(below_a_system).collect();
        assert!(cases.len() >= 5, "{name}");
        for case in cases {
            let path = golden("tokenizers").join(format!("{}.jinja", case["template"].as_str().unwrap()));
            let at = format!("{name} {}", path.display());
            write_lines(&data, &[json!({ "messages": case["messages"] })]);
            let trained = |most: usize| {
                let most = most.to_string();
                train(
                    base.path(),
                    &data,
                    &out,
                    &["--template", text(&path), "--max-length", &most],
                )
            };
            if let Some(error) = case["error"].as_str() {
                let words = ["the row \"line 1\"", error, "hint:"];
                fails(trained(99), &words);
                if error.contains("undefined") {
                    continue;
                }
                fails(trained(99), &["refuses a system message", "--template alpaca"]);
                continue;
            }
            let length = case["ids"].as_array().unwrap().len();
            let learnt = case["learnt"].as_array().unwrap().iter();
            let learnt: u64 = learnt
                .map(|range| range[1].as_u64().unwrap() - range[0].as_u64().unwrap())
                .sum();
            fails(
                trained(length - 1),
                &[&format!("line 1: {length} tokens, more than {}", length - 1)],
            );
            trained(length).success();
            assert_eq!(metrics(&out)[0]["target_tokens"], json!(learnt), "{at}");
            fs::remove_dir_all(&out).unwrap();
            let prompt = case["prompt"].as_array().unwrap().len();
            let question = json!({ "messages": [case["messages"][0], case["messages"][1]] });
            let answer = asked(
                &scratch,
                "complete",
                base.path(),
                &[question],
                &["--chat", "--template", text(&path)],
            );
            assert_eq!(answer[0]["prompt_tokens"], json!(prompt), "{at}");
        }
    }
}

/// In front of the instruction, after an empty line: what the saved chat template makes of a system message.
#[test]
fn templates_of_instructions_have_it_before_the_instruction() {
    let scratch = Dir::new();
    let base = model("llama2");
    scratch.write("blocks.jinja", BLOCKS);
    let blocks = scratch.path("blocks.jinja");
    let [row, folded] = row_and_folded();
    let bare = json!({ "instruction": "Name it.", "input": "a 1", "output": "the 1" });
    for template in ["alpaca", "dolly", "completion", text(&blocks)] {
        let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
        let options = ["--template", template, "--precision", "fp32"];
        let step = |row: &Value| {
            write_lines(&data, std::slice::from_ref(row));
            train(base.path(), &data, &out, &options).success();
            let step = metrics(&out)[0].clone();
            let saved = fs::read_to_string(out.join("chat_template.jinja")).unwrap();
            fs::remove_dir_all(&out).unwrap();
            (
                step["loss"].as_f64().unwrap(),
                step["target_tokens"].clone(),
                saved,
            )
        };
        let (loss, targets, saved) = step(&row);
        assert_eq!(
            (loss, &targets),
            (step(&folded).0, &step(&folded).1),
            "{template}"
        );
        assert_ne!(loss, step(&bare).0, "{template}");

        // What is saved asks in the same form, and scores it.
        scratch.write("saved.jinja", saved);
        let rows = [row.clone(), folded.clone(), bare.clone()];
        let saved = scratch.path("saved.jinja");
        let chat = ["--chat", "--template", text(&saved)];
        let answers = asked(&scratch, "complete", base.path(), &rows, &chat);
        let tokens = |at: usize| answers[at]["prompt_tokens"].as_u64().unwrap();
        assert_eq!(tokens(0), tokens(1), "{template}");
        assert!(tokens(0) > tokens(2), "{template}");
        let scores = asked(&scratch, "score", base.path(), &rows, &chat);
        assert_eq!(scores[0]["tokens"], targets, "{template}");
        assert!(apart(&scores[0], &scores[1]) < 1e-4, "{template}: {scores:?}");
        assert!(apart(&scores[0], &scores[2]) > 1e-3, "{template}: {scores:?}");
        let mean = scores[0]["nll"].as_f64().unwrap() / targets.as_f64().unwrap();
        assert!((mean - loss).abs() < 1e-5, "{template}: {mean} {loss}");
    }
    // Without a template it is a part of the one text.
    let rows = [row, folded, bare];
    let scores = asked(&scratch, "score", base.path(), &rows, &[]);
    assert!(apart(&scores[0], &scores[1]) < 1e-4, "{scores:?}");
    assert!(apart(&scores[0], &scores[2]) > 1e-3, "{scores:?}");
    let answers = asked(&scratch, "complete", base.path(), &rows, &[]);
    assert_eq!(answers[0]["prompt_tokens"], answers[1]["prompt_tokens"]);
    assert_ne!(answers[0]["prompt_tokens"], answers[2]["prompt_tokens"]);
}

#[test]
fn a_dataset_brings_it_as_its_file_does() {
    let scratch = Dir::new();
    let base = model("qwen");
    let (data, db) = (scratch.path("rows.jsonl"), scratch.path("d.db"));
    let chatml = golden("tokenizers").join("chatml.jinja");
    let say = |role: &str, content: &str| json!({ "role": role, "content": content });
    let messages = json!([
        say("system", "be it"),
        say("user", "Name it."),
        say("assistant", "the 1")
    ]);
    write_lines(&data, &[json!({ "messages": messages })]);
    scratch.write(
        "seed.jsonl",
        r#"{"instruction": "Say hi.", "instances": [{"input": "", "output": "hi"}]}"#,
    );
    for arguments in [
        &["init", "--db", "d.db", "--seeds", "seed.jsonl"][..],
        &["reject", "--db", "d.db", "1"],
        &["import", "--db", "d.db", "rows.jsonl"],
    ] {
        shell::ewe(&scratch, arguments).success();
    }
    let step = |name: &str, source: &[&str]| {
        let out = scratch.path(name);
        let mut arguments = vec!["train", "--model", text(base.path()), "--out", text(&out)];
        arguments.extend(["--template", text(&chatml), "--steps", "1", "--precision", "fp32"]);
        arguments.extend(["--eval-fraction", "0"]);
        arguments.extend(source);
        ewe(&arguments).assert().success();
        let step = metrics(&out)[0].clone();
        (step["loss"].clone(), step["target_tokens"].clone())
    };
    let from_file = step("file", &["--data", text(&data)]);
    assert_eq!(from_file, step("dataset", &["--db", text(&db)]));
    write_lines(
        &data,
        &[json!({ "messages": [messages[1].clone(), messages[2].clone()] })],
    );
    assert_ne!(from_file, step("bare", &["--data", text(&data)]));
}

/// An error that names row and way out, of every command that would lose it; also where the words stand elsewhere in the row.
#[test]
fn a_template_that_passes_over_it_is_refused() {
    let scratch = Dir::new();
    let base = model("gemma");
    scratch.write("deaf.jinja", DEAF);
    let deaf = scratch.path("deaf.jinja");
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    write_lines(
        &data,
        &[
            json!({ "instruction": "a", "output": "b" }),
            json!({ "system": "the", "instruction": "Name the 1", "output": "b" }),
        ],
    );
    let words = [
        "deaf.jinja",
        "passes over system messages",
        "\"the\"",
        "hint: --template alpaca",
    ];
    let trained = || train(base.path(), &data, &out, &["--template", text(&deaf)]);
    fails(trained(), &words);
    fails(trained(), &["the row \"line 2\""]);
    for (command, file) in [("score", "--data"), ("complete", "--prompts")] {
        let asked = || {
            let mut arguments = vec![command, "--chat", "--template", text(&deaf), file, text(&data)];
            arguments.extend(["--model", text(base.path()), "--out", text(&out)]);
            ewe(&arguments).assert()
        };
        fails(asked(), &words);
        fails(asked(), &["rows.jsonl: row 1"]);
    }
    assert!(!out.exists());
    // Rows without one are as good as ever.
    write_lines(&data, &[json!({ "instruction": "a", "output": "b" })]);
    trained().success();
    assert_eq!(
        read_json(&out.join("tokenizer_config.json"))["chat_template"],
        json!(DEAF)
    );
}

#[test]
fn rows_of_several_turns_are_refused_by_every_command() {
    let scratch = Dir::new();
    let base = model("qwen");
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    let messages = ["system", "user", "assistant", "user", "assistant"]
        .map(|role| json!({ "role": role, "content": "a" }));
    write_lines(&data, &[json!({ "messages": messages })]);
    for (command, file) in [
        ("train", "--data"),
        ("score", "--data"),
        ("complete", "--prompts"),
    ] {
        let mut arguments = vec![command, "--model", text(base.path()), file, text(&data)];
        arguments.extend(["--out", text(&out)]);
        let words = [
            "rows.jsonl:1:1",
            "a conversation of system, user, assistant, user, assistant: only one user message",
            "hint: --keep-going",
        ];
        fails(ewe(&arguments).assert(), &words);
        assert!(!out.exists(), "{command}");
    }
}
