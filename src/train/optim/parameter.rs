//! The tensors that training changes: a leaf the model computes with, what its own type cannot hold of it, and its gradient.
//!
//! An fp32 leaf is all there is. Beside a bf16 leaf lies an fp32 copy or the lower 16 bits of one, or nothing, and then updates are
//! rounded by chance. Gradients of several pieces of a step are summed in fp32, because bf16 would lose the small ones among
//! them.

use super::fallback;
use crate::shim::forget_gradient;
use crate::shim::optimizers::Weights;
use ewe::cli::models::train::Master;
use tch::{Device, Kind, Tensor};

/// One tensor that is trained.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in the saved files.
    pub name: String,
    /// What the model computes with; requires gradients.
    pub leaf: Tensor,
    /// Whether weight decay applies: to matrices, not to norms and biases.
    pub decays: bool,
    exact: Exact,
    /// A copy of the leaf in the machine's own memory, where it is moved; none where it is moved in place.
    copy: Option<Tensor>,
    /// fp32 sum of earlier pieces' gradients; only beside a bf16 leaf, only when a step has several pieces.
    sum: Option<Tensor>,
    /// Gradient that was computed by hand rather than by autograd, in the leaf's type.
    by_hand: Option<Tensor>,
}

/// Where the weight's fp32 value is.
#[derive(Debug)]
enum Exact {
    /// In the leaf.
    Leaf,
    /// In a copy.
    Copy(Tensor),
    /// In the leaf and these lower 16 bits.
    Split(Tensor),
    /// Nowhere: the bf16 is all there is.
    Nowhere,
}

impl Parameter {
    /// Switches gradients on for `leaf`, and keeps its value as `master` says if it is bf16. `values` are fp32, where the checkpoint
    /// had more precision than the leaf; otherwise they are the leaf's own.
    pub fn new(name: String, leaf: Tensor, values: Option<Tensor>, master: Master) -> Parameter {
        let leaf = leaf.set_requires_grad(true);
        let exact = match (leaf.kind(), master) {
            (Kind::Float, _) => Exact::Leaf,
            (_, Master::Fp32) => Exact::Copy(leaf.detach().to_kind(Kind::Float)),
            (_, Master::Split) => Exact::Split(Tensor::zeros(leaf.size(), (Kind::Int16, leaf.device()))),
            (_, Master::Stochastic) => Exact::Nowhere,
            (_, Master::Bf16) => unreachable!("refused with the settings"),
        };
        let of = Parameter {
            name,
            decays: leaf.dim() >= 2,
            leaf,
            exact,
            copy: None,
            sum: None,
            by_hand: None,
        };
        if let Some(values) = values.filter(|_| of.leaf.kind() != Kind::Float) {
            of.set(&values);
        }
        of
    }

    /// The same, moved in the machine's own memory from now on; its master is there too.
    pub fn offloaded(mut self) -> Parameter {
        let here = |x: &Tensor| tch::no_grad(|| x.to_device(Device::Cpu));
        // On the CPU that is no copy, and would be the leaf itself.
        self.copy = Some(here(&self.leaf.detach()).copy());
        self.exact = match self.exact {
            Exact::Copy(master) => Exact::Copy(here(&master)),
            Exact::Split(low) => Exact::Split(here(&low)),
            other => other,
        };
        self
    }

    /// What is moved: the leaf, or its copy.
    fn moved(&self) -> &Tensor {
        self.copy.as_ref().unwrap_or(&self.leaf)
    }

    /// Where it is moved, and where all that the optimizer keeps of it is.
    pub fn home(&self) -> Device {
        self.moved().device()
    }

    /// Gives the leaf the values of its copy, which has been moved.
    pub fn bring_back(&self) {
        if let Some(copy) = &self.copy {
            tch::no_grad(|| self.leaf.shallow_clone().copy_(copy));
        }
    }

    /// As the optimizers take it.
    pub fn weights(&self) -> Weights<'_> {
        let moved = self.moved();
        match &self.exact {
            Exact::Leaf => Weights::Fp32(moved),
            Exact::Copy(master) => Weights::Copy(moved, master),
            Exact::Split(low) => Weights::Split(moved, low),
            Exact::Nowhere => Weights::Drawn(moved),
        }
    }

    /// The weight in fp32, in the leaf's shape.
    pub fn values(&self) -> Tensor {
        fallback::exact_values(&self.weights()).view(self.leaf.size().as_slice())
    }

    /// Sets the weight to fp32 `values` of the leaf's shape.
    pub fn set(&self, values: &Tensor) {
        let _guard = tch::no_grad_guard();
        fallback::set_values(&self.weights(), &values.to_device(self.home()).reshape(-1));
        self.bring_back();
    }

    /// All that is kept of the weight, for a checkpoint.
    pub fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        let leaf = ("weight", self.moved().detach());
        match &self.exact {
            Exact::Leaf | Exact::Nowhere => vec![leaf],
            // The leaf is the master, rounded.
            Exact::Copy(master) => vec![("master", master.shallow_clone())],
            Exact::Split(low) => vec![leaf, ("low", low.shallow_clone())],
        }
    }

    /// Takes over what [`Parameter::tensors`] gave, from a checkpoint; `take` finds a tensor by name. Fails when one is missing or
    /// of another shape or type.
    pub fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Tensor>) -> anyhow::Result<()> {
        let _guard = tch::no_grad_guard();
        for (kept, mut tensor) in self.tensors() {
            match take(&format!("{kept}.{}", self.name)) {
                Some(saved) if saved.size() == tensor.size() && saved.kind() == tensor.kind() => {
                    tensor.copy_(&saved);
                }
                _ => anyhow::bail!("{kept} of {} is missing or of another shape", self.name),
            }
        }
        if let Exact::Copy(master) = &self.exact {
            self.set(&master.copy());
        }
        self.bring_back();
        Ok(())
    }

    /// Adds a gradient that autograd does not know of.
    pub fn add_by_hand(&mut self, gradient: Tensor) {
        self.by_hand = Some(match self.by_hand.take() {
            None => gradient,
            Some(mut sum) => sum.g_add_(&gradient),
        });
    }

    /// Takes in the gradient of the piece that just went through. `last` says that no further piece follows in this
    /// step: then nothing is copied.
    pub fn piece_done(&mut self, last: bool) {
        if self.leaf.kind() == Kind::Float || (last && self.sum.is_none()) {
            return;
        }
        let leaf_gradient = self.leaf.grad();
        let has_leaf_gradient = leaf_gradient.defined();
        for gradient in [has_leaf_gradient.then_some(leaf_gradient), self.by_hand.take()]
            .into_iter()
            .flatten()
        {
            match &mut self.sum {
                None => self.sum = Some(gradient.to_kind(Kind::Float)),
                Some(sum) => add_to(sum, &gradient),
            }
        }
        if has_leaf_gradient {
            forget_gradient(&self.leaf);
        }
    }

    /// The step's gradient, in fp32 or the leaf's type; none when the loss does not depend on this tensor.
    pub fn gradient(&self) -> Option<Tensor> {
        if let Some(sum) = &self.sum {
            return Some(sum.shallow_clone());
        }
        let leaf_gradient = self.leaf.grad();
        match (leaf_gradient.defined(), &self.by_hand) {
            (true, None) => Some(leaf_gradient),
            (true, Some(by_hand)) => Some(leaf_gradient + by_hand),
            (false, by_hand) => by_hand.as_ref().map(Tensor::shallow_clone),
        }
    }

    /// Forgets the step's gradient.
    pub fn clear(&mut self) {
        forget_gradient(&self.leaf);
        (self.sum, self.by_hand) = (None, None);
    }
}

/// `sum += gradient`, a piece at a time: libtorch would convert all of it to fp32 first.
fn add_to(sum: &Tensor, gradient: &Tensor) {
    const PIECE: i64 = 1 << 22;
    let (sum, gradient) = (sum.view(-1), gradient.reshape(-1));
    for (start, size) in fallback::pieces(gradient.size()[0], PIECE) {
        let _ = sum
            .narrow(0, start, size)
            .g_add_(&gradient.narrow(0, start, size));
    }
}
