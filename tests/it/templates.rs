//! A training run's chat template is saved with its result, and text is encoded as `transformers`
//! encodes it, for every class of tokenizer (`scripts/make_goldens.py`,
//! `scripts/tokenizer_zoo.py`).

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::golden::{Changed, golden, read_json, read_lines, text, write_lines};
use crate::server::Server;
use crate::shell::Dir;
use crate::train::{EWE_TORCH, fails, metrics, stderr};

/// A tiny model with one of the tokenizers and a context long enough for Alpaca's prompts.
pub fn model(tokenizer: &str) -> Changed {
    let changed = Changed::of("llama");
    changed.config("max_position_embeddings", json!(1024));
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(
            golden("tokenizers").join(tokenizer).join(file),
            changed.path().join(file),
        )
        .unwrap();
    }
    let config = read_json(&changed.path().join("tokenizer_config.json"));
    let vocabulary = read_json(&changed.path().join("tokenizer.json"));
    let eos = &vocabulary["model"]["vocab"][config["eos_token"].as_str().unwrap()];
    changed.config("eos_token_id", eos.clone());
    changed
}

/// The expected encodings by `transformers`, for a tokenizer and a kind of text.
pub fn expected(tokenizer: &str, kind: &str) -> Vec<Value> {
    let all = read_json(&golden("tokenizers").join(tokenizer).join("expected.json"));
    all[kind].as_array().unwrap().clone()
}

fn tokenizers() -> Vec<String> {
    let entries = fs::read_dir(golden("tokenizers")).unwrap();
    let dirs = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    let mut names: Vec<String> = dirs
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

pub fn ewe(arguments: &[&str]) -> Command {
    let mut command = Command::new(EWE_TORCH);
    command.env("OMP_NUM_THREADS", "1").args(arguments);
    command
}

/// Trains for one step.
pub fn train(model: &Path, data: &Path, out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut arguments = vec![
        "train",
        "--model",
        text(model),
        "--data",
        text(data),
        "--out",
        text(out),
    ];
    arguments.extend([
        "--steps",
        "1",
        "--eval-fraction",
        "0",
        "--lr",
        "0.03",
        "--warmup-steps",
        "0",
    ]);
    arguments.extend(more);
    ewe(&arguments).assert()
}

/// The number of prompt tokens of `complete --chat`, and its messages.
fn prompt_tokens(scratch: &Dir, prompt: &str, model: &[&str]) -> (u64, String) {
    let (prompts, out) = (scratch.path("prompts.jsonl"), scratch.path("answers.jsonl"));
    write_lines(&prompts, &[json!({ "prompt": prompt })]);
    let mut arguments = vec![
        "complete",
        "--chat",
        "--prompts",
        text(&prompts),
        "--out",
        text(&out),
    ];
    arguments.extend(["--max-tokens", "1", "--temperature", "0"]);
    arguments.extend(model);
    let said = stderr(&ewe(&arguments).assert().success());
    let answer: Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    (answer["prompt_tokens"].as_u64().unwrap(), said)
}

const MINE: &str = "{% block prompt %}Q: {{ instruction }}{% if input %}\n({{ input }}){% endif %}\nA:{% endblock %}\n\
                    {% block completion %} {{ output }} </q>{% endblock %}\n";

/// Each template, with an adapter and a full fine-tune: saved beside the weights, kept by `merge`,
/// used by `complete`, and overridden by `--template`. One of them also by the other commands.
#[test]
fn the_training_template_is_saved_and_used_by_every_command() {
    let scratch = Dir::new();
    let base = model("llama2");
    let base = base.path();
    scratch.write("mine.jinja", MINE);
    let mine = scratch.path("mine.jinja");
    let data = scratch.path("rows.jsonl");
    write_lines(
        &data,
        &[
            json!({ "instruction": "Name it.", "input": "", "output": "the 1" }),
            json!({ "instruction": "the", "input": "a 1", "output": "1" }),
        ],
    );
    let tokens = |template: &str| {
        let rows = expected("llama2", "rows");
        let row = rows
            .iter()
            .find(|row| row["template"] == template && row["user"] == "Name it.");
        row.unwrap()["prompt"].as_array().unwrap().len() as u64
    };
    // `<s> ▁ Q : ▁ N a m e ▁ i t . \n A :`
    let own = 16;
    let alpaca = tokens("alpaca");
    for (template, want, stop) in [
        ("alpaca", alpaca, json!(null)),
        ("dolly", tokens("dolly"), json!(["### End"])),
        (text(&mine), own, json!(["</q>"])),
    ] {
        let name = template.rsplit('/').next().unwrap();
        let (adapter, full, merged) = (
            scratch.path(&format!("{name} adapter")),
            scratch.path(&format!("{name} full")),
            scratch.path(&format!("{name} merged")),
        );
        train(base, &data, &adapter, &["--template", template]).success();
        train(base, &data, &full, &["--template", template, "--method", "full"]).success();
        ewe(&[
            "merge",
            "--model",
            text(base),
            "--adapter",
            text(&adapter),
            "--out",
            text(&merged),
        ])
        .assert()
        .success();
        for out in [&adapter, &full, &merged] {
            let saved = fs::read_to_string(out.join("chat_template.jinja")).unwrap();
            let config = read_json(&out.join("tokenizer_config.json"));
            assert_eq!(config["chat_template"], json!(saved), "{}", out.display());
            let generation = read_json(&out.join("generation_config.json"));
            assert_eq!(generation["eos_token_id"], json!(2), "{}", out.display());
            assert_eq!(generation["stop_strings"], stop, "{}", out.display());
        }
        for out in [
            vec!["--model", text(base), "--adapter", text(&adapter)],
            vec!["--model", text(&full)],
            vec!["--model", text(&merged)],
        ] {
            let (count, said) = prompt_tokens(&scratch, "Name it.", &out);
            assert_eq!(count, want, "{name} {out:?}");
            assert!(
                said.contains("asked by the template") && said.contains("chat_template.jinja"),
                "{said}"
            );
            if template == "alpaca" {
                continue;
            }
            let other = [out.as_slice(), &["--template", "alpaca"]].concat();
            let (count, said) = prompt_tokens(&scratch, "Name it.", &other);
            assert_eq!(count, alpaca, "{name} {other:?}");
            assert!(said.contains("asked by the template alpaca"), "{said}");
        }
        if template != text(&mine) {
            continue;
        }
        let served = Server::with(base, &["--adapter", text(&adapter)]);
        let ask = json!({ "messages": [{ "role": "user", "content": "Name it." }], "max_tokens": 1 });
        let (_, answer) = served.chat(ask.clone());
        assert_eq!(answer["usage"]["prompt_tokens"], json!(want), "{name}");
        let served = Server::with(base, &["--adapter", text(&adapter), "--template", "alpaca"]);
        assert_eq!(
            served.chat(ask).1["usage"]["prompt_tokens"],
            json!(alpaca),
            "{name}"
        );
        // `chat` says on stderr which it uses, and answers what `complete --chat` answers.
        let adapter = text(&adapter);
        let said = |command: &str, more: &[&str]| {
            let mut arguments = vec![command, "--model", text(base), "--adapter", adapter];
            arguments.extend(["--temperature", "0", "--max-tokens", "8"]);
            arguments.extend(more);
            ewe(&arguments).write_stdin("Name it.\n").assert().success()
        };
        let (chat, complete) = (
            said("chat", &[]),
            said("complete", &["--chat", "--prompt", "Name it."]),
        );
        assert!(stderr(&chat).contains("chat_template.jinja"), "{}", stderr(&chat));
        let answer = |of: &assert_cmd::assert::Assert| {
            String::from_utf8(of.get_output().stdout.clone())
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_eq!(answer(&chat), answer(&complete), "{name}");
    }
}

/// A row's length is reported where it does not fit: it equals the number of the reference's ids,
/// with one end token. Each tokenizer trains with one of the templates, each template with several
/// tokenizers; unit tests compare the ids of all of them.
#[test]
fn rows_have_the_tokens_of_transformers_for_every_tokenizer() {
    let scratch = Dir::new();
    let templates = ["chatml", "zephyr", "marked", "bare"].into_iter().cycle();
    let mut refused = 0;
    for (name, template) in tokenizers().into_iter().zip(templates) {
        let base = model(&name);
        let count = |rows: &[Value], more: &[&str]| {
            let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
            let long = json!({ "prompt": "a", "completion": "b" });
            let fits = match rows[0].get("prompt") {
                Some(_) => long,
                None => json!({ "instruction": "a", "output": "b" }),
            };
            write_lines(&data, &[&[fits], rows].concat());
            let said = train(base.path(), &data, &out, more).success();
            let left_out = fs::read_to_string(out.join("left_out.jsonl")).unwrap();
            // The first row fits, so that one row is left.
            let numbers = left_out.lines().filter_map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                let words: Vec<&str> = row["reason"].as_str().unwrap().split(' ').collect();
                let number: usize = row["id"].as_str().unwrap()[5..].parse().unwrap();
                Some((number.checked_sub(2)?, words[0].parse::<usize>().unwrap()))
            });
            let numbers: Vec<(usize, usize)> = numbers.collect();
            fs::remove_dir_all(&out).unwrap();
            (numbers, stderr(&said))
        };
        let wanted = |cases: &[Value]| -> Vec<(usize, usize)> {
            let lengths = cases.iter().map(|case| case["ids"].as_array().unwrap().len());
            lengths.enumerate().collect()
        };
        let plain: Vec<Value> = expected(&name, "plain")
            .into_iter()
            .filter(|case| case["answer"] != "" && case["ids"].as_array().unwrap().len() > 3)
            .collect();
        let rows: Vec<Value> = plain
            .iter()
            .map(|case| json!({ "prompt": case["user"], "completion": case["answer"] }))
            .collect();
        let (got, said) = count(&rows, &["--max-length", "4"]);
        let want: Vec<_> = wanted(&plain)
            .into_iter()
            .filter(|(_, length)| *length > 4)
            .collect();
        assert_eq!(got, want, "{name}: {said}");
        // One question and one answer, which is what a row has.
        let mut chats = expected(&name, "chats").into_iter();
        let case = chats
            .find(|case| case["template"] == template && case["messages"].as_array().unwrap().len() == 2)
            .unwrap();
        let said = |at: usize| case["messages"][at]["content"].clone();
        let row = json!({ "instruction": said(0), "output": said(1) });
        let path = golden("tokenizers").join(format!("{template}.jinja"));
        let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
        write_lines(&data, std::slice::from_ref(&row));
        let trained = train(base.path(), &data, &out, &["--template", text(&path)]);
        if let Some(error) = case["error"].as_str() {
            let said = stderr(&trained.failure().code(1));
            assert!(said.contains(error), "{name} {template}: {said}");
            assert!(!out.exists(), "{name} {template}");
            refused += 1;
            continue;
        }
        trained.success();
        let learnt: u64 = case["learnt"]
            .as_array()
            .unwrap()
            .iter()
            .map(|range| range[1].as_u64().unwrap() - range[0].as_u64().unwrap())
            .sum();
        assert_eq!(
            metrics(&out)[0]["target_tokens"],
            json!(learnt),
            "{name} {template}"
        );
        fs::remove_dir_all(&out).unwrap();
    }
    assert!(refused > 0);
}

/// `score` and `complete` encode prompts as `transformers` does, with nothing appended.
#[test]
fn prompts_and_scores_have_the_tokens_of_transformers_for_every_tokenizer() {
    let scratch = Dir::new();
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out.jsonl"));
    for name in tokenizers() {
        let base = model(&name);
        let cases: Vec<Value> = expected(&name, "plain")
            .into_iter()
            .filter(|case| !case["prompt"].as_array().unwrap().is_empty() && case["first"] != 0)
            .collect();
        let rows: Vec<Value> = cases
            .iter()
            .map(|case| json!({ "prompt": case["user"], "completion": case["answer"] }))
            .collect();
        write_lines(&data, &rows);
        let common = ["--model", text(base.path()), "--out", text(&out)];
        ewe(&[&["score", "--data", text(&data)], &common[..]].concat())
            .assert()
            .success();
        for (got, case) in read_lines(&out).iter().zip(&cases) {
            // All tokens except the end of the text.
            let want = case["ids"].as_array().unwrap().len() - 1 - case["first"].as_u64().unwrap() as usize;
            assert_eq!(got["tokens"], json!(want), "{name} {case}");
        }
        ewe(&[
            &["complete", "--max-tokens", "1", "--prompts", text(&data)],
            &common[..],
        ]
        .concat())
        .assert()
        .success();
        for (got, case) in read_lines(&out).iter().zip(&cases) {
            let want = case["prompt"].as_array().unwrap().len();
            assert_eq!(got["prompt_tokens"], json!(want), "{name} {case}");
        }
    }
}

#[test]
fn score_with_a_template_covers_the_training_targets() {
    let scratch = Dir::new();
    let base = model("mistral");
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    let (pairs, scores) = (scratch.path("pairs.jsonl"), scratch.path("scores.jsonl"));
    // A text that begins with a space gets no other before it, in the format `completion` either.
    for (template, asked) in [
        ("dolly", "Name it."),
        ("completion", "Name it."),
        ("completion", " is it?"),
    ] {
        write_lines(&data, &[json!({ "instruction": asked, "output": "the 1" })]);
        let options = ["--template", template, "--precision", "fp32"];
        train(base.path(), &data, &out, &options).success();
        write_lines(&pairs, &[json!({ "prompt": asked, "completion": "the 1" })]);
        ewe(&["score", "--chat", "--template", template, "--dtype", "fp32"])
            .args([
                "--model",
                text(base.path()),
                "--data",
                text(&pairs),
                "--out",
                text(&scores),
            ])
            .assert()
            .success();
        let score = read_json(&scores);
        let step = &metrics(&out)[0];
        assert_eq!(score["tokens"], step["target_tokens"]);
        let mean = score["nll"].as_f64().unwrap() / score["tokens"].as_f64().unwrap();
        assert!(
            (mean - step["loss"].as_f64().unwrap()).abs() < 1e-5,
            "{template}: {mean} {step}"
        );
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_continued_adapter_keeps_its_template() {
    let scratch = Dir::new();
    let base = model("qwen");
    let data = scratch.path("rows.jsonl");
    write_lines(&data, &[json!({ "instruction": "a", "output": "b" })]);
    let (first, second, third) = (scratch.path("1"), scratch.path("2"), scratch.path("3"));
    train(base.path(), &data, &first, &["--template", "dolly"]).success();
    let said = stderr(&train(base.path(), &data, &second, &["--adapter", text(&first)]).success());
    assert!(
        said.contains("rows are laid out by") && said.contains("chat_template.jinja"),
        "{said}"
    );
    let saved = |out: &PathBuf| fs::read_to_string(out.join("chat_template.jinja")).unwrap();
    assert_eq!(saved(&first), saved(&second));
    assert_eq!(
        metrics(&first)[0]["target_tokens"],
        metrics(&second)[0]["target_tokens"]
    );
    assert_eq!(
        read_json(&second.join("generation_config.json"))["stop_strings"],
        json!(["### End"])
    );
    train(
        base.path(),
        &data,
        &third,
        &["--adapter", text(&first), "--template", "alpaca"],
    )
    .success();
    assert_ne!(saved(&first), saved(&third));
    assert_eq!(
        read_json(&third.join("generation_config.json"))["stop_strings"],
        json!(null)
    );
}

/// A template's end-of-turn token ends answers, even if the model's config names another.
#[test]
fn the_end_of_turn_token_of_a_template_is_saved_as_eos() {
    let scratch = Dir::new();
    let base = model("qwen_base");
    let data = scratch.path("rows.jsonl");
    write_lines(&data, &[json!({ "instruction": "a", "output": "b" })]);
    let template = golden("tokenizers").join("chatml.jinja");
    let out = scratch.path("out");
    train(base.path(), &data, &out, &["--template", text(&template)]).success();
    assert_eq!(
        read_json(&out.join("generation_config.json"))["eos_token_id"],
        json!([0, 2])
    );
}

#[test]
fn finished_prompts_keep_a_template_or_add_a_bare_one() {
    let scratch = Dir::new();
    let data = scratch.path("rows.jsonl");
    write_lines(&data, &[json!({ "prompt": "a", "completion": "b" })]);
    let (with, without) = (model("mistral"), model("mistral"));
    let own = "{{ bos_token }}{% for m in messages %}<{{ m.content }}>{% endfor %}";
    fs::write(with.path().join("chat_template.jinja"), own).unwrap();
    let out = scratch.path("with");
    let said = stderr(&train(with.path(), &data, &out, &[]).success());
    assert!(said.contains("stays"), "{said}");
    assert_eq!(fs::read_to_string(out.join("chat_template.jinja")).unwrap(), own);
    let out = scratch.path("without");
    train(without.path(), &data, &out, &[]).success();
    // `<s> ▁the ▁ 1`, as the text alone.
    let asked = ["--model", text(without.path()), "--adapter", text(&out)];
    assert_eq!(prompt_tokens(&scratch, "the 1", &asked).0, 4);
}

#[test]
fn templates_without_a_trainable_answer_fail_with_a_hint() {
    let scratch = Dir::new();
    let base = model("gemma");
    let data = scratch.path("rows.jsonl");
    write_lines(&data, &[json!({ "instruction": "a", "output": "b" })]);
    let out = scratch.path("out");
    let refused = |name: &str, template: &str, words: &[&str]| {
        scratch.write(name, template);
        fails(
            train(
                base.path(),
                &data,
                &out,
                &["--template", text(&scratch.path(name))],
            ),
            words,
        );
        assert!(!out.exists());
    };
    let prefix =
        "{% for m in messages %}{{ m.content }}:{% endfor %}{% if add_generation_prompt %}<think>{% endif %}";
    let otherwise = "{% for m in messages %}{{ m.content }}{{ ':' if not loop.last or m.role == 'assistant' else '?' }}{% endfor %}";
    refused(
        "otherwise.jinja",
        otherwise,
        &[
            "otherwise.jinja",
            "in place of \"?\"",
            "{% generation %}",
            "hint:",
        ],
    );
    refused(
        "broken.jinja",
        "{% for m in messages %}",
        &["broken.jinja", "malformed"],
    );
    refused(
        "no.jinja",
        "{{ raise_exception('not today') }}{{ messages }}",
        &["no.jinja", "not today"],
    );
    refused(
        "peeks.jinja",
        "{% block prompt %}{{ output }}{% endblock %}{% block completion %}{{ output }}{% endblock %}",
        &["shows the answer", "hint:"],
    );
    // A prompt that opens what the answer lacks is said.
    scratch.write("think.jinja", prefix);
    let template = scratch.path("think.jinja");
    let done = train(base.path(), &data, &out, &["--template", text(&template)]).success();
    let said = stderr(&done);
    assert!(
        said.contains("prompt for an answer ends with \"<think>\""),
        "{said}"
    );
    fs::remove_dir_all(&out).unwrap();
    // With the mark, there is nothing to say.
    scratch.write("marked.jinja", prefix.replace("{{ m.content }}:", "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}:{% endgeneration %}{% else %}{{ m.content }}{% endif %}"));
    train(
        base.path(),
        &data,
        &out,
        &["--template", text(&scratch.path("marked.jinja"))],
    )
    .success();
    // `b : <eos>`
    assert_eq!(metrics(&out)[0]["target_tokens"], json!(3));
    // For a system message that a template refuses, the hint asks the user to move it.
    let turns = golden("tokenizers").join("turns.jinja");
    let served = Server::with(base.path(), &["--template", text(&turns)]);
    let said = json!([{ "role": "system", "content": "a" }, { "role": "user", "content": "b" }]);
    let (status, answer) = served.chat(json!({ "messages": said }));
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(
        message.contains("refuses a system message") && message.contains("hint:"),
        "{message}"
    );
}
