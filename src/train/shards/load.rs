//! How a rank reads its parts of a model.

use super::layout::Layout;
use super::units::{Sorted, Unit};
use crate::distributed::group::Division;
use crate::model::CausalLm;
use crate::model::files::weights::Weights;
use crate::shim::storage::Coming;
use crate::train::backward::find_head;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::optim::parameter::{Parameter, Piece};
use crate::train::trainer::Trainer;
use anyhow::{Context, Result};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Where the values of parameters are read, one at a time.
pub struct Source<'a> {
    /// In the model's type.
    pub weights: Weights,
    /// In fp32, if they are more precise.
    pub exact: Option<Weights>,
    /// The directory of both.
    pub dir: &'a Path,
    /// What a tied embedding may be called instead.
    pub head_name: Option<&'static str>,
}

impl Source<'_> {
    /// Reads a parameter, in fp32 if it is more precise than the model's type.
    pub(super) fn read(&mut self, name: &str, shape: &[i64]) -> Tensor {
        let from = self.exact.as_mut().unwrap_or(&mut self.weights);
        let other = self.head_name.map(|head| format!("{head}.weight"));
        match other.filter(|_| !from.has(name)) {
            Some(other) => from.tensor(&other, shape),
            None => from.tensor(name, shape),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        let Source {
            weights, exact, dir, ..
        } = self;
        let told = || format!("cannot read the weights in {}", dir.display());
        weights.finish().with_context(told)?;
        exact.map_or(Ok(()), Weights::finish).with_context(told)
    }
}

impl Trainer {
    /// Trains every weight of a model without memory, of which this rank reads and keeps its parts.
    ///
    /// # Errors
    ///
    /// When weights cannot be read.
    pub fn divided(
        model: Box<dyn CausalLm>,
        mut source: Source,
        division: Division,
        config: OptimizerConfig,
        device: Device,
    ) -> Result<Trainer> {
        let _guard = tch::no_grad_guard();
        let (names, mut leaves): (Vec<String>, Vec<Tensor>) = model.parameters().into_iter().unzip();
        let head = find_head(model.as_ref(), leaves.iter());
        let sorted = Sorted::of(model.as_ref(), &names)?;
        let mut trained: Vec<Option<Parameter>> = names.iter().map(|_| None).collect();
        let mut units = Vec::new();
        for of_unit in &sorted.units {
            let sizes = of_unit.iter().map(|&at| (at, leaves[at].numel() as i64));
            let layout = Layout::of(sizes, division.parts);
            let kind = of_unit.first().map_or(Kind::Float, |&at| leaves[at].kind());
            let whole = Tensor::empty([layout.whole()], (kind, device));
            let own = Tensor::zeros([layout.part], (kind, device));
            for member in &layout.members {
                let (name, leaf) = (&names[member.index], &mut leaves[member.index]);
                let shape = leaf.size();
                leaf.set_data(&whole.narrow(0, member.start, member.count).view(shape.as_slice()));
                let part = layout.own(member, division.part);
                let piece = Piece {
                    start: part.first,
                    values: own.narrow(0, part.at, part.count),
                    gradient: None,
                };
                let read = source.read(name, &shape);
                if read.numel() as i64 != member.count {
                    // Noted, and told at the end.
                    continue;
                }
                let values = read
                    .reshape(-1)
                    .narrow(0, part.first, part.count)
                    .to_device(device)
                    .copy();
                drop(read);
                piece.values.shallow_clone().copy_(&values);
                let exact = (values.kind() != kind).then_some(values);
                let leaf = leaf.shallow_clone();
                let of = Parameter::divided(name.clone(), leaf, piece, exact, config.formats.master);
                trained[member.index] = Some(of);
            }
            let whole = Coming::of(whole)?;
            let have = vec![0.0; layout.members.len()];
            units.push(Unit {
                layout,
                whole,
                own,
                gradient: None,
                have,
            });
        }
        source.finish()?;
        let trained: Option<Vec<Parameter>> = trained.into_iter().collect();
        let trained = trained.context("a parameter is in no block and at no end of the model")?;
        let mut trainer = Trainer::made(model, trained, (head, None), config, device);
        trainer.shards = Some(sorted.divided(units, division));
        Ok(trainer)
    }
}
