//! The twin of the GPU's sampler beside the CPU's sampler: the same tokens and logprobs.

use ewe::backend::Sampling;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::{expected, tiny_engine};
use crate::engine::batch::{BatchConfig, Begun, Engine, EngineRequest, RequestOptions};
use crate::engine::logprobs::{Logprobs, RawLogprobs};
use crate::engine::sampler::{DeviceSampler, SamplerRow, SeenTokens, choose};
use crate::engine::tests::Record;
use crate::shim::Inference;
use crate::shim::generator::with_seed;

/// Rows of a batch.
const ROWS: usize = 6;

/// Scores with ties, -inf, peaks, no numbers, or one candidate.
fn scores(kind: usize, vocab: i64, seed: i64) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    let random = || with_seed(seed, || Tensor::randn([vocab], options));
    let others = || with_seed(!seed, || Tensor::randn([vocab], options));
    match kind {
        0 => random(),
        1 => random() * 8.0,
        2 => random() * 0.01,
        // Many ties, zeros of both signs among them.
        3 => (random() * 2.0).round(),
        4 => Tensor::full([vocab], 1.5, options),
        // Most tokens are ruled out.
        5 => random().masked_fill(&others().gt(-1.0), f64::NEG_INFINITY),
        6 => {
            let one = Tensor::full([vocab], f64::NEG_INFINITY, options);
            let _ = one.get(vocab / 3).fill_(-4.0);
            one
        }
        7 => Tensor::full([vocab], f64::NEG_INFINITY, options),
        8 => {
            let broken = random();
            let _ = broken.get(vocab - 1).fill_(f64::NAN);
            broken
        }
        9 => {
            let broken = random();
            let _ = broken.get(0).fill_(f64::INFINITY);
            broken
        }
        _ => random() * 1e4,
    }
}

fn samplings() -> impl Strategy<Value = Sampling> {
    let penalties = prop_oneof![
        Just((0.0, 0.0, 1.0)),
        Just((0.0, 0.0, 1.3)),
        (-2.0f64..2.0, -1.0f64..1.0, 0.7f64..1.6)
    ];
    (
        prop_oneof![Just(0.0), Just(1e-5), Just(100.0), 0.2f64..1.6],
        prop_oneof![Just(1.0), 0.01f64..0.9999],
        prop_oneof![Just(0usize), Just(1), 1usize..256, 257usize..600],
        prop_oneof![Just(0.0), Just(1.0), 0.001f64..0.5],
        penalties,
        any::<u64>(),
    )
        .prop_map(|(temperature, top_p, top_k, min_p, penalties, seed)| Sampling {
            temperature,
            top_p,
            top_k,
            min_p,
            seed,
            presence_penalty: penalties.0,
            frequency_penalty: penalties.1,
            repetition_penalty: penalties.2,
            ..Sampling::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Three steps of a batch, between which every row's answer grows by the chosen token.
    #[test]
    fn the_twin_of_the_gpu_sampler_chooses_as_the_cpu_does(
        vocab in prop_oneof![Just(33i64), Just(96), Just(1000), Just(5003), Just(20_480), Just(50_400)],
        kinds in proptest::collection::vec(0usize..11, ROWS),
        samplings in proptest::collection::vec(samplings(), ROWS),
        windows in proptest::collection::vec(prop_oneof![Just(None), Just(Some(0usize)), Just(Some(3))], ROWS),
        forbidden in proptest::collection::vec(prop_oneof![Just(Vec::new()), Just(vec![0i64, 7, 1 << 40])], ROWS),
        is_bf16 in any::<bool>(),
        noise in any::<i64>(),
    ) {
        // As the engine does: the CPU's kernels then add in the order that the twin adds in.
        let _held = Inference::hold();
        let mut device = DeviceSampler::on(Device::Cpu).unwrap();
        let mut seen: Vec<SeenTokens> = windows
            .iter()
            .map(|&window| SeenTokens::of_prompt(&[1, 5, 9, 5, vocab - 1], window))
            .collect();
        for step in 0..3 {
            let seeds = (0..).map(|row| noise.wrapping_add(row + (step * ROWS) as i64));
            let all = kinds.iter().zip(seeds).map(|(&kind, seed)| scores(kind, vocab, seed));
            let all: Vec<Tensor> = all.collect();
            let kind = if is_bf16 { Kind::BFloat16 } else { Kind::Float };
            let logits_bv = Tensor::stack(&all, 0).to_kind(kind);
            let rows: Vec<SamplerRow> = (0..ROWS)
                .map(|i| SamplerRow { sampling: &samplings[i], seen: &seen[i], index: step, forbidden: &forbidden[i] })
                .collect();
            // Both change the logits.
            let want = choose(&logits_bv.copy(), &rows);
            let raw = RawLogprobs::of(&logits_bv, (0..ROWS).map(|i| (i % 2 == 0).then_some(i)));
            let told: Vec<(usize, Logprobs)> = raw.iter().flat_map(|raw| raw.of_tokens(&want)).collect();
            let (found, logprobs) = device.choose(&logits_bv.copy(), &rows, raw).unwrap();
            prop_assert_eq!(&found, &want, "step {}", step);
            prop_assert_eq!(format!("{logprobs:?}"), format!("{told:?}"));
            for (seen, token) in seen.iter_mut().zip(&want) {
                seen.generated(token.unwrap_or(2));
            }
            // A request leaves, and another has its place.
            seen[step] = SeenTokens::of_prompt(&[2, 3], windows[step]);
        }
    }
}

/// Generates answers of a tiny model to prompts that come one after the other.
fn answers(engine: &mut Engine, sampling: &Sampling) -> Vec<Vec<i64>> {
    let records: Vec<Record> = expected("gptj")
        .iter()
        .enumerate()
        .map(|(number, (prompt, _))| {
            let record = Record::default();
            engine.submit(EngineRequest {
                prompt: prompt.clone(),
                sampling: Sampling {
                    max_tokens: 5 + 3 * number,
                    seed: number as u64,
                    ..sampling.clone()
                },
                end_tokens: vec![0],
                options: RequestOptions {
                    min_tokens: 4,
                    repetition_window: (number % 2 == 0).then_some(3),
                    ..RequestOptions::default()
                },
                listener: Box::new(record.clone()),
                begun: Begun::default(),
            });
            engine.step();
            record
        })
        .collect();
    super::finish(engine);
    records.iter().map(Record::tokens).collect()
}

#[test]
fn an_engine_answers_the_same_with_either_sampler() {
    let config = || BatchConfig {
        max_batch: 2,
        ..BatchConfig::default()
    };
    for (top_p, repetition_penalty) in [(1.0, 1.0), (0.9, 1.2), (1.0, 1.5)] {
        let sampling = Sampling {
            temperature: 0.9,
            top_p,
            repetition_penalty,
            frequency_penalty: repetition_penalty - 1.0,
            ..Sampling::default()
        };
        let mut by_twin = tiny_engine("gptj", config());
        by_twin.sample_by_twin();
        assert_eq!(
            answers(&mut by_twin, &sampling),
            answers(&mut tiny_engine("gptj", config()), &sampling),
            "{sampling:?}"
        );
    }
}
