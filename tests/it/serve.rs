//! `ewe serve` over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A server on a port of its own choosing, stopped when dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(model: &str) -> Server {
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(model);
        let mut process = Command::new(env!("CARGO_BIN_EXE_ewe-torch"))
            .args(["serve", "--bind", "127.0.0.1:0", "--token", "secret", "--model"])
            .arg(model)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (_, rest) = line
            .split_once("http://")
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        let address = rest.split('/').next().unwrap().to_string();
        Server { process, address }
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, String) {
        let mut stream = self.send(method, path, token, body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
    }

    fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> TcpStream {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    fn complete(&self, body: Value) -> (u16, Value) {
        let (status, body) = self.ask("POST", "/v1/completions", "secret", &body);
        (status, serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The data of server-sent events, joined from the chunks of the transfer.
fn events(body: &str) -> Vec<String> {
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(str::to_string)
        .collect()
}

#[test]
fn the_endpoint_speaks_openais_dialect() {
    let server = Server::start("gemma3");
    assert_eq!(server.ask("GET", "/health", "", &Value::Null).0, 200);
    for path in ["/v1/models", "/v1/completions"] {
        let (status, body) = server.ask("GET", path, "wrong", &Value::Null);
        assert_eq!(status, 401, "{path}");
        assert!(body.contains("token"), "{body}");
    }
    let (status, body) = server.ask("GET", "/v1/models", "secret", &Value::Null);
    assert_eq!(status, 200);
    assert!(body.contains("gemma3@"), "{body}");

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemma3/expected.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let case = &expected["greedy"][1];
    let ask = json!({ "model": "any", "prompt": case["prompt"], "max_tokens": 32, "temperature": 0 });
    let (status, answer) = server.complete(ask.clone());
    assert_eq!((status, &answer["choices"][0]["text"]), (200, &case["text"]));
    let prompt_tokens = case["ids"].as_array().unwrap().len();
    assert_eq!(answer["usage"]["prompt_tokens"], json!(prompt_tokens));

    let mut streamed = ask.clone();
    streamed["stream"] = json!(true);
    let (status, body) = server.ask("POST", "/v1/completions", "secret", &streamed);
    let events = events(&body);
    assert_eq!((status, events.last().map(String::as_str)), (200, Some("[DONE]")));
    let pieces: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    let text: String = pieces
        .iter()
        .map(|piece| piece["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(json!(text), case["text"]);
    let last = &pieces.last().unwrap()["choices"][0]["finish_reason"];
    assert_eq!(last, &answer["choices"][0]["finish_reason"]);
}

#[test]
fn what_cannot_be_served_is_refused_and_the_server_goes_on() {
    let server = Server::start("gemma3");
    for (change, word) in [
        (json!({ "n": 2 }), "`n`"),
        (json!({ "temperature": -1 }), "`temperature`"),
        (json!({ "prompt": 7 }), "prompt"),
        (json!({ "prompt": null }), "`prompt` is missing"),
        (json!({ "prompt": "t".repeat(100) }), "context is 64"),
    ] {
        let mut body = json!({ "prompt": "t", "max_tokens": 2 });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let (status, answer) = server.complete(body);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            (400..500).contains(&status) && message.contains(word),
            "{status} {message}"
        );
    }
    // Clients that leave at once.
    for _ in 0..5 {
        drop(server.send(
            "POST",
            "/v1/completions",
            "secret",
            &json!({ "prompt": "t", "max_tokens": 60, "stream": true }),
        ));
    }
    assert_eq!(server.complete(json!({ "prompt": "t", "max_tokens": 2 })).0, 200);
}
