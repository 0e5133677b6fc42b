//! `ewe serve` under bad input, load and failure: what it refuses, and that it keeps serving.

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::golden::{Changed, golden};
use crate::server::{Server, answer};
use crate::waiting::{PATIENCE, pause};

/// Asserts that the server is healthy and answers.
#[track_caller]
fn still_serves(server: &Server) {
    assert_eq!(
        server.ask("GET", "/health", Value::Null),
        (200, json!({ "status": "ok" }))
    );
    // Greedy, because a random second token of a broken model may be one of the broken ones.
    let (status, body) = server.complete(json!({ "prompt": "t", "max_tokens": 2, "temperature": 0 }));
    assert_eq!(status, 200, "{body}");
}

#[test]
fn invalid_values_are_refused_by_name() {
    let server = Server::start("gemma3");
    for (change, param, words) in [
        (json!({ "temperature": -1 }), "temperature", "`temperature` is -1"),
        (json!({ "temperature": "hot" }), "temperature", "\"hot\""),
        (json!({ "max_tokens": -5 }), "max_tokens", "-5"),
        (json!({ "max_tokens": 1.5 }), "max_tokens", "1.5"),
        (json!({ "n": 0 }), "n", "`n` is 0"),
        (json!({ "n": 1000 }), "n", "1000"),
        (json!({ "logprobs": 21 }), "logprobs", "21"),
        (json!({ "logprobs": true }), "logprobs", "true"),
        (json!({ "stream": "yes" }), "stream", "\"yes\""),
        (json!({ "stop": 5 }), "stop", "`stop` is 5"),
        (json!({ "seed": 1.5 }), "seed", "1.5"),
        (json!({ "suffix": "x" }), "suffix", "not served"),
        (json!({ "n": 3, "best_of": 2 }), "best_of", "`best_of` is 2"),
        (json!({ "tools": [{}] }), "tools", "not served"),
        (
            json!({ "prompt_logprobs": 1 }),
            "prompt_logprobs",
            "hint: `echo` with `logprobs`",
        ),
        (json!({ "prompt": 7 }), "prompt", "`prompt` is 7"),
        (json!({ "prompt": null }), "prompt", "`prompt` is missing"),
        (json!({ "prompt": [] }), "prompt", "[]"),
        (json!({ "prompt": [1, 96] }), "prompt", "no token 96"),
        (json!({ "prompt": [-1] }), "prompt", "no token -1"),
        (json!({ "prompt": "t".repeat(100) }), "prompt", "context is 64"),
    ] {
        let mut body = json!({ "prompt": "t", "max_tokens": 2 });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let (status, answer) = server.complete(body);
        let error = &answer["error"];
        assert_eq!(
            (status, &error["param"]),
            (400, &json!(param)),
            "{change} {answer}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{change}: {message}");
        assert_eq!(error["type"], "invalid_request_error");
        let code = if words == "context is 64" {
            json!("context_length_exceeded")
        } else {
            error["code"].clone()
        };
        assert_eq!(error["code"], code);
    }
    for (body, words) in [
        (json!({ "messages": [] }), "messages"),
        (
            json!({ "messages": [{ "role": "robot", "content": "x" }] }),
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "x" }], "top_logprobs": 2 }),
            "`top_logprobs`",
        ),
        (json!({ "prompt": "x" }), "`messages` is missing"),
    ] {
        let (status, answer) = server.chat(body);
        assert!(
            status == 400 && answer["error"]["message"].as_str().unwrap().contains(words),
            "{answer}"
        );
    }
    assert_eq!(server.ask("GET", "/v1/nothing", Value::Null).0, 404);
    assert_eq!(server.ask("GET", "/v1/completions", Value::Null).0, 405);
    still_serves(&server);
}

#[test]
fn hostile_bodies_are_refused_and_the_server_keeps_serving() {
    let server = Server::start("gemma3");
    let sent = |body: &[u8], more: &str| {
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer open sesame\r\n{more}\r\n",
            server.address
        );
        answer(server.raw(&[head.as_bytes(), body].concat()))
    };
    let post = |body: &[u8], more: &str| {
        let (status, _, body) = sent(body, more);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
        status
    };
    let json_of = |body: &[u8]| {
        post(
            body,
            &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ),
        )
    };
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"{\"prompt\": \"\xff\xfe\"}",
        b"{\"prompt\": \"\\ud800\"}",
        b"{\"prompt\": \"t\", \"temperature\": 1e999}",
        b"{\"prompt\": \"t\", \"temperature\": NaN}",
        &[b'['; 100_000],
    ] {
        assert_eq!(
            json_of(body),
            400,
            "{:?}",
            String::from_utf8_lossy(&body[..body.len().min(60)])
        );
    }
    let valid = br#"{"prompt": "t"}"#;
    assert_eq!(
        post(
            valid,
            &format!("content-type: text/plain\r\ncontent-length: {}\r\n", valid.len())
        ),
        415
    );
    assert_eq!(post(valid, &format!("content-length: {}\r\n", valid.len())), 415);
    // Compressed bodies are refused, however they are compressed.
    for (packing, status) in [("gzip", 415), ("identity, br", 415), ("identity", 200)] {
        let head = format!("content-type: application/json\r\ncontent-encoding: {packing}\r\n");
        let (got, _, body) = sent(valid, &format!("{head}content-length: {}\r\n", valid.len()));
        assert_eq!(got, status, "{packing}: {body}");
        assert!(
            status == 200 || body.contains(packing) && body.contains("content-encoding"),
            "{body}"
        );
    }
    // Declared too large, sent too large, and too large without a declared length.
    let json = "content-type: application/json\r\n";
    assert_eq!(
        post(
            b"",
            &format!("{json}expect: 100-continue\r\ncontent-length: 9000000\r\n")
        ),
        413
    );
    assert_eq!(post(b"", &format!("{json}content-length: 900000000\r\n")), 413);
    let large = [&b"{\"prompt\": \""[..], &vec![b'a'; 9_000_000], b"\"}"].concat();
    assert_eq!(json_of(&large), 413);
    let chunked = [
        format!("{:x}\r\n", large.len()).as_bytes(),
        &large,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    assert_eq!(
        post(&chunked, &format!("{json}transfer-encoding: chunked\r\n")),
        413
    );
    // A text within the limit of bytes, far beyond the context.
    let (status, long) = server.complete(json!({ "prompt": "t ".repeat(200_000) }));
    assert_eq!(
        (status, &long["error"]["code"]),
        (400, &json!("context_length_exceeded"))
    );
    still_serves(&server);
}

#[test]
fn requests_without_the_token_are_refused() {
    let server = Server::start("gemma3");
    for path in [
        "/v1/models",
        "/v1/completions",
        "/v1/chat/completions",
        "/metrics",
    ] {
        for header in [
            "",
            "authorization: Bearer wrong\r\n",
            "authorization: open sesame\r\n",
        ] {
            let method = if path.contains("completions") {
                "POST"
            } else {
                "GET"
            };
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{header}\r\n",
                server.address
            );
            let (status, _, body) = answer(server.raw(head.as_bytes()));
            assert!(
                status == 401 && body.contains("invalid_api_key"),
                "{path} {header:?}: {body}"
            );
        }
    }
    let open = Command::new(env!("CARGO_BIN_EXE_ewe-torch"))
        .args(["serve", "--bind", "0.0.0.0:0", "--model", "nowhere"])
        .env_remove("EWE_TOKEN")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(
        open.status.code() == Some(1) && said.contains("`0.0.0.0:0`") && said.contains("hint: --token"),
        "{said}"
    );
}

#[test]
fn slow_clients_are_disconnected() {
    let server = Server::with(&golden("gemma3"), &["--head-timeout", "1"]);
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..50)
        .map(|_| server.raw(b"POST /v1/completions HTTP/1.1\r\nhost:"))
        .collect();
    still_serves(&server);
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // The end or an error; a time-out would be neither.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(900));
    still_serves(&server);
}

#[test]
fn a_full_queue_returns_429_and_a_disconnect_frees_its_slot() {
    let model = Changed::long(1_000_000);
    let server = Server::with(model.path(), &["--batch", "1", "--max-waiting", "1"]);
    let long =
        |stream: bool| json!({ "prompt": "t", "max_tokens": 500_000, "ignore_eos": true, "stream": stream });
    let left = r#"ewe_requests_total{endpoint="/v1/completions",status="499"}"#;
    for (round, stream) in [(1.0, true), (2.0, false)] {
        let first = server.send("POST", "/v1/completions", &long(stream));
        server.wait_for("ewe_running", 1.0);
        let second = server.send("POST", "/v1/completions", &long(stream));
        server.wait_for("ewe_waiting", 1.0);
        let (status, head, body) = answer(server.send("POST", "/v1/completions", &json!({ "prompt": "t" })));
        assert_eq!(status, 429, "{body}");
        assert!(head.contains("retry-after: 1"), "{head}");
        assert_eq!(server.complete(json!({ "prompt": "t", "n": 3 })).0, 400);
        // One client disconnects while it waits, one while it runs.
        drop(second);
        server.wait_for(left, 2.0 * round - 1.0);
        drop(first);
        server.wait_for(left, 2.0 * round);
        server.wait_for("ewe_running", 0.0);
        still_serves(&server);
    }
}

#[test]
fn a_failed_step_ends_only_its_own_requests() {
    let model = Changed::long(200_000);
    // 4 GB of address space; in fp16, which uses libtorch's operations, masks over 60,000 tokens
    // take 7.2 GB each.
    let server = Server::limited(model.path(), &["--dtype", "fp16"], "4000000");
    let before = server.complete(json!({ "prompt": "the", "max_tokens": 9, "temperature": 0 }));
    let huge = || json!({ "prompt": vec![5; 60_000], "max_tokens": 2 });
    let beside = server.send(
        "POST",
        "/v1/completions",
        &json!({ "prompt": "t", "max_tokens": 150_000, "ignore_eos": true, "stream": true }),
    );
    server.wait_for("ewe_running", 1.0);
    let (status, body) = server.complete(huge());
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(status, 500, "{body}");
    assert!(
        message.contains("allocate") && message.contains("hint:") && !message.contains("frame #"),
        "{message}"
    );
    // The request that ran beside it gets the same error, within its stream.
    let (_, _, events) = answer(beside);
    let last = events.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    assert!(last.contains("\"error\"") && last.contains("allocate"), "{last}");
    assert_eq!(server.ask("GET", "/health", Value::Null).0, 200);
    assert_eq!(
        server
            .complete(json!({ "prompt": "the", "max_tokens": 9, "temperature": 0 }))
            .1["choices"],
        before.1["choices"]
    );
    // After three failures the server reports itself as broken, until a step succeeds.
    (0..3).for_each(|_| assert_eq!(server.complete(huge()).0, 500));
    let (status, health) = server.ask("GET", "/health", Value::Null);
    assert!(
        status == 503 && health["reason"].as_str().unwrap().contains("allocate"),
        "{health}"
    );
    let (status, _) = server.complete(json!({ "prompt": "t", "max_tokens": 2 }));
    assert_eq!(status, 200);
    still_serves(&server);
}

#[test]
fn nan_logits_end_one_request() {
    let model = Changed::of("gemma3_untied");
    // A finite number whose square is infinite.
    model.overwrite("model.embed_tokens.weight", 61 * 32, &[f32::MAX]);
    let server = Server::with(model.path(), &[]);
    for temperature in [0.0, 1.0] {
        let (status, body) = server.complete(json!({ "prompt": [1, 61], "temperature": temperature }));
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            status == 500 && message.contains("not numbers") && message.contains("hint:"),
            "{body}"
        );
        still_serves(&server);
    }
}

#[test]
fn a_request_beyond_the_kv_memory_is_refused() {
    let server = Server::with(&golden("gemma3"), &["--kv-memory", "0.02MB"]);
    assert!(
        server
            .line
            .contains("20.0 kB for keys and values hold 26 tokens, less than"),
        "{}",
        server.line
    );
    let (status, body) = server.complete(json!({ "prompt": vec![5; 10], "max_tokens": 17 }));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        status == 400 && message.contains("27 tokens") && message.contains("--kv-memory"),
        "{message}"
    );
    let fits = json!({ "prompt": vec![5; 10], "max_tokens": 16, "n": 5 });
    assert_eq!(server.complete(fits).0, 200);
    assert!(server.figure("ewe_kv_bytes") <= 20_000.0);
    still_serves(&server);
}

#[test]
fn a_body_sent_byte_by_byte_is_read() {
    let server = Server::start("gemma3");
    let body = br#"{"prompt": "t", "max_tokens": 2}"#;
    let mut stream = server.raw(
        format!(
            "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer open sesame\r\n\
             content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
            server.address,
            body.len()
        )
        .as_bytes(),
    );
    for byte in body {
        pause(Duration::from_millis(2));
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(answer(stream).0, 200);
}

#[test]
fn the_largest_numbers_do_not_stop_the_server() {
    let model = Changed::long(4096);
    let server = Server::with(model.path(), &[]);
    let beside = server.send(
        "POST",
        "/v1/completions",
        &json!({ "prompt": "t", "max_tokens": 2000, "ignore_eos": true }),
    );
    server.wait_for("ewe_running", 1.0);
    for number in [
        u64::MAX,
        u64::MAX - 1,
        i64::MAX as u64,
        i64::MAX as u64 + 1,
        1 << 53,
        u64::from(u32::MAX),
    ] {
        // Answered as far as there is room, or refused; no parameter hides the others.
        let (status, body) =
            server.complete(json!({ "prompt": "the", "max_tokens": number, "temperature": 0, "stop": "e" }));
        assert_eq!(status, 200, "{number} {body}");
        for name in [
            "max_tokens",
            "max_completion_tokens",
            "n_predict",
            "min_tokens",
            "n",
            "best_of",
            "n_cmpl",
            "top_k",
            "top_logprobs",
            "logprobs",
            "seed",
            "temperature",
            "top_p",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "repeat_penalty",
            "repeat_last_n",
        ] {
            for sign in [1, -1] {
                let value = if sign == 1 {
                    json!(number)
                } else {
                    json!(-(number as f64))
                };
                let mut body =
                    json!({ "prompt": "t", "stop": ["a", "e", "t", "h", " ", "n"], "temperature": 0 });
                body[name] = value.clone();
                let (status, answer) = server.complete(body);
                assert!([200, 400].contains(&status), "{name} {value} {answer}");
                assert!(
                    status == 200 || answer["error"]["message"].as_str().unwrap().contains(name),
                    "{name} {value} {answer}"
                );
            }
        }
    }
    let (status, _, body) = answer(beside);
    assert_eq!(status, 200, "{body}");
    still_serves(&server);
}

#[test]
fn sizes_are_checked_before_any_work() {
    let model = Changed::long(4096);
    let server = Server::with(model.path(), &[]);
    still_serves(&server);
    let before = server.resident();
    let of = |name: &str, value: Value| {
        let mut body = json!({ "prompt": "t", "max_tokens": 1 });
        body[name] = value;
        let begun = Instant::now();
        let (status, answer) = server.complete(body);
        assert!(
            [400, 413].contains(&status) && begun.elapsed() < Duration::from_secs(60),
            "{name}: {status} after {:?}",
            begun.elapsed()
        );
        answer["error"]["message"].as_str().unwrap().to_string()
    };
    assert!(of("stop", json!(vec!["a"; 100_000])).contains("want at most 128"));
    assert!(of("stop", json!(["a".repeat(1 << 20)])).contains("1048576 bytes"));
    let bias: serde_json::Map<String, Value> = (0..400_000).map(|id| (id.to_string(), json!(1))).collect();
    assert!(of("logit_bias", Value::Object(bias)).contains("want at most 65536"));
    assert!(of("metadata", json!(vec![json!({ "a": 1 }); 500_000])).contains("want at most 65536"));
    assert!(of("prompt", json!(vec![1; 2_000_000])).contains("values, want at most"));
    assert!(of("prompt", json!(vec!["t"; 1000])).contains("1000 prompts"));
    let many = json!({ "messages": vec![json!({ "role": "user", "content": "t" }); 15_000] });
    let (status, answer) = server.chat(many);
    assert!(
        status == 400 && answer["error"]["message"].as_str().unwrap().contains("10000"),
        "{answer}"
    );
    // Texts of 8 MB, several at once: only the beginning of each is encoded.
    let text = "the cat sat on the mat and so ".repeat(270_000);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let (status, answer) = server.complete(json!({ "prompt": text }));
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (400, &json!("context_length_exceeded"))
                );
                let (status, answer) =
                    server.chat(json!({ "messages": [{ "role": "user", "content": text }] }));
                assert_eq!(
                    (status, &answer["error"]["code"]),
                    (400, &json!("context_length_exceeded"))
                );
            });
        }
    });
    let after = server.resident();
    assert!(after < before + 400, "{before} MB before, {after} MB after");
    still_serves(&server);
}
