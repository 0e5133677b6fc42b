//! A model on several devices of one machine, behind one queue. Here they are the CPU, twice.

use serde_json::{Value, json};

use crate::golden::{Changed, golden, read_lines, text, write_lines};
use crate::server::{Server, answer};
use crate::shell::{Dir, ewe};

/// Runs `ewe complete` with a tiny model over prompts of which many begin alike. Returns the bytes of
/// its answers, and what it said.
fn complete(prompts: &[Value], options: &[&str]) -> (Vec<u8>, String) {
    let dir = Dir::new();
    let (asked, out) = (dir.path("prompts.jsonl"), dir.path("out.jsonl"));
    write_lines(&asked, prompts);
    let model = golden("gemma3");
    let mut line = vec!["complete", "--model", text(&model)];
    line.extend(["--prompts", text(&asked), "--out", text(&out)]);
    line.extend(["--max-tokens", "12", "--temperature", "0.9", "--seed", "5"]);
    line.extend(options);
    let ran = ewe(&dir, &line).success();
    assert_eq!(read_lines(&out).len(), prompts.len());
    (std::fs::read(&out).unwrap(), ran.stderr())
}

#[test]
fn two_devices_write_the_file_of_one() {
    let begins = ["the end of the inner thing", "in the other", "there and then"];
    let prompts: Vec<Value> = (0..60)
        .map(|row| json!({ "prompt": format!("{} {}", begins[row % 3], "t".repeat(row % 7)) }))
        .collect();
    let (one, _) = complete(&prompts, &["--device", "cpu", "--batch", "4"]);
    for devices in ["cpu,cpu", "cpu, cpu,cpu"] {
        let (several, said) = complete(&prompts, &["--device", devices, "--batch", "4"]);
        assert_eq!(
            String::from_utf8_lossy(&several),
            String::from_utf8_lossy(&one),
            "{devices}: {said}"
        );
    }
}

#[test]
fn a_server_on_two_devices_answers_and_measures_each() {
    let model = Changed::long(1024);
    let adapter = golden("gemma3_lora");
    let adapter = format!("tiny={}", adapter.display());
    let server = Server::with(
        model.path(),
        &["--device", "cpu,cpu", "--batch", "2", "--kv-memory", "1MB"],
    );
    assert!(server.line.contains("by 2 devices"), "{}", server.line);
    let ask = |prompt: &str, n: u64| json!({ "prompt": prompt, "max_tokens": 8, "seed": 3, "n": n, "ignore_eos": true });
    let alone = Server::with(model.path(), &["--device", "cpu"]);
    let texts = |server: &Server, prompt: &str, n| {
        let (status, answer) = server.complete(ask(prompt, n));
        assert_eq!(status, 200, "{answer}");
        let choices = answer["choices"].as_array().unwrap().clone();
        let texts = choices.iter().map(|choice| choice["text"].clone());
        texts.collect::<Vec<Value>>()
    };
    for prompt in ["in the end", "the inner thing"] {
        assert_eq!(texts(&server, prompt, 7), texts(&alone, prompt, 7));
    }
    assert_eq!(
        server.ask("GET", "/health", Value::Null),
        (200, json!({ "status": "ok" }))
    );
    let (status, _, metrics) = answer(server.send("GET", "/metrics", &Value::Null));
    assert_eq!(status, 200);
    let figure = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        line.trim().parse().unwrap()
    };
    let devices = ["cpu", "cpu#1"];
    let generated =
        devices.map(|device| figure(&format!("ewe_generated_tokens_total{{device=\"{device}\"}} ")));
    assert!(generated.iter().all(|&tokens| tokens > 0.0), "{generated:?}");
    assert_eq!(generated.iter().sum::<f64>(), 2.0 * 7.0 * 8.0);
    for device in devices {
        assert_eq!(figure(&format!("ewe_device_up{{device=\"{device}\"}} ")), 1.0);
        assert_eq!(
            figure(&format!("ewe_kv_budget_bytes{{device=\"{device}\"}} ")),
            1e6
        );
    }
    // A lone device has the metrics that it always had.
    let (_, _, metrics) = answer(alone.send("GET", "/metrics", &Value::Null));
    assert!(
        !metrics.contains("device=") && !metrics.contains("ewe_queued"),
        "{metrics}"
    );

    // Adapters are on all.
    let model = golden("gemma3");
    let options = ["--device", "cpu,cpu", "--batch", "1", "--adapter", &adapter];
    let shared = Server::with(&model, &options);
    let alone = Server::with(&model, &["--adapter", &adapter]);
    let adapted = |server: &Server| {
        let mut body = ask("in the end", 6);
        body["model"] = json!("tiny");
        let (status, answer) = server.complete(body);
        assert_eq!(status, 200, "{answer}");
        answer["choices"].clone()
    };
    assert_eq!(adapted(&shared), adapted(&alone));
}

/// Returns what a command says that fails with this code.
fn failing(code: i32, line: &[&str]) -> String {
    ewe(&Dir::new(), line).failure(code).stderr()
}

#[test]
fn devices_that_cannot_stand_together_are_refused() {
    let model = golden("gemma3");
    let model = text(&model);
    for (code, options, words) in [
        (
            2,
            &["--device", "cpu,"][..],
            "a device before and behind each comma",
        ),
        (1, &["--device", "auto,cpu"], "device `auto` stands alone"),
        (1, &["--device", "cuda,cuda:0"], "device `cuda:0` is named twice"),
        (1, &["--device", "cpu,gpu"], "unknown device `gpu`"),
        (2, &["--device", "cpu", "--gpus", "2"], "cannot be used with"),
        (2, &["--gpus", "0"], "--gpus"),
    ] {
        let line = [&["complete", "--model", model, "--prompt", "t"], options].concat();
        let said = failing(code, &line);
        assert!(said.contains(words), "{options:?}: {said}");
    }
    let said = failing(2, &["chat", "--model", model, "--device", "cpu,cpu"]);
    assert!(said.contains("want one device"), "{said}");
}
