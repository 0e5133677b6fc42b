//! A name for weights: the directory's, with a digest, so that equal names mean equal models.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tch::Kind;

use super::device::dtype_name;
use super::{hub, weights};

/// How much of a large file is read: its beginning, then as much at each of [`SAMPLES`] even distances. Two
/// fine-tunes of one model differ everywhere, so samples tell them apart at a hundredth of the time.
const PIECE: usize = 16 << 10;
const SAMPLES: u64 = 64;

/// `gemma-3-270m@0123456789ab-bf16`: the name of the model in `dir` with `adapter`, computing in `kind`.
pub fn fingerprint(dir: &Path, adapter: Option<&Path>, kind: Kind) -> Result<String> {
    let mut digest = Sha256::new();
    for dir in [Some(dir), adapter].into_iter().flatten() {
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
    let hex: String = digest
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("{}@{hex}-{}", called(dir), dtype_name(kind)))
}

/// What people call the model or adapter in `dir`: its name on the hub without the owner's, or the directory's.
pub fn called(dir: &Path) -> String {
    if let Some(id) = hub::id_of(dir) {
        return id.rsplit('/').next().unwrap_or(&id).to_string();
    }
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let name = full.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether a file says what a model is: settings, tokenizer, weights. Where weights are there twice, those that are read.
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
    let mut piece = Vec::with_capacity(PIECE);
    for i in 0..SAMPLES {
        let at = length / SAMPLES * i;
        file.seek(SeekFrom::Start(at))?;
        piece.clear();
        Read::by_ref(&mut file)
            .take(PIECE as u64)
            .read_to_end(&mut piece)?;
        digest.update(&piece);
    }
    Ok(())
}
