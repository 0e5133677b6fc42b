//! A copy of a run's tensors in host memory, from which a checkpoint is written while training goes
//! on.
//!
//! The bytes lie one after the other in blocks, so that page-locked memory, which libtorch rounds
//! up to a power of two, wastes less than one block. The blocks are used again for the next
//! snapshot.

use super::files;
use crate::shim::transfer::{Event, copy_without_waiting, staging};
use anyhow::{Context, Result};
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use tch::{Device, Kind, Tensor};

/// Bytes of a block, a power of two.
const BLOCK: usize = 256 << 20;

/// Returns the bytes of host memory that the checkpoints of a run on a GPU take if they are written
/// while training goes on: a snapshot of the state of `state` bytes, and one tensor of at most
/// `largest` bytes on its way to the file.
pub fn host_bytes(state: u64, largest: u64) -> u64 {
    state.next_multiple_of(BLOCK as u64) + largest
}

/// Tensors as they were at one moment.
#[derive(Debug)]
pub struct Snapshot {
    device: Device,
    /// Bytes of a block.
    block: usize,
    /// Uint8 `[block]` each.
    blocks: Vec<Tensor>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
    start: usize,
    bytes: usize,
}

/// A part of a tensor's bytes that lies in one block.
#[derive(Debug, PartialEq)]
struct Part {
    block: usize,
    within: usize,
    bytes: usize,
}

/// Returns the parts of `bytes` bytes from `start` on.
fn parts(start: usize, bytes: usize, block: usize) -> impl Iterator<Item = Part> {
    let end = start + bytes;
    let blocks = start / block..end.div_ceil(block);
    blocks.filter(move |_| bytes > 0).map(move |number| {
        let first = start.max(number * block);
        Part {
            block: number,
            within: first % block,
            bytes: end.min((number + 1) * block) - first,
        }
    })
}

impl Snapshot {
    /// Makes an empty one for tensors of `device`. It allocates nothing yet.
    pub fn new(device: Device) -> Snapshot {
        Snapshot {
            device,
            block: BLOCK,
            blocks: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Copies the tensors, and waits until all are here: at 25 GB/s (PCIe 4) a second and a half
    /// for 36 GB, for which training stops. Tensors that are in host memory already are copied,
    /// too.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub fn take(&mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.entries.clear();
        let mut start = 0;
        for (name, tensor) in tensors {
            let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
            self.grow(start + bytes)?;
            let flat = tensor.detach().contiguous().view(-1).view_dtype(Kind::Uint8);
            let mut done = 0;
            for part in parts(start, bytes, self.block) {
                let to = self.blocks[part.block].narrow(0, part.within as i64, part.bytes as i64);
                copy_without_waiting(&to, &flat.narrow(0, done, part.bytes as i64))
                    .with_context(|| format!("cannot copy {name} to host memory"))?;
                done += part.bytes as i64;
            }
            self.entries.push(Entry {
                name: name.clone(),
                kind: tensor.kind(),
                shape: tensor.size().iter().map(|&size| size as usize).collect(),
                start,
                bytes,
            });
            start += bytes;
        }
        Event::record(self.device)?.wait()?;
        Ok(())
    }

    /// Allocates blocks until there are `bytes` bytes.
    fn grow(&mut self, bytes: usize) -> Result<()> {
        while self.blocks.len() * self.block < bytes {
            let block = staging(self.block as i64, self.device);
            self.blocks.push(block.context("cannot lock host memory")?);
        }
        Ok(())
    }

    /// Returns the bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes as u64).sum()
    }

    /// Returns the tensors by name, for [`files::write_views`].
    pub fn views(&self) -> impl Iterator<Item = (&str, SnapshotView<'_>)> {
        self.entries.iter().map(move |entry| {
            (
                entry.name.as_str(),
                SnapshotView {
                    snapshot: self,
                    entry,
                },
            )
        })
    }
}

/// One tensor of a snapshot; its parts are put together when it is written.
#[derive(Debug)]
pub struct SnapshotView<'a> {
    snapshot: &'a Snapshot,
    entry: &'a Entry,
}

impl View for SnapshotView<'_> {
    fn dtype(&self) -> Dtype {
        files::dtype(self.entry.kind)
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let Entry { start, bytes, .. } = *self.entry;
        let mut data = vec![0; bytes];
        let mut rest = data.as_mut_slice();
        for part in parts(start, bytes, self.snapshot.block) {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(part.bytes);
            let block = &self.snapshot.blocks[part.block];
            block
                .narrow(0, part.within as i64, part.bytes as i64)
                .copy_data_u8(here, part.bytes);
            rest = after;
        }
        data.into()
    }

    fn data_len(&self) -> usize {
        self.entry.bytes
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::path::Path;

    /// Makes a snapshot on the CPU whose blocks are small.
    pub fn small(block: usize) -> Snapshot {
        Snapshot {
            block,
            ..Snapshot::new(Device::Cpu)
        }
    }

    /// Returns tensors of all types of a state: one transposed, one without numbers, one scalar.
    pub fn tensors(seed: i64) -> Vec<(String, Tensor)> {
        let matrix = Tensor::arange(77, (Kind::Float, Device::Cpu)).view([7, 11]) + seed as f64 / 3.0;
        vec![
            ("weight.b".to_owned(), matrix.to_kind(Kind::BFloat16)),
            ("first.b".to_owned(), matrix.tr()),
            ("low.b".to_owned(), matrix.to_kind(Kind::Int16)),
            ("codes.b".to_owned(), matrix.to_kind(Kind::Int8)),
            ("codes.a".to_owned(), matrix.to_kind(Kind::Uint8)),
            (
                "empty.b".to_owned(),
                Tensor::zeros([0, 3], (Kind::Float, Device::Cpu)),
            ),
            ("steps.b".to_owned(), Tensor::from(seed)),
        ]
    }

    fn write(path: &Path, snapshot: &Snapshot) -> Vec<u8> {
        files::write_views(path, snapshot.views()).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn parts_cover_the_bytes_once() {
        let of = |start, bytes| -> Vec<(usize, usize, usize)> {
            let parts = parts(start, bytes, 8);
            parts.map(|part| (part.block, part.within, part.bytes)).collect()
        };
        assert_eq!(of(0, 8), [(0, 0, 8)]);
        assert_eq!(of(5, 14), [(0, 5, 3), (1, 0, 8), (2, 0, 3)]);
        assert_eq!(of(16, 1), [(2, 0, 1)]);
        assert!(of(16, 0).is_empty() && of(13, 0).is_empty());
    }

    #[test]
    fn the_file_has_the_bytes_of_one_written_directly() {
        let dir = tempfile::tempdir().unwrap();
        let (direct, behind) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
        for block in [16, 64, 1 << 20] {
            let mut snapshot = small(block);
            // The second takes the blocks of the first.
            for seed in [1, 2] {
                let mut tensors = tensors(seed);
                files::write_safetensors(&direct, &tensors).unwrap();
                snapshot.take(&tensors).unwrap();
                // Training goes on: the next step changes the tensors.
                for (_, tensor) in &mut tensors {
                    let _ = tensor.zero_();
                }
                assert_eq!(write(&behind, &snapshot), std::fs::read(&direct).unwrap());
                assert_eq!(snapshot.bytes(), files::bytes(&tensors));
            }
            let most = snapshot.bytes() as usize;
            assert_eq!(snapshot.blocks.len(), most.div_ceil(block));
        }
    }

    #[test]
    fn the_host_memory_is_whole_blocks_and_a_tensor() {
        let block = BLOCK as u64;
        assert_eq!(host_bytes(1, 5), block + 5);
        assert_eq!(host_bytes(2 * block, 5), 2 * block + 5);
    }
}
