//! Several adapters of `ewe serve` on one model.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::golden::{Changed, golden, read_json};
use crate::server::Server;
use crate::shell::{Dir, ewe};

/// A copy of the tiny adapter, for the model in `base`, whose correction is `factor` times as large.
fn adapter(into: &Path, base: &Path, factor: f64) {
    fs::create_dir_all(into).unwrap();
    let from = golden("gemma3_lora");
    fs::copy(
        from.join("adapter_model.safetensors"),
        into.join("adapter_model.safetensors"),
    )
    .unwrap();
    let mut config = read_json(&from.join("adapter_config.json"));
    config["lora_alpha"] = json!(factor * config["lora_alpha"].as_f64().unwrap());
    config["base_model_name_or_path"] = json!(base);
    fs::write(into.join("adapter_config.json"), config.to_string()).unwrap();
}

fn ask(model: &str, prompt: &str) -> Value {
    json!({ "model": model, "prompt": prompt, "max_tokens": 24, "temperature": 0, "ignore_eos": true })
}

fn text(server: &Server, body: Value) -> String {
    let (status, answer) = server.complete(body);
    assert_eq!(status, 200, "{answer}");
    answer["choices"][0]["text"].as_str().unwrap().to_owned()
}

/// More tokens than the shortest prefix that is kept.
const LONG: &str = "the end of the inner thing in the other thing there and then in the thing";

#[test]
fn each_request_chooses_its_adapter_and_gets_what_that_gives_alone() {
    let model = Changed::long(1024);
    let dir = Dir::new();
    let (weak, strong) = (dir.path("weak"), dir.path("strong"));
    adapter(&weak, model.path(), 1.0);
    adapter(&strong, model.path(), 10.0);
    let option = |name: &str, dir: &Path| format!("{name}={}", dir.display());
    let options = [
        "--adapter",
        &option("weak", &weak),
        "--adapter",
        &option("strong", &strong),
    ];
    let shared = Server::with(
        model.path(),
        &[&options[..], &["--served-model-name", "base"]].concat(),
    );
    assert!(
        shared.line.starts_with("base, weak, strong are served at"),
        "{}",
        shared.line
    );
    let alone = |adapter: Option<&Path>, prompt: &str| {
        let options = adapter.map(|dir| ["--adapter", dir.to_str().unwrap()]);
        let server = Server::with(
            model.path(),
            options.as_ref().map_or(&[][..], |options| &options[..]),
        );
        text(&server, ask("x", prompt))
    };
    let names = ["base", "weak", "strong"];
    for prompt in ["in the end", LONG] {
        let want = [
            alone(None, prompt),
            alone(Some(&weak), prompt),
            alone(Some(&strong), prompt),
        ];
        assert!(
            want[0] != want[1] && want[0] != want[2] && want[1] != want[2],
            "the adapters differ: {want:?}"
        );
        // One after the other, twice: keys and values of one prompt are those of its adapter.
        for _ in 0..2 {
            let got = names.map(|name| text(&shared, ask(name, prompt)));
            assert_eq!(got, want);
        }
        // At once, in one batch.
        let asked: Vec<&str> = names.iter().cycle().take(9).copied().collect();
        let got: Vec<String> = std::thread::scope(|scope| {
            let asked = asked.iter().map(|name| {
                let shared = &shared;
                scope.spawn(move || text(shared, ask(name, prompt)))
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|answer| answer.join().unwrap()).collect()
        });
        for (name, got) in asked.iter().zip(got) {
            let index = names.iter().position(|other| other == name).unwrap();
            assert_eq!(got, want[index], "{name}");
        }
    }
    // Without a name the base answers, and answers carry the name of what gave them.
    let plain = json!({ "prompt": "the", "max_tokens": 2 });
    assert_eq!(shared.complete(plain).1["model"], "base");
    assert_eq!(shared.complete(ask("strong", "the")).1["model"], "strong");
    let (_, models) = shared.ask("GET", "/v1/models", Value::Null);
    let listed: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|card| card["id"].as_str())
        .collect();
    assert_eq!(listed, names);
    assert_eq!(models["data"][1]["parent"], "base");
    let (status, card) = shared.ask("GET", "/v1/models/strong", Value::Null);
    assert_eq!((status, &card["parent"]), (200, &json!("base")));
    let (status, refused) = shared.complete(ask("sheep", "the"));
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        status == 404 && message.contains("`base` or `weak` or `strong`"),
        "{refused}"
    );
}

#[test]
fn adapters_that_cannot_share_a_model_are_refused() {
    let dir = Dir::new();
    let model = golden("gemma3");
    let lora = golden("gemma3_lora");
    let serve = |adapters: &[&str]| {
        let mut arguments = vec![
            "serve",
            "--model",
            model.to_str().unwrap(),
            "--bind",
            "127.0.0.1:0",
        ];
        arguments.extend(adapters.iter().flat_map(|adapter| ["--adapter", adapter]));
        ewe(&dir, &arguments).failure(1)
    };
    let lora = lora.to_str().unwrap();
    let said = serve(&[lora, &format!("x={lora}")]).stderr();
    assert!(
        said.contains("has no name") && said.contains("hint: --adapter NAME="),
        "{said}"
    );
    let said = serve(&[&format!("x={lora}"), &format!("x={lora}")]).stderr();
    assert!(said.contains("a model of this name already"), "{said}");
    let said = serve(&[&format!("x={}", dir.path("nowhere").display())]).stderr();
    assert!(said.contains("nowhere"), "{said}");
}
