//! The sizes of a model, from the tensors that its loader asks for (see [`Weights::sketch`]): the
//! count is the one that loading checks.

use crate::gguf;
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::{ExpertsConfig, Linear};
use crate::model::{self, ModelInfo};
use crate::train::optim::lora::{is_target, layer_name};
use crate::train::shards::units::Sorted;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Sizes of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// `model_type`.
    pub family: String,
    /// Number of blocks.
    pub layers: u64,
    /// Numbers in all tensors; a tied head counts once.
    pub parameters: u64,
    /// Numbers in the linear layers of the blocks.
    pub linear: u64,
    /// Numbers in one block.
    pub block: u64,
    /// Hidden size.
    pub hidden: u64,
    /// Size of the vocabulary, the rows of the head.
    pub vocab: u64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Query heads.
    #[serde(skip)]
    pub heads: u64,
    /// Key/value heads.
    #[serde(skip)]
    pub kv_heads: u64,
    /// Features of a head.
    #[serde(skip)]
    pub head_dim: u64,
    /// Shapes of all tensors.
    #[serde(skip)]
    pub shapes: Vec<Vec<i64>>,
    /// Numbers in each tensor of the first block.
    #[serde(skip)]
    pub of_block: Vec<u64>,
    /// Numbers in each tensor of what ranks gather together: the embedding, with the head if it is
    /// tied; each block; a head that is not tied.
    #[serde(skip)]
    pub units: Vec<Vec<u64>>,
    /// Paths, inputs and outputs of the linear layers of the blocks that take an adapter.
    #[serde(skip)]
    pub linears: Vec<(String, u64, u64)>,
    /// Numbers in the linear layers of the blocks that a token goes through.
    #[serde(skip)]
    pub active: u64,
    /// Numbers in each linear layer of experts, which take none.
    #[serde(skip)]
    pub experts: Vec<u64>,
    /// The experts in place of the MLPs.
    #[serde(skip)]
    pub mixture: Option<ExpertsConfig>,
    /// Whether attention's scores are capped.
    #[serde(skip)]
    pub capped: bool,
}

/// Reads the fields of config.json, given the file or its directory, or those of a GGUF file.
pub fn fields(path: &Path) -> Result<ConfigFields> {
    if path.is_dir() || gguf::is(path) {
        ConfigFields::read(path)
    } else {
        ConfigFields::read_file(path.to_path_buf())
    }
}

impl Size {
    /// Computes the sizes of the model with these fields.
    pub fn of(fields: &ConfigFields) -> Result<Size> {
        let mut sketch = Weights::sketch();
        let mut model = model::build(fields, &mut sketch)?;
        let asked = sketch.into_asked();
        let count = |shape: &[i64]| shape.iter().product::<i64>() as u64;
        let shapes: HashMap<&str, &[i64]> = asked
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .collect();
        let of_weight = |linear: &Linear| match shapes.get(format!("{}.weight", linear.path).as_str()) {
            Some([inputs, outputs]) if linear.transposed => Some((*inputs as u64, *outputs as u64)),
            Some([outputs, inputs]) => Some((*inputs as u64, *outputs as u64)),
            _ => None,
        };
        let (mut linears, mut experts) = (Vec::new(), Vec::new());
        model.for_each_linear(&mut |linear| {
            if let Some((inputs, outputs)) = of_weight(linear) {
                linears.push((linear.path.clone(), inputs, outputs));
            }
        });
        model.for_each_expert_linear(&mut |linear| {
            experts.extend(of_weight(linear).map(|(inputs, outputs)| inputs * outputs));
        });
        let names: Vec<String> = model.parameters().into_iter().map(|(name, _)| name).collect();
        let count_of = |at: &usize| shapes.get(names[*at].as_str()).map_or(0, |shape| count(shape));
        let units = Sorted::of(model.as_ref(), &names)?.units;
        let units = units
            .iter()
            .map(|unit| unit.iter().map(count_of).collect())
            .collect();
        let dense: u64 = linears.iter().map(|(_, inputs, outputs)| inputs * outputs).sum();
        let in_experts: u64 = experts.iter().sum();
        let ModelInfo {
            family,
            layers,
            hidden,
            vocab,
            tied,
            heads,
            kv_heads,
            head_dim,
            capped,
            ..
        } = model.info();
        Ok(Size {
            family: (*family).to_owned(),
            layers: *layers as u64,
            parameters: asked.iter().map(|(_, shape)| count(shape)).sum(),
            linear: dense + in_experts,
            active: dense
                + model.experts().map_or(0, |experts| {
                    in_experts / experts.count as u64 * experts.chosen as u64
                }),
            block: asked
                .iter()
                .filter(|(name, _)| is_first(name))
                .map(|(_, shape)| count(shape))
                .sum(),
            mixture: model.experts(),
            hidden: *hidden as u64,
            vocab: *vocab as u64,
            tied: *tied,
            heads: *heads as u64,
            kv_heads: *kv_heads as u64,
            head_dim: *head_dim as u64,
            of_block: asked
                .iter()
                .filter(|(name, _)| is_first(name))
                .map(|(_, shape)| count(shape))
                .collect(),
            shapes: asked.into_iter().map(|(_, shape)| shape).collect(),
            units,
            linears,
            experts,
            capped: *capped,
        })
    }

    /// Returns the numbers in each tensor.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.shapes
            .iter()
            .map(|shape| shape.iter().product::<i64>() as u64)
    }

    /// Returns the names that `--lora-targets` accepts.
    pub fn targets(&self) -> BTreeSet<String> {
        self.linears
            .iter()
            .map(|(path, ..)| layer_name(path).to_owned())
            .collect()
    }

    /// Returns the numbers of an adapter of this rank on the layers that `targets` name, or on all
    /// without targets; with `dora` there is a magnitude for each output.
    pub fn adapter(&self, rank: u64, targets: &[String], dora: bool) -> u64 {
        let wanted = self.linears.iter().filter(|(path, ..)| is_target(targets, path));
        let of = |(_, inputs, outputs): &(String, u64, u64)| {
            rank * (inputs + outputs) + if dora { *outputs } else { 0 }
        };
        wanted.map(of).sum()
    }
}

/// Returns whether a tensor name is one of the first block.
pub fn is_first(name: &str) -> bool {
    let number = |part: &str| part.parse::<u32>().ok();
    name.split('.').find_map(number) == Some(0)
}
