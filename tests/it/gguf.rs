//! GGUF files, written and read: the same answers as the folder that they were made of.

use std::path::Path;

use serde_json::{Value, json};

use crate::golden::{Changed, golden, read_json, read_lines, text, write_lines};
use crate::shell::{self, Dir, Ran};

const PROMPTS: [&str; 3] = ["the 1 2 3", "in other", "a"];

fn torch(dir: &Dir, arguments: &[&str]) -> Ran {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.current_dir(dir.path(".")).env("OMP_NUM_THREADS", "1");
    command.args(arguments);
    shell::ran(command)
}

/// The greedy texts of a model.
fn greedy(dir: &Dir, model: &Path) -> Vec<Value> {
    greedy_in(dir, model, &[])
}

/// The same with more options, such as the type.
fn greedy_in(dir: &Dir, model: &Path, options: &[&str]) -> Vec<Value> {
    let rows: Vec<Value> = PROMPTS.map(|prompt| json!({ "prompt": prompt })).into();
    write_lines(&dir.path("prompts.jsonl"), &rows);
    let line = "complete --prompts prompts.jsonl --out out.jsonl --max-tokens 24 --temperature 0 --model";
    torch(dir, &[&shell::words(line)[..], &[text(model)], options].concat()).success();
    let rows = read_lines(&dir.path("out.jsonl"));
    assert_eq!(rows.len(), PROMPTS.len());
    rows.iter().map(|row| row["completion"].clone()).collect()
}

/// The golden models of every architecture, with what llama.cpp does not have left out.
fn models() -> Vec<(&'static str, Changed)> {
    let gemma = [("query_pre_attn_scalar", json!(16)), ("layer_types", Value::Null)];
    let all: [(&str, &[(&str, Value)]); 20] = [
        ("llama", &[]),
        ("llama3", &[]),
        ("llama_dynamic", &[]),
        ("mistral", &[("sliding_window", Value::Null)]),
        (
            "qwen2",
            &[("use_sliding_window", json!(false)), ("layer_types", Value::Null)],
        ),
        ("qwen3", &[]),
        ("gemma3", &gemma),
        ("gemma3_untied", &gemma),
        ("neox", &[]),
        ("neox_tied", &[]),
        ("olmo2", &[]),
        (
            "ministral",
            &[("sliding_window", Value::Null), ("layer_types", Value::Null)],
        ),
        ("gemma2", &gemma[..1]),
        ("phi3", &[("sliding_window", Value::Null)]),
        ("granite", &[]),
        ("smollm3", &[("no_rope_layers", Value::Null)]),
        ("stablelm", &[]),
        ("stablelm_parallel", &[]),
        ("qwen3_moe", &[]),
        ("gpt2", &[]),
    ];
    let changed = |(name, fields): (&'static str, &[(&str, Value)])| {
        let model = Changed::of(name);
        for (field, value) in fields {
            model.config(field, value.clone());
        }
        (name, model)
    };
    all.map(changed).into()
}

#[test]
fn a_model_answers_from_gguf_as_from_its_folder() {
    let dir = Dir::new();
    for (name, model) in models() {
        let folder = text(model.path());
        let want = greedy(&dir, model.path());
        let said = torch(
            &dir,
            &["merge", "--model", folder, "--gguf", "x.gguf", "--type", "f32"],
        )
        .success();
        assert!(
            said.stderr().contains("F32") && said.stderr().contains("x.Modelfile"),
            "{name}"
        );
        assert_eq!(greedy(&dir, &dir.path("x.gguf")), want, "{name}");
        let modelfile = dir.read("x.Modelfile");
        assert!(modelfile.contains("FROM ./x.gguf\n"), "{modelfile}");
    }
}

/// The tiny models as gguf-py wrote them in F16: nothing here was read by what wrote it.
#[test]
fn files_of_gguf_py_answer_nearly_as_their_folders() {
    let dir = Dir::new();
    for name in [
        "llama3",
        "neox",
        "granite",
        "stablelm",
        "stablelm_parallel",
        "qwen3_moe",
        "gpt2",
    ] {
        // A file of F16 is else computed in bf16, whose rounding decides far more.
        let fp32 = ["--dtype", "fp32"];
        let got = greedy_in(&dir, &golden("gguf").join(format!("{name}.gguf")), &fp32);
        let want = greedy_in(&dir, &golden(name), &fp32);
        // F16 may decide a near-tie.
        let same = got.iter().zip(&want).filter(|(a, b)| a == b).count();
        assert!(same + 1 >= want.len(), "{name}: {got:?}, want {want:?}");
    }
}

#[test]
fn a_gguf_becomes_a_folder_again() {
    let dir = Dir::new();
    let file = golden("gguf").join("llama3.gguf");
    torch(&dir, &["merge", "--model", text(&file), "--out", "folder"]).success();
    // The file has norms in F32 and the folder in F16, which decides in bf16.
    let fp32 = ["--dtype", "fp32"];
    let got = greedy_in(&dir, &dir.path("folder"), &fp32);
    assert_eq!(got, greedy_in(&dir, &file, &fp32));
    // Its own type, whatever the processor computes in.
    let bytes = std::fs::read(dir.path("folder/model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8_lossy(&bytes[8..8 + length]).into_owned();
    assert!(
        header.contains("\"F16\"") && !header.contains("\"F32\""),
        "{header}"
    );
    let config = read_json(&dir.path("folder/config.json"));
    let original = read_json(&golden("llama3").join("config.json"));
    for field in [
        "model_type",
        "vocab_size",
        "hidden_size",
        "head_dim",
        "rms_norm_eps",
        "rope_theta",
        "tie_word_embeddings",
    ] {
        assert_eq!(config[field], original[field], "{field}");
    }
    let (scaling, wanted) = (&config["rope_scaling"], &original["rope_scaling"]);
    assert_eq!(scaling["factor"].as_f64(), wanted["factor"].as_f64());
    assert_eq!(scaling["rope_type"], "llama3");
    // And to GGUF again.
    torch(
        &dir,
        &[
            "merge",
            "--model",
            text(&file),
            "--gguf",
            "again.gguf",
            "--type",
            "f16",
        ],
    )
    .success();
    let again = greedy_in(&dir, &dir.path("again.gguf"), &fp32);
    assert_eq!(again, greedy_in(&dir, &file, &fp32));
}

#[test]
fn a_gguf_is_trained_scored_and_planned() {
    let dir = Dir::new();
    let file = golden("gguf").join("llama3.gguf");
    let model = text(&file);
    let rows: Vec<Value> = (0..8)
        .map(|k| json!({"prompt": format!("the {k}"), "completion": " in the"}))
        .collect();
    write_lines(&dir.path("rows.jsonl"), &rows);
    torch(&dir, &["plan", "--model", model]).success();
    torch(
        &dir,
        &[
            "score",
            "--model",
            model,
            "--data",
            "rows.jsonl",
            "--out",
            "nll.jsonl",
        ],
    )
    .success();
    assert_eq!(read_lines(&dir.path("nll.jsonl")).len(), 8);
    let line = "train --data rows.jsonl --template completion --steps 4 --lr 0.05 --precision fp32 --eval-fraction 0 --method lora \
                --out tuned --model";
    torch(&dir, &[&shell::words(line)[..], &[model]].concat()).success();
    let line = "merge --adapter tuned --dtype fp32 --gguf tuned.gguf --type bf16 --out merged --model";
    let said = torch(&dir, &[&shell::words(line)[..], &[model]].concat())
        .success()
        .stderr();
    assert!(said.contains("BF16") && said.contains("merged in fp32"), "{said}");
    assert!(dir.path("merged/tokenizer.json").is_file());
    let before = greedy(&dir, &file);
    assert_ne!(greedy(&dir, &dir.path("tuned.gguf")), before);
}

#[test]
fn what_cannot_be_merged_is_refused_with_a_way_out() {
    let dir = Dir::new();
    let gptj = golden("gptj");
    let llama = golden("llama");
    for (arguments, words) in [
        (
            &["merge", "--model", text(&gptj), "--gguf", "x.gguf"][..],
            &["gptj", "no architecture", "hint: --out"][..],
        ),
        (
            &["merge", "--model", text(&llama), "--out", "copy"],
            &["without --adapter", "hint: --adapter", "--gguf"],
        ),
    ] {
        let said = torch(&dir, arguments).failure(1).stderr();
        for word in words {
            assert!(said.contains(word), "{said}");
        }
    }
    assert!(!dir.path("x.gguf").exists() && !dir.path("copy").exists());
    torch(&dir, &["merge", "--model", text(&llama)]).failure(2);
    let typed = torch(
        &dir,
        &["merge", "--model", text(&llama), "--out", "o", "--type", "f16"],
    )
    .failure(2);
    assert!(typed.stderr().contains("--gguf"), "{}", typed.stderr());
    let piped = torch(&dir, &["merge", "--model", text(&llama), "--gguf", "-"]).failure(1);
    assert!(piped.stderr().contains("a GGUF file"), "{}", piped.stderr());
}

#[test]
fn damaged_files_are_named() {
    let dir = Dir::new();
    let whole = std::fs::read(golden("gguf").join("llama3.gguf")).unwrap();
    let find = |bytes: &[u8], words: &[u8]| bytes.windows(words.len()).position(|at| at == words).unwrap();
    let mut other = whole.clone();
    let at = find(&whole, b"general.architecture") + 20 + 12;
    other[at..at + 5].copy_from_slice(b"mamba");
    let mut unsplit = whole.clone();
    let at = find(&whole, b"gpt-2");
    unsplit[at..at + 5].copy_from_slice(b"magic");
    let mut endless = whole.clone();
    let at = find(&whole, b"tokenizer.ggml.tokens") + 21 + 8;
    endless[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    // One tensor over another, and more heads than a model has.
    let mut crossed = whole.clone();
    let name = b"blk.1.attn_k.weight";
    let at = find(&whole, name) + name.len() + 4 + 2 * 8 + 4;
    crossed[at..at + 8].copy_from_slice(&0u64.to_le_bytes());
    let mut many = whole.clone();
    let at = find(&whole, b"llama.attention.head_count") + 26 + 4;
    many[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut mangled = whole.clone();
    let at = find(&whole, b"general.architecture");
    mangled[at] = 0xff;
    for (bytes, words) in [
        (
            &whole[..whole.len() - 10],
            &["rope_freqs.weight", "offset", "cut off"][..],
        ),
        (&whole[..1000], &["cut off"]),
        (b"<html>".as_slice(), &["not a GGUF file"]),
        (&endless, &["tokenizer.ggml.tokens", "cut off or damaged"]),
        (&crossed, &["`blk.1.attn_k.weight`", "offset 0", "overlap"]),
        (&many, &["num_attention_heads", "4294967295"]),
        (&mangled, &["key 0", "UTF-8"]),
        (&unsplit, &["magic", "known are"]),
        (&other, &["`mamba`", "known are"]),
    ] {
        dir.write("bad.gguf", bytes);
        let said = torch(&dir, &["complete", "--model", "bad.gguf", "--prompt", "x"])
            .failure(1)
            .stderr();
        for word in words.iter().chain(&["bad.gguf", "hint:"]) {
            assert!(said.contains(word), "want {word}: {said}");
        }
    }
}
