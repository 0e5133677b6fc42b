//! A step block by block: activations within a block are computed again for its backward pass, and
//! its gradients may be used at once.

use super::backward::{as_leaf, seed_backward};
use super::inputs::Inputs;
use super::trainer::{Refuses, StepOutcome, Trainer};
use crate::model::layers::attention::ForwardPass;
use crate::train::data::micro_batch::MicroBatch;
use crate::train::optim::optimizer;
use crate::train::optim::parameter::Parameter;
use std::time::Instant;
use tch::Tensor;

/// A micro-batch between the blocks.
pub(super) struct InFlight {
    pub(super) inputs: Inputs,
    pub(super) pass: ForwardPass<'static>,
    pub(super) dropout_seed: i64,
    /// Inputs of the blocks that are left, and the output of the last one on top.
    pub(super) kept: Vec<Tensor>,
    /// Gradient of the output of the block that is next in the backward pass.
    pub(super) gradient_1td: Tensor,
}

/// Handles the gradients of a block as soon as they are complete: notes their norms, updates the
/// weights if asked to, and drops them.
pub(super) struct BackwardUpdates<'a> {
    /// Norm of each gradient, in the order of [`Trainer::trained`].
    norms: Vec<Option<f64>>,
    /// Learning rate, and the factor of the gradients; none to update nothing.
    step: Option<(f64, f64)>,
    /// Asked about the loss before anything is updated.
    refuses: Refuses<'a>,
    refused: Option<String>,
}

impl BackwardUpdates<'_> {
    fn norm(&self) -> f64 {
        optimizer::global_norm(self.norms.iter().flatten().copied())
    }
}

impl Trainer {
    /// Runs a whole step that updates each block as soon as its gradients are complete, so that no
    /// more than one block's gradients exist (LOMO, Lv et al. 2023,
    /// <https://arxiv.org/abs/2306.09782>). To clip by the global norm, everything is computed
    /// twice: the first time to measure it. Returns the step's summed negative log-likelihood in
    /// nats. `refuses` is asked about that, and about the norm if it is known before anything is
    /// updated.
    pub fn update_in_backward_pass(
        &mut self,
        micro_batches: &[(&MicroBatch, i64)],
        step_targets: usize,
        rate: f64,
        clip: f64,
        refuses: Refuses,
    ) -> (f64, StepOutcome) {
        let new = |step: Option<(f64, f64)>| BackwardUpdates {
            norms: vec![None; self.trained.len()],
            step,
            refuses,
            refused: None,
        };
        let (mut first_pass, mut second_pass) = (new(None), new(Some((rate, 1.0))));
        if clip > 0.0 {
            let nll = self.step_by_blocks(micro_batches, step_targets, true, Some(&mut first_pass));
            let norm = first_pass.norm();
            if let Some(why) = first_pass.refused.or_else(|| refuses(nll, Some(norm))) {
                return (nll, StepOutcome::Refused(why));
            }
            second_pass.step = Some((rate, optimizer::clip_factor(norm, clip)));
        }
        let nll = self.step_by_blocks(micro_batches, step_targets, true, Some(&mut second_pass));
        let norm = second_pass.norm();
        let updated = second_pass.norms.iter().flatten().any(|norm| norm.is_finite());
        let update = match second_pass.refused {
            Some(why) => StepOutcome::Refused(why),
            None if norm.is_finite() => StepOutcome::Updated(norm),
            None if updated => StepOutcome::Partial,
            None => StepOutcome::Refused("the gradient is not finite".to_owned()),
        };
        (nll, update)
    }

    /// Runs the forward pass without autograd, keeping the input of each block (activation
    /// checkpointing, Chen et al. 2016, <https://arxiv.org/abs/1604.06174>). Then, from the last
    /// block to the first, computes the block once more with autograd and runs its backward pass,
    /// for all micro-batches in turn. Gradients equal those of one pass with autograd to the last
    /// bit.
    pub(super) fn step_by_blocks(
        &mut self,
        micro_batches: &[(&MicroBatch, i64)],
        step_targets: usize,
        last: bool,
        mut updates: Option<&mut BackwardUpdates>,
    ) -> f64 {
        let mut in_flight: Vec<InFlight> = micro_batches
            .iter()
            .map(|&(micro_batch, dropout_seed)| self.forward(micro_batch, dropout_seed))
            .collect();
        let count = in_flight.len();
        let nll = self.heads(&mut in_flight, step_targets, last);
        if let Some(updates) = &mut updates {
            updates.refused = (updates.refuses)(nll, None);
            if updates.refused.is_some() {
                self.forget();
                return nll;
            }
        }
        self.take_gradients(updates.as_deref_mut(), false);
        // If embeddings are frozen, nothing below the first block needs a gradient.
        let embeds = self
            .model
            .embed(&in_flight[0].inputs.token_1t.narrow(1, 0, 1))
            .requires_grad();
        for layer in (0..self.model.info().layers).rev() {
            for (number, one) in in_flight.iter_mut().enumerate() {
                let x_1td = one.kept.pop().expect("what went into each block");
                let x_1td = if layer > 0 || embeds {
                    as_leaf(x_1td)
                } else {
                    x_1td
                };
                let y_1td = self.block(layer, &x_1td, &mut one.pass, &one.inputs, one.dropout_seed);
                seed_backward(&y_1td, &one.gradient_1td);
                one.gradient_1td = x_1td.grad();
                self.micro_batch_done(last && number + 1 == count);
            }
            self.take_gradients(updates.as_deref_mut(), false);
        }
        if embeds {
            for (number, one) in in_flight.iter().enumerate() {
                seed_backward(&self.model.embed(&one.inputs.token_1t), &one.gradient_1td);
                self.micro_batch_done(last && number + 1 == count);
            }
        }
        self.take_gradients(updates, true);
        nll
    }

    /// Runs the head, forward and backward, for all micro-batches in turn, in a step of
    /// `step_targets` targets in all. Returns their summed negative log-likelihood in nats.
    pub(super) fn heads(&mut self, in_flight: &mut [InFlight], step_targets: usize, last: bool) -> f64 {
        let (mut nll, count) = (0.0, in_flight.len());
        for (number, one) in in_flight.iter_mut().enumerate() {
            let top_1wd = as_leaf(one.kept.pop().expect("what came out of the last block"));
            let hidden_nd = self.finish(&top_1wd, &one.inputs);
            let losses = self.loss(&hidden_nd, &one.inputs, step_targets);
            seed_backward(&hidden_nd, losses.hidden_nd.as_ref().expect("asked for"));
            one.gradient_1td = top_1wd.grad();
            nll += losses.nll;
            self.add_head(losses);
            self.micro_batch_done(last && number + 1 == count);
        }
        nll
    }

    /// Runs the forward pass of a micro-batch without autograd.
    fn forward(&self, micro_batch: &MicroBatch, dropout_seed: i64) -> InFlight {
        let _guard = tch::no_grad_guard();
        let mut one = self.embedded(micro_batch, dropout_seed);
        for layer in 0..self.model.info().layers {
            self.forward_block(layer, &mut one);
        }
        one
    }

    /// Returns a micro-batch before the first block.
    pub(super) fn embedded(&self, micro_batch: &MicroBatch, dropout_seed: i64) -> InFlight {
        let inputs = self.inputs(micro_batch);
        InFlight {
            pass: inputs.pass(micro_batch, self.model.info().layers),
            kept: vec![self.embed(&inputs, micro_batch, dropout_seed)],
            inputs,
            dropout_seed,
            gradient_1td: Tensor::new(),
        }
    }

    /// Runs a micro-batch through the next block.
    pub(super) fn forward_block(&self, layer: usize, one: &mut InFlight) {
        let x_1td = one.kept.last().expect("what goes into the block");
        let y_1td = self.block(layer, x_1td, &mut one.pass, &one.inputs, one.dropout_seed);
        one.kept.push(y_1td);
    }

    /// Takes the gradients that are complete, unless all wait for the end of the step. A head that
    /// is tied to the embedding is complete at the `end` only.
    fn take_gradients(&mut self, updates: Option<&mut BackwardUpdates>, end: bool) {
        let Some(updates) = updates else { return };
        let waits = self.trained_head[0].filter(|_| !end && self.model.info().tied);
        let all = self.trained.iter().enumerate();
        let ready: Vec<(usize, &Parameter)> = all.filter(|(index, _)| waits != Some(*index)).collect();
        let norms = self.optimizer.norms(&ready);
        let complete = ready.iter().zip(&norms.each);
        let complete: Vec<(usize, f64)> = complete
            .filter_map(|((index, _), norm)| Some((*index, (*norm)?)))
            .collect();
        for &(index, norm) in &complete {
            updates.norms[index] = Some(norm);
        }
        if let Some((rate, factor)) = updates.step {
            let begun = Instant::now();
            let finite = complete.iter().filter(|(_, norm)| norm.is_finite());
            let list: Vec<(usize, &Parameter)> =
                finite.map(|&(index, _)| (index, &self.trained[index])).collect();
            self.optimizer.step_all(&list, rate, factor, Some(&norms));
            self.update_time += begun.elapsed();
        }
        for (index, _) in complete {
            self.trained[index].clear();
        }
    }
}
