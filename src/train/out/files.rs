//! Output files, which appear whole or not at all: written under another name, flushed to the disk,
//! renamed.

use anyhow::{Context, Result, anyhow};
use ewe::atomic_file::{self, AtomicFile};
use ewe::python_json;
use ewe::text::format_size;
use safetensors::tensor::{Dtype, Metadata, View};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Writes `bytes` to `path`.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::begin(path)?;
    file.write_all(bytes)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    file.commit()
}

/// Writes indented JSON, with a newline at the end.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Writes the fields of a JSON file as Python formats them.
pub fn write_python_json(path: &Path, fields: Map<String, Value>) -> Result<()> {
    let text = python_json::pretty(&Value::Object(fields));
    write(path, (text + "\n").as_bytes())
}

/// Writes tensors in the safetensors format, copying one at a time to host memory. The metadata
/// says `pt`, which `transformers` requires.
pub fn write_safetensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), TensorView::new(tensor)));
    write_views(path, views)
}

/// As [`write_safetensors`], for anything that has a type, a shape and bytes.
pub fn write_views<'a>(path: &Path, views: impl IntoIterator<Item = (&'a str, impl View)>) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    atomic_file::write_by(path, |place| {
        safetensors::tensor::serialize_to_file(views, Some(metadata), place).map_err(anyhow::Error::from)
    })
}

/// Returns the bytes of all tensors.
pub fn bytes(tensors: &[(String, Tensor)]) -> u64 {
    let of = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    tensors.iter().map(|(_, tensor)| of(tensor) as u64).sum()
}

/// Fails if the disk of `dir` has less than `need` bytes free.
pub fn make_sure_of_room(dir: &Path, need: u64) -> Result<()> {
    let free = ewe::atomic_file::free(dir)?;
    if need > free {
        anyhow::bail!(
            "{} are needed and {} are free at {}\nhint: make room, then run it again; after a checkpoint `ewe train --resume` goes on",
            format_size(need),
            format_size(free),
            dir.display()
        );
    }
    Ok(())
}

/// Reads all tensors of a safetensors file, on the CPU.
pub fn read_safetensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    let tensors =
        Tensor::read_safetensors(path).map_err(|error| anyhow!("cannot read {}: {error}", path.display()))?;
    Ok(tensors.into_iter().collect())
}

/// Bytes that are read from a file at once.
const CHUNK: usize = 16 << 20;
/// Longest header of a safetensors file, that of the format's crate.
const LONGEST_HEADER: u64 = 100_000_000;

/// A safetensors file whose tensors are read one at a time, so that a state of tens of gigabytes
/// needs no second copy in host memory.
#[derive(Debug)]
struct TensorFile {
    file: File,
    /// Type, shape and first and last byte of each tensor that was not taken yet.
    places: HashMap<String, (Kind, Vec<i64>, [u64; 2])>,
    /// Why a tensor could not be read.
    failure: Option<io::Error>,
}

impl TensorFile {
    fn open(path: &Path) -> Result<TensorFile> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > LONGEST_HEADER {
            anyhow::bail!("it is not a safetensors file");
        }
        let mut header = Vec::new();
        (&mut file).take(header_bytes).read_to_end(&mut header)?;
        // The crate's own reader of headers takes the whole file.
        let metadata: Metadata = serde_json::from_slice(&header)?;
        let mut places = HashMap::new();
        for (name, info) in metadata.tensors() {
            let kind = TYPES.iter().find(|(_, dtype)| *dtype == info.dtype);
            let (kind, _) = kind.with_context(|| format!("{name} has type {:?}", info.dtype))?;
            let shape = info.shape.iter().map(|&size| size as i64).collect();
            let (start, end) = info.data_offsets;
            let range = [start, end].map(|at| 8 + header_bytes + at as u64);
            places.insert(name, (*kind, shape, range));
        }
        Ok(TensorFile {
            file,
            places,
            failure: None,
        })
    }

    /// Reads a tensor to the CPU; each can be taken once. None if it is not there or cannot be
    /// read.
    fn take(&mut self, name: &str) -> Option<Tensor> {
        let (kind, shape, range) = self.places.remove(name)?;
        match self.read(kind, &shape, range) {
            Ok(tensor) => Some(tensor),
            Err(error) => {
                self.failure = Some(error);
                None
            }
        }
    }

    fn read(&self, kind: Kind, shape: &[i64], [start, end]: [u64; 2]) -> io::Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let tensor = Tensor::empty(shape, (kind, Device::Cpu));
        if tensor.numel() == 0 {
            return Ok(tensor);
        }
        let bytes = tensor.view(-1).view_dtype(Kind::Uint8);
        if end.checked_sub(start) != Some(bytes.numel() as u64) {
            return Err(io::Error::other("a tensor's bytes do not fit its shape"));
        }
        let mut chunk = vec![0; CHUNK.min((end - start) as usize)];
        let mut at = start;
        while at < end {
            let some = chunk.len().min((end - at) as usize);
            self.file.read_exact_at(&mut chunk[..some], at)?;
            let to = bytes.narrow(0, (at - start) as i64, some as i64);
            { to }.copy_(&Tensor::from_slice(&chunk[..some]));
            at += some as u64;
        }
        Ok(tensor)
    }
}

/// Lets `restore` take the tensors of a safetensors file by name, each read when it is asked for.
///
/// # Errors
///
/// When the file cannot be read or is none of safetensors, or when `restore` fails.
pub fn restore(
    path: &Path,
    restore: impl FnOnce(&mut dyn FnMut(&str) -> Option<Tensor>) -> Result<()>,
) -> Result<()> {
    let told = || format!("cannot read {}", path.display());
    let mut file = TensorFile::open(path).with_context(told)?;
    let restored = restore(&mut |name| file.take(name));
    match file.failure {
        Some(failure) => Err(failure).with_context(told),
        None => restored,
    }
}

/// As [`restore`], of tensors that lie in several files, a part of each in each: flat, in the order
/// of the files. `shape` returns the shape of one that is not flat as a whole.
///
/// # Errors
///
/// As there.
pub fn restore_parts(
    paths: &[PathBuf],
    shape: impl Fn(&str) -> Option<Vec<i64>>,
    restore: impl FnOnce(&mut dyn FnMut(&str) -> Option<Tensor>) -> Result<()>,
) -> Result<()> {
    let told = |path: &Path| format!("cannot read {}", path.display());
    let opened = paths
        .iter()
        .map(|path| TensorFile::open(path).with_context(|| told(path)));
    let mut all = opened.collect::<Result<Vec<_>>>()?;
    let restored = restore(&mut |name| {
        let mut parts: Vec<Tensor> = all.iter_mut().filter_map(|file| file.take(name)).collect();
        let whole = match parts.len() {
            0 => return None,
            1 => parts.remove(0),
            _ => Tensor::cat(&parts, 0),
        };
        match shape(name) {
            Some(shape) if shape.iter().product::<i64>() == whole.numel() as i64 => {
                Some(whole.view(&shape[..]))
            }
            Some(_) => None,
            None => Some(whole),
        }
    });
    for (file, path) in all.into_iter().zip(paths) {
        if let Some(failure) = file.failure {
            return Err(failure).with_context(|| told(path));
        }
    }
    restored
}

/// Copies a file.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut copy = AtomicFile::begin(to)?;
    File::open(from)
        .and_then(|mut from| io::copy(&mut from, &mut copy))
        .with_context(|| format!("cannot copy `{}` to `{}`", from.display(), to.display()))?;
    copy.commit()
}

/// Flushes a folder, so that a rename or a new entry in it survives a power failure.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .with_context(|| format!("cannot flush {}", dir.display()))
}

/// Renames a file or folder, then flushes its folder.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Types of the tensors that are saved.
const TYPES: [(Kind, Dtype); 7] = [
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Half, Dtype::F16),
    (Kind::Float, Dtype::F32),
    (Kind::Int64, Dtype::I64),
    (Kind::Int16, Dtype::I16),
    (Kind::Int8, Dtype::I8),
    (Kind::Uint8, Dtype::U8),
];

/// Returns the format's name of a type.
pub fn dtype(kind: Kind) -> Dtype {
    let found = TYPES.iter().find(|(known, _)| *known == kind);
    let (_, dtype) = found.unwrap_or_else(|| unreachable!("no tensor of type {kind:?} is ever saved"));
    *dtype
}

/// A tensor for the safetensors crate; it is copied to host memory when it is written.
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
        dtype(self.tensor.kind())
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
    use crate::shim::memory;

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
        // It has the permissions of any other file.
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

    #[test]
    fn tensors_are_restored_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let mut tensors = super::super::snapshot::tests::tensors(3);
        // 12 of 4 MB.
        let large = |n: i64| Tensor::full([1 << 20], n, (Kind::Float, Device::Cpu));
        tensors.extend((0..12).map(|n| (format!("large.{n}"), large(n))));
        write_safetensors(&path, &tensors).unwrap();
        let (done, peak) = memory::peak_of(Device::Cpu, || {
            restore(&path, |take| {
                for (name, tensor) in &tensors {
                    let read = take(name).unwrap();
                    assert_eq!(
                        (read.kind(), read.size()),
                        (tensor.kind(), tensor.size()),
                        "{name}"
                    );
                    assert!(read == *tensor, "{name}");
                    assert!(take(name).is_none(), "taken already");
                }
                Ok(())
            })
        });
        done.unwrap();
        // A tensor of 4 MB, its chunks of the file, and the comparison; not 48 MB.
        assert!(peak.is_none_or(|peak| peak < 24 << 20), "{peak:?}");
    }

    #[test]
    fn a_file_that_is_cut_or_something_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        write_safetensors(&path, &[("x".to_owned(), Tensor::from_slice(&[1i64, 2, 3]))]).unwrap();
        let whole = fs::read(&path).unwrap();
        fn take(take: &mut dyn FnMut(&str) -> Option<Tensor>) -> Result<()> {
            take("x").map(drop).context("missing")
        }
        restore(&path, take).unwrap();
        for bytes in [
            &whole[..whole.len() - 1],
            &whole[..20],
            &whole[..3],
            &[255; 64][..],
        ] {
            fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", restore(&path, take).unwrap_err());
            assert!(
                error.contains("cannot read") && error.contains("x.safetensors"),
                "{error}"
            );
        }
    }
}
