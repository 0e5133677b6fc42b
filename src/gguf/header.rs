//! What precedes the tensors of a file: metadata, and where each tensor is. The file is not
//! trusted: nothing is allocated for a length before that many bytes are known to be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use ewe::text::counted;

use super::kind::TensorKind;
use super::value::{Value, type_id};
use super::{ALIGNMENT, MAGIC};

/// Most dimensions of a tensor.
const MOST_DIMENSIONS: u32 = 4;
/// Longest key, in bytes; the format's own limit.
const LONGEST_KEY: u64 = 65_535;
/// Longest text, in bytes; chat templates have some ten thousand.
const LONGEST_TEXT: u64 = 64 << 20;
/// Most elements of a list; vocabularies have some hundred thousand, and as many merges.
const MOST_ELEMENTS: u64 = 1 << 26;

/// The hint for a file that cannot be right.
const HINT: &str = "hint: compare its size and checksum with the source's";

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, as llama.cpp calls it.
    pub name: String,
    /// Type of its numbers.
    pub kind: TensorKind,
    /// Size of each dimension, the slowest first, as in checkpoints.
    pub shape: Vec<u64>,
    /// First byte in the file.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

/// The metadata of a file, and its tensors.
#[derive(Debug)]
pub struct Header {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
}

impl Header {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    ///
    /// Name the file, and the key or the tensor with its offset: when it is not GGUF, of another
    /// version, cut off, one part of several, has tensors of types that are not supported, or says
    /// what cannot be, such as one tensor over another.
    pub fn read(path: &Path) -> Result<Header> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = file
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        let mut source = Source {
            file: BufReader::with_capacity(1 << 18, file),
            at: 0,
            length,
        };
        read(&mut source, path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns all metadata, by key.
    #[cfg(test)]
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// Returns the tensors, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Returns the tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Returns the text of a key. Fails if it is something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.unusable(key, other, "a text")),
        }
    }

    /// Returns the integer of a key. Fails if it is something else.
    pub fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.converted(key, "an integer", Value::integer)
    }

    /// Returns the number of a key. Fails if it is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.converted(key, "a number", Value::number)
    }

    /// Returns the yes or no of a key. Fails if it is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.converted(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    fn converted<T>(&self, key: &str, wanted: &str, of: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match of(value) {
                Some(converted) => Ok(Some(converted)),
                None => Err(self.unusable(key, value, wanted)),
            },
        }
    }

    /// Returns the integer of a key, or the only one of its list: some files say for each layer
    /// what is the same in all. Fails on a list of several.
    pub fn uniform(&self, key: &str) -> Result<Option<i64>> {
        match self.get(key) {
            Some(Value::Integers(list)) => match list.as_slice() {
                [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(Some(*first)),
                _ => bail!(
                    "{}: `{key}` differs between layers, which is not supported",
                    self.path.display()
                ),
            },
            _ => self.integer(key),
        }
    }

    /// Returns the error for a value of another type.
    pub fn unusable(&self, key: &str, value: &Value, wanted: &str) -> anyhow::Error {
        anyhow!(
            "{}: `{key}` is {}, want {wanted}\n{HINT}",
            self.path.display(),
            value.shown()
        )
    }

    /// Returns the error for a key that is missing.
    pub fn missing(&self, key: &str) -> anyhow::Error {
        anyhow!("{}: `{key}` is missing\n{HINT}", self.path.display())
    }

    /// Returns the bytes of a tensor. For small ones: the whole tensor is read.
    pub fn bytes_of(&self, tensor: &TensorInfo) -> Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; usize::try_from(tensor.end - tensor.start)?];
        File::open(&self.path)
            .and_then(|file| file.read_exact_at(&mut bytes, tensor.start))
            .with_context(|| format!("cannot read `{}` of {}", tensor.name, self.path.display()))?;
        Ok(bytes)
    }
}

/// A file, read from its beginning, which knows how much of it remains.
struct Source {
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Source {
    /// Fails unless `count` elements of at least `size` bytes each can follow.
    fn expect(&self, count: u64, size: u64, what: &str) -> Result<()> {
        let remaining = self.length - self.at;
        if count.checked_mul(size).is_none_or(|bytes| bytes > remaining) {
            bail!(
                "at byte {}, {what} is longer than what remains, {}: it is cut off or damaged\n{HINT}",
                self.at,
                counted(remaining, "byte")
            );
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        self.expect(N as u64, 1, what)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// Reads a length, and as many bytes.
    fn long_bytes(&mut self, what: &str, longest: u64) -> Result<Vec<u8>> {
        let length = self.u64(what)?;
        self.expect(length, 1, what)?;
        if length > longest {
            bail!(
                "at byte {}, {what} is a text of {}, longer than any\n{HINT}",
                self.at,
                counted(length, "byte")
            );
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        self.file.read_exact(&mut bytes)?;
        self.at += length;
        Ok(bytes)
    }

    /// Reads a text. Fails unless it is UTF-8.
    fn text(&mut self, what: &str, longest: u64) -> Result<String> {
        let bytes = self.long_bytes(what, longest)?;
        String::from_utf8(bytes).map_err(|error| {
            let shown = String::from_utf8_lossy(error.as_bytes());
            anyhow!(
                "before byte {}, {what} is not UTF-8: `{}`\n{HINT}",
                self.at,
                ewe::text::one_line(&shown, 60)
            )
        })
    }

    /// Reads an element of a list of texts. Tokens of some vocabularies are parts of characters.
    fn token(&mut self, what: &str) -> Result<String> {
        let bytes = self.long_bytes(what, LONGEST_TEXT)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    fn value(&mut self, id: u32, what: &str) -> Result<Value> {
        Ok(match id {
            type_id::F32 => Value::F32(self.bytes(what).map(f32::from_le_bytes)?),
            type_id::F64 => Value::F64(self.bytes(what).map(f64::from_le_bytes)?),
            type_id::BOOL => Value::Bool(self.bytes::<1>(what)? != [0]),
            type_id::TEXT => Value::Text(self.text(what, LONGEST_TEXT)?),
            type_id::ARRAY => self.list(what)?,
            type_id::U32 => Value::U32(self.u32(what)?),
            type_id::U64 => Value::U64(self.u64(what)?),
            type_id::I64 => Value::I64(self.bytes(what).map(i64::from_le_bytes)?),
            type_id::U8 | type_id::U16 => Value::U32(self.integer(id, what)? as u32),
            type_id::I8 | type_id::I16 | type_id::I32 => Value::I32(self.integer(id, what)? as i32),
            _ => bail!(
                "at byte {}, {what} has the unknown type {id}: it is damaged\n{HINT}",
                self.at
            ),
        })
    }

    fn list(&mut self, what: &str) -> Result<Value> {
        let id = self.u32(what)?;
        let count = self.u64(what)?;
        let size = match id {
            type_id::U8 | type_id::I8 | type_id::BOOL => 1,
            type_id::U16 | type_id::I16 => 2,
            type_id::U32 | type_id::I32 | type_id::F32 => 4,
            type_id::U64 | type_id::I64 | type_id::TEXT | type_id::F64 => 8,
            _ => bail!(
                "at byte {}, {what} is a list of the type {id}, which is not supported\n{HINT}",
                self.at
            ),
        };
        self.expect(count, size, what)?;
        if count > MOST_ELEMENTS {
            bail!(
                "at byte {}, {what} is a list of {}, more than any has\n{HINT}",
                self.at,
                counted(count, "element")
            );
        }
        Ok(match id {
            type_id::TEXT => Value::Texts((0..count).map(|_| self.token(what)).collect::<Result<_>>()?),
            type_id::F32 => Value::Floats(
                (0..count)
                    .map(|_| self.bytes(what).map(f32::from_le_bytes))
                    .collect::<Result<_>>()?,
            ),
            type_id::F64 => Value::Floats(
                (0..count)
                    .map(|_| self.bytes(what).map(|bytes| f64::from_le_bytes(bytes) as f32))
                    .collect::<Result<_>>()?,
            ),
            _ => Value::Integers(
                (0..count)
                    .map(|_| self.integer(id, what))
                    .collect::<Result<_>>()?,
            ),
        })
    }

    fn integer(&mut self, id: u32, what: &str) -> Result<i64> {
        Ok(match id {
            type_id::U8 | type_id::BOOL => self.bytes::<1>(what)?[0].into(),
            type_id::I8 => i8::from_le_bytes(self.bytes(what)?).into(),
            type_id::U16 => u16::from_le_bytes(self.bytes(what)?).into(),
            type_id::I16 => i16::from_le_bytes(self.bytes(what)?).into(),
            type_id::U32 => self.u32(what)?.into(),
            type_id::I32 => i32::from_le_bytes(self.bytes(what)?).into(),
            // No list has larger ones, and wrapped ones are out of every range.
            type_id::U64 => self.u64(what)? as i64,
            _ => i64::from_le_bytes(self.bytes(what)?),
        })
    }
}

fn read(source: &mut Source, path: &Path) -> Result<Header> {
    let magic: [u8; 4] = source.bytes("the beginning")?;
    if magic != MAGIC {
        bail!(
            "it is not a GGUF file: it begins with {:?}\nhint: a model is a folder with config.json, or a GGUF file",
            String::from_utf8_lossy(&magic)
        );
    }
    match source.u32("the version")? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => bail!("its numbers are big-endian, which is not supported"),
        version => bail!("version {version} of the format is not supported (only 2 and 3)"),
    }
    let (tensors, entries) = (
        source.u64("the count of tensors")?,
        source.u64("the count of keys")?,
    );
    // A key has at least a length, a type and a byte; a tensor a length, dimensions, type, offset.
    source.expect(entries, 13, "the metadata")?;
    let mut metadata = BTreeMap::new();
    for number in 0..entries {
        let key = source.text(&format!("key {number}"), LONGEST_KEY)?;
        let what = format!("`{}`", ewe::text::one_line(&key, 80));
        let id = source.u32(&what)?;
        let value = source.value(id, &what)?;
        if metadata.insert(key, value).is_some() {
            bail!("{what} is there twice\n{HINT}");
        }
    }
    source.expect(tensors, 24, "the list of tensors")?;
    let alignment = match metadata.get("general.alignment").map(Value::integer) {
        None => ALIGNMENT,
        Some(Some(alignment)) if (1..=1 << 20).contains(&alignment) && alignment & (alignment - 1) == 0 => {
            alignment as u64
        }
        Some(_) => bail!("`general.alignment` is no power of two\n{HINT}"),
    };
    if let Some(parts @ 2..) = metadata.get("split.count").and_then(Value::integer) {
        bail!("it is one part of {parts}\nhint: join them first, by llama.cpp's llama-gguf-split");
    }
    let mut found = Vec::new();
    for number in 0..tensors {
        found.push(tensor_info(source, number)?);
    }
    place(
        &mut found,
        source.at.next_multiple_of(alignment),
        alignment,
        source.length,
    )?;
    Ok(Header {
        path: path.to_owned(),
        metadata,
        tensors: found,
    })
}

/// Reads where a tensor is; `start` and `end` count from the first tensor.
fn tensor_info(source: &mut Source, number: u64) -> Result<TensorInfo> {
    let name = source.text(&format!("the name of tensor {number}"), LONGEST_KEY)?;
    let what = format!("tensor `{}`", ewe::text::one_line(&name, 80));
    let dimensions = source.u32(&what)?;
    if dimensions > MOST_DIMENSIONS {
        bail!("{what} has {dimensions} dimensions, more than {MOST_DIMENSIONS}\n{HINT}");
    }
    let mut shape = (0..dimensions)
        .map(|_| source.u64(&what))
        .collect::<Result<Vec<u64>>>()?;
    let kind = TensorKind::of(source.u32(&what)?).with_context(|| what.clone())?;
    let start = source.u64(&what)?;
    let numbers = shape
        .iter()
        .try_fold(1u64, |numbers, size| numbers.checked_mul(*size))
        .filter(|numbers| *numbers < 1 << 48);
    let width = shape.first().copied().unwrap_or(1);
    let bytes = numbers.and_then(|numbers| kind.bytes(numbers, width));
    let end = bytes.and_then(|bytes| start.checked_add(bytes));
    let Some(end) = end.filter(|_| numbers != Some(0)) else {
        bail!(
            "{what} has the impossible shape {shape:?} for type {} at offset {start}\n{HINT}",
            kind.name()
        );
    };
    // The file names the fastest dimension first.
    shape.reverse();
    Ok(TensorInfo {
        name,
        kind,
        shape,
        start,
        end,
    })
}

/// Turns offsets into places in the file, which has `length` bytes, the first tensor at `first`.
fn place(tensors: &mut [TensorInfo], first: u64, alignment: u64, length: u64) -> Result<()> {
    for tensor in &mut *tensors {
        let (offset, what) = (tensor.start, ewe::text::one_line(&tensor.name, 80));
        if offset % alignment != 0 {
            bail!("tensor `{what}` is at offset {offset}, no multiple of {alignment}\n{HINT}");
        }
        let end = first.checked_add(tensor.end).filter(|end| *end <= length);
        let Some(end) = end else {
            bail!(
                "tensor `{what}` at offset {offset}, of {}, ends beyond the file, which has {}: it is cut off\n{HINT}",
                counted(tensor.end - offset, "byte"),
                counted(length, "byte")
            );
        };
        (tensor.start, tensor.end) = (first + offset, end);
    }
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(
            "tensor `{}` is there twice\n{HINT}",
            ewe::text::one_line(pair[0], 80)
        );
    }
    let mut in_order: Vec<&TensorInfo> = tensors.iter().collect();
    in_order.sort_by_key(|tensor| tensor.start);
    match in_order.windows(2).find(|pair| pair[0].end > pair[1].start) {
        Some(pair) => bail!(
            "tensor `{}` at offset {} and tensor `{}`, which ends at {}, overlap\n{HINT}",
            ewe::text::one_line(&pair[1].name, 80),
            pair[1].start - first,
            ewe::text::one_line(&pair[0].name, 80),
            pair[0].end - first
        ),
        None => Ok(()),
    }
}
