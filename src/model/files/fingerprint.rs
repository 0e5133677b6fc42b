//! Names of models for stored responses: the directory's name with a digest, so that equal names
//! mean equal models.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ewe::text::hex;
use sha2::{Digest, Sha256};
use tch::Kind;

use super::{hub, weights};
use crate::gguf;
use crate::model::device::dtype_name;

/// Bytes that are read at each of [`SAMPLES`] even distances of a file. Two fine-tunes of a model
/// differ everywhere, so samples distinguish them in a hundredth of the time.
const SAMPLE_BYTES: usize = 16 << 10;
const SAMPLES: u64 = 64;

/// Returns the name of the model in `dir` with `adapter`, computing in `kind`, such as
/// `gemma-3-270m@0123456789ab-bf16`.
pub fn fingerprint(dir: &Path, adapter: Option<&Path>, kind: Kind) -> Result<String> {
    let mut digest = Sha256::new();
    for dir in [Some(dir), adapter].into_iter().flatten() {
        if gguf::is(dir) {
            sample(&mut digest, dir).with_context(|| format!("cannot read {}", dir.display()))?;
            continue;
        }
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
            .with_context(|| format!("cannot read {}", dir.display()))?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .filter(|path| counts(path))
            .collect();
        files.sort();
        for path in files {
            sample(&mut digest, &path).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    let digits = hex(&digest.finalize()[..6]);
    Ok(format!("{}@{digits}-{}", called(dir), dtype_name(kind)))
}

/// Returns the short name of the model or adapter in `dir`: its name on the hub without the owner,
/// or the directory's name, or that of a GGUF file without `.gguf`.
pub fn called(dir: &Path) -> String {
    if let Some(id) = hub::id_of(dir) {
        return id.rsplit('/').next().unwrap_or(&id).to_string();
    }
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = match gguf::is(&full) {
        true => full.file_stem(),
        false => full.file_name(),
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns whether a file is part of a model: settings, tokenizer, weights. Of weights in two
/// formats, only those that are read.
fn counts(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors" | "json") => true,
        Some("bin") => {
            let read = path.parent().map(weights::files).and_then(Result::ok);
            read.is_some_and(|files| files.iter().any(|file| file == path))
        }
        _ => name == "merges.txt",
    }
}

fn sample(digest: &mut Sha256, path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    digest.update(length.to_le_bytes());
    let mut sample = Vec::with_capacity(SAMPLE_BYTES);
    for i in 0..SAMPLES {
        let at = length / SAMPLES * i;
        file.seek(SeekFrom::Start(at))?;
        sample.clear();
        Read::by_ref(&mut file)
            .take(SAMPLE_BYTES as u64)
            .read_to_end(&mut sample)?;
        digest.update(&sample);
    }
    Ok(())
}
