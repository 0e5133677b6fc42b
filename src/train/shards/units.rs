//! Units: the parameters that are gathered together.
//!
//! Each block is one. The embedding is one, and so are the last norm and the head; if the head is
//! the embedding, the three are one. The leaves of a unit are views of one flat tensor, whose
//! memory comes and goes.

use super::layout::Layout;
use crate::distributed::group::Division;
use crate::model::CausalLm;
use crate::shim::storage::Coming;
use anyhow::{Context, Result};
use std::collections::HashMap;
use tch::Tensor;

/// Parameters that are gathered together.
#[derive(Debug)]
pub struct Unit {
    /// Which rank has what.
    pub layout: Layout,
    /// All of them, flat, in the leaves' type.
    pub whole: Coming,
    /// This rank's part, flat.
    pub own: Tensor,
    /// The step's gradient of this rank's part so far, fp32.
    pub gradient: Option<Tensor>,
    /// On how many ranks each member has had a gradient in this step.
    pub have: Vec<f64>,
}

/// The units of a model.
#[derive(Debug)]
pub struct Shards {
    /// All of them, in the order of the parameters.
    pub units: Vec<Unit>,
    /// That of the embedding.
    pub embedding: usize,
    /// Those of the blocks, in order.
    pub blocks: Vec<usize>,
    /// That of the last norm and the head; the embedding's if they are tied.
    pub head: usize,
    /// How they are divided.
    pub division: Division,
}

/// Numbers of parameters, by units.
pub struct Sorted {
    /// Of each unit.
    pub units: Vec<Vec<usize>>,
    /// The unit of the embedding.
    pub embedding: usize,
    /// Those of the blocks.
    pub blocks: Vec<usize>,
    /// That of the head.
    pub head: usize,
}

impl Sorted {
    /// Sorts the parameters of a model, which are listed as `names`.
    ///
    /// # Errors
    ///
    /// When a block has one that is not among them.
    pub fn of(model: &dyn CausalLm, names: &[String]) -> Result<Sorted> {
        let place: HashMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), at))
            .collect();
        let mut of_block = vec![None; names.len()];
        for layer in 0..model.info().layers {
            for (name, _) in model.block_parameters(layer) {
                let at = place.get(name.as_str());
                of_block[*at.with_context(|| format!("{name} is not among the parameters"))?] = Some(layer);
            }
        }
        let tied = model.info().tied;
        let last = model.info().layers + 1;
        let mut units: Vec<Vec<usize>> = vec![Vec::new(); last + usize::from(!tied)];
        let head = if tied { 0 } else { last };
        let mut before = true;
        for (at, layer) in of_block.into_iter().enumerate() {
            before &= layer.is_none();
            units[match (layer, before) {
                (Some(layer), _) => layer + 1,
                (None, true) => 0,
                (None, false) => head,
            }]
            .push(at);
        }
        Ok(Sorted {
            units,
            embedding: 0,
            blocks: (1..last).collect(),
            head,
        })
    }

    /// Returns these units of a model that is divided.
    pub fn divided(self, units: Vec<Unit>, division: Division) -> Shards {
        Shards {
            units,
            embedding: self.embedding,
            blocks: self.blocks,
            head: self.head,
            division,
        }
    }
}
