//! Files that are either whole or not there: written under another name, flushed to the disk, renamed.

use anyhow::{Context, Result, anyhow};
use ewe::atomic_file::{self, AtomicFile};
use ewe::cli::args::size::shown;
use ewe::python_json;
use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Writes `bytes` to `path`, which appears whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::begin(path)?;
    file.write_all(bytes)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    file.commit()
}

/// Writes indented JSON, a newline at its end.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// The same of fields that were read of a file that Python wrote.
pub fn write_python_json(path: &Path, fields: Map<String, Value>) -> Result<()> {
    let text = python_json::pretty(&Value::Object(fields));
    write(path, (text + "\n").as_bytes())
}

/// Writes tensors in the safetensors format, one at a time through memory. The metadata says `pt`, which
/// `transformers` asks for.
pub fn write_safetensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), TensorView::new(tensor)));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    atomic_file::write_by(path, |place| {
        safetensors::tensor::serialize_to_file(views, Some(metadata), place).map_err(anyhow::Error::from)
    })
}

/// Bytes of tensors.
pub fn bytes(tensors: &[(String, Tensor)]) -> u64 {
    let of = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    tensors.iter().map(|(_, tensor)| of(tensor) as u64).sum()
}

/// Fails where the disk of `dir` has no room for `need` bytes.
pub fn make_sure_of_room(dir: &Path, need: u64) -> Result<()> {
    let free = ewe::atomic_file::free(dir)?;
    if need > free {
        anyhow::bail!(
            "{} are needed and {} are free at {}\nhint: make room, then run it again; after a checkpoint `ewe train --resume` goes on",
            shown(need),
            shown(free),
            dir.display()
        );
    }
    Ok(())
}

/// Reads every tensor of a safetensors file, on the CPU.
pub fn read_safetensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    let tensors =
        Tensor::read_safetensors(path).map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
    Ok(tensors.into_iter().collect())
}

/// Copies a file; the copy appears whole or not at all.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = AtomicFile::begin(to)?;
    File::open(from)
        .and_then(|mut from| io::copy(&mut from, &mut copy))
        .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))?;
    copy.commit()
}

/// Makes a rename or a new entry in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("cannot flush {}", dir.display()))
}

/// Renames, then flushes the folder it happened in.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// A tensor as the safetensors crate wants it, copied to main memory when its turn comes.
struct TensorView<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
    bytes: usize,
}

impl<'a> TensorView<'a> {
    fn new(tensor: &'a Tensor) -> Self {
        let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
        TensorView {
            tensor,
            shape,
            bytes: tensor.numel() * tensor.kind().elt_size_in_bytes(),
        }
    }
}

impl View for TensorView<'_> {
    fn dtype(&self) -> Dtype {
        match self.tensor.kind() {
            Kind::BFloat16 => Dtype::BF16,
            Kind::Half => Dtype::F16,
            Kind::Float => Dtype::F32,
            Kind::Int64 => Dtype::I64,
            Kind::Int16 => Dtype::I16,
            Kind::Int8 => Dtype::I8,
            Kind::Uint8 => Dtype::U8,
            other => unreachable!("no tensor of type {other:?} is ever saved"),
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.bytes];
        let tensor = self.tensor.detach().to_device(Device::Cpu).contiguous();
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_round_trip_and_leave_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let matrix = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        let tensors = [
            ("transposed".to_owned(), matrix.tr()),
            ("half".to_owned(), matrix.to_kind(Kind::BFloat16)),
            ("scalar".to_owned(), Tensor::from(7i64)),
        ];
        write_safetensors(&path, &tensors).unwrap();
        let read = read_safetensors(&path).unwrap();
        for (name, tensor) in &tensors {
            assert_eq!(&read[name], tensor, "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // It may be read by whoever may read any other file.
        let other = dir.path().join("x.json");
        write_json(&other, &1).unwrap();
        let permissions = |path: &Path| fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&path), permissions(&other));
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("x.json");
        let error = format!("{:#}", write_json(&path, &1).unwrap_err());
        assert!(
            error.contains("cannot write") && error.contains("x.json"),
            "{error}"
        );
    }
}
