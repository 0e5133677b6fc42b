//! Access to `ewe serve`, the names of its model, and its shutdown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faulty_endpoint::{self, Reply};
use crate::golden::{Changed, golden};
use crate::server::{Server, answer};
use crate::shell::{Dir, ewe};
use crate::waiting::until;

/// Status and head of the response to a request with these header lines; HOST stands for the
/// server's address.
fn ask(server: &Server, method: &str, path: &str, head: &str) -> (u16, String) {
    let head = head.replace("HOST", &server.address);
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{head}authorization: Bearer open sesame\r\nconnection: close\r\n\r\n"
    );
    let (status, head, _) = answer(server.raw(request.as_bytes()));
    (status, head)
}

#[test]
fn requests_from_other_sites_are_refused() {
    let server = Server::start("gemma3");
    let port = server.address.rsplit(':').next().unwrap();
    for head in [
        "host: HOST\r\n",
        "host: HOST\r\norigin: http://HOST\r\nsec-fetch-site: same-origin\r\n",
        "host: HOST\r\nsec-fetch-site: none\r\n",
        &format!("host: LocalHost:{port}\r\n"),
        &format!("host: [::1]:{port}\r\n"),
    ] {
        assert_eq!(ask(&server, "GET", "/v1/models", head).0, 200, "{head:?}");
    }
    for head in [
        "",
        "host: evil.example\r\n",
        "host: localhost.evil.example\r\n",
        "host: 127.0.0.1\r\n",
        "host: \r\n",
        "host: HOST\r\nhost: evil.example\r\n",
        "host: HOST\r\norigin: http://evil.example\r\n",
        "host: HOST\r\norigin: null\r\n",
        "host: HOST\r\nsec-fetch-site: cross-site\r\n",
        "host: HOST\r\nsec-fetch-site: same-site\r\n",
    ] {
        for path in [
            "/v1/models",
            "/v1/completions",
            "/metrics",
            "/health",
            "/",
            "/nothing",
        ] {
            for method in ["GET", "POST", "OPTIONS"] {
                let (status, _) = ask(&server, method, path, head);
                assert!([400, 403].contains(&status), "{method} {path} {head:?}: {status}");
            }
        }
    }
    let (status, head) = ask(
        &server,
        "OPTIONS",
        "/v1/completions",
        "host: HOST\r\norigin: http://evil.example\r\naccess-control-request-method: POST\r\n",
    );
    assert!(
        status == 403 && !head.contains("access-control-allow-origin"),
        "{head}"
    );
}

#[test]
fn allow_origin_and_allow_host_admit_requests() {
    let options = [
        "--allow-origin",
        "http://localhost:3000/",
        "--allow-host",
        "gpu.lan:80",
    ];
    let server = Server::with(&golden("gemma3"), &options);
    assert_eq!(ask(&server, "GET", "/v1/models", "host: gpu.lan:80\r\n").0, 200);
    assert_eq!(ask(&server, "GET", "/v1/models", "host: gpu.lan:81\r\n").0, 403);
    let of_page = "host: HOST\r\norigin: http://localhost:3000\r\nsec-fetch-site: same-site\r\n";
    let (status, head) = ask(&server, "GET", "/v1/models", of_page);
    assert!(
        status == 200 && head.contains("access-control-allow-origin: http://localhost:3000\r\n"),
        "{head}"
    );
    // A preflight request carries no token.
    let asks = format!(
        "OPTIONS /v1/chat/completions HTTP/1.1\r\n{}access-control-request-method: POST\r\n\
         access-control-request-headers: authorization,content-type,x-stainless-os\r\nconnection: close\r\n\r\n",
        of_page.replace("HOST", &server.address)
    );
    let (status, head, _) = answer(server.raw(asks.as_bytes()));
    assert!(
        status == 204
            && head.contains("access-control-allow-headers: authorization,content-type,x-stainless-os")
            && head.contains("access-control-allow-methods: get, post"),
        "{head}"
    );
    // An allowed site still needs the token.
    let open = format!(
        "GET /v1/models HTTP/1.1\r\n{}connection: close\r\n\r\n",
        of_page.replace("HOST", &server.address)
    );
    assert_eq!(answer(server.raw(open.as_bytes())).0, 401);
    let other = of_page.replace(":3000", ":3001");
    assert_eq!(ask(&server, "GET", "/v1/models", &other).0, 403);

    let any = Server::with(&golden("gemma3"), &["--allow-origin", "*"]);
    let head = "host: HOST\r\norigin: null\r\nsec-fetch-site: cross-site\r\n";
    assert_eq!(ask(&any, "GET", "/v1/models", head).0, 200);
    let rebound = head.replace("HOST", "evil.example");
    assert_eq!(ask(&any, "GET", "/v1/models", &rebound).0, 403);
}

#[test]
fn served_model_name_names_the_model() {
    let options = ["--served-model-name", "sheep", "--served-model-name", "lamb"];
    let server = Server::with(&golden("gemma3"), &options);
    assert!(
        server.line.starts_with("sheep, lamb is served at http://"),
        "{}",
        server.line
    );
    let (_, models) = server.ask("GET", "/v1/models", Value::Null);
    let ids: Vec<&Value> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["id"])
        .collect();
    assert_eq!(ids, ["sheep", "lamb"]);
    assert_eq!(server.ask("GET", "/v1/models/lamb", Value::Null).0, 200);
    assert_eq!(server.ask("GET", "/v1/models/goat", Value::Null).0, 404);
    for asked in [json!(null), json!("sheep"), json!("lamb")] {
        let (status, answer) = server.complete(json!({ "prompt": "t", "model": asked }));
        assert_eq!((status, &answer["model"]), (200, &json!("sheep")), "{asked}");
    }
    assert_eq!(
        server.complete(json!({ "prompt": "t", "model": "gemma3" })).0,
        404
    );
    // A greeting for people who open the address in a browser, without the token.
    let hello = format!(
        "GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        server.address
    );
    let (status, _, text) = answer(server.raw(hello.as_bytes()));
    assert!(
        status == 200 && text.contains("base URL") && !text.contains("sesame"),
        "{text}"
    );
}

#[test]
fn the_default_name_includes_the_adapter() {
    let adapter = golden("gemma3_lora");
    let server = Server::with(&golden("gemma3"), &["--adapter", adapter.to_str().unwrap()]);
    assert!(
        server.line.starts_with("gemma3+gemma3_lora is served"),
        "{}",
        server.line
    );
    let (_, models) = server.ask("GET", "/v1/models", Value::Null);
    let cards = models["data"].as_array().unwrap();
    assert_eq!((cards.len(), &cards[0]["id"]), (1, &json!("gemma3+gemma3_lora")));
    // The fingerprint is a valid model name, too: other weights have another.
    let fingerprint = cards[0]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("gemma3@"), "{models}");
    let said = json!([{ "role": "user", "content": "t" }]);
    for name in ["gemma3+gemma3_lora", fingerprint] {
        let (status, card) = server.ask("GET", &format!("/v1/models/{name}"), Value::Null);
        assert_eq!((status, &card["id"]), (200, &json!(name)));
        let (status, answer) = server.complete(json!({ "prompt": "t", "max_tokens": 1, "model": name }));
        assert_eq!((status, &answer["model"]), (200, &json!("gemma3+gemma3_lora")));
    }
    // There is only one model, so any name is accepted.
    let (status, answer) = server.complete(json!({ "prompt": "t", "max_tokens": 1, "model": "gpt-4" }));
    assert_eq!((status, &answer["model"]), (200, &json!("gemma3+gemma3_lora")));
    assert_eq!(server.ask("GET", "/v1/models/gpt-4", Value::Null).0, 404);
    let options = ["--served-model-name", "sheep"];
    let named = Server::with(&golden("gemma3"), &options);
    for (path, ask) in [
        ("/v1/completions", json!({ "prompt": "t", "model": "gemma3" })),
        (
            "/v1/chat/completions",
            json!({ "messages": said, "model": "gemma3", "stream": true }),
        ),
    ] {
        let (status, answer) = named.ask("POST", path, ask);
        let error = &answer["error"];
        assert_eq!(
            (status, &error["param"], &error["code"]),
            (404, &json!("model"), &json!("model_not_found"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("`gemma3`") && message.ends_with("hint: it is `sheep`"),
            "{message}"
        );
    }
}

#[test]
fn every_error_has_the_same_shape() {
    let server = Server::start("gemma3");
    for path in [
        "/v1/models/%ff",
        "/v1/models/a/%ff",
        "/v1/models/",
        "/v1/models/%00",
        "/v1/%ff/x",
        "/%ff",
        "//",
        "/health",
        "/",
        "/metrics",
        "/v1/completions",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let (status, head, body) = {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer open sesame\r\nconnection: close\r\n\r\n",
                    server.address
                );
                answer(server.raw(request.as_bytes()))
            };
            if status == 200 {
                continue;
            }
            let error: Value =
                serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {head} {body}"));
            assert!(error["error"]["message"].is_string(), "{method} {path}: {body}");
        }
    }
}

/// A fixed name would attribute the answers of one adapter to the next one in its place.
#[test]
fn a_dataset_records_the_fingerprint_of_a_served_model() {
    let card = json!({ "id": "m+sheep", "object": "model", "fingerprint": "m@0123456789ab-bf16" });
    let list = json!({ "object": "list", "data": [card] }).to_string();
    let server = faulty_endpoint::Server::start(move |asked| match asked.path.as_str() {
        "/v1/models" => Reply::Status(200, String::new(), list.clone().into_bytes()),
        _ => Reply::Answer,
    });
    let dir = Dir::with_dataset();
    let arguments = [
        "generate",
        "--db",
        "d.db",
        "--target",
        "5",
        "--endpoint",
        server.url.as_str(),
    ];
    ewe(&dir, &arguments).success();
    let asked = server.asked();
    let completions = asked.iter().filter(|asked| asked.path != "/v1/models");
    assert!(completions.clone().count() > 0);
    for asked in completions {
        assert_eq!(asked.body["model"], "m@0123456789ab-bf16");
    }
    let model = dir.sql("select distinct model from run where command = 'generate'");
    assert_eq!(model, [[format!("m@0123456789ab-bf16 at {}", server.url)]]);
}

/// Starts a server whose token is not on the command line.
fn with_token(options: &[&str], variable: Option<&str>) -> Result<(std::process::Child, String), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ewe-torch"));
    command.args(["serve", "--bind", "127.0.0.1:0", "--model"]);
    command
        .arg(golden("gemma3"))
        .args(options)
        .env_remove("EWE_TOKEN");
    if let Some(token) = variable {
        command.env("EWE_TOKEN", token);
    }
    let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = Vec::new();
    let stderr = process.stderr.as_mut().unwrap();
    let mut byte = [0];
    while stderr.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    match line.split_once("http://") {
        Some((_, rest)) => Ok((process, rest.split('/').next().unwrap().to_string())),
        None => {
            process.wait().unwrap();
            Err(line)
        }
    }
}

#[test]
fn the_token_may_come_from_a_file_or_a_variable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "of a file\nand no more\n").unwrap();
    let file = file.to_str().unwrap();
    for (options, variable, token) in [
        (&["--token-file", file][..], None, "of a file"),
        (&[], Some("of the environment"), "of the environment"),
        (&["--token-file", file], Some("of the environment"), "of a file"),
    ] {
        let (mut process, address) = with_token(options, variable).unwrap();
        let status = |given: &str| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let head = format!(
                "GET /v1/models HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {given}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            answer(stream).0
        };
        let seen = std::fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
        let statuses = (status(token), status("something else"));
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(statuses, (200, 401), "{options:?}");
        assert!(!String::from_utf8_lossy(&seen).contains(token));
    }
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    std::fs::write(dir.path().join("short"), "1234567\n").unwrap();
    std::fs::write(dir.path().join("binary"), [1, 2, 0xff]).unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    for (options, words) in [
        (["--token", ""], "--token: the token is empty"),
        (["--token", "x"], "--token: the token is short enough to guess"),
        (["--token-file", &at("short")], "short enough to guess"),
        (["--token", "\u{e4}\u{f6}"], "no header can carry"),
        (["--token-file", &at("empty")], "the token is empty"),
        (["--token-file", &at("binary")], "no header can carry"),
        (["--token-file", &at("missing")], "cannot read the token"),
        (["--token-file", "/dev/zero"], "longer than 4096 bytes"),
    ] {
        let error = with_token(&options, None).unwrap_err();
        assert!(error.contains(words), "{options:?}: {error}");
    }
}

/// Sends a long streamed request; returns its connection once the first event has arrived.
fn long_stream(server: &Server, tokens: u64) -> TcpStream {
    let body = json!({ "prompt": "t", "max_tokens": tokens, "ignore_eos": true, "stream": true });
    let mut stream = server.send("POST", "/v1/completions", &body);
    let mut byte = [0];
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: ") {
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    stream
}

#[test]
fn running_answers_finish_before_the_server_exits() {
    let model = Changed::long(100_000);
    for signal in ["TERM", "INT"] {
        let server = Server::with(model.path(), &[]);
        // An idle connection, and one that has sent half a request head.
        let idle = server.raw(b"");
        let mut half = server.raw(b"GET /v1/models HTTP/1.1\r\n");
        let mut stream = long_stream(&server, 600);
        server.signal(signal);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("data: [DONE]"), "{rest}");
        let address = server.address.clone();
        // A request that is completed too late is not answered.
        let _ = half
            .write_all(format!("host: {address}\r\nauthorization: Bearer open sesame\r\n\r\n").as_bytes());
        let mut late = String::new();
        let _ = half.read_to_string(&mut late);
        assert!(late.is_empty() || late.starts_with("HTTP/1.1 503"), "{late}");
        let (code, said) = server.end();
        assert_eq!(code, Some(130), "{said}");
        assert!(
            said.contains("1 answer under way may take 30 s more") && said.contains("all answers were given"),
            "{said}"
        );
        assert!(TcpStream::connect(&address).is_err());
        drop(idle);
    }
}

#[test]
fn drain_timeout_limits_the_wait_for_running_answers() {
    let model = Changed::long(1_000_000);
    let server = Server::with(model.path(), &["--drain-timeout", "1"]);
    let _stream = long_stream(&server, 900_000);
    let begun = Instant::now();
    server.signal("TERM");
    let (code, said) = server.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(
        said.contains("may take 1 s more") && said.contains("1 answer cut off"),
        "{said}"
    );
    let took = begun.elapsed();
    // Without the option, it is half a minute.
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(25),
        "{took:?}"
    );
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let model = Changed::long(1_000_000);
    let server = Server::with(model.path(), &[]);
    let mut stream = long_stream(&server, 900_000);
    let begun = Instant::now();
    server.signal("TERM");
    // The first signal has taken effect once no new connection is accepted.
    until("a closed door", || TcpStream::connect(&server.address).is_err());
    let mut some = [0; 64];
    stream.read_exact(&mut some).unwrap();
    server.signal("INT");
    let (code, said) = server.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(25) && said.contains("cut off"),
        "{said}"
    );
}

#[test]
fn an_idle_server_ends_at_once() {
    let server = Server::start("gemma3");
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(server.end().0, Some(130));
    assert!(begun.elapsed() < Duration::from_secs(25), "it waits for nobody");
}
