//! The sampler where the logits are: `csrc/gpu/sampler.h`, for GPUs. What it needs of the host is
//! part of the step's one upload, and the host reads once. Chooses the tokens of [`choose`], which
//! also samples the rows that the kernels leave.
//!
//! A step is prepared, enqueued and finished. Between the last two the next step may be enqueued:
//! it takes its inputs, and the tokens that penalties count, from where the kernels wrote them.
//!
//! Shapes: `b` rows, `v` vocabulary.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

use super::groups::group_width;
use super::penalty::{forbidden_places, penalises};
use super::seen_table::SeenTable;
use super::{SamplerRow, choose, is_unfiltered, uniform};
use crate::engine::logprobs::{Logprobs, RawLogprobs};
use crate::shim::gpu::{
    FOR_HOST, NO_NUMBERS, SampledTokens, SamplerInput, SamplerItem, SamplerMode, SamplerRequest,
    SamplerWorkspace, UploadedRequest, sample,
};
use crate::shim::transfer::{Event, Upload, Uploaded, copy_without_waiting, staging};

/// What is kept on the device from step to step.
pub struct DeviceSampler {
    device: Device,
    workspace: SamplerWorkspace,
    seen: SeenTable,
}

/// Rows of a step whose parameters are part of an upload.
pub struct PreparedRows {
    request: UploadedRequest,
    vocab: i64,
}

/// Rows whose tokens were chosen on the device; the host has not read them.
pub struct SampledRows {
    logits_bv: Tensor,
    sampled: SampledTokens,
    raw: Option<RawLogprobs>,
    /// Tokens and logprobs in host memory, once `is_read` has happened.
    read: Tensor,
    is_read: Event,
}

/// The tokens of a step by row, none where scores are not numbers, and the logprobs asked for.
#[cfg(test)]
pub type ChosenTokens = (Vec<Option<i64>>, Vec<(usize, Logprobs)>);

/// The tokens of a step, as the host has read them.
pub struct SampledStep {
    /// By row; none where scores are not numbers.
    pub tokens: Vec<Option<i64>>,
    /// The logprobs asked for, with their rows.
    pub logprobs: Vec<(usize, Logprobs)>,
    /// Rows that the kernels left to the host. Whatever was enqueued behind them is wrong.
    pub by_host: Vec<usize>,
}

impl DeviceSampler {
    /// Returns the sampler of a GPU; none for the CPU, and none with a warning if the kernels
    /// cannot be compiled for the card. [`choose`] then samples on the CPU from what it reads of
    /// the logits.
    pub fn of_gpu(device: Device) -> Option<DeviceSampler> {
        if !device.is_cuda() {
            return None;
        }
        DeviceSampler::on(device)
            .inspect_err(|error| eprintln!("warning: tokens are sampled on the CPU: {error:#}"))
            .ok()
    }

    /// Returns the sampler of a device, after its kernels were compiled. On the CPU these are the
    /// kernels' twin, for tests.
    ///
    /// # Errors
    ///
    /// If the kernels cannot be compiled for the card.
    pub fn on(device: Device) -> Result<DeviceSampler> {
        Ok(DeviceSampler {
            device,
            workspace: SamplerWorkspace::on(device)?,
            seen: SeenTable::new(0, device),
        })
    }

    /// Chooses the next token of every row from `logits_bv`, of any float type, as [`choose`] does,
    /// with the logprobs that `raw` was made for.
    ///
    /// # Errors
    ///
    /// If a kernel cannot be launched.
    #[cfg(test)]
    pub fn choose(
        &mut self,
        logits_bv: &Tensor,
        rows: &[SamplerRow],
        raw: Option<RawLogprobs>,
    ) -> Result<ChosenTokens> {
        let mut upload = Upload::default();
        let prepared = self.prepare(rows, &[], logits_bv.size()[1], &mut upload);
        let uploaded = upload.send(self.device)?;
        let sampled = self.enqueue(logits_bv, &prepared, &uploaded, None, raw)?;
        let rows: Vec<Option<SamplerRow>> = rows.iter().map(|&row| Some(row)).collect();
        let step = sampled.finish(&rows)?;
        Ok((step.tokens, step.logprobs))
    }

    /// Adds what the kernels need to know of `rows` to `upload`. `before` has for each of the first
    /// rows its row in the step before, whose token is not counted in [`SamplerRow::seen`]; such a
    /// row must [count on the device](super::SeenTokens::counts_on_device) if it has penalties.
    pub fn prepare(
        &mut self,
        rows: &[SamplerRow],
        before: &[usize],
        vocab: i64,
        upload: &mut Upload,
    ) -> PreparedRows {
        let _guard = tch::no_grad_guard();
        if self.seen.vocab() != vocab {
            self.seen = SeenTable::new(vocab, self.device);
        }
        let mut request = SamplerRequest {
            forbidden: forbidden_places(rows, vocab),
            ..SamplerRequest::default()
        };
        for (index, row) in rows.iter().enumerate() {
            let mut item = item(row, &mut self.seen);
            if penalises(row.sampling) {
                request.updates.extend(row.seen.updates(vocab));
                row.seen.updated();
                if let Some(&before) = before.get(index) {
                    item.before = before as i64;
                    row.seen.run_ahead(true);
                }
            }
            request.items.push(item);
        }
        PreparedRows {
            request: request.add_to(upload),
            vocab,
        }
    }

    /// Enqueues the kernels that choose the tokens of `prepared` rows, and the copy that the host
    /// reads. `before` is the step that [`DeviceSampler::prepare`] was told of.
    ///
    /// # Errors
    ///
    /// If a kernel cannot be launched. The counts of seen tokens are wrong then: the requests must
    /// end, or begin anew.
    pub fn enqueue(
        &mut self,
        logits_bv: &Tensor,
        prepared: &PreparedRows,
        uploaded: &Uploaded,
        before: Option<&SampledRows>,
        raw: Option<RawLogprobs>,
    ) -> Result<SampledRows> {
        let _guard = tch::no_grad_guard();
        let logits_bv = match logits_bv.kind() {
            Kind::BFloat16 => logits_bv.contiguous(),
            _ => logits_bv.to_kind(Kind::Float).contiguous(),
        };
        let vocab = logits_bv.size()[1];
        ensure!(
            vocab == prepared.vocab,
            "the vocabulary of the logits is {vocab}, and {} was prepared for",
            prepared.vocab
        );
        let input = SamplerInput {
            logits_bv: &logits_bv,
            request: &prepared.request,
            uploaded,
            before: before.map(|step| &step.sampled),
            seen: self.seen.counts(),
            width: group_width(vocab),
        };
        let sampled = sample(&input, &mut self.workspace)?;
        let tokens_b = &sampled.tokens_b;
        let read = match &raw {
            Some(raw) => to_host(&Tensor::cat(&[tokens_b, &raw.packed(tokens_b)], 0))?,
            None => to_host(tokens_b)?,
        };
        Ok(SampledRows {
            logits_bv,
            sampled,
            raw,
            read,
            is_read: Event::record(self.device)?,
        })
    }
}

/// Enqueues a copy of int32 numbers to the host, and returns it at once.
fn to_host(numbers: &Tensor) -> Result<Tensor> {
    let device = numbers.device();
    if !device.is_cuda() {
        return Ok(numbers.to_device(Device::Cpu));
    }
    let host = staging(4 * numbers.numel() as i64, device)?.view_dtype(Kind::Int);
    copy_without_waiting(&host, numbers)?;
    Ok(host)
}

impl SampledRows {
    /// Returns the tokens as the next step looks them up, int64 `[b]` on the device.
    pub fn inputs(&self) -> &Tensor {
        &self.sampled.inputs_b
    }

    /// Waits for the tokens, but for nothing that was enqueued later. `rows` are those of the step;
    /// none where nobody waits for the token.
    ///
    /// # Errors
    ///
    /// If the device has failed.
    pub fn finish(self, rows: &[Option<SamplerRow>]) -> Result<SampledStep> {
        let _guard = tch::no_grad_guard();
        self.is_read.wait()?;
        let read: Vec<i32> = Vec::try_from(&self.read)?;
        let (codes, logprobs) = read.split_at(rows.len());
        debug_assert!(codes.iter().all(|&token| token >= FOR_HOST), "{codes:?}");
        let mut tokens: Vec<Option<i64>> = codes
            .iter()
            .map(|&token| (token >= 0).then_some(i64::from(token)))
            .collect();
        let left: Vec<(usize, SamplerRow)> = (0..rows.len())
            .filter(|&row| codes[row] != NO_NUMBERS && codes[row] < 0)
            .filter_map(|row| Some((row, rows[row]?)))
            .collect();
        let raw = self.raw.as_ref();
        let logprobs = if left.is_empty() {
            raw.map(|raw| raw.unpacked(logprobs, &tokens))
        } else {
            for ((row, _), token) in left.iter().zip(choose_left(&self.logits_bv, &left)) {
                tokens[*row] = token;
            }
            raw.map(|raw| raw.of_tokens(&tokens))
        };
        Ok(SampledStep {
            tokens,
            logprobs: logprobs.unwrap_or_default(),
            by_host: left.into_iter().map(|(row, _)| row).collect(),
        })
    }
}

/// Returns the kernels' parameters of a row, which gets a row of `seen` if it has penalties.
fn item(row: &SamplerRow, seen: &mut SeenTable) -> SamplerItem {
    let s = row.sampling;
    SamplerItem {
        u: if row.is_drawn() {
            uniform(s.seed, row.index)
        } else {
            0.0
        },
        top_p: s.top_p,
        min_p: s.min_p,
        presence: s.presence_penalty,
        frequency: s.frequency_penalty,
        seen: if penalises(s) { row.seen.row_of(seen) } else { -1 },
        before: -1,
        sharpness: row.sharpness(),
        repetition: s.repetition_penalty as f32,
        top_k: i32::try_from(s.top_k).unwrap_or(i32::MAX),
        mode: match row.is_drawn() {
            false => SamplerMode::Greedy,
            true if is_unfiltered(s) => SamplerMode::Plain,
            true => SamplerMode::Filtered,
        },
    }
}

/// Chooses the tokens of the rows `left`, given by their numbers, on the host.
fn choose_left(logits_bv: &Tensor, left: &[(usize, SamplerRow)]) -> Vec<Option<i64>> {
    let index: Vec<i64> = left.iter().map(|&(row, _)| row as i64).collect();
    let index = Tensor::from_slice(&index).to_device(logits_bv.device());
    let logits_bv = logits_bv.index_select(0, &index).to_device(Device::Cpu);
    let rows: Vec<SamplerRow> = left.iter().map(|&(_, row)| row).collect();
    choose(&logits_bv, &rows)
}
