//! A step whose parameters come and go: forward, block by block, without autograd; then backward,
//! each block computed once more, as with `--recompute`. All micro-batches of a step pass through a
//! unit while it is whole, so a unit is gathered twice in a step however many there are, and ranks
//! with more and with fewer of them gather alike.

use super::gather::Gathers;
use super::reduce::Reducing;
use super::units::Shards;
use crate::distributed::group::Ranks;
use crate::train::backward::{as_leaf, seed_backward};
use crate::train::by_blocks::InFlight;
use crate::train::data::micro_batch::MicroBatch;
use crate::train::inputs::Inputs;
use crate::train::loss::{self, LossGradients};
use crate::train::optim::optimizer;
use crate::train::optim::parameter::Parameter;
use crate::train::trainer::{Refuses, StepOutcome, Trainer};
use anyhow::Result;
use std::time::Instant;
use tch::Tensor;

/// What a step is to do.
pub struct StepPlan<'a> {
    /// Targets of the whole step, on all ranks.
    pub targets: usize,
    /// Learning rate.
    pub rate: f64,
    /// Bound of the gradients' norm; 0 for none.
    pub clip: f64,
    /// Whether a unit is updated as soon as its gradients are complete.
    pub in_backward: bool,
    /// Asked about the loss, and about the norm once it is known.
    pub refuses: Refuses<'a>,
}

/// What becomes of gradients once they are added up.
enum Taken {
    /// They stay until the end of the step.
    Kept,
    /// They are measured, and used for an update by this rate and factor if there is one.
    AtOnce {
        step: Option<(f64, f64)>,
        squares: f64,
        updated: bool,
    },
}

impl Taken {
    fn at_once(step: Option<(f64, f64)>) -> Taken {
        Taken::AtOnce {
            step,
            squares: 0.0,
            updated: false,
        }
    }
}

/// One pass forward and backward.
struct Pass<'p, 'r> {
    ranks: &'r Ranks,
    shards: &'p mut Shards,
    reducing: Option<Reducing<'r>>,
    taken: &'p mut Taken,
}

impl Trainer {
    /// Runs a step of which this rank computes `micro_batches`, each with its seed of dropout and
    /// noise. Returns the summed negative log-likelihood of all ranks in nats, and what came of it.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn divided_step(
        &mut self,
        ranks: &Ranks,
        micro_batches: &[(&MicroBatch, i64)],
        plan: &StepPlan,
    ) -> Result<(f64, StepOutcome)> {
        let mut shards = self.shards.take().expect("parameters are divided");
        let done = match plan.in_backward {
            true => self.update_in_backward_divided(&mut shards, ranks, micro_batches, plan),
            false => self.update_divided(&mut shards, ranks, micro_batches, plan),
        };
        (0..shards.units.len()).for_each(|unit| shards.forget(&mut self.trained, unit));
        self.shards = Some(shards);
        done
    }

    fn update_divided(
        &mut self,
        shards: &mut Shards,
        ranks: &Ranks,
        micro_batches: &[(&MicroBatch, i64)],
        plan: &StepPlan,
    ) -> Result<(f64, StepOutcome)> {
        let (nll, refused) = self.pass_divided(shards, ranks, micro_batches, plan, &mut Taken::Kept)?;
        if let Some(why) = refused {
            return Ok((nll, StepOutcome::Refused(why)));
        }
        let list: Vec<(usize, &Parameter)> = self.trained.iter().enumerate().collect();
        let norms = self.optimizer.norms(&list);
        let squares: f64 = norms.each.iter().flatten().map(|norm| norm * norm).sum();
        let norm = ranks.sums_over_parts(&[squares])?[0].sqrt();
        if let Some(why) = (plan.refuses)(nll, Some(norm)) {
            return Ok((nll, StepOutcome::Refused(why)));
        }
        let begun = Instant::now();
        let factor = optimizer::clip_factor(norm, plan.clip);
        self.optimizer.step_all(&list, plan.rate, factor, Some(&norms));
        self.update_time += begun.elapsed();
        Ok((nll, StepOutcome::Updated(norm)))
    }

    /// As [`Trainer::update_in_backward_pass`]: to clip, everything is computed twice.
    fn update_in_backward_divided(
        &mut self,
        shards: &mut Shards,
        ranks: &Ranks,
        micro_batches: &[(&MicroBatch, i64)],
        plan: &StepPlan,
    ) -> Result<(f64, StepOutcome)> {
        let mut factor = 1.0;
        if plan.clip > 0.0 {
            let mut first = Taken::at_once(None);
            let (nll, refused) = self.pass_divided(shards, ranks, micro_batches, plan, &mut first)?;
            let (norm, _) = all_of(&first, ranks)?;
            if let Some(why) = refused.or_else(|| (plan.refuses)(nll, Some(norm))) {
                return Ok((nll, StepOutcome::Refused(why)));
            }
            factor = optimizer::clip_factor(norm, plan.clip);
        }
        let mut second = Taken::at_once(Some((plan.rate, factor)));
        let (nll, refused) = self.pass_divided(shards, ranks, micro_batches, plan, &mut second)?;
        let (norm, updated) = all_of(&second, ranks)?;
        let outcome = match refused {
            Some(why) => StepOutcome::Refused(why),
            None if norm.is_finite() => StepOutcome::Updated(norm),
            None if updated => StepOutcome::Partial,
            None => StepOutcome::Refused("the gradient is not finite".to_owned()),
        };
        Ok((nll, outcome))
    }

    /// Runs forward and backward passes. Returns the negative log-likelihood of all ranks, and why
    /// the step is refused by it, before any backward pass through blocks.
    fn pass_divided(
        &mut self,
        shards: &mut Shards,
        ranks: &Ranks,
        micro_batches: &[(&MicroBatch, i64)],
        plan: &StepPlan,
        taken: &mut Taken,
    ) -> Result<(f64, Option<String>)> {
        let order = shards.both_passes();
        let mut gathers = Gathers::begin(shards, ranks, order)?;
        let mut in_flight = self.forward_divided(shards, &mut gathers, micro_batches)?;
        let (embedding, head) = (shards.embedding, shards.head);
        gathers.enter(shards, head)?;
        let (nll, count) = (self.heads(&mut in_flight, plan.targets, true), in_flight.len());
        shards.leave(head)?;
        let mut each = vec![0.0; ranks.size];
        each[ranks.rank] = nll;
        let nll: f64 = ranks.sums(&each)?.into_iter().sum();
        let asked = plan.in_backward || !nll.is_finite();
        if let Some(why) = asked.then(|| (plan.refuses)(nll, None)).flatten() {
            gathers.abandon(shards)?;
            self.forget();
            return Ok((nll, Some(why)));
        }
        let mut pass = Pass {
            ranks,
            shards,
            reducing: None,
            taken,
        };
        pass.reduce(self, head)?;
        for (layer, unit) in pass.shards.blocks.clone().into_iter().enumerate().rev() {
            gathers.enter(pass.shards, unit)?;
            for (number, one) in in_flight.iter_mut().enumerate() {
                let x_1td = as_leaf(one.kept.pop().expect("what went into each block"));
                let y_1td = self.block(layer, &x_1td, &mut one.pass, &one.inputs, one.dropout_seed);
                seed_backward(&y_1td, &one.gradient_1td);
                one.gradient_1td = x_1td.grad();
                self.micro_batch_done(number + 1 == count);
            }
            pass.shards.leave(unit)?;
            pass.reduce(self, unit)?;
        }
        gathers.enter(pass.shards, embedding)?;
        for (number, one) in in_flight.iter().enumerate() {
            seed_backward(&self.model.embed(&one.inputs.token_1t), &one.gradient_1td);
            self.micro_batch_done(number + 1 == count);
        }
        pass.shards.leave(embedding)?;
        pass.reduce(self, embedding)?;
        pass.end_reduce(self, true)?;
        Ok((nll, None))
    }

    /// Runs the forward pass without autograd, up to the last block.
    pub(super) fn forward_divided(
        &self,
        shards: &mut Shards,
        gathers: &mut Gathers,
        micro_batches: &[(&MicroBatch, i64)],
    ) -> Result<Vec<InFlight>> {
        let _guard = tch::no_grad_guard();
        let embedding = shards.embedding;
        gathers.enter(shards, embedding)?;
        let embedded = |&(micro_batch, seed): &(&MicroBatch, i64)| self.embedded(micro_batch, seed);
        let mut in_flight: Vec<InFlight> = micro_batches.iter().map(embedded).collect();
        shards.leave(embedding)?;
        for (layer, unit) in shards.blocks.clone().into_iter().enumerate() {
            gathers.enter(shards, unit)?;
            for one in &mut in_flight {
                self.forward_block(layer, one);
            }
            shards.leave(unit)?;
        }
        Ok(in_flight)
    }

    /// Returns the summed negative log-likelihood of each of this rank's micro-batches in nats. All
    /// ranks call it as often, with as many as they have.
    ///
    /// # Errors
    ///
    /// When another rank is gone, or does not come.
    pub fn evaluate_divided(&mut self, ranks: &Ranks, micro_batches: &[&MicroBatch]) -> Result<Vec<f64>> {
        let _guard = tch::no_grad_guard();
        let mut shards = self.shards.take().expect("parameters are divided");
        let done = self.without_dropout(|of| of.evaluate_with(&mut shards, ranks, micro_batches));
        self.shards = Some(shards);
        done
    }

    fn evaluate_with(
        &self,
        shards: &mut Shards,
        ranks: &Ranks,
        micro_batches: &[&MicroBatch],
    ) -> Result<Vec<f64>> {
        let order: Vec<usize> = shards.forward().collect();
        let mut gathers = Gathers::begin(shards, ranks, order)?;
        let (embedding, head) = (shards.embedding, shards.head);
        gathers.enter(shards, embedding)?;
        let embedded = |micro_batch: &&MicroBatch| {
            let inputs = self.inputs(micro_batch);
            let pass = inputs.pass(micro_batch, self.model.info().layers);
            (self.model.embed(&inputs.token_1t), pass, inputs)
        };
        let mut in_flight: Vec<_> = micro_batches.iter().map(embedded).collect();
        shards.leave(embedding)?;
        for (layer, unit) in shards.blocks.clone().into_iter().enumerate() {
            gathers.enter(shards, unit)?;
            for (x_1td, pass, _) in &mut in_flight {
                *x_1td = self.model.block(layer, x_1td, pass);
            }
            shards.leave(unit)?;
        }
        gathers.enter(shards, head)?;
        let nll = |(x_1wd, _, inputs): &(Tensor, _, Inputs)| {
            let hidden_nd = self.finish(x_1wd, inputs);
            loss::cross_entropy(&hidden_nd, &inputs.target_n, &self.head, 1.0, LossGradients::None).nll
        };
        let each = in_flight.iter().map(nll).collect();
        shards.leave(head)?;
        Ok(each)
    }
}

/// Returns the norm of all gradients, and whether any rank updated.
fn all_of(taken: &Taken, ranks: &Ranks) -> Result<(f64, bool)> {
    let Taken::AtOnce { squares, updated, .. } = taken else {
        unreachable!("gradients are measured as they come")
    };
    let sums = ranks.sums_over_parts(&[*squares, f64::from(u8::from(*updated))])?;
    Ok((sums[0].sqrt(), sums[1] > 0.0))
}

impl Pass<'_, '_> {
    /// Begins to add up the gradients of a unit, once those before it are.
    fn reduce(&mut self, trainer: &mut Trainer, unit: usize) -> Result<()> {
        self.end_reduce(trainer, false)?;
        let reducing = self.shards.begin_reduce(&mut trainer.trained, unit, self.ranks)?;
        self.reducing = Some(reducing);
        Ok(())
    }

    /// Ends what was begun last, and takes the gradients if they are complete: those of an
    /// embedding that is the head at the end only.
    fn end_reduce(&mut self, trainer: &mut Trainer, is_last: bool) -> Result<()> {
        let Some(reducing) = self.reducing.take() else {
            return Ok(());
        };
        let unit = self
            .shards
            .end_reduce(&mut trainer.trained, reducing, self.ranks)?;
        let Taken::AtOnce {
            step,
            squares,
            updated,
        } = &mut *self.taken
        else {
            return Ok(());
        };
        if unit == self.shards.embedding && !is_last {
            return Ok(());
        }
        let members = &self.shards.units[unit].layout.members;
        let list: Vec<(usize, &Parameter)> = members
            .iter()
            .map(|member| (member.index, &trainer.trained[member.index]))
            .collect();
        let norms = trainer.optimizer.norms(&list);
        *squares += norms.each.iter().flatten().map(|norm| norm * norm).sum::<f64>();
        if let Some((rate, factor)) = *step {
            let begun = Instant::now();
            let is_finite = |norm: &Option<f64>| norm.is_none_or(f64::is_finite);
            let all = list.iter().zip(&norms.each);
            let finite: Vec<_> = all
                .filter(|(_, norm)| is_finite(norm))
                .map(|(of, _)| *of)
                .collect();
            *updated |= norms.each.iter().flatten().any(|norm| norm.is_finite());
            trainer.optimizer.step_all(&finite, rate, factor, Some(&norms));
            trainer.update_time += begun.elapsed();
        }
        self.shards.forget(&mut trainer.trained, unit);
        Ok(())
    }
}
