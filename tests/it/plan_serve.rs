//! `ewe plan --serve` from the command line.

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;

use crate::golden::golden;
use crate::train::EWE_TORCH;

fn plan(model: &Path, more: &[&str]) -> Assert {
    Command::new(EWE_TORCH)
        .args(["plan", "--serve", "--model"])
        .arg(model)
        .args(more)
        .assert()
}

fn gptj(more: &[&str]) -> Assert {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt-j-6b/config.json");
    plan(&config, more)
}

fn text(assert: Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn json(assert: Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

#[test]
fn plan_tells_how_many_sequences_of_gpt_j_fit() {
    let table = text(gptj(&[]).success());
    for words in [
        "gptj with a context of 2048: weights of 12.1 GB",
        "458,752 B of keys and values for each token",
        "24 GB",
        "141 GB",
        "CPU",
        "requests at once",
        "pages of the KV cache",
        "in free pages",
        "of 512 ",
        "of 1,024 ",
        "of 2,048 ",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert!(!table.contains("of 4,096"), "beyond the context: {table}");
    let plan = json(gptj(&["--json"]).success());
    assert_eq!(plan["bytes_per_token"], 458_752);
    assert_eq!(plan["weights"], 2 * 6_050_882_784u64);
    let devices = plan["devices"].as_array().unwrap();
    let contexts = |device: &Value| device["sequences"][2]["count"].as_u64().unwrap();
    let counts: Vec<u64> = devices.iter().map(contexts).collect();
    // Sequences of 2,048 tokens: on 24, 48, 80 and 141 GB, and in the CPU's 4 GiB.
    assert!(
        counts[..4].is_sorted() && counts[0] >= 5 && counts[3] >= 100,
        "{counts:?}"
    );
    assert_eq!(counts[4], 4);
    assert_eq!(devices[4]["max_batch"], 32);
    assert_eq!(devices[4]["page_tokens"], Value::Null);
    for device in &devices[..4] {
        // Pages hold the prefixes of prompts, too.
        assert_eq!(
            (&device["page_tokens"], &device["prefix_bytes"]),
            (&256.into(), &0.into())
        );
        let pages = device["kv_bytes"].as_u64().unwrap() / (256 * 458_752);
        assert_eq!(device["kv_tokens"].as_u64(), Some(256 * pages), "{device}");
        assert_eq!(
            device["sequences"][2]["count"].as_u64(),
            Some(pages / 8),
            "{device}"
        );
        let memory = device["memory"].as_u64().unwrap();
        let parts = ["kv_bytes", "prefix_bytes", "workspace"];
        let parts: u64 = parts.iter().map(|part| device[part].as_u64().unwrap()).sum();
        assert!(parts + 12_100_000_000 < memory, "{device}");
        assert!(
            (128..=256).contains(&device["max_batch"].as_u64().unwrap()),
            "{device}"
        );
    }
}

#[test]
fn plan_serve_takes_a_gpu_or_the_memory_of_the_kv_cache() {
    let named = json(gptj(&["--gpu", "a100", "--json"]).success());
    let names: Vec<&str> = named["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["device"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["A100 40 GB", "A100 80 GB"]);
    let small = text(gptj(&["--gpu", "8GB"]).code(1));
    assert!(small.contains("8 GB: the model does not fit."), "{small}");
    let unknown = gptj(&["--gpu", "TPU"]).code(1);
    let said = String::from_utf8(unknown.get_output().stderr.clone()).unwrap();
    assert!(said.contains("`TPU`") && said.contains("hint: "), "{said}");
    // On the CPU of this machine, as `ewe serve --kv-memory` says at its start.
    let here = json(
        plan(
            &golden("gemma3"),
            &["--kv-memory", "1MB", "--precision", "fp32", "--json"],
        )
        .success(),
    );
    let devices = here["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(
        (&devices[0]["device"], &devices[0]["kv_tokens"]),
        (&"CPU".into(), &1302.into())
    );
    let sequences = serde_json::json!([{ "tokens": 64, "count": 20 }]);
    assert_eq!(devices[0]["sequences"], sequences);
    for (options, words) in [
        (
            &["--method", "lora"][..],
            "`--method` cannot be used with `--serve`",
        ),
        (&["--memory", "24GB"], "`--memory` cannot be used with `--serve`"),
    ] {
        let refused = gptj(options).code(2);
        let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
        assert!(said.contains(words), "{said}");
    }
    let alone = Command::new(EWE_TORCH)
        .args(["plan", "--model", "m", "--gpu", "24GB"])
        .assert()
        .code(2);
    let said = String::from_utf8(alone.get_output().stderr.clone()).unwrap();
    assert!(
        said.contains("`--gpu` cannot be used without `--serve`"),
        "{said}"
    );
}
