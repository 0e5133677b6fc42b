//! What a step of the engine asks of a GPU: launches, views, and copies between host and device.
//! Each ceiling holds what libtorch's operations take today, so that it can only fall; the targets
//! are those of a path that decodes as fast as the best (2026-11).
//!
//! Counted on the CPU, in fp16: no kernel of ours takes that, and no processor computes it in
//! another type; in fp32 where our kernels are to take the place of operations. Four requests run,
//! with prompts of different lengths, so attention has a mask.

use ewe::backend::Sampling;
use tch::{Device, Kind, Tensor};

use super::{finish, submit};
use crate::engine::batch::{BatchConfig, Engine};
use crate::engine::sampler::{DeviceSampler, SamplerRow, SeenTokens};
use crate::model::layers::Linear;
use crate::model::layers::attention::ForwardPass;
use crate::model::tests::golden;
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo, load};
use crate::shim::trace::{Counts, Trace, force_operations};

/// Launches of a block in a decode step that a GPU path should not exceed: two norms, q/k/v in one
/// product, rope with the cache's write, attention, its output, three of the MLP, two sums, and one
/// to spare.
const TARGET_LAUNCHES: i64 = 12;
/// Copies to the host in a step that a GPU path should not exceed.
const TARGET_READS: i64 = 1;
/// Copies from the host in a step that a GPU path should not exceed.
const TARGET_UPLOADS: i64 = 1;

/// Lengths of the prompts.
const LENGTHS: [i64; 4] = [5, 17, 9, 12];
/// Steps of a request before the one that is traced as a decode step.
const DECODE: usize = 3;

/// The first blocks of a model, or all of them and another context.
pub(super) struct FirstBlocks {
    pub(super) model: Box<dyn CausalLm>,
    pub(super) info: ModelInfo,
}

impl CausalLm for FirstBlocks {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        self.model.embed(tokens_bt)
    }
    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        self.model.block(layer, x_btd, pass)
    }
    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.model.finish(x_btd)
    }
    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.model.logits(hidden)
    }
    fn head(&self) -> (Tensor, Option<Tensor>) {
        self.model.head()
    }
    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        self.model.for_each_linear(f);
    }
    fn join_projections(&mut self) {
        self.model.join_projections();
    }
    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_> {
        self.model.embedding_and_head()
    }
    fn parameters(&self) -> Vec<(String, Tensor)> {
        self.model.parameters()
    }

    fn block_parameters(&self, layer: usize) -> Vec<(String, Tensor)> {
        self.model.block_parameters(layer)
    }
}

fn greedy() -> Sampling {
    Sampling {
        temperature: 0.0,
        repetition_penalty: 1.0,
        max_tokens: 8,
        ignore_eos: true,
        ..Sampling::default()
    }
}

fn drawn(top_p: f64, repetition_penalty: f64) -> Sampling {
    Sampling {
        temperature: 0.7,
        top_p,
        repetition_penalty,
        ..greedy()
    }
}

/// Returns the counts of the step after `steps` others, of the first `blocks` blocks of a tiny
/// model: 0 for a prefill of all prompts, [`DECODE`] for a decode step.
fn traced(name: &str, blocks: usize, sampling: &Sampling, steps: usize) -> Counts {
    traced_by(false, name, blocks, sampling, steps)
}

/// As [`traced`]; if `by_kernels`, with what a GPU has beside libtorch's operations: norms, gated
/// activations and the sampler by our kernels, which are not counted, and layers of one input in
/// one product.
fn traced_by(by_kernels: bool, name: &str, blocks: usize, sampling: &Sampling, steps: usize) -> Counts {
    let (dtype, kind) = match by_kernels {
        true => ("fp32", Kind::Float),
        false => ("fp16", Kind::Half),
    };
    let mut model = load(&golden(name), Device::Cpu, dtype).unwrap().model;
    if by_kernels {
        model.join_projections();
    }
    let info = ModelInfo {
        layers: blocks,
        ..model.info().clone()
    };
    let config = BatchConfig {
        prefix_bytes: 0,
        ..BatchConfig::default()
    };
    let model = Box::new(FirstBlocks { model, info });
    let mut engine = Engine::new(model, kind, Device::Cpu, config);
    if by_kernels {
        engine.sample_by_twin();
    }
    let _forced = force_operations();
    let start = |engine: &mut Engine| {
        for length in LENGTHS {
            let prompt: Vec<i64> = (0..length).map(|i| 3 + (i * 7 + length) % 80).collect();
            submit(engine, &prompt, sampling);
        }
    };
    // The cache has its size afterwards.
    start(&mut engine);
    finish(&mut engine);
    start(&mut engine);
    (0..steps).for_each(|_| engine.step());
    let trace = Trace::begin().unwrap();
    engine.step();
    trace.end()
}

/// Ceilings of a decode step.
struct DecodeCeilings {
    model: &'static str,
    /// Blocks of the model; the last one has no mask or angles of its own, but in Gemma 2, whose
    /// golden has one layer of each kind.
    blocks: usize,
    /// Launches of a block; [`TARGET_LAUNCHES`] are wanted.
    launches: i64,
    /// Views of a block.
    views: i64,
    /// Launches outside of the blocks in a model of one block: embedding, angles, mask, head,
    /// sampler. Five are the frequencies of the angles, which a GPU gets once and the CPU computes
    /// in each step.
    outside: i64,
}

impl DecodeCeilings {
    const fn of(model: &'static str, blocks: usize, [launches, views, outside]: [i64; 3]) -> DecodeCeilings {
        DecodeCeilings {
            model,
            blocks,
            launches,
            views,
            outside,
        }
    }
}

const DECODE_CEILINGS: [DecodeCeilings; 14] = [
    DecodeCeilings::of("gptj", 2, [23, 48, 28]),
    DecodeCeilings::of("neox", 2, [22, 37, 28]),
    DecodeCeilings::of("llama", 2, [30, 41, 31]),
    DecodeCeilings::of("mistral", 2, [30, 41, 34]),
    DecodeCeilings::of("qwen3", 2, [38, 41, 31]),
    DecodeCeilings::of("gemma3", 3, [52, 41, 36]),
    // Half of the features of a head are rotated, with cosines and sines of LongRoPE's magnitude.
    DecodeCeilings::of("phi3", 2, [29, 41, 38]),
    // Norms of queries and keys, and the last one, are converted to fp32, as rotated heads are.
    DecodeCeilings::of("olmo2", 2, [42, 41, 29]),
    // Capped scores are eight operations more than attention in one; keys and values are copied
    // for all query heads, and the last layer, the only one without a window, makes its mask.
    DecodeCeilings::of("gemma2", 2, [57, 61, 34]),
    DecodeCeilings::of("granite", 2, [32, 41, 33]),
    DecodeCeilings::of("stablelm", 2, [26, 45, 28]),
    // A norm for each head, and a part of the product for each.
    DecodeCeilings::of("stablelm_parallel", 2, [33, 51, 28]),
    // The last layer does not rotate; the first one does.
    DecodeCeilings::of("smollm3", 2, [22, 41, 39]),
    // Positions are looked up before the first layer, and there are no angles.
    DecodeCeilings::of("gpt2", 2, [14, 39, 17]),
];

#[test]
fn a_decode_step_launches_no_more_than_it_does_today() {
    for held in &DECODE_CEILINGS {
        let whole = traced(held.model, held.blocks, &greedy(), DECODE);
        let others = traced(held.model, held.blocks - 1, &greedy(), DECODE);
        let first = traced(held.model, 1, &greedy(), DECODE);
        let launches = whole.launches - others.launches;
        let views = whole.views - others.views;
        let outside = first.launches - launches;
        let what = format!("{}: {}", held.model, whole.launches_by_name());
        assert!(
            launches <= held.launches,
            "{launches} launches a block, {TARGET_LAUNCHES} wanted, {what}"
        );
        assert!(views <= held.views, "{views} views a block, {what}");
        assert!(
            outside <= held.outside,
            "{outside} launches beside the blocks, {what}"
        );
    }
}

/// Launches of a block beside our kernels for norms and gates: those of the table above without
/// them, sums that a norm's kernel computes, and products that others are joined with.
#[test]
fn norms_gates_and_joint_projections_leave_fewer_launches() {
    for (name, blocks, most) in [
        ("gptj", 2, 21),
        ("llama", 2, 16),
        ("mistral", 2, 16),
        ("qwen3", 2, 16),
        ("gemma3", 3, 15),
        ("phi3", 2, 18),
        ("granite", 2, 18),
        // Layer norms are libtorch's, as are OLMo 2's norms.
        ("stablelm", 2, 21),
        ("olmo2", 2, 21),
        // Five choose the experts, and eight compute them and add up what they make.
        ("qwen3_moe", 2, 27),
    ] {
        let launches = |blocks| traced_by(true, name, blocks, &greedy(), DECODE).launches;
        let block = launches(blocks) - launches(blocks - 1);
        let what = traced_by(true, name, blocks, &greedy(), DECODE).launches_by_name();
        assert!(block <= most, "{name}: {block} launches a block: {what}");
    }
}

/// The host does not read which experts a decode step's tokens chose, once their weights are
/// joined; a prefill of more tokens reads it once a block.
#[test]
fn experts_of_a_decode_step_are_not_read() {
    for sampling in [greedy(), drawn(0.9, 1.1)] {
        let counts = traced_by(true, "qwen3_moe", 2, &sampling, DECODE);
        let of = (counts.reads, counts.uploads);
        assert!(
            counts.reads <= TARGET_READS && counts.uploads <= TARGET_UPLOADS,
            "{sampling:?}: {of:?} reads and uploads"
        );
    }
    let reads = |name| traced(name, 2, &greedy(), DECODE).reads;
    assert_eq!(reads("qwen3_moe"), reads("qwen3") + 2, "one for each block apart");
}

/// Every prompt has an attention call of its own; one call for all is wanted.
#[test]
fn a_prefill_launches_no_more_than_it_does_today() {
    for (name, most) in [("gptj", 27), ("llama", 34)] {
        let (two, one) = (traced(name, 2, &greedy(), 0), traced(name, 1, &greedy(), 0));
        let launches = two.launches - one.launches;
        let what = two.launches_by_name();
        assert!(launches <= most, "{name}: {launches} launches a block: {what}");
    }
}

/// The sampler that chooses on the host. One read is wanted, which the device's sampler takes.
#[test]
fn the_hosts_sampler_reads_no_more_than_it_does_today() {
    let rows = LENGTHS.len() as i64;
    let held = [
        ("greedy", greedy(), 2, 4),
        ("drawn", drawn(1.0, 1.0), 3 + rows, 5),
        ("top-p", drawn(0.9, 1.0), 3, 5),
        ("penalties", drawn(0.9, 1.1), 4, 6),
    ];
    for (what, sampling, reads, uploads) in held {
        let counts = traced("gptj", 2, &sampling, DECODE);
        let of = (counts.reads, counts.uploads);
        assert!(
            counts.reads <= reads && counts.uploads <= uploads,
            "{what}: {of:?} reads and uploads"
        );
    }
}

/// What the host sends to a step lies in one upload, of the sampler too.
#[test]
fn a_step_that_samples_on_the_device_reads_and_sends_once() {
    for sampling in [greedy(), drawn(1.0, 1.0), drawn(0.9, 1.1)] {
        let counts = traced_by(true, "gptj", 2, &sampling, DECODE);
        let of = (counts.reads, counts.uploads);
        assert!(
            counts.reads <= TARGET_READS && counts.uploads <= TARGET_UPLOADS,
            "{sampling:?}: {of:?} reads and uploads"
        );
    }
}

/// The kernels themselves are not counted. The scores are far apart: the kernels leave a row of
/// more than 256 candidates to the host, which reads it.
#[test]
fn the_devices_sampler_reads_once() {
    let (rows, vocab) = (4, 512);
    let logits_bv = ((Tensor::arange(rows * vocab, (Kind::Float, Device::Cpu)) * 12.9898).sin() * 8.0)
        .view([rows, vocab]);
    let mut sampler = DeviceSampler::on(Device::Cpu).unwrap();
    for sampling in [greedy(), drawn(1.0, 1.0), drawn(0.9, 1.0), drawn(0.9, 1.1)] {
        let seen: Vec<SeenTokens> = (0..rows)
            .map(|row| SeenTokens::of_prompt(&[row, 7, 9], None))
            .collect();
        let rows: Vec<SamplerRow> = seen
            .iter()
            .map(|seen| SamplerRow {
                sampling: &sampling,
                seen,
                index: 3,
                forbidden: &[],
            })
            .collect();
        let trace = Trace::begin().unwrap();
        let (chosen, _) = sampler.choose(&logits_bv, &rows, None).unwrap();
        let counts = trace.end();
        assert!(chosen.iter().all(Option::is_some));
        assert!(counts.reads <= TARGET_READS, "{sampling:?}: {counts:?}");
    }
}
