//! `ewe train --shard`: parameters, gradients and optimizer state divided among ranks, over Gloo on
//! this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ranks::{ewe, line, none_left, process_of, start, tensors};
use crate::shell::{Dir, signal};
use crate::train::{fails, losses, metrics, misread, rows};
use crate::waiting::{ended, until};

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The files of a result, by its index if there is one.
fn files(out: &Path) -> Vec<PathBuf> {
    let index = out.join("model.safetensors.index.json");
    if !index.exists() {
        return vec![out.join("model.safetensors")];
    }
    let index = json(&index);
    let places = index["weight_map"].as_object().unwrap().values();
    let mut names: Vec<&str> = places.map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| out.join(name)).collect()
}

fn weights(out: &Path) -> BTreeMap<String, Vec<f32>> {
    files(out).iter().flat_map(|path| tensors(path)).collect()
}

/// Asserts that two runs lost as much in each step, and that their weights are equal, but for
/// rounding.
#[track_caller]
fn alike(one: &Path, other: &Path) {
    let (a, b) = (losses(one), losses(other));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
    let norms = |out: &Path| -> Vec<f64> {
        metrics(out)
            .iter()
            .map(|line| line["grad_norm"].as_f64().unwrap())
            .collect()
    };
    for (a, b) in norms(one).iter().zip(norms(other)) {
        assert!((a - b).abs() < 1e-5 * a, "{a} and {b}");
    }
    let held_out = |out: &Path| metrics(out).last().unwrap()["eval_loss"].as_f64().unwrap();
    assert!((held_out(one) - held_out(other)).abs() < 1e-6);
    let (a, b) = (weights(one), weights(other));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, a) in &a {
        let b = &b[name];
        // A bias of all keys moves all scores of a query alike, so its gradient is rounding, and
        // Adam makes whole steps of it.
        let keys = match name.ends_with("c_attn.bias") {
            true => a.len() / 3..2 * a.len() / 3,
            false => 0..0,
        };
        let compared = (0..a.len()).filter(|at| !keys.contains(at));
        let apart = compared.map(|at| (a[at] - b[at]).abs()).fold(0.0, f32::max);
        assert!(a.len() == b.len() && apart < 1e-6, "{name}: {apart}");
    }
}

#[track_caller]
fn same_bits(one: &Path, other: &Path) {
    for (a, b) in files(one).iter().zip(files(other)) {
        assert!(fs::read(a).unwrap() == fs::read(&b).unwrap(), "{}", b.display());
    }
    assert_eq!(losses(one), losses(other));
}

const FULL: &str = "--method full --steps 6 --eval-every 3";

#[test]
fn divided_ranks_train_the_weights_that_one_process_trains() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = |name: &str| scratch.path(name);
    let options = format!("{FULL} --neftune 5 --micro-batch 2");
    ewe(line(&data, &out("one"), &options)).assert().success();
    for (name, more) in [
        ("two", "--ranks 2 --shard all"),
        ("again", "--ranks 2 --shard 2"),
        ("three", "--ranks 3 --shard all"),
        ("replicas", "--ranks 4 --shard 2"),
        ("recompute", "--ranks 2 --shard all --recompute"),
        ("backward", "--ranks 2 --shard all --update-in-backward"),
    ] {
        ewe(line(&data, &out(name), &format!("{options} {more}")))
            .assert()
            .success();
        alike(&out("one"), &out(name));
    }
    same_bits(&out("two"), &out("again"));
    same_bits(&out("two"), &out("recompute"));
    // As many files as ranks that have parts, of a model that other programs load.
    assert_eq!((files(&out("two")).len(), files(&out("replicas")).len()), (2, 2));
    let answer = ewe(vec![
        "complete".to_owned(),
        "--model".to_owned(),
        out("three").display().to_string(),
        "--device".to_owned(),
        "cpu".to_owned(),
        "--max-tokens".to_owned(),
        "2".to_owned(),
        "--prompt".to_owned(),
        "count 3: ".to_owned(),
    ]);
    { answer }.assert().success();
}

/// Formats that round differ from one process's by their rounding: the sums go in another order.
/// Two runs have the same bits nevertheless, and learn.
#[test]
fn divided_ranks_train_in_every_format() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = |name: &str| scratch.path(name);
    for (number, formats) in [
        "--precision bf16",
        "--precision bf16 --master fp32 --optimizer lion --lr 1e-4",
        "--precision bf16 --optimizer adamw8bit",
        "--precision bf16 --optimizer adamw8bit --master stochastic --update-in-backward",
    ]
    .iter()
    .enumerate()
    {
        let options =
            format!("{FULL} --device cpu --batch-size 5 --eval-fraction 0.1 {formats} --ranks 2 --shard all");
        let mut seen = Vec::new();
        for name in [format!("a{number}"), format!("b{number}")] {
            let arguments = crate::train::arguments("gemma3", &data, &out(&name), &options);
            ewe(arguments).assert().success();
            seen.push(out(&name));
        }
        same_bits(&seen[0], &seen[1]);
        let losses = losses(&seen[0]);
        assert!(losses.last() < losses.first(), "{formats}: {losses:?}");
    }
}

/// Of families whose layers lie otherwise: transposed, with a head of their own, with experts.
#[test]
fn other_families_are_divided() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let options = "--method full --steps 3 --device cpu --precision fp32 --batch-size 5 --eval-fraction 0.1";
    for model in ["gpt2", "gemma3_untied", "qwen3_moe"] {
        let out = |ranks: &str| scratch.path(&format!("{model}-{ranks}"));
        for (name, more) in [("one", ""), ("two", "--ranks 2 --shard all")] {
            let arguments = crate::train::arguments(model, &data, &out(name), &format!("{options} {more}"));
            ewe(arguments).assert().success();
        }
        alike(&out("one"), &out("two"));
    }
}

#[test]
fn a_divided_run_goes_on_with_any_number_of_ranks() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (whole, parts, errors) = (
        scratch.path("whole"),
        scratch.path("parts"),
        scratch.path("errors"),
    );
    let options = "--method full --steps 90 --save-every 1000 --lr 1e-5";
    ewe(line(&data, &whole, options)).assert().success();
    let mut before = 0;
    for (number, more) in ["--ranks 2 --shard all", "--ranks 3 --shard all --resume"]
        .iter()
        .enumerate()
    {
        let mut run = start(line(&data, &parts, &format!("{options} {more}")), &errors);
        until("steps", || metrics(&parts).len() >= before + 3);
        signal(run.id(), "TERM");
        let code = ended(&mut run).code();
        assert_eq!(code, Some(130), "{}", fs::read_to_string(&errors).unwrap());
        none_left(run.id());
        before = metrics(&parts).len();
        let place = parts.join(format!("checkpoints/step-{before:08}"));
        let index = json(&place.join("state.index.json"));
        let names: Vec<&str> = index["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert_eq!(names.len(), number + 2);
        assert!(names.iter().all(|name| place.join(name).is_file()));
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }
    ewe(line(&data, &parts, &format!("{options} --resume")))
        .assert()
        .success();
    alike_losses(&whole, &parts);
}

/// As [`alike`], of runs without evaluations at the same steps.
#[track_caller]
fn alike_losses(one: &Path, other: &Path) {
    let (a, b) = (losses(one), losses(other));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
    let (a, b) = (weights(one), weights(other));
    for (name, a) in &a {
        let apart = a.iter().zip(&b[name]).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{name}");
    }
}

#[test]
fn a_rank_that_is_killed_while_others_gather_ends_all_and_is_started_again() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (whole, disturbed, errors) = (
        scratch.path("whole"),
        scratch.path("disturbed"),
        scratch.path("errors"),
    );
    let options = "--method full --steps 40 --save-every 5 --ranks 2 --shard all";
    ewe(line(&data, &whole, options)).assert().success();
    let more = format!("{options} --max-restarts 1");
    let mut run = start(line(&data, &disturbed, &more), &errors);
    until("steps", || metrics(&disturbed).len() >= 7);
    // Nearly all of a step on a tiny model is gathering and exchanging.
    signal(process_of(&run, 1) as u32, "KILL");
    let status = ended(&mut run);
    let said = fs::read_to_string(&errors).unwrap();
    assert!(status.success(), "{said}");
    assert!(said.contains("rank 1 was killed by signal 9"), "{said}");
    same_bits(&whole, &disturbed);
    none_left(run.id());
}

#[test]
fn a_rank_that_is_killed_says_which() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let (out, errors) = (scratch.path("out"), scratch.path("errors"));
    let options = "--method full --steps 4000 --save-every 1000 --ranks 3 --shard all";
    let mut run = start(line(&data, &out, options), &errors);
    until("steps", || metrics(&out).len() >= 3);
    signal(process_of(&run, 2) as u32, "KILL");
    assert_eq!(ended(&mut run).code(), Some(1));
    let text = fs::read_to_string(&errors).unwrap();
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(
        text.contains("error: rank 2 was killed by signal 9\nhint: "),
        "{text}"
    );
    none_left(run.id());
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let run = |more: &str| ewe(line(&data, &out, more)).assert();
    fails(
        run("--method full --ranks 3 --shard 2"),
        &[
            "error: rank ",
            "--shard 2 cannot divide 3 ranks into replicas of 2\nhint: a divisor of",
        ],
    );
    fails(
        run("--method full --shard 2"),
        &["--shard 2 cannot divide 1 rank into replicas of 2"],
    );
    for (more, error) in [
        (
            "--method full --shard all --optimizer adafactor",
            "`--shard` cannot be used with `--optimizer adafactor`",
        ),
        (
            "--method full --shard all --offload --ranks 2",
            "`--offload` cannot be used with `--shard`",
        ),
    ] {
        let run = run(more).code(2);
        let text = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        assert!(text.starts_with(&format!("error: {error}")), "{text}");
        assert!(text.contains("\nhint: "), "{text}");
    }
    misread(
        run("--method full --shard some"),
        "invalid value 'some' for '--shard <N|all>': want a number of ranks, 1 to 100000, or `all`",
    );
    assert!(!out.join("run.json").exists());
}

#[test]
fn plan_says_what_divided_ranks_take_and_send() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemma3");
    let plan = |more: &str| {
        let run = assert_cmd::Command::new(crate::train::EWE_TORCH)
            .arg("plan")
            .arg("--model")
            .arg(&model)
            .args(more.split_whitespace())
            .assert();
        String::from_utf8(run.success().get_output().stdout.clone()).unwrap()
    };
    let of = |more: &str| -> Value { serde_json::from_str(&plan(&format!("--json {more}"))).unwrap() };
    let whole = of("--method full --recompute")["methods"][0].clone();
    let both = of("--gpus 2 --nodes 4 --shard all");
    let [full, lora] = [0, 1].map(|at| both["methods"][at].clone());
    let bytes = |of: &Value, kind: &str| of["bytes"][kind].as_f64().unwrap();
    // Two of the three blocks are whole while one computes and the next is gathered.
    let weights = bytes(&full, "weights") / bytes(&whole, "weights");
    assert!((0.125..1.5 * (0.125 + 2.0 / 3.0)).contains(&weights), "{weights}");
    for kind in ["masters", "states"] {
        let share = 8.0 * bytes(&full, kind) / bytes(&whole, kind);
        // Parts end between blocks of 256 numbers, which counts in a tiny model.
        assert!((1.0..1.5).contains(&share), "{kind}: {share}");
    }
    assert_eq!(
        (full["parts"].as_u64(), lora["parts"].as_u64()),
        (Some(8), Some(8))
    );
    // Twice a parameter in bf16 and once a gradient in fp32, and the tied embedding once more of
    // each, to seven others.
    let trained = full["trained"].as_f64().unwrap();
    let least = (2.0 * 2.0 + 4.0) * trained * 7.0 / 8.0;
    let wire = full["wire_bytes"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&(wire / least)), "{wire} {least}");
    assert!(both["machines"].as_array().unwrap()[0]["gpus"].as_u64() == Some(1));
    let text = plan("--gpus 8 --nodes 4 --shard 8 --link eth100");
    for words in [
        "4 machines of 8 GPUs each train together, and every 8 of them divide",
        "`ewe train --shard 8`",
        "GPUs that hold it, divided among them: 1 of 8 GB",
        "exchange",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let minutes = |link: &str| {
        let all = of(&format!(
            "--method full --gpus 8 --nodes 4 --shard all --link {link}"
        ));
        all["methods"][0]["times"][0]["minutes"].as_f64().unwrap()
    };
    assert!(minutes("nvlink") < minutes("ib400") && minutes("ib400") < minutes("eth100"));
    let wrong = assert_cmd::Command::new(crate::train::EWE_TORCH)
        .arg("plan")
        .arg("--model")
        .arg(&model)
        .args(["--gpus", "8", "--shard", "3"])
        .assert();
    fails(
        wrong,
        &["--shard 3 cannot divide 8 GPUs into replicas of 3\nhint: a divisor"],
    );
}

/// What a rank of a divided run takes is its plan, and each rank has a log.
#[test]
fn each_rank_says_what_it_took() {
    let scratch = Dir::new();
    let data = rows(&scratch);
    let out = scratch.path("out");
    let options = "--method full --steps 3 --ranks 2 --shard all";
    ewe(line(&data, &out, options)).assert().success();
    for rank in 0..2 {
        let text = fs::read_to_string(out.join(format!("rank-{rank}.log"))).unwrap();
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        assert!(
            first.starts_with(&format!(
                "rank {rank} of 2, with part {} of 2 in replica 1 of 1",
                rank + 1
            )),
            "{text}"
        );
        assert!(lines.next().unwrap().starts_with("planned: "), "{text}");
        assert_eq!(
            lines.filter(|line| line.starts_with("step ")).count(),
            3,
            "{text}"
        );
    }
}
