//! Models named by their id on the Hugging Face hub, such as `EleutherAI/gpt-j-6b`: fetched once
//! into the cache that `transformers` uses, and from then on read from it without a request.
//!
//! The crate `hf-hub` knows the layout of the cache. Its own downloads verify no checksums, ignore
//! `HF_TOKEN` and `HF_HUB_OFFLINE`, and bring other HTTP and TLS libraries. So files are fetched
//! here with ewe's HTTP client: [`listing`] asks for a model's files, [`download`] fetches them.

mod download;
mod listing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ewe::push::account::Account;
pub use ewe::push::repo::cached_id as id_of;
use ewe::push::repo::is_id;
use hf_hub::{Cache, CacheRepo, Repo};

use super::weights;
use crate::model::text::tokenizer;
use download::SnapshotDownload;

/// Files besides the weights, which a model may have.
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

/// Attempts of a download without any progress.
const TRIES: u32 = 5;

/// Which files of a model to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// Everything that inference and training need.
    Model,
    /// config.json alone.
    Config,
}

/// Returns the directory or GGUF file that `--model` means: the path itself where it exists;
/// otherwise, if it has the form of an id, that model's snapshot in the cache, fetched if it is not
/// there. Fails with the reason why the model cannot be had.
pub fn resolve(model: &Path, want: Fetch) -> Result<PathBuf> {
    if model.exists() {
        return Ok(model.to_path_buf());
    }
    let Some(id) = model.to_str().filter(|id| is_id(id)) else {
        bail!(
            "no model at {}\nhint: a local directory with config.json, weights and tokenizer, a GGUF file, or an id of the Hugging Face hub like EleutherAI/gpt-j-6b",
            model.display()
        );
    };
    Hub::from_env().get(id, want)
}

/// The hub, and the cache.
struct Hub {
    endpoint: String,
    token: Option<String>,
    offline: bool,
    cache: Cache,
    /// Pause before the second attempt; doubles with each one.
    pause: Duration,
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

impl Hub {
    /// Reads the environment: what [`Account`] does, `HF_HUB_CACHE`, `HF_HOME`.
    fn from_env() -> Hub {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match variable("HF_HUB_CACHE") {
            Some(path) => Cache::new(path.into()),
            None => Cache::from_env(),
        };
        let account = Account::from_env();
        Hub {
            endpoint: account.endpoint,
            token: account.token.map(|token| token.secret().to_owned()),
            offline: account.is_offline,
            cache,
            pause: Duration::from_secs(1),
        }
    }

    fn repo(&self, id: &str) -> CacheRepo {
        self.cache.repo(Repo::model(id.to_owned()))
    }

    fn get(&self, id: &str, want: Fetch) -> Result<PathBuf> {
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
        // In a thread of its own, since the caller may be within another runtime.
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

    /// Returns the snapshot in the cache, if it has all files in `want`. Files are linked into it
    /// only when they are complete.
    fn cached(&self, id: &str, want: Fetch) -> Option<PathBuf> {
        let dir = self.repo(id).get("config.json")?.parent()?.to_path_buf();
        let whole = want == Fetch::Config || (weights::files(&dir).is_ok() && tokenizer::is_in(&dir));
        whole.then_some(dir)
    }

    async fn fetch(&self, id: &str, want: Fetch, folder: &Path) -> Result<PathBuf> {
        // On a second call the provider is already set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            // Followed by hand, so that the token is sent to the hub only.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("ewe/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("no HTTP client")?;
        let listing = self.listing(&http, id).await?;
        if !is_hex(&listing.sha, &[40]) {
            bail!("{} describes `{id}` in an unknown way", self.endpoint);
        }
        let snapshot = self.repo(id).pointer_path(&listing.sha);
        let download = SnapshotDownload {
            hub: self,
            http: &http,
            id,
            commit: &listing.sha,
            blobs: folder.join("blobs"),
            snapshot: snapshot.clone(),
        };
        let beside: Vec<_> = listing
            .siblings
            .iter()
            .filter(|file| SMALL_FILES.contains(&file.rfilename.as_str()))
            .collect();
        let find = |name: &str| listing.siblings.iter().find(|file| file.rfilename == name);
        let config = find("config.json").with_context(|| {
            format!("`{id}` at {} has no config.json\nhint: it is no model that transformers loads, say one in GGUF", self.endpoint)
        })?;
        download.ensure(config).await?;
        if want == Fetch::Model {
            for file in &beside {
                download.ensure(file).await?;
            }
            let (single, index) = *weights::FORMATS
                .iter()
                .find(|(single, index)| find(single).or(find(index)).is_some())
                .with_context(|| {
                    format!("`{id}` at {} has neither model.safetensors nor pytorch_model.bin, alone or in shards", self.endpoint)
                })?;
            match (find(single), find(index)) {
                (Some(file), _) => {
                    download.check_space(&[file])?;
                    download.ensure(file).await?;
                }
                (None, Some(file)) => {
                    download.ensure(file).await?;
                    let mut shards = Vec::new();
                    for shard in weights::shard_names(&snapshot.join(index))? {
                        shards.push(find(&shard).with_context(|| {
                            format!("`{id}` at {} lacks its shard {shard}", self.endpoint)
                        })?);
                    }
                    download.check_space(&shards)?;
                    for file in shards {
                        download.ensure(file).await?;
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
}
