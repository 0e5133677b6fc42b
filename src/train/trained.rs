//! The tensors that training changes: a leaf the model computes with, its fp32 master, and its gradient.
//!
//! Of an fp32 leaf the master is the leaf itself. Of a bf16 leaf it is a copy, and gradients of several pieces of a
//! step are summed in fp32, because bf16 would lose the small ones among them.

use tch::{Kind, Tensor};

/// One tensor that is trained.
#[derive(Debug)]
pub struct Trained {
    /// Its name in the saved files.
    pub name: String,
    /// What the model computes with; requires gradients.
    pub leaf: Tensor,
    /// What the optimizer updates, fp32; shares memory with an fp32 leaf.
    pub master: Tensor,
    /// Whether weight decay applies: to matrices, not to norms and biases.
    pub decays: bool,
    /// fp32 sum of earlier pieces' gradients; only beside a bf16 leaf, only when a step has several pieces.
    sum: Option<Tensor>,
    /// Gradient that was computed by hand rather than by autograd, in the leaf's type.
    by_hand: Option<Tensor>,
    /// Whether a gradient has arrived since the last [`Trained::clear`].
    fresh: bool,
}

impl Trained {
    /// Switches gradients on for `leaf`. `master` gives the fp32 values where the checkpoint had more precision than
    /// the leaf; otherwise they are the leaf's own.
    pub fn new(name: String, leaf: Tensor, master: Option<Tensor>) -> Trained {
        let leaf = leaf.set_requires_grad(true);
        let master = match (leaf.kind(), master) {
            (Kind::Float, _) => leaf.detach(),
            (_, Some(master)) => master,
            (_, None) => leaf.detach().to_kind(Kind::Float),
        };
        let decays = leaf.dim() >= 2;
        Trained {
            name,
            leaf,
            master,
            decays,
            sum: None,
            by_hand: None,
            fresh: false,
        }
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
        self.fresh = true;
        if self.leaf.kind() == Kind::Float || (last && self.sum.is_none()) {
            return;
        }
        let leaf_gradient = self.leaf.grad();
        for gradient in [
            leaf_gradient.defined().then_some(leaf_gradient),
            self.by_hand.take(),
        ]
        .into_iter()
        .flatten()
        {
            match &mut self.sum {
                None => self.sum = Some(gradient.to_kind(Kind::Float)),
                Some(sum) => drop(sum.g_add_(&gradient)),
            }
        }
        self.leaf.zero_grad();
    }

    /// The step's gradient, in fp32 or the leaf's type; none when the loss does not depend on this tensor.
    pub fn gradient(&self) -> Option<Tensor> {
        if !self.fresh {
            return None;
        }
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
        self.leaf.zero_grad();
        (self.sum, self.by_hand, self.fresh) = (None, None, false);
    }

    /// Copies the master into a leaf of another type, rounding.
    pub fn publish(&mut self) {
        if self.leaf.kind() != Kind::Float {
            self.leaf.copy_(&self.master);
        }
    }
}
