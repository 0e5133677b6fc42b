//! Connections to `ewe serve` as programs and networks make them: reused, cut, flooded, half closed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::golden::Changed;
use crate::server::{Server, answer};

#[track_caller]
fn still_serves(server: &Server) {
    let (status, body) = server.complete(json!({ "prompt": "t", "max_tokens": 2, "temperature": 0 }));
    assert_eq!(status, 200, "{body}");
}

/// The head of a request, without the empty line behind it.
fn head(server: &Server, method: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer open sesame\r\n{more}",
        server.address
    )
}

/// Sends bytes that the server may refuse in the middle; returns what it says before the end.
fn said(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut part) {
        said.extend_from_slice(&part[..count]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// Reads up to the end of a head.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_connection_is_reused_and_requests_may_be_sent_ahead() {
    let server = Server::start("gemma3");
    let body = r#"{"prompt": "t", "max_tokens": 2}"#;
    let json = format!(
        "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let requests = [
        head(&server, "GET", "/health", "\r\n"),
        head(&server, "POST", "/v1/completions", &json),
        head(&server, "GET", "/v1/nothing", "\r\n"),
        head(&server, "HEAD", "/v1/models", "\r\n"),
        head(&server, "GET", "/v1/models", "connection: close\r\n\r\n"),
    ];
    let mut stream = server.raw(requests.concat().as_bytes());
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let statuses: Vec<&str> = all
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &all[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "200", "404", "200", "200"], "{all}");
    // One after another, too.
    let mut stream = server.raw(head(&server, "GET", "/health", "\r\n").as_bytes());
    for _ in 0..3 {
        let head = read_head(&mut stream).to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        stream.read_exact(&mut vec![0; length]).unwrap();
        stream
            .write_all(self::head(&server, "GET", "/health", "\r\n").as_bytes())
            .unwrap();
    }
}

#[test]
fn older_and_careful_clients_are_answered() {
    let server = Server::start("gemma3");
    let body = r#"{"prompt": "t", "max_tokens": 2}"#;
    let json = format!(
        "content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    // HTTP/1.0 ends with the connection.
    let old = format!(
        "POST /v1/completions HTTP/1.0\r\nhost: {}\r\nauthorization: bearer open sesame\r\n{json}\r\n{body}",
        server.address
    );
    assert_eq!(answer(server.raw(old.as_bytes())).0, 200);
    assert_eq!(answer(server.raw(b"GET /health HTTP/1.0\r\n\r\n")).0, 403);
    // One that asks before it sends.
    let asks = head(
        &server,
        "POST",
        "/v1/completions",
        &format!("{json}expect: 100-continue\r\nconnection: close\r\n\r\n"),
    );
    let mut stream = server.raw(asks.as_bytes());
    let go_on = read_head(&mut stream);
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(answer(stream).0, 200);
    // One that does not know the length beforehand.
    let (begin, end) = body.split_at(9);
    let chunks = format!(
        "{:x}\r\n{begin}\r\n{:x};note=x\r\n{end}\r\n0\r\ntrailer: y\r\n\r\n",
        begin.len(),
        end.len()
    );
    let chunked = head(
        &server,
        "POST",
        "/v1/completions",
        &format!(
            "content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunks}"
        ),
    );
    assert_eq!(answer(server.raw(chunked.as_bytes())).0, 200);
}

#[test]
fn what_is_no_request_ends_its_connection_alone() {
    let server = Server::start("gemma3");
    let many: String = (0..500).map(|index| format!("x-{index}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(2 << 20));
    let get = |more: &str| head(&server, "GET", "/v1/models", more);
    let path = format!("/{}", "a".repeat(100_000));
    for (what, bytes, statuses) in [
        (
            "many headers",
            get(&format!("{many}\r\n")).into_bytes(),
            &["431"][..],
        ),
        (
            "a long header",
            get(&format!("{long}\r\n")).into_bytes(),
            &["431", ""],
        ),
        (
            "a long path",
            head(&server, "GET", &path, "\r\n").into_bytes(),
            &["414", "431", ""],
        ),
        ("no HTTP", b"hello\r\n\r\n".to_vec(), &["400", ""]),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &["400", ""],
        ),
        (
            "a path of bytes",
            b"GET /\xff\xfe HTTP/1.1\r\n\r\n".to_vec(),
            &["400", ""],
        ),
        (
            "a length that is none",
            head(&server, "POST", "/v1/completions", "content-length: x\r\n\r\n").into_bytes(),
            &["400", ""],
        ),
        (
            "two lengths",
            head(
                &server,
                "POST",
                "/v1/completions",
                "content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
            )
            .into_bytes(),
            &["400", ""],
        ),
        ("nothing", Vec::new(), &[""]),
    ] {
        let said = said(&server, &bytes);
        let status = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        assert!(
            statuses.contains(&status.unwrap_or_default()),
            "{what}: {}",
            said.chars().take(300).collect::<String>()
        );
        still_serves(&server);
    }
}

#[test]
fn hundreds_of_idle_connections_hold_nobody_up() {
    let server = Server::start("gemma3");
    let idle: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(&server.address).unwrap())
        .collect();
    still_serves(&server);
    drop(idle);
    still_serves(&server);
}

#[test]
fn a_reader_that_does_not_read_and_one_that_hangs_up_hold_nobody_up() {
    let model = Changed::long(1_000_000);
    let server = Server::with(model.path(), &["--batch", "3"]);
    let long = json!({ "prompt": "t", "max_tokens": 400_000, "ignore_eos": true, "stream": true });
    let deaf = server.send("POST", "/v1/completions", &long);
    server.wait_for("ewe_running", 1.0);
    let half = server.send("POST", "/v1/completions", &long);
    server.wait_for("ewe_running", 2.0);
    still_serves(&server);
    // A client that closes its half of the connection has left, as far as can be told.
    half.shutdown(Shutdown::Write).unwrap();
    server.wait_for("ewe_running", 1.0);
    drop(deaf);
    server.wait_for("ewe_running", 0.0);
    assert_eq!(server.ask("GET", "/health", Value::Null).0, 200);
}
