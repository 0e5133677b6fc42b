//! A step of the engine, enqueued and then finished. On the CPU one follows the other. Where a GPU
//! samples, the next step is enqueued in between: it takes the tokens from where the GPU wrote
//! them, so that the GPU computes while the host reads them, decodes text and sends events.
//!
//! A request may turn out to have ended with a token behind which a step was enqueued already. That
//! step's token is dropped then. Its key and value lie behind all tokens that are kept, in a slot
//! that is used again only by what is enqueued later.

use std::collections::HashMap;
use std::time::Instant;

use tch::Tensor;

use super::Engine;
use super::request::RunningRequest;
use crate::engine::logprobs::{Logprobs, RawLogprobs};
use crate::engine::sampler::{PreparedRows, SampledRows, SampledStep, SamplerRow, choose};
use crate::model::fault;
use crate::model::out_of_memory::Stage;
use crate::shim::Inference;
use crate::shim::transfer::{Upload, Uploaded};

/// A step whose tokens the host has not read.
pub(super) struct StepInFlight {
    /// The request of each row by its number of arrival; none if its token is void.
    owners: Vec<Option<u64>>,
    tokens: StepTokens,
}

/// The tokens of a step.
enum StepTokens {
    OnHost(Vec<Option<i64>>, Vec<(usize, Logprobs)>),
    OnDevice(SampledRows),
}

/// The step before one that is enqueued, if the host has not read its tokens.
#[derive(Clone, Copy)]
pub(super) struct StepBefore<'a> {
    sampled: &'a SampledRows,
    /// Of each running request its row in that step.
    rows: &'a [usize],
}

impl StepBefore<'_> {
    /// Returns what [`StepBefore::inputs`] is given, once it is on the device.
    pub(super) fn rows(&self) -> Vec<i64> {
        self.rows.iter().map(|&row| row as i64).collect()
    }

    /// Returns the last token of each running request, int64 on the device. `rows_b` has
    /// [`StepBefore::rows`].
    pub(super) fn inputs(&self, rows_b: &Tensor) -> Tensor {
        let inputs_b = self.sampled.inputs();
        let is_in_order = self.rows.iter().enumerate().all(|(index, &row)| index == row);
        if is_in_order {
            return inputs_b.narrow(0, 0, self.rows.len() as i64);
        }
        inputs_b.index_select(0, rows_b)
    }
}

impl Engine {
    /// Computes the next token of every running request, after the prompts of those that join, and
    /// before that some logprobs of earlier prompts. On a GPU it leaves the step behind that
    /// enqueued.
    pub fn advance(&mut self) {
        let _held = Inference::hold();
        self.release_abandoned();
        self.score_prompts();
        let enqueued = self.enqueued.take().filter(|_| !self.running.is_empty());
        let begun = enqueued.or_else(|| {
            self.grow_pages();
            self.begin_step(None)
        });
        let Some(step) = begun else {
            return;
        };
        self.enqueued = self.run_ahead(&step);
        self.finish_step(step);
    }

    /// Enqueues the step behind `step`, unless that must be read first: if the device has not
    /// chosen a token for every running request, if the host may have to choose one, if penalties
    /// depend on tokens that only the host knows, or if all requests end with it in any case.
    fn run_ahead(&mut self, step: &StepInFlight) -> Option<StepInFlight> {
        let StepTokens::OnDevice(sampled) = &step.tokens else {
            return None;
        };
        let context = self.model.info().context;
        let may_run_ahead = self.running.iter().all(RunningRequest::may_run_ahead);
        if !may_run_ahead || self.running.iter().all(|running| running.is_last(1, context)) {
            return None;
        }
        let owned = step.owners.iter().enumerate();
        let by_owner: HashMap<u64, usize> = owned.filter_map(|(row, owner)| Some(((*owner)?, row))).collect();
        let rows: Option<Vec<usize>> = self
            .running
            .iter()
            .map(|running| by_owner.get(&running.arrival).copied())
            .collect();
        let rows = rows?;
        // A request that ends with the step may have the page that another one lacks.
        if self.first_without_page(0).is_some() {
            return None;
        }
        self.begin_step(Some(StepBefore { sampled, rows: &rows }))
    }

    /// Enqueues the next step; none if no request runs.
    fn begin_step(&mut self, before: Option<StepBefore>) -> Option<StepInFlight> {
        let started = Instant::now();
        let old = self.running.len();
        self.stage = Stage::Prefill;
        let mut hidden = self.admit();
        let prefilled = Instant::now();
        self.stats.prefill += prefilled - started;
        if self.running.is_empty() {
            return None;
        }
        self.stage = Stage::Decode;
        let mut upload = Upload::default();
        let prepared = self.prepare_rows(before, &mut upload);
        let uploaded = if old > 0 {
            let (decoded, uploaded) = self.decode(old, before, upload);
            hidden.insert(0, decoded);
            uploaded
        } else {
            let sent = upload.send(self.device);
            sent.unwrap_or_else(|error| fault::raise(&error))
        };
        // One output head over all rows, so its weights are read once.
        let logits_bv = self.model.logits(&Tensor::cat(&hidden, 0));
        let decoded = Instant::now();
        self.stats.decode += decoded - prefilled;
        let step = StepInFlight {
            owners: self.running.iter().map(|running| Some(running.arrival)).collect(),
            tokens: self.sample(&logits_bv, prepared.as_ref(), &uploaded, before),
        };
        self.stats.sample += decoded.elapsed();
        Some(step)
    }

    /// Adds to `upload` what the device's sampler needs of the running requests; none where the
    /// host samples.
    fn prepare_rows(&mut self, before: Option<StepBefore>, upload: &mut Upload) -> Option<PreparedRows> {
        let rows_before = before.map_or(&[][..], |before| before.rows);
        let sampler = self.sampler.as_mut()?;
        let running = self.running.iter().enumerate();
        let rows: Vec<SamplerRow> = running
            .map(|(index, running)| running.row(usize::from(index < rows_before.len())))
            .collect();
        Some(sampler.prepare(&rows, rows_before, self.model.info().vocab, upload))
    }

    /// Chooses the next token of every running request, from logits in the order of the slots.
    fn sample(
        &mut self,
        logits_bv: &Tensor,
        prepared: Option<&PreparedRows>,
        uploaded: &Uploaded,
        before: Option<StepBefore>,
    ) -> StepTokens {
        let asked = self.running.iter().map(|r| r.request.options.logprobs);
        let raw = RawLogprobs::of(logits_bv, asked);
        self.constrain(logits_bv);
        if let (Some(sampler), Some(prepared)) = (&mut self.sampler, prepared) {
            let before = before.map(|before| before.sampled);
            let sampled = sampler.enqueue(logits_bv, prepared, uploaded, before, raw);
            return StepTokens::OnDevice(sampled.unwrap_or_else(|error| fault::raise(&error)));
        }
        let rows: Vec<SamplerRow> = self.running.iter().map(|running| running.row(0)).collect();
        let chosen = choose(logits_bv, &rows);
        let logprobs = raw.iter().flat_map(|raw| raw.of_tokens(&chosen)).collect();
        StepTokens::OnHost(chosen, logprobs)
    }

    /// Reads the tokens of a step, for [`Engine::deliver`].
    fn finish_step(&mut self, step: StepInFlight) {
        let started = Instant::now();
        let slots = self.running.iter().enumerate();
        let by_arrival: HashMap<u64, usize> = slots.map(|(slot, r)| (r.arrival, slot)).collect();
        let slot_of = |owner: &Option<u64>| by_arrival.get(&(*owner)?).copied();
        let slots: Vec<Option<usize>> = step.owners.iter().map(slot_of).collect();
        let (tokens, logprobs) = match step.tokens {
            StepTokens::OnHost(tokens, logprobs) => (tokens, logprobs),
            StepTokens::OnDevice(sampled) => {
                let row = |slot: &Option<usize>| slot.map(|slot| self.running[slot].row(0));
                let rows: Vec<Option<SamplerRow>> = slots.iter().map(row).collect();
                let finished = sampled.finish(&rows);
                let SampledStep {
                    tokens,
                    logprobs,
                    by_host,
                } = finished.unwrap_or_else(|error| fault::raise(&error));
                for slot in slots.iter().flatten() {
                    self.running[*slot].left_to_host = false;
                }
                for slot in by_host.into_iter().filter_map(|row| slots[row]) {
                    self.fall_back(slot);
                }
                (tokens, logprobs)
            }
        };
        let of_slot = |(slot, token): (&Option<usize>, Option<i64>)| Some(((*slot)?, token));
        self.chosen = slots.iter().zip(tokens).filter_map(of_slot).collect();
        // Slots may have changed since the step was enqueued.
        self.chosen.sort_unstable_by_key(|&(slot, _)| slot);
        let of_slot = |(row, logprobs): (usize, Logprobs)| Some((slots[row]?, logprobs));
        self.logprobs = logprobs.into_iter().filter_map(of_slot).collect();
        self.stats.steps += 1;
        let asks = |&&(slot, _): &&(usize, _)| self.running[slot].request.sampling.max_tokens > 0;
        self.stats.generated_tokens += self.chosen.iter().filter(asks).count();
        self.stats.sample += started.elapsed();
    }

    /// Takes a request out of the step that was enqueued behind a token which the host has chosen
    /// only now: the step began with another.
    fn fall_back(&mut self, slot: usize) {
        let running = &mut self.running[slot];
        let owners = self.enqueued.iter_mut().flat_map(|step| &mut step.owners);
        for owner in owners.filter(|owner| **owner == Some(running.arrival)) {
            *owner = None;
            running.cached -= 1;
        }
        running.left_to_host = true;
        running.seen.run_ahead(false);
    }

    /// Samples by the twin of the GPU's kernels.
    #[cfg(test)]
    pub fn sample_by_twin(&mut self) {
        self.sampler = crate::engine::sampler::DeviceSampler::on(tch::Device::Cpu).ok();
    }
}
