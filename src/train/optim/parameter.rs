//! A trained tensor: the leaf that the model computes with, its master weights, and its gradient.
//!
//! An fp32 leaf is complete by itself. Beside a bf16 leaf lies an fp32 copy, the lower 16 bits of
//! one, or nothing; then updates are rounded stochastically. Gradients of several micro-batches of
//! a step are summed in fp32, because bf16 would lose the small ones.

use super::fallback;
use crate::shim::forget_gradient;
use crate::shim::optimizers::{BLOCK, WeightTensors, blocks};
use crate::shim::transfer::{copy_without_waiting, staging};
use ewe::finetune::Master;
use tch::{Device, Kind, Tensor};

/// One trained tensor.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the saved files.
    pub name: String,
    /// Tensor that the model computes with; requires gradients.
    pub leaf: Tensor,
    /// Whether weight decay applies: to matrices, not to norms and biases.
    pub decays: bool,
    exact: Exact,
    /// The part of it that this rank has and updates, if several ranks divide it.
    piece: Option<Piece>,
    /// Copy of the leaf in host memory, which is updated in its place when offloading.
    copy: Option<Tensor>,
    /// fp32 sum of earlier micro-batches' gradients; only beside a bf16 leaf, only when a step has
    /// several micro-batches.
    sum: Option<Tensor>,
    /// Gradient computed by hand instead of by autograd, in the leaf's type.
    by_hand: Option<Tensor>,
}

/// Consecutive numbers of a parameter that lies flat: what one of several ranks has of it.
#[derive(Debug)]
pub struct Piece {
    /// The first of them.
    pub start: i64,
    /// Their values in the leaf's type, `[count]`, which may be 0.
    pub values: Tensor,
    /// The step's gradient of them, fp32 `[count]`.
    pub gradient: Option<Tensor>,
}

/// Where the fp32 value of the weight is stored.
#[derive(Debug)]
enum Exact {
    /// In the leaf.
    Leaf,
    /// In an fp32 copy.
    Copy(Tensor),
    /// In the leaf and these lower 16 bits.
    Split(Tensor),
    /// Nowhere: the bf16 is the weight.
    Nowhere,
}

impl Parameter {
    /// Switches on gradients for `leaf`, and makes master weights as `master` says if it is bf16.
    /// `values` are fp32 values, if the checkpoint is more precise than the leaf; by default the
    /// leaf's own.
    pub fn new(name: String, leaf: Tensor, values: Option<Tensor>, master: Master) -> Parameter {
        Parameter::made(name, leaf, None, values, master)
    }

    /// As [`Parameter::new`], of which this rank has a piece only. `values` are those of the piece,
    /// flat.
    pub fn divided(
        name: String,
        leaf: Tensor,
        piece: Piece,
        values: Option<Tensor>,
        master: Master,
    ) -> Parameter {
        Parameter::made(name, leaf, Some(piece), values, master)
    }

    fn made(
        name: String,
        leaf: Tensor,
        piece: Option<Piece>,
        values: Option<Tensor>,
        master: Master,
    ) -> Parameter {
        let leaf = leaf.set_requires_grad(true);
        let own = piece.as_ref().map_or(&leaf, |piece| &piece.values);
        let exact = match (leaf.kind(), master) {
            (Kind::Float, _) => Exact::Leaf,
            (_, Master::Fp32) => Exact::Copy(own.detach().to_kind(Kind::Float)),
            (_, Master::Split) => Exact::Split(Tensor::zeros(own.size(), (Kind::Int16, own.device()))),
            (_, Master::Stochastic) => Exact::Nowhere,
            (_, Master::Bf16) => unreachable!("refused with the settings"),
        };
        let of = Parameter {
            name,
            decays: leaf.dim() >= 2,
            leaf,
            exact,
            piece,
            copy: None,
            sum: None,
            by_hand: None,
        };
        if let Some(values) = values.filter(|_| of.leaf.kind() != Kind::Float) {
            of.set(&values);
        }
        of
    }

    /// Moves the weight that is updated, and its master, to host memory: the weight, which goes
    /// back to a GPU in each step, to page-locked memory.
    pub fn offloaded(mut self) -> Parameter {
        let here = |x: &Tensor| tch::no_grad(|| x.to_device(Device::Cpu));
        self.copy = Some(match self.leaf.device() {
            // On the CPU `to_device` copies nothing, and would return the leaf itself.
            Device::Cpu => here(&self.leaf.detach()).copy(),
            device => page_locked(&self.leaf.detach(), device),
        });
        self.exact = match self.exact {
            Exact::Copy(master) => Exact::Copy(here(&master)),
            Exact::Split(low) => Exact::Split(here(&low)),
            other => other,
        };
        self
    }

    /// Returns the tensor that is updated: the leaf, its copy, or this rank's piece of it.
    fn moved(&self) -> &Tensor {
        match &self.piece {
            Some(piece) => &piece.values,
            None => self.copy.as_ref().unwrap_or(&self.leaf),
        }
    }

    /// Returns the size of what is updated here.
    pub fn updated_size(&self) -> Vec<i64> {
        self.moved().size()
    }

    /// Returns the first number that this rank updates, of all that lie flat.
    pub fn first(&self) -> i64 {
        self.piece.as_ref().map_or(0, |piece| piece.start)
    }

    /// Returns this rank's part of `kept`, which has a number for each of the parameter, or one for
    /// each [`BLOCK`] of them; none if it has neither.
    pub fn own_part(&self, kept: Tensor) -> Option<Tensor> {
        let Some(piece) = &self.piece else {
            return Some(kept);
        };
        let (numbers, count) = (self.leaf.numel() as i64, piece.values.numel() as i64);
        let (first, count) = match kept.numel() as i64 {
            all if all == numbers => (piece.start, count),
            all if all == blocks(numbers) => (piece.start / BLOCK, blocks(count)),
            _ => return None,
        };
        Some(kept.reshape(-1).narrow(0, first, count))
    }

    /// Returns the device of the update and of the optimizer state.
    pub fn home(&self) -> Device {
        self.moved().device()
    }

    /// Copies the updated copy back to the leaf. From page-locked memory the copy is enqueued: the
    /// next forward pass is behind it on the stream, and the next update of the copy waits for a
    /// gradient that is, too.
    pub fn bring_back(&self) {
        let Some(copy) = &self.copy else { return };
        let _guard = tch::no_grad_guard();
        match self.leaf.device() {
            Device::Cpu => self.leaf.shallow_clone().copy_(copy),
            _ => copy_without_waiting(&self.leaf, copy).expect("of one shape, and a GPU that works"),
        }
    }

    /// Returns the leaf, and the updated copy that it is to receive, if they are on two devices.
    pub fn returning(&self) -> Option<(&Tensor, &Tensor)> {
        let copy = self.copy.as_ref().filter(|_| self.is_away())?;
        Some((&self.leaf, copy))
    }

    /// Returns whether the weight is updated on another device than it is computed with.
    pub fn is_away(&self) -> bool {
        self.home() != self.leaf.device()
    }

    /// Returns the bytes of the step's gradient, if there is one, at most.
    pub fn gradient_bytes(&self) -> usize {
        let width = match self.sum {
            Some(_) => 4,
            None => self.leaf.kind().elt_size_in_bytes(),
        };
        width * self.leaf.numel()
    }

    /// Returns the weights as the optimizers take them.
    pub fn weights(&self) -> WeightTensors<'_> {
        let moved = self.moved();
        match &self.exact {
            Exact::Leaf => WeightTensors::Fp32(moved),
            Exact::Copy(master) => WeightTensors::Copy(moved, master),
            Exact::Split(low) => WeightTensors::Split(moved, low),
            Exact::Nowhere => WeightTensors::Drawn(moved),
        }
    }

    /// Returns the weights in fp32, in the shape of what is updated here.
    pub fn values(&self) -> Tensor {
        fallback::exact_values(&self.weights()).view(self.updated_size().as_slice())
    }

    /// Sets the weights to fp32 `values`, as many as are updated here.
    pub fn set(&self, values: &Tensor) {
        let _guard = tch::no_grad_guard();
        fallback::set_values(&self.weights(), &values.to_device(self.home()).reshape(-1));
        self.bring_back();
    }

    /// Returns the tensors of the weight for a checkpoint, by name.
    pub fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        let leaf = ("weight", self.moved().detach());
        match &self.exact {
            Exact::Leaf | Exact::Nowhere => vec![leaf],
            // The leaf is the master, rounded.
            Exact::Copy(master) => vec![("master", master.shallow_clone())],
            Exact::Split(low) => vec![leaf, ("low", low.shallow_clone())],
        }
    }

    /// Restores what [`Parameter::tensors`] returned; `take` finds a tensor by name. Fails if one
    /// is missing or of another shape or type.
    pub fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Tensor>) -> anyhow::Result<()> {
        let _guard = tch::no_grad_guard();
        for (kept, mut tensor) in self.tensors() {
            let saved = take(&format!("{kept}.{}", self.name));
            match saved.and_then(|saved| self.own_part(saved)) {
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

    /// Adds a gradient that was computed without autograd.
    pub fn add_by_hand(&mut self, gradient: Tensor) {
        self.by_hand = Some(match self.by_hand.take() {
            None => gradient,
            Some(mut sum) => sum.g_add_(&gradient),
        });
    }

    /// Adds the gradient of a micro-batch to the sum. With `last`, no further micro-batch of the
    /// step follows, and a lone gradient is not copied.
    pub fn micro_batch_done(&mut self, last: bool) {
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

    /// Returns the step's gradient, in fp32 or the leaf's type; none if the loss does not depend on
    /// this tensor. If ranks divide it, it is that of this rank's piece.
    pub fn gradient(&self) -> Option<Tensor> {
        match &self.piece {
            Some(piece) => piece.gradient.as_ref().map(Tensor::shallow_clone),
            None => self.whole_gradient(),
        }
    }

    /// Returns the gradient of the whole parameter that this process computed, as
    /// [`Parameter::gradient`] does.
    pub fn whole_gradient(&self) -> Option<Tensor> {
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

    /// Replaces the step's gradient by this one, fp32 of the leaf's shape.
    pub fn set_gradient(&mut self, gradient: Tensor) {
        self.clear();
        self.sum = Some(gradient);
    }

    /// Sets the step's gradient of this rank's piece.
    pub fn set_piece_gradient(&mut self, gradient: Option<Tensor>) {
        if let Some(piece) = &mut self.piece {
            piece.gradient = gradient;
        }
    }

    /// Drops the step's gradient.
    pub fn clear(&mut self) {
        self.set_piece_gradient(None);
        self.clear_whole();
    }

    /// Drops what this process computed of the whole gradient.
    pub fn clear_whole(&mut self) {
        forget_gradient(&self.leaf);
        (self.sum, self.by_hand) = (None, None);
    }
}

/// Copies a tensor of a GPU to page-locked host memory, or to ordinary memory if the system locks
/// no more of it: then CUDA takes the bytes out of it before an enqueued copy returns.
fn page_locked(x: &Tensor, device: Device) -> Tensor {
    let _guard = tch::no_grad_guard();
    let bytes = x.numel() * x.kind().elt_size_in_bytes();
    let Ok(locked) = staging(bytes as i64, device) else {
        return x.to_device(Device::Cpu);
    };
    let mut copy = locked.view_dtype(x.kind()).view(x.size().as_slice());
    copy.copy_(x);
    copy
}

/// Adds `gradient` to `sum`. On the CPU it goes in chunks: libtorch would convert all of it to fp32
/// first. Its addition on a GPU converts each number as it is read.
fn add_to(sum: &Tensor, gradient: &Tensor) {
    const CHUNK: i64 = 1 << 22;
    if sum.device().is_cuda() {
        let _ = sum.shallow_clone().g_add_(gradient);
        return;
    }
    let (sum, gradient) = (sum.view(-1), gradient.reshape(-1));
    for (start, size) in fallback::chunks(gradient.size()[0], CHUNK) {
        let _ = sum
            .narrow(0, start, size)
            .g_add_(&gradient.narrow(0, start, size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The GPU adds whole tensors: the same operation, so the same bits as chunks.
    #[test]
    fn a_sum_of_whole_tensors_has_the_bits_of_chunks() {
        let count = (1 << 22) + 7;
        let x = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.7371).sin();
        let gradient = (&x * 3.0).to_kind(Kind::BFloat16);
        let (whole, chunks) = (x.copy(), x);
        let _ = whole.shallow_clone().g_add_(&gradient);
        add_to(&chunks, &gradient);
        assert!(whole == chunks);
    }
}
