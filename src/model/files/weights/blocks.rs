//! Tensors of GGUF files: dequantized in parts, with their rows in the order of checkpoints.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::{Device, Tensor};

use super::{CHUNK, Shard, TensorEntry, Weights, first_not_finite, map, row_major};
use crate::gguf::header::{Header, TensorInfo};
use crate::gguf::kind::TensorKind;
use crate::gguf::names::{Change, numbered};
use crate::gguf::{config, dequantize};
use crate::model::files::pickle::Number;
use crate::model::files::torch_file::TensorLocation;

/// Most tensors of a checkpoint that are one in GGUF, such as the experts of a layer. No model has
/// more.
const MOST_PARTS: u64 = 4096;
/// Most tensors of a checkpoint in a file, parts counted one by one: a part may be of one number,
/// and what is noted of it takes more memory than the number in the file.
const MOST_TENSORS: u64 = 1 << 20;

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    kind: TensorKind,
    change: Change,
}

impl Weights {
    /// Opens the GGUF file at `path`. Tensors have the names of checkpoints.
    pub(super) fn open_gguf(path: &Path, prefix: &'static str) -> Result<Weights> {
        let header = Header::read(path)?;
        let architecture = config::architecture(&header)?;
        let heads = |name: &str| header.uniform(&format!("{}.attention.{name}", architecture.name));
        let queries = heads("head_count")?.unwrap_or(1);
        let keys = heads("head_count_kv")?.unwrap_or(queries);
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut weights = Weights {
            dir: path.to_path_buf(),
            prefix,
            asked: None,
            ..Weights::sketch()
        };
        weights.shards.push(Shard {
            path: path.to_path_buf(),
            file,
        });
        let name_there = |tensor: &TensorInfo| {
            let name = architecture.name_there(&tensor.name);
            name.unwrap_or_else(|| tensor.name.clone())
        };
        let parts = |tensor: &TensorInfo| parts_of(&name_there(tensor), tensor).unwrap_or(1);
        if header.tensors().iter().map(parts).sum::<u64>() > MOST_TENSORS {
            bail!(
                "{}: it has more than {MOST_TENSORS} tensors, parts of others counted one by one\nhint: compare its size and \
                 checksum with the source's",
                path.display()
            );
        }
        for tensor in header.tensors() {
            let change = architecture.change(&tensor.name, queries, keys);
            let name = name_there(tensor);
            let blocks = Some(Blocks {
                kind: tensor.kind,
                change,
            });
            for (name, place) in places(name, tensor, change) {
                let entry = TensorEntry {
                    shard: 0,
                    place,
                    blocks,
                };
                weights.entries.insert(name, entry);
            }
        }
        Ok(weights)
    }

    /// Reads the tensor at `place` of a GGUF file, converts and places it. Returns the first value
    /// that is infinite or NaN as well, with its flat index.
    pub(super) fn unpack(
        &self,
        file: &File,
        place: &TensorLocation,
        blocks: &Blocks,
    ) -> Result<(Tensor, Option<(i64, f64)>)> {
        let (kind, device) = self.target;
        let count: i64 = place.shape.iter().product();
        let whole = Tensor::f_empty([count], (kind, Device::Cpu))?;
        // Chunks are whole blocks. As in `convert`, freed blocks of a tensor's size would stay.
        let block = blocks.kind.block() as u64;
        let chunk_bytes = CHUNK / block * blocks.kind.block_bytes() as u64;
        let mut numbers = vec![0.0; (CHUNK as usize).min(count as usize)];
        let mut first = 0;
        for start in (place.start..place.end).step_by(chunk_bytes as usize) {
            let end = place.end.min(start + chunk_bytes);
            let length = (CHUNK as i64).min(count - first);
            let part = &mut numbers[..length as usize];
            dequantize::dequantize(blocks.kind, &map(file, start, end)?, part);
            if blocks.change == Change::PlusOne {
                part.iter_mut().for_each(|number| *number -= 1.0);
            }
            whole.narrow(0, first, length).copy_(&Tensor::from_slice(&*part));
            first += length;
        }
        let mut stored = place.shape.clone();
        if blocks.change == Change::Transposed {
            stored.reverse();
        }
        let tensor = reordered_for_model(&whole.f_view(stored.as_slice())?, blocks.change);
        let not_finite = first_not_finite(&tensor);
        Ok((tensor.to_device(device), not_finite))
    }
}

/// Returns how many tensors of a checkpoint `tensor` is, which is called `name` there; none if it
/// is one by itself.
fn parts_of(name: &str, tensor: &TensorInfo) -> Option<u64> {
    match tensor.shape.as_slice() {
        [parts, _, ..] if numbered(name, 0).is_some() => Some(*parts).filter(|parts| *parts <= MOST_PARTS),
        _ => None,
    }
}

/// Returns the tensors of a checkpoint that `tensor` is, with their places: one of this name, or
/// one for each part of a [numbered] name.
fn places(name: String, tensor: &TensorInfo, change: Change) -> Vec<(String, TensorLocation)> {
    let number = match tensor.kind {
        TensorKind::F32 => Number::F32,
        TensorKind::F16 => Number::F16,
        // Models that are quantized were in bf16 before.
        _ => Number::Bf16,
    };
    let place = |shape: &[u64], start: u64, end: u64| {
        let mut shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        if change == Change::Transposed {
            shape.reverse();
        }
        TensorLocation {
            number,
            strides: row_major(&shape),
            shape,
            start,
            end,
        }
    };
    let Some(parts) = parts_of(&name, tensor) else {
        return vec![(name, place(&tensor.shape, tensor.start, tensor.end))];
    };
    // Rows are whole blocks, and so are parts.
    let bytes = (tensor.end - tensor.start) / parts;
    let part = |part: u64| {
        let start = tensor.start + part * bytes;
        let name = numbered(&name, part as usize).unwrap_or_default();
        (name, place(&tensor.shape[1..], start, start + bytes))
    };
    (0..parts).map(part).collect()
}

/// Returns a tensor of GGUF with the rows in the order of checkpoints.
pub fn reordered_for_model(tensor: &Tensor, change: Change) -> Tensor {
    match change {
        Change::Adjacent(heads) => swapped(tensor, [heads, -1, 2], 1, 2),
        Change::Apart(heads) => swapped(tensor, [3, heads, -1], 0, 1),
        Change::Transposed => transposed(tensor),
        Change::None | Change::PlusOne => tensor.shallow_clone(),
    }
}

/// Returns a tensor of a checkpoint with the rows in the order of GGUF.
pub fn reordered_for_gguf(tensor: &Tensor, change: Change) -> Tensor {
    match change {
        Change::Adjacent(heads) => swapped(tensor, [heads, 2, -1], 1, 2),
        Change::Apart(heads) => swapped(tensor, [heads, 3, -1], 0, 1),
        Change::Transposed => transposed(tensor),
        Change::None | Change::PlusOne => tensor.shallow_clone(),
    }
}

/// Returns a matrix with rows and columns exchanged, and a vector as it is.
fn transposed(tensor: &Tensor) -> Tensor {
    match tensor.dim() {
        2 => tensor.tr().contiguous(),
        _ => tensor.shallow_clone(),
    }
}

/// Splits the rows of `tensor` in `groups`, swaps two of these dimensions, and joins them again.
/// Returns the tensor as it is if the rows cannot be split so; its shape is then refused.
fn swapped(tensor: &Tensor, groups: [i64; 3], one: i64, other: i64) -> Tensor {
    let shape = tensor.size();
    let known = groups.iter().filter(|size| **size > 0);
    // Heads are as many as the file says.
    let known = known.copied().try_fold(1i64, i64::checked_mul);
    let is_possible = groups.iter().filter(|size| **size < 1).count() == 1;
    let fits = |rows: &i64| known.is_some_and(|known| rows % known == 0);
    if !is_possible || !shape.first().is_some_and(fits) {
        return tensor.shallow_clone();
    }
    let split: Vec<i64> = groups.iter().chain(&shape[1..]).copied().collect();
    tensor
        .reshape(split)
        .transpose(one, other)
        .contiguous()
        .view(shape.as_slice())
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::gguf::value::Value;
    use crate::gguf::writer::{PlannedTensor, Writer};

    /// Norms of 4096 heads of one number each, in many layers.
    #[test]
    fn tensors_of_more_parts_than_any_model_has_are_refused() {
        let opened = |layers: usize| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("parts.gguf");
            let norm = |layer: usize| PlannedTensor {
                name: format!("blk.{layer}.attn_q_norm.weight"),
                kind: TensorKind::F16,
                shape: vec![MOST_PARTS, 1],
            };
            let norms: Vec<PlannedTensor> = (0..layers).map(norm).collect();
            let name = Value::Text("stablelm".to_owned());
            let metadata = [("general.architecture".to_owned(), name)];
            let file = File::create(&path).unwrap();
            let mut writer = Writer::begin(file, &metadata, &norms).unwrap();
            for norm in &norms {
                writer.write(&vec![0; norm.bytes().unwrap() as usize]).unwrap();
                writer.end_tensor().unwrap();
            }
            drop(writer);
            Weights::open(&path, "").map_err(|error| format!("{error:#}"))
        };
        let weights = opened(2).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(weights.names().len(), 2 * MOST_PARTS as usize);
        assert_eq!(
            weights.shape("model.layers.1.self_attn.q_layernorm.norms.7.weight"),
            [1]
        );
        let error = opened((MOST_TENSORS / MOST_PARTS) as usize + 1).err().unwrap();
        assert!(
            error.contains("parts.gguf") && error.contains("1048576 tensors"),
            "{error}"
        );
    }

    #[test]
    fn rows_return_to_their_places() {
        let rows = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([12, 2]);
        for change in [
            Change::None,
            Change::Adjacent(2),
            Change::Adjacent(3),
            Change::Apart(2),
            Change::PlusOne,
            Change::Transposed,
        ] {
            let there = reordered_for_gguf(&rows, change);
            assert_eq!(reordered_for_model(&there, change), rows, "{change:?}");
        }
        let row = |tensor: &Tensor, at: i64| tensor.double_value(&[at, 0]) as i64 / 2;
        // Of a head of 6 rows, the second of GGUF is the fourth of a checkpoint.
        let adjacent = reordered_for_gguf(&rows, Change::Adjacent(2));
        assert_eq!([0, 1, 2, 6, 7].map(|at| row(&adjacent, at)), [0, 3, 1, 6, 9]);
        // Two heads, each with 2 rows of query, key and value: all queries come first.
        let apart = reordered_for_gguf(&rows, Change::Apart(2));
        assert_eq!([0, 2, 4, 6].map(|at| row(&apart, at)), [0, 6, 2, 8]);
        // Counts that no tensor has change nothing.
        for heads in [0, -1, i64::MIN, i64::MAX] {
            for change in [Change::Adjacent(heads), Change::Apart(heads)] {
                assert_eq!(reordered_for_model(&rows, change), rows, "{change:?}");
                assert_eq!(reordered_for_gguf(&rows, change), rows, "{change:?}");
            }
        }
        // Biases have no columns.
        let bias = rows.narrow(1, 0, 1).view([12]);
        let there = reordered_for_gguf(&bias, Change::Adjacent(2));
        assert_eq!(reordered_for_model(&there, Change::Adjacent(2)), bias);
    }
}
