//! A checkpoint in safetensors, mapped into memory: one file, or shards with an index. Tensors are converted and
//! placed one at a time, so loading never needs twice the model.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::layers::{Embedding, LayerNorm, Linear, PlainRmsNorm, RmsNorm};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// One mapped file and where each of its tensors lies.
struct Shard {
    path: PathBuf,
    bytes: Mmap,
}

struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<i64>,
    start: usize,
    end: usize,
}

/// The tensors of a checkpoint by name. Takers ask for a name and a shape; what is missing or misshapen is noted,
/// and [`Weights::finish`] reports all of it at once.
pub struct Weights {
    dir: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
    prefix: &'static str,
    target: (Kind, Device),
    problems: Vec<String>,
    /// In a sketch: what was asked for, in place of any file.
    asked: Option<Vec<(String, Vec<i64>)>>,
}

impl Weights {
    /// Maps the checkpoint in `dir`. `prefix` (say `transformer.`) may be present or absent in the file's names.
    /// Fails when there is none, when a shard is missing, truncated or not safetensors.
    pub fn open(dir: &Path, prefix: &'static str) -> Result<Weights> {
        let single = dir.join(SINGLE);
        let index = dir.join(INDEX);
        let files = if single.is_file() {
            vec![single]
        } else if index.is_file() {
            shards_of(&index)?
        } else {
            bail!(
                "{} has neither {SINGLE} nor {INDEX}\nhint: convert other formats with transformers' save_pretrained",
                dir.display()
            );
        };
        Weights::open_files(dir, files, prefix)
    }

    /// Maps one file, say an adapter's.
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
            let bytes = map(&path)?;
            let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
                anyhow!(
                    "{} is truncated or not a safetensors file ({error})\nhint: compare its size and checksum with the source's",
                    path.display()
                )
            })?;
            for (name, info) in metadata.tensors() {
                let offset = 8 + header;
                let (start, end) = (offset + info.data_offsets.0, offset + info.data_offsets.1);
                if end > bytes.len() {
                    bail!(
                        "{} is truncated: tensor `{name}` ends at byte {end}, the file has {}",
                        path.display(),
                        bytes.len()
                    );
                }
                let shape = info.shape.iter().map(|&n| n as i64).collect();
                entries.insert(
                    name,
                    Entry {
                        shard: shards.len(),
                        dtype: info.dtype,
                        shape,
                        start,
                        end,
                    },
                );
            }
            shards.push(Shard { path, bytes });
        }
        let target = (Kind::Float, Device::Cpu);
        Ok(Weights {
            dir: dir.to_path_buf(),
            shards,
            entries,
            prefix,
            target,
            problems: Vec::new(),
            asked: None,
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
            problems: Vec::new(),
            asked: Some(Vec::new()),
        }
    }

    /// Names and shapes that were asked of a sketch.
    pub fn into_asked(self) -> Vec<(String, Vec<i64>)> {
        self.asked.unwrap_or_default()
    }

    /// The type tensors are converted to and the device they go to, from now on.
    pub fn place(&mut self, kind: Kind, device: Device) {
        self.target = (kind, device);
    }

    /// Whether most of the checkpoint's bytes are 16-bit numbers, and of which type.
    pub fn main_kind(&self) -> Kind {
        let mut bytes: BTreeMap<u8, usize> = BTreeMap::new();
        for entry in self.entries.values() {
            let key = match entry.dtype {
                Dtype::BF16 => 1,
                Dtype::F16 => 2,
                _ => 0,
            };
            *bytes.entry(key).or_default() += entry.end - entry.start;
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

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries
            .get(name)
            .or_else(|| self.entries.get(name.strip_prefix(self.prefix)?))
    }

    /// The tensor `name` of exactly `shape`, converted and placed. A problem yields an empty tensor and is noted.
    pub fn tensor(&mut self, name: &str, shape: &[i64]) -> Tensor {
        if let Some(asked) = &mut self.asked {
            asked.push((name.to_string(), shape.to_vec()));
            return Tensor::zeros([0], self.target);
        }
        match self.read(name, shape) {
            Ok(tensor) => tensor,
            Err(error) => {
                self.problems.push(format!("{error:#}"));
                Tensor::zeros([0], self.target)
            }
        }
    }

    fn read(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let entry = self.find(name).ok_or_else(|| anyhow!("`{name}` is missing"))?;
        let shard = &self.shards[entry.shard];
        if entry.shape != shape {
            bail!(
                "`{name}` in {}: expected shape {shape:?}, found {:?}",
                shard.path.display(),
                entry.shape
            );
        }
        let kind = match entry.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            other => bail!(
                "`{name}` in {}: type {other:?} is not supported",
                shard.path.display()
            ),
        };
        let bytes = &shard.bytes[entry.start..entry.end];
        let tensor = Tensor::f_from_data_size(bytes, shape, kind)
            .with_context(|| format!("cannot read `{name}` of {}", shard.path.display()))?;
        Ok(tensor.to_device(self.target.1).to_kind(self.target.0))
    }

    /// A linear layer `path.weight` `[outputs, inputs]`, with `path.bias` `[outputs]` if `bias`.
    pub fn linear(&mut self, path: &str, inputs: i64, outputs: i64, bias: bool) -> Linear {
        Linear {
            path: path.to_string(),
            weight: self.tensor(&format!("{path}.weight"), &[outputs, inputs]),
            bias: bias.then(|| self.tensor(&format!("{path}.bias"), &[outputs])),
            lora: None,
        }
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

    /// Fails if anything asked for was missing, misshapen or of an unusable type, listing all of it.
    pub fn finish(self) -> Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        bail!(
            "{} does not fit its config.json: {} tensors are wrong\n  {}",
            self.dir.display(),
            self.problems.len(),
            self.problems.join("\n  ")
        )
    }
}

/// The shards an index names, in order, each checked to be there.
fn shards_of(index: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).with_context(|| format!("cannot read {}", index.display()))?;
    let index_json: Index = serde_json::from_str(&text)
        .with_context(|| format!("{} is not an index of shards", index.display()))?;
    let mut files: Vec<String> = index_json.weight_map.into_values().collect();
    files.sort_unstable();
    files.dedup();
    let files: Vec<PathBuf> = files.iter().map(|file| index.with_file_name(file)).collect();
    let missing: Vec<String> = files
        .iter()
        .filter(|f| !f.is_file())
        .map(|f| f.display().to_string())
        .collect();
    if !missing.is_empty() {
        bail!(
            "{} names shards that are not there: {}",
            index.display(),
            missing.join(", ")
        );
    }
    Ok(files)
}

#[allow(unsafe_code)]
fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: the map is read only and lives no longer than the load; a checkpoint that another program shrinks
    // meanwhile would end this one with SIGBUS, the price of never holding the file twice.
    unsafe { Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))
}
