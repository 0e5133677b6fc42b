//! Downloads of files: into `blobs/<sum>.incomplete`, continued where an earlier attempt ended, and
//! renamed only when size and checksum are those that the hub announced.

use ewe::text::hex;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use ewe::progress::ProgressMeter;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::listing::{Sibling, is_transient};
use super::{Hub, TRIES, is_hex};

/// Most bytes of a file without weights; the largest tokenizers have some thirty million.
const LARGEST_BESIDE: u64 = 1 << 30;

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// A snapshot in the cache that is being completed.
pub(super) struct SnapshotDownload<'a> {
    pub hub: &'a Hub,
    pub http: &'a reqwest::Client,
    pub id: &'a str,
    pub commit: &'a str,
    pub blobs: PathBuf,
    pub snapshot: PathBuf,
}

/// Why a download ended early.
enum DownloadError {
    /// Another attempt may succeed.
    Transient(anyhow::Error),
    /// Another attempt cannot succeed.
    Final(anyhow::Error),
}

impl SnapshotDownload<'_> {
    /// Makes sure that `file` is in the snapshot.
    pub async fn ensure(&self, file: &Sibling) -> Result<()> {
        let (name, sum) = (&file.rfilename, file.sum());
        if !is_hex(sum, &[40, 64]) {
            bail!("{} gives no checksum of {name}", self.hub.endpoint);
        }
        let link = self.snapshot.join(name);
        if link.exists() {
            return Ok(());
        }
        if !is_weights(name) && file.bytes() > LARGEST_BESIDE {
            bail!(
                "{} says that {name} of `{}` has {} bytes, more than such a file needs",
                self.hub.endpoint,
                self.id,
                file.bytes()
            );
        }
        let failed = || format!("cannot write into {}", self.blobs.display());
        fs::create_dir_all(&self.blobs).with_context(failed)?;
        fs::create_dir_all(&self.snapshot).with_context(failed)?;
        let blob = self.blobs.join(sum);
        // Another process that wants the same file waits here.
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

    /// Fails if the missing part of `files` does not fit on the disk.
    pub fn check_space(&self, files: &[&Sibling]) -> Result<()> {
        let missing = |file: &&&Sibling| !self.snapshot.join(&file.rfilename).exists();
        let here = |file: &Sibling| {
            let part = self.blobs.join(format!("{}.incomplete", file.sum()));
            part.metadata().map_or(0, |metadata| metadata.len())
        };
        let need = files
            .iter()
            .filter(missing)
            .map(|file| file.bytes().saturating_sub(here(file)))
            .fold(0, u64::saturating_add);
        fs::create_dir_all(&self.blobs)
            .with_context(|| format!("cannot write into {}", self.blobs.display()))?;
        let free = ewe::atomic_file::free(&self.blobs)?;
        if need > free {
            bail!(
                "`{}` needs {} more at {}, where {} are free\nhint: make room there, or name another place in HF_HUB_CACHE",
                self.id,
                ewe::text::format_size(need),
                self.blobs.display(),
                ewe::text::format_size(free)
            );
        }
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
        // Like every progress bar, it is shown unless only errors are wanted.
        let quiet = !tracing::enabled!(tracing::Level::WARN);
        let mut progress = ProgressMeter::bytes(&format!("download {name} of {}", self.id), total, quiet);
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
                Err(DownloadError::Final(error)) => return Err(error),
                Err(DownloadError::Transient(error)) => {
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
        if !has_announced_checksum(&mut part, file).with_context(failed)? {
            // The bytes are of no use for another attempt.
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

    /// Sends one request for the bytes from `from` on and appends them to `part`.
    async fn advance(
        &self,
        file: &Sibling,
        part: &mut File,
        from: u64,
        progress: &mut ProgressMeter,
    ) -> Result<(), DownloadError> {
        let (name, total) = (&file.rfilename, file.bytes());
        let url = format!("{}/{}/resolve/{}/{name}", self.hub.endpoint, self.id, self.commit);
        let lost = |error: &reqwest::Error| DownloadError::Transient(self.hub.unreachable(self.id, error));
        let disk = |error: std::io::Error| {
            DownloadError::Final(
                anyhow!(error).context(format!("cannot write into {}", self.blobs.display())),
            )
        };
        let mut answer = self
            .hub
            .ask(self.http, &url, from)
            .await
            .map_err(|error| lost(&error))?;
        let status = answer.status();
        if !status.is_success() {
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                part.set_len(0).map_err(disk)?;
                return Err(DownloadError::Transient(anyhow!("it cannot be continued")));
            }
            let error = self.hub.refused(self.id, name, status);
            return Err(if is_transient(status) {
                DownloadError::Transient(error)
            } else {
                DownloadError::Final(error)
            });
        }
        let mut at = from;
        let continues = answer
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|range| range.to_str().ok())
            .is_some_and(|range| range.starts_with(&format!("bytes {from}-")));
        if from > 0 && !(status == StatusCode::PARTIAL_CONTENT && continues) {
            // The server sends the whole file.
            part.set_len(0).map_err(disk)?;
            at = 0;
        }
        while let Some(bytes) = answer.chunk().await.map_err(|error| lost(&error))? {
            at += bytes.len() as u64;
            if at > total {
                // More than was announced; the checksum will tell.
                part.write_all(&bytes[..bytes.len() - (at - total) as usize])
                    .map_err(disk)?;
                return Ok(());
            }
            part.write_all(&bytes).map_err(disk)?;
            progress.set(at, "");
        }
        match at {
            at if at < total => Err(DownloadError::Transient(anyhow!(
                "the connection ended at byte {at} of {total}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Returns whether the bytes have the announced checksum: SHA-256 for large files, git's blob id
/// for others.
fn has_announced_checksum(part: &mut File, file: &Sibling) -> std::io::Result<bool> {
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
