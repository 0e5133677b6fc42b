//! `ewe train --method lora --shard`: a frozen base that ranks divide, over Gloo on this machine.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::ranks::{alike, ewe, line, none_left, start, tensors};
use crate::shell::{Dir, signal};
use crate::train::{EWE_TORCH, arguments, fails, losses, metrics, rows};
use crate::waiting::{ended, until};

const LORA: &str = "--method lora --lora-rank 4 --steps 6 --eval-every 3";
const FILE: &str = "adapter_model.safetensors";

#[track_caller]
fn same_bits(one: &Path, other: &Path) {
    assert!(fs::read(one.join(FILE)).unwrap() == fs::read(other.join(FILE)).unwrap());
    assert_eq!(losses(one), losses(other));
}

#[test]
fn ranks_that_divide_the_base_train_the_adapter_of_one_process() {
    let dir = Dir::new();
    let data = rows(&dir);
    let out = |name: &str| dir.path(name);
    let options = format!("{LORA} --lora-dropout 0.2 --neftune 5 --micro-batch 2");
    ewe(line(&data, &out("one"), &options)).assert().success();
    for (name, more) in [
        ("two", "--ranks 2 --shard all"),
        ("again", "--ranks 2 --shard 2"),
        ("three", "--ranks 3 --shard all"),
        ("replicas", "--ranks 4 --shard 2"),
    ] {
        let more = format!("{options} {more}");
        ewe(line(&data, &out(name), &more)).assert().success();
        alike(&out("one"), &out(name), FILE);
    }
    same_bits(&out("two"), &out("again"));
}

/// Codes and scales are those that one process has, whichever family the layers are of.
#[test]
fn a_base_in_four_bits_is_divided() {
    let dir = Dir::new();
    let data = rows(&dir);
    let options = "--steps 3 --device cpu --precision fp32 --batch-size 5 --eval-fraction 0.1 --method lora";
    for model in ["gemma3", "gpt2", "gemma3_untied", "qwen3_moe"] {
        let out = |name: &str| dir.path(&format!("{model}-{name}"));
        for (name, more) in [
            ("one", "--quantize nf4"),
            ("two", "--quantize nf4 --ranks 2 --shard all"),
            ("plain", "--ranks 2 --shard all"),
        ] {
            let line = arguments(model, &data, &out(name), &format!("{options} {more}"));
            ewe(line).assert().success();
        }
        alike(&out("one"), &out("two"), FILE);
        assert_ne!(losses(&out("two")), losses(&out("plain")), "{model}");
    }
}

#[test]
fn it_goes_on_with_any_number_of_ranks_and_with_another_adapter() {
    let dir = Dir::new();
    let data = rows(&dir);
    let (whole, parts, errors) = (dir.path("whole"), dir.path("parts"), dir.path("errors"));
    let options = "--method lora --lora-rank 4 --steps 90 --save-every 1000";
    ewe(line(&data, &whole, options)).assert().success();
    let mut before = 0;
    for more in ["--ranks 2 --shard all", "--ranks 3 --shard all --resume"] {
        let mut run = start(line(&data, &parts, &format!("{options} {more}")), &errors);
        until("steps", || metrics(&parts).len() >= before + 3);
        signal(run.id(), "TERM");
        let code = ended(&mut run).code();
        assert_eq!(code, Some(130), "{}", fs::read_to_string(&errors).unwrap());
        none_left(run.id());
        before = metrics(&parts).len();
    }
    let resumed = format!("{options} --resume");
    ewe(line(&data, &parts, &resumed)).assert().success();
    for ((name, a), (_, b)) in tensors(&whole.join(FILE)).iter().zip(&tensors(&parts.join(FILE))) {
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{name}: {apart}");
    }
    let further = |name: &str, more: &str| {
        let adapter = whole.display();
        let options = format!("--method lora --adapter {adapter} --steps 4 --eval-every 2 {more}");
        let out = dir.path(name);
        ewe(line(&data, &out, &options)).assert().success();
        out
    };
    let (one, two) = (
        further("further", ""),
        further("divided", "--ranks 2 --shard all"),
    );
    alike(&one, &two, FILE);
}

#[test]
fn dora_needs_whole_weights() {
    let dir = Dir::new();
    let data = rows(&dir);
    let run = |out: &str, more: &str| ewe(line(&data, &dir.path(out), more)).assert();
    let refused = run("out", "--method lora --dora --ranks 2 --shard all").code(2);
    let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    let error = "error: `--dora` cannot be used with `--shard`";
    assert!(text.starts_with(error) && text.contains("\nhint: "), "{text}");
    run("dora", "--method lora --dora --lora-rank 2 --steps 1").success();
    let adapter = dir.path("dora");
    let more = format!(
        "--method lora --adapter {} --ranks 2 --shard all",
        adapter.display()
    );
    fails(
        run("more", &more),
        &["DoRA needs the norms of whole weights", "\nhint: "],
    );
}

/// Of a block, embedding and head the plan counts what is whole at once, and of the rest a part.
#[test]
fn plan_says_what_each_rank_takes_of_the_base() {
    let plan = |more: &str| -> Value {
        let run = assert_cmd::Command::new(EWE_TORCH)
            .args(["plan", "--json", "--method", "lora", "--model"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt-j-6b"))
            .args(more.split_whitespace())
            .assert();
        serde_json::from_slice(&run.success().get_output().stdout).unwrap()
    };
    let weights = |plan: &Value| plan["methods"][0]["bytes"]["weights"].as_f64().unwrap();
    let one = plan("--recompute");
    let eight = plan("--gpus 8 --shard all");
    let share = weights(&eight) / weights(&one);
    // An eighth, and two of 28 blocks.
    assert!((0.18..0.21).contains(&share), "{share}");
    let coded = plan("--gpus 8 --shard all --quantize nf4");
    assert!(weights(&coded) < 0.5 * weights(&eight), "{coded}");
    let sent = |plan: &Value| plan["methods"][0]["wire"]["blocks"].as_f64().unwrap();
    assert!(sent(&coded) < 0.3 * sent(&eight));
}
