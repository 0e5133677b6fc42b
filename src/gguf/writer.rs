//! A file from metadata and tensors. All places are known before the first tensor, so tensors are
//! written as they come, in order.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};

use super::kind::TensorKind;
use super::value::{Value, type_id};
use super::{ALIGNMENT, LONGEST_NAME, MAGIC};

/// The version of the format that is written.
const VERSION: u32 = 3;

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTensor {
    /// Its name in GGUF.
    pub name: String,
    /// The type of its numbers.
    pub kind: TensorKind,
    /// Size of each dimension, the slowest first.
    pub shape: Vec<u64>,
}

impl PlannedTensor {
    /// Returns its bytes. Fails if a row is no whole number of blocks.
    pub fn bytes(&self) -> Result<u64> {
        let numbers = self.shape.iter().product();
        let width = self.shape.last().copied().unwrap_or(1);
        self.kind.bytes(numbers, width).with_context(|| {
            format!(
                "`{}` has rows of {width}, which are no blocks of {}",
                self.name,
                self.kind.name()
            )
        })
    }
}

/// A file being written.
pub struct Writer<W> {
    out: W,
    /// Bytes of the tensors that were written.
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes everything before the tensors.
    pub fn begin(mut out: W, metadata: &[(String, Value)], tensors: &[PlannedTensor]) -> Result<Writer<W>> {
        let mut head = Vec::new();
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            text(&mut head, key);
            write_value(&mut head, value);
        }
        let mut offset = 0u64;
        for tensor in tensors {
            if tensor.name.len() > LONGEST_NAME {
                bail!("`{}` is too long a name for llama.cpp", tensor.name);
            }
            text(&mut head, &tensor.name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                head.extend(size.to_le_bytes());
            }
            head.extend(tensor.kind.id().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += tensor.bytes()?.next_multiple_of(ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
        out.write_all(&head)?;
        Ok(Writer { out, written: 0 })
    }

    /// Writes a part of a tensor.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Ends a tensor.
    pub fn end_tensor(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(ALIGNMENT) - self.written;
        self.write(&[0; ALIGNMENT as usize][..missing as usize])
    }

    /// Returns the file that was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    let id = |out: &mut Vec<u8>, id: u32| out.extend(id.to_le_bytes());
    let list = |out: &mut Vec<u8>, of: u32, length: usize| {
        id(out, type_id::ARRAY);
        id(out, of);
        out.extend((length as u64).to_le_bytes());
    };
    match value {
        Value::U32(number) => {
            id(out, type_id::U32);
            out.extend(number.to_le_bytes());
        }
        Value::I32(number) => {
            id(out, type_id::I32);
            out.extend(number.to_le_bytes());
        }
        Value::U64(number) => {
            id(out, type_id::U64);
            out.extend(number.to_le_bytes());
        }
        Value::I64(number) => {
            id(out, type_id::I64);
            out.extend(number.to_le_bytes());
        }
        Value::F32(number) => {
            id(out, type_id::F32);
            out.extend(number.to_le_bytes());
        }
        Value::F64(number) => {
            id(out, type_id::F64);
            out.extend(number.to_le_bytes());
        }
        Value::Bool(flag) => {
            id(out, type_id::BOOL);
            out.push(u8::from(*flag));
        }
        Value::Text(words) => {
            id(out, type_id::TEXT);
            text(out, words);
        }
        Value::Texts(texts) => {
            list(out, type_id::TEXT, texts.len());
            texts.iter().for_each(|words| text(out, words));
        }
        Value::Integers(numbers) => {
            list(out, type_id::I32, numbers.len());
            out.extend(numbers.iter().flat_map(|number| (*number as i32).to_le_bytes()));
        }
        Value::Floats(numbers) => {
            list(out, type_id::F32, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::header::Header;

    /// Writes a file with some of everything.
    fn written() -> (tempfile::TempDir, std::path::PathBuf, Vec<(String, Value)>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        let metadata: Vec<(String, Value)> = [
            ("a", Value::U32(7)),
            ("b", Value::I32(-7)),
            ("c", Value::U64(1 << 40)),
            ("d", Value::I64(-1)),
            ("e", Value::F32(0.5)),
            ("f", Value::F64(0.25)),
            ("g", Value::Bool(true)),
            ("h", Value::Text("羊".to_owned())),
            ("i", Value::Texts(vec![String::new(), "x".to_owned()])),
            ("j", Value::Integers(vec![1, -2])),
            ("k", Value::Floats(vec![-0.5])),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let tensor = |name: &str, kind, shape: &[u64]| PlannedTensor {
            name: name.to_owned(),
            kind,
            shape: shape.to_vec(),
        };
        let tensors = [
            tensor("one", TensorKind::F32, &[3]),
            tensor("two", TensorKind::Q8_0, &[2, 64]),
        ];
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = Writer::begin(file, &metadata, &tensors).unwrap();
        for planned in &tensors {
            writer.write(&vec![9; planned.bytes().unwrap() as usize]).unwrap();
            writer.end_tensor().unwrap();
        }
        writer.into_inner();
        (dir, path, metadata)
    }

    #[test]
    fn what_is_written_is_read() {
        let (_dir, path, metadata) = written();
        let header = Header::read(&path).unwrap();
        assert!(
            header
                .metadata()
                .iter()
                .eq(metadata.iter().map(|(key, value)| (key, value)))
        );
        let two = header.tensor("two").unwrap();
        assert_eq!((two.kind, two.shape.as_slice()), (TensorKind::Q8_0, &[2, 64][..]));
        assert_eq!(two.end - two.start, 4 * 34);
        assert_eq!(two.start % ALIGNMENT, 0);
        assert_eq!(header.bytes_of(two).unwrap(), [9; 136]);
    }

    /// Every beginning of a file, and every file with one other byte, is read or refused; nothing
    /// is allocated for a length that is not there.
    #[test]
    fn damaged_files_are_refused_by_name() {
        let (dir, path, _) = written();
        let whole = std::fs::read(&path).unwrap();
        let damaged = dir.path().join("damaged.gguf");
        let read = |bytes: &[u8]| {
            std::fs::write(&damaged, bytes).unwrap();
            Header::read(&damaged).map_err(|error| format!("{error:#}"))
        };
        // The last tensor is padded.
        for length in 0..whole.len() - 24 {
            let said = read(&whole[..length]).expect_err("it is cut off");
            assert!(said.contains("damaged.gguf") && said.contains("hint:"), "{said}");
        }
        for at in 0..whole.len().min(700) {
            for byte in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                if let Err(said) = read(&bytes) {
                    assert!(said.contains("damaged.gguf"), "{said}");
                }
            }
        }
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
        assert!(read(&bytes).unwrap_err().contains("big-endian"));
        bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
        assert!(read(&bytes).unwrap_err().contains("version 1"));
        assert!(read(b"<!DOCTYPE html>").unwrap_err().contains("not a GGUF file"));
    }

    /// A file of these bytes after the counts, as it is read.
    fn read_of(tensors: u64, entries: u64, rest: &[u8]) -> Result<Header, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hostile.gguf");
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.extend(rest);
        std::fs::write(&path, bytes).unwrap();
        Header::read(&path).map_err(|error| format!("{error:#}"))
    }

    /// A key and the number of a type.
    fn key(name: &[u8], id: u32) -> Vec<u8> {
        let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
        bytes.extend(name);
        bytes.extend(id.to_le_bytes());
        bytes
    }

    /// A vector of `count` singles at `offset`.
    fn tensor(name: &[u8], count: u64, offset: u64) -> Vec<u8> {
        let mut bytes = key(name, 1);
        bytes.extend(count.to_le_bytes());
        bytes.extend(TensorKind::F32.id().to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes
    }

    #[test]
    fn lengths_that_are_not_there_take_no_memory() {
        let huge = [u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 40];
        for count in huge {
            for (tensors, entries, what) in [(count, 0, "the list of tensors"), (0, count, "the metadata")] {
                let said = read_of(tensors, entries, &[0; 64]).unwrap_err();
                assert!(
                    said.contains(what) && said.contains("hostile.gguf"),
                    "{count}: {said}"
                );
            }
            for (id, of) in [
                (type_id::TEXT, None),
                (type_id::ARRAY, Some(type_id::U8)),
                (type_id::ARRAY, Some(type_id::TEXT)),
                (type_id::ARRAY, Some(type_id::F64)),
            ] {
                let mut rest = key(b"general.name", id);
                rest.extend(of.map(u32::to_le_bytes).into_iter().flatten());
                rest.extend(count.to_le_bytes());
                rest.extend([0; 64]);
                let said = read_of(0, 1, &rest).unwrap_err();
                assert!(
                    said.contains("`general.name`") && said.contains("cut off"),
                    "{said}"
                );
            }
            let said = read_of(1, 0, &[tensor(b"t", count, 0), vec![0; 64]].concat()).unwrap_err();
            assert!(said.contains("tensor `t`"), "{count}: {said}");
            let said = read_of(1, 0, &[tensor(b"t", 8, count & !31), vec![0; 64]].concat()).unwrap_err();
            assert!(said.contains("tensor `t`"), "{count}: {said}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let flag = |name: &[u8]| [key(name, type_id::BOOL), vec![1]].concat();
        let alignment = |alignment: u32| {
            let mut bytes = key(b"general.alignment", type_id::U32);
            bytes.extend(alignment.to_le_bytes());
            bytes
        };
        let two = |one: u64, other: u64| {
            let infos = [tensor(b"one", 16, one), tensor(b"two", 16, other)].concat();
            [infos, vec![0; 512]].concat()
        };
        for (tensors, entries, rest, words) in [
            (
                0,
                2,
                [flag(b"twice"), flag(b"twice")].concat(),
                &["`twice`", "twice"][..],
            ),
            (0, 1, flag(b"\xff\xfe"), &["key 0", "UTF-8"]),
            (
                0,
                1,
                key(&[b'k'; 70_000], type_id::BOOL),
                &["key 0", "longer than any"],
            ),
            (0, 1, key(b"odd", 99), &["`odd`", "type 99"]),
            (0, 1, alignment(24), &["`general.alignment`"]),
            (0, 1, alignment(0), &["`general.alignment`"]),
            (1, 0, tensor(b"\xc3\x28", 1, 0), &["tensor 0", "UTF-8"]),
            (
                1,
                0,
                [tensor(b"odd", 8, 4), vec![0; 64]].concat(),
                &["`odd`", "offset 4", "32"],
            ),
            (1, 0, tensor(b"none", 0, 0), &["`none`", "[0]"]),
            (2, 0, two(0, 32), &["`two` at offset 32", "`one`", "64"]),
            (2, 0, two(64, 64), &["at offset 64", "overlap"]),
        ] {
            let said = read_of(tensors, entries, &rest).unwrap_err();
            for word in words.iter().chain(&["hostile.gguf", "hint:"]) {
                assert!(said.contains(word), "want {word}: {said}");
            }
        }
        assert_eq!(read_of(2, 0, &two(64, 0)).unwrap().tensors().len(), 2);
        let mut text = key(b"general.name", type_id::TEXT);
        text.extend(2u64.to_le_bytes());
        text.extend(b"\xff\xff");
        let said = read_of(0, 1, &text).unwrap_err();
        assert!(said.contains("`general.name` is not UTF-8"), "{said}");
    }

    #[test]
    fn errors_name_tensor_and_offset() {
        let (_dir, path, _) = written();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 60]).unwrap();
        let said = format!("{:#}", Header::read(&path).unwrap_err());
        for words in ["x.gguf", "`two`", "offset 32", "cut off"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
