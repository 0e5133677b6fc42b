//! A decode step as a CUDA graph would repeat it: the same launches over the same memory, whose
//! contents alone differ from step to step. docs/design/gpu.md has what is missing.

use tch::{Device, Kind, Tensor};

use crate::model::CausalLm;
use crate::model::cache::KvCache;
use crate::model::layers::attention::{ForwardPass, QuerySpan};
use crate::model::tests::{GOLDENS, loaded, paged_goldens};
use crate::shim::Inference;
use crate::shim::trace::{Trace, force_operations};
use crate::shim::transfer::{Upload, Uploaded};

/// Tokens of each sequence before the first step.
const LENGTHS: [i64; 3] = [5, 17, 9];
const STEPS: i64 = 3;

fn starts(step: i64) -> [i64; 3] {
    LENGTHS.map(|length| length + step)
}

/// The last tokens of the sequences, `[3, 1]`.
fn tokens(step: i64) -> Tensor {
    Tensor::from_slice(&[3 + step, 20 + 5 * step, 11 + 2 * step]).unsqueeze(1)
}

fn prefill(model: &dyn CausalLm, cache: &mut KvCache) {
    // Room for all steps, so that tables of pages have one width.
    cache.hold(
        LENGTHS
            .iter()
            .zip(0..)
            .map(|(&length, slot)| (slot, 0, length + STEPS)),
    );
    let span = |(&length, slot): (&i64, i64)| QuerySpan {
        slot,
        start: 0,
        length,
    };
    let spans: Vec<QuerySpan> = LENGTHS.iter().zip(0..).map(span).collect();
    let prompts: Vec<i64> = (0..LENGTHS.iter().sum()).map(|at| 3 + at * 7 % 40).collect();
    let (mut pass, _) = ForwardPass::prefill(cache, &spans, Upload::default(), Device::Cpu);
    let _ = model.forward(&Tensor::from_slice(&prompts).unsqueeze(0), &mut pass);
}

/// A forward pass that read on the host, or was sent something from there, could not be recorded.
#[test]
fn between_the_upload_and_the_logits_nothing_passes_between_host_and_device() {
    for name in GOLDENS.iter() {
        let mut model = loaded(name).model;
        // As on a GPU, where a decode step then reads no choice of experts.
        model.join_projections();
        let (_held, _forced) = (Inference::hold(), force_operations());
        let mut cache = KvCache::new(model.info(), Kind::Float, Device::Cpu);
        prefill(model.as_ref(), &mut cache);
        let (mut pass, _) = ForwardPass::decode(&mut cache, &starts(0), Upload::default(), Device::Cpu);
        let tokens_b1 = tokens(0);
        let trace = Trace::begin().unwrap();
        let hidden_b1d = model.forward(&tokens_b1, &mut pass);
        let _ = model.logits(&hidden_b1d.select(1, 0));
        let counts = trace.end();
        assert_eq!((counts.reads, counts.uploads), (0, 0), "{name}: {counts:?}");
    }
}

/// Over pages, the inputs of a step lie in one upload. Its bytes replaced by those of another step,
/// with tables of the same width, a second run gives that step's result, to the last bit. What the
/// host passes as numbers is that of the longest step.
#[test]
fn a_step_over_the_memory_of_another_gives_its_own_result() {
    for name in paged_goldens() {
        let model = loaded(name).model;
        let (_held, _forced) = (Inference::hold(), force_operations());
        let made = || {
            let mut cache = KvCache::paged(model.info(), Kind::Float, LENGTHS.len());
            prefill(model.as_ref(), &mut cache);
            cache
        };
        let mut cache = made();
        let step_by_step: Vec<Tensor> = (0..STEPS)
            .map(|step| {
                let (mut pass, _) =
                    ForwardPass::decode(&mut cache, &starts(step), Upload::default(), Device::Cpu);
                model.forward(&tokens(step), &mut pass)
            })
            .collect();
        let mut cache = made();
        let uploads: Vec<Uploaded> = (0..STEPS)
            .map(|step| {
                let spans = starts(step)
                    .into_iter()
                    .zip(0..)
                    .map(|(start, slot)| (slot, start, 1));
                let mut upload = Upload::default();
                let places = cache.pass_places(spans).expect("a cache of pages");
                let _ = places.add_to(&mut upload);
                upload.send(Device::Cpu).unwrap()
            })
            .collect();
        let last = starts(STEPS - 1);
        let (mut pass, fixed) = ForwardPass::decode(&mut cache, &last, Upload::default(), Device::Cpu);
        let mut tokens_b1 = tokens(0);
        for (step, upload) in (0..STEPS).zip(&uploads) {
            fixed.refill(upload);
            tokens_b1.copy_(&tokens(step));
            pass.run_again();
            let hidden_b1d = model.forward(&tokens_b1, &mut pass);
            assert!(hidden_b1d == step_by_step[step as usize], "{name}, step {step}");
        }
    }
}
