//! Configs of other programs, field by field: each field means what it means to the program that
//! wrote it, or is refused by name. A mismatch of adapter and base model is reported.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::foreign_models::{assert_same, copy, edit, scores};
use crate::golden::{Changed, golden, read_json, text};
use crate::server::Server;
use crate::shell::{Dir, Ran, ran};

/// Runs `ewe-torch` in the directory.
fn ewe_torch(dir: &Dir, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command
        .args(arguments)
        .current_dir(dir.path(""))
        .stdin(Stdio::null());
    ran(command)
}

/// Completes a prompt with an adapter.
fn complete(model: &Path, adapter: &Path) -> Ran {
    let dir = Dir::new();
    let arguments = ["complete", "--prompt", "the", "--max-tokens", "1", "--model"];
    let rest = [text(model), "--adapter", text(adapter)];
    ewe_torch(&dir, &[&arguments[..], &rest].concat())
}

#[track_caller]
fn says(ran: Ran, words: &[&str]) {
    let message = ran.failure(1).stderr();
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

/// A copy of the adapter `patterns_in_bin` for `llama3`, with these fields set in its config.
fn with(dir: &Dir, fields: &Value) -> PathBuf {
    let adapter = dir.path("adapter");
    copy(&golden("strangers/patterns_in_bin"), &adapter);
    edit(&adapter.join("adapter_config.json"), |config| {
        for (name, value) in fields.as_object().unwrap() {
            config[name] = value.clone();
        }
    });
    adapter
}

#[test]
fn adapters_that_change_their_base_are_refused_by_field() {
    for way in [
        json!("pissa"),
        json!("pissa_niter_4"),
        json!("olora"),
        json!("OLoRA"),
        json!("loftq"),
        json!("corda"),
        json!("lora_ga"),
        json!("a way of tomorrow"),
        json!(3),
    ] {
        let dir = Dir::new();
        let adapter = with(&dir, &json!({"init_lora_weights": way}));
        let words = [
            "adapter_config.json",
            "`init_lora_weights`",
            &way.to_string(),
            "merge_and_unload",
        ];
        says(complete(&golden("llama3"), &adapter), &words);
    }
    let expected = read_json(&golden("strangers/patterns_in_bin/expected.json"));
    for way in [
        json!(null),
        json!(false),
        json!("gaussian"),
        json!("eva"),
        json!("orthogonal"),
        json!("mica"),
    ] {
        let dir = Dir::new();
        let adapter = with(&dir, &json!({"init_lora_weights": way}));
        let name = way.to_string();
        assert_same(&name, &scores(&dir, &golden("llama3"), Some(&adapter), &expected));
    }
}

#[test]
fn every_adapter_config_field_is_known_or_refused() {
    for (name, value) in [
        ("velora_config", json!({"num_groups": 4})),
        ("kasa_config", json!({})),
        ("monteclora_config", json!({"num_samples": 8})),
        ("arrow_config", json!({"top_k": 3})),
        ("use_bdlora", json!({"nblocks": 2})),
        ("megatron_config", json!({"a": 1})),
        ("alora_invocation_tokens", json!([1])),
        ("layer_replication", json!([[0, 1]])),
        ("target_parameters", json!(["w"])),
        ("lora_bias", json!(true)),
        ("use_qalora", json!(true)),
        ("bias", json!("lora_only")),
        ("enable_lora", json!([true, false, true])),
        ("a_field_of_tomorrow", json!(true)),
        ("another_of_tomorrow", json!("x".repeat(5000))),
    ] {
        let dir = Dir::new();
        let adapter = with(&dir, &json!({name: value}));
        let ran = complete(&golden("llama3"), &adapter);
        assert!(ran.stderr().len() < 1000, "{name}");
        says(ran, &["adapter_config.json", &format!("`{name}`"), "hint:"]);
    }
    // Fields that are off or concern training only are accepted, and so are fields of old peft
    // versions.
    let dir = Dir::new();
    let harmless = json!({
        "a_field_of_tomorrow": false,
        "another_of_tomorrow": null,
        "auto_mapping": {"base_model_class": "LlamaForCausalLM"},
        "corda_config": {"corda_method": "ipm"},
        "enable_lora": null,
        "ensure_weight_tying": true,
        "eva_config": {"rho": 2.0},
        "fan_in_fan_out": true,
        "lora_dropout": 0.5,
        "merge_weights": false,
        "peft_version": "9.9",
        "runtime_config": {"ephemeral_gpu_offload": true},
        "trainable_token_indices": {},
    });
    let adapter = with(&dir, &harmless);
    let expected = read_json(&golden("strangers/patterns_in_bin/expected.json"));
    assert_same(
        "harmless",
        &scores(&dir, &golden("llama3"), Some(&adapter), &expected),
    );
    // Tied embedding and head, trained as one.
    copy(&golden("strangers/tied_ends"), &adapter);
    std::fs::remove_file(adapter.join("adapter_model.bin")).unwrap();
    edit(&adapter.join("adapter_config.json"), |config| {
        config["ensure_weight_tying"] = json!(true)
    });
    says(
        complete(&golden("gemma3"), &adapter),
        &["`ensure_weight_tying`", "hint:"],
    );
}

#[test]
fn numbers_out_of_range_are_named_and_nan_scores_are_not_written() {
    for (fields, name) in [
        (json!({"lora_alpha": 1e308}), "`lora_alpha`"),
        (json!({"lora_alpha": -1e300}), "`lora_alpha`"),
        (json!({"alpha_pattern": {"v_proj": 1e39}}), "`v_proj`"),
        (json!({"lora_alpha": "NaN"}), "`lora_alpha`"),
        (json!({"r": 2.5}), "`r`"),
    ] {
        let dir = Dir::new();
        let adapter = with(&dir, &fields);
        says(
            complete(&golden("llama3"), &adapter),
            &["adapter_config.json", name],
        );
    }
    // A model whose scores are NaN: its last norm multiplies by nearly infinite weights.
    let model = Changed::of("llama3");
    model.overwrite("model.norm.weight", 0, &[3e38; 32]);
    let dir = Dir::new();
    dir.write("rows.jsonl", "{\"prompt\": \"the \", \"completion\": \"end\"}\n");
    let arguments = [
        "score",
        "--data",
        "rows.jsonl",
        "--out",
        "scores.jsonl",
        "--model",
        text(model.path()),
    ];
    says(
        ewe_torch(&dir, &arguments),
        &["rows.jsonl: row 0", "nll", "hint:"],
    );
    assert!(!dir.path("scores.jsonl").exists());
}

/// Renames the tensors of a safetensors file.
fn rename(path: &Path, to: impl Fn(&str) -> String) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let header = header.as_object().unwrap().iter();
    let header: serde_json::Map<String, Value> =
        header.map(|(name, place)| (to(name), place.clone())).collect();
    let header = Value::from(header).to_string();
    let length_now = (header.len() as u64).to_le_bytes();
    std::fs::write(
        path,
        [&length_now, header.as_bytes(), &bytes[8 + length..]].concat(),
    )
    .unwrap();
}

#[test]
fn an_adapter_of_another_base_names_that_base() {
    // Tensors of other sizes are an error.
    says(
        complete(&golden("llama3"), &golden("gemma3_lora")),
        &["gemma3_lora", "base model `gemma3`", "llama3", "hint:"],
    );
    // Tensors of the same sizes are not: it may be the same model under another name.
    let dir = Dir::new();
    let other = dir.path("somebody-elses");
    copy(&golden("llama3"), &other);
    let adapter = golden("strangers/patterns_in_bin");
    let said = complete(&other, &adapter).success().stderr();
    for word in ["WARN", "`llama3`", "somebody-elses", "adapter_config.json"] {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    // The base is recognized by its folder's name or by its config.
    let said = complete(&golden("llama3"), &adapter).success().stderr();
    assert!(!said.contains("WARN"), "{said}");
    edit(&other.join("config.json"), |config| {
        config["_name_or_path"] = json!("somebody/Llama-3")
    });
    let said = complete(&other, &adapter).success().stderr();
    assert!(!said.contains("WARN"), "{said}");
}

#[test]
fn adapter_tensors_with_in_memory_names_get_a_hint() {
    let dir = Dir::new();
    let adapter = dir.path("adapter");
    copy(&golden("gemma3_lora"), &adapter);
    rename(&adapter.join("adapter_model.safetensors"), |name| {
        name.replace("lora_A.", "lora_A.default.")
            .replace("lora_B.", "lora_B.default.")
    });
    says(
        complete(&golden("gemma3"), &adapter),
        &["adapter's name", ".default.weight", "save_pretrained"],
    );
}

/// Sets a field of a JSON file to a text that is not valid JSON, such as `NaN`.
fn put(path: &Path, field: &str, value: &str) {
    let file = std::fs::read_to_string(path).unwrap_or_else(|_| "{}".into());
    let mut file: Value = serde_json::from_str(&file).unwrap();
    file[field] = json!("in its place");
    std::fs::write(path, file.to_string().replace("\"in its place\"", value)).unwrap();
}

#[test]
fn configs_with_nan_and_infinity_are_read_as_in_python() {
    let dir = Dir::new();
    let (model, adapter) = (dir.path("llama3"), dir.path("adapter"));
    copy(&golden("llama3"), &model);
    copy(&golden("strangers/patterns_in_bin"), &adapter);
    put(
        &model.join("config.json"),
        "time_limit",
        "[NaN, Infinity, -1e999]",
    );
    put(
        &model.join("tokenizer_config.json"),
        "model_max_length",
        "Infinity",
    );
    put(&model.join("generation_config.json"), "temperature", "-Infinity");
    put(&adapter.join("adapter_config.json"), "lora_dropout", "NaN");
    let expected = read_json(&adapter.join("expected.json"));
    assert_same("NaN", &scores(&dir, &model, Some(&adapter), &expected));
    // They are written again unchanged.
    let merge = [
        "merge",
        "--dtype",
        "fp32",
        "--model",
        "llama3",
        "--adapter",
        "adapter",
        "--out",
        "merged",
    ];
    ewe_torch(&dir, &merge).success();
    let config = dir.read("merged/config.json");
    assert!(
        config.contains("[\n    NaN,\n    Infinity,\n    -Infinity\n  ]"),
        "{config}"
    );
    assert!(
        dir.read("merged/generation_config.json")
            .contains("\"temperature\": -Infinity")
    );
    assert_same("merged", &scores(&dir, &dir.path("merged"), None, &expected));
    // A required number must be a number.
    for (field, value) in [
        ("rms_norm_eps", "NaN"),
        ("hidden_size", "Infinity"),
        ("vocab_size", "1e999"),
    ] {
        copy(&golden("llama3"), &model);
        put(&model.join("config.json"), field, value);
        says(
            complete(&model, &adapter),
            &["config.json", &format!("`{field}`")],
        );
    }
}

#[test]
fn endless_configs_and_templates_are_refused_by_size() {
    let link = |path: &Path| {
        let _ = std::fs::remove_file(path);
        symlink("/dev/zero", path).unwrap();
    };
    let dir = Dir::new();
    let (model, adapter) = (dir.path("llama3"), dir.path("adapter"));
    copy(&golden("llama3"), &model);
    copy(&golden("strangers/patterns_in_bin"), &adapter);
    link(&adapter.join("adapter_config.json"));
    says(
        complete(&model, &adapter),
        &["adapter_config.json", "more than 16 MiB"],
    );
    let template = [
        "complete",
        "--prompt",
        "a",
        "--chat",
        "--template",
        "/dev/zero",
        "--model",
        "llama3",
    ];
    says(ewe_torch(&dir, &template), &["/dev/zero", "more than 16 MiB"]);
    link(&model.join("config.json"));
    says(
        complete(&model, &golden("strangers/patterns_in_bin")),
        &["config.json", "more than 16 MiB"],
    );
}

#[test]
fn a_prompt_without_tokens_is_an_error() {
    let model = Changed::long(4096);
    let server = Server::with(model.path(), &[]);
    let (status, answer) = server.complete(json!({"prompt": "", "add_special_tokens": false}));
    let (error, message) = (&answer["error"], answer["error"]["message"].to_string());
    assert_eq!((status, &error["param"]), (400, &json!("prompt")), "{answer}");
    assert!(
        message.contains("`add_special_tokens`") && !message.contains("has no begin-of-text"),
        "{message}"
    );
    let (status, answer) = server.complete(json!({"prompt": "", "max_tokens": 1}));
    assert_eq!(status, 200, "{answer}");

    std::fs::write(
        model.path().join("chat_template.jinja"),
        "{% if messages == 1 %}x{% endif %}",
    )
    .unwrap();
    let server = Server::with(model.path(), &[]);
    let (status, answer) = server.chat(json!({"messages": [{"role": "user", "content": "a"}]}));
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("messages")),
        "{answer}"
    );
    assert!(
        answer["error"]["message"].to_string().contains("makes nothing"),
        "{answer}"
    );
    let dir = Dir::new();
    let asked = [
        "complete",
        "--prompt",
        "a",
        "--chat",
        "--model",
        text(model.path()),
    ];
    says(
        ewe_torch(&dir, &asked),
        &["chat_template.jinja", "makes nothing", "hint:"],
    );
}
