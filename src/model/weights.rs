//! A checkpoint: safetensors or `torch.save`'s format, one file, or shards with an index. Each tensor is mapped into
//! memory by itself, converted, placed and forgotten, so that loading takes the model and one tensor.

mod shards;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use memmap2::{Mmap, MmapOptions};
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::fault;
use super::layers::{Embedding, LayerNorm, Linear, PlainRmsNorm, RmsNorm};
use super::pickle::Number;
use super::torch_file::{self, Place};
use crate::shim;
use ewe::text::chosen;
pub use shards::{FORMATS, files, shard_names};

/// How much of what is wrong is told.
const MOST_PROBLEMS: usize = 40;

/// Numbers that are converted at once: of 1 << 22, freed pieces left holes of 230 MB in a heap of 600 (2026-11-25).
const PIECE: u64 = 1 << 18;

struct Shard {
    path: PathBuf,
    file: File,
}

struct Entry {
    shard: usize,
    place: Place,
}

/// How linear layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Plain,
    /// [Packed](Linear::pack), for inference on the CPU.
    Packed,
    /// Those of blocks in [4 bits](Linear::quantise), for training an adapter.
    Quantised,
}

/// The tensors of a checkpoint by name. Takers ask for a name and a shape; what is missing or misshapen is noted,
/// and [`Weights::finish`] reports all of it at once.
pub struct Weights {
    dir: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
    prefix: &'static str,
    target: (Kind, Device),
    /// How linear layers are kept.
    form: Form,
    problems: Vec<String>,
    /// In a sketch: what was asked for, in place of any file.
    asked: Option<Vec<(String, Vec<i64>)>>,
    /// In a sketch: tensors have their size, and whatever their memory holds.
    blank: bool,
}

impl Weights {
    /// Opens the checkpoint in `dir`. `prefix` (say `transformer.`) may be present or absent in the file's names.
    /// Fails when there is none, when a shard is missing, truncated or not of its format.
    pub fn open(dir: &Path, prefix: &'static str) -> Result<Weights> {
        Weights::open_files(dir, files(dir)?, prefix)
    }

    /// Opens one file, say an adapter's.
    pub fn open_file(path: &Path, prefix: &'static str) -> Result<Weights> {
        Weights::open_files(
            path.parent().unwrap_or(Path::new(".")),
            vec![path.to_path_buf()],
            prefix,
        )
    }

    fn open_files(dir: &Path, files: Vec<PathBuf>, prefix: &'static str) -> Result<Weights> {
        let mut shards = Vec::new();
        let mut entries = HashMap::new();
        for path in files {
            let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            let places = if path
                .extension()
                .is_some_and(|extension| extension == "safetensors")
            {
                safetensors_places(&path, &file)?
            } else {
                torch_file::read(&path)?
            };
            for (name, place) in places {
                let shard = shards.len();
                entries.insert(name, Entry { shard, place });
            }
            shards.push(Shard { path, file });
        }
        Ok(Weights {
            dir: dir.to_path_buf(),
            shards,
            entries,
            prefix,
            target: (Kind::Float, Device::Cpu),
            form: Form::Plain,
            problems: Vec::new(),
            asked: None,
            blank: false,
        })
    }

    /// No checkpoint at all: whatever is asked for is noted and given empty, so that a model's own loader says which
    /// tensors it has.
    pub fn sketch() -> Weights {
        Weights {
            dir: PathBuf::new(),
            shards: Vec::new(),
            entries: HashMap::new(),
            prefix: "",
            target: (Kind::Float, Device::Cpu),
            form: Form::Plain,
            problems: Vec::new(),
            asked: Some(Vec::new()),
            blank: false,
        }
    }

    /// A sketch whose tensors have their size. Their memory is not touched, so that they take none before they are used.
    pub fn blank(kind: Kind) -> Weights {
        Weights {
            target: (kind, Device::Cpu),
            blank: true,
            ..Weights::sketch()
        }
    }

    /// How many numbers were asked of a sketch.
    pub fn asked_numbers(&self) -> Option<u128> {
        let numbers =
            |(_, shape): &(String, Vec<i64>)| shape.iter().map(|size| *size as u128).product::<u128>();
        Some(self.asked.as_ref()?.iter().map(numbers).sum())
    }

    /// Names and shapes that were asked of a sketch.
    pub fn into_asked(self) -> Vec<(String, Vec<i64>)> {
        self.asked.unwrap_or_default()
    }

    /// The type tensors are converted to and the device they go to, from now on.
    pub fn place(&mut self, kind: Kind, device: Device) {
        self.target = (kind, device);
    }

    /// How linear layers are kept from now on. Each becomes so before the next is read: there is never more than one of them twice.
    pub fn keep_as(&mut self, form: Form) {
        self.form = form;
    }

    /// Bytes of all tensors, as they are stored.
    pub fn bytes(&self) -> u64 {
        let places = self.entries.values().map(|entry| &entry.place);
        places.map(|place| place.end - place.start).sum()
    }

    /// Whether most of the checkpoint's bytes are 16-bit numbers, and of which type.
    pub fn main_kind(&self) -> Kind {
        let mut bytes: BTreeMap<u8, u64> = BTreeMap::new();
        for entry in self.entries.values() {
            let key = match entry.place.number {
                Number::Bf16 => 1,
                Number::F16 => 2,
                _ => 0,
            };
            *bytes.entry(key).or_default() += entry.place.end - entry.place.start;
        }
        match bytes.into_iter().max_by_key(|(_, n)| *n) {
            Some((1, _)) => Kind::BFloat16,
            Some((2, _)) => Kind::Half,
            _ => Kind::Float,
        }
    }

    /// Names in the files, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Whether the files have a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The shape of a tensor in the files; empty where there is none.
    pub fn shape(&self, name: &str) -> Vec<i64> {
        self.find(name)
            .map(|entry| entry.place.shape.clone())
            .unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries
            .get(name)
            .or_else(|| self.entries.get(name.strip_prefix(self.prefix)?))
    }

    /// The tensor `name` of exactly `shape`, converted and placed. A problem yields an empty tensor and is noted.
    pub fn tensor(&mut self, name: &str, shape: &[i64]) -> Tensor {
        if let Some(asked) = &mut self.asked {
            asked.push((name.to_string(), shape.to_vec()));
            return if self.blank {
                Tensor::empty(shape, self.target)
            } else {
                Tensor::zeros([0], self.target)
            };
        }
        match self.read(name, shape) {
            Ok(tensor) => tensor,
            Err(error) if fault::is_out_of_memory(&error) => fault::raise(&error),
            Err(error) => {
                self.problems.push(format!("{error:#}"));
                Tensor::zeros([0], self.target)
            }
        }
    }

    fn read(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let entry = self.find(name).ok_or_else(|| anyhow!("`{name}` is missing"))?;
        let (shard, place) = (&self.shards[entry.shard], &entry.place);
        if place.shape != shape {
            bail!(
                "`{name}` in {}: expected shape {shape:?}, found {:?}",
                shard.path.display(),
                place.shape
            );
        }
        let kind = match place.number {
            Number::F32 => Kind::Float,
            Number::F16 => Kind::Half,
            Number::Bf16 => Kind::BFloat16,
            Number::F64 => Kind::Double,
            Number::Other(other, _) => bail!(
                "`{name}` in {}: type {other} is not supported",
                shard.path.display()
            ),
        };
        let tensor = self
            .convert(&shard.file, place, kind)
            .with_context(|| format!("cannot read `{name}` of {}", shard.path.display()))?;
        if let Some(index) = shim::not_finite(&tensor) {
            bail!(
                "`{name}` in {}: the value at {:?} is {}, not a finite number",
                shard.path.display(),
                coordinates(index, shape),
                tensor.view(-1).double_value(&[index])
            );
        }
        Ok(tensor)
    }

    /// The tensor at `place`, of `kind`, as it is wanted.
    fn convert(&self, file: &File, place: &Place, kind: Kind) -> Result<Tensor> {
        let width = kind.elt_size_in_bytes() as u64;
        let flat = |start: u64, end: u64| -> Result<Tensor> {
            let bytes = map(file, start, end)?;
            Ok(Tensor::f_from_data_size(
                &bytes,
                &[((end - start) / width) as i64],
                kind,
            )?)
        };
        let (target_kind, target_device) = self.target;
        if place.strides != row_major(&place.shape) || self.target == (kind, Device::Cpu) {
            let view = flat(place.start, place.end)?.f_as_strided(&place.shape, &place.strides, None)?;
            return Ok(view.to_device(target_device).to_kind(target_kind).contiguous());
        }
        // In pieces: freed blocks of a tensor's size would stay with the allocator, holes between what is kept.
        let whole = Tensor::f_empty([((place.end - place.start) / width) as i64], self.target)?;
        let piece = PIECE * width;
        for start in (place.start..place.end).step_by(piece as usize) {
            let numbers = flat(start, place.end.min(start + piece))?;
            let first = ((start - place.start) / width) as i64;
            whole.narrow(0, first, numbers.size()[0]).copy_(&numbers);
        }
        Ok(whole.f_view(place.shape.as_slice())?)
    }

    /// A linear layer `path.weight` `[outputs, inputs]`, with `path.bias` `[outputs]` if `bias`.
    pub fn linear(&mut self, path: &str, inputs: i64, outputs: i64, bias: bool) -> Linear {
        let weight = self.tensor(&format!("{path}.weight"), &[outputs, inputs]);
        let bias = bias.then(|| self.tensor(&format!("{path}.bias"), &[outputs]));
        let mut linear = Linear::of(path, weight, bias);
        match self.form {
            Form::Packed => linear.pack(),
            // A head is not of a block.
            Form::Quantised if path.split('.').any(|part| part.parse::<u32>().is_ok()) => linear.quantise(),
            Form::Quantised | Form::Plain => {}
        }
        linear
    }

    /// Gemma's RMS norm `path.weight` `[width]`.
    pub fn rms_norm(&mut self, path: &str, width: i64, eps: f64) -> RmsNorm {
        RmsNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            eps,
        }
    }

    /// Llama's RMS norm `path.weight` `[width]`.
    pub fn plain_rms_norm(&mut self, path: &str, width: i64, eps: f64) -> PlainRmsNorm {
        PlainRmsNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            eps,
        }
    }

    /// A layer norm `path.weight`, `path.bias`, both `[width]`.
    pub fn layer_norm(&mut self, path: &str, width: i64, eps: f64) -> LayerNorm {
        LayerNorm {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[width]),
            bias: self.tensor(&format!("{path}.bias"), &[width]),
            eps,
        }
    }

    /// An embedding `path.weight` `[rows, width]`.
    pub fn embedding(&mut self, path: &str, rows: i64, width: i64) -> Embedding {
        Embedding {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[rows, width]),
        }
    }

    /// Embedding and output head of a model whose config ties them, and whether they are tied: as in the reference, another
    /// head in the file counts, and one of the two stands for both.
    pub fn tied(&mut self, embedding: &str, head: &str, rows: i64, width: i64) -> (Embedding, Linear, bool) {
        let names = [embedding, head].map(|path| format!("{path}.weight"));
        let has_head = self.has(&names[1]);
        let only_head = has_head && !self.has(&names[0]);
        let embedding = Embedding {
            path: embedding.to_string(),
            weight: self.tensor(&names[usize::from(only_head)], &[rows, width]),
        };
        if has_head && !only_head {
            let weight = self.tensor(&names[1], &[rows, width]);
            if weight.size() == embedding.weight.size() && !weight.equal(&embedding.weight) {
                return (embedding, Linear::of(head, weight, None), false);
            }
        }
        let head = embedding.as_head();
        (embedding, head, true)
    }

    /// Fails if anything asked for was missing, misshapen or of an unusable type, listing all of it.
    pub fn finish(self) -> Result<()> {
        self.finish_for("its config.json", "are the files those of another model?")
    }

    /// The same of files that should fit `what`.
    pub fn finish_for(self, what: &str, hint: &str) -> Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let (shown, count) = (
            &self.problems[..self.problems.len().min(MOST_PROBLEMS)],
            self.problems.len(),
        );
        let more = match count - shown.len() {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        bail!(
            "{} does not fit {what}: {} wrong\n  {}{more}\nhint: {hint}",
            self.dir.display(),
            chosen(count, "tensor is", "tensors are"),
            shown.join("\n  ")
        )
    }
}

/// Where the tensors of a safetensors file lie.
fn safetensors_places(path: &Path, file: &File) -> Result<Vec<(String, Place)>> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length == 0 {
        bail!(
            "{} is empty\nhint: compare its size and checksum with the source's",
            path.display()
        );
    }
    // The format's crate wants to see the whole file; what it reads is the header.
    let bytes = map(file, 0, length).with_context(|| format!("cannot map {}", path.display()))?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
        anyhow!(
            "{} is truncated or not a safetensors file ({error})\nhint: compare its size and checksum with the source's",
            path.display()
        )
    })?;
    let places = metadata.tensors().into_iter().map(|(name, info)| {
        let shape: Vec<i64> = info.shape.iter().map(|&n| n as i64).collect();
        let place = Place {
            number: match info.dtype {
                Dtype::F32 => Number::F32,
                Dtype::F16 => Number::F16,
                Dtype::BF16 => Number::Bf16,
                Dtype::F64 => Number::F64,
                Dtype::BOOL => Number::Other("bool", 1),
                Dtype::I64 => Number::Other("int64", 8),
                _ => Number::Other("of another kind than floating point", 1),
            },
            strides: row_major(&shape),
            shape,
            start: (8 + header + info.data_offsets.0) as u64,
            end: (8 + header + info.data_offsets.1) as u64,
        };
        (name, place)
    });
    Ok(places.collect())
}

/// Where a flat index lies in `shape`.
fn coordinates(mut index: i64, shape: &[i64]) -> Vec<i64> {
    let mut at: Vec<i64> = shape
        .iter()
        .rev()
        .map(|&size| {
            let here = index % size;
            index /= size;
            here
        })
        .collect();
    at.reverse();
    at
}

fn row_major(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for dimension in (1..shape.len()).rev() {
        strides[dimension - 1] = strides[dimension] * shape[dimension].max(1);
    }
    strides
}

/// The bytes `start..end` of a file. They count as this process's memory as long as they are mapped.
#[allow(unsafe_code)]
fn map(file: &File, start: u64, end: u64) -> std::io::Result<Mmap> {
    let length = usize::try_from(end - start).map_err(std::io::Error::other)?;
    // SAFETY: the map is read only and lives no longer than the load; a checkpoint that another program shrinks
    // meanwhile would end this one with SIGBUS, the price of never holding the file twice.
    unsafe { MmapOptions::new().offset(start).len(length).map(file) }
}
