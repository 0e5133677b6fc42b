//! A hub to push to, with a storage under another address. It keeps what it is sent, records every
//! request, and can misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use ewe::text::hex;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::mock;

/// The token that it knows.
pub const TOKEN: &str = "hf_do-not-tell-anybody";

/// A running hub; it ends with the test process.
pub struct MockHub {
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Such as `PUT /upload/0f`, without a query.
    pub line: String,
    pub host: String,
    pub authorization: Option<String>,
    pub content_length: Option<u64>,
    pub body: Vec<u8>,
}

/// A repository.
#[derive(Debug, Clone, Default)]
pub struct Repo {
    pub private: bool,
    /// The content of each file. Of large ones, it is in the storage.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What commits say, and the paths of each.
    pub commits: Vec<(String, Vec<String>)>,
}

/// What it has, and what it does wrong.
#[derive(Default)]
pub struct State {
    /// By `models/ann/sheep` or `datasets/…`.
    pub repos: BTreeMap<String, Repo>,
    /// The storage, by SHA-256.
    pub objects: BTreeMap<String, Vec<u8>>,
    pub seen: Vec<Seen>,
    /// The size of parts, if large files are sent in parts.
    pub part_bytes: Option<usize>,
    /// Answers to the next requests whose line contains the text.
    pub faults: VecDeque<(&'static str, u16)>,
    /// A request whose line ends in this is never answered; somebody is told.
    pub hold: Option<(String, Sender<()>)>,
    /// When a request's line contains this, a file gets another byte.
    pub touch: Option<(&'static str, PathBuf)>,
    /// Whether it makes every repository public.
    pub makes_public: bool,
    /// Whether it gives tags of parts that it does not know again.
    pub lies: bool,
    /// The transfer that it wants.
    pub transfer: Option<&'static str>,
    /// Another address, to which requests whose line begins with the text are redirected.
    pub moved: Option<(&'static str, String)>,
    /// Whether answers to commits are lost: they are made, and 502 is said.
    pub loses_commits: bool,
    /// Whether it says nothing of files once it was sent a commit.
    pub hides_after_commit: bool,
    /// Paths that the repository ignores.
    pub ignores: Option<&'static str>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    hub: String,
    storage: String,
}

impl MockHub {
    pub fn start() -> MockHub {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let shared = shared.clone();
            async move {
                let answer = lock(&shared).answer(&method, &uri, &headers, &body);
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            }
        };
        let app = Router::new().fallback(handler).layer(DefaultBodyLimit::disable());
        let [hub, storage] = [app.clone(), app].map(|app| {
            let address = mock::listen(async move |listener| axum::serve(listener, app).await.unwrap());
            format!("http://{address}")
        });
        lock(&state).hub.clone_from(&hub);
        lock(&state).storage = storage;
        MockHub { url: hub, state }
    }

    /// What it has, and what it does wrong.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The lines of all requests since the last call.
    pub fn take_lines(&self) -> Vec<String> {
        let seen = std::mem::take(&mut self.state().seen);
        seen.into_iter().map(|seen| seen.line).collect()
    }

    pub fn repo(&self, name: &str) -> Repo {
        self.state().repos.get(name).cloned().expect("it was made")
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn reply(status: u16, body: &Value) -> Response {
    let answer = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    answer.body(Body::from(body.to_string())).unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn git_id(bytes: &[u8]) -> String {
    let digest = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hex(&digest.chain_update(bytes).finalize())
}

fn is_large(path: &str) -> bool {
    [".safetensors", ".parquet", ".jsonl"]
        .iter()
        .any(|ending| path.ends_with(ending))
}

impl State {
    /// Answers a request, unless nobody ever does.
    fn answer(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Option<Response> {
        let header = |name: &str| Some(headers.get(name)?.to_str().unwrap().to_owned());
        let path = uri.path().to_owned();
        let line = format!("{method} {path}");
        self.seen.push(Seen {
            line: line.clone(),
            host: header("host").unwrap_or_default(),
            authorization: header("authorization"),
            content_length: header("content-length").and_then(|length| length.parse().ok()),
            body: body.to_vec(),
        });
        if let Some((end, told)) = &self.hold
            && line.ends_with(end)
        {
            told.send(()).unwrap();
            return None;
        }
        if let Some((part, file)) = &self.touch
            && line.contains(part)
        {
            let mut bytes = std::fs::read(file).unwrap();
            bytes.push(b'!');
            std::fs::write(file, bytes).unwrap();
        }
        let was_sent_one = self.seen.iter().any(|seen| seen.line.contains("/commit/"));
        if self.hides_after_commit && was_sent_one && line.contains("/preupload/") {
            return Some(reply(403, &json!({"error": "not for you"})));
        }
        if let Some(at) = self.faults.iter().position(|(part, _)| line.contains(part)) {
            let (_, status) = self.faults.remove(at).unwrap();
            let answer = Response::builder().status(status).header("retry-after", "0");
            return Some(answer.body(Body::from("<p>not now</p>")).unwrap());
        }
        if let Some((begin, place)) = &self.moved
            && line.starts_with(begin)
        {
            let answer = Response::builder()
                .status(307)
                .header("location", format!("{place}{path}"));
            return Some(answer.body(Body::empty()).unwrap());
        }
        if path.starts_with("/upload/") {
            return Some(self.keep(&path, body));
        }
        if path.starts_with("/complete/") {
            return Some(self.put_together(&serde_json::from_slice(body).unwrap()));
        }
        let authorization = header("authorization").unwrap_or_default();
        if authorization != format!("Bearer {TOKEN}") {
            // A careless server quotes what it was sent.
            return Some(reply(
                401,
                &json!({"error": format!("bad credentials: {authorization}")}),
            ));
        }
        Some(self.of_api(method, &path, body))
    }

    fn of_api(&mut self, method: &Method, path: &str, body: &[u8]) -> Response {
        let json = || -> Value { serde_json::from_slice(body).unwrap() };
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method.as_str(), &parts[..]) {
            ("POST", ["api", "repos", "create"]) => self.create(&json()),
            ("POST", ["api", "validate-yaml"]) => match json()["content"].as_str().unwrap() {
                card if card.contains("license: wtf") => reply(
                    400,
                    &json!({"errors": [{"message": "\"license\" must be one of"}]}),
                ),
                _ => reply(200, &json!({"errors": [], "warnings": []})),
            },
            ("GET", ["api", kind, owner, name]) => match self.repos.get(&format!("{kind}/{owner}/{name}")) {
                Some(repo) => reply(200, &json!({"private": repo.private})),
                None => reply(404, &json!({"error": "Repository not found"})),
            },
            ("POST", ["api", kind, owner, name, "preupload", "main"]) => {
                self.preupload(&format!("{kind}/{owner}/{name}"), &json())
            }
            ("POST", ["api", kind, owner, name, "commit", "main"]) => {
                let answer = self.commit(&format!("{kind}/{owner}/{name}"), body);
                match self.loses_commits {
                    true => {
                        let answer = Response::builder().status(502).header("retry-after", "0");
                        answer.body(Body::empty()).unwrap()
                    }
                    false => answer,
                }
            }
            ("POST", [.., "info", "lfs", "objects", "batch"]) => self.batch(&json()),
            ("POST", ["verify", oid]) => {
                let size = self.objects.get(*oid).map(Vec::len);
                let is_so = json()["size"].as_u64() == size.map(|size| size as u64);
                reply(if is_so { 200 } else { 404 }, &json!({}))
            }
            _ => reply(404, &json!({"error": format!("no {method} {path}")})),
        }
    }

    fn create(&mut self, body: &Value) -> Response {
        let text = |name: &str| body[name].as_str().unwrap();
        let name = format!("{}s/{}/{}", text("type"), text("organization"), text("name"));
        if self.repos.contains_key(&name) {
            return reply(409, &json!({"error": "You already created this repo"}));
        }
        let repo = Repo {
            private: body["private"] == true && !self.makes_public,
            ..Repo::default()
        };
        self.repos.insert(name, repo);
        reply(200, &json!({"url": "…"}))
    }

    fn preupload(&mut self, repo: &str, body: &Value) -> Response {
        let files = &self.repos[repo].files;
        let said: Vec<Value> = body["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| {
                let path = file["path"].as_str().unwrap();
                let (mode, sum): (_, fn(&[u8]) -> String) = match is_large(path) {
                    true => ("lfs", sha256),
                    false => ("regular", git_id),
                };
                json!({
                    "path": path,
                    "uploadMode": mode,
                    "shouldIgnore": self.ignores == Some(path),
                    "oid": files.get(path).map(|bytes| sum(bytes)),
                })
            })
            .collect();
        reply(200, &json!({ "files": said }))
    }

    fn batch(&self, body: &Value) -> Response {
        assert_eq!(body["operation"], "upload");
        assert_eq!(body["transfers"], json!(["basic", "multipart"]));
        let objects: Vec<Value> = body["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| {
                let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap());
                if self.objects.contains_key(oid) {
                    return json!({"oid": oid, "size": size});
                }
                let place = format!("{}/upload/{oid}", self.storage);
                let upload = match self.part_bytes {
                    None => json!({"href": format!("{place}?signature=sealed")}),
                    Some(bytes) => {
                        let mut header = json!({"chunk_size": bytes.to_string()});
                        for part in 1..=size.div_ceil(bytes as u64) {
                            header[part.to_string()] = format!("{place}/{part}?signature=sealed").into();
                        }
                        json!({"href": format!("{}/complete/{oid}", self.hub), "header": header})
                    }
                };
                let verify = json!({"href": format!("{}/verify/{oid}", self.hub)});
                json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
            })
            .collect();
        reply(200, &json!({"objects": objects, "transfer": self.transfer}))
    }

    /// Keeps a file, or a part of one.
    fn keep(&mut self, path: &str, body: &[u8]) -> Response {
        let parts: Vec<&str> = path.split('/').collect();
        let number = parts.get(3).map_or(0, |number| number.parse().unwrap());
        if number == 0 {
            if sha256(body) != parts[2] {
                return reply(400, &json!({"error": "the checksum is another one"}));
            }
            self.objects.insert(parts[2].to_owned(), body.to_vec());
        } else {
            self.parts.insert((parts[2].to_owned(), number), body.to_vec());
        }
        let tag = match self.lies {
            true => "\"another\"".to_owned(),
            false => format!("\"{}\"", git_id(body)),
        };
        let answer = Response::builder().status(200).header("etag", tag);
        answer.body(Body::empty()).unwrap()
    }

    fn put_together(&mut self, body: &Value) -> Response {
        let oid = body["oid"].as_str().unwrap();
        let mut whole = Vec::new();
        for part in body["parts"].as_array().unwrap() {
            let number = part["partNumber"].as_u64().unwrap() as usize;
            let bytes = &self.parts[&(oid.to_owned(), number)];
            if part["etag"] != format!("\"{}\"", git_id(bytes)) {
                return reply(400, &json!({"error": "part has another tag"}));
            }
            whole.extend_from_slice(bytes);
        }
        if sha256(&whole) != oid {
            return reply(400, &json!({"error": "the checksum is another one"}));
        }
        self.objects.insert(oid.to_owned(), whole);
        reply(200, &json!({}))
    }

    fn commit(&mut self, repo: &str, body: &[u8]) -> Response {
        let text = std::str::from_utf8(body).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (mut summary, mut paths) = (String::new(), Vec::new());
        for line in lines {
            let value = &line["value"];
            let path = || value["path"].as_str().unwrap().to_owned();
            let content = match line["key"].as_str().unwrap() {
                "header" => {
                    summary = value["summary"].as_str().unwrap().to_owned();
                    continue;
                }
                "file" => decoded(value["content"].as_str().unwrap()),
                "lfsFile" => match self.objects.get(value["oid"].as_str().unwrap()) {
                    Some(bytes) => bytes.clone(),
                    None => return reply(400, &json!({"error": "an object is missing"})),
                },
                key => panic!("{key}"),
            };
            paths.push(path());
            self.repos.get_mut(repo).unwrap().files.insert(path(), content);
        }
        let commits = &mut self.repos.get_mut(repo).unwrap().commits;
        commits.push((summary, paths));
        let oid = format!("{:040}", commits.len());
        reply(
            200,
            &json!({"commitOid": oid, "commitUrl": format!("{}/{repo}/commit/{oid}", self.hub)}),
        )
    }
}

/// Decodes Base64.
fn decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        c => panic!("{c}"),
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | u32::from(value(c));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
