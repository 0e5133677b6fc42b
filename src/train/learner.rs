//! A model in training: pieces of a step in, gradients out, one update at the end.
//!
//! The loss is the mean over the target tokens of the whole step. Each piece's share is its sum divided by the step's
//! count, so gradients simply add up however the step is cut. Logits exist only at target positions, a chunk at a time
//! (see [`super::loss`]): the body's backward is seeded with the head's gradient, `Σ y · dy`, whose derivative by `y`
//! is `dy` exactly.
//!
//! Shapes: `b` rows, `t` positions, `n` target positions, `d` hidden, `v` vocabulary.

use super::batch::Piece;
use super::lora::{self, LoraSettings};
use super::loss::{self, Head, Want};
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
            head: Head { weight_vd, bias_v },
            trained_head,
            device,
        }
    }

    /// Adds the gradients of one piece of a step of `step_targets` target tokens in all; gives the piece's summed
    /// negative log-likelihood in nats. `last` says that no piece follows. `dropout_seed` decides what is dropped.
    pub fn learn(&mut self, piece: &Piece, step_targets: usize, last: bool, dropout_seed: i64) -> f64 {
        if self.lora.is_some_and(|lora| lora.dropout > 0.0) {
            tch::manual_seed(dropout_seed);
        }
        let hidden_nd = self.hidden_at_targets(piece);
        let want = if self.trained_head[0].is_some() {
            Want::All
        } else {
            Want::Hidden
        };
        let target_n = Tensor::from_slice(&piece.target_n).to_device(self.device);
        let losses = loss::cross_entropy(&hidden_nd, &target_n, &self.head, 1.0 / step_targets as f64, want);
        let gradient_nd = losses.hidden_nd.expect("asked for");
        (hidden_nd * gradient_nd).sum(Kind::Float).backward();
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

    /// The piece's summed negative log-likelihood in nats; nothing is learnt and nothing dropped.
    pub fn evaluate(&mut self, piece: &Piece) -> f64 {
        let _guard = tch::no_grad_guard();
        let dropout = self.lora.map_or(0.0, |lora| lora.dropout);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), 0.0);
        }
        let hidden_nd = self.hidden_at_targets(piece);
        let target_n = Tensor::from_slice(&piece.target_n).to_device(self.device);
        let losses = loss::cross_entropy(&hidden_nd, &target_n, &self.head, 1.0, Want::Loss);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), dropout);
        }
        losses.nll
    }

    fn hidden_at_targets(&self, piece: &Piece) -> Tensor {
        let (rows, width) = (piece.rows as i64, piece.width as i64);
        let tokens_bt = Tensor::from_slice(&piece.ids_bt)
            .view([rows, width])
            .to_device(self.device);
        let position_n = Tensor::from_slice(&piece.position_n).to_device(self.device);
        let hidden_btd = self
            .model
            .forward(&tokens_bt, &mut Pass::whole(rows, width, self.device));
        hidden_btd.flatten(0, 1).index_select(0, &position_n)
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
