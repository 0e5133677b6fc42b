//! Downloads from a local server with one model, which can misbehave.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::*;
use crate::model::tests::golden;
use ewe::text::hex;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one model, which can misbehave.
#[derive(Default)]
struct State {
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// Status to answer with in place of any file; 0 for none.
    status: AtomicUsize,
    /// Bytes after which files end; 0 for whole files.
    cut_at: AtomicUsize,
    /// Whether it sends whole files, whatever range was asked for.
    no_ranges: AtomicBool,
    /// Whether the last byte of files is wrong.
    wrong: AtomicBool,
    /// Another address, to which requests for files are redirected.
    moved_to: Mutex<Option<String>>,
    /// A false size of a file in the listing.
    claims: Mutex<Option<(String, serde_json::Value)>>,
    /// Blanks in front of the listing, in bytes.
    padding: AtomicUsize,
    /// Path, range and authorization of every request.
    seen: Mutex<Vec<(String, String, String)>>,
}

struct Server {
    address: String,
    state: Arc<State>,
}

fn server(folder: &str, large: &'static [&'static str]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::new(State::default());
    for entry in std::fs::read_dir(golden(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        state
            .files
            .lock()
            .unwrap()
            .insert(name, std::fs::read(&path).unwrap());
    }
    let theirs = state.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(stream.unwrap(), &theirs, large);
        }
    });
    Server { address, state }
}

fn answer(mut stream: std::net::TcpStream, state: &State, large: &[&str]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap()?.split(' ').nth(1).unwrap().to_owned();
    let (mut range, mut authorization) = (String::new(), String::new());
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = value.to_owned()
            }
            Some(_) => {}
            None => break,
        }
    }
    state
        .seen
        .lock()
        .unwrap()
        .push((path.clone(), range.clone(), authorization));
    let files = state.files.lock().unwrap();
    let status = state.status.load(Ordering::Relaxed);
    if status > 0 {
        return write!(
            stream,
            "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    if path.starts_with("/api/models/some-one/tiny/revision/main") {
        let siblings: Vec<_> = files
            .iter()
            .map(|(name, bytes)| {
                let git = digest_of(Sha1::new_with_prefix(format!("blob {}\0", bytes.len())), bytes);
                let lfs = large.contains(&name.as_str()).then(|| {
                    serde_json::json!({"sha256": digest_of(Sha256::new(), bytes), "size": bytes.len(), "pointerSize": 1})
                });
                let mut size = serde_json::json!(bytes.len());
                if let Some((_, claim)) = state.claims.lock().unwrap().as_ref().filter(|(of, _)| of == name) {
                    size = claim.clone();
                }
                serde_json::json!({"rfilename": name, "size": size, "blobId": git, "lfs": lfs})
            })
            .collect();
        let text = serde_json::json!({"sha": COMMIT, "siblings": siblings, "gated": false}).to_string();
        let text = " ".repeat(state.padding.load(Ordering::Relaxed)) + &text;
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        );
    }
    if let Some(address) = state.moved_to.lock().unwrap().as_ref() {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: {address}{path}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let name = path.strip_prefix(&format!("/some-one/tiny/resolve/{COMMIT}/"));
    let Some(bytes) = name.and_then(|name| files.get(name)) else {
        return write!(
            stream,
            "HTTP/1.1 404 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    };
    let mut bytes = bytes.clone();
    if state.wrong.load(Ordering::Relaxed) {
        *bytes.last_mut().unwrap() ^= 1;
    }
    let from = range
        .strip_prefix("bytes=")
        .filter(|_| !state.no_ranges.load(Ordering::Relaxed))
        .map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    let total = bytes.len();
    let head = match from {
        0 => "HTTP/1.1 200 OK\r\n".to_owned(),
        _ => format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{}/{total}\r\n",
            total - 1
        ),
    };
    write!(
        stream,
        "{head}content-length: {}\r\nconnection: close\r\n\r\n",
        total - from
    )?;
    let cut_at = match state.cut_at.load(Ordering::Relaxed) {
        0 => total,
        cut_at => (from + cut_at).min(total),
    };
    stream.write_all(&bytes[from..cut_at])
}

fn digest_of<D: Digest>(digest: D, bytes: &[u8]) -> String {
    hex(&digest.chain_update(bytes).finalize())
}

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub {
        endpoint: server.address.clone(),
        token: None,
        offline: false,
        cache: Cache::new(cache.to_path_buf()),
        pause: Duration::from_millis(1),
    }
}

fn message(result: Result<PathBuf>) -> String {
    format!("{:#}", result.expect_err("an error"))
}

fn ranges(server: &Server, of: &str) -> Vec<String> {
    let seen = server.state.seen.lock().unwrap();
    seen.iter()
        .filter(|(path, ..)| path.ends_with(of))
        .map(|(_, range, _)| range.clone())
        .collect()
}

#[test]
fn a_model_is_fetched_once_into_the_usual_layout() {
    let (server, cache) = (
        server("neox", &["model.safetensors"]),
        tempfile::tempdir().unwrap(),
    );
    let mut hub = hub(&server, cache.path());
    hub.token = Some("secret".to_owned());
    let config = hub.get("some-one/tiny", Fetch::Config).unwrap();
    assert_eq!(
        server.state.seen.lock().unwrap().len(),
        2,
        "a listing and config.json"
    );
    let dir = hub.get("some-one/tiny", Fetch::Model).unwrap();
    assert_eq!(config, dir);
    let folder = cache.path().join("models--some-one--tiny");
    assert_eq!(dir, folder.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let weights = fs::read_link(dir.join("model.safetensors")).unwrap();
    assert!(weights.starts_with("../../blobs") && weights.file_name().unwrap().len() == 64);
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert_eq!(
            fs::read(dir.join(name)).unwrap(),
            fs::read(golden("neox").join(name)).unwrap()
        );
    }
    assert!(!dir.join("expected.json").exists(), "what no model needs");
    let left = |ending: &str| {
        fs::read_dir(folder.join("blobs"))
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .ends_with(ending)
            })
            .count()
    };
    assert_eq!((left(".incomplete"), left(".lock")), (0, 0));
    assert_eq!(id_of(&dir).as_deref(), Some("some-one/tiny"));
    crate::model::load(&dir, tch::Device::Cpu, "fp32").unwrap();
    let name = crate::model::files::fingerprint::fingerprint(&dir, None, tch::Kind::Float).unwrap();
    assert!(name.starts_with("tiny@"), "{name}");

    // From now on nothing is requested, with a network or without.
    let asked = server.state.seen.lock().unwrap().len();
    hub.offline = true;
    assert_eq!(hub.get("some-one/tiny", Fetch::Model).unwrap(), dir);
    hub.offline = false;
    assert_eq!(hub.get("some-one/tiny", Fetch::Model).unwrap(), dir);
    let seen = server.state.seen.lock().unwrap();
    assert_eq!(seen.len(), asked);
    assert!(
        seen.iter()
            .all(|(_, _, authorization)| authorization == "Bearer secret")
    );
}

#[test]
fn shards_of_either_format_are_those_of_the_index() {
    let (server, cache) = (server("torch_files", &[]), tempfile::tempdir().unwrap());
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let bytes = fs::read(golden("neox").join(file)).unwrap();
        server.state.files.lock().unwrap().insert(file.to_owned(), bytes);
    }
    let dir = hub(&server, cache.path())
        .get("some-one/tiny", Fetch::Model)
        .unwrap();
    crate::model::load(&dir, tch::Device::Cpu, "fp32").unwrap();
    assert!(!dir.join("zip.bin").exists());
    let first = "pytorch_model-00001-of-00002.bin";
    server.state.files.lock().unwrap().remove(first);
    let other = tempfile::tempdir().unwrap();
    let error = message(hub(&server, other.path()).get("some-one/tiny", Fetch::Model));
    assert!(error.contains(&format!("lacks its shard {first}")), "{error}");
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let (server, cache) = (
        server("neox", &["model.safetensors"]),
        tempfile::tempdir().unwrap(),
    );
    server.state.cut_at.store(40_000, Ordering::Relaxed);
    let dir = hub(&server, cache.path())
        .get("some-one/tiny", Fetch::Model)
        .unwrap();
    assert_eq!(
        fs::read(dir.join("model.safetensors")).unwrap(),
        fs::read(golden("neox").join("model.safetensors")).unwrap()
    );
    assert_eq!(
        ranges(&server, "model.safetensors"),
        ["", "bytes=40000-", "bytes=80000-"]
    );

    // In another process, from a server that only sends whole files: from the beginning.
    let blob = dir.join("model.safetensors").canonicalize().unwrap();
    let part = PathBuf::from(format!("{}.incomplete", blob.display()));
    fs::rename(&blob, &part).unwrap();
    File::options()
        .write(true)
        .open(&part)
        .unwrap()
        .set_len(1000)
        .unwrap();
    fs::remove_file(dir.join("model.safetensors")).unwrap();
    server.state.cut_at.store(0, Ordering::Relaxed);
    server.state.no_ranges.store(true, Ordering::Relaxed);
    hub(&server, cache.path())
        .get("some-one/tiny", Fetch::Model)
        .unwrap();
    assert_eq!(ranges(&server, "model.safetensors")[3..], ["bytes=1000-"]);
    assert!(blob.exists());
}

#[test]
fn wrong_bytes_are_never_taken() {
    for large in [&["config.json"][..], &[]] {
        let (server, cache) = (server("neox", large), tempfile::tempdir().unwrap());
        server.state.wrong.store(true, Ordering::Relaxed);
        let error = message(hub(&server, cache.path()).get("some-one/tiny", Fetch::Config));
        assert!(
            error.contains("config.json") && error.contains("checksum") && error.contains("hint:"),
            "{error}"
        );
        server.state.wrong.store(false, Ordering::Relaxed);
        hub(&server, cache.path())
            .get("some-one/tiny", Fetch::Config)
            .unwrap();
    }
}

/// Whatever the number of redirects, also back to the hub: only the hub gets the token.
#[test]
fn the_token_goes_to_the_hub_only() {
    let large = &["model.safetensors"][..];
    let (home, first, second) = (
        server("neox", large),
        server("neox", large),
        server("neox", large),
    );
    let cache = tempfile::tempdir().unwrap();
    *home.state.moved_to.lock().unwrap() = Some(first.address.clone());
    *first.state.moved_to.lock().unwrap() = Some(second.address.clone());
    let mut hub = hub(&home, cache.path());
    hub.token = Some("secret".to_owned());
    hub.get("some-one/tiny", Fetch::Model).unwrap();
    let tokens = |server: &Server| -> Vec<String> {
        let seen = server.state.seen.lock().unwrap();
        seen.iter()
            .map(|(_, _, authorization)| authorization.clone())
            .collect()
    };
    assert!(tokens(&home).iter().all(|token| token == "Bearer secret"));
    for elsewhere in [&first, &second] {
        let tokens = tokens(elsewhere);
        assert!(
            tokens.len() > 2 && tokens.iter().all(String::is_empty),
            "{tokens:?}"
        );
    }

    // Within the hub's own origin the token is kept, and a circle of redirects ends.
    *home.state.moved_to.lock().unwrap() = Some(home.address.clone());
    let error = message(hub.get("some-one/tiny", Fetch::Model).and_then(|_| {
        let other = tempfile::tempdir().unwrap();
        hub.cache = Cache::new(other.path().to_path_buf());
        hub.get("some-one/tiny", Fetch::Model)
    }));
    assert!(error.contains("302"), "{error}");
    assert!(tokens(&home).iter().all(|token| token == "Bearer secret"));
}

#[test]
fn what_a_hub_claims_is_bounded() {
    let fails = |file: &str, claim: serde_json::Value, words: &[&str]| {
        let (server, cache) = (server("neox", &[]), tempfile::tempdir().unwrap());
        *server.state.claims.lock().unwrap() = Some((file.to_owned(), claim));
        let error = message(hub(&server, cache.path()).get("some-one/tiny", Fetch::Model));
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
        assert!(ranges(&server, file).is_empty(), "nothing is asked for");
    };
    let huge = serde_json::json!(1u64 << 63);
    fails(
        "model.safetensors",
        huge.clone(),
        &["are free", "hint:", "HF_HUB_CACHE"],
    );
    fails("model.safetensors", serde_json::json!(u64::MAX), &["are free"]);
    fails("config.json", huge.clone(), &["config.json", "more than"]);
    fails("tokenizer.json", huge, &["tokenizer.json", "more than"]);
    fails("model.safetensors", serde_json::json!(-1), &["unknown way"]);
    fails("model.safetensors", serde_json::json!(1e30), &["unknown way"]);
    let (server, cache) = (server("neox", &[]), tempfile::tempdir().unwrap());
    server.state.padding.store(17 << 20, Ordering::Relaxed);
    let error = message(hub(&server, cache.path()).get("some-one/tiny", Fetch::Model));
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    let (server, cache) = (server("neox", &[]), tempfile::tempdir().unwrap());
    let mut hub = hub(&server, cache.path());
    let mut fails = |status: usize, token: Option<&str>, words: &[&str]| {
        server.state.status.store(status, Ordering::Relaxed);
        hub.token = token.map(str::to_owned);
        let error = message(hub.get("some-one/tiny", Fetch::Model));
        for word in words {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    };
    fails(
        401,
        None,
        &[
            "`some-one/tiny`",
            "does not exist or",
            "set HF_TOKEN",
            "local directory",
        ],
    );
    fails(
        401,
        Some("t"),
        &["does not let this token read", "/some-one/tiny", "HF_TOKEN"],
    );
    fails(403, Some("t"), &["this token", "accept its terms"]);
    fails(404, None, &["no such model", "spelling"]);
    fails(500, None, &["500"]);
    let asked = server.state.seen.lock().unwrap().len();
    assert_eq!(
        asked,
        4 + TRIES as usize,
        "only 500 may be another answer next time"
    );
    server.state.status.store(0, Ordering::Relaxed);
    let error = message(hub.get("some-one/other", Fetch::Model));
    assert!(error.contains("`some-one/other`"), "{error}");
    server.state.files.lock().unwrap().remove("config.json");
    let error = message(hub.get("some-one/tiny", Fetch::Model));
    assert!(error.contains("no config.json"), "{error}");
}

#[test]
fn without_a_network_the_cache_is_all() {
    let cache = tempfile::tempdir().unwrap();
    // A port below 1024, which no test can take meanwhile.
    let mut hub = Hub {
        endpoint: "http://127.0.0.1:9".to_owned(),
        token: None,
        offline: false,
        cache: Cache::new(cache.path().to_path_buf()),
        pause: Duration::from_millis(1),
    };
    let error = message(hub.get("some-one/tiny", Fetch::Model));
    assert!(
        error.contains("cannot be reached") && error.contains("hint: give a local directory"),
        "{error}"
    );
    hub.offline = true;
    let error = message(hub.get("some-one/tiny", Fetch::Model));
    assert!(
        error.contains("HF_HUB_OFFLINE") && error.contains("models--some-one--tiny"),
        "{error}"
    );
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn ids_and_paths_are_told_apart() {
    for id in ["gpt2", "EleutherAI/gpt-j-6b", "Qwen/Qwen2.5-0.5B", "a/b_c"] {
        assert!(is_id(id), "{id}");
    }
    for path in [
        "", "/a", "a/", "./a", "../a", "a/../b", "a/b/c", "~/a", "a b", "a/.b", "ä/b", "a/-b", "a/b--c",
        "a/b.git",
    ] {
        assert!(!is_id(path), "{path}");
    }
    let error = message(resolve(Path::new("/nowhere/at/all"), Fetch::Model));
    assert!(
        error.contains("no model at /nowhere/at/all") && error.contains("hint:"),
        "{error}"
    );
    assert_eq!(resolve(&golden("neox"), Fetch::Model).unwrap(), golden("neox"));
}
