//! A model in training: it takes the micro-batches of a step, accumulates gradients, and updates
//! once at the end.
//!
//! The loss is the mean over all target tokens of the step. Each micro-batch adds its sum divided
//! by the step's count, so gradients simply add up, however the step is cut. Logits exist at target
//! positions only, a chunk at a time (see [`super::loss`]). The backward pass through the blocks
//! starts from the gradient that the head returns: as `Σ y · dy`, whose derivative by `y` is `dy`
//! exactly.
//!
//! Shapes: `t` tokens of a micro-batch, `w` of them before a target, `n` targets, `d` hidden, `v`
//! vocabulary.

use super::backward::{find_head, seed_backward};
use super::inputs::{Inputs, Rounding};
use super::loss::{self, Head, LossGradients, Losses};
use super::neftune;
use crate::model::CausalLm;
use crate::model::layers::attention::ForwardPass;
use crate::model::layers::lora::with_rows;
use crate::shim::recorded::Training;
use crate::train::data::micro_batch::MicroBatch;
use crate::train::optim::lora;
use crate::train::optim::optimizer::{self, Optimizer, OptimizerConfig};
use crate::train::optim::parameter::Parameter;
use crate::train::shards::units::Shards;
use ewe::finetune::LoraSettings;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tch::{Device, Tensor};

/// A model, its trained parameters, and the optimizer.
pub struct Trainer {
    /// The model.
    pub model: Box<dyn CausalLm>,
    /// Trained parameters.
    pub trained: Vec<Parameter>,
    /// Optimizer of `trained`.
    pub optimizer: Optimizer,
    /// Settings of the adapter, none for full fine-tuning.
    pub lora: Option<LoraSettings>,
    /// Time spent on updates so far.
    pub update_time: Duration,
    /// Whether a block's activations are dropped and computed again in the backward pass.
    pub recompute: bool,
    /// Sizes that micro-batches are filled up to.
    pub rounding: Option<Rounding>,
    /// Strength of the noise on embeddings; none for no noise. See [`neftune`].
    pub neftune: Option<f64>,
    /// The longest sequence of the step through each [key](MicroBatch::keys), beyond those of its
    /// own micro-batch.
    pub step_lengths: HashMap<i64, i64>,
    pub(super) head: Head,
    /// Indices in `trained` of the head's weight and bias.
    pub(super) trained_head: [Option<usize>; 2],
    pub(super) device: Device,
    /// The parts of parameters that this rank has, if several divide them.
    pub shards: Option<Shards>,
    _training: Training,
}

/// Result of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// The weights were updated; the global norm of the gradients before clipping.
    Updated(f64),
    /// The step was refused for this reason; nothing changed.
    Refused(String),
    /// A gradient was not finite after other weights had been updated.
    Partial,
}

/// Returns the reason to refuse a step, if there is one. Takes the summed negative log-likelihood
/// in nats, and the norm of the gradients if it is known.
pub type Refuses<'a> = &'a dyn Fn(f64, Option<f64>) -> Option<String>;

impl Trainer {
    /// Trains every weight. `exact` returns fp32 values by name if the checkpoint is more precise
    /// than the model computes.
    pub fn full(
        model: Box<dyn CausalLm>,
        mut exact: impl FnMut(&str) -> Option<Tensor>,
        config: OptimizerConfig,
        device: Device,
    ) -> Trainer {
        let trained = model
            .parameters()
            .into_iter()
            .map(|(name, leaf)| {
                let values = exact(&name);
                let of = Parameter::new(name, leaf, values, config.formats.master);
                if config.formats.offload {
                    of.offloaded()
                } else {
                    of
                }
            })
            .collect();
        Trainer::new(model, trained, None, config, device)
    }

    /// Trains an fp32 adapter on linear layers of the blocks.
    pub fn lora(
        mut model: Box<dyn CausalLm>,
        settings: LoraSettings,
        seed: u64,
        config: OptimizerConfig,
        device: Device,
    ) -> Trainer {
        let trained = lora::attach(model.as_mut(), &settings, seed, device);
        Trainer::new(model, trained, Some(settings), config, device)
    }

    fn new(
        model: Box<dyn CausalLm>,
        trained: Vec<Parameter>,
        lora: Option<LoraSettings>,
        config: OptimizerConfig,
        device: Device,
    ) -> Trainer {
        let trained_head = find_head(model.as_ref(), trained.iter().map(|of| &of.leaf));
        Trainer::made(model, trained, (trained_head, lora), config, device)
    }

    /// Makes a trainer of a model with a head that is known among the parameters.
    pub(super) fn made(
        model: Box<dyn CausalLm>,
        trained: Vec<Parameter>,
        (trained_head, lora): ([Option<usize>; 2], Option<LoraSettings>),
        config: OptimizerConfig,
        device: Device,
    ) -> Trainer {
        let (weight_vd, bias_v) = model.head();
        let optimizer = Optimizer::new(config, &trained);
        let form = model.logit_form();
        Trainer {
            model,
            trained,
            optimizer,
            lora,
            update_time: Duration::ZERO,
            recompute: false,
            rounding: Rounding::of(weight_vd.kind(), device),
            neftune: None,
            step_lengths: HashMap::new(),
            head: Head {
                weight_vd,
                bias_v,
                form,
            },
            trained_head,
            device,
            shards: None,
            _training: Training::hold(),
        }
    }

    /// Adds the gradients of one micro-batch, in a step of `step_targets` targets in all. Returns
    /// its summed negative log-likelihood in nats. With `last`, no micro-batch follows. Dropout
    /// and noise are a function of `dropout_seed`.
    pub fn forward_backward(
        &mut self,
        micro_batch: &MicroBatch,
        step_targets: usize,
        last: bool,
        dropout_seed: i64,
    ) -> f64 {
        if self.recompute {
            return self.step_by_blocks(&[(micro_batch, dropout_seed)], step_targets, last, None);
        }
        let inputs = self.inputs(micro_batch);
        let mut pass = inputs.pass(micro_batch, self.model.info().layers);
        let mut x_1td = self.embed(&inputs, micro_batch, dropout_seed);
        for layer in 0..self.model.info().layers {
            x_1td = self.block(layer, &x_1td, &mut pass, &inputs, dropout_seed);
        }
        let hidden_nd = self.finish(&x_1td, &inputs);
        let losses = self.loss(&hidden_nd, &inputs, step_targets);
        seed_backward(&hidden_nd, losses.hidden_nd.as_ref().expect("asked for"));
        let nll = losses.nll;
        self.add_head(losses);
        self.micro_batch_done(last);
        nll
    }

    pub(super) fn loss(&self, hidden_nd: &Tensor, inputs: &Inputs, step_targets: usize) -> Losses {
        let want = if self.trained_head[0].is_some() {
            LossGradients::All
        } else {
            LossGradients::Hidden
        };
        let scale = 1.0 / step_targets as f64;
        loss::cross_entropy(hidden_nd, &inputs.target_n, &self.head, scale, want)
    }

    pub(super) fn add_head(&mut self, losses: Losses) {
        for (index, gradient) in self.trained_head.iter().zip([losses.weight_vd, losses.bias_v]) {
            if let (Some(index), Some(gradient)) = (index, gradient) {
                self.trained[*index].add_by_hand(gradient);
            }
        }
    }

    pub(super) fn micro_batch_done(&mut self, last: bool) {
        self.trained.iter_mut().for_each(|of| of.micro_batch_done(last));
    }

    /// Embeds the tokens of a micro-batch, with noise if there is any.
    pub(super) fn embed(&self, inputs: &Inputs, micro_batch: &MicroBatch, dropout_seed: i64) -> Tensor {
        let x_1td = self.model.embed(&inputs.token_1t);
        match self.neftune {
            Some(alpha) => {
                let (keys, lengths) = (micro_batch.keys(), micro_batch.lengths());
                let longest = keys.iter().zip(lengths).map(|(key, length)| {
                    let of_step = self.step_lengths.get(key).copied();
                    of_step.map_or(length, |of_step| of_step.max(length))
                });
                let seed = super::draw(dropout_seed as u64, "neftune", 0);
                neftune::add_noise(&x_1td, &keys, &longest.collect::<Vec<_>>(), alpha, seed)
            }
            None => x_1td,
        }
    }

    fn has_dropout(&self) -> bool {
        self.lora.as_ref().is_some_and(|lora| lora.dropout > 0.0)
    }

    pub(super) fn inputs(&self, micro_batch: &MicroBatch) -> Inputs {
        // Noise and dropout are drawn for the rows that there are.
        let draws = self.neftune.is_some() || self.has_dropout();
        let rounding = self.rounding.filter(|_| !draws);
        Inputs::of(micro_batch, self.device, self.has_dropout(), rounding)
    }

    /// Runs block `layer`. Its dropout is a function of `dropout_seed`, its number and what each
    /// token follows, so that a second computation is the same, and so is one of another cut.
    pub(super) fn block(
        &self,
        layer: usize,
        x_1td: &Tensor,
        pass: &mut ForwardPass,
        inputs: &Inputs,
        dropout_seed: i64,
    ) -> Tensor {
        let mut run = || self.model.block(layer, x_1td, pass);
        match self.has_dropout() {
            true => {
                let seed = super::draw(dropout_seed as u64, "block", layer as u64);
                with_rows(inputs.row_keys(), seed, run)
            }
            false => run(),
        }
    }

    /// Turns the output of the last block into `hidden_nd`.
    pub(super) fn finish(&self, x_1wd: &Tensor, inputs: &Inputs) -> Tensor {
        inputs.at_targets(&self.model.finish(x_1wd))
    }

    /// Returns the summed negative log-likelihood of a micro-batch in nats, without gradients and
    /// dropout.
    pub fn evaluate(&mut self, micro_batch: &MicroBatch) -> f64 {
        let _guard = tch::no_grad_guard();
        self.without_dropout(|of| {
            let inputs = of.inputs(micro_batch);
            let mut pass = inputs.pass(micro_batch, of.model.info().layers);
            let hidden_nd = inputs.at_targets(&of.model.forward(&inputs.token_1t, &mut pass));
            loss::cross_entropy(&hidden_nd, &inputs.target_n, &of.head, 1.0, LossGradients::None).nll
        })
    }

    /// Runs `work` while the adapter drops nothing.
    pub(super) fn without_dropout<T>(&mut self, work: impl FnOnce(&mut Trainer) -> T) -> T {
        let dropout = self.lora.as_ref().map_or(0.0, |lora| lora.dropout);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), 0.0);
        }
        let done = work(self);
        if dropout > 0.0 {
            lora::set_dropout(self.model.as_mut(), dropout);
        }
        done
    }

    /// Clips the global norm of the gradients to `clip` (0 does not clip), updates with learning
    /// rate `rate`, and drops the gradients. Updates nothing if `refuses` returns a reason against
    /// the norm.
    pub fn update(&mut self, rate: f64, clip: f64, refuses: &dyn Fn(f64) -> Option<String>) -> StepOutcome {
        let list: Vec<(usize, &Parameter)> = self.trained.iter().enumerate().collect();
        let norms = self.optimizer.norms(&list);
        let norm = optimizer::global_norm(norms.each.iter().copied().flatten());
        let refused = refuses(norm);
        if refused.is_none() {
            let begun = Instant::now();
            let factor = optimizer::clip_factor(norm, clip);
            self.optimizer.step_all(&list, rate, factor, Some(&norms));
            self.update_time += begun.elapsed();
        }
        self.forget();
        refused.map_or(StepOutcome::Updated(norm), StepOutcome::Refused)
    }

    /// Drops the gradients of an unfinished step.
    pub fn forget(&mut self) {
        self.trained.iter_mut().for_each(Parameter::clear);
    }

    /// Returns weights and optimizer state by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let weights = self.trained.iter().flat_map(|of| {
            let kept = of.tensors().into_iter();
            kept.map(|(kept, tensor)| (format!("{kept}.{}", of.name), tensor))
        });
        weights.chain(self.optimizer.state(&self.trained)).collect()
    }

    /// Restores what [`Trainer::state`] returned. Fails if a tensor is missing or of another shape.
    pub fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Tensor>) -> anyhow::Result<()> {
        for of in &mut self.trained {
            of.restore(take)?;
        }
        self.optimizer.restore(&self.trained, take)
    }
}
