//! System messages of rows as a model sees them: training, `score` and `complete` put them where
//! the template does, token for token as `transformers` (`scripts/make_goldens.py`,
//! `scripts/check_templates.py`).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::golden::{golden, read_json, read_lines, text, write_lines};
use crate::shell::{self, Dir};
use crate::templates::{ewe, expected, model, train};
use crate::train::{fails, metrics};

/// A template that silently ignores system messages.
const DEAF: &str = "{% for m in messages if m.role != 'system' %}{{ m.content }}|{% endfor %}";

const BLOCKS: &str = "{% block prompt %}Q: {{ instruction }}{% if input %}\n({{ input }}){% endif %}\nA:{% endblock %}\n\
                      {% block completion %} {{ output }} </q>{% endblock %}\n";

/// A row with the system message `be it`, and the same row with that text before its instruction.
fn row_and_folded() -> [Value; 2] {
    [
        json!({ "system": "be it", "instruction": "Name it.", "input": "a 1", "output": "the 1" }),
        json!({ "instruction": "be it\n\nName it.", "input": "a 1", "output": "the 1" }),
    ]
}

/// Runs `score` or `complete` over rows; returns the rows that it wrote.
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
    read_lines(&out)
}

/// The difference of two scores, in nats.
fn apart(a: &Value, b: &Value) -> f64 {
    (a["nll"].as_f64().unwrap() - b["nll"].as_f64().unwrap()).abs()
}

/// For every template, the targets; for one of each tokenizer, also the exact length of the row and
/// of the prompt. Unit tests compare the ids of all of them.
#[test]
fn chat_templates_get_system_messages_as_in_transformers() {
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
        let mut is_first = true;
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
                let mut words = vec!["the row \"line 1\"", error, "hint:"];
                if !error.contains("undefined") {
                    words.extend(["refuses a system message", "--template alpaca"]);
                }
                fails(trained(99), &words);
                continue;
            }
            let length = case["ids"].as_array().unwrap().len();
            let learnt = case["learnt"].as_array().unwrap().iter();
            let learnt: u64 = learnt
                .map(|range| range[1].as_u64().unwrap() - range[0].as_u64().unwrap())
                .sum();
            trained(length).success();
            assert_eq!(metrics(&out)[0]["target_tokens"], json!(learnt), "{at}");
            fs::remove_dir_all(&out).unwrap();
            if !std::mem::take(&mut is_first) {
                continue;
            }
            fails(
                trained(length - 1),
                &[&format!("line 1: {length} tokens, more than {}", length - 1)],
            );
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

/// The saved chat template puts a system message before the instruction, separated by an empty
/// line.
#[test]
fn instruction_templates_put_system_messages_before_the_instruction() {
    let scratch = Dir::new();
    let base = model("llama2");
    scratch.write("blocks.jinja", BLOCKS);
    let blocks = scratch.path("blocks.jinja");
    let [row, folded] = row_and_folded();
    let bare = json!({ "instruction": "Name it.", "input": "a 1", "output": "the 1" });
    for template in ["alpaca", "completion", text(&blocks)] {
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

        // The saved template prompts and scores in the same form.
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
    // Without a template it is part of the one text.
    let rows = [row, folded, bare];
    let scores = asked(&scratch, "score", base.path(), &rows, &[]);
    assert!(apart(&scores[0], &scores[1]) < 1e-4, "{scores:?}");
    assert!(apart(&scores[0], &scores[2]) > 1e-3, "{scores:?}");
    let answers = asked(&scratch, "complete", base.path(), &rows, &[]);
    assert_eq!(answers[0]["prompt_tokens"], answers[1]["prompt_tokens"]);
    assert_ne!(answers[0]["prompt_tokens"], answers[2]["prompt_tokens"]);
}

#[test]
fn a_dataset_gives_the_same_system_messages_as_its_file() {
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

/// Every command that would drop a system message fails with an error that names row and remedy,
/// even if the same words occur elsewhere in the row.
#[test]
fn a_template_that_ignores_system_messages_is_refused() {
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
    let words = |row: &'static str| {
        [
            "deaf.jinja",
            "passes over system messages",
            "\"the\"",
            "hint: --template alpaca",
            row,
        ]
    };
    let trained = || train(base.path(), &data, &out, &["--template", text(&deaf)]);
    fails(trained(), &words("the row \"line 2\""));
    for (command, file) in [("score", "--data"), ("complete", "--prompts")] {
        let mut arguments = vec![command, "--chat", "--template", text(&deaf), file, text(&data)];
        arguments.extend(["--model", text(base.path()), "--out", text(&out)]);
        fails(ewe(&arguments).assert(), &words("rows.jsonl: row 1"));
    }
    assert!(!out.exists());
    // Rows without a system message still work.
    write_lines(&data, &[json!({ "instruction": "a", "output": "b" })]);
    trained().success();
    assert_eq!(
        read_json(&out.join("tokenizer_config.json"))["chat_template"],
        json!(DEAF)
    );
}

#[test]
fn rows_that_are_no_conversation_are_refused_by_every_command() {
    let scratch = Dir::new();
    let base = model("qwen");
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    let messages =
        ["system", "assistant", "user", "assistant"].map(|role| json!({ "role": role, "content": "a" }));
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
            "a conversation of system, assistant, user, assistant: it begins with the assistant",
            "hint: --keep-going",
        ];
        fails(ewe(&arguments).assert(), &words);
        assert!(!out.exists(), "{command}");
    }
}
