//! The tensors that training changes: a leaf the model computes with, what its own type cannot hold of it, and its gradient.
//!
//! An fp32 leaf is all there is. Beside a bf16 leaf lies an fp32 copy or the lower 16 bits of one, or nothing, and then updates are
//! rounded by chance. Gradients of several pieces of a step are summed in fp32, because bf16 would lose the small ones among
//! them.

use super::composed;
use crate::shim::forget_gradient;
use crate::shim::optimizers::Weights;
use ewe::cli::train::Master;
use tch::{Kind, Tensor};

/// One tensor that is trained.
#[derive(Debug)]
pub struct Trained {
    /// Its name in the saved files.
    pub name: String,
    /// What the model computes with; requires gradients.
    pub leaf: Tensor,
    /// Whether weight decay applies: to matrices, not to norms and biases.
    pub decays: bool,
    exact: Exact,
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

impl Trained {
    /// Switches gradients on for `leaf`, and keeps its value as `master` says if it is bf16. `values` are fp32, where the checkpoint
    /// had more precision than the leaf; otherwise they are the leaf's own.
    pub fn new(name: String, leaf: Tensor, values: Option<Tensor>, master: Master) -> Trained {
        let leaf = leaf.set_requires_grad(true);
        let exact = match (leaf.kind(), master) {
            (Kind::Float, _) => Exact::Leaf,
            (_, Master::Fp32) => Exact::Copy(leaf.detach().to_kind(Kind::Float)),
            (_, Master::Split) => Exact::Split(Tensor::zeros(leaf.size(), (Kind::Int16, leaf.device()))),
            (_, Master::Stochastic) => Exact::Nowhere,
            (_, Master::Bf16) => unreachable!("refused with the settings"),
        };
        let of = Trained {
            name,
            decays: leaf.dim() >= 2,
            leaf,
            exact,
            sum: None,
            by_hand: None,
        };
        if let Some(values) = values.filter(|_| of.leaf.kind() != Kind::Float) {
            of.set(&values);
        }
        of
    }

    /// As the optimizers take it.
    pub fn weights(&self) -> Weights<'_> {
        match &self.exact {
            Exact::Leaf => Weights::Fp32(&self.leaf),
            Exact::Copy(master) => Weights::Copy(&self.leaf, master),
            Exact::Split(low) => Weights::Split(&self.leaf, low),
            Exact::Nowhere => Weights::Drawn(&self.leaf),
        }
    }

    /// The weight in fp32, in the leaf's shape.
    pub fn values(&self) -> Tensor {
        composed::exact_values(&self.weights()).view(self.leaf.size().as_slice())
    }

    /// Sets the weight to fp32 `values` of the leaf's shape.
    pub fn set(&self, values: &Tensor) {
        let _guard = tch::no_grad_guard();
        composed::set_values(&self.weights(), &values.reshape(-1));
    }

    /// All that is kept of the weight, for a checkpoint.
    pub fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        let leaf = ("weight", self.leaf.detach());
        match &self.exact {
            Exact::Leaf | Exact::Nowhere => vec![leaf],
            // The leaf is the master, rounded.
            Exact::Copy(master) => vec![("master", master.shallow_clone())],
            Exact::Split(low) => vec![leaf, ("low", low.shallow_clone())],
        }
    }

    /// Takes over what [`Trained::tensors`] gave, from a checkpoint; `take` finds a tensor by name. Fails when one is missing or
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
    for (start, size) in composed::pieces(gradient.size()[0], PIECE) {
        let _ = sum
            .narrow(0, start, size)
            .g_add_(&gradient.narrow(0, start, size));
    }
}
