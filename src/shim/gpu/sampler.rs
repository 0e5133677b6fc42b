//! The next token of every row of a batch; `csrc/gpu/sampler.h`.
//!
//! Shapes: `b` rows, `v` vocabulary, `g` groups of tokens.

use super::{Argument, Kernels};
use crate::shim::transfer::{Plain, Upload, UploadPart, Uploaded};
use anyhow::{Result, ensure};
use std::ffi::c_void;
use tch::{Device, Kind, Tensor};

/// `MOST_CANDIDATES` of the header.
const MOST_CANDIDATES: i64 = 256;
/// Lanes of a warp, each of which takes one number in `sampler_prepare`.
const LANES: i64 = 32;
/// Alignment of the arrays of a step's workspace, in bytes.
const ALIGNMENT: usize = 16;

/// Instead of a token: a score is NaN or infinite, or all are `-inf`.
pub const NO_NUMBERS: i32 = -1;
/// Instead of a token: more candidates are needed than the kernels take; the host samples the row.
pub const FOR_HOST: i32 = -2;

/// How a row is sampled; `SamplerMode` of the header.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerMode {
    /// Takes the likeliest token, the first of equal ones.
    Greedy = 0,
    /// Draws from all tokens, in the order of their ids.
    Plain = 1,
    /// Draws from the tokens that top-k, top-p and min-p keep, best first.
    Filtered = 2,
}

/// Parameters of one row; `SamplerItem` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SamplerItem {
    /// Random number in `[0, 1)`.
    pub u: f64,
    /// 1 switches it off.
    pub top_p: f64,
    /// 0 switches it off.
    pub min_p: f64,
    /// Subtracted from scores of generated tokens.
    pub presence: f64,
    /// Subtracted from them once for each time.
    pub frequency: f64,
    /// Row of the table of seen tokens; -1 without penalties.
    pub seen: i64,
    /// Row of the step before whose token that table lacks; -1 if it lacks none.
    pub before: i64,
    /// `1 / temperature`.
    pub sharpness: f32,
    /// Divides positive scores of repeated tokens, multiplies others.
    pub repetition: f32,
    /// 0 switches it off.
    pub top_k: i32,
    /// How the row is sampled.
    pub mode: SamplerMode,
}

// SAFETY: seven fields of 8 bytes and four of 4 fill 72 bytes.
unsafe impl Plain for SamplerItem {}

/// A number of the table of seen tokens; `SeenUpdate` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenUpdate {
    /// Row times vocabulary, plus token.
    pub place: i64,
    /// What [`seen_value`] returns.
    pub value: u32,
    unused: u32,
}

// SAFETY: the fields fill 16 bytes.
unsafe impl Plain for SeenUpdate {}

impl SeenUpdate {
    /// Returns the update that writes `value` at `place`.
    pub fn new(place: i64, value: u32) -> SeenUpdate {
        SeenUpdate {
            place,
            value,
            unused: 0,
        }
    }
}

/// Returns the number that the table of seen tokens has for a token of prompt or answer.
pub fn seen_value(generated: u32, is_repeated: bool) -> u32 {
    generated.min(u32::MAX >> 2) << 2 | u32::from(is_repeated) << 1 | 1
}

/// `SamplerStep` of the header.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Step {
    logits: *mut c_void,
    seen: *mut c_void,
    maxima: *mut c_void,
    keys: *mut c_void,
    peaks: *mut c_void,
    sums: *mut c_void,
    extras: *mut c_void,
    weights: *mut c_void,
    ids: *mut c_void,
    tokens: *mut c_void,
    inputs: *mut c_void,
    before: *const c_void,
    items: *const c_void,
    updates: *const c_void,
    forbidden: *const c_void,
    rows: i64,
    vocab: i64,
    width: i64,
    groups: i64,
    update_count: i64,
    forbidden_count: i64,
}

/// Memory of the kernels between two launches, kept from step to step.
#[derive(Debug)]
pub struct SamplerWorkspace {
    device: Device,
    bytes: Tensor,
}

impl SamplerWorkspace {
    /// Returns an empty workspace, after the kernels were compiled for the card.
    ///
    /// # Errors
    ///
    /// If they cannot be compiled.
    pub fn on(device: Device) -> Result<SamplerWorkspace> {
        Kernels::on(device)?.load("sampler_peaks")?;
        Ok(SamplerWorkspace {
            device,
            bytes: Tensor::empty([0], (Kind::Uint8, device)),
        })
    }

    /// Returns the addresses of arrays of these sizes in bytes. Grows if they do not fit.
    fn arrays<const N: usize>(&mut self, sizes: [usize; N]) -> [*mut c_void; N] {
        let mut end = 0;
        let begins = sizes.map(|size| {
            let begin = end;
            end += size.next_multiple_of(ALIGNMENT);
            begin
        });
        if end > self.bytes.numel() {
            self.bytes = Tensor::empty([end.next_power_of_two() as i64], (Kind::Uint8, self.device));
        }
        let memory = self.bytes.data_ptr().cast::<u8>();
        begins.map(|begin| memory.wrapping_add(begin).cast())
    }
}

/// How the rows of a step are sampled, as the host knows it before there are logits.
#[derive(Debug, Default)]
pub struct SamplerRequest {
    /// One for each row.
    pub items: Vec<SamplerItem>,
    /// Changes of the table of seen tokens, made first.
    pub updates: Vec<SeenUpdate>,
    /// Places, row times vocabulary plus token, of tokens that must not come.
    pub forbidden: Vec<i64>,
}

/// A [`SamplerRequest`] that is part of an upload.
#[derive(Debug)]
pub struct UploadedRequest {
    request: SamplerRequest,
    items: UploadPart,
    updates: UploadPart,
    forbidden: UploadPart,
}

impl SamplerRequest {
    /// Adds the request to what is sent to the device.
    pub fn add_to(self, upload: &mut Upload) -> UploadedRequest {
        UploadedRequest {
            items: upload.add(&self.items),
            updates: upload.add(&self.updates),
            forbidden: upload.add(&self.forbidden),
            request: self,
        }
    }
}

/// What one step samples from.
#[derive(Debug)]
pub struct SamplerInput<'a> {
    /// `[b, v]`, bf16 or fp32, contiguous. Forbidden ones become `-inf`.
    pub logits_bv: &'a Tensor,
    /// How.
    pub request: &'a UploadedRequest,
    /// The upload that the request is part of.
    pub uploaded: &'a Uploaded,
    /// Tokens of the step before, if the host has not read them.
    pub before: Option<&'a SampledTokens>,
    /// `[any, v]` int32, contiguous: numbers of seen tokens.
    pub seen: &'a Tensor,
    /// Tokens of a group: a multiple of 32.
    pub width: i64,
}

/// The tokens of a step, where the logits are.
#[derive(Debug)]
pub struct SampledTokens {
    /// The token of every row, [`NO_NUMBERS`] or [`FOR_HOST`], int32.
    pub tokens_b: Tensor,
    /// The same as the next step looks them up, int64: 0 where there is no token.
    pub inputs_b: Tensor,
}

/// Chooses the token of every row, in at most five launches and without a read by the host.
///
/// # Errors
///
/// If a tensor or a number is not as described, or a kernel cannot be launched.
pub fn sample(input: &SamplerInput, workspace: &mut SamplerWorkspace) -> Result<SampledTokens> {
    let device = workspace.device;
    let (rows, vocab) = checked_sizes(input, device)?;
    let groups = (vocab + input.width - 1) / input.width;
    let sampled = SampledTokens {
        tokens_b: Tensor::empty([rows], (Kind::Int, device)),
        inputs_b: Tensor::empty([rows], (Kind::Int64, device)),
    };
    let (by_group, by_candidate) = ((rows * groups) as usize, (rows * MOST_CANDIDATES) as usize);
    let sizes = [
        by_group * 4,
        by_group * 8,
        rows as usize * 8,
        by_group * 4,
        by_group * 8,
        by_candidate * 8,
        by_candidate * 4,
    ];
    let [maxima, keys, peaks, sums, extras, weights, ids] = workspace.arrays(sizes);
    let UploadedRequest {
        request,
        items,
        updates,
        forbidden,
    } = input.request;
    let address = |part: &UploadPart| input.uploaded.address(*part).cast_const();
    let step = Step {
        logits: input.logits_bv.data_ptr(),
        seen: input.seen.data_ptr(),
        maxima,
        keys,
        peaks,
        sums,
        extras,
        weights,
        ids,
        tokens: sampled.tokens_b.data_ptr(),
        inputs: sampled.inputs_b.data_ptr(),
        before: input
            .before
            .map_or(std::ptr::null(), |before| before.tokens_b.data_ptr().cast_const()),
        items: address(items),
        updates: address(updates),
        forbidden: address(forbidden),
        rows,
        vocab,
        width: input.width,
        groups,
        update_count: request.updates.len() as i64,
        forbidden_count: request.forbidden.len() as i64,
    };
    launch_all(&step, input)?;
    Ok(sampled)
}

/// Launches the kernels of a step in their order.
fn launch_all(step: &Step, input: &SamplerInput) -> Result<()> {
    let kind = match input.logits_bv.kind() {
        Kind::BFloat16 => "bf16",
        _ => "fp32",
    };
    let items = &input.request.request.items;
    let is_drawn = items.iter().any(|item| item.mode != SamplerMode::Greedy);
    let kernels = Kernels::on(input.logits_bv.device())?;
    let launch = |name: String, work: i64| {
        // SAFETY: every kernel takes the step alone, which outlives the call. Its arrays have the
        // sizes that its counts ask for, the tensors were checked, and every place is within its
        // tensor.
        unsafe { kernels.launch(&name, work, &[Argument::by_value(step)]) }
    };
    let counted = if input.before.is_some() { step.rows } else { 0 };
    let written = step.update_count + step.forbidden_count + counted;
    launch(format!("sampler_prepare_{kind}"), (written + LANES - 1) / LANES)?;
    let pairs = step.rows * ((step.groups + 1) / 2);
    launch(format!("sampler_maxima_{kind}"), pairs)?;
    launch("sampler_peaks".to_owned(), step.rows)?;
    if is_drawn {
        launch(format!("sampler_sums_{kind}"), pairs)?;
        launch(format!("sampler_draw_{kind}"), step.rows)?;
    }
    Ok(())
}

/// Returns rows and vocabulary, if the kernels may read and write everything that they are given.
fn checked_sizes(input: &SamplerInput, device: Device) -> Result<(i64, i64)> {
    let size = input.logits_bv.size();
    let &[rows, vocab] = size.as_slice() else {
        anyhow::bail!("logits have two dimensions, not {size:?}");
    };
    let kind = input.logits_bv.kind();
    let SamplerRequest {
        items,
        updates,
        forbidden,
    } = &input.request.request;
    ensure!(
        matches!(kind, Kind::BFloat16 | Kind::Float)
            && input.logits_bv.is_contiguous()
            && input.logits_bv.device() == device
            && items.len() as i64 == rows
            && (1..=i64::from(i32::MAX)).contains(&vocab),
        "logits {size:?} of {kind:?} on {device:?}, rows: {}",
        items.len()
    );
    let seen = input.seen.size();
    let seen_rows = seen.first().copied().unwrap_or(0);
    ensure!(
        input.seen.kind() == Kind::Int
            && input.seen.is_contiguous()
            && input.seen.device() == device
            && seen == [seen_rows, vocab],
        "a table of seen tokens {seen:?}, vocabulary of {vocab}"
    );
    ensure!(
        input.width > 0 && input.width % LANES == 0,
        "tokens of a group: {}",
        input.width
    );
    ensure!(
        items.iter().all(|item| (-1..seen_rows).contains(&item.seen))
            && updates
                .iter()
                .all(|update| (0..seen_rows * vocab).contains(&update.place))
            && forbidden.iter().all(|at| (0..rows * vocab).contains(at)),
        "a token beyond the vocabulary of {vocab}"
    );
    let before = input.before.map_or(0, |before| before.tokens_b.numel() as i64);
    ensure!(
        items.iter().all(|item| (-1..before).contains(&item.before)),
        "a row beyond the {before} of the step before"
    );
    Ok((rows, vocab))
}

#[cfg(test)]
mod tests;
