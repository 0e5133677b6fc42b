//! Checkpoints: safetensors or `torch.save`'s format, one file, or shards with an index.
//!
//! Tensors are mapped into memory one at a time, converted and placed, so loading takes the memory
//! of the model and one tensor.

mod attention;
mod blocks;
mod ends;
mod mlps;
mod norms;
mod safetensors_file;
mod shards;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use memmap2::{Mmap, MmapOptions};
use tch::{Device, Kind, Tensor};

use super::pickle::Number;
use super::torch_file::{self, TensorLocation};
use crate::model::fault;
use crate::model::layers::{Embedding, Linear};
use crate::shim::storage::hollow;
use crate::{gguf, shim};
use blocks::Blocks;
pub use blocks::reordered_for_gguf;
use ewe::text::chosen;
pub use shards::{FORMATS, files, shard_names};

/// Most problems that an error lists.
const MOST_PROBLEMS: usize = 40;

/// Numbers that are converted at once. With 1 << 22, freed blocks left holes of 230 MB in a heap of
/// 600 (2026-11-25).
const CHUNK: u64 = 1 << 18;

struct Shard {
    path: PathBuf,
    file: File,
}

struct TensorEntry {
    shard: usize,
    place: TensorLocation,
    /// In a GGUF file, how its numbers are stored.
    blocks: Option<Blocks>,
}

impl TensorEntry {
    fn bytes(&self) -> u64 {
        let stored = self.place.end - self.place.start;
        match (&self.blocks, &self.place.number) {
            (Some(_), Number::Bf16) => 2 * self.place.shape.iter().product::<i64>() as u64,
            _ => stored,
        }
    }
}

/// The form in which the weights of linear layers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are in the checkpoint.
    Plain,
    /// [Packed](Linear::pack), for inference on the CPU.
    Packed,
    /// In [4 bits](Linear::quantize) within blocks, for training an adapter.
    Quantized,
}

/// The tensors of a checkpoint by name. Callers ask for a name and a shape. Missing tensors and
/// other shapes are noted, and [`Weights::finish`] reports all of them at once.
pub struct Weights {
    dir: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, TensorEntry>,
    prefix: &'static str,
    target: (Kind, Device),
    /// The form of linear layers.
    form: Form,
    problems: Vec<String>,
    /// In a sketch, the names and shapes that were asked for.
    asked: Option<Vec<(String, Vec<i64>)>>,
    /// In a sketch, whether tensors have their size, with undefined contents.
    blank: bool,
    /// Whether tensors are only looked up, and take no memory.
    hollow: bool,
}

impl Weights {
    /// Opens the checkpoint in `dir`, or the GGUF file that it is. The files' names may have
    /// `prefix` (such as `transformer.`) or not. Fails when there is no checkpoint, or a shard is
    /// missing, truncated or not of its format.
    pub fn open(dir: &Path, prefix: &'static str) -> Result<Weights> {
        if gguf::is(dir) {
            return Weights::open_gguf(dir, prefix);
        }
        Weights::open_files(dir, files(dir)?, prefix)
    }

    /// Opens a single file, such as an adapter's.
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
                safetensors_file::places(&path, &file)?
            } else {
                torch_file::read(&path)?
            };
            for (name, place) in places {
                let shard = shards.len();
                let blocks = None;
                entries.insert(name, TensorEntry { shard, place, blocks });
            }
            shards.push(Shard { path, file });
        }
        Ok(Weights {
            dir: dir.to_path_buf(),
            shards,
            entries,
            prefix,
            asked: None,
            ..Weights::sketch()
        })
    }

    /// Makes weights without a checkpoint, which note what a model's loader asks for and return
    /// empty tensors. So the loader itself tells which tensors a model has.
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
            hollow: false,
        }
    }

    /// Makes a sketch whose tensors have their size. They take no memory until they are written to.
    pub fn blank(kind: Kind) -> Weights {
        Weights {
            target: (kind, Device::Cpu),
            blank: true,
            ..Weights::sketch()
        }
    }

    /// Returns the number of parameters that were asked of a sketch; none for a checkpoint.
    pub fn asked_numbers(&self) -> Option<u128> {
        let numbers =
            |(_, shape): &(String, Vec<i64>)| shape.iter().map(|size| *size as u128).product::<u128>();
        Some(self.asked.as_ref()?.iter().map(numbers).sum())
    }

    /// Returns the names and shapes that were asked of a sketch.
    pub fn into_asked(self) -> Vec<(String, Vec<i64>)> {
        self.asked.unwrap_or_default()
    }

    /// Sets the type that tensors are converted to and the device they are placed on, from now on.
    pub fn place(&mut self, kind: Kind, device: Device) {
        self.target = (kind, device);
    }

    /// Sets the form of linear layers from now on. Each layer is converted before the next is read,
    /// so at most one of them exists twice.
    pub fn keep_as(&mut self, form: Form) {
        self.form = form;
    }

    /// Says whether tensors are only looked up from now on: they get their shape, and no memory.
    pub fn keep_hollow(&mut self, hollow: bool) {
        self.hollow = hollow;
    }

    /// Returns the bytes of all tensors in the files, of quantized ones once they are in 16 bits.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(TensorEntry::bytes).sum()
    }

    /// Returns the type of most of the checkpoint's bytes: bf16 or fp16, or else fp32.
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

    /// Returns the names in the files, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Returns whether the files have a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the shape of a tensor in the files; empty if there is none.
    pub fn shape(&self, name: &str) -> Vec<i64> {
        self.find(name)
            .map(|entry| entry.place.shape.clone())
            .unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<&TensorEntry> {
        self.entries
            .get(name)
            .or_else(|| self.entries.get(name.strip_prefix(self.prefix)?))
            .or_else(|| self.find_older(name))
    }

    /// Finds a tensor of the text half of a checkpoint of text and images under its name of 2025.
    fn find_older(&self, name: &str) -> Option<&TensorEntry> {
        let older = match name.strip_prefix("model.language_model.") {
            Some(rest) => format!("language_model.model.{rest}"),
            None => format!("language_model.{}", name.strip_prefix("lm_head.").map(|_| name)?),
        };
        self.entries.get(&older)
    }

    /// Reads the tensor `name` of exactly `shape`, converted and placed. On a problem, notes it and
    /// returns an empty tensor.
    pub fn tensor(&mut self, name: &str, shape: &[i64]) -> Tensor {
        if let Some(asked) = &mut self.asked {
            asked.push((name.to_string(), shape.to_vec()));
            return if self.blank {
                Tensor::empty(shape, self.target)
            } else {
                Tensor::zeros([0], self.target)
            };
        }
        let found = match self.hollow {
            true => self.look_up(name, shape).map(|_| hollow(shape, self.target)),
            false => self.read(name, shape),
        };
        match found {
            Ok(tensor) => tensor,
            Err(error) if fault::is_out_of_memory(&error) => fault::raise(&error),
            Err(error) => {
                self.problems.push(format!("{error:#}"));
                Tensor::zeros([0], self.target)
            }
        }
    }

    /// Finds the tensor `name` of exactly `shape`.
    fn look_up(&self, name: &str, shape: &[i64]) -> Result<&TensorEntry> {
        let entry = self.find(name).ok_or_else(|| anyhow!("`{name}` is missing"))?;
        if entry.place.shape != shape {
            bail!(
                "`{name}` in {}: expected shape {shape:?}, found {:?}",
                self.shards[entry.shard].path.display(),
                entry.place.shape
            );
        }
        Ok(entry)
    }

    fn read(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let entry = self.look_up(name, shape)?;
        let (shard, place) = (&self.shards[entry.shard], &entry.place);
        if let Some(blocks) = &entry.blocks {
            let (tensor, not_finite) = self
                .unpack(&shard.file, place, blocks)
                .with_context(|| format!("cannot read `{name}` of {}", shard.path.display()))?;
            return finite(tensor, not_finite, name, shard, shape);
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
        let (tensor, not_finite) = self
            .convert(&shard.file, place, kind)
            .with_context(|| format!("cannot read `{name}` of {}", shard.path.display()))?;
        finite(tensor, not_finite, name, shard, shape)
    }

    /// Maps the tensor at `place`, of type `kind`, then converts and places it. Returns the first
    /// value that is infinite or NaN as well, with its flat index.
    fn convert(
        &self,
        file: &File,
        place: &TensorLocation,
        kind: Kind,
    ) -> Result<(Tensor, Option<(i64, f64)>)> {
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
            // Checked before it goes to a GPU, where that would need five bytes a value.
            let tensor = view.to_kind(target_kind).contiguous();
            let not_finite = first_not_finite(&tensor);
            return Ok((tensor.to_device(target_device), not_finite));
        }
        // In parts: freed blocks of a tensor's size would stay with the allocator, as holes between
        // the tensors that are kept.
        let whole = Tensor::f_empty([((place.end - place.start) / width) as i64], self.target)?;
        let chunk = CHUNK * width;
        let mut not_finite = None;
        for start in (place.start..place.end).step_by(chunk as usize) {
            let mut numbers = flat(start, place.end.min(start + chunk))?;
            let first = ((start - place.start) / width) as i64;
            if target_device != Device::Cpu && not_finite.is_none() {
                // After the conversion, in which a value may become infinite.
                numbers = numbers.to_kind(target_kind);
                not_finite = first_not_finite(&numbers).map(|(index, value)| (first + index, value));
            }
            whole.narrow(0, first, numbers.size()[0]).copy_(&numbers);
        }
        if target_device == Device::Cpu {
            not_finite = first_not_finite(&whole);
        }
        Ok((whole.f_view(place.shape.as_slice())?, not_finite))
    }

    /// Reads a linear layer: `path.weight` `[outputs, inputs]`, and `path.bias` `[outputs]` if
    /// `bias`.
    pub fn linear(&mut self, path: &str, inputs: i64, outputs: i64, bias: bool) -> Linear {
        let weight = self.tensor(&format!("{path}.weight"), &[outputs, inputs]);
        let bias = bias.then(|| self.tensor(&format!("{path}.bias"), &[outputs]));
        self.formed(Linear::of(path, weight, bias))
    }

    /// Reads a linear layer with bias whose weight is transposed: `path.weight`
    /// `[inputs, outputs]`, and `path.bias` `[outputs]`.
    pub fn transposed_linear(&mut self, path: &str, inputs: i64, outputs: i64) -> Linear {
        let weight = self.tensor(&format!("{path}.weight"), &[inputs, outputs]);
        let bias = self.tensor(&format!("{path}.bias"), &[outputs]);
        let mut linear = Linear::of(path, weight, Some(bias));
        linear.transposed = true;
        self.formed(linear)
    }

    /// Brings a linear layer into the form in which they are kept.
    fn formed(&self, mut linear: Linear) -> Linear {
        let in_block = |path: &str| path.split('.').any(|part| part.parse::<u32>().is_ok());
        match self.form {
            Form::Packed => linear.pack(),
            // Only layers within blocks, which have a number in their path; the head has none.
            Form::Quantized if in_block(&linear.path) && self.hollow => linear.quantize_hollow(),
            Form::Quantized if in_block(&linear.path) => linear.quantize(),
            Form::Quantized | Form::Plain => {}
        }
        linear
    }

    /// Reads an embedding: `path.weight` `[rows, width]`.
    pub fn embedding(&mut self, path: &str, rows: i64, width: i64) -> Embedding {
        Embedding {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[rows, width]),
        }
    }

    /// Fails if a tensor that was asked for was missing or had another shape or an unusable type.
    /// The error lists all of them.
    pub fn finish(self) -> Result<()> {
        self.finish_for("its config.json", "are the files those of another model?")
    }

    /// As [`Weights::finish`], for files that should fit `what`.
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

/// Returns `tensor`. Fails if there is a value that is not finite.
fn finite(
    tensor: Tensor,
    not_finite: Option<(i64, f64)>,
    name: &str,
    shard: &Shard,
    shape: &[i64],
) -> Result<Tensor> {
    match not_finite {
        None => Ok(tensor),
        Some((index, value)) => bail!(
            "`{name}` in {}: the value at {:?} is {value}, not a finite number",
            shard.path.display(),
            coordinates(index, shape),
        ),
    }
}

/// Returns the first value of `tensor` that is infinite or NaN, with its flat index.
fn first_not_finite(tensor: &Tensor) -> Option<(i64, f64)> {
    let index = shim::not_finite(tensor)?;
    Some((index, tensor.view(-1).double_value(&[index])))
}

/// Returns the coordinates of a flat index in `shape`.
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

/// Maps the bytes `start..end` of a file. They count as this process's memory while they are
/// mapped.
#[allow(unsafe_code)]
fn map(file: &File, start: u64, end: u64) -> std::io::Result<Mmap> {
    let length = usize::try_from(end - start).map_err(std::io::Error::other)?;
    // SAFETY: the map is read only and lives no longer than the load. If another program shrinks
    // the checkpoint meanwhile, this process ends with SIGBUS: the price of never holding the file
    // twice.
    unsafe { MmapOptions::new().offset(start).len(length).map(file) }
}
