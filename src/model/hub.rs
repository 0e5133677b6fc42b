//! Models named by their id on the Hugging Face hub, like `EleutherAI/gpt-j-6b`: fetched once into the cache that
//! `transformers` uses, too, and from then on read from there without a question.
//!
//! The crate `hf-hub` knows the cache's layout. Its own downloads check no sums, know neither `HF_TOKEN` nor
//! `HF_HUB_OFFLINE`, and bring HTTP and TLS libraries of their own; so files are fetched here, with the client that
//! ewe has anyway: [`listing`] asks what there is, [`download`] brings it.

mod download;
mod listing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::{Cache, CacheRepo, Repo};

use super::{tokenizer, weights};
use download::Place;

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
            // Followed by hand, so that the token stays where it belongs.
            .redirect(reqwest::redirect::Policy::none())
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
        let beside: Vec<_> = listing
            .siblings
            .iter()
            .filter(|file| SMALL_FILES.contains(&file.rfilename.as_str()))
            .collect();
        let find = |name: &str| listing.siblings.iter().find(|file| file.rfilename == name);
        let config = find("config.json").with_context(|| {
            format!("`{id}` at {} has no config.json\nhint: it is no model that transformers loads, say one in GGUF", self.endpoint)
        })?;
        place.have(config).await?;
        if want == Want::Model {
            for file in &beside {
                place.have(file).await?;
            }
            let (single, index) = *weights::FORMATS
                .iter()
                .find(|(single, index)| find(single).or(find(index)).is_some())
                .with_context(|| {
                    format!("`{id}` at {} has neither model.safetensors nor pytorch_model.bin, alone or in shards", self.endpoint)
                })?;
            match (find(single), find(index)) {
                (Some(file), _) => {
                    place.room_for(&[file])?;
                    place.have(file).await?;
                }
                (None, Some(file)) => {
                    place.have(file).await?;
                    let mut shards = Vec::new();
                    for shard in weights::shard_names(&snapshot.join(index))? {
                        shards.push(find(&shard).with_context(|| {
                            format!("`{id}` at {} lacks its shard {shard}", self.endpoint)
                        })?);
                    }
                    place.room_for(&shards)?;
                    for file in shards {
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
}
