//! What a model is made of, as its own loader says (see [`Weights::sketch`]): so the count is the one that loading would check.

use crate::model::config::Fields;
use crate::model::weights::Weights;
use crate::model::{self, ModelInfo};
use crate::train::optim::lora::{is_target, last};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// A model's size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Size {
    /// `model_type`.
    pub family: String,
    /// Blocks.
    pub layers: u64,
    /// Numbers in all tensors; a tied head counts once.
    pub parameters: u64,
    /// Those of the linear layers of the blocks.
    pub linear: u64,
    /// Those of one block.
    pub block: u64,
    /// Features between blocks.
    pub hidden: u64,
    /// Rows of the head.
    pub vocab: u64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Every tensor's shape.
    #[serde(skip)]
    pub shapes: Vec<Vec<i64>>,
    /// Numbers of each of the first block's tensors.
    #[serde(skip)]
    pub of_block: Vec<u64>,
    /// Names, inputs and outputs of the linear layers of the blocks.
    #[serde(skip)]
    pub linears: Vec<(String, u64, u64)>,
}

/// Fields of config.json: of a directory, or of the file itself.
pub fn fields(path: &Path) -> Result<Fields> {
    if path.is_dir() {
        Fields::read(path)
    } else {
        Fields::read_file(path.to_path_buf())
    }
}

impl Size {
    /// Reads the size of a model from its config.json.
    pub fn of(fields: &Fields) -> Result<Size> {
        let mut sketch = Weights::sketch();
        let mut model = model::build(fields, &mut sketch)?;
        let asked = sketch.into_asked();
        let count = |shape: &[i64]| shape.iter().product::<i64>() as u64;
        let mut linears = Vec::new();
        model.for_each_linear(&mut |linear| {
            let name = format!("{}.weight", linear.path);
            let shape = asked
                .iter()
                .find(|(asked, _)| *asked == name)
                .map(|(_, shape)| shape);
            if let Some([outputs, inputs]) = shape.map(Vec::as_slice) {
                linears.push((linear.path.clone(), *inputs as u64, *outputs as u64));
            }
        });
        let ModelInfo {
            family,
            layers,
            hidden,
            vocab,
            tied,
            ..
        } = model.info();
        Ok(Size {
            family: (*family).to_owned(),
            layers: *layers as u64,
            parameters: asked.iter().map(|(_, shape)| count(shape)).sum(),
            linear: linears.iter().map(|(_, inputs, outputs)| inputs * outputs).sum(),
            block: asked
                .iter()
                .filter(|(name, _)| is_first(name))
                .map(|(_, shape)| count(shape))
                .sum(),
            hidden: *hidden as u64,
            vocab: *vocab as u64,
            tied: *tied,
            of_block: asked
                .iter()
                .filter(|(name, _)| is_first(name))
                .map(|(_, shape)| count(shape))
                .collect(),
            shapes: asked.into_iter().map(|(_, shape)| shape).collect(),
            linears,
        })
    }

    /// Numbers of each tensor.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.shapes
            .iter()
            .map(|shape| shape.iter().product::<i64>() as u64)
    }

    /// The names that `--lora-targets` may have for the model.
    pub fn targets(&self) -> BTreeSet<String> {
        self.linears
            .iter()
            .map(|(path, ..)| last(path).to_owned())
            .collect()
    }

    /// Numbers of an adapter of this rank on the layers that `targets` name, all if there are none; with `dora` a length for each output.
    pub fn adapter(&self, rank: u64, targets: &[String], dora: bool) -> u64 {
        let wanted = self.linears.iter().filter(|(path, ..)| is_target(targets, path));
        let of = |(_, inputs, outputs): &(String, u64, u64)| {
            rank * (inputs + outputs) + if dora { *outputs } else { 0 }
        };
        wanted.map(of).sum()
    }
}

/// Whether a name is one of the first block's.
pub fn is_first(name: &str) -> bool {
    name.contains(".0.")
}
