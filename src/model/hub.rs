//! Models named by their id on the Hugging Face hub, like `EleutherAI/gpt-j-6b`: fetched once into the cache that
//! `transformers` uses, too, and from then on read from there without a question.
//!
//! The crate `hf-hub` knows the cache's layout. Its own downloads check no sums, know neither `HF_TOKEN` nor
//! `HF_HUB_OFFLINE`, and bring HTTP and TLS libraries of their own; so files are fetched here, with the client that
//! ewe has anyway: into `blobs/<sum>.incomplete`, on from where an earlier try was cut, and under their final name only
//! once size and checksum are those that the hub announced.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ewe::progress::Progress;
use hf_hub::{Cache, CacheRepo, Repo};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{tokenizer, weights};

/// Files besides the weights, where a model has them.
const SMALL_FILES: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];

/// Tries of a download that gets no byte further.
const TRIES: u32 = 5;

/// How much of a model is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Everything it takes to compute.
    Model,
    /// config.json alone.
    Config,
}

/// The directory that `--model` means: itself where it exists; otherwise, where it has the form of an id, that model
/// of the hub, fetched if the cache does not have it. Fails with what keeps it from being had.
pub fn resolve(model: &Path, want: Want) -> Result<PathBuf> {
    if model.exists() {
        return Ok(model.to_path_buf());
    }
    let Some(id) = model.to_str().filter(|id| is_id(id)) else {
        bail!(
            "no model at {}\nhint: a local directory with config.json, weights and tokenizer, or an id of the Hugging Face hub like EleutherAI/gpt-j-6b",
            model.display()
        );
    };
    Hub::from_env().get(id, want)
}

/// `name` or `owner/name`, of the characters that the hub allows.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let fits = |part: &&str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    parts.len() <= 2 && parts.iter().all(fits)
}

/// The id of the model whose snapshot in the cache `dir` is.
pub fn id_of(dir: &Path) -> Option<String> {
    let full = dir.canonicalize().ok()?;
    let snapshots = full.parent()?;
    if snapshots.file_name()? != "snapshots" {
        return None;
    }
    let folder = snapshots.parent()?.file_name()?.to_str()?;
    Some(folder.strip_prefix("models--")?.replacen("--", "/", 1))
}

/// Where models come from, and where they go.
struct Hub {
    endpoint: String,
    token: Option<String>,
    offline: bool,
    cache: Cache,
    /// Before the second try; doubles from one to the next.
    pause: Duration,
}

/// What the hub says of a model.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: u64,
    /// The sum that git has for it.
    #[serde(rename = "blobId")]
    blob_id: String,
    /// Of large files.
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Sibling {
    /// Its name among the blobs, which is its checksum.
    fn sum(&self) -> &str {
        self.lfs.as_ref().map_or(&self.blob_id, |lfs| &lfs.sha256)
    }

    fn bytes(&self) -> u64 {
        self.lfs.as_ref().map_or(self.size, |lfs| lfs.size)
    }
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

impl Hub {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN` or the token of `hf auth login`, `HF_HUB_OFFLINE`,
    /// `HF_HUB_CACHE`, `HF_HOME`.
    fn from_env() -> Hub {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match variable("HF_HUB_CACHE") {
            Some(path) => Cache::new(path.into()),
            None => Cache::from_env(),
        };
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()));
        Hub {
            endpoint: variable("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".to_owned())
                .trim_end_matches('/')
                .to_owned(),
            token: variable("HF_TOKEN").or_else(|| cache.token()),
            offline,
            cache,
            pause: Duration::from_secs(1),
        }
    }

    fn repo(&self, id: &str) -> CacheRepo {
        self.cache.repo(Repo::model(id.to_owned()))
    }

    fn get(&self, id: &str, want: Want) -> Result<PathBuf> {
        if let Some(dir) = self.cached(id, want) {
            return Ok(dir);
        }
        let folder = self.cache.path().join(Repo::model(id.to_owned()).folder_name());
        if self.offline {
            bail!(
                "`{id}` is neither a local directory nor whole in the cache at {}, and HF_HUB_OFFLINE is set\nhint: unset it, or give a local directory",
                folder.display()
            );
        }
        // Its own thread, since the caller may be inside another runtime.
        std::thread::scope(|scope| {
            let fetch = || -> Result<PathBuf> {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(self.fetch(id, want, &folder))
            };
            scope
                .spawn(fetch)
                .join()
                .map_err(|_| anyhow!("the download of `{id}` broke down"))?
        })
    }

    /// The snapshot in the cache, if all that is wanted is there. Files are linked into it when they are whole.
    fn cached(&self, id: &str, want: Want) -> Option<PathBuf> {
        let dir = self.repo(id).get("config.json")?.parent()?.to_path_buf();
        let whole = want == Want::Config || (weights::files(&dir).is_ok() && tokenizer::is_in(&dir));
        whole.then_some(dir)
    }

    async fn fetch(&self, id: &str, want: Want, folder: &Path) -> Result<PathBuf> {
        // A second call finds the provider set; that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("no HTTP client")?;
        let listing = self.listing(&http, id).await?;
        if !is_hex(&listing.sha, &[40]) {
            bail!("{} describes `{id}` in an unknown way", self.endpoint);
        }
        let snapshot = self.repo(id).pointer_path(&listing.sha);
        let place = Place {
            hub: self,
            http: &http,
            id,
            commit: &listing.sha,
            blobs: folder.join("blobs"),
            snapshot: snapshot.clone(),
        };
        let find = |name: &str| listing.siblings.iter().find(|file| file.rfilename == name);
        let config = find("config.json").with_context(|| {
            format!("`{id}` at {} has no config.json\nhint: it is no model that transformers loads, say one in GGUF", self.endpoint)
        })?;
        place.have(config).await?;
        if want == Want::Model {
            for file in SMALL_FILES.iter().filter_map(|name| find(name)) {
                place.have(file).await?;
            }
            let (single, index) = *weights::FORMATS
                .iter()
                .find(|(single, index)| find(single).or(find(index)).is_some())
                .with_context(|| {
                    format!("`{id}` at {} has neither model.safetensors nor pytorch_model.bin, alone or in shards", self.endpoint)
                })?;
            match (find(single), find(index)) {
                (Some(file), _) => place.have(file).await?,
                (None, Some(file)) => {
                    place.have(file).await?;
                    for shard in weights::shard_names(&snapshot.join(index))? {
                        let file = find(&shard).with_context(|| {
                            format!("`{id}` at {} lacks its shard {shard}", self.endpoint)
                        })?;
                        place.have(file).await?;
                    }
                }
                (None, None) => unreachable!("one of them was found"),
            }
        }
        self.repo(id)
            .create_ref(&listing.sha)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        Ok(snapshot)
    }

    async fn listing(&self, http: &reqwest::Client, id: &str) -> Result<Listing> {
        let url = format!("{}/api/models/{id}/revision/main?blobs=true", self.endpoint);
        let mut tries = 0;
        loop {
            let failure = match self.ask(http, &url).send().await {
                Ok(answer) if answer.status().is_success() => {
                    let text = answer
                        .bytes()
                        .await
                        .map_err(|error| self.unreachable(id, &error))?;
                    return serde_json::from_slice(&text)
                        .with_context(|| format!("{} describes `{id}` in an unknown way", self.endpoint));
                }
                Ok(answer) => {
                    let passes = passes(answer.status());
                    (self.refused(id, "config.json", answer.status()), passes)
                }
                Err(error) => {
                    let passes = error.is_timeout();
                    (self.unreachable(id, &error), passes)
                }
            };
            tries += 1;
            if !failure.1 || tries == TRIES {
                return Err(failure.0);
            }
            tokio::time::sleep(self.pause * 2u32.pow(tries - 1)).await;
        }
    }

    fn ask(&self, http: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
        // On a redirect to another host, where large files lie, reqwest leaves the token away.
        match &self.token {
            Some(token) => http.get(url).bearer_auth(token),
            None => http.get(url),
        }
    }

    fn unreachable(&self, id: &str, error: &reqwest::Error) -> anyhow::Error {
        let mut reason: &dyn std::error::Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        anyhow!(
            "`{id}` is no local directory, and {} cannot be reached: {reason}\nhint: give a local directory, or check the network, HF_ENDPOINT and HTTPS_PROXY",
            self.endpoint
        )
    }

    fn refused(&self, id: &str, file: &str, status: StatusCode) -> anyhow::Error {
        let page = format!("{}/{id}", self.endpoint);
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => anyhow!(
                "`{id}` is no local directory, and {} says it does not exist or may not be read without a token\nhint: give a local directory; or accept its terms at {page} and set HF_TOKEN",
                self.endpoint
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => anyhow!(
                "{} does not let {} read {file} of `{id}` ({status})\nhint: accept its terms at {page}, and set HF_TOKEN to a token that may read it",
                self.endpoint,
                if self.token.is_some() {
                    "this token"
                } else {
                    "anyone without a token"
                }
            ),
            StatusCode::NOT_FOUND => anyhow!(
                "`{id}` is no local directory, and {} has no such model or no {file} in it\nhint: check the spelling; a private model needs HF_TOKEN",
                self.endpoint
            ),
            other => anyhow!(
                "{} answered {other} when asked for {file} of `{id}`",
                self.endpoint
            ),
        }
    }
}

/// Whether an answer may be another one in a moment.
fn passes(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// A snapshot that is being completed.
struct Place<'a> {
    hub: &'a Hub,
    http: &'a reqwest::Client,
    id: &'a str,
    commit: &'a str,
    blobs: PathBuf,
    snapshot: PathBuf,
}

/// Why a download ended early.
enum Cut {
    /// Trying again may help.
    Passing(anyhow::Error),
    Final(anyhow::Error),
}

impl Place<'_> {
    /// Makes sure that `file` is in the snapshot.
    async fn have(&self, file: &Sibling) -> Result<()> {
        let (name, sum) = (&file.rfilename, file.sum());
        if !is_hex(sum, &[40, 64]) {
            bail!("{} gives no checksum of {name}", self.hub.endpoint);
        }
        let link = self.snapshot.join(name);
        if link.exists() {
            return Ok(());
        }
        let failed = || format!("cannot write into {}", self.blobs.display());
        fs::create_dir_all(&self.blobs).with_context(failed)?;
        fs::create_dir_all(&self.snapshot).with_context(failed)?;
        let blob = self.blobs.join(sum);
        // Another process that wants the same file waits for it here.
        let lock = File::create(self.blobs.join(format!("{sum}.lock"))).with_context(failed)?;
        lock.lock().with_context(failed)?;
        if !blob.exists() {
            self.download(file, &blob).await?;
        }
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(Path::new("../../blobs").join(sum), &link).with_context(failed)?;
        let _ = fs::remove_file(self.blobs.join(format!("{sum}.lock")));
        Ok(())
    }

    async fn download(&self, file: &Sibling, blob: &Path) -> Result<()> {
        let (name, total) = (&file.rfilename, file.bytes());
        let path = blob.with_file_name(format!("{}.incomplete", file.sum()));
        let failed = || format!("cannot write {}", path.display());
        let mut part = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .with_context(failed)?;
        // Like every other progress, it is shown unless only errors are wanted.
        let quiet = !tracing::enabled!(tracing::Level::WARN);
        let mut progress = Progress::bytes(&format!("download {name} of {}", self.id), total, quiet);
        let resumed = part.metadata().with_context(failed)?.len() > 0;
        let mut tries = 0;
        loop {
            let before = part.metadata().with_context(failed)?.len();
            if before > total {
                part.set_len(0).with_context(failed)?;
                continue;
            }
            if before == total {
                break;
            }
            match self.advance(file, &mut part, before, &mut progress).await {
                Ok(()) => {}
                Err(Cut::Final(error)) => return Err(error),
                Err(Cut::Passing(error)) => {
                    if part.metadata().with_context(failed)?.len() > before {
                        tries = 0;
                    }
                    tries += 1;
                    if tries == TRIES {
                        return Err(error);
                    }
                    tracing::info!("{name} of `{}`: {error:#}; going on", self.id);
                    tokio::time::sleep(self.hub.pause * 2u32.pow(tries - 1)).await;
                }
            }
        }
        progress.finish();
        if !is_as_announced(&mut part, file).with_context(failed)? {
            // Nothing of it can be used again.
            fs::remove_file(&path).with_context(failed)?;
            bail!(
                "{name} of `{}` arrived with other bytes than {} announces (checksum {}){}\nhint: run it again; if it stays so, something between changes what it passes on",
                self.id,
                self.hub.endpoint,
                file.sum(),
                if resumed {
                    ", perhaps since an earlier download"
                } else {
                    ""
                }
            );
        }
        part.sync_all().with_context(failed)?;
        fs::rename(&path, blob).with_context(failed)
    }

    /// One request from `from` on, appended to `part`.
    async fn advance(
        &self,
        file: &Sibling,
        part: &mut File,
        from: u64,
        progress: &mut Progress,
    ) -> Result<(), Cut> {
        let (name, total) = (&file.rfilename, file.bytes());
        let url = format!("{}/{}/resolve/{}/{name}", self.hub.endpoint, self.id, self.commit);
        let mut request = self.hub.ask(self.http, &url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let lost = |error: &reqwest::Error| Cut::Passing(self.hub.unreachable(self.id, error));
        let disk = |error: std::io::Error| {
            Cut::Final(anyhow!(error).context(format!("cannot write into {}", self.blobs.display())))
        };
        let mut answer = request.send().await.map_err(|error| lost(&error))?;
        let status = answer.status();
        if !status.is_success() {
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                part.set_len(0).map_err(disk)?;
                return Err(Cut::Passing(anyhow!("it cannot be continued")));
            }
            let error = self.hub.refused(self.id, name, status);
            return Err(if passes(status) {
                Cut::Passing(error)
            } else {
                Cut::Final(error)
            });
        }
        let mut at = from;
        let continues = answer
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
        if from > 0 && !(status == StatusCode::PARTIAL_CONTENT && continues) {
            // The whole file from its beginning.
            part.set_len(0).map_err(disk)?;
            at = 0;
        }
        while let Some(bytes) = answer.chunk().await.map_err(|error| lost(&error))? {
            at += bytes.len() as u64;
            if at > total {
                // Not what was announced; the checksum will say so.
                part.write_all(&bytes[..bytes.len() - (at - total) as usize])
                    .map_err(disk)?;
                return Ok(());
            }
            part.write_all(&bytes).map_err(disk)?;
            progress.set(at, "");
        }
        match at {
            at if at < total => Err(Cut::Passing(anyhow!(
                "the connection ended at byte {at} of {total}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether the bytes have the checksum: SHA-256 of large files, for others what git calls them by.
fn is_as_announced(part: &mut File, file: &Sibling) -> std::io::Result<bool> {
    part.seek(SeekFrom::Start(0))?;
    let sum = match &file.lfs {
        Some(_) => hex(&digest(Sha256::new(), part)?),
        None => {
            let header = format!("blob {}\0", file.size);
            hex(&digest(Sha1::new_with_prefix(header), part)?)
        }
    };
    Ok(sum == file.sum())
}

fn digest<D: Digest>(mut digest: D, file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().to_vec()),
            read => digest.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::tests::golden;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A hub with one model, that can misbehave.
    #[derive(Default)]
    struct State {
        files: Mutex<HashMap<String, Vec<u8>>>,
        /// Answers of this status in place of any file.
        status: AtomicUsize,
        /// Files end after so many bytes; 0 for whole.
        cut_at: AtomicUsize,
        /// Answers the whole file, whatever range was asked for.
        no_ranges: AtomicBool,
        /// The last byte of files is another one.
        wrong: AtomicBool,
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
                    serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": git, "lfs": lfs})
                })
                .collect();
            let text = serde_json::json!({"sha": COMMIT, "siblings": siblings, "gated": false}).to_string();
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
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
        let config = hub.get("some-one/tiny", Want::Config).unwrap();
        assert_eq!(
            server.state.seen.lock().unwrap().len(),
            2,
            "a listing and config.json"
        );
        let dir = hub.get("some-one/tiny", Want::Model).unwrap();
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
        let name = crate::model::fingerprint::fingerprint(&dir, None, tch::Kind::Float).unwrap();
        assert!(name.starts_with("tiny@"), "{name}");

        // From now on nothing is asked, with a network or without.
        let asked = server.state.seen.lock().unwrap().len();
        hub.offline = true;
        assert_eq!(hub.get("some-one/tiny", Want::Model).unwrap(), dir);
        hub.offline = false;
        assert_eq!(hub.get("some-one/tiny", Want::Model).unwrap(), dir);
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
            .get("some-one/tiny", Want::Model)
            .unwrap();
        crate::model::load(&dir, tch::Device::Cpu, "fp32").unwrap();
        assert!(!dir.join("zip.bin").exists());
        let first = "pytorch_model-00001-of-00002.bin";
        server.state.files.lock().unwrap().remove(first);
        let other = tempfile::tempdir().unwrap();
        let error = message(hub(&server, other.path()).get("some-one/tiny", Want::Model));
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
            .get("some-one/tiny", Want::Model)
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
            .get("some-one/tiny", Want::Model)
            .unwrap();
        assert_eq!(ranges(&server, "model.safetensors")[3..], ["bytes=1000-"]);
        assert!(blob.exists());
    }

    #[test]
    fn wrong_bytes_are_never_taken() {
        for large in [&["config.json"][..], &[]] {
            let (server, cache) = (server("neox", large), tempfile::tempdir().unwrap());
            server.state.wrong.store(true, Ordering::Relaxed);
            let error = message(hub(&server, cache.path()).get("some-one/tiny", Want::Config));
            assert!(
                error.contains("config.json") && error.contains("checksum") && error.contains("hint:"),
                "{error}"
            );
            server.state.wrong.store(false, Ordering::Relaxed);
            hub(&server, cache.path())
                .get("some-one/tiny", Want::Config)
                .unwrap();
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let (server, cache) = (server("neox", &[]), tempfile::tempdir().unwrap());
        let mut hub = hub(&server, cache.path());
        let mut fails = |status: usize, token: Option<&str>, words: &[&str]| {
            server.state.status.store(status, Ordering::Relaxed);
            hub.token = token.map(str::to_owned);
            let error = message(hub.get("some-one/tiny", Want::Model));
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
        let error = message(hub.get("some-one/other", Want::Model));
        assert!(error.contains("`some-one/other`"), "{error}");
        server.state.files.lock().unwrap().remove("config.json");
        let error = message(hub.get("some-one/tiny", Want::Model));
        assert!(error.contains("no config.json"), "{error}");
    }

    #[test]
    fn without_a_network_the_cache_is_all() {
        let cache = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut hub = Hub {
            endpoint: format!("http://{port}"),
            token: None,
            offline: false,
            cache: Cache::new(cache.path().to_path_buf()),
            pause: Duration::from_millis(1),
        };
        let error = message(hub.get("some-one/tiny", Want::Model));
        assert!(
            error.contains("cannot be reached") && error.contains("hint: give a local directory"),
            "{error}"
        );
        hub.offline = true;
        let error = message(hub.get("some-one/tiny", Want::Model));
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
            "", "/a", "a/", "./a", "../a", "a/../b", "a/b/c", "~/a", "a b", "a/.b", "ä/b", "a/-b",
        ] {
            assert!(!is_id(path), "{path}");
        }
        let error = message(resolve(Path::new("/nowhere/at/all"), Want::Model));
        assert!(
            error.contains("no model at /nowhere/at/all") && error.contains("hint:"),
            "{error}"
        );
        assert_eq!(resolve(&golden("neox"), Want::Model).unwrap(), golden("neox"));
    }
}
