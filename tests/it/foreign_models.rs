//! Models and adapters as other programs write them: compared with the numbers of `transformers`
//! and `peft` (`tests/golden/strangers`, written by `scripts/make_goldens.py`), or refused by name.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::golden::{golden, read_json, read_lines, write_lines};
use crate::shell::Dir;

fn ewe_torch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.arg("-q");
    command
}

/// Copies a folder so that a test can change it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

pub fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = read_json(path);
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Scores the rows of `expected`. Returns pairs of ewe's score and the reference's.
pub fn scores(dir: &Dir, model: &Path, adapter: Option<&Path>, expected: &Value) -> Vec<(f64, f64)> {
    let (data, out) = (dir.path("rows.jsonl"), dir.path("scores.jsonl"));
    let rows = expected["score"].as_array().unwrap();
    write_lines(&data, rows);
    let mut command = ewe_torch();
    command.args(["score", "--dtype", "fp32", "--model"]).arg(model);
    command.arg("--data").arg(&data).arg("--out").arg(&out);
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
    command.assert().success();
    let found = read_lines(&out);
    found
        .iter()
        .map(|row| row["nll"].as_f64().unwrap())
        .zip(rows.iter().map(|row| row["nll"].as_f64().unwrap()))
        .collect()
}

pub fn assert_same(name: &str, scores: &[(f64, f64)]) {
    assert!(!scores.is_empty());
    for (ours, theirs) in scores {
        let off = (ours - theirs).abs() / theirs.abs().max(1.0);
        assert!(off < 1e-4, "{name}: {ours} for {theirs}");
    }
}

const ADAPTERS: [(&str, &str); 7] = [
    ("patterns_in_bin", "llama3"),
    ("tied_ends", "gemma3"),
    ("saved_ends", "llama3"),
    ("saved_embedding", "llama3"),
    ("saved_norms", "mistral"),
    ("same_embedding", "llama3"),
    ("untied_head", "neox"),
];

#[test]
fn peft_adapters_and_their_merges_score_as_in_peft() {
    for (name, base) in ADAPTERS {
        let dir = Dir::new();
        let adapter = golden("strangers").join(name);
        let expected = read_json(&adapter.join("expected.json"));
        let base = golden(base);
        assert_same(name, &scores(&dir, &base, Some(&adapter), &expected));
        // The adapter changes the scores.
        let alone = scores(&dir, &base, None, &expected);
        assert!(
            alone.iter().any(|(ours, theirs)| (ours - theirs).abs() > 1e-3),
            "{name}"
        );
        let merged = dir.path("merged");
        let mut command = ewe_torch();
        command.args(["merge", "--dtype", "fp32", "--model"]).arg(&base);
        command.arg("--adapter").arg(&adapter).arg("--out").arg(&merged);
        command.assert().success();
        assert_same(name, &scores(&dir, &merged, None, &expected));
    }
}

#[test]
fn an_output_head_that_differs_from_the_embedding_is_used() {
    let dir = Dir::new();
    // Its config also has dropout and a padding token beyond the embedding; inference uses neither.
    let model = golden("strangers/tied_other_head");
    let expected = read_json(&model.join("expected.json"));
    assert_same("tied_other_head", &scores(&dir, &model, None, &expected));

    let data = dir.path("rows.jsonl");
    std::fs::write(&data, "{\"prompt\": \"the \", \"completion\": \"end\"}\n").unwrap();
    let train = |model: &Path, out: &Path| {
        let mut command = ewe_torch();
        command.args([
            "train",
            "--template",
            "completion",
            "--steps",
            "2",
            "--eval-fraction",
            "0",
        ]);
        command
            .args(["--precision", "fp32", "--method", "full", "--model"])
            .arg(model);
        command.arg("--data").arg(&data).arg("--out").arg(out);
        command.assert()
    };
    let refused = train(&model, &dir.path("refused")).failure().code(1);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    for word in ["attention_dropout", "0.1", "config.json", "hint:"] {
        assert!(message.contains(word), "{message}");
    }
    // After training both stay separate, and the config says so.
    let calm = dir.path("calm");
    copy(&model, &calm);
    edit(&calm.join("config.json"), |config| {
        config["attention_dropout"] = json!(0.0)
    });
    let out = dir.path("trained");
    train(&calm, &out).success();
    assert_eq!(read_json(&out.join("config.json"))["tie_word_embeddings"], false);
    let trained = scores(&dir, &out, None, &expected);
    assert!(trained.iter().all(|(ours, _)| ours.is_finite()));
}

/// The error of `ewe complete` with a copy of the model that `damage` changed.
fn complaint(base: &Path, damage: impl FnOnce(&Path)) -> String {
    let dir = Dir::new();
    let model = dir.path("model");
    copy(base, &model);
    damage(&model);
    let mut command = ewe_torch();
    command
        .args(["complete", "--prompt", "the", "--max-tokens", "1", "--model"])
        .arg(&model);
    command.timeout(std::time::Duration::from_secs(120));
    let assert = command.assert().failure().code(1).stdout("");
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        message.starts_with("error: ") && !message.contains("panicked") && message.len() < 6000,
        "{message}"
    );
    message
}

/// One of each kind; a unit test of `model` has many more.
#[test]
fn absurd_numbers_in_a_config_are_refused_by_name() {
    let absurd = [
        ("llama", "hidden_size", json!(1i64 << 62)),
        ("llama", "hidden_size", json!("32")),
        ("llama", "num_hidden_layers", json!(1i64 << 40)),
        ("llama", "vocab_size", json!(i64::MAX)),
        ("llama", "max_position_embeddings", json!(1i64 << 62)),
        ("gptj", "n_positions", json!(1e300)),
        ("neox", "rotary_pct", json!(-0.5)),
    ];
    for (base, field, value) in absurd {
        let message = complaint(&golden(base), |model| {
            edit(&model.join("config.json"), |config| config[field] = value.clone());
        });
        let named = message.contains(field) || message.contains("theta");
        assert!(
            named && message.contains("config.json"),
            "{field} = {value}: {message}"
        );
    }
}

#[test]
fn bad_safetensors_headers_and_indices_are_errors() {
    let weights = |damage: &dyn Fn(&mut Vec<u8>)| {
        complaint(&golden("llama"), |model| {
            let path = model.join("model.safetensors");
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
        })
    };
    let header = |bytes: &[u8]| usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let with_header = |bytes: &mut Vec<u8>, change: &dyn Fn(&str) -> String| {
        let length = header(bytes);
        let text = change(std::str::from_utf8(&bytes[8..8 + length]).unwrap());
        let mut new = (text.len() as u64).to_le_bytes().to_vec();
        new.extend_from_slice(text.as_bytes());
        new.extend_from_slice(&bytes[8 + length..]);
        *bytes = new;
    };
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [Damage<'_>; 7] = [
        &|bytes| bytes.clear(),
        &|bytes| bytes.truncate(bytes.len() / 2),
        &|bytes| bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes()),
        &|bytes| bytes[..8].copy_from_slice(&(1u64 << 63).to_le_bytes()),
        &|bytes| {
            with_header(bytes, &|text| {
                text.replacen(
                    "\"data_offsets\":[0,",
                    "\"data_offsets\":[9223372036854775807,",
                    1,
                )
            })
        },
        &|bytes| {
            with_header(bytes, &|text| {
                text.replacen("\"shape\":[", "\"shape\":[4611686018427387904,", 1)
            })
        },
        &|bytes| with_header(bytes, &|text| "[".repeat(100_000) + text),
    ];
    for case in cases {
        let message = weights(case);
        assert!(
            message.contains("model.safetensors") && message.contains("hint:"),
            "{message}"
        );
    }
    let message = complaint(&golden("llama"), |model| {
        std::fs::remove_file(model.join("model.safetensors")).unwrap();
        let index = r#"{"weight_map": {"w": "../../etc/passwd"}}"#;
        std::fs::write(model.join("model.safetensors.index.json"), index).unwrap();
    });
    assert!(message.contains("outside of its folder"), "{message}");
}

#[test]
fn hostile_tokenizers_and_templates_terminate() {
    let tokenizer = |change: &dyn Fn(&mut Value)| {
        complaint(&golden("llama"), |model| {
            edit(&model.join("tokenizer.json"), change)
        })
    };
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    for pattern in ["(a+)+$", "(?:1|11?)+$", "["] {
        let message = tokenizer(&|file| file["pre_tokenizer"] = split(pattern));
        assert!(message.contains("tokenizer.json"), "{message}");
    }
    let doubling = json!({"type": "Replace", "pattern": {"String": "e"}, "content": "ee"});
    let message = tokenizer(&|file| {
        file["normalizer"] = json!({"type": "Sequence", "normalizers": vec![doubling.clone(); 60]})
    });
    assert!(message.contains("times as long"), "{message}");
    for odd in [
        json!(null),
        json!([]),
        json!({"version": 2}),
        json!({"model": {"type": "BPE", "vocab": {}, "merges": ["a b"]}}),
    ] {
        let message = tokenizer(&|file| *file = odd.clone());
        assert!(message.contains("tokenizer.json"), "{message}");
    }
    // A token beyond the embedding's rows is an error only where it is used.
    let dir = Dir::new();
    let mut command = ewe_torch();
    let model = golden("strangers/tied_other_head");
    command
        .args([
            "complete",
            "--prompt",
            "the <pad>",
            "--max-tokens",
            "1",
            "--model",
        ])
        .arg(&model);
    let assert = command.assert().failure().code(1);
    let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    for word in ["`<pad>`", "96", "hint:"] {
        assert!(message.contains(word), "{message}");
    }

    let template = |source: &str| {
        let model = dir.path("chatty");
        copy(&golden("llama"), &model);
        std::fs::write(model.join("chat_template.jinja"), source).unwrap();
        let mut command = ewe_torch();
        command
            .args(["chat", "--max-tokens", "1", "--model"])
            .arg(&model)
            .write_stdin("hi\n");
        command.timeout(std::time::Duration::from_secs(120));
        let assert = command.assert().failure().code(1);
        String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
    };
    // Endless loops, which use up their share of time, are in a unit test.
    for (source, word) in [
        ("{% for m in messages %}", "malformed"),
        ("{{ messages[0].content.nope() }}", "line 1"),
        ("{{ raise_exception('only in threes') }}", "only in threes"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template"),
        (
            &format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
            "malformed",
        ),
        ("{{ 'x' * 999999999999 }}", "takes too long"),
    ] {
        let message = template(source);
        assert!(
            message.contains(word) && message.contains("hint:") && !message.contains("panicked"),
            "{source:.60}: {message}"
        );
    }
}

#[test]
fn unsupported_adapters_are_refused_by_name() {
    let refused = |change: &dyn Fn(&Path), words: &[&str]| {
        let dir = Dir::new();
        let adapter = dir.path("adapter");
        copy(&golden("strangers/patterns_in_bin"), &adapter);
        change(&adapter);
        let mut command = ewe_torch();
        command
            .args(["complete", "--prompt", "a", "--model"])
            .arg(golden("llama3"));
        command.arg("--adapter").arg(&adapter);
        let assert = command.assert().failure().code(1);
        let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        for word in words {
            assert!(message.contains(word), "{message:?} does not say {word:?}");
        }
    };
    let config = |name: &'static str, value: Value| {
        move |adapter: &Path| {
            edit(&adapter.join("adapter_config.json"), |config| {
                config[name] = value.clone()
            })
        }
    };
    refused(
        &config("peft_type", json!("IA3")),
        &["IA3", "adapter_config.json"],
    );
    refused(&config("bias", json!("all")), &["`bias`", "merge_and_unload"]);
    refused(
        &config("rank_pattern", json!({"q_proj": 0})),
        &["`q_proj`", "is 0"],
    );
    refused(
        &config("rank_pattern", json!({"(?=x)": 2})),
        &["(?=x)", "pattern"],
    );
    refused(&config("r", json!(1i64 << 40)), &["`r`"]);
    refused(&config("alpha_pattern", json!({"v_proj": "x"})), &["`v_proj`"]);
    refused(
        &config("trainable_token_indices", json!([1])),
        &["trainable_token_indices"],
    );
    refused(
        &|adapter| std::fs::remove_file(adapter.join("adapter_model.bin")).unwrap(),
        &["adapter_model.safetensors nor adapter_model.bin", "hint:"],
    );
    refused(
        &|adapter| std::fs::write(adapter.join("adapter_model.bin"), b"\x80\x02cos\nsystem\n.").unwrap(),
        &["adapter_model.bin", "hint:"],
    );
    // Training does not continue an adapter whose parts it would lose.
    let dir = Dir::new();
    let data = dir.path("rows.jsonl");
    std::fs::write(&data, "{\"prompt\": \"the \", \"completion\": \"end\"}\n").unwrap();
    for (name, base, word) in [
        ("patterns_in_bin", "llama3", "rank_pattern"),
        ("saved_ends", "llama3", "embed_tokens"),
    ] {
        let mut command = ewe_torch();
        command.args([
            "train",
            "--template",
            "completion",
            "--steps",
            "1",
            "--method",
            "lora",
            "--eval-fraction",
            "0",
        ]);
        command
            .arg("--model")
            .arg(golden(base))
            .arg("--adapter")
            .arg(golden("strangers").join(name));
        command.arg("--data").arg(&data).arg("--out").arg(dir.path("out"));
        let assert = command.assert().failure().code(1);
        let message = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            message.contains(word) && message.contains("ewe merge"),
            "{message}"
        );
    }
}

/// A config may have `rope_parameters` and, from an older program, `rope_scaling`. The numbers are
/// those of `transformers` 5.23.
#[test]
fn of_two_rope_settings_the_one_of_transformers_counts() {
    let linear = |factor: f64| json!({"type": "linear", "factor": factor});
    let other = json!({"rope_type": "linear", "factor": 7.0, "rope_theta": 50.0});
    let mut partial = other.clone();
    partial["partial_rotary_factor"] = json!(1.0);
    let cases = [
        (
            "llama3",
            vec![("rope_parameters", other)],
            [45.64859174989849, 25.272090916883336],
        ),
        (
            "mistral",
            vec![("rope_scaling", linear(3.0))],
            [33.88050141382738, 32.56200808368198],
        ),
        (
            "mistral",
            vec![("rope_scaling", json!({}))],
            [32.31461014995775, 29.57877719268088],
        ),
        (
            "gemma3",
            vec![("rope_scaling", json!({"rope_type": "linear", "factor": 8.0}))],
            [46.662515789319315, 33.70712005756273],
        ),
        (
            "neox",
            vec![("rope_parameters", partial), ("rope_scaling", linear(2.0))],
            [45.121787598792935, 28.00357883563744],
        ),
    ];
    for (name, fields, want) in cases {
        let dir = Dir::new();
        let model = dir.path("model");
        copy(&golden(name), &model);
        edit(&model.join("config.json"), |config| {
            for (field, value) in &fields {
                config[*field] = value.clone();
            }
        });
        let mut expected = read_json(&golden(name).join("expected.json"));
        let rows = expected["score"].as_array_mut().unwrap();
        rows.truncate(2);
        for (row, nll) in rows.iter_mut().zip(want) {
            row["nll"] = json!(nll);
        }
        assert_same(name, &scores(&dir, &model, None, &expected));
    }
}
