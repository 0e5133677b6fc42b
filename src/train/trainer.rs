//! A model in training: pieces of a step in, gradients out, one update at the end.
//!
//! The loss is the mean over the target tokens of the whole step. Each piece's share is its sum divided by the step's
//! count, so gradients simply add up however the step is cut. Logits exist only at target positions, a chunk at a time
//! (see [`super::loss`]): the body's backward is seeded with the head's gradient, `Σ y · dy`, whose derivative by `y`
//! is `dy` exactly.
//!
//! Shapes: `t` tokens of a piece, `w` of them before a target, `n` targets, `d` hidden, `v` vocabulary.

use super::loss::{self, Head, Losses, Want};
use crate::model::CausalLm;
use crate::model::attention::ForwardPass;
use crate::train::data::micro_batch::MicroBatch;
use crate::train::optim::lora::{self, LoraSettings};
use crate::train::optim::optimizer::{self, Optimizer, Rule};
use crate::train::optim::parameter::Parameter;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// A model, what is trained of it, and the optimizer.
pub struct Trainer {
    /// The model.
    pub model: Box<dyn CausalLm>,
    /// What is trained of it.
    pub trained: Vec<Parameter>,
    /// What updates that.
    pub optimizer: Optimizer,
    /// The adapter's settings, unless every weight is trained.
    pub lora: Option<LoraSettings>,
    /// Time spent on moving weights so far.
    pub updating: Duration,
    /// Whether a block's activations are forgotten and computed again when its gradients are due.
    pub recomputes: bool,
    head: Head,
    /// Indices in `trained` of the head's weight and bias.
    trained_head: [Option<usize>; 2],
    device: Device,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The weights moved; the gradients' global norm before clipping.
    Done(f64),
    /// It was refused, for this reason; nothing changed.
    Refused(String),
    /// A gradient turned out not to be finite when other weights had moved already.
    Torn,
}

/// A piece on its way through the blocks.
struct Flow {
    inputs: Inputs,
    pass: ForwardPass<'static>,
    dropout_seed: i64,
    /// What went into each block, and what came out of the last one.
    kept: Vec<Tensor>,
    /// Of what comes out of the block that is looked at.
    gradient_1td: Tensor,
}

/// Why a step is not to be done: asked about its summed negative log-likelihood in nats, and about the gradients' norm where that is
/// known.
pub type Refuses<'a> = &'a dyn Fn(f64, Option<f64>) -> Option<String>;

/// What happens to gradients as soon as those of a block are complete: their norms are noted, weights may move by them, and they go.
struct Settling<'a> {
    /// In the order of [`Trainer::trained`].
    norms: Vec<Option<f64>>,
    /// Learning rate, and what gradients are first multiplied with; none where nothing moves.
    moves: Option<(f64, f64)>,
    /// Asked about the loss before anything moves.
    refuses: Refuses<'a>,
    refused: Option<String>,
}

impl Settling<'_> {
    fn norm(&self) -> f64 {
        optimizer::global_norm(self.norms.iter().flatten().copied())
    }
}

/// A piece as tensors. Of what the last block computes, only positions whose next token is a target are wanted.
struct Inputs {
    token_1t: Tensor,
    position_w: Tensor,
    /// Of each target, which of the wanted positions is before it; none where these are the targets' one by one.
    place_n: Option<Tensor>,
    target_n: Tensor,
}

impl Inputs {
    fn of(piece: &MicroBatch, device: Device) -> Inputs {
        let tensor = |values: &[i64]| Tensor::from_slice(values).to_device(device);
        let (position_w, place_n) = piece.wanted();
        Inputs {
            token_1t: tensor(&piece.id_t).unsqueeze(0),
            position_w: tensor(&position_w),
            place_n: place_n.map(|place_n| tensor(&place_n)),
            target_n: tensor(&piece.target_n),
        }
    }

    /// A pass through the `layers` blocks of a model.
    fn pass(&self, piece: &MicroBatch, layers: usize) -> ForwardPass<'static> {
        let pass = ForwardPass::packed(&piece.branches, self.token_1t.device());
        if self.position_w.size()[0] == self.token_1t.size()[1] {
            return pass;
        }
        pass.wanted_at(layers - 1, self.position_w.shallow_clone())
    }

    /// What there is before each target: `[1, w, d]` to `[n, d]`.
    fn at_targets(&self, hidden_1wd: &Tensor) -> Tensor {
        let hidden_wd = hidden_1wd.flatten(0, 1);
        match &self.place_n {
            Some(place_n) => hidden_wd.index_select(0, place_n),
            None => hidden_wd,
        }
    }
}

/// Propagates `gradient` back from `y`: the derivative of `Σ y · gradient` by `y` is `gradient` exactly, and `tch` has no
/// backward with a gradient to begin with.
fn seed_backward(y: &Tensor, gradient: &Tensor) {
    (y * gradient).sum(Kind::Float).backward();
}

/// `x` as a leaf of a record of its own.
fn recorded(x: Tensor) -> Tensor {
    x.detach().set_requires_grad(true)
}

impl Trainer {
    /// Trains every weight. `exact` gives fp32 values by name where the checkpoint has more precision than the model
    /// computes in.
    pub fn full(
        model: Box<dyn CausalLm>,
        mut exact: impl FnMut(&str) -> Option<Tensor>,
        rule: Rule,
        device: Device,
    ) -> Trainer {
        let trained = model
            .parameters()
            .into_iter()
            .map(|(name, leaf)| {
                let values = exact(&name);
                let of = Parameter::new(name, leaf, values, rule.master);
                if rule.offload { of.offloaded() } else { of }
            })
            .collect();
        Trainer::new(model, trained, None, rule, device)
    }

    /// Trains an adapter on linear layers of the blocks; it is fp32.
    pub fn lora(
        mut model: Box<dyn CausalLm>,
        settings: LoraSettings,
        seed: u64,
        rule: Rule,
        device: Device,
    ) -> Trainer {
        let trained = lora::attach(model.as_mut(), &settings, seed, device);
        Trainer::new(model, trained, Some(settings), rule, device)
    }

    fn new(
        model: Box<dyn CausalLm>,
        trained: Vec<Parameter>,
        lora: Option<LoraSettings>,
        rule: Rule,
        device: Device,
    ) -> Trainer {
        let (weight_vd, bias_v) = model.head();
        let find = |tensor: &Tensor| {
            trained
                .iter()
                .position(|of| of.leaf.data_ptr() == tensor.data_ptr())
        };
        let trained_head = [find(&weight_vd), bias_v.as_ref().and_then(find)];
        let optimizer = Optimizer::new(rule, &trained);
        Trainer {
            model,
            trained,
            optimizer,
            lora,
            updating: Duration::ZERO,
            recomputes: false,
            head: Head { weight_vd, bias_v },
            trained_head,
            device,
        }
    }

    /// Adds the gradients of one piece of a step of `step_targets` target tokens in all; gives the piece's summed
    /// negative log-likelihood in nats. `last` says that no piece follows. `dropout_seed` decides what is dropped.
    pub fn learn(&mut self, piece: &MicroBatch, step_targets: usize, last: bool, dropout_seed: i64) -> f64 {
        if self.recomputes {
            return self.step_by_blocks(&[(piece, dropout_seed)], step_targets, last, None);
        }
        let inputs = Inputs::of(piece, self.device);
        let mut pass = inputs.pass(piece, self.model.info().layers);
        let mut x_1td = self.model.embed(&inputs.token_1t);
        for layer in 0..self.model.info().layers {
            x_1td = self.block(layer, &x_1td, &mut pass, dropout_seed);
        }
        let hidden_nd = self.finish(&x_1td, &inputs);
        let losses = self.loss(&hidden_nd, &inputs, step_targets);
        seed_backward(&hidden_nd, losses.hidden_nd.as_ref().expect("asked for"));
        let nll = losses.nll;
        self.add_head(losses);
        self.piece_done(last);
        nll
    }

    /// A whole step in which each block's weights move as soon as their gradients are there, so that gradients of no more than one
    /// block exist (LOMO, Lv et al. 2023, <https://arxiv.org/abs/2306.09782>). To clip by the global norm, everything is computed
    /// twice: once to measure it. `refuses` is asked about the step's summed negative log-likelihood in nats, which is given back,
    /// and about the norm where that is known before anything moves.
    pub fn learn_and_update(
        &mut self,
        pieces: &[(&MicroBatch, i64)],
        step_targets: usize,
        rate: f64,
        clip: f64,
        refuses: Refuses,
    ) -> (f64, Update) {
        let settling = |moves: Option<(f64, f64)>| Settling {
            norms: vec![None; self.trained.len()],
            moves,
            refuses,
            refused: None,
        };
        let (mut measured, mut moving) = (settling(None), settling(Some((rate, 1.0))));
        if clip > 0.0 {
            let nll = self.step_by_blocks(pieces, step_targets, true, Some(&mut measured));
            let norm = measured.norm();
            if let Some(why) = measured.refused.or_else(|| refuses(nll, Some(norm))) {
                return (nll, Update::Refused(why));
            }
            moving.moves = Some((rate, optimizer::clip_factor(norm, clip)));
        }
        let nll = self.step_by_blocks(pieces, step_targets, true, Some(&mut moving));
        let norm = moving.norm();
        let moved = moving.norms.iter().flatten().any(|norm| norm.is_finite());
        let update = match moving.refused {
            Some(why) => Update::Refused(why),
            None if norm.is_finite() => Update::Done(norm),
            None if moved => Update::Torn,
            None => Update::Refused("the gradient is not finite".to_owned()),
        };
        (nll, update)
    }

    /// Forward without a record, keeping what goes into each block (Chen et al. 2016, <https://arxiv.org/abs/1604.06174>);
    /// then block by block from the last, each computed once more to be differentiated, all pieces one after the other. Gradients
    /// are those of one record of everything, to the last bit.
    fn step_by_blocks(
        &mut self,
        pieces: &[(&MicroBatch, i64)],
        step_targets: usize,
        last: bool,
        mut settling: Option<&mut Settling>,
    ) -> f64 {
        let mut flows: Vec<Flow> = pieces
            .iter()
            .map(|&(piece, dropout_seed)| self.flow(piece, dropout_seed))
            .collect();
        let count = flows.len();
        let mut nll = 0.0;
        for (number, flow) in flows.iter_mut().enumerate() {
            let top_1wd = recorded(flow.kept.pop().expect("what came out of the last block"));
            let hidden_nd = self.finish(&top_1wd, &flow.inputs);
            let losses = self.loss(&hidden_nd, &flow.inputs, step_targets);
            seed_backward(&hidden_nd, losses.hidden_nd.as_ref().expect("asked for"));
            flow.gradient_1td = top_1wd.grad();
            nll += losses.nll;
            self.add_head(losses);
            self.piece_done(last && number + 1 == count);
        }
        if let Some(settling) = &mut settling {
            settling.refused = (settling.refuses)(nll, None);
            if settling.refused.is_some() {
                self.forget();
                return nll;
            }
        }
        self.settle(settling.as_deref_mut(), false);
        // With frozen embeddings nothing below the first block needs a gradient.
        let embeds = self
            .model
            .embed(&flows[0].inputs.token_1t.narrow(1, 0, 1))
            .requires_grad();
        for layer in (0..self.model.info().layers).rev() {
            for (number, flow) in flows.iter_mut().enumerate() {
                let x_1td = flow.kept.pop().expect("what went into each block");
                let x_1td = if layer > 0 || embeds {
                    recorded(x_1td)
                } else {
                    x_1td
                };
                let y_1td = self.block(layer, &x_1td, &mut flow.pass, flow.dropout_seed);
                seed_backward(&y_1td, &flow.gradient_1td);
                flow.gradient_1td = x_1td.grad();
                self.piece_done(last && number + 1 == count);
            }
            self.settle(settling.as_deref_mut(), false);
        }
        if embeds {
            for (number, flow) in flows.iter().enumerate() {
                seed_backward(&self.model.embed(&flow.inputs.token_1t), &flow.gradient_1td);
                self.piece_done(last && number + 1 == count);
            }
        }
        self.settle(settling, true);
        nll
    }

    /// Sends a piece through the model without a record.
    fn flow(&self, piece: &MicroBatch, dropout_seed: i64) -> Flow {
        let _guard = tch::no_grad_guard();
        let inputs = Inputs::of(piece, self.device);
        let mut flow = Flow {
            pass: inputs.pass(piece, self.model.info().layers),
            inputs,
            dropout_seed,
            kept: Vec::new(),
            gradient_1td: Tensor::new(),
        };
        let mut x_1td = self.model.embed(&flow.inputs.token_1t);
        for layer in 0..self.model.info().layers {
            let next_1td = self.block(layer, &x_1td, &mut flow.pass, dropout_seed);
            flow.kept.push(std::mem::replace(&mut x_1td, next_1td));
        }
        flow.kept.push(x_1td);
        flow
    }

    /// Settles the gradients that are complete, or leaves all to the step's end. A head that is the embedding too is complete at the
    /// `end` only.
    fn settle(&mut self, settling: Option<&mut Settling>, end: bool) {
        let Some(settling) = settling else { return };
        let waits = self.trained_head[0].filter(|_| !end && self.model.info().tied);
        for index in (0..self.trained.len()).filter(|&index| waits != Some(index)) {
            let Some(norm) = optimizer::norm(&self.trained[index]) else {
                continue;
            };
            settling.norms[index] = Some(norm);
            if let Some((rate, factor)) = settling.moves.filter(|_| norm.is_finite()) {
                let begun = Instant::now();
                self.optimizer.step(index, &self.trained[index], rate, factor);
                self.updating += begun.elapsed();
            }
            self.trained[index].clear();
        }
    }

    fn loss(&self, hidden_nd: &Tensor, inputs: &Inputs, step_targets: usize) -> Losses {
        let want = if self.trained_head[0].is_some() {
            Want::All
        } else {
            Want::Hidden
        };
        let scale = 1.0 / step_targets as f64;
        loss::cross_entropy(hidden_nd, &inputs.target_n, &self.head, scale, want)
    }

    fn add_head(&mut self, losses: Losses) {
        for (index, gradient) in self.trained_head.iter().zip([losses.weight_vd, losses.bias_v]) {
            if let (Some(index), Some(gradient)) = (index, gradient) {
                self.trained[*index].add_by_hand(gradient);
            }
        }
    }

    fn piece_done(&mut self, last: bool) {
        self.trained.iter_mut().for_each(|of| of.piece_done(last));
    }

    /// Block `layer`, dropping what `dropout_seed` and its number say: the same whenever it is computed.
    fn block(&self, layer: usize, x_1td: &Tensor, pass: &mut ForwardPass, dropout_seed: i64) -> Tensor {
        if self.lora.as_ref().is_some_and(|lora| lora.dropout > 0.0) {
            tch::manual_seed(dropout_seed.wrapping_add(layer as i64));
        }
        self.model.block(layer, x_1td, pass)
    }

    /// What comes out of the last block to `hidden_nd`.
    fn finish(&self, x_1wd: &Tensor, inputs: &Inputs) -> Tensor {
        inputs.at_targets(&self.model.finish(x_1wd))
    }

    /// The piece's summed negative log-likelihood in nats; nothing is learnt and nothing dropped.
    pub fn evaluate(&mut self, piece: &MicroBatch) -> f64 {
        let _guard = tch::no_grad_guard();
        let dropout = self.lora.as_ref().map_or(0.0, |lora| lora.dropout);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), 0.0);
        }
        let inputs = Inputs::of(piece, self.device);
        let mut pass = inputs.pass(piece, self.model.info().layers);
        let hidden_nd = inputs.at_targets(&self.model.forward(&inputs.token_1t, &mut pass));
        let losses = loss::cross_entropy(&hidden_nd, &inputs.target_n, &self.head, 1.0, Want::Loss);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), dropout);
        }
        losses.nll
    }

    /// Clips the gradients' global norm to `clip` (0 does not), updates with learning rate `rate`, and forgets the
    /// gradients. Changes nothing when `refuses` has a reason against that norm.
    pub fn update(&mut self, rate: f64, clip: f64, refuses: &dyn Fn(f64) -> Option<String>) -> Update {
        let norm = optimizer::global_norm(self.trained.iter().filter_map(optimizer::norm));
        let refused = refuses(norm);
        if refused.is_none() {
            let begun = Instant::now();
            let factor = optimizer::clip_factor(norm, clip);
            for (index, of) in self.trained.iter().enumerate() {
                self.optimizer.step(index, of, rate, factor);
            }
            self.updating += begun.elapsed();
        }
        self.forget();
        refused.map_or(Update::Done(norm), Update::Refused)
    }

    /// Forgets the gradients of an unfinished step.
    pub fn forget(&mut self) {
        self.trained.iter_mut().for_each(Parameter::clear);
    }

    /// Weights and optimizer state, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let weights = self.trained.iter().flat_map(|of| {
            let kept = of.tensors().into_iter();
            kept.map(|(kept, tensor)| (format!("{kept}.{}", of.name), tensor))
        });
        weights.chain(self.optimizer.state(&self.trained)).collect()
    }

    /// Takes over what [`Trainer::state`] gave. Fails when a tensor is missing or of another shape.
    pub fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Tensor>) -> anyhow::Result<()> {
        for of in &mut self.trained {
            of.restore(take)?;
        }
        self.optimizer.restore(&self.trained, take)
    }
}
