//! What ranks write together: the parts of a checkpoint, and the files of the result.

use super::gather::Gathers;
use super::units::Shards;
use crate::distributed::group::Ranks;
use crate::train::out::files;
use crate::train::out::save::{self, SHARD_BYTES};
use crate::train::out::saved_template::SavedTemplate;
use crate::train::trainer::Trainer;
use anyhow::{Context, Result};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Tensor};

/// The shapes of the tensors in a checkpoint that are not flat, by name.
pub type Shapes = BTreeMap<String, Vec<i64>>;

impl Trainer {
    /// Returns weights and optimizer state by name, as far as this rank has them: flat, and nothing
    /// of a tensor that is all on others. The counts of steps are those of the first part.
    pub fn own_state(&self) -> Vec<(String, Tensor)> {
        let mut all = self.state();
        let is_first = self
            .shards
            .as_ref()
            .is_none_or(|shards| shards.division.part == 0);
        all.retain(|(_, tensor)| tensor.numel() > 0 && (is_first || tensor.dim() > 0));
        all
    }

    /// Returns the shapes of the weights of [`Trainer::state`] in a checkpoint that is not divided.
    pub fn state_shapes(&self) -> Shapes {
        let of = |of: &crate::train::optim::parameter::Parameter| {
            let kept = of.tensors().into_iter();
            let named = kept.map(|(kept, _)| (format!("{kept}.{}", of.name), of.leaf.size()));
            named.collect::<Vec<_>>()
        };
        self.trained.iter().flat_map(of).collect()
    }
}

/// A file of the result: its tensors, by their numbers, and the rank that writes it.
#[derive(Debug, PartialEq, Eq)]
struct WeightFile {
    tensors: Vec<usize>,
    part: usize,
}

/// Deals tensors of these sizes in bytes to `parts` ranks, each about as much, in files of at most
/// `limit` bytes or one tensor.
fn dealt(sizes: &[usize], parts: usize, limit: usize) -> Vec<WeightFile> {
    let total: usize = sizes.iter().sum::<usize>().max(1);
    let (mut files, mut before, mut filled): (Vec<WeightFile>, _, _) = (Vec::new(), 0, 0);
    for (number, &size) in sizes.iter().enumerate() {
        // By the middle of the tensor.
        let part = ((before + size / 2) * parts / total).min(parts - 1);
        match files.last_mut() {
            Some(last) if last.part == part && filled + size <= limit => last.tensors.push(number),
            _ => {
                let tensors = vec![number];
                files.push(WeightFile { tensors, part });
                filled = 0;
            }
        }
        before += size;
        filled += size;
    }
    files
}

/// Writes the result, which all ranks gather and each writes its files of. The index, which comes
/// last, is that of `transformers`.
///
/// # Errors
///
/// When a file cannot be written, or another rank is gone.
pub fn write(
    trainer: &mut Trainer,
    ranks: &Ranks,
    base: &Path,
    template: &SavedTemplate,
    out: &Path,
) -> Result<()> {
    let mut weights = trainer.model.parameters();
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    let sizes: Vec<usize> = weights.iter().map(|(_, tensor)| bytes(tensor)).collect();
    let total: usize = sizes.iter().sum();
    if ranks.is_first() {
        files::make_sure_of_room(out, total as u64).context("cannot save the result")?;
        save::copy_tokenizer(base, out)?;
        template.write(base, out)?;
    }
    let config = save::config_of(trainer.model.as_ref(), base, &mut weights)?;
    let shards = trainer.shards.take().context("parameters are divided")?;
    let written = dealt(&sizes, shards.division.parts, SHARD_BYTES);
    let names: Vec<String> = (1..=written.len())
        .map(|number| format!("model-{number:05}-of-{:05}.safetensors", written.len()))
        .collect();
    let mut shards = shards;
    let done = write_files(&mut shards, ranks, &weights, &written, |number, tensors| {
        files::write_safetensors(&out.join(&names[number]), tensors)
    });
    trainer.shards = Some(shards);
    done?;
    ranks.meet()?;
    if ranks.is_first() {
        files::write_python_json(&out.join("config.json"), config)?;
        let mut places = Map::new();
        for (file, name) in written.iter().zip(&names) {
            let of_file = file.tensors.iter();
            places.extend(of_file.map(|&number| (weights[number].0.clone(), json!(name))));
        }
        let index = json!({"metadata": {"total_size": total}, "weight_map": places});
        files::write_json(&out.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

/// Gathers each unit in turn, and passes each file of this rank to `write` once all its tensors are
/// there, with its number.
fn write_files(
    shards: &mut Shards,
    ranks: &Ranks,
    weights: &[(String, Tensor)],
    written: &[WeightFile],
    write: impl Fn(usize, &[(String, Tensor)]) -> Result<()>,
) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let division = shards.division;
    let is_own = |file: &WeightFile| division.replica == 0 && file.part == division.part;
    let mut file_of = vec![0; weights.len()];
    for (number, file) in written.iter().enumerate() {
        file.tensors.iter().for_each(|&tensor| file_of[tensor] = number);
    }
    let mut open: BTreeMap<usize, Vec<(usize, Tensor)>> = BTreeMap::new();
    let mut gathers = Gathers::begin(shards, ranks, 0..shards.units.len())?;
    for unit in 0..shards.units.len() {
        gathers.enter(shards, unit)?;
        let mut done = Vec::new();
        for member in &shards.units[unit].layout.members {
            let number = file_of[member.index];
            if !is_own(&written[number]) {
                continue;
            }
            let tensor = weights[member.index].1.detach().to_device(Device::Cpu).copy();
            let tensors = open.entry(number).or_default();
            tensors.push((member.index, tensor));
            if tensors.len() == written[number].tensors.len() {
                done.push(number);
            }
        }
        shards.leave(unit)?;
        for number in done {
            let tensors = open.remove(&number).unwrap_or_default();
            let named: Vec<_> = tensors
                .into_iter()
                .map(|(at, tensor)| (weights[at].0.clone(), tensor))
                .collect();
            ranks.alone_with(|| write(number, &named))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_dealt_evenly_and_bounded() {
        let of = |sizes: &[usize], parts, limit| {
            let files = dealt(sizes, parts, limit);
            files
                .into_iter()
                .map(|file| (file.part, file.tensors))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&[4, 4, 4, 4], 2, 100), [(0, vec![0, 1]), (1, vec![2, 3])]);
        assert_eq!(
            of(&[4, 4, 4, 4], 2, 4),
            [(0, vec![0]), (0, vec![1]), (1, vec![2]), (1, vec![3])]
        );
        assert_eq!(
            of(&[1, 90, 1], 4, 100),
            [(0, vec![0]), (2, vec![1]), (3, vec![2])]
        );
        assert_eq!(of(&[0], 3, 1), [(0, vec![0])]);
    }
}
