//! A frozen model below an adapter whose weights are divided among ranks, in 4 bits or in the type
//! that it computes in. Every rank has all of the adapter, whose gradients are added up as without
//! a division.

use super::gather::Gathers;
use super::layout::{Layout, Member};
use super::load::Source;
use super::units::{Shards, Sorted, Unit};
use crate::distributed::group::{Division, Ranks};
use crate::model::CausalLm;
use crate::model::layers::Linear;
use crate::shim::storage::Coming;
use crate::train::backward::{as_leaf, seed_backward};
use crate::train::data::micro_batch::MicroBatch;
use crate::train::optim::lora;
use crate::train::optim::optimizer::OptimizerConfig;
use crate::train::trainer::Trainer;
use anyhow::{Result, bail};
use ewe::finetune::LoraSettings;
use std::collections::HashMap;
use tch::{Device, Kind, Tensor};

/// What the model keeps of a weight of its checkpoint.
struct Kept {
    name: String,
    /// In the checkpoint.
    shape: Vec<i64>,
    form: KeptAs,
}

enum KeptAs {
    /// As it is.
    Plain(Tensor),
    /// As the codes and scales of its values, or of their transpose.
    Coded {
        tensors: [Tensor; 2],
        is_transposed: bool,
    },
}

impl Kept {
    fn tensors(&self) -> &[Tensor] {
        match &self.form {
            KeptAs::Plain(tensor) => std::slice::from_ref(tensor),
            KeptAs::Coded { tensors, .. } => tensors,
        }
    }

    /// Reads the values of its tensors; fewer if the weight cannot be read, which is told at the
    /// end.
    fn read(&self, source: &mut Source, device: Device) -> Vec<Tensor> {
        let read = source.read(&self.name, &self.shape);
        match self.form {
            KeptAs::Plain(_) => vec![read],
            KeptAs::Coded { is_transposed, .. } => {
                let values = read.to_device(device);
                let mut linear = Linear::of(&self.name, values, None);
                linear.transposed = is_transposed;
                linear.quantize();
                let coded = linear.quantized.map(|coded| [coded.codes, coded.scales]);
                coded.into_iter().flatten().collect()
            }
        }
    }
}

fn bytes(tensor: &Tensor) -> i64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as i64
}

/// Returns what a model without memory keeps of each weight, by unit.
fn kept(model: &mut dyn CausalLm) -> Result<(Sorted, Vec<Vec<Kept>>)> {
    let mut coded = HashMap::new();
    let mut note = |linear: &mut Linear| {
        if let Some(of) = &linear.quantized {
            let (outputs, inputs) = of.size;
            let shape = match linear.transposed {
                true => vec![inputs, outputs],
                false => vec![outputs, inputs],
            };
            let tensors = [&of.codes, &of.scales].map(Tensor::shallow_clone);
            let form = KeptAs::Coded {
                tensors,
                is_transposed: linear.transposed,
            };
            coded.insert(format!("{}.weight", linear.path), (shape, form));
        }
    };
    model.for_each_linear(&mut note);
    model.for_each_expert_linear(&mut note);
    let (names, leaves): (Vec<String>, Vec<Tensor>) = model.parameters().into_iter().unzip();
    let sorted = Sorted::of(model, &names)?;
    let mut units = Vec::new();
    for of_unit in &sorted.units {
        let mut unit = Vec::new();
        for &at in of_unit {
            let name = names[at].clone();
            let (shape, form) = match coded.remove(&name) {
                Some(coded) => coded,
                None if leaves[at].numel() == 0 => {
                    bail!("{name} cannot be divided in 4 bits\nhint: leave --quantize away")
                }
                None => (leaves[at].size(), KeptAs::Plain(leaves[at].shallow_clone())),
            };
            unit.push(Kept { name, shape, form });
        }
        units.push(unit);
    }
    Ok((sorted, units))
}

/// Makes a unit of which this rank has its part: the bytes of all tensors, one behind the other.
fn unit(kept: &[Kept], source: &mut Source, division: Division, device: Device) -> Result<Unit> {
    let tensors = kept.iter().flat_map(Kept::tensors);
    let layout = Layout::of(tensors.map(bytes).enumerate(), division.parts);
    let flat = |count: i64| Tensor::zeros([count], (Kind::Uint8, device));
    let (whole, own) = (flat(layout.whole()), flat(layout.part));
    let mut members = layout.members.iter();
    for weight in kept {
        let values = weight.read(source, device);
        for (at, tensor) in weight.tensors().iter().enumerate() {
            let member = members.next().expect("as many as tensors");
            let memory = whole
                .narrow(0, member.start, member.count)
                .view_dtype(tensor.kind());
            tensor
                .shallow_clone()
                .set_data(&memory.view(tensor.size().as_slice()));
            let fits = |values: &&Tensor| values.kind() == tensor.kind() && bytes(values) == member.count;
            if let Some(values) = values.get(at).filter(fits) {
                take_part(&own, &layout, member, division.part, values);
            }
        }
    }
    Ok(Unit {
        have: Vec::new(),
        layout,
        whole: Coming::of(whole)?,
        own,
        gradient: None,
    })
}

/// Copies what this rank has of a tensor.
fn take_part(own: &Tensor, layout: &Layout, member: &Member, part: usize, values: &Tensor) {
    let of = layout.own(member, part);
    let all = values.contiguous().view(-1).view_dtype(Kind::Uint8);
    own.narrow(0, of.at, of.count)
        .copy_(&all.narrow(0, of.first, of.count));
}

impl Trainer {
    /// Trains an adapter on a model without memory, of which this rank reads and keeps its parts.
    ///
    /// # Errors
    ///
    /// When weights cannot be read.
    pub fn divided_adapter(
        mut model: Box<dyn CausalLm>,
        mut source: Source,
        division: Division,
        (settings, seed): (LoraSettings, u64),
        config: OptimizerConfig,
        device: Device,
    ) -> Result<Trainer> {
        let _guard = tch::no_grad_guard();
        let (sorted, kept) = kept(model.as_mut())?;
        let mut units = Vec::new();
        for of_unit in &kept {
            units.push(unit(of_unit, &mut source, division, device)?);
        }
        source.finish()?;
        let trained = lora::attach(model.as_mut(), &settings, seed, device);
        let mut trainer = Trainer::made(model, trained, ([None; 2], Some(settings)), config, device);
        trainer.shards = Some(sorted.divided(units, division));
        Ok(trainer)
    }

    /// Runs the passes of this rank's `micro_batches`, each with its seed of dropout and noise, in
    /// a step of `targets` targets in all. Leaves the gradients of the adapter, and returns the
    /// summed negative log-likelihood in nats, both of this rank alone.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn divided_adapter_pass(
        &mut self,
        ranks: &Ranks,
        micro_batches: &[(&MicroBatch, i64)],
        targets: usize,
    ) -> Result<f64> {
        let mut shards = self.shards.take().expect("the model is divided");
        let done = self.passes(&mut shards, ranks, micro_batches, targets);
        self.shards = Some(shards);
        done
    }

    fn passes(
        &mut self,
        shards: &mut Shards,
        ranks: &Ranks,
        micro_batches: &[(&MicroBatch, i64)],
        targets: usize,
    ) -> Result<f64> {
        // The embedding needs no gradient, so nothing comes behind the first block.
        let back = shards.blocks.iter().rev().copied();
        let order: Vec<usize> = shards.forward().chain(back).collect();
        let mut gathers = Gathers::begin(shards, ranks, order)?;
        let mut in_flight = self.forward_divided(shards, &mut gathers, micro_batches)?;
        gathers.enter(shards, shards.head)?;
        let nll = self.heads(&mut in_flight, targets, true);
        shards.leave(shards.head)?;
        let count = in_flight.len();
        for (layer, unit) in shards.blocks.clone().into_iter().enumerate().rev() {
            gathers.enter(shards, unit)?;
            for (number, one) in in_flight.iter_mut().enumerate() {
                let x_1td = one.kept.pop().expect("what went into each block");
                let x_1td = if layer > 0 { as_leaf(x_1td) } else { x_1td };
                let y_1td = self.block(layer, &x_1td, &mut one.pass, &one.inputs, one.dropout_seed);
                seed_backward(&y_1td, &one.gradient_1td);
                one.gradient_1td = x_1td.grad();
                self.micro_batch_done(number + 1 == count);
            }
            shards.leave(unit)?;
        }
        Ok(nll)
    }
}
