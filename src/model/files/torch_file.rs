//! Files of `torch.save`: where each tensor is in them. Since 2020 they are zip archives with
//! uncompressed storages; before, a sequence of pickles followed by the storages.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{LARGEST, Number, Pickle, Storage, TensorRef};
use ewe::text::counted;

/// The hint for a file that is refused.
const HINT: &str = "hint: only tensors are read from it, nothing is run; if you trust it, let transformers load it and \
                    save_pretrained write model.safetensors";

/// Where a tensor is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorLocation {
    /// Type of its numbers.
    pub number: Number,
    /// Size of each dimension.
    pub shape: Vec<i64>,
    /// Distance from one element to the next, in numbers, for each dimension.
    pub strides: Vec<i64>,
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

/// Returns the tensors of the file with their names.
///
/// # Errors
///
/// Name the file: when it is cut off or compressed, a tensor lies outside of it, or it has anything
/// else that a file from `torch.save` does not have.
pub fn read(path: &Path) -> Result<Vec<(String, TensorLocation)>> {
    let places = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = [0; 4];
        let known = file.read(&mut start)?;
        file.rewind()?;
        match &start[..known] {
            b"PK\x03\x04" => zipped(file, length),
            // PROTO 2, then LONG1 of 10 bytes: the magic number of old files.
            [0x80, 2, 0x8a, 10] => legacy(file, length),
            _ => bail!("it is not a file of torch.save"),
        }
    };
    places().with_context(|| format!("cannot read {}\n{HINT}", path.display()))
}

fn zipped(file: File, length: u64) -> Result<Vec<(String, TensorLocation)>> {
    let mut archive = ZipArchive::new(file).context("the archive is cut off or damaged")?;
    // For each file, by its name without the common folder: index, first byte and size.
    let mut records: HashMap<String, (usize, u64, u64)> = HashMap::new();
    for index in 0..archive.len() {
        let record = archive
            .by_index_raw(index)
            .context("the archive is cut off or damaged")?;
        let name = String::from_utf8_lossy(record.name_raw()).into_owned();
        if record.compression() != CompressionMethod::Stored || record.encrypted() {
            bail!("`{name}` in it is compressed or encrypted, which torch.save never does");
        }
        let start = record.data_start().context("the archive is damaged")?;
        let size = record.size();
        if start.checked_add(size).is_none_or(|end| end > length) {
            bail!("it is cut off: `{name}` ends beyond its {length} bytes");
        }
        let name = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
        if records.insert(name.to_owned(), (index, start, size)).is_some() {
            bail!("it has two records called `{name}`");
        }
    }
    let mut text = |name: &str, most: usize| -> Result<Option<Vec<u8>>> {
        let Some(&(index, _, size)) = records.get(name) else {
            return Ok(None);
        };
        if size > most as u64 {
            bail!("`{name}` in it has {size} bytes, more than any model needs");
        }
        let mut bytes = Vec::new();
        // Read through the archive, which verifies the checksum.
        archive
            .by_index(index)
            .and_then(|mut record| record.read_to_end(&mut bytes).map_err(Into::into))
            .with_context(|| format!("`{name}` in it is damaged"))?;
        Ok(Some(bytes))
    };
    if let Some(order) = text("byteorder", 64)?
        && order != b"little"
    {
        bail!("its numbers are not little-endian");
    }
    let pickle = text("data.pkl", LARGEST)?.context("it has no data.pkl")?;
    let pickle = Pickle::read(&pickle)?;
    place(&pickle, |storage| {
        let key = format!("data/{}", storage.key);
        let &(_, start, size) = records
            .get(key.as_str())
            .with_context(|| format!("storage `{key}` is missing"))?;
        Ok((start, size))
    })
}

/// Reads an old file: magic number, version, description of the machine, the dictionary, the names
/// of the storages; then for each storage its count and its numbers.
fn legacy(mut file: File, length: u64) -> Result<Vec<(String, TensorLocation)>> {
    let mut head = Vec::new();
    Read::by_ref(&mut file)
        .take(LARGEST as u64)
        .read_to_end(&mut head)?;
    let mut at = 0;
    let mut next = || -> Result<Pickle> {
        let pickle = Pickle::read(&head[at..])?;
        at += pickle.length;
        Ok(pickle)
    };
    let (magic, version, _machine) = (next()?, next()?, next()?);
    if magic.integer().as_deref() != Some(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
        || version.integer() != Some(1001u16.to_le_bytes().to_vec())
    {
        bail!("it is not a file of torch.save");
    }
    let (pickle, keys) = (next()?, next()?);
    let keys = keys.texts().context("the list of its storages is not one")?;
    let mut sizes: HashMap<String, Number> = HashMap::new();
    for (_, tensor) in pickle.tensors()? {
        sizes.insert(tensor.storage.key.clone(), tensor.storage.number);
    }
    let mut places: HashMap<&str, (u64, u64)> = HashMap::new();
    let mut at = at as u64;
    for key in keys {
        let number = sizes
            .get(key)
            .with_context(|| format!("storage `{key}` belongs to no tensor"))?;
        let mut count = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut count).context("it is cut off")?;
        let size = u64::from_le_bytes(count).checked_mul(number.bytes());
        let end = size.and_then(|size| (at + 8).checked_add(size));
        let (Some(size), Some(end)) = (size, end.filter(|end| *end <= length)) else {
            bail!("it is cut off: storage `{key}` ends beyond its {length} bytes");
        };
        if places.insert(key, (at + 8, size)).is_some() {
            bail!("it has two storages called `{key}`");
        }
        at = end;
    }
    place(&pickle, |storage| {
        places
            .get(storage.key.as_str())
            .copied()
            .with_context(|| format!("storage `{}` is missing", storage.key))
    })
}

/// Returns where all tensors are. `find` returns first byte and size of a storage.
fn place(
    pickle: &Pickle,
    find: impl Fn(&Storage) -> Result<(u64, u64)>,
) -> Result<Vec<(String, TensorLocation)>> {
    let place = |name: &str, tensor: &TensorRef| -> Result<TensorLocation> {
        let TensorRef {
            storage,
            offset,
            shape,
            strides,
            extent,
        } = tensor;
        let (start, size) = find(storage).with_context(|| format!("tensor `{name}`"))?;
        let width = storage.number.bytes();
        // The view fits its storage by its count, but the storage may announce more than the file
        // has.
        if storage.count.checked_mul(width).is_none_or(|bytes| bytes > size) {
            bail!(
                "tensor `{name}`: storage `{}` announces {} and has {}",
                storage.key,
                counted(storage.count, "number"),
                counted(size, "byte")
            );
        }
        let start = start + offset * width;
        Ok(TensorLocation {
            number: storage.number,
            shape: shape.clone(),
            strides: strides.clone(),
            start,
            end: start + extent * width,
        })
    };
    pickle
        .tensors()?
        .into_iter()
        .map(|(name, tensor)| Ok((name.to_owned(), place(name, tensor)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tch::{Kind, Tensor};
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::model::files::weights::Weights;
    use crate::model::tests::{distance, golden};

    #[test]
    fn tensors_are_what_torch_saved() {
        let _guard = tch::no_grad_guard();
        let folder = golden("torch_files");
        let expected = Tensor::read_safetensors(folder.join("expected.safetensors")).unwrap();
        for file in ["zip.bin", "protocol4.bin", "legacy.bin"] {
            let mut weights = Weights::open_file(&folder.join(file), "").unwrap();
            assert_eq!(weights.names().len(), 14, "{file}");
            for (name, want) in &expected {
                let got = weights.tensor(name, &want.size());
                assert!(got.equal(want), "{file}: {name}");
            }
            let _ = (weights.tensor("mask", &[2, 2]), weights.tensor("plain", &[5, 6]));
            let message = format!("{:#}", weights.finish().unwrap_err());
            for words in [
                "`mask`",
                "type bool is not supported",
                "expected shape [5, 6], found [6, 5]",
            ] {
                assert!(message.contains(words), "{message}");
            }
        }
    }

    #[test]
    fn a_model_in_shards_is_the_one_in_safetensors() {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden("torch_files")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(golden("neox").join(file), dir.path().join(file)).unwrap();
        }
        let load = |dir: &Path| {
            crate::model::load(dir, tch::Device::Cpu, "fp32")
                .unwrap()
                .model
                .parameters()
        };
        for ((name, ours), (_, want)) in load(dir.path()).iter().zip(&load(&golden("neox"))) {
            assert_eq!(distance(ours, want), 0.0, "{name}");
        }
        // An index must not point outside of its folder.
        let index = r#"{"weight_map": {"w": "../pytorch_model-00001-of-00002.bin"}}"#;
        std::fs::write(dir.path().join("pytorch_model.bin.index.json"), index).unwrap();
        let error = crate::model::load(dir.path(), tch::Device::Cpu, "fp32")
            .err()
            .unwrap();
        assert!(
            format!("{error:#}").contains("outside of its folder"),
            "{error:#}"
        );
    }

    /// `{"w": four floats}` as torch.save writes it in a zip archive.
    const PICKLE: &[u8] = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
        ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0K\x04\x85K\x01\x85\x89}tRs.";

    fn archive(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in records {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<(String, TensorLocation)>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read(file.path())
    }

    fn fails(bytes: &[u8], words: &str) {
        let message = format!("{:#}", read_bytes(bytes).expect_err(words));
        assert!(message.contains(words), "{message:?} does not say {words:?}");
        assert!(
            message.contains("cannot read /") && message.contains("hint: "),
            "{message:?}"
        );
    }

    #[test]
    fn damaged_and_hostile_files_are_named() {
        let numbers: Vec<u8> = [1f32, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let whole = [
            ("x/data.pkl", PICKLE),
            ("x/data/0", &numbers),
            ("x/version", b"3\n"),
        ];
        let good = archive(&whole);
        let places = read_bytes(&good).unwrap();
        assert_eq!(
            &good[places[0].1.start as usize..places[0].1.end as usize],
            numbers
        );

        fails(&good[..good.len() / 2], "cut off");
        fails(&good[..good.len() - 3], "cut off");
        fails(&good[..3], "not a file of torch.save");
        fails(b"", "not a file of torch.save");
        fails(&archive(&[("x/data/0", &numbers)]), "no data.pkl");
        fails(&archive(&[("x/data.pkl", PICKLE)]), "storage `data/0` is missing");
        fails(
            &archive(&[("x/data.pkl", PICKLE), ("x/data/0", &numbers[..12])]),
            "announces 4 numbers and has 12 bytes",
        );
        fails(
            &archive(&[whole[0], whole[1], ("x/byteorder", b"big")]),
            "little-endian",
        );
        fails(
            &archive(&[whole[0], whole[1], ("y/data.pkl", PICKLE)]),
            "two records",
        );
        fails(
            &archive(&[("x/data.pkl", b"\x80\x02cos\nsystem\n.")]),
            "`os.system`",
        );
        let long = vec![b'N'; LARGEST + 1];
        fails(&archive(&[("x/data.pkl", &long)]), "more than any model needs");
        // A changed byte in the pickle is noticed by its checksum.
        let mut flipped = good.clone();
        let at = flipped.windows(5).position(|w| w == b"torch").unwrap();
        flipped[at] = b'T';
        fails(&flipped, "damaged");
        // A directory that marks the record as compressed.
        let mut compressed = good.clone();
        let central = compressed.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        compressed[central + 10] = 8;
        fails(&compressed, "compressed");
        // A directory that places the record beyond the end.
        let mut beyond = good;
        let last = beyond.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
        beyond[last + 20..last + 28].copy_from_slice(&[0xf0, 0xff, 0xff, 0x7f, 0xf0, 0xff, 0xff, 0x7f]);
        assert!(read_bytes(&beyond).is_err());
    }

    #[test]
    fn old_files_cut_off_anywhere_are_errors() {
        let bytes = std::fs::read(golden("torch_files").join("legacy.bin")).unwrap();
        for end in (0..bytes.len()).step_by(7) {
            fails(&bytes[..end], "");
        }
        let mut absurd = bytes;
        let at = absurd.len() - 16;
        absurd[at..at + 8].fill(0x7f);
        let _ = read_bytes(&absurd);
    }

    #[test]
    fn a_tensor_of_many_pieces_is_converted_as_a_whole() {
        let _guard = tch::no_grad_guard();
        let file = tempfile::Builder::new()
            .suffix(".safetensors")
            .tempfile()
            .unwrap();
        let numbers = Tensor::arange(5_000_000, (Kind::Float, tch::Device::Cpu)).view([5000, 1000]) / 7.0;
        Tensor::write_safetensors(&[("w", &numbers)], file.path()).unwrap();
        let mut weights = Weights::open_file(file.path(), "").unwrap();
        weights.place(Kind::BFloat16, tch::Device::Cpu);
        assert!(
            weights
                .tensor("w", &[5000, 1000])
                .equal(&numbers.to_kind(Kind::BFloat16))
        );
    }

    #[test]
    fn the_main_type_is_counted_in_bytes() {
        let weights = Weights::open_file(&golden("torch_files").join("zip.bin"), "").unwrap();
        assert_eq!(weights.main_kind(), Kind::Float);
    }
}
