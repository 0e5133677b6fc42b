//! Prompts with their logprobs from `ewe serve`, as `lm-evaluation-harness` asks for them
//! (`local-completions`): `echo` with `logprobs`.

use serde_json::{Value, json};

use crate::golden::{Changed, golden, read_json, read_lines, text, write_lines};
use crate::server::Server;
use crate::shell::Dir;

/// The numbers of a list; null is none.
fn numbers(list: &Value) -> Vec<Option<f64>> {
    list.as_array().unwrap().iter().map(Value::as_f64).collect()
}

/// The body of a request for the logprobs of prompts.
fn echo(prompt: &Value, max_tokens: u64) -> Value {
    json!({ "prompt": prompt, "echo": true, "logprobs": 1, "max_tokens": max_tokens, "temperature": 0, "seed": 1234 })
}

/// The choices of an answer.
#[track_caller]
fn choices(server: &Server, body: Value) -> Vec<Value> {
    let (status, answer) = server.complete(body);
    assert_eq!(status, 200, "{answer}");
    answer["choices"].as_array().unwrap().clone()
}

/// Scores rows by `ewe score`: for each the tokens of the completion, and their summed negative
/// log-likelihood.
fn scored(rows: &[Value], model: &str) -> Vec<(usize, f64)> {
    let scratch = Dir::new();
    let (data, out) = (scratch.path("data.jsonl"), scratch.path("out.jsonl"));
    write_lines(&data, rows);
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.args([
        "score",
        "-q",
        "--dtype",
        "fp32",
        "--data",
        text(&data),
        "--out",
        text(&out),
    ]);
    command.arg("--model").arg(golden(model)).assert().success();
    let rows = read_lines(&out).into_iter();
    let row = |row: Value| {
        (
            row["tokens"].as_u64().unwrap() as usize,
            row["nll"].as_f64().unwrap(),
        )
    };
    rows.map(row).collect()
}

#[test]
fn logprobs_of_prompts_add_up_to_what_ewe_score_computes() {
    for model in ["gemma3", "gptj"] {
        let rows = [
            json!({ "prompt": "the ", "completion": "inner thing" }),
            json!({ "prompt": "in the end", "completion": ", this" }),
            json!({ "prompt": "the", "completion": " other thing is this" }),
        ];
        let want = scored(&rows, model);
        let server = Server::with(&golden(model), &["--dtype", "fp32"]);
        let whole = |row: &Value| {
            let part = |name: &str| row[name].as_str().unwrap().to_owned();
            json!(part("prompt") + &part("completion"))
        };
        let prompts: Vec<Value> = rows.iter().map(whole).collect();
        // In one request, without an answer, and one by one with a token of it.
        let together = choices(&server, echo(&json!(prompts), 0));
        assert_eq!(together.len(), 3);
        for ((prompt, together), (tokens, nll)) in prompts.iter().zip(&together).zip(want) {
            assert_eq!(&together["text"], prompt);
            let alone = choices(&server, echo(prompt, 1)).remove(0);
            assert!(
                alone["text"]
                    .as_str()
                    .unwrap()
                    .starts_with(prompt.as_str().unwrap())
            );
            let told = numbers(&together["logprobs"]["token_logprobs"]);
            let and_one = numbers(&alone["logprobs"]["token_logprobs"]);
            assert_eq!(and_one.len(), told.len() + 1);
            for told in [&told[..], &and_one[..told.len()]] {
                assert_eq!(told[0], None, "nothing precedes the first token");
                let sum: f64 = told[told.len() - tokens..].iter().map(|x| x.unwrap()).sum();
                assert!(
                    (sum + nll).abs() < 1e-5 * nll.max(1.0),
                    "{model}: {sum}, want {}",
                    -nll
                );
            }
        }
    }
}

#[test]
fn every_token_of_a_prompt_has_its_place_and_likelier_ones() {
    let server = Server::start("gemma3");
    let expected = read_json(&golden("gemma3").join("expected.json"));
    let ids = &expected["greedy"][3]["ids"];
    let by_ids = choices(&server, echo(ids, 0)).remove(0);
    let by_text = choices(&server, echo(&expected["greedy"][3]["prompt"], 0)).remove(0);
    for name in ["text", "finish_reason"] {
        assert_eq!(by_ids[name], by_text[name]);
    }
    for name in ["tokens", "text_offset"] {
        assert_eq!(by_ids["logprobs"][name], by_text["logprobs"][name]);
    }
    assert_eq!(by_text["text"], expected["greedy"][3]["prompt"]);
    assert_eq!(by_text["finish_reason"], "length");
    let text = by_text["text"].as_str().unwrap();
    let told = &by_text["logprobs"];
    let tokens = told["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), ids.as_array().unwrap().len());
    assert_eq!(
        (&told["top_logprobs"][0], &told["token_logprobs"][0]),
        (&Value::Null, &Value::Null)
    );
    // The token that begins the text has none of its own.
    assert_eq!(
        (&told["text_offset"][0], &told["text_offset"][1]),
        (&json!(0), &json!(0))
    );
    for (at, token) in tokens.iter().enumerate().skip(1) {
        let offset = told["text_offset"][at].as_u64().unwrap() as usize;
        assert!(
            text[offset..].starts_with(token.as_str().unwrap()),
            "{token} at {offset}"
        );
        let top = told["top_logprobs"][at].as_object().unwrap();
        let best = top.values().map(|x| x.as_f64().unwrap()).fold(f64::MIN, f64::max);
        let own = told["token_logprobs"][at].as_f64().unwrap();
        // The likeliest one, and the token itself where it is another.
        assert_eq!(top.len(), if own == best { 1 } else { 2 }, "{top:?}");
        assert_eq!(top[token.as_str().unwrap()].as_f64().unwrap(), own);
    }
    // With 0 there is only the token itself.
    let mut plain = echo(ids, 0);
    plain["logprobs"] = json!(0);
    let plain = choices(&server, plain).remove(0);
    assert!(plain["logprobs"]["top_logprobs"].is_null());
    assert_eq!(plain["logprobs"]["tokens"], told["tokens"]);
}

#[test]
fn the_token_that_ends_a_text_is_reported_behind_a_prompt() {
    let server = Server::start("gptj");
    let expected = read_json(&golden("gptj").join("expected.json"));
    let cases = expected["greedy"].as_array().unwrap();
    let ends = |case: &&Value| case["new"].as_array().unwrap().last() == Some(&json!(0));
    let case = cases.iter().find(ends).expect("a text that ends");
    let list = |name: &str| case[name].as_array().unwrap().clone();
    let mut prompt = [list("ids"), list("new")].concat();
    prompt.pop();
    let choice = choices(&server, echo(&json!(prompt), 1)).remove(0);
    assert_eq!(choice["finish_reason"], "stop");
    // The harness cuts off the last one, whatever it is.
    assert_eq!(
        numbers(&choice["logprobs"]["token_logprobs"]).len(),
        prompt.len() + 1
    );
}

#[test]
fn a_stream_begins_with_the_prompt() {
    let server = Server::start("gemma3");
    let body = |prompt: Value| {
        let mut body = echo(&prompt, 5);
        body["n"] = json!(2);
        body
    };
    let whole = choices(&server, body(json!(["the inner", "in the end"])));
    let events = server.stream("/v1/completions", body(json!(["the inner", "in the end"])));
    for (index, whole) in whole.iter().enumerate() {
        let mine = events.iter().map(|event| &event["choices"][0]);
        let mine: Vec<&Value> = mine.filter(|choice| choice["index"] == json!(index)).collect();
        let text: String = mine
            .iter()
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(json!(text), whole["text"]);
        for name in ["tokens", "text_offset"] {
            let parts = mine
                .iter()
                .filter_map(|choice| choice["logprobs"][name].as_array());
            let streamed: Vec<Value> = parts.flatten().cloned().collect();
            assert_eq!(json!(streamed), whole["logprobs"][name], "{name}");
        }
    }
}

#[test]
fn running_answers_and_cached_prefixes_are_unharmed() {
    let model = Changed::long(4096);
    let server = Server::with(model.path(), &[]);
    let ids: Vec<u64> = (0..600).map(|at| 5 + at * 7 % 80).collect();
    let short = json!({ "prompt": ids[..80], "max_tokens": 8, "temperature": 0 });
    // Keeps the prefix that the prompts below share.
    let want = choices(&server, short.clone());
    let alone = choices(&server, echo(&json!(ids), 0)).remove(0);
    let told = numbers(&alone["logprobs"]["token_logprobs"]);
    assert!(told.len() == 600 && told[1..].iter().all(|x| x.is_some_and(f64::is_finite)));
    std::thread::scope(|scope| {
        let many = scope.spawn(|| choices(&server, echo(&json!(vec![&ids[..]; 8]), 1)));
        let beside = scope.spawn(|| choices(&server, short.clone()));
        assert_eq!(beside.join().unwrap()[0]["text"], want[0]["text"]);
        for choice in many.join().unwrap() {
            let again = numbers(&choice["logprobs"]["token_logprobs"]);
            for (a, b) in told.iter().zip(&again).skip(1) {
                assert!((a.unwrap() - b.unwrap()).abs() < 1e-3, "{a:?} {b:?}");
            }
        }
    });
    // A client that leaves takes its prompts with it.
    drop(server.send("POST", "/v1/completions", &echo(&json!(vec![&ids[..]; 64]), 1)));
    server.wait_for("ewe_running", 0.0);
    assert_eq!(choices(&server, short)[0]["text"], want[0]["text"]);
}

#[test]
fn too_many_logprobs_of_prompts_are_refused() {
    let model = Changed::long(4096);
    let server = Server::with(model.path(), &[]);
    let ids: Vec<u64> = (0..4000).map(|at| 5 + at % 80).collect();
    let mut body = echo(&json!(vec![ids; 20]), 0);
    body["logprobs"] = json!(20);
    let (status, answer) = server.complete(body);
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("echo")),
        "{answer}"
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("1680000 logprobs") && message.contains("hint:"),
        "{message}"
    );
}
