//! `ewe serve` for tests: on a free port, called over plain sockets, stopped when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::golden::golden;
use crate::shell::signal;
use crate::waiting::{self, until};

pub struct Server {
    process: Child,
    pub address: String,
    /// The first line that it printed.
    pub line: String,
    /// Collects its further output.
    said: Option<JoinHandle<String>>,
}

impl Server {
    pub fn start(model: &str) -> Server {
        Server::with(&golden(model), &[])
    }

    pub fn with(model: &Path, options: &[&str]) -> Server {
        Server::limited(model, options, "unlimited")
    }

    /// With a limit on address space, in KiB: allocations beyond it fail, as on a machine without
    /// free memory.
    pub fn limited(model: &Path, options: &[&str], address_space: &str) -> Server {
        // Each thread takes addresses, and there may be one for each core.
        let threads: &[&str] = match address_space {
            "unlimited" => &[],
            _ => &["OMP_NUM_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS"],
        };
        let mut process = Command::new("sh")
            .args(["-c", "ulimit -v \"$1\"; shift; exec \"$@\"", "sh", address_space])
            .arg(env!("CARGO_BIN_EXE_ewe-torch"))
            .args(["serve", "--bind", "127.0.0.1:0", "--token", "open sesame"])
            .env_remove("EWE_TOKEN")
            .envs(threads.iter().map(|name| (name, "2")))
            .args(options)
            .arg("--model")
            .arg(model)
            .env("RUST_BACKTRACE", "0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        // Panics of the engine are printed; the server must not wait for a reader.
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        let (_, rest) = line
            .split_once("http://")
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        let address = rest.split('/').next().unwrap().to_string();
        Server {
            process,
            address,
            line,
            said: Some(said),
        }
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a request; returns its connection.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> TcpStream {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer open sesame\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.raw(&[head.as_bytes(), body.as_bytes()].concat())
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Waits for the process to end; returns its exit code and all output after the first line.
    pub fn end(mut self) -> (Option<i32>, String) {
        let code = waiting::ended(&mut self.process).code();
        let said = self.said.take().expect("read once").join().unwrap();
        (code, said)
    }

    /// Resident memory of the process, in MiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// Sends a request; returns status and JSON body.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, _, body) = answer(self.send(method, path, &body));
        (
            status,
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}")),
        )
    }

    pub fn complete(&self, body: Value) -> (u16, Value) {
        self.ask("POST", "/v1/completions", body)
    }

    pub fn chat(&self, body: Value) -> (u16, Value) {
        self.ask("POST", "/v1/chat/completions", body)
    }

    /// The events of a stream, which must end in `[DONE]`.
    pub fn stream(&self, path: &str, mut body: Value) -> Vec<Value> {
        body["stream"] = json!(true);
        let (status, head, body) = answer(self.send("POST", path, &body));
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("text/event-stream"), "{head}");
        let mut events: Vec<&str> = body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{body}");
        events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }

    /// A figure of `/metrics`, by the beginning of its line; 0 if there is none.
    pub fn figure(&self, name: &str) -> f64 {
        let (status, head, body) = answer(self.send("GET", "/metrics", &Value::Null));
        assert_eq!(status, 200);
        assert!(head.contains("openmetrics-text"), "{head}");
        let line = body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a figure has this value.
    #[track_caller]
    pub fn wait_for(&self, name: &str, value: f64) {
        until(&format!("{name} of {value}"), || self.figure(name) == value);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status, head and body of a response that ends with its connection.
pub fn answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_string())
}
