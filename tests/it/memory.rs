//! Resident memory stays near the need, however many lengths a run or a server has seen. The models
//! are made here: the tiny ones are too small to be seen beside libtorch itself.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::golden::golden;
use crate::server::Server;
use crate::shell::Dir;
use crate::train::{EWE_TORCH, metrics, stderr, train};
use crate::waiting::{pause, until};

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().unwrap())
}

/// Draws numbers between two bounds, spread as lengths are: as many from 2 to 20 as from 20 to 200.
struct Lengths(u64);

impl Lengths {
    fn next(&mut self, from: f64, to: f64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let even = (self.0 >> 33) as f64 / (1u64 << 31) as f64;
        (from.ln() + even * (to / from).ln()).exp() as usize
    }

    /// `count` words that the tiny tokenizers know.
    fn words(&mut self, count: usize) -> String {
        let word = |_| ["the", "count", "of", "one", "and"][self.next(1.0, 6.0) - 1];
        (0..count).map(word).collect::<Vec<_>>().join(" ")
    }
}

/// A Llama of some million weights, small and all different, in bf16, with a tiny model's
/// tokenizer.
fn model(scratch: &Dir) -> PathBuf {
    let dir = scratch.path("model");
    fs::create_dir(&dir).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(golden("llama").join(file), dir.join(file)).unwrap();
    }
    let text = fs::read_to_string(golden("llama").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let (hidden, inner, layers) = (192, 512, 2);
    for (name, value) in [
        ("hidden_size", json!(hidden)),
        ("intermediate_size", json!(inner)),
        ("num_hidden_layers", json!(layers)),
        ("num_attention_heads", json!(3)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(64)),
        ("max_position_embeddings", json!(2048)),
        ("dtype", json!("bfloat16")),
        ("torch_dtype", json!("bfloat16")),
    ] {
        config[name] = value;
    }
    config.as_object_mut().unwrap().remove("rope_scaling");
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let vocab = config["vocab_size"].as_u64().unwrap();
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    if config["tie_word_embeddings"] != json!(true) {
        shapes.push(("lm_head.weight".to_owned(), vec![vocab, hidden]));
    }
    for layer in 0..layers {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![hidden, hidden]),
            ("self_attn.v_proj", vec![hidden, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    write_bf16(&dir.join("model.safetensors"), &shapes);
    dir
}

fn write_bf16(path: &Path, shapes: &[(String, Vec<u64>)]) {
    let (mut header, mut bytes) = (HashMap::new(), Vec::new());
    let mut lengths = Lengths(1);
    for (name, shape) in shapes {
        let begin = bytes.len();
        for _ in 0..shape.iter().product::<u64>() {
            // The upper half of an fp32 between -0.05 and 0.05.
            let number = lengths.next(1.0, 1000.0) as f32 / 10_000.0 - 0.05;
            bytes.extend_from_slice(&number.to_le_bytes()[2..]);
        }
        header.insert(
            name,
            json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, bytes.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.write_all(&bytes).unwrap();
}

/// With rows of every length, the plan covers resident memory and not only allocated memory.
#[test]
fn training_on_varying_lengths_stays_within_the_plan() {
    let scratch = Dir::new();
    let model = model(&scratch);
    let model = model.to_str().unwrap();
    let mut lengths = Lengths(7);
    let row = |_| {
        let (prompt, completion) = (lengths.next(2.0, 80.0), lengths.next(2.0, 80.0));
        let row = json!({"prompt": lengths.words(prompt), "completion": lengths.words(completion)});
        format!("{row}\n")
    };
    let data = scratch.path("varied.jsonl");
    fs::write(&data, (0..160).map(row).collect::<String>()).unwrap();
    for method in ["lora", "full"] {
        let out = scratch.path(method);
        let more = format!("--method {method} --precision bf16 --steps 40 --eval-fraction 0");
        let rehearsal = train(model, &data, &out, &format!("{more} --dry-run")).success();
        let told = stderr(&rehearsal);
        let (_, rest) = told
            .split_once(" of the process (")
            .unwrap_or_else(|| panic!("{told}"));
        let planned: f64 = rest.split_whitespace().next().unwrap().parse().unwrap();
        train(model, &data, &out, &more).success();
        let lines = metrics(&out);
        let resident = |line: &Value| line["resident"].as_f64().unwrap() / 1e6;
        let most = lines.iter().map(resident).fold(0.0, f64::max);
        assert!(
            most <= 1.15 * planned,
            "{method}: {most} MB, {planned} MB planned"
        );
        // Resident memory is always above the allocated memory.
        let counted = |line: &Value| line["memory"].as_f64().unwrap() / 1e6;
        let beyond = |line: &Value| resident(line) - counted(line);
        assert!(lines.iter().all(|line| beyond(line) > 0.0), "{lines:?}");
    }
}

/// Answers prompts of 2 to 150 words with a few tokens each, and compares the peak of the second
/// half with that of the first.
#[test]
fn completing_prompts_of_varying_lengths_does_not_grow() {
    let scratch = Dir::new();
    let model = model(&scratch);
    let (prompts, out) = (scratch.path("prompts.jsonl"), scratch.path("out.jsonl"));
    let mut lengths = Lengths(3);
    let row = |_| {
        let count = lengths.next(2.0, 150.0);
        format!("{}\n", json!({"prompt": lengths.words(count)}))
    };
    fs::write(&prompts, (0..600).map(row).collect::<String>()).unwrap();
    let mut process: Child = Process::new(EWE_TORCH)
        .args([
            "-q",
            "complete",
            "--max-tokens",
            "4",
            "--batch",
            "4",
            "--dtype",
            "bf16",
        ])
        .arg("--model")
        .arg(&model)
        .arg("--prompts")
        .arg(&prompts)
        .arg("--out")
        .arg(&out)
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = Vec::new();
    while process.try_wait().unwrap().is_none() {
        seen.extend(resident(process.id()));
        pause(Duration::from_millis(20));
    }
    assert!(process.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&out).unwrap().lines().count(), 600);
    let most = |of: &[u64]| of.iter().copied().max().unwrap() as f64 / 1e6;
    let (first, second) = seen.split_at(seen.len() / 2);
    // 64 MiB beyond the need are kept, and come and go.
    assert!(
        most(second) <= most(first) + 64.0,
        "{} MB, then {} MB",
        most(first),
        most(second)
    );
}

#[test]
fn serving_prompts_of_varying_lengths_does_not_grow() {
    let scratch = Dir::new();
    let server = Server::with(&model(&scratch), &["--dtype", "bf16"]);
    let mut lengths = Lengths(5);
    let mut most = [0u64; 2];
    // The first half fills the prefix cache and the cache of compiled products.
    for half in &mut most {
        for _ in 0..130 {
            let count = lengths.next(20.0, 150.0);
            let (status, answer) =
                server.complete(json!({"prompt": lengths.words(count), "max_tokens": 3, "temperature": 0}));
            assert_eq!(status, 200, "{answer}");
            *half = (*half).max(resident(server.id()).unwrap());
        }
    }
    let [first, second] = most.map(|bytes| bytes as f64 / 1e6);
    // 64 MiB beyond the need are kept, and come and go.
    assert!(second <= first + 64.0, "{first} MB, then {second} MB");
}

/// Bodies of 8 MB, four at once, none of which reaches the engine.
#[test]
fn memory_of_large_refused_bodies_is_returned() {
    let server = Server::start("gemma3");
    let small = json!({ "prompt": "t", "max_tokens": 2 });
    assert_eq!(server.complete(small.clone()).0, 200);
    let before = server.resident();
    for prompt in [
        json!(vec![1_000_000; 1_040_000]),
        json!("the cat sat ".repeat(690_000)),
    ] {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(server.complete(json!({ "prompt": prompt })).0, 400));
            }
        });
        // No other request arrives that could trigger the release of memory.
        until("less memory", || server.resident() < before + 100);
    }
    assert_eq!(server.complete(small).0, 200);
}
