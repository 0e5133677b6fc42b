//! Training on conversations: the loss is computed on the tokens that `transformers` marks, of every
//! answer or of the last (`scripts/make_goldens.py`).

use std::fs;

use serde_json::{Value, json};

use crate::golden::{golden, text, write_lines};
use crate::shell::{self, Dir};
use crate::templates::{expected, model, train};
use crate::train::{fails, metrics};

/// The number of tokens in ranges.
fn tokens<'r>(ranges: impl IntoIterator<Item = &'r Value>) -> u64 {
    let length = |range: &Value| range[1].as_u64().unwrap() - range[0].as_u64().unwrap();
    ranges.into_iter().map(length).sum()
}

#[test]
fn targets_are_every_answer_or_the_last() {
    let scratch = Dir::new();
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    for name in ["qwen", "llama2", "gemma"] {
        let base = model(name);
        let of_two = |case: &&Value| {
            let messages = case["messages"].as_array().unwrap();
            messages
                .iter()
                .filter(|message| message["role"] == "assistant")
                .count()
                == 2
                && case["error"].is_null()
        };
        let cases = expected(name, "chats");
        let cases: Vec<&Value> = cases.iter().filter(of_two).collect();
        assert!(cases.len() >= 5, "{name}");
        for case in cases {
            let path = golden("tokenizers").join(format!("{}.jinja", case["template"].as_str().unwrap()));
            let at = format!("{name} {}", path.display());
            write_lines(&data, &[json!({ "messages": case["messages"] })]);
            let learnt = case["learnt"].as_array().unwrap();
            for (loss, wanted) in [
                (None, tokens(learnt)),
                (Some("all"), tokens(learnt)),
                (Some("last"), tokens(learnt.last())),
            ] {
                let mut more = vec!["--template", text(&path)];
                more.extend(loss.iter().flat_map(|loss| ["--loss", loss]));
                train(base.path(), &data, &out, &more).success();
                assert_eq!(metrics(&out)[0]["target_tokens"], json!(wanted), "{at} {loss:?}");
                fs::remove_dir_all(&out).unwrap();
            }
        }
    }
}

/// Rows of a dataset are trained on as those of the file that they came from.
#[test]
fn a_dataset_of_conversations_trains_as_its_file() {
    let dir = Dir::new();
    let base = model("qwen");
    let template = golden("tokenizers/chatml.jinja");
    let row = |n: u32| {
        json!({"messages": [
            {"role": "user", "content": format!("a {n}")}, {"role": "assistant", "content": "1"},
            {"role": "user", "content": "b"}, {"role": "assistant", "content": format!("2 {n}")}]})
    };
    dir.write(
        "seed.jsonl",
        format!("{}\n", json!({"instruction": "x", "output": "y"})),
    );
    let rows: Vec<Value> = (0..3).map(row).collect();
    write_lines(&dir.path("rows.jsonl"), &rows);
    shell::ewe(&dir, &["init", "--db", "d.db", "--seeds", "seed.jsonl"]).success();
    shell::ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    let count = |source: [&str; 2], more: &[&str]| {
        let out = dir.path("out");
        let mut command = crate::templates::ewe(&["train", "--model", text(base.path())]);
        command
            .current_dir(dir.path("."))
            .args(source)
            .args([
                "--out",
                "out",
                "--steps",
                "1",
                "--eval-fraction",
                "0",
                "--template",
                text(&template),
            ])
            .args(more)
            .assert()
            .success();
        let counted = metrics(&out)[0]["target_tokens"].clone();
        fs::remove_dir_all(out).unwrap();
        counted
    };
    let of_file = count(["--data", "rows.jsonl"], &[]);
    let of_dataset = count(["--db", "d.db"], &["--where", "origin = 'import'"]);
    assert_eq!(of_file, of_dataset);
    let last = count(["--data", "rows.jsonl"], &["--loss", "last"]);
    assert!(last.as_u64() < of_file.as_u64(), "{last} {of_file}");
}

#[test]
fn finished_prompts_have_no_later_turns() {
    let scratch = Dir::new();
    let base = model("qwen");
    let (data, out) = (scratch.path("rows.jsonl"), scratch.path("out"));
    let messages =
        ["user", "assistant", "user", "assistant"].map(|role| json!({"role": role, "content": "a"}));
    write_lines(&data, &[json!({ "messages": messages })]);
    fails(
        train(base.path(), &data, &out, &["--template", "completion"]),
        &["there is nothing to train on"],
    );
}

/// What the template makes of reasoning is learned with the answer, unless it is dropped: then the
/// row is as one without reasoning.
#[test]
fn reasoning_is_learned_as_the_template_writes_it_or_dropped() {
    let dir = Dir::new();
    let base = model("qwen");
    let template = golden("chat/thinking.jinja");
    let row = |field: Value| {
        let mut answer = json!({"role": "assistant", "content": "1"});
        if !field.is_null() {
            answer["reasoning_content"] = field;
        }
        json!({"messages": [{"role": "user", "content": "a"}, answer]})
    };
    write_lines(&dir.path("thinks.jsonl"), &[row(json!("the 1 is the 1"))]);
    write_lines(&dir.path("plain.jsonl"), &[row(Value::Null)]);
    write_lines(
        &dir.path("marked.jsonl"),
        &[json!({"messages": [
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nthe 1 is the 1\n</think>\n\n1"}]})],
    );
    dir.write(
        "seed.jsonl",
        format!("{}\n", json!({"instruction": "x", "output": "y"})),
    );
    shell::ewe(&dir, &["init", "--db", "d.db", "--seeds", "seed.jsonl"]).success();
    shell::ewe(&dir, &["import", "--db", "d.db", "thinks.jsonl"]).success();
    let count = |source: [&str; 2], more: &[&str]| {
        let out = dir.path("out");
        let mut command = crate::templates::ewe(&["train", "--model", text(base.path())]);
        command
            .current_dir(dir.path("."))
            .args(source)
            .args(["--out", "out", "--steps", "1", "--eval-fraction", "0"])
            .args(["--template", text(&template)])
            .args(more)
            .assert()
            .success();
        let counted = metrics(&out)[0]["target_tokens"].as_u64();
        fs::remove_dir_all(out).unwrap();
        counted
    };
    let plain = count(["--data", "plain.jsonl"], &[]);
    let kept = count(["--data", "thinks.jsonl"], &[]);
    assert!(kept > plain, "{kept:?} {plain:?}");
    assert_eq!(count(["--data", "thinks.jsonl"], &["--reasoning", "keep"]), kept);
    assert_eq!(count(["--data", "marked.jsonl"], &[]), kept);
    for file in ["thinks.jsonl", "marked.jsonl"] {
        assert_eq!(count(["--data", file], &["--reasoning", "drop"]), plain, "{file}");
    }
    let imported = ["--where", "origin = 'import'"];
    assert_eq!(count(["--db", "d.db"], &imported), kept);
    let dropped = [&imported[..], &["--reasoning", "drop"]].concat();
    assert_eq!(count(["--db", "d.db"], &dropped), plain);
    // `ewe score` sees what training sees.
    let scored = |source: [&str; 2]| {
        let mut command = crate::templates::ewe(&["score", "--chat", "--model", text(base.path())]);
        command
            .current_dir(dir.path("."))
            .args(source)
            .args(["--out", "scores.jsonl", "--template", text(&template)])
            .assert()
            .success();
        let line = dir.read("scores.jsonl");
        let line = line.lines().last().unwrap();
        serde_json::from_str::<Value>(line).unwrap()["tokens"].as_u64()
    };
    for (file, tokens) in [("plain", plain), ("thinks", kept), ("marked", kept)] {
        assert_eq!(scored(["--data", &format!("{file}.jsonl")]), tokens, "{file}");
    }
    assert_eq!(scored(["--db", "d.db"]), kept);
}
