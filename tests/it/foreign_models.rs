//! Models and adapters as other programs and people leave them: against `transformers`' and `peft`'s numbers
//! (`tests/golden/strangers`, written by `scripts/make_goldens.py`), or refused by name.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::shell::Dir;

pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn ewe_torch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.arg("-q");
    command
}

pub fn json_file(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A copy of the folder, to be changed.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

pub fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = json_file(path);
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// What `ewe score` finds of the rows of `expected`, and what the reference found.
pub fn scores(dir: &Dir, model: &Path, adapter: Option<&Path>, expected: &Value) -> Vec<(f64, f64)> {
    let (data, out) = (dir.path("rows.jsonl"), dir.path("scores.jsonl"));
    let rows = expected["score"].as_array().unwrap();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(&data, lines).unwrap();
    let mut command = ewe_torch();
    command.args(["score", "--dtype", "fp32", "--model"]).arg(model);
    command.arg("--data").arg(&data).arg("--out").arg(&out);
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
    command.assert().success();
    let text = std::fs::read_to_string(&out).unwrap();
    let found = text.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap()["nll"]
            .as_f64()
            .unwrap()
    });
    found
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
fn adapters_of_peft_score_as_in_peft_and_so_do_their_merged_models() {
    for (name, base) in ADAPTERS {
        let dir = Dir::new();
        let adapter = golden("strangers").join(name);
        let expected = json_file(&adapter.join("expected.json"));
        let base = golden(base);
        assert_same(name, &scores(&dir, &base, Some(&adapter), &expected));
        // It does something.
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
fn a_head_that_is_not_the_embedding_counts_whatever_the_config_says() {
    let dir = Dir::new();
    // Its config also has dropout and a token for padding beyond the embedding, which inference never uses.
    let model = golden("strangers/tied_other_head");
    let expected = json_file(&model.join("expected.json"));
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
    // Trained, both stay apart, and the config says so.
    let calm = dir.path("calm");
    copy(&model, &calm);
    edit(&calm.join("config.json"), |config| {
        config["attention_dropout"] = json!(0.0)
    });
    let out = dir.path("trained");
    train(&calm, &out).success();
    assert_eq!(json_file(&out.join("config.json"))["tie_word_embeddings"], false);
    let trained = scores(&dir, &out, None, &expected);
    assert!(trained.iter().all(|(ours, _)| ours.is_finite()));
}

/// Messages of `ewe complete` with a model that `damage` was done to.
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

#[test]
fn absurd_numbers_in_a_config_are_named() {
    let absurd = [
        ("llama", "hidden_size", json!(1i64 << 62)),
        ("llama", "hidden_size", json!(-32)),
        ("llama", "hidden_size", json!(32.5)),
        ("llama", "hidden_size", json!("32")),
        ("llama", "hidden_size", json!([32])),
        ("llama", "head_dim", json!(0)),
        ("llama", "head_dim", json!(7)),
        ("gemma3", "head_dim", json!(0)),
        ("gemma3", "head_dim", json!(-16)),
        ("gemma3", "query_pre_attn_scalar", json!(0)),
        ("gemma3", "sliding_window", json!(-1)),
        ("llama", "num_hidden_layers", json!(1i64 << 40)),
        ("llama", "num_hidden_layers", json!(0)),
        ("llama", "num_attention_heads", json!(u64::MAX)),
        ("llama", "num_key_value_heads", json!(3)),
        ("llama", "vocab_size", json!(i64::MAX)),
        ("llama", "max_position_embeddings", json!(1i64 << 62)),
        ("llama", "rms_norm_eps", json!(-1.0)),
        ("llama", "rms_norm_eps", json!("small")),
        ("gptj", "n_inner", json!(-1)),
        ("gptj", "rotary_dim", json!(1i64 << 61)),
        ("gptj", "n_positions", json!(1e300)),
        ("neox", "rotary_pct", json!(-0.5)),
        ("neox", "rotary_emb_base", json!(0)),
        ("neox", "layer_norm_eps", json!(0.0)),
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
fn headers_that_lie_and_indices_that_lead_elsewhere_are_named() {
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
fn tokenizers_and_templates_of_strangers_end() {
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
    // A token beyond the model's rows harms where it is used only.
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
    for (source, word) in [
        ("{% for m in messages %}", "malformed"),
        ("{{ messages[0].content.nope() }}", "line 1"),
        ("{{ raise_exception('only in threes') }}", "only in threes"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "takes too long",
        ),
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
fn adapters_that_are_not_computed_are_refused_by_name() {
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
    // And training does not go on with what it would lose.
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

/// A config may have `rope_parameters` and, left from an older program, `rope_scaling`. The numbers are those of `transformers` 5.23.
#[test]
fn of_two_rotary_settings_the_references_counts() {
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
        let mut expected = json_file(&golden(name).join("expected.json"));
        let rows = expected["score"].as_array_mut().unwrap();
        rows.truncate(2);
        for (row, nll) in rows.iter_mut().zip(want) {
            row["nll"] = json!(nll);
        }
        assert_same(name, &scores(&dir, &model, None, &expected));
    }
}
