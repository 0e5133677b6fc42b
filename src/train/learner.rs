//! A model in training: pieces of a step in, gradients out, one update at the end.
//!
//! The loss is the mean over the target tokens of the whole step. Each piece's share is its sum divided by the step's
//! count, so gradients simply add up however the step is cut. Logits exist only at target positions, a chunk at a time
//! (see [`super::loss`]): the body's backward is seeded with the head's gradient, `Σ y · dy`, whose derivative by `y`
//! is `dy` exactly.
//!
//! Shapes: `t` tokens of a piece, `n` target positions, `d` hidden, `v` vocabulary.

use super::batch::Piece;
use super::lora::{self, LoraSettings};
use super::loss::{self, Head, Losses, Want};
use super::optimizer::{self, AdamW};
use super::trained::Trained;
use crate::model::CausalLm;
use crate::model::attention::Pass;
use tch::{Device, Kind, Tensor};

/// A model, what is trained of it, and the optimizer.
pub struct Learner {
    /// The model.
    pub model: Box<dyn CausalLm>,
    /// What is trained of it.
    pub trained: Vec<Trained>,
    /// What updates that.
    pub optimizer: AdamW,
    /// The adapter's settings, unless every weight is trained.
    pub lora: Option<LoraSettings>,
    /// Whether a block's activations are forgotten and computed again when its gradients are due.
    pub recomputes: bool,
    head: Head,
    /// Indices in `trained` of the head's weight and bias.
    trained_head: [Option<usize>; 2],
    device: Device,
}

/// What [`Learner::update`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Update {
    /// The weights moved; the gradients' global norm before clipping.
    Done(f64),
    /// The norm is not finite; nothing changed.
    NotFinite,
}

/// A piece as tensors.
struct Inputs {
    token_1t: Tensor,
    position_n: Tensor,
    target_n: Tensor,
}

impl Inputs {
    fn of(piece: &Piece, device: Device) -> Inputs {
        let tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        Inputs {
            token_1t: tensor(&piece.id_t).unsqueeze(0),
            position_n: tensor(&piece.position_n),
            target_n: tensor(&piece.target_n),
        }
    }

    /// What there is at positions whose next token is a target: `[1, t, d]` to `[n, d]`.
    fn at_targets(&self, hidden_1td: &Tensor) -> Tensor {
        hidden_1td.flatten(0, 1).index_select(0, &self.position_n)
    }
}

/// Propagates `gradient` back from `y`: the derivative of `Σ y · gradient` by `y` is `gradient` exactly, and `tch` has no
/// backward with a gradient to begin with.
fn seed_backward(y: &Tensor, gradient: &Tensor) {
    (y * gradient).sum(Kind::Float).backward();
}

impl Learner {
    /// Trains every weight. `master` gives fp32 values by name where the checkpoint has more precision than the model
    /// computes in.
    pub fn full(
        model: Box<dyn CausalLm>,
        mut master: impl FnMut(&str) -> Option<Tensor>,
        weight_decay: f64,
        device: Device,
    ) -> Learner {
        let trained = model
            .parameters()
            .into_iter()
            .map(|(name, leaf)| {
                let master = master(&name);
                Trained::new(name, leaf, master)
            })
            .collect();
        Learner::new(model, trained, None, weight_decay, device)
    }

    /// Trains an adapter on every linear layer of the blocks.
    pub fn lora(
        mut model: Box<dyn CausalLm>,
        settings: LoraSettings,
        seed: u64,
        weight_decay: f64,
        device: Device,
    ) -> Learner {
        let trained = lora::attach(model.as_mut(), settings, seed, device);
        Learner::new(model, trained, Some(settings), weight_decay, device)
    }

    fn new(
        model: Box<dyn CausalLm>,
        trained: Vec<Trained>,
        lora: Option<LoraSettings>,
        weight_decay: f64,
        device: Device,
    ) -> Learner {
        let (weight_vd, bias_v) = model.head();
        let find = |tensor: &Tensor| {
            trained
                .iter()
                .position(|of| of.leaf.data_ptr() == tensor.data_ptr())
        };
        let trained_head = [find(&weight_vd), bias_v.as_ref().and_then(find)];
        let optimizer = AdamW::new(&trained, weight_decay);
        Learner {
            model,
            trained,
            optimizer,
            lora,
            recomputes: false,
            head: Head { weight_vd, bias_v },
            trained_head,
            device,
        }
    }

    /// Adds the gradients of one piece of a step of `step_targets` target tokens in all; gives the piece's summed
    /// negative log-likelihood in nats. `last` says that no piece follows. `dropout_seed` decides what is dropped.
    pub fn learn(&mut self, piece: &Piece, step_targets: usize, last: bool, dropout_seed: i64) -> f64 {
        let inputs = Inputs::of(piece, self.device);
        let mut pass = Pass::packed(&piece.lengths, self.device);
        let want = if self.trained_head[0].is_some() {
            Want::All
        } else {
            Want::Hidden
        };
        let loss = |hidden_nd: &Tensor| {
            loss::cross_entropy(
                hidden_nd,
                &inputs.target_n,
                &self.head,
                1.0 / step_targets as f64,
                want,
            )
        };
        let losses = if self.recomputes {
            self.learn_by_blocks(&inputs, &mut pass, dropout_seed, loss)
        } else {
            let mut x_1td = self.model.embed(&inputs.token_1t);
            for layer in 0..self.model.info().layers {
                x_1td = self.block(layer, &x_1td, &mut pass, dropout_seed);
            }
            let hidden_nd = self.finish(&x_1td, &inputs);
            let losses = loss(&hidden_nd);
            seed_backward(&hidden_nd, losses.hidden_nd.as_ref().expect("asked for"));
            losses
        };
        for (index, gradient) in self.trained_head.iter().zip([losses.weight_vd, losses.bias_v]) {
            if let (Some(index), Some(gradient)) = (index, gradient) {
                self.trained[*index].add_by_hand(gradient);
            }
        }
        for of in &mut self.trained {
            of.piece_done(last);
        }
        losses.nll
    }

    /// Forward without a record, keeping what goes into each block (Chen et al. 2016, <https://arxiv.org/abs/1604.06174>);
    /// then block by block from the last, each computed once more to be differentiated. Its gradients are those of one
    /// record of everything, to the last bit.
    fn learn_by_blocks(
        &self,
        inputs: &Inputs,
        pass: &mut Pass,
        dropout_seed: i64,
        loss: impl Fn(&Tensor) -> Losses,
    ) -> Losses {
        let (mut kept, mut x_1td) = (Vec::new(), Tensor::new());
        tch::no_grad(|| {
            x_1td = self.model.embed(&inputs.token_1t);
            for layer in 0..self.model.info().layers {
                let next_1td = self.block(layer, &x_1td, pass, dropout_seed);
                kept.push(std::mem::replace(&mut x_1td, next_1td));
            }
        });
        let leaf = |x: Tensor| x.detach().set_requires_grad(true);
        let top_1td = leaf(x_1td);
        let hidden_nd = self.finish(&top_1td, inputs);
        let losses = loss(&hidden_nd);
        seed_backward(&hidden_nd, losses.hidden_nd.as_ref().expect("asked for"));
        drop(hidden_nd);
        let mut gradient_1td = top_1td.grad();
        drop(top_1td);
        // With frozen embeddings nothing below the first block needs a gradient.
        let embedding_1td = self.model.embed(&inputs.token_1t);
        for (layer, x_1td) in kept.into_iter().enumerate().rev() {
            let x_1td = if layer > 0 || embedding_1td.requires_grad() {
                leaf(x_1td)
            } else {
                x_1td
            };
            let y_1td = self.block(layer, &x_1td, pass, dropout_seed);
            seed_backward(&y_1td, &gradient_1td);
            gradient_1td = x_1td.grad();
        }
        if embedding_1td.requires_grad() {
            seed_backward(&embedding_1td, &gradient_1td);
        }
        losses
    }

    /// Block `layer`, dropping what `dropout_seed` and its number say: the same whenever it is computed.
    fn block(&self, layer: usize, x_1td: &Tensor, pass: &mut Pass, dropout_seed: i64) -> Tensor {
        if self.lora.is_some_and(|lora| lora.dropout > 0.0) {
            tch::manual_seed(dropout_seed.wrapping_add(layer as i64));
        }
        self.model.block(layer, x_1td, pass)
    }

    /// What comes out of the last block, at target positions: `hidden_nd`.
    fn finish(&self, x_1td: &Tensor, inputs: &Inputs) -> Tensor {
        inputs.at_targets(&self.model.finish(x_1td))
    }

    /// The piece's summed negative log-likelihood in nats; nothing is learnt and nothing dropped.
    pub fn evaluate(&mut self, piece: &Piece) -> f64 {
        let _guard = tch::no_grad_guard();
        let dropout = self.lora.map_or(0.0, |lora| lora.dropout);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), 0.0);
        }
        let inputs = Inputs::of(piece, self.device);
        let mut pass = Pass::packed(&piece.lengths, self.device);
        let hidden_nd = inputs.at_targets(&self.model.forward(&inputs.token_1t, &mut pass));
        let losses = loss::cross_entropy(&hidden_nd, &inputs.target_n, &self.head, 1.0, Want::Loss);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), dropout);
        }
        losses.nll
    }

    /// Clips the gradients' global norm to `clip` (0 does not), updates with learning rate `rate`, and forgets the
    /// gradients. Changes nothing when the norm is not finite.
    pub fn update(&mut self, rate: f64, clip: f64) -> Update {
        let norm = optimizer::global_norm(&self.trained);
        if norm.is_finite() {
            self.optimizer
                .step(&mut self.trained, rate, optimizer::clip_factor(norm, clip));
        }
        self.forget();
        if norm.is_finite() {
            Update::Done(norm)
        } else {
            Update::NotFinite
        }
    }

    /// Forgets the gradients of an unfinished step.
    pub fn forget(&mut self) {
        self.trained.iter_mut().for_each(Trained::clear);
    }

    /// Masters and optimizer state, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let masters = self
            .trained
            .iter()
            .map(|of| (format!("master.{}", of.name), of.master.shallow_clone()));
        masters.chain(self.optimizer.state(&self.trained)).collect()
    }

    /// Takes over what [`Learner::state`] gave. Fails when a tensor is missing or of another shape.
    pub fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Tensor>) -> anyhow::Result<()> {
        let _guard = tch::no_grad_guard();
        for of in &mut self.trained {
            match take(&format!("master.{}", of.name)) {
                Some(saved) if saved.size() == of.master.size() => of.master.copy_(&saved),
                _ => anyhow::bail!("{} is missing or of another shape", of.name),
            }
            of.publish();
        }
        self.optimizer.restore(&self.trained, take)
    }
}
